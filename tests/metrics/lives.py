"""Lives of orders as events: told by the domain's own changes, so that they read as the real ones."""

from collections.abc import Mapping

from app.domain import changes
from app.domain.attempt import AttemptStatus
from app.domain.changes import Change
from app.domain.errors import ReasonCode
from app.domain.events import Event, EventKind
from app.domain.order import Fill, OrderStatus
from app.domain.outcome import ReplyOutcome
from tests.domain import makers
from tests.domain.makers import FILL, NOW, PROOF, S

SIGNAL: Mapping[str, object] = {
    "account": "default",
    "market": "SOL-USDC",
    "action": "SELL",
    "strategy": "mean",
    "price": "180.5",
}


def at(second: int) -> int:
    """Give a time so many seconds after acceptance."""
    return NOW + second * S


class Life:
    """Builds one order's events, counting them."""

    def __init__(self, order_id: str = "order1") -> None:
        self.order_id = order_id
        self.events: list[Event] = []

    def tell(self, kind: EventKind, second: int, data: Mapping[str, object]) -> "Life":
        """Add an event."""
        seq = len(self.events) + 1
        event = Event(order_id=self.order_id, seq=seq, at_us=at(second), kind=kind, data=data)
        self.events.append(event)
        return self

    def change(self, change: Change) -> "Life":
        """Add the event that tells a change."""
        second = (change.at_us - NOW) // S
        return self.tell(change.kind, second, change.data)

    def accepted(self) -> "Life":
        """Begin."""
        return self.tell(EventKind.ACCEPTED, 0, SIGNAL)

    def rejected(self) -> "Life":
        """Begin and end."""
        data = {**SIGNAL, "reason_code": "SIGNAL_STALE", "reason": "late"}
        return self.tell(EventKind.REJECTED, 0, data)

    def claimed(self, second: int = 1) -> "Life":
        """Take up."""
        return self.tell(EventKind.CLAIMED, second, {"process": "p", "from": "queued"})

    def signed(self, number: int = 1, second: int = 2) -> "Life":
        """Store an attempt."""
        return self.tell(EventKind.SIGNED, second, {"number": number, "signature": "s"})

    def pushed(self, *methods: str, number: int = 1, second: int = 3) -> "Life":
        """Push by each method; the last one accepts, each takes a while."""
        outcomes = [ReplyOutcome.REJECTED] * (len(methods) - 1) + [ReplyOutcome.ACCEPTED]
        pushes = tuple(makers.push(m, o) for m, o in zip(methods, outcomes, strict=True))
        attempt = makers.attempt(AttemptStatus.SIGNED, number)
        return self.change(changes.submitted(attempt, pushes, at_us=at(second)))

    def expired(self, number: int = 1, second: int = 4) -> "Life":
        """Prove the attempt dead."""
        attempt = makers.attempt(AttemptStatus.SUBMITTED, number)
        return self.change(changes.attempt_expired(attempt, PROOF, at_us=at(second)))

    def filled(self, number: int = 1, second: int = 5) -> "Life":
        """End filled."""
        attempt = makers.attempt(AttemptStatus.SUBMITTED, number)
        return self.change(changes.filled(attempt, FILL, at_us=at(second)))

    def finalized(
        self, slot: int = FILL.slot, second: int = 9, moved: Fill | None = None
    ) -> "Life":
        """Settle."""
        attempt = makers.attempt(AttemptStatus.LANDED)
        change = changes.finalized(attempt, slot=slot, at_us=at(second), moved=moved)
        return self.change(change)

    def reverted(self, second: int = 9) -> "Life":
        """Undo the fill."""
        attempt = makers.attempt(AttemptStatus.LANDED)
        return self.change(changes.fill_reverted(attempt, at_us=at(second), proof=PROOF))

    def ended(self, status: OrderStatus, code: ReasonCode, second: int = 6) -> "Life":
        """End without a fill."""
        view = makers.view(OrderStatus.EXECUTING)
        change = changes.ended(view, status, at_us=at(second), code=code, reason="why")
        return self.change(change)


def filled(order_id: str = "order1") -> Life:
    """Tell of an order that was filled by the first push of its first attempt, and settled."""
    life = Life(order_id).accepted().claimed().signed().pushed("rpc")
    return life.filled().finalized()
