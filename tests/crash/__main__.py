"""The whole matrix: every point on both databases, and another time of each by chance.

    python -m tests.crash [--seed N] [--workers N] [--no-later]

Prints a table and one line, writes output/crash-matrix.md, and exits 1 unless all is well.
"""

import argparse
import os
import platform
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from tests.crash.acts import METHODS
from tests.crash.databases import Maker, postgres, sqlite_databases
from tests.crash.kit import SEED, WORKERS, opened
from tests.crash.matrix import Report, Result, line
from tests.crash.oracle import KINDS
from tests.crash.points import POSTGRES, UNREACHED, every_point

SIGNALED = 128
OUTPUT = Path("output/crash-matrix.md")
INTRODUCTION = (
    "The service is killed with SIGKILL at every point that hooks find in it: before and after each",
    "commit, migration, outgoing request, answer to a POST, message of the websocket and waiting step",
    "of start and end, and after each state that is taken into memory. Then it is started again, time",
    "is let pass on the sandbox's stepped clock until every order has ended, and chain, orders, audit",
    "trail and metrics are held against one another. The points are taken from the code: one that is",
    "added is killed at, or fails the run. Each is met in one of the acts of `tests/crash/acts.py`: its",
    "first time, and another one by chance.",
)


def main(arguments: Sequence[str]) -> int:
    """Run it; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--workers", type=int, default=WORKERS)
    later = argparse.BooleanOptionalAction
    parser.add_argument("--later", action=later, default=True, help="another time of each point")
    options = parser.parse_args(arguments)
    started = time.monotonic()

    reports = [run("sqlite", sqlite_databases, options)]
    with postgres() as server:
        reports.append(run(POSTGRES, server.databases, options))
    text = "\n".join(page(reports, options, time.monotonic() - started))
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(text + "\n")
    troubles = [trouble for report in reports for trouble in report.troubles()]
    sys.stdout.write("\n".join([text, "", *troubles, line(reports), ""]))
    return 1 if troubles else 0


def run(kind: str, make: Maker, options: argparse.Namespace) -> Report:
    """Kill at every point, and at another time of each."""
    with opened(kind, make, options.workers) as matrix:
        found = matrix.discovery
        later = found.later_cases(options.seed) if options.later else ()
        cases = [*found.first_cases(), *later]
        return matrix.run(cases, lambda result: show(kind, result))


def show(kind: str, result: Result) -> None:
    """Show that a case is done, and what is wrong with it."""
    sys.stderr.write(f"{kind} {result.seconds:.1f} s {result.case}\n")
    sys.stderr.writelines(f"    {text}\n" for text in result.findings.told())


def page(reports: Sequence[Report], options: argparse.Namespace, seconds: float) -> Iterator[str]:
    """Write the report."""
    yield "# Crash matrix"
    yield ""
    yield from INTRODUCTION
    yield ""
    command = f"make crash-matrix SEED={options.seed}"
    if not options.later:
        command = f"python -m tests.crash --seed {options.seed} --no-later"
    yield (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores ({platform.machine()}), Python "
        f"{platform.python_version()}, {seconds / 60:.0f} minutes: `{command}`"
    )
    yield ""
    yield "```"
    yield line(reports)
    yield "```"
    yield ""
    kinds = [report.kind for report in reports]
    yield "| place | points | " + " | ".join(f"killed on {kind}" for kind in kinds) + " | wrong |"
    yield "|---|---|" + "---|" * (len(kinds) + 1)
    listed = Counter(point.place for point in every_point(METHODS))
    killed = [killed_by_place(report) for report in reports]
    wrong = sum((wrong_by_place(report) for report in reports), Counter[str]())
    for place, number in listed.items():
        cells = " | ".join(str(each[place]) for each in killed)
        yield f"| {place} | {number} | {cells} | {wrong[place]} |"
    yield ""
    missed = sum(not each.killed for report in reports for each in report.results)
    yield f"Later times that were not come to again: {missed}. Points that no act comes by:"
    yield ""
    yield from (f"- `{pattern}`: {why}" for pattern, why in UNREACHED.items())


def killed_by_place(report: Report) -> Counter[str]:
    """Count the kills by place."""
    return Counter(r.case.point.place for r in report.results if r.killed and r.case.point)


def wrong_by_place(report: Report) -> Counter[str]:
    """Count what is wrong by place."""
    counted: defaultdict[str, int] = defaultdict(int)
    for result in report.results:
        if result.case.point:
            counted[result.case.point.place] += sum(
                len(getattr(result.findings, kind)) for kind in KINDS
            )
    return Counter(counted)


def end_orderly() -> None:
    """Have SIGTERM leave through every context that is open; a second one changes nothing."""

    def leave(number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise SystemExit(SIGNALED + number)

    signal.signal(signal.SIGTERM, leave)


if __name__ == "__main__":
    end_orderly()
    sys.exit(main(sys.argv[1:]))
