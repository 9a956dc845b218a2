"""The whole engine on fakes, as the service wires it on the real things."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from app.domain.attempt import LaneStrategy
from app.domain.order import Order, OrderStatus
from app.domain.retry import RetryPolicy
from app.engine.confirmation import Confirmation
from app.engine.execution_engine import ExecutionEngine, Limits
from app.engine.lease import Lease
from app.engine.lifecycle import Lifecycle
from app.engine.order_manager import OrderManager
from app.engine.ports import Executor, Ports
from app.engine.settlement import Settlement
from app.engine.supervision import Supervisor
from app.engine.trading_state import TradingSwitch
from app.engine.transaction_executor import TransactionExecutor
from tests.domain.makers import NOW, RULES, S
from tests.engine.fake_chain import FakeChain
from tests.engine.fake_store import FakeDatabase, FakeStore
from tests.engine.fakes import FakeExecutor, FakeTelemetry, FakeTrading, ManualClock

SIGNAL = {"action": "SELL", "market": "SOL-USDC", "size": Decimal("0.01")}
LOOK_SECONDS = 0.02


@dataclass(frozen=True, kw_only=True)
class Knobs:
    """The settings that a test may turn."""

    slots: int = 3
    execution_timeout: float = 30.0
    transaction_timeout: float = 30.0
    order_timeout: float = 300.0
    retry_delay: float = 2.0
    max_retries: int = 3
    patience: float = 2.0
    strategy: LaneStrategy = LaneStrategy.FALLBACK
    push_seconds: float = 3.0
    poll: float = 0.5
    rebroadcast: float = 1.0
    drain: float = 5.0
    queue_max: int = 1_000
    history_max: int = 100
    in_sequence: tuple[str, ...] = ()


@dataclass
class World:
    """What is outside: it outlives every process."""

    clock: ManualClock = field(default_factory=ManualClock)
    ids: Any = field(default_factory=lambda: (f"order{n:04}" for n in itertools.count(1)))

    def __post_init__(self) -> None:
        self.started_us = NOW
        self.serials = itertools.count(1)
        self.database = FakeDatabase(self.clock)
        self.chain = FakeChain(self.clock)


class Rig:
    """One process: the engine's parts, wired."""

    rules = RULES
    confirmation_kind = Confirmation
    executor_kind = TransactionExecutor
    lifecycle_kind = Lifecycle

    def __init__(
        self,
        knobs: Knobs | None = None,
        *,
        world: World | None = None,
        methods: Sequence[str] = ("rpc",),
        process: str = "one",
        clock: ManualClock | None = None,
    ) -> None:
        self.knobs = knobs = knobs or Knobs()
        self.world = world = world or World()
        self.clock = clock or world.clock
        self.database, self.chain = world.database, world.chain
        self.store = FakeStore(self.database, process)
        self.trading = self._trading()
        self.trading.serials = world.serials
        self.telemetry = FakeTelemetry()
        self.methods = {name: FakeExecutor(name, self.database, self.chain) for name in methods}
        self.ports = Ports(self.store, self.chain, self.trading, self.clock, self.telemetry)
        self.failures: list[str] = []
        self.supervisor = Supervisor(self.failures.append)
        self.policy = RetryPolicy(int(knobs.retry_delay * S), knobs.max_retries)
        self.lease = Lease(self.store, self.clock)
        self.switch = TradingSwitch(self.store, self.clock)
        self.manager = self._manager()
        executors = self._executors()
        self.executor = self.executor_kind(
            executors,
            clock=self.clock,
            telemetry=self.telemetry,
            patience_seconds=dict.fromkeys(executors, knobs.patience),
            push_seconds=knobs.push_seconds,
            strategy=knobs.strategy,
        )
        self.confirmation = self.confirmation_kind(
            self.ports,
            settlement=Settlement(self.ports, self.policy, self.executor.claims),
            executor=self.executor,
            lease=self.lease,
            poll_seconds=knobs.poll,
            rebroadcast_seconds=knobs.rebroadcast,
            transaction_timeout_seconds=knobs.transaction_timeout,
        )
        self.lifecycle = self.lifecycle_kind(
            self.ports,
            executor=self.executor,
            confirmation=self.confirmation,
            lease=self.lease,
            switch=self.switch,
            policy=self.policy,
            transaction_timeout_seconds=knobs.transaction_timeout,
            reserve_lamports=0,
        )
        self.engine = self._engine()

    def _engine(self) -> ExecutionEngine:
        return ExecutionEngine(
            self.ports,
            manager=self.manager,
            lifecycle=self.lifecycle,
            confirmation=self.confirmation,
            executor=self.executor,
            lease=self.lease,
            supervisor=self.supervisor,
            switch=self.switch,
            limits=Limits(self.knobs.slots, self.knobs.execution_timeout, self.knobs.drain),
        )

    def _trading(self) -> FakeTrading:
        return FakeTrading()

    def _executors(self) -> Mapping[str, Executor]:
        return dict(self.methods)

    async def start(self) -> None:
        """Start the process."""
        await self.engine.start()

    def _manager(self) -> OrderManager:
        return OrderManager(
            self.ports,
            switch=self.switch,
            rules=self.rules,
            wallet="main",
            new_id=lambda: str(next(self.world.ids)),
            order_timeout_seconds=self.knobs.order_timeout,
            queue_max=self.knobs.queue_max,
            history_max=self.knobs.history_max,
            in_sequence=self.knobs.in_sequence,
        )

    @property
    def rpc(self) -> FakeExecutor:
        """The method `rpc`."""
        return self.methods["rpc"]

    async def post(self, **fields: Any) -> str:
        """Post a signal; gives the order's id."""
        accepted = await self.manager.submit({**SIGNAL, **fields})
        return accepted.order.order_id

    def order(self, order_id: str) -> Order:
        """Give an order as it is committed."""
        return self.database.order(order_id)

    async def until(self, what: Callable[[], object], seconds: float = 120.0) -> None:
        """Turn the clock until something is so; fails when it takes longer."""
        async with asyncio.timeout(seconds):
            while not what():  # noqa: ASYNC110 - the clock is turned, nobody waits
                await asyncio.sleep(LOOK_SECONDS)

    async def ended(self, order_id: str, seconds: float = 600.0) -> Order:
        """Turn the clock until an order is final."""
        await self.until(lambda: self.order(order_id).status.final, seconds)
        return self.order(order_id)

    async def reaches(self, order_id: str, status: OrderStatus, seconds: float = 120.0) -> Order:
        """Turn the clock until an order has a status."""
        await self.until(lambda: self.order(order_id).status is status, seconds)
        return self.order(order_id)


@asynccontextmanager
async def running(rig: Rig) -> AsyncIterator[Rig]:
    """Start a rig's engine and stop it in an orderly way."""
    await rig.engine.start()
    try:
        yield rig
    finally:
        await rig.engine.stop()
    assert not rig.database.breaches, rig.database.breaches


async def pass_time(seconds: float) -> None:
    """Turn the clock, letting everything happen that is due on the way."""
    await asyncio.sleep(seconds)
