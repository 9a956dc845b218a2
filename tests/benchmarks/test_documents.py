"""Times and pushes out of an order's document."""

import pytest

from benchmarks.documents import Json, accepted_by, all_sent_ms, filled_ms, first_byte_ms, holders

ACCEPTED_AT = "2026-01-31T12:00:00.000000Z"


def push(method: str, outcome: str, ms: int) -> Json:
    """Write a submission so many milliseconds after acceptance."""
    return {"method": method, "outcome": outcome, "sent_at": at(ms)}


def at(ms: int) -> str:
    """Write the time so many milliseconds after acceptance."""
    return f"2026-01-31T12:00:00.{ms:03}000Z"


def order(*submissions: Json) -> Json:
    """Write a filled order with one attempt."""
    attempts = [{"submissions": list(submissions)}]
    return {"accepted_at": ACCEPTED_AT, "filled_at": at(250), "attempts": attempts}


RACED = order(
    push("jito", "not_sent", 3),
    push("bundle", "accepted", 9),
    push("rpc", "already", 8),
    push("quicknode", "rejected", 11),
    push("rpc", "accepted", 40),
)


def test_the_first_byte_is_that_of_the_first_push_that_sent_any() -> None:
    """In whatever order the pushes are listed; a method that was passed over sent nothing."""
    assert first_byte_ms(RACED) == pytest.approx(8, abs=0.01)


def test_all_have_it_when_the_last_method_got_it_first() -> None:
    """Repeats do not count, methods that were passed over neither."""
    assert all_sent_ms(RACED) == pytest.approx(11, abs=0.01)


def test_a_method_holds_the_bytes_once_however_often_it_took_them() -> None:
    """One that refused them, or was passed over, does not."""
    assert holders(RACED) == 2
    assert accepted_by(RACED, "bundle")
    assert not accepted_by(RACED, "quicknode")
    assert not accepted_by(order(push("bundle", "already", 1)), "bundle")


def test_the_fill_is_timed_from_acceptance() -> None:
    """By the service's clock."""
    assert filled_ms(RACED) == pytest.approx(250, abs=0.01)
