"""When an order is tried again, and when it ends: pure questions with answers as values."""

from dataclasses import dataclass

from app.domain.errors import IllegalMoveError, ReasonCode
from app.domain.order import OrderStatus, OrderView

BACKOFF_DOUBLINGS_MAX = 3
"""The delay stops growing after this many doublings (8 times the base delay)."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`retry_delay_us` is the first delay; `max_retries` counts dead signed attempts."""

    retry_delay_us: int
    max_retries: int


@dataclass(frozen=True, slots=True)
class Prepare:
    """Sign the next attempt now."""

    number: int


@dataclass(frozen=True, slots=True)
class Watch:
    """An attempt is alive: go on with it, sign nothing."""


@dataclass(frozen=True, slots=True)
class End:
    """The order is over."""

    status: OrderStatus
    code: ReasonCode
    reason: str


NextStep = Prepare | Watch | End


def next_step(view: OrderView, now_us: int, policy: RetryPolicy) -> NextStep:
    """Decide what an order needs, from what is stored alone.

    Raises IllegalMoveError for an order that has ended without a fill: it needs nothing.
    """
    order = view.order
    if any(not attempt.status.dead for attempt in view.attempts):
        return Watch()
    if order.status.final:
        raise IllegalMoveError(f"order {order.order_id} has ended as {order.status}")
    if order.cancel_requested_at_us is not None:
        return End(OrderStatus.CANCELED, ReasonCode.CANCEL_REQUESTED, "canceled as requested")
    if now_us >= order.deadline_us:
        return out_of_time(view)
    if view.dead_attempts > policy.max_retries:
        what = _with_trouble(view, f"{view.dead_attempts} attempts are proved dead")
        return End(OrderStatus.FAILED, ReasonCode.RETRIES_EXHAUSTED, what)
    return Prepare(number=view.next_number)


def out_of_time(view: OrderView) -> End:
    """Say how an order ends whose deadline passed with nothing alive.

    SIGNAL_STALE when the signal's own `valid_for` set that deadline, else ORDER_TIMEOUT.
    """
    order = view.order
    until = valid_until(
        order.accepted_at_us, order.signal.signal_time_us, order.signal.valid_for_us
    )
    if until is not None and until <= order.deadline_us:
        code, what = ReasonCode.SIGNAL_STALE, "the signal's valid_for ran out"
    else:
        code, what = ReasonCode.ORDER_TIMEOUT, "the order's time ran out"
    return End(OrderStatus.EXPIRED, code, _with_trouble(view, what))


def _with_trouble(view: OrderView, what: str) -> str:
    return f"{what} (last trouble: {view.order.reason})" if view.order.reason else what


def valid_until(
    accepted_at_us: int, signal_time_us: int | None, valid_for_us: int | None
) -> int | None:
    """Give the time at which the signal says it is stale, counted from its own time if it has one."""
    if valid_for_us is None:
        return None
    return (accepted_at_us if signal_time_us is None else signal_time_us) + valid_for_us


def deadline(
    accepted_at_us: int, order_timeout_us: int, signal_time_us: int | None, valid_for_us: int | None
) -> int:
    """Give the time after which nothing is signed or pushed any more."""
    latest = accepted_at_us + order_timeout_us
    until = valid_until(accepted_at_us, signal_time_us, valid_for_us)
    return latest if until is None else min(latest, until)


def backoff_us(policy: RetryPolicy, failures: int, jitter: int) -> int:
    """Give the delay after the `failures`-th failure in a row: doubling, and 0 to 25 % jitter.

    `jitter` is a random whole number from 0 to 1,000.
    """
    doublings = min(max(failures - 1, 0), BACKOFF_DOUBLINGS_MAX)
    delay = policy.retry_delay_us << doublings
    return delay + delay * jitter // (4 * 1_000)
