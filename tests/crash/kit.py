"""What the tests of the matrix and its command do alike."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from tests.crash.databases import Maker
from tests.crash.matrix import (
    Case,
    Discovery,
    Places,
    Report,
    Result,
    discover,
    line,
    places,
    run_cases,
)

WORKERS = 2
SEED = 7
PARTS = ("commit", "request", "step", "others")
"""The points by place, in parts of which none takes so long that it seems to hang."""


@dataclass(frozen=True)
class Matrix:
    """A kind of database with chains to run cases on, and what the acts come by."""

    kind: str
    make: Maker
    where: Places
    pool: ThreadPoolExecutor
    discovery: Discovery

    def run(
        self, cases: Sequence[Case], done: Callable[[Result], None] = lambda _result: None
    ) -> Report:
        """Perform cases; `done` is told of each."""
        results = run_cases(cases, self.where, self.make, self.pool, done)
        return Report(self.kind, self.discovery, results)


@contextmanager
def opened(kind: str, make: Maker, workers: int = WORKERS) -> Iterator[Matrix]:
    """Run chains, and perform every act once."""
    with places(workers) as where, ThreadPoolExecutor(workers) as pool:
        yield Matrix(kind, make, where, pool, discover(kind, where, make, pool))


def part(cases: Sequence[Case], name: str) -> list[Case]:
    """Give the cases of one part, of which there are some."""
    chosen = [case for case in cases if _part(case) == name]
    assert chosen, f"no case is of the part {name!r}"
    return chosen


def _part(case: Case) -> str:
    place = case.point.place if case.point else ""
    return place if place in PARTS else PARTS[-1]


def claim_all_is_come_by(matrix: Matrix) -> None:
    """Claim that the acts come by every point, and end well without a kill."""
    claim_all_is_well(matrix.run([]), lambda _name, _text: None)


def claim_all_is_well(report: Report, told: Callable[[str, object], None]) -> None:
    """Claim that somebody was killed at every point, without harm; prints the figures."""
    told("printed", f"{report.kind}: {line([report])}")
    troubles = [*report.troubles()]
    assert not troubles, "\n".join(troubles)
