"""The audit trail: what is told of every transition, submission and refusal, and how it is chained."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

GENESIS_HASH = "0" * 64
"""The hash before the first sealed event."""


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
    DOUBT_RESOLVED = "order.doubt_resolved"
    CANCEL_REQUESTED = "order.cancel_requested"
    SIGNED = "attempt.signed"
    SUBMITTED = "attempt.submitted"
    LANDED_FAILED = "attempt.landed_failed"
    FAILED = "attempt.failed"
    EXPIRED = "attempt.expired"
    CHECKPOINT = "audit.checkpoint"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One entry of the trail. `seq` counts within the order from 1; `position` and `hash` come by sealing."""

    order_id: str
    seq: int
    at_us: int
    kind: EventKind
    data: Mapping[str, object]
    position: int | None = None
    hash: str | None = None

    def digest(self) -> str:
        """Hash what the event says, in hex: SHA-256 of its canonical JSON."""
        parts = [self.order_id, self.seq, self.at_us, self.kind, dict(self.data)]
        text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


def chain_hash(previous: str, position: int, digest: str) -> str:
    """Give the hash of a sealed event: SHA-256 over the hash before it, its position and its digest."""
    return hashlib.sha256(f"{previous}:{position}:{digest}".encode()).hexdigest()


def verify_chain(events: "list[Event]", previous: str = GENESIS_HASH) -> int | None:
    """Give the position of the first event that does not continue the chain, or None when all do."""
    expected: int | None = None
    for event in events:
        position = event.position
        if position is None or (expected is not None and position != expected):
            return position or 0
        if chain_hash(previous, position, event.digest()) != event.hash:
            return position
        previous, expected = event.hash, position + 1
    return None
