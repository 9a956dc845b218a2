"""Lives of orders through the real methods, and the oracle that counts what the chain executed of them."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from app.domain.attempt import AttemptStatus, LaneStrategy, StoredAttempt
from app.domain.errors import IntakeError
from app.domain.order import OrderStatus, OrderView
from app.domain.outcome import Reply
from app.engine.ports import Executor
from tests.engine.rig import Rig, pass_time
from tests.engine.simulation import CALM, KNOBS, Simulation, current_process
from tests.methods.journal import Journal, Push
from tests.methods.network import Network
from tests.methods.rig import Deployment, MethodsRig, Observed
from tests.methods.table import METHODS, Table

SETTINGS: Final = replace(
    KNOBS,
    slots=16,
    transaction_timeout=12,
    order_timeout=120,
    patience=1.5,
    rebroadcast=1.5,
    max_retries=3,
)


@dataclass
class MethodsSimulation(Simulation):
    """One seed's world with providers of every kind, each with faults of its own."""

    table: Table = field(default_factory=Table)
    life_seconds: tuple[float, float] = (4, 25)
    chaos_seconds: float = 150.0
    pause_seconds: float = 1.5
    kind: type[MethodsRig] = MethodsRig

    def __post_init__(self) -> None:
        super().__post_init__()
        self.journal = Journal()
        self.network = Network(
            self.chain, self.database, self.rng, self.table, self._step, seed=self.seed
        )
        self.processes: list[MethodsRig] = []
        self.deployment = self._deploy()
        self.breakers: Counter[str] = Counter()

    async def run(self) -> None:
        """Live; what has not settled by the end is found by the oracle."""
        try:
            await super().run()
        except TimeoutError:
            self.over = True

    # ------------------------------------------------------------ processes

    def _deploy(self) -> Deployment:
        """Configure the methods; now and then one is missing."""
        kept = len(METHODS) - self.chance(0.1)
        return Deployment(
            bundle_only=self.chance(0.5),
            lil_jit=self.chance(0.75),
            encoding="base58" if self.chance(0.5) else "base64",
            order=tuple(self.rng.sample(METHODS, kept)),
        )

    def _rig(self, name: str) -> Rig:
        if self.chance(0.15):
            self.deployment = self._deploy()
        knobs = replace(SETTINGS, strategy=self.rng.choice(list(LaneStrategy)))
        rig = self.kind(
            knobs,
            world=self.world,
            process=name,
            network=self.network,
            deployment=self.deployment,
            watched=lambda method: Observed(method, self._begin, self._answered),
            on_breaker=lambda state: self.breakers.update([state]),
            on_signed=partial(self._signed, name, self.deployment),
        )
        self.processes.append(rig)
        return rig

    def _signed(self, process: str, deployment: Deployment, order_id: str, signature: str) -> None:
        """Note who signed, and whether the bytes may only go where they are kept private."""
        self.journal.signers[signature] = process
        signal = self.database.order(order_id).signal
        named = set(signal.methods or deployment.order)
        if not signal.allow_public_fallback and named & deployment.private():
            self.network.secret.add(signature)

    def _begin(self, method: Executor, attempt: StoredAttempt) -> Push:
        process = current_process()
        self._judge_push(attempt, process)
        stored = self.database.attempts(attempt.order_id)
        late = any(each.number == attempt.number and each.status.dead for each in stored)
        now_us = self.world.clock.now_us()
        return self.journal.begin(process, method.name, attempt, now_us, late=late)

    def _answered(self, push: Push, reply: Reply) -> None:
        self.journal.answered(push, reply)

    # ------------------------------------------------------------ what goes wrong

    async def _weather(self) -> None:
        await asyncio.gather(super()._weather(), self._provide())

    async def _provide(self) -> None:
        """Let providers be well or ill, and now and then nobody be there; let operators interfere."""
        while self.chances is not CALM:
            self.network.all_down = self.chance(0.08)
            for method in METHODS:
                self.network.moods[method] = self.rng.choice([0.2, 0.5, 0.8])
            if self.chance(0.4):
                await self._operate()
            await pass_time(self.rng.uniform(0.5, 6))

    async def _operate(self) -> None:
        rigs = [rig for rig in self.processes if rig in self.alive.values()]
        if not rigs:
            return
        admin, name = self.rng.choice(rigs).admin, self.rng.choice(METHODS)
        act = self.rng.choice([admin.disable, admin.enable, admin.enable, admin.reset])
        try:
            await act(name)
        except (IntakeError, asyncio.CancelledError):
            return  # refused, or the process died while it was asked

    def _clear_up(self) -> None:
        super()._clear_up()
        self.network.all_down, self.network.calm = False, True
        self.database.disabled.clear()

    def _wishes(self) -> dict[str, Any]:
        wishes: dict[str, Any] = {}
        if self.chance(0.5):
            wishes["methods"] = self.rng.sample(METHODS, self.rng.randint(1, len(METHODS)))
        if self.chance(0.4):
            wishes["allow_public_fallback"] = self.chance(0.3)
        return wishes

    # ------------------------------------------------------------ the oracle

    def _judge(self, before: OrderView, after: OrderView) -> None:
        super()._judge(before, after)
        if before.order.version == after.order.version:
            self.journal.wrote(current_process(), after.order.order_id)

    def findings(self) -> list[str]:
        """Name every promise that was broken; held against what the chain holds for good."""
        lost, _gone = self.journal.unrecorded(self.database)
        return [*self.database.breaches, *self._lost(), *self._miscounted(), *lost]

    def _lost(self) -> Iterator[str]:
        rows = self.database.rows.values()
        if {row.order.order_id for row in rows} != set(self.accepted.values()):
            yield "an accepted order is lost, or one was made twice"
        for row in rows:
            if not self._settled(row.order):
                yield f"{row.order.order_id} is lost: it never ended ({row.order.status})"

    def executions(self) -> Counter[str]:
        """Count what executed of each order, by the memos of the bytes that stand on the chain."""
        landable = self.network.landable
        return Counter(
            landable[signature]
            for signature in self.chain.landings
            if self.chain.executed(signature)
        )

    def _miscounted(self) -> Iterator[str]:
        executed = self.executions()
        for row in self.database.rows.values():
            order, times = row.order, executed[row.order.order_id]
            if times > 1:
                yield f"{order.order_id} executed {times} times"
            filled = order.status is OrderStatus.FILLED
            if order.status.final and filled != (times > 0):
                yield f"{order.order_id} is {order.status}, and executed {times} times"
            landed = [a for a in row.view.attempts if a.status is AttemptStatus.LANDED]
            if len(landed) != (1 if filled else 0):
                yield f"{order.order_id} is {order.status} with {len(landed)} landed attempts"

    def contradicted(self) -> Counter[str]:
        """Count by method what landed although the method had said that it would not."""
        told = (each for rig in self.processes for each in rig.telemetry.of("landed_against"))
        return Counter(str(method) for method, _claim in told)

    def ended(self) -> Counter[OrderStatus]:
        """Count how orders ended."""
        return Counter(row.order.status for row in self.database.rows.values())
