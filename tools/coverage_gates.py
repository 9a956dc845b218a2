"""Enforces the coverage that each package of app/ owes, from coverage's JSON report."""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMPLETE = frozenset({"app/domain", "app/engine"})
"""Packages covered to the last line and branch, without a pragma."""
COMPLETE_PERCENT = 100.0
OTHERS_PERCENT = 90.0
PRAGMAS = ("pragma: no cover", "pragma: no branch")


@dataclass(frozen=True)
class Tally:
    """Lines and branches together: how many there are and how many ran."""

    name: str
    total: int = 0
    covered: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.name, self.total + other.total, self.covered + other.covered)

    @property
    def percent(self) -> float:
        return 100.0 * self.covered / self.total if self.total else 100.0

    @property
    def owed(self) -> float:
        return COMPLETE_PERCENT if self.name in COMPLETE else OTHERS_PERCENT

    @property
    def passes(self) -> bool:
        # Compared as counts where all is owed: 99.996 is not 100.
        if self.owed == COMPLETE_PERCENT:
            return self.covered == self.total
        return self.percent >= self.owed


def package_of(path: str) -> str:
    """Name the part of app/ that a file belongs to: its package, or itself for app/main.py."""
    return "/".join(Path(path).parts[:2])


def tallies(report: Mapping[str, Any]) -> list[Tally]:
    """Sum coverage's figures by package, and all of them last."""
    packages: dict[str, Tally] = {}
    for path, figures in report["files"].items():
        name, one = package_of(path), figures["summary"]
        packages[name] = packages.get(name, Tally(name)) + Tally(
            name,
            one["num_statements"] + one["num_branches"],
            one["covered_lines"] + one["covered_branches"],
        )
    everything = sum(packages.values(), start=Tally("total"))
    return [*(packages[name] for name in sorted(packages)), everything]


def pragmas(root: Path) -> Iterator[str]:
    """Name each line of a complete package that asks coverage to look away."""
    for package in sorted(COMPLETE):
        for path in sorted((root / package).rglob("*.py")):
            for number, line in enumerate(path.read_text().splitlines(), start=1):
                if any(pragma in line for pragma in PRAGMAS):
                    yield f"{path.relative_to(root)}:{number}: {line.strip()}"


def table(rows: list[Tally]) -> str:
    """Lay the rows out for a terminal."""
    head = f"{'package':24}{'covered':>9}{'owed':>7}"
    return "\n".join(
        [
            head,
            *(
                f"{row.name:24}{row.percent:8.1f}%{row.owed:6.0f}%{'' if row.passes else '  BELOW'}"
                for row in rows
            ),
        ],
    )


def main(report_path: Path = Path(".pytest_cache/coverage.json"), root: Path = Path()) -> int:
    """Print the table; 1 when something owed is missing, else 0."""
    rows = tallies(json.loads((root / report_path).read_text()))
    faults = [f"no pragma is allowed here: {line}" for line in pragmas(root)]
    faults += [f"not measured: {name}" for name in sorted(COMPLETE - {row.name for row in rows})]
    print(table(rows))
    for fault in faults:
        print(fault)
    return 0 if not faults and all(row.passes for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:2])))
