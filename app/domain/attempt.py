"""The attempt: one signed transaction of an order, and the pushes of its bytes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from app.domain.errors import IllegalMoveError
from app.domain.outcome import Proof, ReplyOutcome
from app.domain.quote import Limit, Quote


class AttemptStatus(StrEnum):
    """Where an attempt stands; the last three are final."""

    SIGNED = "signed"
    SUBMITTED = "submitted"
    LANDED = "landed"
    FAILED = "failed"
    EXPIRED = "expired"

    @property
    def live(self) -> bool:
        """Tell whether the attempt may still land."""
        return self in LIVE_STATUSES

    @property
    def dead(self) -> bool:
        """Tell whether the attempt is over without effect."""
        return self in (AttemptStatus.FAILED, AttemptStatus.EXPIRED)

    def to(self, target: "AttemptStatus") -> "AttemptStatus":
        """Give `target` when the move is legal, else raise IllegalMoveError."""
        if target not in ATTEMPT_MOVES[self]:
            raise IllegalMoveError(f"attempt {self} -> {target}")
        return target


LIVE_STATUSES: Final = frozenset({AttemptStatus.SIGNED, AttemptStatus.SUBMITTED})
_SETTLED = frozenset({AttemptStatus.LANDED, AttemptStatus.FAILED, AttemptStatus.EXPIRED})
ATTEMPT_MOVES: Final[Mapping[AttemptStatus, frozenset[AttemptStatus]]] = {
    AttemptStatus.SIGNED: frozenset({AttemptStatus.SUBMITTED})
    | _SETTLED,  # a crash can hide a send
    AttemptStatus.SUBMITTED: _SETTLED,
    # only a fork that undoes a fill, proved at finalized, takes a landing back
    AttemptStatus.LANDED: frozenset({AttemptStatus.FAILED, AttemptStatus.EXPIRED}),
    AttemptStatus.FAILED: frozenset(),
    AttemptStatus.EXPIRED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Lane:
    """A method of the plan, and how long it may hold the bytes before the next one gets them."""

    method: str
    patience_ms: int


class LaneStrategy(StrEnum):
    """How the lanes of a plan get the bytes."""

    FALLBACK = "fallback"
    """One after the other: the next when one refuses, or has not landed them within its patience."""
    RACE = "race"
    """All at once."""


@dataclass(frozen=True, slots=True)
class LanePlan:
    """The ordered methods of an attempt; kept with it, so that a restart follows the same plan."""

    lanes: tuple[Lane, ...]
    strategy: LaneStrategy = LaneStrategy.FALLBACK
    private: bool = False
    """The bytes may go through private methods only, also if one of the lanes has become public since."""


@dataclass(frozen=True, slots=True)
class Blockhash:
    """A recent blockhash as the node gave it: `slot` is the context slot of that answer."""

    blockhash: str
    last_valid_block_height: int
    slot: int


@dataclass(frozen=True, slots=True)
class Spend:
    """What an attempt may take from its wallet at most: `amount` of `mint`, and lamports in all.

    For wrapped SOL the amount is among the lamports (with rent, fees and tip) and `mint` is empty.
    """

    mint: str
    amount: int
    lamports: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A signed transaction that is not stored yet, and so cannot be submitted."""

    raw: bytes
    signature: str
    blockhash: Blockhash
    quote: Quote
    limit: Limit
    spend: Spend
    priority_fee_lamports: int
    tip_lamports: int
    seed: str | None
    """Seed of the temporary wrapped-SOL account, random and never guessable beforehand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One push of the bytes through one method, with its outcome."""

    method: str
    outcome: ReplyOutcome
    reason: str
    sent_at_us: int
    latency_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAttempt:
    """An attempt that the database holds: the only thing an executor accepts.

    Only the store constructs it (a house law checks that), after the transaction that holds the
    bytes has been committed.
    """

    attempt_id: str
    order_id: str
    number: int
    wallet: str
    status: AttemptStatus
    plan: LanePlan
    signed: Signed
    signed_at_us: int
    landed_slot: int | None = None
    error: Mapping[str, object] | None = None
    proof: Proof | None = None
    submissions: tuple[Submission, ...] = field(default=())

    @property
    def signature(self) -> str:
        """The transaction's signature, base58."""
        return self.signed.signature

    @property
    def last_valid_block_height(self) -> int:
        """The block height after which the bytes cannot land any more."""
        return self.signed.blockhash.last_valid_block_height

    @property
    def landing_method(self) -> str | None:
        """The method that a landing is credited to: the first that accepted the bytes."""
        accepted = (s.method for s in self.submissions if s.outcome is ReplyOutcome.ACCEPTED)
        return next(accepted, None)

    def is_proved_dead(self, proof: Proof) -> bool:
        """Tell whether a proof covers these very bytes: their last height, their blockhash's age."""
        return proof.proves_dead(self.last_valid_block_height, self.signed.blockhash.slot)
