"""The measurements, one after the other."""

from collections.abc import Callable
from pathlib import Path

from benchmarks.audit import Audit
from benchmarks.bursts import burst, first_method_down
from benchmarks.figures import Figure
from benchmarks.intake import intake
from benchmarks.paces import steady
from benchmarks.quotes import quotes
from benchmarks.sizes import Measured, Sizes

Tell = Callable[[str], None]


def measure(sizes: Sizes, folder: Path, tell: Tell) -> Measured:
    """Take all measurements, each in a folder of its own; a service starts anew for each."""
    figures: list[Figure] = []
    found = Audit(0)
    for row in (quotes, intake, burst, first_method_down, steady):
        tell(f"{row.__name__.replace('_', ' ')} ...")
        some, audited = row(sizes, folder / row.__name__)
        figures += some
        found += audited
    return figures, found
