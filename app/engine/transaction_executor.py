"""Pushes the bytes of stored attempts: the lane plan, and fallback or race from method to method."""

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
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
PROBE_SECONDS: Final = 10.0
"""An order is signed for the one probe that a method would take at most so often."""
BREAKER_OPEN: Final = "breaker_open"
HALF_OPEN: Final = "half_open"

Told = Callable[[Submission], None]


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
        self._probed_at: dict[str, float] = {}

    # ------------------------------------------------------------ plans

    def plan(self, order: Order, *, was_private: bool = False) -> LanePlan | None:
        """Give the ordered lanes for an order, or None while none of them would take a push soon.

        `was_private`: an earlier attempt of the order could go through private methods only.
        """
        names = order.signal.methods or tuple(self._executors)
        public = order.signal.allow_public_fallback
        lanes = self._allowed(names, public_fallback=public, was_private=was_private)
        if not any(self._takes_soon(name) for name in lanes):
            probed = [name for name in lanes if self._wants_probe(name)]
            if not probed:
                return None
            self._probed_at.update(dict.fromkeys(probed, self._clock.monotonic()))
        private = not order.signal.allow_public_fallback and all(map(self._is_private, lanes))
        kept = tuple(Lane(name, self._patience_ms[name]) for name in self._worth_a_tip(lanes))
        return LanePlan(kept, self._strategy, private)

    def _is_private(self, name: str) -> bool:
        return self._executors[name].privacy is Privacy.PRIVATE

    def _allowed(
        self, names: Sequence[str], *, public_fallback: bool, was_private: bool
    ) -> list[str]:
        """Leave out disabled lanes, and the public ones beside a private one when the order forbids it.

        Bytes that have been sent privately never become public then, whatever the lanes' order is. Of a
        method that is configured no more nobody knows whether it was private: it counts as such.
        """
        known = [name for name in names if name in self._executors]
        private = [name for name in known if self._is_private(name)]
        wants_private = bool(private) or was_private or len(known) < len(names)
        allowed = private if wants_private and not public_fallback else known
        return [name for name in allowed if name not in self._disabled]

    def _worth_a_tip(self, lanes: Sequence[str]) -> Sequence[str]:
        """Leave out lanes whose breaker is open and whose tip no other lane shares: it would be lost."""
        out = {
            name
            for name in lanes
            if (hindrance := self._hindrance(name)) is not None
            and hindrance.reason == BREAKER_OPEN
            and self._executors[name].needs.tip_lamports > 0
        }
        well = [set(self._executors[name].needs.payees) for name in lanes if name not in out]
        shared = {
            n for n in out if any(each & set(self._executors[n].needs.payees) for each in well)
        }
        return [name for name in lanes if name not in out - shared] or lanes

    def _hindrance(self, name: str, *, again: bool = False) -> Hindrance | None:
        if name in self._disabled:
            return Hindrance("disabled", math.inf)
        return self._executors[name].hindrance(again=again)

    def _takes_soon(self, name: str) -> bool:
        return _soon(self._hindrance(name))

    def _wants_probe(self, name: str) -> bool:
        """Tell whether an order may be signed to find out whether a method is well: one, now and then."""
        hindrance = self._hindrance(name)
        if hindrance is None or hindrance.reason != HALF_OPEN:
            return False
        probed_at = self._probed_at.get(name, -math.inf)
        return self._clock.monotonic() - probed_at >= PROBE_SECONDS

    def needs(self, plan: LanePlan) -> Sequence[TipNeeds]:
        """Give what the plan's methods demand of the transaction."""
        return [self._executors[lane.method].needs for lane in plan.lanes]

    # ------------------------------------------------------------ the methods themselves

    def any_admits(self) -> bool:
        """Tell whether an order could be signed: a method would take its push soon, or wants a probe."""
        return any(self._takes_soon(n) or self._wants_probe(n) for n in self._executors)

    def ready(self) -> bool:
        """Tell whether a method is known to be well and would take a push soon."""
        return any(self._takes_soon(name) for name in self._executors)

    def unavailable(self) -> Sequence[str]:
        """Name each method that is not known to take a push soon, with what keeps it."""
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

    def usable(self, plan: LanePlan) -> LanePlan:
        """Give the lanes of a plan that are left: configured, and still private where the plan is."""
        lanes = tuple(
            lane
            for lane in plan.lanes
            if lane.method in self._executors
            and (not plan.private or self._is_private(lane.method))
        )
        return replace(plan, lanes=lanes)

    async def push(
        self, attempt: StoredAttempt, turn: Turn, may: Callable[[], bool], told: Told
    ) -> float | None:
        """Push the bytes as the turn says; gives the seconds after which a hindered push is worth trying.

        The turn is one of the plan's usable lanes. `may` is asked before every push: a lane takes its
        time, and leave may end meanwhile. `told` gets each submission as soon as it is over.
        """
        if turn.at_once:
            return await self._race(attempt, turn, may, told)
        return await self._fall_back(attempt, turn.methods, turn, may, told)

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
            hindrance = self._hindrance(name, again=name in turn.held)
            if hindrance is not None and hindrance.reason != HALF_OPEN:
                waits.append(hindrance.seconds)
                self._pass_over(name, hindrance, turn, told)
                continue
            if not may():
                return None
            submission = await self._submit(self._executors[name], attempt, may)
            told(submission)
            if submission.outcome not in MOVES_ON:
                return None
        return min(waits, default=None)

    async def _race(
        self, attempt: StoredAttempt, turn: Turn, may: Callable[[], bool], told: Told
    ) -> float | None:
        """Push through all lanes at once; gives the shortest wait of those that never had the bytes."""
        lanes = [self._fall_back(attempt, [name], turn, may, told) for name in turn.methods]
        waits = zip(turn.methods, await asyncio.gather(*lanes), strict=True)
        first = [wait for name, wait in waits if wait is not None and name not in turn.held]
        return min(first, default=None)

    def _pass_over(self, name: str, hindrance: Hindrance, turn: Turn, told: Told) -> None:
        """Tell once why a lane got nothing; that it has to wait longer is no news."""
        if name in turn.tried:
            return
        reply = Reply(ReplyOutcome.NOT_SENT, hindrance.reason, hindrance.seconds)
        self._telemetry.submission(name, reply, 0)
        told(_submission(name, reply, self._clock.now_us(), 0))

    async def _submit(
        self, executor: Executor, attempt: StoredAttempt, may: Callable[[], bool]
    ) -> Submission:
        sent_at_us, started = self._clock.now_us(), self._clock.monotonic()
        reply = await self._bounded(executor, attempt, started + self._push_seconds, may)
        seconds = self._clock.monotonic() - started
        self._telemetry.submission(executor.name, reply, seconds)
        self._telemetry.stage("submit", seconds)
        return _submission(executor.name, reply, sent_at_us, seconds)

    async def _bounded(
        self,
        executor: Executor,
        attempt: StoredAttempt,
        deadline: float,
        may: Callable[[], bool],
    ) -> Reply:
        """Hold an executor to its contract: it answers in time and raises nothing."""
        try:
            async with asyncio.timeout_at(deadline):
                return await executor.submit(attempt, deadline, may)
        except TimeoutError:
            return Reply(ReplyOutcome.UNKNOWN, "timeout")
        except Exception as error:  # noqa: BLE001 - a plug-in's defect tells nothing about the bytes
            return Reply(ReplyOutcome.UNKNOWN, f"defect:{type(error).__name__}")


def _soon(hindrance: Hindrance | None) -> bool:
    """Tell whether a push is worth signing for: a breaker that closes soon may as well open again."""
    if hindrance is None:
        return True
    shut = hindrance.reason in (BREAKER_OPEN, HALF_OPEN)
    return not shut and hindrance.seconds <= SOON_SECONDS


def _submission(name: str, reply: Reply, sent_at_us: int, seconds: float) -> Submission:
    return Submission(
        method=name,
        outcome=reply.outcome,
        reason=reply.reason,
        sent_at_us=sent_at_us,
        latency_us=int(seconds * US),
    )
