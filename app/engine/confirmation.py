"""The watch over every live attempt: pushes again, judges, settles; and follows fills to finality."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import structlog

from app.domain.attempt import AttemptStatus, StoredAttempt, Submission
from app.domain.errors import IntakeError
from app.domain.lanes import HOLDS, turn
from app.domain.order import OrderStatus
from app.domain.outcome import (
    Absent,
    ChainStatus,
    Commitment,
    Heights,
    ReplyOutcome,
    Seen,
    Verdict,
    verdict,
)
from app.domain.signal import US
from app.engine.held import Held
from app.engine.lease import Lease
from app.engine.ports import Ports
from app.engine.settlement import Settlement
from app.engine.transaction_executor import TransactionExecutor

FINALITY_SECONDS: Final = 2.0
"""How often fills are looked at on their way to finality (about 13 s on mainnet)."""
AGAIN_SECONDS: Final = 0.5
"""How long an attempt rests after a look that settled nothing."""
CANCELS_SECONDS: Final = 1.0
"""How often cancellations asked of another process are looked for."""
PROOF_DOUBLINGS_MAX: Final = 3
"""A proof that fails is tried again after 0.5, 1, 2, 4, 4, ... seconds."""
PUSH_REPLY_SECONDS: Final = 0.5
"""How long a landing waits for the reply of a push under way, so that it is credited rightly."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Watched:
    """A live attempt, or a fill on its way to finality."""

    held: Held
    attempt: StoredAttempt
    next_push_at: float
    pushes: list[Submission] = field(default_factory=list)
    """Everything pushed so far, whether it could be recorded or not."""
    pushing: asyncio.Task[None] | None = None
    busy: bool = False
    proofs_failed: int = 0
    rest_until: float = field(default=float("-inf"))


class Confirmation:
    """One loop for all attempts in flight: a batched status poll, with notices as an accelerator."""

    def __init__(
        self,
        ports: Ports,
        *,
        settlement: Settlement,
        executor: TransactionExecutor,
        lease: Lease,
        poll_seconds: float,
        rebroadcast_seconds: float,
        transaction_timeout_seconds: float,
    ) -> None:
        """`rebroadcast_seconds` is the mean pause between pushes of one attempt."""
        self._store = ports.store
        self._chain = ports.chain
        self._settlement = settlement
        self._executor = executor
        self._lease = lease
        self._clock = ports.clock
        self._poll_seconds = poll_seconds
        self._rebroadcast_seconds = rebroadcast_seconds
        self._transaction_timeout_us = int(transaction_timeout_seconds * US)
        self._live: dict[str, _Watched] = {}
        self._fills: dict[str, _Watched] = {}
        self._bare: list[Held] = []
        """Fills, and orders in doubt, that no transaction is known of."""
        self._tasks: dict[asyncio.Task[None], None] = {}  # in their order, the same each time
        self._defect: BaseException | None = None
        self._wake = asyncio.Event()
        self._fills_looked_at = float("-inf")
        self._cancels_looked_at = float("-inf")

    # ------------------------------------------------------------ in

    def watch(self, held: Held) -> None:
        """Watch the order's live attempt, and push it at once; again for one already watched: nothing."""
        attempt = held.live
        if attempt is None or self._is_watched(attempt):
            return
        now, pushes = self._clock.monotonic(), list(attempt.submissions)
        watched = _Watched(held, attempt, next_push_at=now, pushes=pushes)
        self._live[attempt.signature] = watched
        order = held.view.order
        if order.in_doubt_since_us is not None or order.landed_failed_at_us is not None:
            held.settled.set()
        self._push_if_due(watched)
        self._start(watched, lambda: self._chain.landing_notice(attempt.signature))

    def _is_watched(self, attempt: StoredAttempt) -> bool:
        known = self._live.get(attempt.signature)
        return known is not None and not known.held.lost

    def follow(self, held: Held) -> None:
        """Follow a fill until its block is finalized.

        One without a landed attempt is held and left as it is: freed, it would be taken up each second.
        """
        landed = [each for each in held.view.attempts if each.status is AttemptStatus.LANDED]
        if not landed:
            _log.critical("an order has no transaction to follow", order_id=held.order_id)
            self._bare = [*(each for each in self._bare if not each.lost), held]
        for attempt in landed:
            watched = _Watched(held, attempt, next_push_at=float("inf"))
            self._fills[attempt.signature] = watched

    def notice(self, signature: str) -> None:
        """Look soon: something was seen of this signature."""
        if signature in self._live:
            self._live[signature].rest_until = float("-inf")
            self._wake.set()

    def cancel(self, order_id: str) -> None:
        """Stop pushing an order whose cancellation was requested; it is only watched from now on."""
        for watched in self._live.values():
            if watched.held.order_id == order_id:
                watched.held.cancel_requested = True

    def held(self) -> list[Held]:
        """Give every order in the watch."""
        watched = (*self._live.values(), *self._fills.values())
        return [*(each.held for each in watched), *self._bare]

    # ------------------------------------------------------------ the loop

    async def run(self) -> None:
        """Look until cancelled, then end what is under way."""
        try:
            while True:
                await self._pause()
                await self.look()
                if self._defect is not None:
                    raise self._defect
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._poll_seconds):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def look(self) -> None:
        """Look once at everything that is due."""
        now = self._clock.monotonic()
        await self._look_at_live(now)
        if now - self._fills_looked_at >= FINALITY_SECONDS:
            self._fills_looked_at = now
            await self._look_at_fills()
        if now - self._cancels_looked_at >= CANCELS_SECONDS:
            self._cancels_looked_at = now
            await self._look_for_cancels()

    async def _look_at_live(self, now: float) -> None:
        due = [w for w in self._live.values() if not w.busy and w.rest_until <= now]
        heights = await self._chain.heights()  # expiry first, status second
        statuses = await self._statuses(due, heights)
        for watched in due:
            if watched.held.lost or watched.held.live is None:  # settled: nobody heard of it
                self._settled(watched)
            else:
                self._judge(watched, statuses[watched.attempt.signature], heights)

    async def _statuses(
        self, due: list[_Watched], heights: Heights | None
    ) -> Mapping[str, ChainStatus]:
        """Ask for what is due; past its life with history, since it may have landed long ago."""
        old = [w.attempt.signature for w in due if self._past(w.attempt, heights)]
        new = [w.attempt.signature for w in due if not self._past(w.attempt, heights)]
        statuses: dict[str, ChainStatus] = {}
        if new:
            statuses |= await self._chain.statuses(new)
        if old:
            statuses |= await self._chain.statuses(old, history=True)
        return statuses

    def _past(self, attempt: StoredAttempt, heights: Heights | None) -> bool:
        """Tell whether the attempt should have landed by now, if it ever does."""
        if heights is None:
            return self._overdue(attempt)
        return heights.block_height > attempt.last_valid_block_height

    def _overdue(self, attempt: StoredAttempt) -> bool:
        return self._clock.now_us() >= attempt.signed_at_us + self._transaction_timeout_us

    def _judge(self, watched: _Watched, status: ChainStatus, heights: Heights | None) -> None:
        held, attempt = watched.held, watched.attempt
        judged = verdict(
            status,
            last_valid_block_height=attempt.last_valid_block_height,
            heights=heights,
            overdue=self._overdue(attempt),
            proof=None,
        )
        past = self._past(attempt, heights)
        if judged is Verdict.LANDED:
            self._spawn(watched, lambda: self._landed(watched, past=past))
        elif judged is Verdict.FAILED:
            self._spawn(watched, lambda: self._failed(watched, past=past))
        elif judged is Verdict.FAILED_UNSETTLED and isinstance(status, Seen):
            if held.view.order.landed_failed_at_us is None:
                self._spawn(watched, lambda: self._settlement.landed_failed(held, attempt, status))
            elif past:  # it should be final by now, or gone
                self._spawn(watched, lambda: self._failed(watched, past=True))
        elif judged is Verdict.IN_DOUBT:
            self._spawn(watched, lambda: self._past_life(watched))
        elif not isinstance(status, Seen):
            self._push_if_due(watched)

    async def _landed(self, watched: _Watched, *, past: bool) -> None:
        """Settle a fill; one that cannot be read back is no failure, and past its life in doubt."""
        if watched.pushing is not None and all(p.outcome not in HOLDS for p in watched.pushes):
            await asyncio.wait([watched.pushing], timeout=PUSH_REPLY_SECONDS)
        if await self._settlement.landed(watched.held, watched.attempt):
            self._settled(watched)
        elif past:
            why = "it landed, yet the transaction cannot be read back"
            await self._settlement.doubt(watched.held, watched.attempt, why)

    async def _let_finish(self, watched: _Watched) -> None:
        """Wait for a push under way, which is bounded: a dead attempt's order is given back without it."""
        if watched.pushing is not None:
            await asyncio.wait([watched.pushing])

    async def _failed(self, watched: _Watched, *, past: bool) -> None:
        await self._let_finish(watched)
        if await self._settlement.failed(watched.held, watched.attempt, past=past):
            self._settled(watched)
        else:
            watched.proofs_failed += 1

    async def _past_life(self, watched: _Watched) -> None:
        await self._let_finish(watched)
        if await self._settlement.past_life(watched.held, watched.attempt):
            self._settled(watched)
        else:
            watched.proofs_failed += 1

    @staticmethod
    def _forget(where: dict[str, _Watched], watched: _Watched) -> None:
        """Take one out, unless another handle on the same attempt stands in its place."""
        if where.get(watched.attempt.signature) is watched:
            del where[watched.attempt.signature]

    def _settled(self, watched: _Watched) -> None:
        self._forget(self._live, watched)
        if watched.held.view.order.status is OrderStatus.FILLED and not watched.held.lost:
            self.follow(watched.held)

    def _spawn(self, watched: _Watched, work: Callable[[], Awaitable[None]]) -> None:
        """Run the work that settles an attempt; no other look at it starts meanwhile."""

        async def settle() -> None:
            try:
                await work()
            finally:
                doublings = min(watched.proofs_failed, PROOF_DOUBLINGS_MAX)
                watched.busy = False
                watched.rest_until = self._clock.monotonic() + AGAIN_SECONDS * 2**doublings

        watched.busy = True
        self._start(watched, settle)

    def _start(self, watched: _Watched, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        """Run work for one attempt; what goes wrong leaves it watched, to be looked at again."""

        async def run() -> None:
            try:
                await work()
            except Exception:  # noqa: BLE001 - a defect in one order's settling spares the others
                _log.exception("a look settled nothing", order_id=watched.held.order_id)

        task = asyncio.create_task(run())
        self._tasks[task] = None
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Keep what is no ordinary error, such as a panic of native code: it ends the service."""
        self._tasks.pop(task, None)
        if not task.cancelled() and task.exception() is not None:
            self._defect = task.exception()
            self._wake.set()

    # ------------------------------------------------------------ pushes

    def _push_if_due(self, watched: _Watched) -> None:
        """Push the bytes (again) when it is time, and nobody else does."""
        now = self._clock.monotonic()
        if now < watched.next_push_at or not self._may_push(watched):
            return
        if watched.pushing is not None and not watched.pushing.done():
            return
        jitter = random.uniform(0.8, 1.2)  # noqa: S311 - spreads pushes, guards nothing
        watched.next_push_at = now + self._rebroadcast_seconds * jitter
        watched.pushing = self._start(watched, lambda: self._push(watched))

    def _may_push(self, watched: _Watched) -> bool:
        """Tell whether bytes may leave: not when canceled, too late or being settled, nor without a lease."""
        held = watched.held
        return (
            not watched.busy
            and held.live is not None
            and not held.cancel_requested
            and not held.lost
            and not held.out_of_time
            and self._lease.held()
        )

    async def _push(self, watched: _Watched) -> None:
        """Push to the lanes whose turn it is; when they make wait, come back as soon as one does not."""
        attempt = watched.attempt
        whose = turn(
            self._executor.usable(attempt.plan),
            watched.pushes,
            signed_at_us=attempt.signed_at_us,
            now_us=self._clock.now_us(),
        )
        wait_seconds = await self._executor.push(
            attempt,
            whose,
            lambda: self._may_push(watched),
            lambda submission: self._pushed(watched, submission),
        )
        if wait_seconds is not None:
            soon = self._clock.monotonic() + wait_seconds
            watched.next_push_at = min(watched.next_push_at, soon)
        await self._record(watched)

    def _pushed(self, watched: _Watched, submission: Submission) -> None:
        """Take note of a push; that a method has the bytes is written at once, the rest with what comes."""
        watched.pushes.append(submission)
        watched.held.pushed(watched.attempt.number, submission, self._clock.now_us())
        if submission.outcome in HOLDS:
            self._start(watched, lambda: self._record(watched))
        if submission.outcome is ReplyOutcome.ALREADY:  # it has landed: well or badly
            self.notice(watched.attempt.signature)

    async def _record(self, watched: _Watched) -> None:
        """Record how pushes went; the record never decides anything, nor keeps bytes from going on."""
        try:
            await watched.held.record()
        except IntakeError as error:  # it is recorded with whatever is recorded next
            _log.warning("a push is not recorded yet", why=error.what)

    # ------------------------------------------------------------ fills and cancellations

    async def _look_at_fills(self) -> None:
        now = self._clock.monotonic()
        due = [w for w in self._fills.values() if not w.busy and w.rest_until <= now]
        heights = await self._chain.heights()
        statuses = await self._statuses(due, heights)
        for watched in due:
            if watched.held.lost:
                self._forget(self._fills, watched)
            else:
                self._judge_fill(watched, statuses[watched.attempt.signature], heights)

    def _judge_fill(self, watched: _Watched, status: ChainStatus, heights: Heights | None) -> None:
        if isinstance(status, Seen):
            if status.commitment is Commitment.FINALIZED:
                self._spawn(watched, lambda: self._finalized(watched, status))
        elif isinstance(status, Absent) and self._past(watched.attempt, heights):
            self._spawn(watched, lambda: self._fill_absent(watched))

    async def _finalized(self, watched: _Watched, seen: Seen) -> None:
        if await self._settlement.finalized(watched.held, watched.attempt, seen):
            self._forget(self._fills, watched)

    async def _fill_absent(self, watched: _Watched) -> None:
        if await self._settlement.fill_absent(watched.held, watched.attempt):
            self._forget(self._fills, watched)
        else:
            watched.proofs_failed += 1

    async def _look_for_cancels(self) -> None:
        unasked = {
            w.held.order_id: w.held for w in self._live.values() if not w.held.cancel_requested
        }
        if not unasked:
            return
        try:
            asked = await self._store.refresh(list(unasked))
        except IntakeError as error:
            _log.warning("cancellations could not be looked for", why=error.what)
            return
        for order_id, at_us in asked.items():
            if at_us is not None:  # one that was asked for here meanwhile is not in this answer
                unasked[order_id].cancel_requested = True
