"""How much is measured, and what a measurement gives."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.audit import Audit
from benchmarks.figures import Figure


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured in each of `runs` runs."""

    runs: int = 3
    quotes: int = 2_000
    warm_up: int = 50
    bare: int = 3_000
    intake: int = 1_500
    burst: int = 1_000
    steady: int = 100
    steady_per_second: float = 10.0


Measured = tuple[Sequence[Figure], Audit]
"""The rows, and the proof of the orders behind them."""
