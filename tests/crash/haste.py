"""Pauses cut short: the chain's clock is stepped by who runs the case, so nothing has to be waited for."""

from typing import Any

from app.engine import confirmation, execution_engine, reconciliation
from app.executors import bundle_statuses
from app.metrics.execution_metrics import ExecutionMetrics, Pace
from app.solana import notices

PAUSES: tuple[tuple[Any, str, float], ...] = (
    (confirmation, "FINALITY_SECONDS", 0.05),
    (confirmation, "AGAIN_SECONDS", 0.05),
    (confirmation, "CANCELS_SECONDS", 0.1),
    (execution_engine, "POLL_SECONDS", 0.05),
    (execution_engine, "HOUSEKEEPING_SECONDS", 0.1),
    (execution_engine, "SEAL_SECONDS", 0.05),
    (reconciliation, "LOOK_SECONDS", 0.05),
    (bundle_statuses, "POLL_SECONDS", 0.05),
    (notices, "RECONNECT_SECONDS", 0.1),
)
"""Between one look and the next; what is decided does not depend on them."""
METRICS = Pace(poll_seconds=0.05)


def install() -> None:
    """Cut them, in this process."""
    for module, name, seconds in PAUSES:
        assert hasattr(module, name), f"{module.__name__} has no {name} any more"
        setattr(module, name, seconds)
    defaults = ExecutionMetrics.__init__.__kwdefaults__
    assert defaults is not None
    assert "pace" in defaults
    defaults["pace"] = METRICS
