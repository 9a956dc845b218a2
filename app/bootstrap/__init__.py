"""The one place that wires settings into an ExecutionSystem."""

from app.bootstrap.system import ExecutionSystem

__all__ = ["ExecutionSystem"]
