"""A seeded soak, measured: `python -m tests.chaos --seed 1 --minutes 20 --database both`."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from tests.chaos.crowd import run_crowd
from tests.chaos.kinds import ALL, ON_POSTGRES
from tests.chaos.life import run
from tests.chaos.plan import Plan
from tests.chaos.report import Report

T = TypeVar("T")

CALM_PACE = 60.0
OUTPUT = Path("output/chaos.md")
SHARES = {
    "both": (("sqlite", 0.3), ("postgres", 0.7)),
    "sqlite": (("sqlite", 1),),
    "postgres": (("postgres", 1),),
}


def plans(seed: int, minutes: float, database: str, *, keep: bool = False) -> list[Plan]:
    """Give the runs of one command, one after the other."""
    return [Plan(seed, name, minutes * 60 * share, keep=keep) for name, share in SHARES[database]]


def kinds_of(database: str) -> list[str]:
    """Give the kinds that must have a count."""
    absent = {"sqlite": (*ON_POSTGRES, "no_addon"), "postgres": ("full_disk",), "both": ()}[
        database
    ]
    return [kind for kind in ALL if kind not in absent]


async def everything(given: argparse.Namespace) -> Report:
    """Run in trouble, then the same signals without, then a thousand orders in flight."""
    wanted = plans(given.seed, given.minutes, given.database, keep=given.keep)
    outcomes = [await run(plan) for plan in wanted]
    calm = crowd = None
    if given.compare:
        count = max(len(outcome.numbers) for outcome in outcomes)
        calm = await run(Plan(given.seed, "sqlite", 0, CALM_PACE, scale=0, numbers=range(count)))
        crowd = await run_crowd(given.seed)
    return Report(outcomes, kinds_of(given.database), calm=calm, crowd=crowd)


async def until_told(work: Coroutine[Any, Any, T]) -> T:
    """Do the work; at SIGTERM it is cancelled, cleans up after itself, and SystemExit is raised."""
    told = asyncio.Event()
    task = asyncio.ensure_future(work)

    def end() -> None:
        if not told.is_set():  # once: a second one does not cut the cleaning short
            told.set()
            task.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)
    try:
        return await task
    except asyncio.CancelledError:
        if told.is_set():
            raise SystemExit(128 + signal.SIGTERM) from None
        raise


def main(arguments: list[str]) -> int:
    """Run it, print and write the report; 1 when anything was found or something did not happen."""
    parser = argparse.ArgumentParser("tests.chaos", description=__doc__)
    add = parser.add_argument
    add("--seed", type=int, default=1)
    add("--minutes", type=float, default=20)
    add("--database", choices=sorted(SHARES), default="both")
    add("--keep", action="store_true", help="leave databases and logs behind")
    add("--compare", action=argparse.BooleanOptionalAction, default=True, help="calm run and crowd")
    given = parser.parse_args(arguments)
    report = asyncio.run(until_told(everything(given)))
    text = f"{report.text()}\n\n{report.line()}\n"
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(f"# Chaos\n\n{text}")
    print(text, end="")  # noqa: T201
    return 1 if report.failures() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
