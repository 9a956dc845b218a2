"""The audit trail: what is told of transitions, submissions and refusals, and how it is chained."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

GENESIS_HASH = "0" * 64
"""The hash before the first sealed event."""
SYSTEM = ""
"""The order id, and the account, of events that tell of the system itself: every account sees them."""


class EventKind(StrEnum):
    """What happened; stable names."""

    ACCEPTED = "order.accepted"
    REJECTED = "order.rejected"
    CLAIMED = "order.executing"
    REQUEUED = "order.queued"
    ENDED = "order.ended"
    FILLED = "order.filled"
    FINALIZED = "order.finalized"
    FILL_REVERTED = "order.fill_reverted"
    IN_DOUBT = "order.in_doubt"
    RESOLVED = "order.resolved"
    CANCEL_REQUESTED = "order.cancel_requested"
    SIGNED = "attempt.signed"
    SUBMITTED = "attempt.submitted"
    LANDED_FAILED = "attempt.landed_failed"
    FAILED = "attempt.failed"
    EXPIRED = "attempt.expired"
    DISPUTED = "attempt.disputed"
    METHOD_DISABLED = "method.disabled"
    METHOD_ENABLED = "method.enabled"
    METHOD_RESET = "method.reset"
    METHOD_BREAKER = "method.breaker"
    METHOD_LIMITED = "method.limited"
    CHECKPOINT = "audit.checkpoint"
    TRADING_HALTED = "trading.halted"
    TRADING_RESUMED = "trading.resumed"
    DATABASE_MARKED = "database.marked"
    DATABASE_RECONCILED = "database.reconciled"
    ORDER_RECOVERED = "order.recovered"
    ATTEMPT_RECOVERED = "attempt.recovered"
    CONTRADICTED = "order.contradicted"
    FAILED_UNKNOWN = "recovery.failed_transaction"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One entry of the trail; `seq` counts within the order from 1, sealing gives the last two.

    Events of the system itself have `SYSTEM` for an order id, and count together.
    """

    order_id: str
    seq: int
    at_us: int
    kind: EventKind
    data: Mapping[str, object]
    position: int | None = None
    hash: str | None = None

    def digest(self) -> str:
        """Hash what the event says, in hex: SHA-256 of its canonical JSON.

        That is the array of order id, seq, at_us, kind and data: ASCII, keys sorted, no spaces.
        """
        parts = [self.order_id, self.seq, self.at_us, self.kind, dict(self.data)]
        text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def chain_hash(previous: str, position: int, digest: str) -> str:
    """Hash a sealed event, in hex: SHA-256 over `previous:position:digest`."""
    return hashlib.sha256(f"{previous}:{position}:{digest}".encode()).hexdigest()


def verify_chain(events: Iterable[Event], previous: str = GENESIS_HASH) -> int | None:
    """Give the position of the first event that does not continue the chain, or None when all do.

    `previous` is the hash before the first of them. Only a later hash shows that the end is cut.
    """
    expected: int | None = None
    for event in events:
        position = event.position
        if position is None or (expected is not None and position != expected):
            return position or 0
        if chain_hash(previous, position, event.digest()) != event.hash:
            return position
        previous, expected = event.hash, position + 1
    return None
