"""Pushes the bytes of stored attempts: the lane plan, and the fallback from method to method."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from app.domain.attempt import Lane, LanePlan, StoredAttempt, Submission
from app.domain.order import Order
from app.domain.outcome import Reply, ReplyOutcome
from app.domain.signal import US
from app.engine.ports import Clock, Executor, Privacy, Telemetry, TipNeeds

MOVES_ON: Final = frozenset({ReplyOutcome.NOT_SENT, ReplyOutcome.REJECTED, ReplyOutcome.UNKNOWN})
"""Outcomes after which the next lane gets the same bytes at once."""


class TransactionExecutor:
    """Holds the executors by name and follows lane plans; it never signs and never decides an end."""

    def __init__(
        self,
        executors: Mapping[str, Executor],
        *,
        clock: Clock,
        telemetry: Telemetry,
        patience_seconds: float,
        push_seconds: float,
    ) -> None:
        """`patience_seconds`: how long a lane holds bytes unlanded; `push_seconds` bounds one push."""
        self._executors = executors
        self._clock = clock
        self._telemetry = telemetry
        self._patience_ms = int(patience_seconds * 1_000)
        self._push_seconds = push_seconds

    def plan(self, order: Order) -> LanePlan | None:
        """Give the ordered lanes for an order, or None while none of them would admit a push."""
        names = order.signal.methods or tuple(self._executors)
        lanes = self._allowed(names, public_fallback=order.signal.allow_public_fallback)
        if not any(self._executors[name].admits() for name in lanes):
            return None
        return LanePlan(tuple(Lane(name, self._patience_ms) for name in lanes))

    def _allowed(self, names: Sequence[str], *, public_fallback: bool) -> list[str]:
        """Leave out the public lanes behind a private one when the order forbids such a fallback."""
        known = [name for name in names if name in self._executors]
        private = any(self._executors[name].privacy is Privacy.PRIVATE for name in known)
        if public_fallback or not private:
            return known
        return [name for name in known if self._executors[name].privacy is Privacy.PRIVATE]

    def needs(self, plan: LanePlan) -> Sequence[TipNeeds]:
        """Give what the plan's methods demand of the transaction."""
        return [self._executors[lane.method].needs for lane in plan.lanes]

    def any_admits(self) -> bool:
        """Tell whether any method would admit a push now."""
        return any(executor.admits() for executor in self._executors.values())

    def states(self) -> Sequence[Mapping[str, object]]:
        """Give each method's state, in the configured order."""
        return [executor.state() for executor in self._executors.values()]

    async def push(
        self, attempt: StoredAttempt, first_lane: int, may: Callable[[], bool]
    ) -> tuple[Submission, ...]:
        """Push the bytes lane by lane from `first_lane` until one may have them for good.

        `may` is asked before every push: a lane takes its time, and leave may end meanwhile. A method
        that is no longer configured is passed over: the bytes stay as they are.
        """
        submissions: list[Submission] = []
        for lane in attempt.plan.lanes[first_lane:]:
            executor = self._executors.get(lane.method)
            if executor is None:
                continue
            if not may():
                break
            submission = await self._submit(executor, attempt)
            submissions.append(submission)
            if submission.outcome not in MOVES_ON:
                break
        return tuple(submissions)

    async def _submit(self, executor: Executor, attempt: StoredAttempt) -> Submission:
        sent_at_us, started = self._clock.now_us(), self._clock.monotonic()
        reply = await self._bounded(executor, attempt, started + self._push_seconds)
        seconds = self._clock.monotonic() - started
        self._telemetry.submission(executor.name, reply, seconds)
        self._telemetry.stage("submit", seconds)
        return Submission(
            method=executor.name,
            outcome=reply.outcome,
            reason=reply.reason,
            sent_at_us=sent_at_us,
            latency_us=int(seconds * US),
        )

    async def _bounded(self, executor: Executor, attempt: StoredAttempt, deadline: float) -> Reply:
        """Hold an executor to its contract: it answers in time and raises nothing."""
        try:
            async with asyncio.timeout_at(deadline):
                return await executor.submit(attempt, deadline)
        except TimeoutError:
            return Reply(ReplyOutcome.UNKNOWN, "timeout")
        except Exception as error:  # noqa: BLE001 - a plug-in's defect tells nothing about the bytes
            return Reply(ReplyOutcome.UNKNOWN, f"defect:{type(error).__name__}")
