"""The table fault × method × stage: how often each was met, and what was never met."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from tests.methods.faults import OF_BUNDLES, Fault

METHODS = ("bundle", "jito", "quicknode", "rpc", "helius")


class Stage(StrEnum):
    """Where in the life of an attempt a push is."""

    FIRST = "first push"
    FALLBACK = "fallback: a later lane of the same attempt"
    AGAIN = "rebroadcast: a lane that was pushed before"
    RESIGNED = "first push of an attempt that was signed anew"
    TAKEOVER = "first push by a process that did not sign"


Cell = tuple[Fault, str, Stage]

IMPOSSIBLE: Mapping[tuple[Fault, str], str] = {
    (fault, method): why
    for fault in OF_BUNDLES
    for method, why in {
        "rpc": "a cluster's node keeps no bundles and tells no status of any",
        "helius": "the sender lands transactions as they are, and tells no status",
    }.items()
}
"""Cells that nature leaves empty, at every stage, and why; met all the same, they are wrong here."""


@dataclass
class Table:
    """How often what befell whom, and when."""

    methods: Sequence[str] = METHODS
    met: Counter[Cell] = field(default_factory=Counter)

    def count(self, fault: Fault, method: str, stage: Stage) -> None:
        """Count one exchange."""
        self.met[fault, method, stage] += 1

    def cells(self) -> list[Cell]:
        """List every cell that can be met."""
        return [
            (fault, method, stage)
            for stage in Stage
            for fault in Fault
            for method in self.methods
            if (fault, method) not in IMPOSSIBLE
        ]

    def empty(self) -> list[str]:
        """Name the cells that were never met."""
        return [" × ".join(cell) for cell in self.cells() if not self.met[cell]]

    def misjudged(self) -> list[str]:
        """Name the cells that were met although they are said to be impossible."""
        return [" × ".join(cell) for cell in self.met if cell[:2] in IMPOSSIBLE]

    def text(self) -> str:
        """Write it, a block for each stage: how often each method met each fault."""
        return "\n\n".join(self._block(stage) for stage in Stage)

    def _block(self, stage: Stage) -> str:
        head = f"{stage.value:46}" + "".join(f"{method:>11}" for method in self.methods)
        rows = [self._row(fault, stage) for fault in Fault]
        sums = [sum(self.met[f, method, stage] for f in Fault) for method in self.methods]
        return "\n".join(
            [head, *rows, f"  {'in all':44}" + "".join(f"{each:>11}" for each in sums)]
        )

    def _row(self, fault: Fault, stage: Stage) -> str:
        figures = [
            "-" if (fault, method) in IMPOSSIBLE else str(self.met[fault, method, stage])
            for method in self.methods
        ]
        return f"  {fault.value:44}" + "".join(f"{each:>11}" for each in figures)
