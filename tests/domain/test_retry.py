"""When an order is tried again and when it ends, from what is stored alone."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.attempt import AttemptStatus
from app.domain.errors import IllegalMoveError, ReasonCode
from app.domain.order import OrderStatus
from app.domain.outcome import ReplyOutcome
from app.domain.retry import (
    BACKOFF_DOUBLINGS_MAX,
    End,
    NextStep,
    Prepare,
    RetryPolicy,
    Watch,
    backoff_us,
    deadline,
    next_step,
    out_of_time,
    valid_until,
)
from tests.domain.makers import NOW, S, attempt, push, signal, view

POLICY = RetryPolicy(retry_delay_us=2 * S, max_retries=3)
LATE = NOW + 300 * S
DEAD = AttemptStatus.EXPIRED
SIGNED = AttemptStatus.SIGNED
CANCELED = End(OrderStatus.CANCELED, ReasonCode.CANCEL_REQUESTED, "canceled as requested")
TIMED_OUT = End(OrderStatus.EXPIRED, ReasonCode.ORDER_TIMEOUT, "the order's time ran out")
EXHAUSTED = End(OrderStatus.FAILED, ReasonCode.RETRIES_EXHAUSTED, "4 attempts are proved dead")


@pytest.mark.parametrize(
    ("attempts", "now", "cancel_at", "step"),
    [
        ([], NOW, None, Prepare(1)),
        ([DEAD], NOW, None, Prepare(2)),
        ([DEAD, AttemptStatus.FAILED, DEAD], NOW, None, Prepare(4)),
        ([DEAD] * 4, NOW, None, EXHAUSTED),
        ([], LATE - 1, None, Prepare(1)),
        ([], LATE, None, TIMED_OUT),
        ([DEAD] * 4, LATE, None, TIMED_OUT),
        ([], NOW, NOW, CANCELED),
        ([DEAD], LATE, NOW, CANCELED),
        ([SIGNED], NOW, None, Watch()),
        ([DEAD, AttemptStatus.SUBMITTED], NOW, None, Watch()),
        ([DEAD] * 4 + [SIGNED], LATE, NOW, Watch()),
    ],
)
def test_the_next_step(
    attempts: list[AttemptStatus], now: int, cancel_at: int | None, step: NextStep
) -> None:
    """What may still land is watched; then a cancellation, the deadline and the retries count."""
    status = OrderStatus.SUBMITTED if attempts and attempts[-1].live else OrderStatus.EXECUTING
    stored = view(status, *attempts, cancel_requested_at_us=cancel_at)
    assert next_step(stored, now, POLICY) == step


@given(
    st.lists(st.sampled_from(AttemptStatus), max_size=6),
    st.integers(NOW - S, LATE + S),
    st.none() | st.just(NOW),
    st.sampled_from([OrderStatus.QUEUED, OrderStatus.EXECUTING, OrderStatus.SUBMITTED]),
)
def test_nothing_is_signed_unless_everything_allows_it(
    attempts: list[AttemptStatus], now: int, cancel_at: int | None, status: OrderStatus
) -> None:
    """Every earlier attempt dead, time left, retries left and no cancellation: else no attempt."""
    stored = view(status, *attempts, cancel_requested_at_us=cancel_at)
    allowed = (
        all(one.dead for one in attempts)
        and now < LATE
        and cancel_at is None
        and len(attempts) <= 3
    )
    step = next_step(stored, now, POLICY)
    assert isinstance(step, Prepare) is allowed
    assert step == Prepare(len(attempts) + 1) or not allowed


@given(st.lists(st.sampled_from(ReplyOutcome), max_size=3), st.sampled_from([NOW, LATE]))
def test_no_reply_lets_another_attempt_be_signed(replies: list[ReplyOutcome], now: int) -> None:
    """A stored attempt counts as sent, whatever every method said to its bytes."""
    pushes = tuple(push(outcome=outcome) for outcome in replies)
    live = replace(attempt(AttemptStatus.SUBMITTED), submissions=pushes)
    stored = replace(view(OrderStatus.SUBMITTED), attempts=(live,))
    assert next_step(stored, now, POLICY) == Watch()


def test_a_filled_order_is_watched() -> None:
    """Until it is finalized a fork may undo it, and nothing new is signed in any case."""
    filled = view(OrderStatus.FILLED, AttemptStatus.LANDED)
    assert next_step(filled, LATE, POLICY) == Watch()


@pytest.mark.parametrize(
    "status",
    [OrderStatus.FAILED, OrderStatus.EXPIRED, OrderStatus.CANCELED, OrderStatus.REJECTED],
)
def test_an_order_that_has_ended_needs_nothing(status: OrderStatus) -> None:
    """Asking is a defect, and never answered with a new attempt."""
    with pytest.raises(IllegalMoveError, match=f"ended as {status}"):
        next_step(view(status, DEAD), NOW, POLICY)


@pytest.mark.parametrize("attempts", [[], [DEAD] * 4])
def test_the_last_trouble_is_told_at_the_end(attempts: list[AttemptStatus]) -> None:
    """Whoever reads why an order ended reads what kept it."""
    stored = view(OrderStatus.EXECUTING, *attempts, reason="no node answers")
    step = next_step(stored, NOW if attempts else LATE, POLICY)
    assert isinstance(step, End)
    assert step.reason.endswith(" (last trouble: no node answers)")


@pytest.mark.parametrize(
    ("valid_for", "signal_time", "seconds"),
    [
        (None, None, 300),
        (None, -100, 300),
        (10, None, 10),
        (300, None, 300),
        (301, None, 300),
        (10, -4, 6),
        (10, -40, -30),
        (10, 30, 40),
        (400, -150, 250),
        (400, -50, 300),
    ],
)
def test_the_deadline_is_the_earlier_of_timeout_and_validity(
    valid_for: int | None, signal_time: int | None, seconds: int
) -> None:
    """min(accepted + order_timeout, signal_time + valid_for); without a time, from acceptance."""
    at = None if signal_time is None else NOW + signal_time * S
    length = None if valid_for is None else valid_for * S
    assert deadline(NOW, 300 * S, at, length) == NOW + seconds * S


TIMES = st.integers(-10, 10)
LENGTHS = st.integers(1, 20)


@given(TIMES, LENGTHS, st.none() | TIMES, st.none() | LENGTHS)
def test_an_order_is_stale_only_when_its_own_validity_cut_its_deadline(
    accepted: int, timeout: int, signal_time: int | None, valid_for: int | None
) -> None:
    """SIGNAL_STALE exactly when valid_for ends no later than order_timeout; also at time zero."""
    given_signal = signal(valid_for_us=valid_for, signal_time_us=signal_time)
    stored = view(
        OrderStatus.EXECUTING,
        accepted_at_us=accepted,
        deadline_us=deadline(accepted, timeout, signal_time, valid_for),
        signal=given_signal,
    )
    start = accepted if signal_time is None else signal_time
    stale = valid_for is not None and start + valid_for <= accepted + timeout
    end = out_of_time(stored)
    assert end.status is OrderStatus.EXPIRED
    assert end.code is (ReasonCode.SIGNAL_STALE if stale else ReasonCode.ORDER_TIMEOUT)
    assert valid_until(accepted, signal_time, valid_for) == (
        None if valid_for is None else start + valid_for
    )


@pytest.mark.parametrize(
    ("failures", "jitter", "seconds"),
    [
        (0, 0, 2),
        (1, 0, 2),
        (2, 0, 4),
        (3, 0, 8),
        (4, 0, 16),
        (5, 0, 16),
        (10**9, 0, 16),
        (1, 1_000, 2.5),
        (1, 500, 2.25),
        (4, 1_000, 20),
    ],
)
def test_the_delay_doubles_up_to_a_bound(failures: int, jitter: int, seconds: float) -> None:
    """Two seconds, then four, and so on; jitter adds up to a quarter."""
    assert backoff_us(POLICY, failures, jitter) == seconds * S


@given(st.integers(0, 60 * S), st.integers(0, 100), st.integers(0, 1_000))
def test_a_delay_never_leaves_its_bounds(delay: int, failures: int, jitter: int) -> None:
    """It is never shorter than the base, nor longer than the last doubling and a quarter."""
    policy = RetryPolicy(delay, 3)
    most = (delay << BACKOFF_DOUBLINGS_MAX) * 5 // 4
    assert delay <= backoff_us(policy, failures, jitter) <= most
    assert backoff_us(policy, failures, 0) <= backoff_us(policy, failures + 1, jitter)
