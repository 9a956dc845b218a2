"""What the system says about itself, from memory: status, readiness, metrics."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from app.domain.documents import time_string
from app.domain.money import amount_string
from app.domain.signal import US
from app.engine.execution_engine import ExecutionEngine
from app.engine.lease import Lease
from app.engine.order_manager import OrderManager
from app.engine.ports import Balances
from app.engine.store_port import LiveProcess
from app.engine.trading_state import TradingSwitch
from app.engine.transaction_executor import TransactionExecutor
from app.metrics.prometheus import PrometheusTelemetry
from app.solana.chain import RpcChain

SOL_DECIMALS = 9


@dataclass(frozen=True, slots=True)
class Identity:
    """What never changes while the system runs."""

    network: str
    version: str
    rpc_url: str
    wallet_name: str
    wallet_address: str


@dataclass(slots=True)
class Sightings:
    """What is learnt in the background."""

    genesis_hash: str | None = None
    verified: bool = False
    trouble: str | None = None
    balances: Balances | None = None
    processes: Sequence[LiveProcess] = ()


def _process(process: LiveProcess) -> Mapping[str, object]:
    return {
        "name": process.name,
        "started_at": time_string(process.started_at_us),
        "heartbeat_age_seconds": round(process.silent_us / US, 3),
    }


class Report:
    """The `SystemReport` of the API, and the answer of `get_system_status()`."""

    def __init__(  # noqa: PLR0913 - every part by its name
        self,
        identity: Identity,
        sightings: Sightings,
        *,
        chain: RpcChain,
        manager: OrderManager,
        engine: ExecutionEngine,
        executor: TransactionExecutor,
        lease: Lease,
        telemetry: PrometheusTelemetry,
        switch: TradingSwitch,
    ) -> None:
        """Take the parts that are asked."""
        self._identity = identity
        self._sightings = sightings
        self._chain = chain
        self._manager = manager
        self._engine = engine
        self._executor = executor
        self._lease = lease
        self._telemetry = telemetry
        self._switch = switch
        self._started = time.monotonic()
        self.failure: Callable[[], str | None] = lambda: None
        self.storage: Callable[[], str | None] = lambda: None
        self.metrics: Callable[[], Mapping[str, object]] = dict

    def status(self) -> Mapping[str, object]:
        """Give the document of `GET /status`."""
        identity, seen = self._identity, self._sightings
        tip, heights = self._chain.tip, self._chain.known_heights
        return {
            "network": identity.network,
            "version": identity.version,
            "uptime_seconds": round(time.monotonic() - self._started, 3),
            "ready": not self.readiness(),
            "trading": self._switch.document(),
            "chain": {
                "network": identity.network,
                "rpc_url": identity.rpc_url,
                "genesis_hash": seen.genesis_hash,
                "slot": tip.slot if tip else None,
                "block_height": self._chain.block_height,
                "finalized_slot": heights.slot if heights else None,
                "finalized_block_height": heights.block_height if heights else None,
                "block_seconds": round(self._chain.block_seconds, 4),
                "endpoints": [dict(state) for state in self._chain.endpoints()],
            },
            "queue": self._queue(),
            "workers": {"slots": self._engine.slots, "busy": self._engine.busy},
            "methods": [dict(state) for state in self._executor.states()],
            "wallets": [self._wallet()],
            "processes": [_process(each) for each in self._sightings.processes],
            "metrics": self.metrics(),
        }

    def _queue(self) -> Mapping[str, object]:
        figures = self._manager.figures
        names = ("pending", "active", "completed", "in_doubt")
        return {name: getattr(figures, name) if figures else 0 for name in names}

    def _wallet(self) -> Mapping[str, object]:
        balances = self._sightings.balances
        lamports = balances.lamports if balances else None
        return {
            "name": self._identity.wallet_name,
            "address": self._identity.wallet_address,
            "balance_lamports": lamports,
            "balance_sol": None if lamports is None else amount_string(lamports, SOL_DECIMALS),
        }

    def readiness(self) -> Sequence[str]:
        """Give the reasons why orders are not executed now; none: ready."""
        reasons = []
        if (failed := self.failure()) is not None:
            reasons.append(f"the task {failed} has died, the service is stopping")
        reasons += self._switch.reasons()
        if (trouble := self.storage()) is not None:
            reasons.append(f"the orders database {trouble}")
        elif not self._lease.held():
            reasons.append("the database does not renew the lease")
        if not self._chain.ready():
            reasons.append(self._sightings.trouble or "no recent blockhash could be read")
        if not self._executor.ready():
            reasons += [f"method {each}" for each in self._executor.unavailable()]
        return reasons

    def render_metrics(self) -> tuple[bytes, str]:
        """Give the Prometheus exposition and its content type."""
        figures = self._manager.figures
        if figures is not None:
            self._telemetry.set_figures(figures, time.time_ns() // 1_000)
        self._telemetry.set_ready(ready=not self.readiness())
        return self._telemetry.render(None)
