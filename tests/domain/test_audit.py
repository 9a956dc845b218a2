"""What events tell of an order: a life that cannot have happened is called by what is wrong with it."""

import pytest

from app.domain.audit import ToldOrder, told_by
from app.domain.events import Event, EventKind
from app.domain.order import OrderStatus
from tests.domain.makers import NOW

K = EventKind
Step = tuple[EventKind, dict[str, object]]

FIRST: dict[str, object] = {"number": 1, "signature": "signature1"}
OTHER: dict[str, object] = {"number": 1, "signature": "signature2"}
FILL = dict.fromkeys(
    ("base_amount", "quote_amount", "network_fee", "priority_fee", "tip", "venue_fee"), "7"
)
ACCEPTED: Step = (K.ACCEPTED, {})
CLAIMED: Step = (K.CLAIMED, {"from": "queued"})
SIGNED: Step = (K.SIGNED, FIRST)
FILLED: Step = (K.FILLED, {**FIRST, **FILL, "slot": 5})
REQUEUED: Step = (K.REQUEUED, {"reason_code": "ATTEMPT_EXPIRED"})
ENDED: Step = (K.ENDED, {"status": "failed", "reason_code": "RETRIES_EXHAUSTED"})
ALIVE = (ACCEPTED, CLAIMED, SIGNED)


def told(*steps: Step) -> ToldOrder:
    """Read the events of an order."""
    return told_by(
        [
            Event(order_id="id", seq=seq, at_us=NOW + seq, kind=kind, data=data)
            for seq, (kind, data) in enumerate(steps, start=1)
        ]
    )


def test_a_life_that_can_have_been_is_told_without_objection() -> None:
    """The lives below are wrong by their last event only."""
    filled = told(*ALIVE, FILLED)
    assert (filled.illegal, filled.status) == ([], OrderStatus.FILLED)


IMPOSSIBLE: dict[str, tuple[tuple[Step, ...], str]] = {
    "a second beginning": (
        (ACCEPTED, CLAIMED, ACCEPTED),
        "order.accepted after the order's beginning",
    ),
    "a claim of what it was not": (
        (ACCEPTED, (K.CLAIMED, {"from": "submitted"})),
        "order.executing tells what cannot be: it was submitted",
    ),
    "queued with an attempt alive": (
        (*ALIVE, REQUEUED),
        "order.queued tells what cannot be: an attempt is not dead",
    ),
    "ended with an attempt alive": (
        (*ALIVE, ENDED),
        "order.ended tells what cannot be: an attempt is not dead",
    ),
    "a second attempt with the first alive": (
        (*ALIVE, REQUEUED, (K.SIGNED, {"number": 2, "signature": "signature2"})),
        "attempt.signed tells what cannot be: an attempt is not dead",
    ),
    "an attempt signed again": (
        (*ALIVE, (K.EXPIRED, FIRST), REQUEUED, CLAIMED, SIGNED),
        "attempt.signed tells what cannot be: attempt 1 again",
    ),
    "a fill by another signature": (
        (*ALIVE, (K.FILLED, {**FILLED[1], **OTHER})),
        "order.filled tells what cannot be: another signature than the attempt's",
    ),
    "a filled order's attempt put back with another signature": (
        (*ALIVE, FILLED, (K.ATTEMPT_RECOVERED, {**OTHER, "slot": 5})),
        "attempt.recovered tells what cannot be: another signature than the attempt's",
    ),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_what_cannot_have_happened_is_said(name: str) -> None:
    """The last event contradicts what was told before, or the rules, and is named."""
    steps, expected = IMPOSSIBLE[name]
    assert told(*steps).illegal[-1] == expected
    assert expected not in told(*steps[:-1]).illegal


def test_a_refused_signature_changes_nothing_of_the_attempt() -> None:
    """Neither the fill nor the recovery by another signature is taken over."""
    order = told(*ALIVE, (K.FILLED, {**FILLED[1], **OTHER}))
    assert (order.status, order.amounts) == (OrderStatus.SUBMITTED, {})
    order = told(*ALIVE, FILLED, (K.ATTEMPT_RECOVERED, {**OTHER, "slot": 6}))
    assert (order.attempts[1].signature, order.attempts[1].landed_slot) == ("signature1", 5)
