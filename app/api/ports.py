"""What the interface needs of the system, besides the order manager."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

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


@dataclass(frozen=True, slots=True)
class ApiService:
    """The opened system as the interface sees it."""

    manager: OrderManager
    report: SystemReport
    telemetry: Telemetry


ServiceSource = Callable[[], ApiService | None]
"""Gives the opened system; None before it is open and after it is closed."""
