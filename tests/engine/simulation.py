"""Engines that live and die on one database and one chain, in a world where everything goes wrong.

All chance comes from one seed. A process dies between any two of its steps: what it had not done by then
it never does. Judges watch every move against what the chain truly holds.
"""

import asyncio
import contextvars
import itertools
import random
from collections import defaultdict
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, Final

from app.domain.attempt import AttemptStatus, LaneStrategy, StoredAttempt
from app.domain.errors import IntakeError, ReasonCode, RefusedError, TransientError
from app.domain.order import Order, OrderStatus, OrderView
from app.domain.outcome import Reply, ReplyOutcome
from app.engine.lease import LeaseLostError
from tests.engine.fake_chain import FINAL_BLOCKS, Landing
from tests.engine.fake_store import LEASE_SECONDS, busy, unknown
from tests.engine.fakes import HOPELESS, SLIPPED
from tests.engine.rig import Knobs, Rig, World, pass_time
from tests.engine.scripting import Fault

KNOBS: Final = Knobs(
    slots=6,
    execution_timeout=8,
    transaction_timeout=12,
    order_timeout=60,
    retry_delay=0.5,
    max_retries=2,
    patience=1,
    push_seconds=1.5,
    drain=2,
)
CHAOS_SECONDS: Final = 50.0
CALM_SECONDS: Final = 400.0
DEATH: Final = 0.002
"""Chance of a process to die at any one of its steps."""
LIES: Final = 0.05
"""Share of statuses that a faulty endpoint tells, in bad weather."""

_process: contextvars.ContextVar[str] = contextvars.ContextVar("process", default="")


def current_process() -> str:
    """Name the process within which this runs; empty outside of all."""
    return _process.get()


@dataclass
class Chances:
    """How often things go wrong; calm is all zero."""

    slow: float = 0.03
    refuse: float = 0.02
    lose: float = 0.02
    die: float = DEATH
    trouble: float = 0.05


CALM: Final = Chances(0, 0, 0, 0, 0)


@dataclass
class Simulation:
    """One seed's world: its processes, its clients, its weather, and the judges."""

    seed: int
    orders: int
    world: World = field(default_factory=World)
    chances: Chances = field(default_factory=Chances)
    accepted: dict[str, str] = field(default_factory=dict)
    deaths: int = 0
    life_seconds: tuple[float, float] = (5, 60)
    chaos_seconds: float = CHAOS_SECONDS
    pause_seconds: float = 6
    """Within what time a process that ended is started again, at most."""

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.liar = random.Random(self.seed)
        self.luck: dict[str, float] = {}
        self.tasks: dict[str, dict[asyncio.Task[Any], None]] = defaultdict(dict)
        self.dead: set[str] = set()
        self.alive: dict[str, Rig] = {}
        self.names = itertools.count(1)
        self.over = False
        self.chain, self.database = self.world.chain, self.world.database
        self.chain.fate = self._fate
        self.database.moved = self._judge

    def chance(self, probability: float) -> bool:
        """Throw the dice."""
        return self.rng.random() < probability

    # ------------------------------------------------------------ the story

    async def run(self) -> None:
        """Let everything go wrong for a while, then let the rest settle."""
        random.seed(self.seed)  # the engine's own jitter
        asyncio.get_running_loop().set_task_factory(self._make_task)
        places = self.rng.choice([1, 1, 2])
        keepers = [asyncio.create_task(self._keep_alive()) for _ in range(places)]
        weather = asyncio.create_task(self._weather())
        clients = [asyncio.create_task(self._client(n)) for n in range(self.orders)]
        await pass_time(self.chaos_seconds)
        self.chances = CALM
        weather.cancel()
        self._clear_up()
        async with asyncio.timeout(CALM_SECONDS):
            await asyncio.gather(*clients)
            while not all(self._settled(row.order) for row in self.database.rows.values()):
                await pass_time(1)
        self.over = True
        await asyncio.gather(*keepers)
        await asyncio.gather(weather, return_exceptions=True)

    def _settled(self, order: Order) -> bool:
        unsettled = order.status is OrderStatus.FILLED and order.finalized_at_us is None
        return order.status.final and not unsettled

    # ------------------------------------------------------------ processes

    def _make_task(
        self, loop: asyncio.AbstractEventLoop, coro: Any, **given: Any
    ) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, **given)
        mine = self.tasks[_process.get()]
        mine[task] = None
        task.add_done_callback(lambda done: mine.pop(done, None))
        return task

    def _within(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run work as a process: what it starts is its own, and dies with it."""
        context = contextvars.copy_context()
        context.run(_process.set, name)
        return asyncio.get_running_loop().create_task(work, context=context)

    async def _keep_alive(self) -> None:
        """Start a process again whenever it ended, as whoever runs the service does."""
        while not self.over:
            name = f"process{next(self.names)}"
            await asyncio.wait([self._within(name, self._live(name))])
            self.alive.pop(name, None)
            await self._bury(name)
            if self.chances is not CALM:
                await pass_time(self.rng.uniform(0, self.pause_seconds))

    def _rig(self, name: str) -> Rig:
        knobs = replace(KNOBS, strategy=self.rng.choice(list(LaneStrategy)))
        return Rig(knobs, world=self.world, methods=("rpc", "jito"), process=name)

    async def _live(self, name: str) -> None:
        """Be a process: start, serve until something ends it, stop in an orderly way."""
        rig = self._rig(name)
        self._haunt(rig, name)
        try:
            await rig.start()
        except (IntakeError, LeaseLostError):
            return
        self.alive[name] = rig
        ends = asyncio.get_running_loop().time() + self.rng.uniform(*self.life_seconds)
        while not (rig.failures or self.over):
            await pass_time(0.5)
            if self.chances is not CALM and asyncio.get_running_loop().time() > ends:
                break
        self.alive.pop(name, None)
        await rig.engine.stop()

    async def _bury(self, name: str) -> None:
        """End what is left of a process; nothing that it does any more has an effect."""
        self.dead.add(name)
        while left := [task for task in self.tasks[name] if not task.done()]:
            for task in left:
                task.cancel()
            await asyncio.wait(left)

    def _die(self, name: str) -> None:
        self.deaths += 1
        self.dead.add(name)
        for task in list(self.tasks[name]):
            task.cancel()

    # ------------------------------------------------------------ what goes wrong

    def _haunt(self, rig: Rig, name: str) -> None:
        """Let a process's steps be slow, fail, lie, or be its last."""

        async def pace(_call: str) -> None:
            await self._step(name)

        rig.store.script.pace = rig.trading.script.pace = pace
        rig.store.script.dice = self._store_dice
        rig.trading.script.dice = self._trading_dice
        rig.trading.judge = lambda order_id: self._judge_signing(order_id, name)
        for method in rig.methods.values():
            method.script.pace, method.script.dice = pace, self._method_dice
            method.judge = lambda attempt: self._judge_push(attempt, name)

    async def _step(self, name: str) -> None:
        if name not in self.dead and self.chance(self.chances.slow):
            await asyncio.sleep(self.rng.expovariate(1.0))
        if name not in self.dead and self.chance(self.chances.die):
            self._die(name)
        if name in self.dead:
            raise asyncio.CancelledError

    def _store_dice(self, _call: str) -> Fault:
        if self.chance(self.chances.refuse):
            return Fault(refuses=busy())
        return Fault(loses=unknown()) if self.chance(self.chances.lose) else Fault()

    def _trading_dice(self, call: str) -> Fault:
        if not self.chance(self.chances.trouble):
            return Fault()
        if call == "quote" and self.chance(0.3):
            return Fault(refuses=RefusedError(ReasonCode.PRICE_LIMIT, "outside"))
        if self.chance(0.2):
            return Fault(refuses=ZeroDivisionError("a defect"))
        return Fault(refuses=TransientError(ReasonCode.CHAIN_UNAVAILABLE, "down"))

    def _method_dice(self, _call: str) -> Fault:
        defect = Fault(loses=ConnectionResetError("a defect"))
        return defect if self.chance(self.chances.trouble) else Fault()

    async def _weather(self) -> None:
        """Change what can be read and what is answered, again and again."""
        outcomes = list(ReplyOutcome)
        while True:
            chain = self.chain
            down = ("heights", "statuses", "transaction", "proof")
            chain.down = {each for each in down if self.chance(0.15)}
            chain.lag_seconds = self.rng.choice([0.0, 0.0, 0.4, 4.0])
            chain.is_ready = not self.chance(0.1)
            chain.misled = lambda: self.chance(0.2)
            chain.lied_to = lambda: self.liar.random() < LIES
            for rig in self.alive.values():
                rig.trading.fill_error = ValueError("unreadable") if self.chance(0.1) else None
                rig.trading.checks.extend(
                    self.rng.choices([None, SLIPPED, HOPELESS], [6, 2, 1], k=3)
                )
                for method in rig.methods.values():
                    method.admitting = not self.chance(0.2)
                    method.wait = self.rng.choice([0.3, 1.0, 10.0])
                    method.shut = self.rng.choice(["limited", "breaker_open"])
                    method.reply = Reply(self.rng.choice(outcomes), "said")
            await pass_time(self.rng.uniform(0.5, 5))

    def _clear_up(self) -> None:
        chain = self.chain
        chain.down, chain.lag_seconds, chain.is_ready = set(), 0.0, True
        chain.misled = chain.lied_to = lambda: False
        for rig in self.alive.values():
            rig.trading.fill_error = None
            rig.trading.checks.clear()
            for method in rig.methods.values():
                method.admitting, method.reply = True, Reply(ReplyOutcome.ACCEPTED, "ok")

    def _fate(self, attempt: StoredAttempt) -> None:
        """Bytes that reached the network land, or not, or fail, or are undone by a fork and land again."""
        luck = self.luck.setdefault(attempt.signature, self.rng.choice([0.0, 0.03, 0.3, 0.6]))
        if not self.chance(luck):
            return
        error = {"InstructionError": [2, 6005]} if self.chance(0.25) else None
        landing = self.chain.land(attempt, after=self.rng.expovariate(0.5), error=error)
        if landing is not None and self.chance(0.2):
            self._undo(attempt, landing)

    def _undo(self, attempt: StoredAttempt, landing: Landing) -> None:
        now = asyncio.get_running_loop().time()
        after = landing.at - now + self.rng.uniform(0, (FINAL_BLOCKS - 1) * 0.4 - 0.01)
        self.chain.fork(landing, after=after)
        if self.chance(0.5):
            self.chain.land(attempt, after=after + self.rng.uniform(0, 8))

    # ------------------------------------------------------------ clients

    async def _client(self, number: int) -> None:
        """Post a signal until it is accepted, and perhaps ask for its cancellation."""
        await pass_time(self.rng.uniform(0, self.chaos_seconds - 10))
        key = f"key{number}"
        signal = {"client_order_id": key, "priority": self.rng.randint(0, 9), **self._wishes()}
        while key not in self.accepted:
            await self._post(signal)
            await pass_time(self.rng.uniform(0.1, 1))
        if self.chance(0.15):
            await pass_time(self.rng.expovariate(0.2))
            await self._cancel(self.accepted[key])

    async def _post(self, signal: dict[str, Any]) -> None:
        rig = self._any_rig()
        if rig is None:
            return
        try:
            self.accepted[signal["client_order_id"]] = await rig.post(**signal)
        except (IntakeError, asyncio.CancelledError):
            return  # refused, or the process died while it was asked

    def _wishes(self) -> dict[str, Any]:
        """Give what else a signal says."""
        return {}

    async def _cancel(self, order_id: str) -> None:
        rig = self._any_rig()
        if rig is None:
            return
        try:
            await rig.manager.cancel("default", order_id)
        except (IntakeError, asyncio.CancelledError):
            return

    def _any_rig(self) -> Rig | None:
        return self.rng.choice(list(self.alive.values())) if self.alive else None

    # ------------------------------------------------------------ judges

    def _judge(self, before: OrderView, after: OrderView) -> None:
        """No attempt is called dead, and no order ended, that may yet execute or has executed."""
        was = {attempt.number: attempt.status for attempt in before.attempts}
        for attempt in after.attempts:
            if attempt.status.dead and not was[attempt.number].dead:
                self._demand(self.chain.dead(attempt.signature), f"{attempt} is alive")
        if after.order.status.final and after.order.status is not OrderStatus.FILLED:
            dead = all(attempt.status.dead for attempt in after.attempts)
            self._demand(dead, f"{after.order} ended beside a live attempt")

    def _judge_signing(self, order_id: str, process: str) -> None:
        self._judge_lease(process)
        for attempt in self.database.attempts(order_id):
            self._demand(self.chain.dead(attempt.signature), f"signed anew beside {attempt}")

    def _judge_push(self, attempt: StoredAttempt, process: str) -> None:
        self._judge_lease(process)
        deadline_us = self.database.order(attempt.order_id).deadline_us
        self._demand(self.world.clock.now_us() < deadline_us, "pushed after the deadline")

    def _judge_lease(self, process: str) -> None:
        silent = self.world.clock.monotonic() - self.database.processes.get(process, 0)
        self._demand(
            silent <= LEASE_SECONDS, f"{process} acted {silent} s after its last heartbeat"
        )

    def _demand(self, kept: bool, promise: str) -> None:
        self.database.demand(kept, f"{promise} ({asyncio.get_running_loop().time()})")

    def verdicts(self) -> dict[OrderStatus, int]:
        """Hold every order to what the chain holds for good; gives how many ended how."""
        assert not self.database.breaches, self.database.breaches
        executed: dict[str, int] = defaultdict(int)
        for signature in self.chain.landings:
            executed[signature.split("/")[0]] += self.chain.executed(signature)
        found: dict[OrderStatus, int] = defaultdict(int)
        assert {row.order.order_id for row in self.database.rows.values()} == set(
            self.accepted.values()
        ), "an accepted order is lost, or one was made twice"
        for row in self.database.rows.values():
            order = row.order
            found[order.status] += 1
            wanted = 1 if order.status is OrderStatus.FILLED else 0
            assert executed[order.order_id] == wanted, (order, executed[order.order_id])
            landed = [a for a in row.view.attempts if a.status is AttemptStatus.LANDED]
            assert len(landed) == wanted
        return found
