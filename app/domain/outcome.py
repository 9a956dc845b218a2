"""What is known about an attempt, and the pure rule that says what follows from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class ReplyOutcome(StrEnum):
    """What one push of bytes through one method is known to have done."""

    ACCEPTED = "accepted"
    NOT_SENT = "not_sent"
    REJECTED = "rejected"
    ALREADY = "already"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Reply:
    """The classified answer of a method to one push; `reason` is a short stable word.

    None of the outcomes proves that the bytes will not land: a stored attempt counts as sent.
    """

    outcome: ReplyOutcome
    reason: str
    retry_after_seconds: float | None = None


class Commitment(StrEnum):
    """How settled a block is, in the cluster's own words."""

    PROCESSED = "processed"
    CONFIRMED = "confirmed"
    FINALIZED = "finalized"


@dataclass(frozen=True, slots=True)
class Seen:
    """The chain has the transaction at `slot`; `error` is the raw `err` value, None for success."""

    slot: int
    commitment: Commitment
    error: object | None
    context_slot: int


@dataclass(frozen=True, slots=True)
class Absent:
    """The endpoint answered and does not know the signature; by itself this proves nothing."""

    context_slot: int


@dataclass(frozen=True, slots=True)
class Unreachable:
    """Nobody answered, or not in a way that can be understood; this proves nothing at all."""

    reason: str


ChainStatus = Seen | Absent | Unreachable


@dataclass(frozen=True, slots=True)
class Heights:
    """A finalized slot and the block height of that same bank."""

    slot: int
    block_height: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """One endpoint's proof that a signature can never land any more; kept with the attempt.

    Expiry was read first (`height` at finalized `slot`), then that the blockhash itself is not valid
    in the bank of `invalid_slot`, then the status (absent with history search, at
    `context_slot`), from an endpoint whose history reaches back to `ledger_slot_min`.
    """

    endpoint: str
    slot: int
    height: int
    context_slot: int
    ledger_slot_min: int
    invalid_slot: int | None = None
    """None in what was stored before the blockhash was asked about: that proves nothing any more."""

    def proves_dead(self, last_valid_block_height: int, blockhash_slot: int) -> bool:
        """Tell whether bytes with this last height, on a blockhash read at this slot, are dead.

        The last height is one endpoint's word of when they were signed; the blockhash is its own.
        """
        return (
            self.height > last_valid_block_height
            and self.invalid_slot is not None
            and self.invalid_slot >= self.slot
            and self.context_slot >= self.slot
            and self.ledger_slot_min <= blockhash_slot
        )


@dataclass(frozen=True, slots=True)
class Proof:
    """The evidence of all endpoints that had to agree."""

    evidence: tuple[Evidence, ...]

    def proves_dead(self, last_valid_block_height: int, blockhash_slot: int) -> bool:
        """Tell whether there is evidence, and all of it proves the bytes dead."""
        return bool(self.evidence) and all(
            one.proves_dead(last_valid_block_height, blockhash_slot) for one in self.evidence
        )


@dataclass(frozen=True, slots=True)
class FailureEvidence:
    """One endpoint's word that a transaction failed for good; kept with the attempt's event.

    Its status with history search, at `context_slot`, and the transaction itself both say at
    finalized that it failed in `slot`.
    """

    endpoint: str
    slot: int
    context_slot: int


class Dispute(StrEnum):
    """What endpoints contradict each other about, or one of them itself."""

    PRESENCE = "presence"
    """One has the transaction, and another has it not although it would have to."""
    OUTCOME = "outcome"
    """They tell different slots, or one a success and one a failure."""
    EXPIRY = "expiry"
    """A blockhash is said to be valid in a block above the last height that came with it."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Endpoints that cannot all be right: `said` gives each one's words."""

    kind: Dispute
    said: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class NotProved:
    """No proof, with the reason in words; the attempt stays live."""

    reason: str
    disagreement: Disagreement | None = None
    """Why there is none and an operator must look: somebody lies, or is broken."""


class Verdict(StrEnum):
    """What follows for a live attempt from what is known now."""

    WAIT = "wait"
    """Nothing is settled and it may still land: keep watching, rebroadcast."""
    LANDED = "landed"
    """At least confirmed without error: to be confirmed by the transaction itself, then a fill."""
    FAILED_UNSETTLED = "failed_unsettled"
    """Landed with an error in a block that a fork may still undo: the attempt stays live."""
    FAILED = "failed"
    """Landed with an error in a finalized block: dead."""
    EXPIRED = "expired"
    """Proved dead: it can never land."""
    IN_DOUBT = "in_doubt"
    """Past its life, with neither a landing nor a proof."""


def verdict(
    status: ChainStatus,
    *,
    last_valid_block_height: int,
    heights: Heights | None,
    overdue: bool,
    proof: Proof | None,
) -> Verdict:
    """Judge a live attempt.

    `heights` is what was read before `status` (None: unreadable); `overdue` says that the
    configured transaction timeout has passed, which counts only while heights are unreadable. What
    is seen at `processed` only settles nothing, and keeps a proof from counting.
    """
    if isinstance(status, Seen):
        if status.commitment is not Commitment.PROCESSED:
            return _landed(status)
    elif proof is not None:
        return Verdict.EXPIRED
    past = overdue if heights is None else heights.block_height > last_valid_block_height
    return Verdict.IN_DOUBT if past else Verdict.WAIT


def _landed(status: Seen) -> Verdict:
    if status.error is None:
        return Verdict.LANDED
    finalized = status.commitment is Commitment.FINALIZED
    return Verdict.FAILED if finalized else Verdict.FAILED_UNSETTLED


@dataclass(frozen=True, slots=True)
class ProgramError:
    """A decoded failure of a transaction: its stable name, words, and the chain's raw value."""

    name: str
    words: str
    raw: object

    def document(self) -> Mapping[str, object]:
        """Give the error as it stands in an order document."""
        return {"name": self.name, "message": self.words, "raw": self.raw}
