"""What becomes of an order whose attempt died."""

import pytest

from app.domain.attempt import AttemptStatus
from app.domain.changes import Change, apply
from app.domain.errors import ReasonCode
from app.domain.order import OrderStatus, OrderView
from app.domain.retry import RetryPolicy
from app.engine.aftermath import after_death
from app.engine.ports import Explained
from tests.domain import makers
from tests.domain.makers import NOW, S
from tests.engine.fakes import HOPELESS, SLIPPED

POLICY = RetryPolicy(retry_delay_us=2 * S, max_retries=3)
EXPIRED, FAILED = AttemptStatus.EXPIRED, AttemptStatus.FAILED


def buried(*attempts: AttemptStatus, **given: object) -> OrderView:
    """Make an order whose last attempt has just been marked dead."""
    return makers.view(OrderStatus.SUBMITTED, *attempts, **given)


def after(view: OrderView, explained: Explained | None, at_us: int = NOW) -> Change:
    """Ask what follows, and check that the domain allows it."""
    change = after_death(view, explained, at_us=at_us, policy=POLICY, jitter=0)
    apply(view, change)
    return change


def end(change: Change) -> tuple[object, object]:
    """Give status and code of the order after a change."""
    return change.order["status"], change.order["reason_code"]


def test_an_expired_attempt_is_tried_again_after_a_pause() -> None:
    """Nothing was executed, and the next quote may be good."""
    change = after(buried(EXPIRED), None)
    assert end(change) == (OrderStatus.QUEUED, ReasonCode.ATTEMPT_EXPIRED)
    assert change.order["next_attempt_at_us"] == NOW + 2 * S


def test_the_pause_doubles_with_every_death() -> None:
    """The second death waits twice as long."""
    change = after(buried(EXPIRED, FAILED), SLIPPED)
    assert end(change) == (OrderStatus.QUEUED, ReasonCode.SLIPPAGE_EXCEEDED)
    assert change.order["next_attempt_at_us"] == NOW + 4 * S


def test_a_failure_that_a_new_quote_would_not_change_ends_the_order() -> None:
    """Under its own code, with the decoded error."""
    change = after(buried(FAILED), HOPELESS)
    assert end(change) == (OrderStatus.FAILED, ReasonCode.MARKET_CLOSED)
    assert change.order["program_error"] == HOPELESS.error.document()
    assert change.order["reason"] == HOPELESS.error.words


@pytest.mark.parametrize("explained", [None, SLIPPED, HOPELESS])
def test_a_cancellation_that_waited_takes_effect(explained: Explained | None) -> None:
    """Whatever the attempt died of."""
    change = after(buried(FAILED, cancel_requested_at_us=NOW), explained)
    assert end(change) == (OrderStatus.CANCELED, ReasonCode.CANCEL_REQUESTED)


def test_after_the_last_retry_the_order_ends_under_the_cause_of_death() -> None:
    """A failure on chain is told by its own code, an expiry as exhausted retries."""
    attempts = (EXPIRED, EXPIRED, EXPIRED, FAILED)
    assert end(after(buried(*attempts), SLIPPED)) == (
        OrderStatus.FAILED,
        ReasonCode.SLIPPAGE_EXCEEDED,
    )
    assert end(after(buried(EXPIRED, EXPIRED, EXPIRED, EXPIRED), None)) == (
        OrderStatus.FAILED,
        ReasonCode.RETRIES_EXHAUSTED,
    )


def test_past_the_deadline_the_order_expires_with_the_error_told() -> None:
    """Time is up: no other attempt, but what went wrong last is kept."""
    change = after(buried(FAILED), SLIPPED, at_us=NOW + 300 * S)
    assert end(change) == (OrderStatus.EXPIRED, ReasonCode.ORDER_TIMEOUT)
    assert change.order["program_error"] == SLIPPED.error.document()
