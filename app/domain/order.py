"""The order: the durable intent made from one signal, and its table of legal moves."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from app.domain.attempt import StoredAttempt
from app.domain.errors import IllegalMoveError, ReasonCode
from app.domain.signal import Signal


class OrderStatus(StrEnum):
    """Where an order stands."""

    QUEUED = "queued"
    EXECUTING = "executing"
    SUBMITTED = "submitted"
    FILLED = "filled"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELED = "canceled"
    REJECTED = "rejected"

    @property
    def final(self) -> bool:
        """Tell whether the order is over."""
        return self in FINAL_STATUSES

    def to(self, target: "OrderStatus") -> "OrderStatus":
        """Give `target` when the move is legal, else raise IllegalMoveError."""
        if target not in ORDER_MOVES[self]:
            raise IllegalMoveError(f"order {self} -> {target}")
        return target


_S = OrderStatus
ORDER_MOVES: Final[Mapping[OrderStatus, frozenset[OrderStatus]]] = {
    _S.QUEUED: frozenset({_S.EXECUTING, _S.CANCELED, _S.EXPIRED}),
    _S.EXECUTING: frozenset({_S.SUBMITTED, _S.FAILED, _S.EXPIRED, _S.CANCELED, _S.QUEUED}),
    # back to queued, or to an end without a fill, only through a proved-dead attempt
    _S.SUBMITTED: frozenset({_S.FILLED, _S.FAILED, _S.EXPIRED, _S.CANCELED, _S.QUEUED}),
    # the only move out of a final state: the fill was undone, proved at finalized
    _S.FILLED: frozenset({_S.FAILED}),
    _S.FAILED: frozenset(),
    _S.EXPIRED: frozenset(),
    _S.CANCELED: frozenset(),
    _S.REJECTED: frozenset(),
}
FINAL_STATUSES: Final = frozenset({_S.FILLED, _S.FAILED, _S.EXPIRED, _S.CANCELED, _S.REJECTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """What the chain did, in base units and lamports; `venue_fee` is in the input token."""

    base_amount: int
    quote_amount: int
    network_fee: int
    priority_fee: int
    tip: int
    venue_fee: int
    slot: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOrder:
    """A signal about to be accepted: the store makes an order of it, or finds the one it repeats."""

    order_id: str
    account: str
    wallet: str
    signal: Signal
    fingerprint: str
    idempotency_key: str | None
    accepted_at_us: int
    deadline_us: int
    in_sequence: bool = False
    """It waits while an earlier opposite order of its wallet and market is open, if that is one too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order as stored: times in UTC microseconds, amounts in base units."""

    order_id: str
    account: str
    wallet: str
    signal: Signal
    fingerprint: str
    idempotency_key: str | None
    status: OrderStatus
    accepted_at_us: int
    deadline_us: int
    reason_code: ReasonCode | None = None
    reason: str | None = None
    program_error: Mapping[str, object] | None = None
    next_attempt_at_us: int = 0
    tries: int = 0
    """Transient failures before signing since the last attempt: what the back-off counts."""
    in_doubt_since_us: int | None = None
    cancel_requested_at_us: int | None = None
    landed_failed_at_us: int | None = None
    ended_at_us: int | None = None
    filled_at_us: int | None = None
    finalized_at_us: int | None = None
    fill: Fill | None = None
    version: int = 0
    """The fencing token: raised by every claim, takeover and cancellation."""
    in_sequence: bool = False
    """As of `NewOrder`."""
    client_hash: str | None = None
    """Of an order found on the chain: the hash of its client's key, as its memo has it."""

    @property
    def client_key(self) -> str:
        """The key by which a repeat of this order is known: the client's, or the order's own id."""
        return self.idempotency_key or self.signal.client_order_id or self.order_id


@dataclass(frozen=True, slots=True)
class OrderView:
    """An order with its attempts, oldest first."""

    order: Order
    attempts: tuple[StoredAttempt, ...]

    @property
    def live_attempt(self) -> StoredAttempt | None:
        """The attempt that may still land; there is at most one."""
        return next((a for a in self.attempts if a.status.live), None)

    @property
    def next_number(self) -> int:
        """The number of the next attempt: those of attempts that a database lost are left out."""
        return self.attempts[-1].number + 1 if self.attempts else 1

    @property
    def dead_attempts(self) -> int:
        """How many signed attempts are proved dead."""
        return sum(1 for a in self.attempts if a.status.dead)
