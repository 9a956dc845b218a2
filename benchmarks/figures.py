"""Figures: what was measured in each run, its median, and the target it is held against."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Target:
    """A limit for a median: a floor, or a ceiling."""

    limit: float
    floor: bool

    def met(self, value: float) -> bool:
        """Tell whether a median keeps to it."""
        return value >= self.limit if self.floor else value <= self.limit

    def __str__(self) -> str:
        """Write it as `≥ 80`."""
        return f"{'≥' if self.floor else '≤'} {self.limit:g}"


def at_least(limit: float) -> Target:
    """Make a floor."""
    return Target(limit, floor=True)


def at_most(limit: float) -> Target:
    """Make a ceiling."""
    return Target(limit, floor=False)


@dataclass(frozen=True, slots=True)
class Figure:
    """One row: `runs` holds a value in `unit` for each run, oldest first."""

    name: str
    unit: str
    runs: Sequence[float]
    target: Target | None = None

    @property
    def median(self) -> float:
        """The value that is shown and judged."""
        return median(self.runs)

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        return None if self.target is None else self.target.met(self.median)

    def document(self) -> Mapping[str, Any]:
        """Give the row for a file."""
        return {
            "name": self.name,
            "unit": self.unit,
            "median": round(self.median, 4),
            "runs": [round(value, 4) for value in self.runs],
            "target": None if self.target is None else str(self.target),
            "met": self.met,
        }


def percentile(values: Iterable[float], percent: float) -> float:
    """Give the smallest value that `percent` of the values do not exceed; raises ValueError for none."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values")
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(int(rank), 1) - 1]


def show(figures: Sequence[Figure], console: Console) -> None:
    """Print the table."""
    table = Table(title="Synergy7 benchmarks", title_justify="left")
    table.add_column("figure")
    for name in ("median", "lowest", "highest", "target"):
        table.add_column(name, justify="right")
    table.add_column("unit")
    table.add_column("")
    for each in figures:
        verdict = {True: "ok", False: "MISSED", None: ""}[each.met]
        numbers = (each.median, min(each.runs), max(each.runs))
        target = "" if each.target is None else str(each.target)
        table.add_row(each.name, *map(_number, numbers), target, each.unit, verdict)
    console.print(table)


def _number(value: float) -> str:
    """Write three digits that count."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def summary(figures: Sequence[Figure]) -> str:
    """Say how many targets are met."""
    judged = [each.met for each in figures if each.met is not None]
    return f"BENCH DONE: {sum(judged)} of {len(judged)} targets met"
