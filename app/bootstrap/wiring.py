"""Wires the parts in one order; what is opened is closed in the reverse one.

log · key · endpoints (and sandbox) · orders database · metrics database · trading · methods · engine.
The endpoints open before the database: a slow one never keeps a lease that nothing uses. The database
closes before the endpoints, after the engine's last writes.
"""

from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Final, Protocol

import structlog

from app.bootstrap import opening, upkeep
from app.bootstrap.clock import SystemClock, Uuid7
from app.bootstrap.markets import build_markets
from app.bootstrap.methods import MethodsBuilder, Surroundings
from app.bootstrap.metrics_keeper import MetricsKeeper
from app.bootstrap.paying import priced_policy, refuse_too_dear
from app.bootstrap.report import Identity, Report, Sightings
from app.database.orders import SqlStore
from app.domain.attempt import LaneStrategy
from app.domain.errors import IntakeError, StartupError
from app.domain.market import Markets
from app.domain.retry import RetryPolicy
from app.domain.signal import US, SignalRules
from app.engine.confirmation import Confirmation
from app.engine.execution_engine import ExecutionEngine, Limits
from app.engine.lease import Lease
from app.engine.lifecycle import Lifecycle
from app.engine.method_admin import MethodAdmin
from app.engine.order_manager import DEFAULT_ACCOUNT, OrderManager
from app.engine.ports import Ports
from app.engine.reconciliation import Reconciliation
from app.engine.resolution import Resolver
from app.engine.settlement import Settlement
from app.engine.supervision import Supervisor
from app.engine.system_notes import SystemNotes
from app.engine.trading_state import TradingSwitch
from app.engine.transaction_executor import TransactionExecutor
from app.metrics.prometheus import PrometheusTelemetry
from app.settings import Settings
from app.solana.chain import RpcChain
from app.solana.notices import LandingNotices
from app.transactions.desk import MarketDesk
from app.transactions.trading import TransactionTrading
from app.transactions.wallet import LocalSigner

PACKAGE: Final = "synergy7-execution"
LAMPORTS_PER_SOL: Final = 10**9
SLOT_SECONDS: Final = 0.4
"""The cluster's slot time: how long a read of pools and balances counts as current."""

_log = structlog.get_logger(__name__)

Work = Callable[[], Coroutine[object, object, None]]


@dataclass(frozen=True, slots=True)
class Parts:
    """The opened parts that others use, and the background work to be started with the engine."""

    manager: OrderManager
    engine: ExecutionEngine
    report: Report
    telemetry: PrometheusTelemetry
    methods: MethodAdmin
    switch: TradingSwitch
    resolver: Resolver
    desk: MarketDesk
    supervisor: Supervisor
    background: Mapping[str, Work]

    async def start(self) -> None:
        """Start the background work, then the workers."""
        for name, work in self.background.items():
            self.supervisor.start(name, work())
        await self.engine.start()


@dataclass(frozen=True, slots=True)
class _Opened:
    """What was opened, before the engine is wired from it."""

    settings: Settings
    stack: AsyncExitStack
    markets: Markets
    network: opening.Network
    signer: LocalSigner
    store: SqlStore
    metrics: MetricsKeeper
    telemetry: PrometheusTelemetry


async def open_parts(
    settings: Settings, stack: AsyncExitStack, on_failure: Callable[[str], None]
) -> Parts:
    """Open everything; `stack` closes what was opened. Raises StartupError."""
    opened = await _open(settings, stack)
    wired = _Wired(opened, Supervisor(on_failure))
    await read_first(wired.identification, wired.switch, wired.admin)
    return wired.parts()


class _Identifies(Protocol):
    async def identify(self) -> bool: ...


class _Loads(Protocol):
    async def load(self) -> None: ...


async def read_first(identification: _Identifies, *states: _Loads) -> None:
    """Read what must be known before anything is executed; raises StartupError."""
    try:
        await identification.identify()
        for state in states:
            await state.load()
    except IntakeError as error:
        todo = error.todo or "look at the database"
        raise StartupError("DATABASE_UNREACHABLE", error.what, todo) from error


async def _open(settings: Settings, stack: AsyncExitStack) -> _Opened:
    opening.open_log(settings, stack)
    markets = build_markets(settings)
    signer = opening.configured_signer(settings)
    telemetry = PrometheusTelemetry(
        version=version(PACKAGE), network=settings.network, methods=settings.methods.order
    )
    network = await opening.open_network(settings, stack, telemetry)
    store = await opening.open_orders(settings, stack)
    return _Opened(
        settings,
        stack,
        markets,
        network,
        signer or opening.sandbox_signer(network),
        store,
        opening.keep_metrics(settings, store),
        telemetry,
    )


class _Wired:
    """The parts over what was opened, made in the order in which they need one another."""

    def __init__(self, opened: _Opened, supervisor: Supervisor) -> None:
        settings = opened.settings
        self.opened = opened
        self.supervisor = supervisor
        self.seen = Sightings()
        self.clock = SystemClock()
        self.chain, self.notices = _chain(settings, opened.network, opened.telemetry.hedged)
        self.notes = SystemNotes(opened.store, self.clock)
        around = Surroundings(
            settings, opened.network, opened.telemetry, opened.stack, self.notes.noted
        )
        self.methods = MethodsBuilder(around)
        self.trading = _trading(opened, self.chain, self.clock, self.methods)
        opened.stack.push_async_callback(self.trading.aclose)
        self.identification = upkeep.Identification(
            settings.network, self.chain, opened.store, self.trading, self.seen
        )
        self.ports = Ports(opened.store, self.chain, self.trading, self.clock, opened.telemetry)
        self.executor = _executor(opened, self.clock, self.methods)
        self.admin = MethodAdmin(opened.store, self.executor, self.clock)
        opened.telemetry.methods = self.executor.states
        opened.stack.push_async_callback(self._last_notes)
        self.lease = Lease(opened.store, self.clock, opened.store.trouble)
        self.switch = TradingSwitch(opened.store, self.clock)
        self.manager = _manager(opened, self.ports, self.switch)
        self.switch.on_change = self._wake
        self.reconciliation = Reconciliation(
            self.ports,
            opened.store.recovery,
            history=self.chain.histories,
            reader=self.trading,
            switch=self.switch,
            wallets=[opened.signer.address],
            account=DEFAULT_ACCOUNT,
        )
        self.switch.blocks_left = self.reconciliation.blocks_left
        self.switch.hindrance = self.reconciliation.hindrance
        self.confirmation = self._confirmation()
        self.notices.on_notice = self.confirmation.notice
        self.engine = self._engine()

    def _policy(self) -> RetryPolicy:
        execution = self.opened.settings.execution
        return RetryPolicy(int(execution.retry_delay * US), execution.max_retries)

    def _confirmation(self) -> Confirmation:
        execution = self.opened.settings.execution
        return Confirmation(
            self.ports,
            settlement=Settlement(self.ports, self._policy(), self.executor.claims),
            executor=self.executor,
            lease=self.lease,
            poll_seconds=execution.status_interval,
            rebroadcast_seconds=execution.rebroadcast_interval,
            transaction_timeout_seconds=execution.transaction_timeout,
        )

    def _engine(self) -> ExecutionEngine:
        execution = self.opened.settings.execution
        lifecycle = Lifecycle(
            self.ports,
            executor=self.executor,
            confirmation=self.confirmation,
            lease=self.lease,
            switch=self.switch,
            policy=self._policy(),
            transaction_timeout_seconds=execution.transaction_timeout,
            reserve_lamports=int(self.opened.settings.wallet.reserve_sol * LAMPORTS_PER_SOL),
        )
        return ExecutionEngine(
            self.ports,
            manager=self.manager,
            lifecycle=lifecycle,
            confirmation=self.confirmation,
            executor=self.executor,
            lease=self.lease,
            supervisor=self.supervisor,
            switch=self.switch,
            limits=Limits(
                execution.max_concurrent_executions,
                execution.execution_timeout,
                execution.drain_timeout,
            ),
        )

    def parts(self) -> Parts:
        """Give what others use."""
        return Parts(
            self.manager,
            self.engine,
            self._report(),
            self.opened.telemetry,
            self.admin,
            self.switch,
            Resolver(self.ports, engine=self.engine, manager=self.manager),
            self.trading.desk(_rules(self.opened)),
            self.supervisor,
            self._background(),
        )

    async def _last_notes(self) -> None:
        """Write what was noted last, before the database closes."""
        try:
            await self.notes.flush()
        except IntakeError as error:
            _log.warning("events of the system have to wait", why=error.what)

    def _wake(self) -> None:
        self.manager.on_work()

    def _report(self) -> Report:
        opened = self.opened
        identity = Identity(
            opened.settings.network,
            version(PACKAGE),
            opened.network.rpc_name,
            opened.settings.wallet.name,
            opened.signer.address,
        )
        report = Report(
            identity,
            self.seen,
            chain=self.chain,
            manager=self.manager,
            engine=self.engine,
            executor=self.executor,
            lease=self.lease,
            telemetry=opened.telemetry,
            switch=self.switch,
        )
        report.failure = lambda: self.supervisor.failure
        report.storage = opened.store.trouble
        report.metrics = opened.metrics.document
        return report

    def _background(self) -> Mapping[str, Work]:
        opened = self.opened
        work: dict[str, Work] = {
            **self.methods.background,
            "chain": self.identification.run,
            "method-switches": self.admin.run,
            "trading-state": self.switch.run,
            "reconciliation": self.reconciliation.run,
            "system-notes": self.notes.run,
            "metrics": opened.metrics.run,
            "notifications": partial(opened.store.listen, self._wake),
            "balance": partial(
                upkeep.watch_balance, self.trading, opened.signer.address, self.seen
            ),
            "processes": partial(upkeep.watch_processes, opened.store, self.seen),
            "clean-up": partial(
                upkeep.clean_orders,
                opened.store,
                self.clock,
                interval_seconds=opened.settings.order_management.cleanup_interval,
                retention_days=opened.settings.order_management.retention_days,
                kept=lambda: opened.metrics.seen_position,
            ),
        }
        if opened.network.ws_url is not None:
            work["landing-notices"] = self.notices.run
        if opened.network.sandbox is not None:
            work["sandbox"] = opened.network.sandbox.watch
        return work


def _chain(
    settings: Settings, network: opening.Network, on_hedge: Callable[[str], None]
) -> tuple[RpcChain, LandingNotices]:
    notices = LandingNotices(network.ws_url or "")
    chain = RpcChain(
        network.clients,
        proof_endpoints=settings.execution.proof_endpoints,
        poll_seconds=settings.solana.poll_interval,
        notice=notices.subscribe if network.ws_url is not None else None,
        on_hedge=on_hedge,
    )
    return chain, notices


def _trading(
    opened: _Opened, chain: RpcChain, clock: SystemClock, methods: MethodsBuilder
) -> TransactionTrading:
    settings = opened.settings
    own = opened.network.sandbox is not None
    try:
        return TransactionTrading(
            chain=chain,
            signers={opened.signer.address: opened.signer},
            markets=opened.markets,
            clock=clock,
            slot_seconds=settings.sandbox.slot_ms / 1_000 if own else SLOT_SECONDS,
            fee_policy=priced_policy(settings, chain, methods),
        )
    except ValueError as error:
        raise StartupError(
            "CONFIG_INVALID", str(error), "mend fees or markets in config.yaml"
        ) from None


def _executor(opened: _Opened, clock: SystemClock, methods: MethodsBuilder) -> TransactionExecutor:
    execution = opened.settings.execution
    executors = methods.build()
    refuse_too_dear([executor.needs for executor in executors.values()], opened.settings)
    return TransactionExecutor(
        executors,
        clock=clock,
        telemetry=opened.telemetry,
        patience_seconds=methods.patience(),
        push_seconds=execution.push_timeout,
        strategy=LaneStrategy(execution.strategy),
    )


def _rules(opened: _Opened) -> SignalRules:
    execution = opened.settings.execution
    return SignalRules(
        markets=opened.markets,
        methods=opened.settings.methods.order,
        max_slippage_bps=execution.max_slippage_bps,
        allow_public_fallback=execution.allow_public_fallback,
    )


def _manager(opened: _Opened, ports: Ports, switch: TradingSwitch) -> OrderManager:
    execution, orders = opened.settings.execution, opened.settings.order_management
    return OrderManager(
        ports,
        switch=switch,
        rules=_rules(opened),
        wallet=opened.signer.address,
        new_id=Uuid7(),
        order_timeout_seconds=orders.order_timeout,
        queue_max=execution.max_queue,
        history_max=orders.max_history_size,
        in_sequence=[name for name, each in opened.settings.strategies.items() if each.in_sequence],
    )
