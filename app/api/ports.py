"""What the interface needs of the system, besides the order manager."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from app.domain.order import OrderView
from app.engine.order_manager import OrderManager
from app.engine.ports import Telemetry


class SystemReport(Protocol):
    """What the system says about itself, from memory."""

    def status(self) -> Mapping[str, object]:
        """Give the document of `GET /status`."""
        ...

    def readiness(self) -> Sequence[str]:
        """Give the reasons why the system is not ready; none: ready."""
        ...

    def render_metrics(self) -> tuple[bytes, str]:
        """Give the Prometheus exposition and its content type."""
        ...


class MethodControl(Protocol):
    """The submission methods. Raises NotFoundError(METHOD_NOT_FOUND), or IntakeError of the store."""

    def states(self) -> Sequence[Mapping[str, object]]:
        """Give each method's state, in the configured order."""
        ...

    def state(self, name: str) -> Mapping[str, object]:
        """Give a method's state."""
        ...

    async def reset(self, name: str) -> Mapping[str, object]:
        """Close a method's breaker and forget its back-offs; gives its state."""
        ...

    async def disable(self, name: str) -> Mapping[str, object]:
        """Push nothing through a method any more; gives its state."""
        ...

    async def enable(self, name: str) -> Mapping[str, object]:
        """Take a method into use again; gives its state."""
        ...


class TradingControl(Protocol):
    """The switch of trading as a whole. Raises IntakeError of the store."""

    def document(self) -> Mapping[str, object]:
        """Give the state as it is shown."""
        ...

    async def halt(self, reason: str | None) -> object:
        """Sign nothing any more."""
        ...

    async def resume(self) -> object:
        """Sign again; raises IntakeError(RECONCILING) while the database is compared with the chain."""
        ...


class ResolutionControl(Protocol):
    """What operators say of orders in doubt."""

    async def resolve(self, account: str, order_id: str, body: object) -> OrderView:
        """Resolve an order as `body` says; gives it as it ended.

        Raises SignalError, NotFoundError, ResolutionError, or IntakeError of the store.
        """
        ...


class Desk(Protocol):
    """What can be asked before an order is posted."""

    async def markets(self) -> Sequence[Mapping[str, object]]:
        """Show every market; raises TransientError while the chain cannot be read."""
        ...

    async def quote(self, body: Mapping[str, object]) -> Mapping[str, object]:
        """Show what would be signed now for a signal; raises SignalError, RefusedError, TransientError."""
        ...


@dataclass(frozen=True, slots=True)
class ApiService:
    """The opened system as the interface sees it."""

    manager: OrderManager
    report: SystemReport
    telemetry: Telemetry
    methods: MethodControl
    trading: TradingControl
    resolutions: ResolutionControl
    desk: Desk


ServiceSource = Callable[[], ApiService | None]
"""Gives the opened system; None before it is open and after it is closed."""
