"""Pushes the bytes of stored attempts: the lane plan, and fallback or race from method to method."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final

from app.domain.attempt import Lane, LanePlan, LaneStrategy, StoredAttempt, Submission
from app.domain.lanes import Turn
from app.domain.order import Order
from app.domain.outcome import Reply, ReplyOutcome
from app.domain.signal import US
from app.engine.ports import Clock, Executor, Hindrance, Privacy, Telemetry, TipNeeds

MOVES_ON: Final = frozenset({ReplyOutcome.NOT_SENT, ReplyOutcome.REJECTED, ReplyOutcome.UNKNOWN})
"""Outcomes after which the next lane gets the same bytes at once."""
SOON_SECONDS: Final = 1.5
"""A method that takes a push within this time is worth signing for: Jito admits one a second."""

BREAKER_OPEN: Final = "breaker_open"

Told = Callable[[Submission], Awaitable[None]]


class TransactionExecutor:
    """Holds the executors by name and follows lane plans; it never signs and never decides an end."""

    def __init__(
        self,
        executors: Mapping[str, Executor],
        *,
        clock: Clock,
        telemetry: Telemetry,
        patience_seconds: Mapping[str, float],
        push_seconds: float,
        strategy: LaneStrategy = LaneStrategy.FALLBACK,
    ) -> None:
        """`patience_seconds`: how long each lane holds bytes unlanded; `push_seconds` bounds one push."""
        self._executors = executors
        self._clock = clock
        self._telemetry = telemetry
        self._patience_ms = {name: int(patience_seconds[name] * 1_000) for name in executors}
        self._push_seconds = push_seconds
        self._strategy = strategy
        self._disabled: frozenset[str] = frozenset()

    # ------------------------------------------------------------ plans

    def plan(self, order: Order) -> LanePlan | None:
        """Give the ordered lanes for an order, or None while none of them would take a push soon."""
        names = order.signal.methods or tuple(self._executors)
        lanes = self._allowed(names, public_fallback=order.signal.allow_public_fallback)
        if not any(self._takes_soon(name) for name in lanes):
            return None
        private = not order.signal.allow_public_fallback and all(map(self._is_private, lanes))
        kept = tuple(Lane(name, self._patience_ms[name]) for name in lanes)
        return LanePlan(kept, self._strategy, private)

    def _is_private(self, name: str) -> bool:
        return self._executors[name].privacy is Privacy.PRIVATE

    def _allowed(self, names: Sequence[str], *, public_fallback: bool) -> list[str]:
        """Leave out disabled lanes, and the public ones beside a private one when the order forbids it.

        Bytes that have been sent privately never become public then, whatever the lanes' order is.
        """
        known = [name for name in names if name in self._executors]
        private = [name for name in known if self._is_private(name)]
        allowed = known if public_fallback or not private else private
        return [name for name in allowed if name not in self._disabled]

    def _hindrance(self, name: str, *, again: bool = False) -> Hindrance | None:
        if name in self._disabled:
            return Hindrance("disabled", math.inf)
        return self._executors[name].hindrance(again=again)

    def _takes_soon(self, name: str) -> bool:
        return _soon(self._hindrance(name))

    def needs(self, plan: LanePlan) -> Sequence[TipNeeds]:
        """Give what the plan's methods demand of the transaction."""
        return [self._executors[lane.method].needs for lane in plan.lanes]

    # ------------------------------------------------------------ the methods themselves

    def any_admits(self) -> bool:
        """Tell whether any method would take a push soon."""
        return any(self._takes_soon(name) for name in self._executors)

    def unavailable(self) -> Sequence[str]:
        """Name each method that would take no push soon, with what keeps it."""
        hindrances = {name: self._hindrance(name) for name in self._executors}
        return [
            f"{name} ({hindrance.reason})"
            for name, hindrance in hindrances.items()
            if hindrance is not None and not _soon(hindrance)
        ]

    def states(self) -> Sequence[Mapping[str, object]]:
        """Give each method's state, in the configured order; `wait_seconds` null: not by itself."""
        return [self._state(name) for name in self._executors]

    def _state(self, name: str) -> Mapping[str, object]:
        hindrance = self._hindrance(name)
        seconds = 0.0 if hindrance is None else hindrance.seconds
        return {
            **self._executors[name].state(),
            "enabled": name not in self._disabled,
            "wait_seconds": None if math.isinf(seconds) else round(seconds, 3),
        }

    def has(self, name: str) -> bool:
        """Tell whether a method of this name is configured."""
        return name in self._executors

    def reset(self, name: str) -> None:
        """Close a method's breaker and forget its back-offs."""
        self._executors[name].reset()

    def set_disabled(self, names: Iterable[str]) -> None:
        """Push nothing through these methods; bytes that they hold stay where they are."""
        self._disabled = frozenset(names)

    def claims(self, attempt: StoredAttempt) -> Mapping[str, str]:
        """Give by method what was last said of the bytes' fate, by those that say anything."""
        said = {
            lane.method: self._executors[lane.method].claim(attempt.signature)
            for lane in attempt.plan.lanes
            if lane.method in self._executors
        }
        return {method: claim for method, claim in said.items() if claim is not None}

    # ------------------------------------------------------------ pushes

    async def push(
        self, attempt: StoredAttempt, turn: Turn, may: Callable[[], bool], told: Told
    ) -> float | None:
        """Push the bytes as the turn says; gives the seconds after which a hindered push is worth trying.

        `may` is asked before every push: a lane takes its time, and leave may end meanwhile. `told` gets
        each submission as soon as it is over, and raises nothing. A method that is no longer configured,
        or has become public under a plan that is private, is passed over: the bytes stay as they are.
        """
        names = [name for name in turn.methods if name in self._executors]
        if attempt.plan.private:
            names = [name for name in names if self._is_private(name)]
        if turn.at_once:
            return await self._race(attempt, names, turn, may, told)
        return await self._fall_back(attempt, names, turn, may, told)

    async def _fall_back(
        self,
        attempt: StoredAttempt,
        names: Sequence[str],
        turn: Turn,
        may: Callable[[], bool],
        told: Told,
    ) -> float | None:
        waits: list[float] = []
        for name in names:
            hindrance = self._hindrance(name, again=turn.again)
            if hindrance is not None:
                waits.append(hindrance.seconds)
                await self._pass_over(name, hindrance, turn, told)
                continue
            if not may():
                return None
            submission = await self._submit(self._executors[name], attempt)
            await told(submission)
            if submission.outcome not in MOVES_ON:
                return None
        return min(waits, default=None)

    async def _race(
        self,
        attempt: StoredAttempt,
        names: Sequence[str],
        turn: Turn,
        may: Callable[[], bool],
        told: Told,
    ) -> float | None:
        """Push through all lanes at once; each is told by itself, the slowest holds up no other."""
        lanes = [self._fall_back(attempt, [name], turn, may, told) for name in names]
        waits = [wait for wait in await asyncio.gather(*lanes) if wait is not None]
        return min(waits) if waits and len(waits) == len(names) else None

    async def _pass_over(self, name: str, hindrance: Hindrance, turn: Turn, told: Told) -> None:
        """Tell once why a lane got nothing; that it has to wait longer is no news."""
        if name in turn.tried:
            return
        reply = Reply(ReplyOutcome.NOT_SENT, hindrance.reason, hindrance.seconds)
        self._telemetry.submission(name, reply, 0)
        await told(_submission(name, reply, self._clock.now_us(), 0))

    async def _submit(self, executor: Executor, attempt: StoredAttempt) -> Submission:
        sent_at_us, started = self._clock.now_us(), self._clock.monotonic()
        reply = await self._bounded(executor, attempt, started + self._push_seconds)
        seconds = self._clock.monotonic() - started
        self._telemetry.submission(executor.name, reply, seconds)
        self._telemetry.stage("submit", seconds)
        return _submission(executor.name, reply, sent_at_us, seconds)

    async def _bounded(self, executor: Executor, attempt: StoredAttempt, deadline: float) -> Reply:
        """Hold an executor to its contract: it answers in time and raises nothing."""
        try:
            async with asyncio.timeout_at(deadline):
                return await executor.submit(attempt, deadline)
        except TimeoutError:
            return Reply(ReplyOutcome.UNKNOWN, "timeout")
        except Exception as error:  # noqa: BLE001 - a plug-in's defect tells nothing about the bytes
            return Reply(ReplyOutcome.UNKNOWN, f"defect:{type(error).__name__}")


def _soon(hindrance: Hindrance | None) -> bool:
    """Tell whether a push is worth signing for: a breaker that closes soon may as well open again."""
    if hindrance is None:
        return True
    return hindrance.reason != BREAKER_OPEN and hindrance.seconds <= SOON_SECONDS


def _submission(name: str, reply: Reply, sent_at_us: int, seconds: float) -> Submission:
    return Submission(
        method=name,
        outcome=reply.outcome,
        reason=reply.reason,
        sent_at_us=sent_at_us,
        latency_us=int(seconds * US),
    )
