"""ExecutionEngine: the worker pool, and the tasks that keep it fed, alive and honest."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Final

import structlog

from app.domain.errors import IntakeError, ReasonCode
from app.domain.order import Order, OrderStatus, OrderView
from app.domain.signal import US
from app.engine.confirmation import Confirmation
from app.engine.held import Held
from app.engine.lease import Lease
from app.engine.lifecycle import Lifecycle
from app.engine.order_manager import OrderManager
from app.engine.order_time import OrderTime
from app.engine.ports import Claimed, Ports
from app.engine.supervision import Supervisor
from app.engine.trading_state import TradingSwitch
from app.engine.transaction_executor import TransactionExecutor

POLL_SECONDS: Final = 0.25
"""How often the queue is looked at without being woken: retries that are due, other processes' orders."""
HOUSEKEEPING_SECONDS: Final = 1.0
OVERDUE_BATCH: Final = 100
ADOPT_BATCH: Final = 500
SEAL_BATCH: Final = 1_000
SEAL_SECONDS: Final = 0.2
STORAGE_RETRY_SECONDS: Final = 1.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """`slots` orders are in execution at once; `drain_seconds` bounds an orderly end."""

    slots: int
    execution_timeout_seconds: float
    drain_seconds: float


class ExecutionEngine:
    """Claims orders into `max_concurrent_executions` slots and drives each until it needs none."""

    def __init__(  # noqa: PLR0913 - every part by its name
        self,
        ports: Ports,
        *,
        manager: OrderManager,
        lifecycle: Lifecycle,
        confirmation: Confirmation,
        executor: TransactionExecutor,
        lease: Lease,
        supervisor: Supervisor,
        switch: TradingSwitch,
        limits: Limits,
    ) -> None:
        """Take the parts; `start` puts them to work."""
        self._store = ports.store
        self._chain = ports.chain
        self._manager = manager
        self._lifecycle = lifecycle
        self._confirmation = confirmation
        self._executor = executor
        self._lease = lease
        self._supervisor = supervisor
        self._switch = switch
        self._clock = ports.clock
        self._telemetry = ports.telemetry
        self._slots = limits.slots
        self._execution_timeout_seconds = limits.execution_timeout_seconds
        self._drain_seconds = limits.drain_seconds
        self._queue: asyncio.Queue[Held] = asyncio.Queue()
        self._running: dict[str, Held] = {}
        self._ending: dict[str, Held] = {}
        self._resolving: list[Held] = []
        self._claiming = asyncio.Lock()
        self._unclear = False
        """A claim was not answered: it may have taken orders that nobody here knows of."""
        self._checked = True
        """False: it is time to look whether an order is held and not known."""
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopping = False

    @property
    def busy(self) -> int:
        """How many slots are taken."""
        return len(self._running)

    @property
    def slots(self) -> int:
        """How many orders may be in execution at once."""
        return self._slots

    # ------------------------------------------------------------ start and stop

    async def start(self) -> None:
        """Take the lease, then start the workers and what feeds them."""
        self._manager.on_work = self._wake.set
        self._manager.on_cancel = self._cancel
        await self._lease.beat()
        await self._manager.refresh_figures()
        start = self._supervisor.start
        start("lease", self._lease.run())
        start("confirmation", self._confirmation.run())
        start("sealer", self._seal())
        start("housekeeping", self._keep_house())
        start("dispatcher", self._dispatch())
        for number in range(1, self._slots + 1):
            start(f"worker-{number}", self._work())

    async def stop(self) -> None:
        """Claim no more, let passes end for a while, then give every held order back.

        After a task has died nothing is waited for: passes may need just that one.
        """
        self._stopping = True
        self._manager.stop_accepting()
        if self._supervisor.failure is None:
            await self._drain()
        held = {h.order_id: h for h in (*self._running.values(), *self._confirmation.held())}
        await self._supervisor.stop()
        try:
            async with asyncio.timeout(self._drain_seconds):
                await asyncio.gather(*(self._release(order) for order in held.values()))
                await self._seal_all()
        except TimeoutError:
            _log.warning("orders were not given back in time, their leases run out by themselves")

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(self._drain_seconds):
                await self._idle.wait()
        except TimeoutError:
            _log.warning("draining took too long, orders stay for the next start", busy=self.busy)

    async def _release(self, held: Held) -> None:
        try:
            if await held.reload() and await held.record():  # pushes that were not recorded yet
                await self._store.release(held.claimed)
        except IntakeError as error:
            _log.warning("an order was not given back", order_id=held.order_id, why=error.what)

    # ------------------------------------------------------------ feeding

    async def _dispatch(self) -> None:
        while True:
            await self._pause(POLL_SECONDS)
            try:
                await self._claim()
            except IntakeError as error:
                _log.warning("the queue cannot be read", why=error.what)
                await asyncio.sleep(STORAGE_RETRY_SECONDS)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return
        finally:
            self._wake.clear()

    async def _claim(self) -> None:
        free = self._slots - self.busy
        if free <= 0 or self._stopping or not self._lease.held():
            return
        if not self._switch.may_hold():
            return
        live_only = not self._switch.may_sign()
        if not live_only and not self.can_execute():
            return
        time = OrderTime(self._clock)
        taken = await self._claimed(
            lambda: self._store.claim(free, time.now_us(), live_only=live_only), self._take, time
        )
        if taken == free:
            self._wake.set()

    async def _claimed(
        self,
        ask: Callable[[], Awaitable[Sequence[Claimed]]],
        take: Callable[[Held], None],
        time: OrderTime | None = None,
    ) -> int:
        """Claim in single file, and take what was given; gives how many.

        A claim whose answer was lost may have taken orders that nobody here knows of, nor anybody else
        may take: such orders are freed before the next claim.
        """
        time = time or OrderTime(self._clock)
        async with self._claiming:
            if self._unclear or not self._checked:
                # before the call: who asks for it while claims are under way asks for the next one
                self._unclear = self._checked = True
                await self._store.disown(self._known())
            self._unclear = True
            claims = await ask()
            self._unclear = False
            for claimed in claims:
                take(Held(claimed, self._store, self._recorded, time))
        return len(claims)

    @asynccontextmanager
    async def taken_over(self, account: str, order_id: str) -> AsyncIterator[Held | None]:
        """Hold an order in doubt in the place of whoever watches it, to be given back at the end.

        None: it is not in doubt, or not the account's. Raises IntakeError.
        """
        self._switch.demand_reconciled()
        taken: list[Held] = []

        async def ask() -> Sequence[Claimed]:
            claimed = await self._store.take_over(account, order_id)
            return [] if claimed is None else [claimed]

        def take(held: Held) -> None:
            for other in (*self._confirmation.held(), *self._running.values()):
                if other.order_id == order_id:
                    other.forsake()
            taken.append(held)
            self._resolving.append(held)

        await self._claimed(ask, take)
        try:
            yield taken[0] if taken else None
        finally:
            for held in taken:
                self._resolving.remove(held)
                await self._give_back(held)

    async def _give_back(self, held: Held) -> None:
        """Let it be watched again, or leave it: what is over matches no row."""
        try:
            await self._store.release(held.claimed)
        except IntakeError as error:
            _log.warning("an order was not given back", order_id=held.order_id, why=error.what)

    def _known(self) -> dict[str, int]:
        """Give the versions of the held orders: what is still held in memory may be held no more."""
        everywhere = (
            self._confirmation.held(),
            self._running.values(),
            self._ending.values(),
            self._resolving,
        )
        known: dict[str, int] = {}
        for held in chain.from_iterable(everywhere):
            if held.lost:
                continue
            version = held.view.order.version
            known[held.order_id] = max(version, known.get(held.order_id, version))
        return known

    def can_execute(self) -> bool:
        """Tell whether an order could be signed and pushed now; while not, orders stay queued."""
        return self._chain.ready() and self._executor.any_admits()

    def _take(self, held: Held) -> None:
        order = held.view.order
        self._running[order.order_id] = held
        self._idle.clear()
        self._telemetry.workers_busy(self.busy)
        if held.live is not None:
            self._telemetry.recovered(order.status.value)
        elif not held.view.attempts and order.tries == 0:
            waited_us = self._clock.now_us() - order.accepted_at_us
            self._telemetry.stage("queue", max(waited_us, 0) / US)
        self._queue.put_nowait(held)

    def _cancel(self, order_id: str) -> None:
        """Push an order no more whose cancellation was requested, watched already or about to be."""
        if order_id in self._running:
            self._running[order_id].cancel_requested = True
        self._confirmation.cancel(order_id)

    # ------------------------------------------------------------ working

    async def _work(self) -> None:
        while True:
            held = await self._queue.get()
            try:
                await self._drive(held)
            finally:
                if self._running.get(held.order_id) is held:
                    del self._running[held.order_id]
                self._telemetry.workers_busy(self.busy)
                if not self._running:
                    self._idle.set()
                self._wake.set()

    async def _drive(self, held: Held) -> None:
        """Pass over an order until it needs its slot no longer."""
        while not held.settled.is_set():
            trouble = await self._pass(held)
            while trouble is not None:
                try:
                    await self._after(held, *trouble)
                    trouble = None
                except IntakeError as error:  # no pass before it is known what is stored
                    _log.warning(
                        "the order waits for the store", order_id=held.order_id, why=error.what
                    )
                    await asyncio.sleep(STORAGE_RETRY_SECONDS)

    async def _pass(self, held: Held) -> tuple[ReasonCode, str] | None:
        """Advance an order and wait for it to settle; gives the trouble that cut the pass short."""
        try:
            async with asyncio.timeout(self._execution_timeout_seconds):
                await self._lifecycle.advance(held)
                await held.settled.wait()
        except TimeoutError:
            return ReasonCode.PASS_TIMED_OUT, "the pass took longer than execution_timeout"
        except IntakeError as error:
            return error.code, error.what
        except Exception as error:  # noqa: BLE001 - one order's defect spares the others
            _log.exception("a pass failed", order_id=held.order_id)
            return ReasonCode.INTERNAL_ERROR, f"an internal error ({type(error).__name__})"
        return None

    async def _after(self, held: Held, code: ReasonCode, reason: str) -> None:
        """Go on from what is stored: a write that was cut off may have committed."""
        if not await held.reload() or held.settled.is_set():
            return
        if held.live is not None:
            self._confirmation.watch(held)
        elif held.view.order.status is OrderStatus.EXECUTING:
            await self._lifecycle.requeue(held, code, reason)
        else:
            held.settled.set()

    def _recorded(self, before: OrderView, after: OrderView) -> None:
        """Tell of every committed change."""
        order = after.order
        for news in _news(before.order, order):
            _log.info(
                news,
                order_id=order.order_id,
                attempt=len(after.attempts) or None,
                signature=after.attempts[-1].signature if after.attempts else None,
                reason_code=order.reason_code,
            )
        if order.status is not before.order.status and order.status.final:
            self._telemetry.order_ended(order.status, order.reason_code or "")
            self._telemetry.stage("total", (self._clock.now_us() - order.accepted_at_us) / US)
        self._manager.changed()

    # ------------------------------------------------------------ housekeeping

    async def _keep_house(self) -> None:
        while True:
            try:
                await self._manager.refresh_figures()
                if not self._stopping and self._lease.held():
                    self._checked = False  # an order that is held and not known would wait for ever
                    if self._switch.may_hold():
                        await self._end_overdue()
                        await self._adopt()
            except IntakeError as error:
                _log.warning("housekeeping has to wait", why=error.what)
            await asyncio.sleep(HOUSEKEEPING_SECONDS)

    async def _end_overdue(self) -> None:
        """End orders whose deadline passed while they waited; this needs no slot."""
        time = OrderTime(self._clock)
        await self._claimed(
            lambda: self._store.claim(OVERDUE_BATCH, time.now_us(), overdue_only=True),
            lambda held: self._ending.update({held.order_id: held}),
            time,
        )
        try:
            for order_id, held in list(self._ending.items()):
                await self._lifecycle.advance(held)
                del self._ending[order_id]
        finally:
            if self._ending:  # cut short: the rest is freed, to be claimed again
                self._ending.clear()
                self._checked = False

    async def _adopt(self) -> None:
        """Take up what another run left in doubt or unfinalized; this needs no slot."""
        await self._claimed(lambda: self._store.adopt(ADOPT_BATCH), self._watch)

    def _watch(self, held: Held) -> None:
        self._telemetry.recovered(held.view.order.status.value)
        if held.live is not None:
            self._confirmation.watch(held)
        else:
            self._confirmation.follow(held)

    async def _seal(self) -> None:
        while True:
            await asyncio.sleep(SEAL_SECONDS)
            await self._seal_all()

    async def _seal_all(self) -> None:
        try:
            while await self._store.seal(SEAL_BATCH):
                self._manager.changed()
        except IntakeError as error:
            _log.warning("events could not be sealed", why=error.what)


def _news(before: Order, after: Order) -> Iterator[str]:
    """Say what the log tells of a change."""
    if after.status is not before.status:
        yield f"order {after.status}"
    if after.landed_failed_at_us is not None and before.landed_failed_at_us is None:
        yield "attempt failed on chain, not final yet"
    if after.finalized_at_us is not None and before.finalized_at_us is None:
        yield "order finalized"
