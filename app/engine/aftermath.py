"""What becomes of an order whose attempt died: a pure decision."""

from app.domain import changes
from app.domain.changes import Change
from app.domain.errors import ReasonCode
from app.domain.order import OrderStatus, OrderView
from app.domain.retry import End, RetryPolicy, backoff_us, next_step
from app.engine.ports import Explained


def after_death(
    view: OrderView, explained: Explained | None, *, at_us: int, policy: RetryPolicy, jitter: int
) -> Change:
    """Say what becomes of an order whose live attempt just died (and is marked so in `view`).

    A cancellation that waited for this takes effect; a failure that a new quote would not change ends
    the order; else the retry policy decides.
    """
    step = next_step(view, at_us, policy)
    if isinstance(step, End):
        exhausted = step.code is ReasonCode.RETRIES_EXHAUSTED and explained is not None
        code = explained.code if exhausted and explained is not None else step.code
        error = explained.error if explained is not None else None
        return changes.ended(
            view, step.status, at_us=at_us, code=code, reason=step.reason, program_error=error
        )
    if explained is not None and not explained.retryable:
        return changes.ended(
            view,
            OrderStatus.FAILED,
            at_us=at_us,
            code=explained.code,
            reason=explained.error.words,
            program_error=explained.error,
        )
    code = explained.code if explained is not None else ReasonCode.ATTEMPT_EXPIRED
    reason = explained.error.words if explained is not None else "the attempt expired unlanded"
    delay = backoff_us(policy, view.dead_attempts, jitter)
    return changes.requeued(view, at_us=at_us, next_us=at_us + delay, code=code, reason=reason)
