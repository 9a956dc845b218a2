"""When an order is tried again, and when it ends: pure questions with answers as values."""

from dataclasses import dataclass

from app.domain.errors import ReasonCode
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
    """Decide what an unfinished order needs, from what is stored alone."""
    order = view.order
    if view.live_attempt is not None:
        return Watch()
    if order.cancel_requested_at_us is not None:
        return End(OrderStatus.CANCELED, ReasonCode.CANCEL_REQUESTED, "canceled as requested")
    if now_us >= order.deadline_us:
        return out_of_time(view)
    if view.dead_attempts > policy.max_retries:
        what = f"{view.dead_attempts} attempts are proved dead"
        return End(OrderStatus.FAILED, ReasonCode.RETRIES_EXHAUSTED, what)
    return Prepare(number=len(view.attempts) + 1)


def out_of_time(view: OrderView) -> End:
    """Say how an order ends whose deadline passed with nothing alive."""
    signal = view.order.signal
    base = signal.signal_time_us or view.order.accepted_at_us
    stale = signal.valid_for_us is not None and base + signal.valid_for_us <= view.order.deadline_us
    code = ReasonCode.SIGNAL_STALE if stale else ReasonCode.ORDER_TIMEOUT
    what = "the signal's valid_for ran out" if stale else "the order's time ran out"
    if view.order.reason:
        what += f" (last trouble: {view.order.reason})"
    return End(OrderStatus.EXPIRED, code, what)


def deadline(
    accepted_at_us: int, order_timeout_us: int, signal_time_us: int | None, valid_for_us: int | None
) -> int:
    """Give the time after which nothing is signed or pushed any more."""
    latest = accepted_at_us + order_timeout_us
    if valid_for_us is None:
        return latest
    base = accepted_at_us if signal_time_us is None else signal_time_us
    return min(latest, base + valid_for_us)


def backoff_us(policy: RetryPolicy, failures: int, jitter: int) -> int:
    """Give the delay after the `failures`-th failure in a row: doubling, and 0 to 25 % jitter.

    `jitter` is a random whole number from 0 to 1,000.
    """
    doublings = min(max(failures - 1, 0), BACKOFF_DOUBLINGS_MAX)
    delay = policy.retry_delay_us * 2**doublings
    return delay + delay * jitter // (4 * 1_000)
