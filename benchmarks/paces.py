"""A steady pace on a chain with the cluster's slot time: through one method, and through four at once."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.documents import Json, all_sent_ms, filled_ms, first_byte_ms, holders
from benchmarks.figures import Figure, Target, at_most, percentile
from benchmarks.service import Subject, subject, without_limits
from benchmarks.settings import RACE, RPC_ALONE, STEADY
from benchmarks.sizes import Measured, Sizes


@dataclass(frozen=True)
class _Pace:
    """A service, and what its runs gave, in milliseconds."""

    under: Subject
    accepts: list[list[float]] = field(default_factory=list)
    filled: list[list[Json]] = field(default_factory=list)

    def run(self, label: str, sizes: Sizes) -> None:
        """Post at the pace, and wait for the end."""
        load, ids = self.under.post_paced(label, sizes.steady, sizes.steady_per_second)
        self.under.wait_done()
        self.accepts.append([answer.seconds * 1_000 for answer in load.answers])
        self.filled.append(self.under.filled(ids))

    def each(self, milliseconds: Callable[[Json], float]) -> Sequence[Sequence[float]]:
        """Give a time of every filled order, by run."""
        return [[milliseconds(document) for document in some] for some in self.filled]


def steady(sizes: Sizes, folder: Path) -> Measured:
    """Post at a pace to both in turn."""
    with ExitStack() as stack:
        stack.enter_context(without_limits(folder / "four", STEADY))
        one = _Pace(stack.enter_context(subject(folder / "one", {**RPC_ALONE, **STEADY})))
        four = _Pace(stack.enter_context(subject(folder / "four", {**RACE, **STEADY})))
        for pace in (one, four):
            pace.under.warm_up(sizes.warm_up)
        for number in range(sizes.runs):
            for pace in (one, four):
                pace.run(f"steady-{number}", sizes)
        audited = one.under.audit() + four.under.audit()
    return (*_alone(one, sizes), *_racing(one, four)), audited


def _alone(one: _Pace, sizes: Sizes) -> Sequence[Figure]:
    pace = f"{sizes.steady_per_second:g}/s"
    sent, filled = one.each(first_byte_ms), one.each(filled_ms)
    return (
        _spread(f"POST to 202, at {pace}", one.accepts, 50),
        _spread(f"POST to 202, at {pace}", one.accepts, 99),
        _spread("accepted to first byte sent, one method", sent, 50, at_most(50)),
        _spread("accepted to first byte sent, one method", sent, 99),
        _spread("accepted to filled, one method", filled, 50, at_most(1_000)),
        _spread("accepted to filled, one method", filled, 99),
    )


def _racing(one: _Pace, four: _Pace) -> Sequence[Figure]:
    alone, first = one.each(first_byte_ms), four.each(first_byte_ms)
    last, filled = four.each(all_sent_ms), four.each(filled_ms)
    medians = ([percentile(run, 50) for run in some] for some in (alone, first))
    ratios = [racing / single for single, racing in zip(*medians, strict=True)]
    given = [sum(map(holders, some)) / len(some) for some in four.filled]
    return (
        _spread("accepted to first byte sent, four racing", first, 50, at_most(50)),
        _spread("accepted to first byte sent, four racing", first, 99),
        Figure("first byte with four racing, as a ratio to one", "", ratios, at_most(1.5)),
        _spread("accepted to sent through all four, racing", last, 50),
        _spread("accepted to filled, four racing", filled, 50),
        Figure("methods that had an order's bytes, racing", "", given),
    )


def _spread(
    name: str, runs: Sequence[Sequence[float]], percent: int, target: Target | None = None
) -> Figure:
    """Give one percentile of each run."""
    return Figure(f"{name}, p{percent}", "ms", [percentile(run, percent) for run in runs], target)
