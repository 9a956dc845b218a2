"""A steady pace on a chain with the cluster's slot time: through one method, and through four at once."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.figures import Figure, Target, at_most, percentile
from benchmarks.service import Json, Subject, subject, unix_seconds, without_limits
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
    sent, filled = one.each(_first_byte_ms), one.each(_filled_ms)
    return (
        _spread(f"POST to 202, at {pace}", one.accepts, 50),
        _spread(f"POST to 202, at {pace}", one.accepts, 99),
        _spread("accepted to first byte sent", sent, 50, at_most(50)),
        _spread("accepted to first byte sent", sent, 99),
        _spread("accepted to filled, 400 ms slots", filled, 50, at_most(1_000)),
        _spread("accepted to filled, 400 ms slots", filled, 99),
    )


def _racing(one: _Pace, four: _Pace) -> Sequence[Figure]:
    alone, first = one.each(_first_byte_ms), four.each(_first_byte_ms)
    last, filled = four.each(_last_first_byte_ms), four.each(_filled_ms)
    medians = ([percentile(run, 50) for run in some] for some in (alone, first))
    ratios = [racing / single for single, racing in zip(*medians, strict=True)]
    given = [sum(map(_holders, some)) / len(some) for some in four.filled]
    return (
        _spread("four racing: accepted to first byte sent", first, 50, at_most(50)),
        _spread("four racing: accepted to first byte sent", first, 99),
        _spread("four racing: accepted to the fourth method's first byte", last, 50),
        Figure("four racing: first byte, as a ratio to one method", "", ratios),
        _spread("four racing: accepted to filled, 400 ms slots", filled, 50),
        Figure("four racing: methods that had an order's bytes", "", given),
    )


def _spread(
    name: str, runs: Sequence[Sequence[float]], percent: int, target: Target | None = None
) -> Figure:
    """Give one percentile of each run."""
    return Figure(f"{name}, p{percent}", "ms", [percentile(run, percent) for run in runs], target)


def _first_sent(document: Json) -> dict[str, float]:
    """Give by method when the bytes left for it first, in Unix seconds."""
    first: dict[str, float] = {}
    for push in document["attempts"][0]["submissions"]:
        if push["outcome"] != "not_sent":
            sent_at = unix_seconds(push["sent_at"])
            first[push["method"]] = min(first.get(push["method"], sent_at), sent_at)
    return first


def _first_byte_ms(document: Json) -> float:
    """Give the time from acceptance to the first push, by the service's own clock."""
    sent_at = min(_first_sent(document).values())
    return 1_000 * (sent_at - unix_seconds(document["accepted_at"]))


def _last_first_byte_ms(document: Json) -> float:
    """Give the time from acceptance until the bytes have left for every method."""
    sent_at = max(_first_sent(document).values())
    return 1_000 * (sent_at - unix_seconds(document["accepted_at"]))


def _holders(document: Json) -> int:
    """Count the methods that took an order's bytes, or said that they had landed already."""
    pushes = document["attempts"][0]["submissions"]
    return len({push["method"] for push in pushes if push["outcome"] in ("accepted", "already")})


def _filled_ms(document: Json) -> float:
    return 1_000 * (unix_seconds(document["filled_at"]) - unix_seconds(document["accepted_at"]))
