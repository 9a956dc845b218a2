"""What an order's events may say one after the other, written down once more than in the product."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from app.domain.events import Event
from tests.crash.service import Json

MOVES = {
    "order.accepted": {"": "queued"},
    "order.rejected": {"": "rejected"},
    "order.executing": {
        "queued": "executing",
        "executing": "executing",
        "submitted": "submitted",
        "filled": "filled",
    },
    "order.queued": {"executing": "queued", "buried": "queued"},
    "order.filled": {"submitted": "filled", "resolved": "filled"},
    "order.finalized": {"filled": "filled"},
    "order.fill_reverted": {"filled": "failed"},
    "order.in_doubt": {"submitted": "submitted"},
    "order.resolved": {"submitted": "resolved"},
    "order.cancel_requested": {"submitted": "submitted", "executing": "executing"},
    "attempt.signed": {"executing": "submitted"},
    "attempt.submitted": {
        "submitted": "submitted",
        "filled": "filled",
        "failed": "failed",
        "canceled": "canceled",
        "expired": "expired",
    },
    "attempt.disputed": {"submitted": "submitted", "filled": "filled"},
    "order.recovered": {"": "recovered"},
    "attempt.recovered": {"recovered": "submitted", "executing": "submitted"},
    "attempt.landed_failed": {"submitted": "submitted"},
    "attempt.failed": {"submitted": "buried"},
    "attempt.expired": {"submitted": "buried"},
}
"""By kind: the status after it, by the status before; `buried` lasts until the next event tells the end."""
ENDED_FROM = frozenset({"queued", "executing", "buried", "resolved"})


@dataclass
class _Life:
    status: str = ""
    signed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def take(self, event: Event) -> None:
        """Go on with the next event."""
        kind = event.kind.value
        if kind == "order.ended":
            legal, after = self.status in ENDED_FROM, str(event.data["status"])
        else:
            moves = MOVES.get(kind, {})
            legal, after = self.status in moves, moves.get(self.status, self.status)
        if not legal:
            self.wrong.append(f"{kind} while {self.status or 'nothing'}")
        if kind == "attempt.signed":
            self._sign(event)
        elif kind == "attempt.recovered":
            self.signed.append(str(event.data["signature"]))
        self.status = after

    def _sign(self, event: Event) -> None:
        self.signed.append(str(event.data["signature"]))
        if event.data["number"] != len(self.signed):
            self.wrong.append(f"attempt {event.data['number']} signed as the {len(self.signed)}.")


def illegalities(events: Sequence[Event], document: Json) -> Iterator[str]:
    """Give what is wrong with the events of an order, and what they do not tell as it shows."""
    seqs = [event.seq for event in sorted(events, key=lambda event: event.seq)]
    if seqs != list(range(1, len(seqs) + 1)):
        yield f"its events are numbered {seqs}"
    if seqs != [event.seq for event in events]:
        yield "its events were sealed in another order"
    life = _Life()
    for event in events:
        life.take(event)
    yield from life.wrong
    if life.status != document["status"]:
        yield f"its events end {life.status}, it is {document['status']}"
    if life.signed != [attempt["signature"] for attempt in document["attempts"]]:
        yield f"its events tell of the attempts {life.signed}"
