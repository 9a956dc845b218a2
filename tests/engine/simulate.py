"""Lives orders by the thousand in simulated worlds; a broken promise is shrunk to a case that replays.

`make simulate LIVES=1000000 SEED=7`, or `make simulate REPLAY=seed=7,orders=2,chaos=10,evils=forks`. Ends
with 1 when a promise was broken. Nothing is waited for: a minute of a world takes a fraction of a second.
"""

import argparse
import gc
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Final, NoReturn

import structlog

from app.domain.order import OrderStatus
from tests.engine.evils import ORDERS, Case, Evil, parse
from tests.engine.rig import Rig
from tests.engine.shrinking import shrink
from tests.engine.simulation import Simulation
from tests.engine.virtual_time import START_SECONDS, run

BATCH: Final = 4
"""Worlds that a process is given at a time."""
NEWS_SECONDS: Final = 30.0
SHOWN_MAX: Final = 5
"""Breaches of one world that are told: the first ones are the cause."""
SHRINKING_SECONDS: Final = 60.0
TOLD_ORDERS_MAX: Final = 5
"""Of a replayed world with so few orders every event is told."""


def say(line: str) -> None:
    """Say something on a line of its own, at once."""
    print(line, flush=True)  # noqa: T201


@dataclass
class Lives:
    """What became of the orders of some worlds."""

    lives: int = 0
    ended: Counter[OrderStatus] = field(default_factory=Counter)
    hits: Counter[Evil] = field(default_factory=Counter)
    broken: list[tuple[Case, list[str]]] = field(default_factory=list)

    def add(self, other: "Lives") -> None:
        """Count others too."""
        self.lives += other.lives
        self.ended.update(other.ended)
        self.hits.update(other.hits)
        self.broken += other.broken


def live(case: Case, kind: type[Rig] = Rig) -> tuple[Simulation, list[str]]:
    """Live a case's world to its end; gives what promises were broken."""
    simulation = Simulation.of(case, kind)
    try:
        run(simulation.run())
    except TimeoutError:
        return simulation, [*simulation.breaches(), "the world did not settle"]
    except Exception as error:  # noqa: BLE001 - whatever it is, it is found in this very world
        return simulation, [f"the world fell apart: {error!r}", *simulation.breaches()]
    return simulation, list(simulation.breaches())


def live_all(cases: Sequence[Case], kind: type[Rig] = Rig) -> Lives:
    """Live some worlds, one after the other."""
    lives = Lives()
    for case in cases:
        simulation, breaches = live(case, kind)
        views = [row.view for row in simulation.database.rows.values()]
        lives.add(Lives(len(views), Counter(v.order.status for v in views), simulation.hits))
        if breaches:
            lives.broken.append((case, breaches))
    return lives


def quieten() -> None:
    """Say nothing of the thousands of lives, and do not look for rubbish all the time."""

    def drop(*_: object) -> NoReturn:
        raise structlog.DropEvent

    structlog.configure(
        processors=[drop],
        wrapper_class=structlog.make_filtering_bound_logger("critical"),
        cache_logger_on_first_use=True,
    )
    gc.set_threshold(200_000, 50, 50)


def _in_turn(cases: Sequence[Case], jobs: int, kind: type[Rig]) -> Iterator[Lives]:
    batches = [cases[start : start + BATCH] for start in range(0, len(cases), BATCH)]
    if jobs == 1:
        yield from (live_all(batch, kind) for batch in batches)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=quieten) as pool:
        yield from pool.map(live_all, batches)


def simulate(lives: int, seed: int, *, jobs: int = 1, kind: type[Rig] = Rig) -> int:
    """Live so many lives, and tell; gives the exit code."""
    seeds = range(seed, seed + -(-lives // ORDERS))
    started, told, total = time.monotonic(), time.monotonic(), Lives()
    try:
        for some in _in_turn([Case.drawn(each) for each in seeds], jobs, kind):
            total.add(some)
            if total.broken:
                break
            if time.monotonic() - told > NEWS_SECONDS:
                told = time.monotonic()
                say(f"{total.lives} lives, {total.lives / (told - started):.0f} a second")
    except KeyboardInterrupt:
        say("interrupted: this is what was lived")
    seconds = time.monotonic() - started
    for case, breaches in total.broken:
        _tell(case, breaches)
    if total.broken:
        say("shrinking ...")
        case, breaches = shrink(
            *total.broken[0], lambda smaller: live(smaller, kind)[1], seconds=SHRINKING_SECONDS
        )
        _tell(case, breaches)
        say(f"the smallest case: make simulate REPLAY={case.line()}")
    say(_summary(total, seeds, seconds))
    return 1 if total.broken else 0


def _tell(case: Case, breaches: Sequence[str]) -> None:
    say(f"BROKEN {case.line()}")
    for breach in breaches[:SHOWN_MAX]:
        say(f"  {breach}")


def _summary(total: Lives, seeds: range, seconds: float) -> str:
    counts = {status.value: total.ended[status] for status in OrderStatus if total.ended[status]}
    faults = {evil.value: total.hits[evil] for evil in Evil if total.hits[evil]}
    words = {
        "lives": total.lives,
        "seeds": f"{seeds.start}-{seeds.stop - 1}",
        "breaches": sum(len(breaches) for _case, breaches in total.broken),
        **counts,
        **faults,
        "seconds": f"{seconds:.1f}",
        "lives_per_second": f"{total.lives / seconds:.0f}",
    }
    return " ".join(f"{name}={value}" for name, value in words.items())


def replay(case: Case, kind: type[Rig] = Rig) -> int:
    """Live one case again and tell what happened in it; gives the exit code."""
    simulation, breaches = live(case, kind)
    if case.orders <= TOLD_ORDERS_MAX:
        started_us = simulation.world.started_us
        for event in simulation.database.events:
            seconds = START_SECONDS + (event.at_us - started_us) / 1_000_000
            say(f"{seconds:10.3f} {event.order_id} {event.kind} {dict(event.data)}")
    if breaches:
        _tell(case, breaches)
    say(f"trace={simulation.trace()}")
    ended = Counter(row.order.status.value for row in simulation.database.rows.values())
    counts = " ".join(f"{status}={count}" for status, count in sorted(ended.items()))
    say(f"lives={len(simulation.database.rows)} breaches={len(breaches)} {counts}")
    return 1 if breaches else 0


def main(argv: Sequence[str] | None = None, kind: type[Rig] = Rig) -> int:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(prog="simulate", description="simulated lives of orders")
    parser.add_argument("--lives", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=0, help="where the worlds' seeds begin")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--replay", type=parse, metavar="CASE", help="live one case again")
    given = parser.parse_args(argv)
    if given.replay is not None:
        return replay(given.replay, kind)
    return simulate(given.lives, given.seed, jobs=given.jobs, kind=kind)


if __name__ == "__main__":
    quieten()
    sys.exit(main())
