"""Engines that live and die on one database and one chain, in a world where everything goes wrong.

All chance comes from one seed. A process dies between any two of its steps: what it had not done by then
it never does. Judges watch every move against what the chain truly holds.
"""

import asyncio
import hashlib
import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, TypeVar

from app.domain.attempt import AttemptStatus, LaneStrategy, StoredAttempt
from app.domain.errors import IntakeError, ReasonCode, RefusedError, TransientError
from app.domain.events import EventKind
from app.domain.order import Order, OrderStatus, OrderView
from app.domain.outcome import Reply, ReplyOutcome
from app.engine.lease import LeaseLostError
from app.engine.ports import Clock
from app.engine.store_port import TradingState
from tests.engine.evils import ALL, CHAOS_SECONDS, Case, Evil
from tests.engine.fake_chain import FINAL_BLOCKS, Landing
from tests.engine.fake_store import LEASE_SECONDS, busy, is_over, unknown
from tests.engine.fakes import HOPELESS, SLIPPED, SkewedClock
from tests.engine.rig import Knobs, Rig, World, pass_time
from tests.engine.scripting import Fault, Script
from tests.engine.virtual_time import VirtualTimeLoop, process_name

KNOBS: Final = Knobs(
    slots=80,
    execution_timeout=8,
    transaction_timeout=10,
    order_timeout=40,
    retry_delay=0.5,
    max_retries=2,
    patience=1,
    push_seconds=1.5,
    poll=0.8,
    rebroadcast=4,
    drain=2,
    in_sequence=("in turn",),
)
CALM_SECONDS: Final = 400.0
CLIENT_SECONDS: Final = 3.0
"""How long a client waits for an answer before it asks again."""
DEATH: Final = 0.001
"""Chance of a process to die at any one of its steps."""
LIES: Final = 0.05
"""Share of statuses that a faulty endpoint tells, in bad weather."""
JUMP_SECONDS: Final = 20.0
"""How far a wall clock jumps, at most."""
PAUSES: Final = (0.2, 1.0, 2.5, 4.0, 8.0)
"""How long a process stands still: shorter than its lease, just so long, and longer."""
T = TypeVar("T")
_UNHINDERED: Final = Fault()


def current_process() -> str:
    """Name the process within which this runs; empty outside of all."""
    return process_name.get()


@dataclass
class Chances:
    """How often things go wrong at a step; calm is all zero."""

    slow: float = 0.03
    refuse: float = 0.02
    lose: float = 0.02
    die: float = DEATH
    trouble: float = 0.05
    defect: float = 0.05


CALM: Final = Chances(0, 0, 0, 0, 0, 0)


class _Haunted(Script):
    """A script by dice alone; a step at which nothing goes wrong, as nearly all, costs next to nothing."""

    def __init__(
        self,
        dice: Callable[[str], Fault],
        stumbles: Callable[[], float | None],
        step: Callable[[float], Awaitable[None]],
    ) -> None:
        super().__init__()
        self.dice = dice
        self._stumbles = stumbles
        self._step = step

    async def run(self, name: str, work: Callable[[], T]) -> T:
        fault = self.dice(name)
        if (stumble := self._stumbles()) is not None:
            await self._step(stumble)
        if fault.refuses is not None:
            raise fault.refuses
        result = work()
        if (stumble := self._stumbles()) is not None:
            await self._step(stumble)
        if fault.loses is not None:
            raise fault.loses
        return result


@dataclass
class Simulation:
    """One seed's world: its processes, its clients, its weather, and the judges."""

    seed: int
    orders: int
    world: World = field(default_factory=World)
    accepted: dict[str, str] = field(default_factory=dict)
    deaths: int = 0
    life_seconds: tuple[float, float] = (5, 60)
    chaos_seconds: float = CHAOS_SECONDS
    pause_seconds: float = 6
    """Within what time a process that ended is started again, at most."""
    evils: frozenset[Evil] = ALL
    rig_kind: type[Rig] = Rig

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.liar = random.Random(self.seed)
        self.luck: dict[str, float] = {}
        self.tasks: dict[str, list[asyncio.Task[Any]]] = defaultdict(list)
        self.dead: set[str] = set()
        self.alive: dict[str, Rig] = {}
        self.paused: dict[str, float] = {}
        self.clocks: dict[str, Clock] = {}
        self.names = itertools.count(1)
        self.over = False
        self.hits: Counter[Evil] = Counter()
        self.chances = self._chances()
        self.chain, self.database = self.world.chain, self.world.database
        self.chain.fate = self._fate
        self.database.moved, self.database.hashing = self._judge, False

    @classmethod
    def of(cls, case: Case, rig_kind: type[Rig] = Rig) -> "Simulation":
        """Make a case's world."""
        return cls(
            case.seed,
            case.orders,
            chaos_seconds=case.chaos_seconds,
            evils=case.evils,
            rig_kind=rig_kind,
        )

    def chance(self, probability: float) -> bool:
        """Throw the dice."""
        return self.rng.random() < probability

    def strikes(self, evil: Evil, probability: float) -> bool:
        """Throw the dice for an evil; they fall the same way for the others when there is none of it."""
        if self.rng.random() >= probability or evil not in self.evils:
            return False
        self.hits[evil] += 1
        return True

    def _chances(self) -> Chances:
        none, every = CALM, Chances()
        return Chances(
            slow=(every if Evil.SLOWNESS in self.evils else none).slow,
            refuse=(every if Evil.REFUSED in self.evils else none).refuse,
            lose=(every if Evil.LOST in self.evils else none).lose,
            die=(every if Evil.DEATHS in self.evils else none).die,
            trouble=(every if Evil.TROUBLES in self.evils else none).trouble,
            defect=(every if Evil.DEFECTS in self.evils else none).defect,
        )

    # ------------------------------------------------------------ the story

    async def run(self) -> None:
        """Let everything go wrong for a while, then let the rest settle."""
        random.seed(self.seed)  # the engine's own jitter
        asyncio.get_running_loop().set_task_factory(self._make_task)
        places = self.rng.choice([1, 1, 2, 3])
        if Evil.COMPANY not in self.evils:
            places = 1
        self.hits[Evil.COMPANY] += places > 1
        keepers = [asyncio.create_task(self._keep_alive()) for _ in range(places)]
        weather = asyncio.create_task(self._weather())
        clients = [asyncio.create_task(self._client(n)) for n in range(self.orders)]
        await pass_time(self.chaos_seconds)
        self.chances = CALM
        weather.cancel()
        self._clear_up()
        async with asyncio.timeout(CALM_SECONDS):
            await pass_time(2 * CLIENT_SECONDS)
            self.database.trading = TradingState(halted=False)  # a halt may have been on its way
            await asyncio.gather(*clients)
            while self.database.unsettled():
                await pass_time(1)
        self.over = True
        await asyncio.gather(*keepers)
        await asyncio.gather(weather, return_exceptions=True)

    def _settled(self, order: Order) -> bool:
        return is_over(order)

    # ------------------------------------------------------------ processes

    def _make_task(
        self, loop: asyncio.AbstractEventLoop, coro: Any, **given: Any
    ) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, **given)
        name = process_name.get()
        if name:
            self.tasks[name].append(task)
        return task

    def _within(self, name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run work as a process: what it starts is its own, and dies with it."""
        token = process_name.set(name)
        task = asyncio.create_task(work)
        process_name.reset(token)
        return task

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
        clock = SkewedClock(self.world.clock, self._skew_us(0.5))
        self.clocks[name] = clock
        return self.rig_kind(
            knobs, world=self.world, methods=("rpc", "jito"), process=name, clock=clock
        )

    def _skew_us(self, seconds: float) -> int:
        skew = self.rng.uniform(-seconds, seconds)
        return int(skew * 1_000_000) if Evil.CLOCKS in self.evils else 0

    async def _live(self, name: str) -> None:
        """Be a process: start, serve until something ends it, stop in an orderly way."""
        rig = self._rig(name)
        self._haunt(rig, name)
        try:
            await rig.switch.load()
            rig.supervisor.start("trading", rig.switch.run())
            await rig.start()
        except (IntakeError, LeaseLostError):
            return
        self.alive[name] = rig
        ends = asyncio.get_running_loop().time() + self.rng.uniform(*self.life_seconds)
        while not (rig.failures or self.over):
            await pass_time(1)
            if self.chances is not CALM and asyncio.get_running_loop().time() > ends:
                break
        self.alive.pop(name, None)
        await rig.engine.stop()

    async def _bury(self, name: str) -> None:
        """End what is left of a process; nothing that it does any more has an effect."""
        self.dead.add(name)
        self._wake(name)
        tasks = self.tasks.pop(name, [])
        while left := [task for task in tasks if not task.done()]:
            for task in left:
                task.cancel()
            await asyncio.wait(left)
            tasks = left + self.tasks.pop(name, [])

    def _die(self, name: str) -> None:
        self.deaths += 1
        self.hits[Evil.DEATHS] += 1
        self.dead.add(name)
        for task in self.tasks[name]:
            if not task.done():
                task.cancel()

    async def _pause(self, name: str) -> None:
        """Let a process stand still for a while; it learns of it from its clock alone."""
        self.hits[Evil.PAUSES] += 1
        self._loop().stop_process(name)
        self.paused[name] = self.world.clock.monotonic()
        await pass_time(self.rng.choice(PAUSES) * self.rng.uniform(0.9, 1.1))
        self._wake(name)

    def _wake(self, name: str) -> None:
        if self.paused.pop(name, None) is not None:
            self._loop().continue_process(name)

    @staticmethod
    def _loop() -> VirtualTimeLoop:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        return loop

    # ------------------------------------------------------------ what goes wrong

    def _haunt(self, rig: Rig, name: str) -> None:
        """Let a process's steps be slow, fail, lie, or be its last."""

        def haunted(dice: Callable[[str], Fault]) -> Script:
            return _Haunted(dice, lambda: self._stumbles(name), partial(self._step, name))

        rig.store.script = haunted(self._store_dice)
        rig.trading.script = haunted(self._trading_dice)
        rig.trading.judge = lambda order_id: self._judge_signing(order_id, name)
        for method in rig.methods.values():
            method.script = haunted(self._method_dice)
            method.judge = lambda attempt: self._judge_push(attempt, name)

    def _stumbles(self, name: str) -> float | None:
        """Throw the dice for one step: what fell, when the step is not to go on as if nothing was."""
        thrown = self.rng.random()
        faulty = thrown < self.chances.die + self.chances.slow or name in self.dead
        return thrown if faulty else None

    async def _step(self, name: str, thrown: float | None = None) -> None:
        thrown = self._stumbles(name) if thrown is None else thrown
        if thrown is not None and name not in self.dead:
            if thrown < self.chances.die:
                self._die(name)
            else:
                self.hits[Evil.SLOWNESS] += 1
                await asyncio.sleep(self.rng.expovariate(1.0))
        if name in self.dead:
            raise asyncio.CancelledError

    def _store_dice(self, _call: str) -> Fault:
        thrown, chances = self.rng.random(), self.chances
        if thrown < chances.refuse:
            self.hits[Evil.REFUSED] += 1
            return Fault(refuses=busy())
        if thrown > 1 - chances.lose:
            self.hits[Evil.LOST] += 1
            return Fault(loses=unknown())
        return _UNHINDERED

    def _trading_dice(self, call: str) -> Fault:
        if not self.chance(self.chances.trouble):
            return _UNHINDERED
        self.hits[Evil.TROUBLES] += 1
        if call == "quote" and self.chance(0.3):
            return Fault(refuses=RefusedError(ReasonCode.PRICE_LIMIT, "outside"))
        if self.chance(0.2):
            return Fault(refuses=ZeroDivisionError("a defect"))
        return Fault(refuses=TransientError(ReasonCode.CHAIN_UNAVAILABLE, "down"))

    def _method_dice(self, _call: str) -> Fault:
        if not self.chance(self.chances.defect):
            return _UNHINDERED
        self.hits[Evil.DEFECTS] += 1
        return Fault(loses=ConnectionResetError("a defect"))

    async def _weather(self) -> None:
        """Change what can be read and what is answered, again and again."""
        pauses: set[asyncio.Task[None]] = set()
        while True:
            self._change_chain()
            for rig in self.alive.values():
                self._change_process(rig)
            if self.strikes(Evil.CLOCKS, 0.3):
                self.world.clock.skew_us = self._skew_us(JUMP_SECONDS)
            await self._operate()
            if self.strikes(Evil.PAUSES, 0.35) and (name := self._whom()):
                pauses.add(asyncio.create_task(self._pause(name)))
            await pass_time(self.rng.uniform(0.5, 5))
            pauses = {task for task in pauses if not task.done()}

    async def _operate(self) -> None:
        """Halt trading, seldom for long."""
        if self.database.trading.halted:
            await self._ask(lambda rig: rig.switch.resume())
        elif self.strikes(Evil.HALTS, 0.1):
            await self._ask(lambda rig: rig.switch.halt("to look around"))

    def _change_chain(self) -> None:
        chain, strikes = self.chain, self.strikes
        down = ("heights", "statuses", "transaction", "proof")
        chain.down = {each for each in down if strikes(Evil.BLIND, 0.15)}
        lag = self.rng.choice([0.0, 0.0, 0.4, 4.0])
        chain.lag_seconds = lag if strikes(Evil.LAG, 1.0) else 0.0
        chain.is_ready = not strikes(Evil.STANDSTILL, 0.1)
        chain.misled = lambda: strikes(Evil.MISLED, 0.2)
        nulls = 0.5 if strikes(Evil.NULLS, 0.15) else 0.0
        chain.forgets = lambda: nulls > 0 and self.chance(nulls)
        chain.lied_to = self._lies

    def _lies(self) -> bool:
        lies = Evil.LIES in self.evils and self.liar.random() < LIES
        self.hits[Evil.LIES] += lies
        return lies

    def _change_process(self, rig: Rig) -> None:
        strikes, choice = self.strikes, self.rng.choice
        broken = strikes(Evil.FAILURES, 0.1)
        rig.trading.fill_error = ValueError("unreadable") if broken else None
        checks = self.rng.choices([None, SLIPPED, HOPELESS], [6, 2, 1], k=3)
        if Evil.FAILURES in self.evils:
            rig.trading.checks.extend(checks)
        outcomes = list(ReplyOutcome) if Evil.REPLIES in self.evils else [ReplyOutcome.ACCEPTED]
        for method in rig.methods.values():
            method.admitting = not strikes(Evil.SHUT, 0.2)
            method.wait = choice([0.3, 1.0, 10.0])
            method.shut = choice(["limited", "breaker_open"])
            method.reply = Reply(choice(outcomes), "said")
            self.hits[Evil.REPLIES] += method.reply.outcome is not ReplyOutcome.ACCEPTED

    def _whom(self) -> str | None:
        """Choose a process that is to stand still."""
        names = [name for name in self.alive if name not in self.paused]
        return self.rng.choice(names) if names else None

    def _clear_up(self) -> None:
        chain = self.chain
        chain.down, chain.lag_seconds, chain.is_ready = set(), 0.0, True
        chain.misled = chain.lied_to = chain.forgets = lambda: False
        self.world.clock.skew_us = 0
        self.database.trading = TradingState(halted=False)
        for name in list(self.paused):
            self._wake(name)
        for rig in self.alive.values():
            rig.trading.fill_error = None
            rig.trading.checks.clear()
            for method in rig.methods.values():
                method.admitting, method.reply = True, Reply(ReplyOutcome.ACCEPTED, "ok")

    def _fate(self, attempt: StoredAttempt) -> None:
        """Bytes that reached the network land, or not, or fail, or are undone by a fork and land again."""
        luck = self.luck.get(attempt.signature)
        if luck is None:
            luck = self.rng.choice([0.0, 0.4, 0.8, 1.0])
            if Evil.LOSSES not in self.evils:
                luck = 1.0
            self.luck[attempt.signature] = luck
        if not self.chance(luck):
            self.hits[Evil.LOSSES] += 1
            return
        failed = self.strikes(Evil.FAILURES, 0.25)
        error = {"InstructionError": [2, 6005]} if failed else None
        landing = self.chain.land(attempt, after=self.rng.expovariate(0.5), error=error)
        if landing is not None and self.strikes(Evil.FORKS, 0.2):
            self._undo(attempt, landing)

    def _undo(self, attempt: StoredAttempt, landing: Landing) -> None:
        now = asyncio.get_running_loop().time()
        after = landing.at - now + self.rng.uniform(0, (FINAL_BLOCKS - 1) * 0.4 - 0.01)
        self.chain.fork(landing, after=after)
        if self.chance(0.5):
            self.chain.land(attempt, after=after + self.rng.uniform(0, 8))

    # ------------------------------------------------------------ clients

    async def _client(self, number: int) -> None:
        """Post a signal until it is accepted, perhaps again, and perhaps ask for its cancellation."""
        await pass_time(self.rng.uniform(0, self.chaos_seconds * 0.8))
        key = f"key{number}"
        signal = {"client_order_id": key, "priority": self.rng.randint(0, 9), **self._wishes()}
        while key not in self.accepted:
            await self._post(signal)
            if key not in self.accepted:
                await pass_time(self.rng.uniform(0.5, 2))
        if self.strikes(Evil.REPEATS, 0.1):
            await pass_time(self.rng.expovariate(0.5))
            await self._post(signal)
        if self.strikes(Evil.CANCELS, 0.15):
            await pass_time(self.rng.expovariate(0.2))
            await self._ask(lambda rig: rig.manager.cancel("default", self.accepted[key]))

    async def _post(self, signal: dict[str, Any]) -> None:
        key = signal["client_order_id"]
        order_id = await self._ask(lambda rig: rig.post(**signal))
        if order_id is not None:
            same = self.accepted.setdefault(key, order_id) == order_id
            self._demand(same, f"{key} names {order_id} and {self.accepted[key]}")

    async def _ask(self, what: Any) -> Any:
        """Ask a process for something; None when it refuses, dies of it, or takes too long."""
        if not self.alive:
            return None
        name, rig = self.rng.choice(list(self.alive.items()))
        asked = self._within(name, what(rig))
        await asyncio.wait([asked], timeout=CLIENT_SECONDS)
        if not asked.done():
            asked.add_done_callback(lambda late: late.cancelled() or late.exception())
            return None
        if asked.cancelled():
            return None
        error = asked.exception()
        if error is None:
            return asked.result()
        if not isinstance(error, IntakeError):
            raise error
        return None

    def _wishes(self) -> dict[str, Any]:
        """Give what else a signal says."""
        wishes: dict[str, Any] = {}
        if self.strikes(Evil.DEADLINES, 0.1):
            wishes["valid_for"] = self.rng.choice([1, 5, 12, 20])
        if self.strikes(Evil.OPPOSITES, 0.1):
            wishes |= {"action": self.rng.choice(["BUY", "SELL"]), "strategy": "in turn"}
        return wishes

    # ------------------------------------------------------------ judges

    def _judge(self, before: OrderView, after: OrderView) -> None:
        """No attempt is called dead, and no order ended, that may yet execute or has executed.

        What has ended stays so, a fill excepted that a fork undid.
        """
        was = {attempt.number: attempt.status for attempt in before.attempts}
        for attempt in after.attempts:
            if attempt.status.dead and not was[attempt.number].dead:
                self._demand(self.chain.dead(attempt.signature), f"{attempt.signature} is alive")
        old, new = before.order, after.order
        if new.status.final and new.status is not OrderStatus.FILLED:
            dead = all(attempt.status.dead for attempt in after.attempts)
            self._demand(dead, f"{new.order_id} ended beside a live attempt")
        if old.status.final and new.status is not old.status:
            undone = old.status is OrderStatus.FILLED and not old.finalized_at_us
            undone &= new.reason_code is ReasonCode.FILL_REVERTED
            self._demand(undone, f"{new.order_id} was {old.status} and is {new.status}")

    def _judge_signing(self, order_id: str, process: str) -> None:
        self._judge_lease(process)
        rig = self.alive.get(process)
        self._demand(rig is None or rig.switch.may_sign(), f"{process} signed while it was halted")
        order = self.database.order(order_id)
        for attempt in self.database.attempts(order_id):
            self._demand(
                self.chain.dead(attempt.signature), f"signed anew beside {attempt.signature}"
            )
        if order.in_sequence:
            overtaken = self.database.overtakes(order)
            self._demand(not overtaken, f"{order_id} overtakes an earlier one")

    def _judge_push(self, attempt: StoredAttempt, process: str) -> None:
        self._judge_lease(process)
        deadline_us = self.database.order(attempt.order_id).deadline_us
        clock = self.clocks.get(process, self.world.clock)
        self._demand(clock.now_us() < deadline_us, "pushed after the deadline")

    def _judge_lease(self, process: str) -> None:
        silent = self.world.clock.monotonic() - self.database.processes.get(process, 0)
        self._demand(
            silent <= LEASE_SECONDS, f"{process} acted {silent} s after its last heartbeat"
        )

    def _demand(self, kept: bool, promise: str) -> None:
        if not kept:
            self.database.demand(kept, f"{promise} ({asyncio.get_running_loop().time()})")

    def breaches(self) -> Iterator[str]:
        """Name every promise that was broken; every order is held to what the chain holds for good."""
        yield from self.database.breaches
        rows = self.database.rows.values()
        if {row.order.order_id for row in rows} != set(self.accepted.values()):
            yield "an accepted order is lost, or one was made twice"
        executed: Counter[str] = Counter()
        for signature in self.chain.landings:
            executed[signature.split("/")[0]] += self.chain.executed(signature)
        told = Counter((event.order_id, event.kind) for event in self.database.events)
        for row in rows:
            yield from self._breaches_of(row.view, executed[row.order.order_id])
            signed = told[row.order.order_id, EventKind.SIGNED]
            if signed != len(row.view.attempts):
                yield f"{row.order.order_id}: {signed} attempts were told of"

    def _breaches_of(self, view: OrderView, executed: int) -> Iterator[str]:
        order = view.order
        wanted = 1 if order.status is OrderStatus.FILLED else 0
        if not is_over(order):
            yield f"{order.order_id} is lost: it never ended ({order.status})"
        if executed != wanted:
            yield f"{order.order_id} is {order.status} and executed {executed} times"
        landed = [a for a in view.attempts if a.status is AttemptStatus.LANDED]
        if len(landed) != wanted:
            yield f"{order.order_id} is {order.status} with {len(landed)} landed attempts"

    def verdicts(self) -> Counter[OrderStatus]:
        """Count how the orders ended; fails when a promise was broken."""
        breaches = list(self.breaches())
        assert not breaches, breaches
        return Counter(row.order.status for row in self.database.rows.values())

    def trace(self) -> str:
        """Hash everything that happened, in order, and where the dice stand."""
        digest = hashlib.sha256()
        for event in self.database.events:
            digest.update(f"{event.order_id} {event.seq} {event.kind} {event.at_us}\n".encode())
        digest.update(f"{self.deaths} {sorted(self.hits.items())} {self.rng.random()}".encode())
        return digest.hexdigest()
