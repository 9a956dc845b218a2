"""Orders by the ten thousand lived in worlds where everything goes wrong, held to what the chain holds."""

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable

import pytest

from app.domain.order import OrderStatus
from tests.engine.evils import ALL, Case, Evil, parse
from tests.engine.simulate import live_all, main
from tests.engine.simulation import Simulation
from tests.engine.virtual_time import run

FIRST_SEED = int(os.environ.get("SIMULATION_SEED", "0"))
"""Where the seeds begin: the same each time unless another is asked for."""
LIVES = 25_000
HALVES = 2
RUN_SECONDS_MAX = 600
SMALL = Case(7, orders=40)


def uncovered(hash_seed: str = "0") -> dict[str, str]:
    """Give an environment in which nothing measures what is run: that would cost more than the run."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    return {**kept, "PYTHONHASHSEED": hash_seed}


def simulated(*words: str, hash_seed: str = "0") -> str:
    """Run the simulator by itself; gives what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.simulate", *words],
        env=uncovered(hash_seed),
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.proof
@pytest.mark.parametrize("half", range(HALVES))
def test_every_order_ends_as_the_chain_says(
    half: int, record_property: Callable[[str, object], None]
) -> None:
    """No order executes twice, none is lost, none that may have executed is called failed.

    Nothing is pushed before it is stored, signed beside a live attempt, or done without a lease; and what
    has ended stays so.
    """
    seed = FIRST_SEED + 1_000_000 * half
    said = simulated("--lives", str(LIVES), "--seed", str(seed), "--jobs", "1")
    last = said.splitlines()[-1]
    record_property("printed", last)
    counts = {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)(?= )", last)}
    assert counts["lives"] >= LIVES
    assert counts["breaches"] == 0
    ends = (OrderStatus.FILLED, OrderStatus.FAILED, OrderStatus.EXPIRED, OrderStatus.CANCELED)
    assert all(counts[status.value] for status in ends), last
    assert all(counts.get(evil.value, 0) for evil in Evil), last


def test_with_every_evil_at_once_promises_are_kept() -> None:
    """Worlds of all evils, lived where coverage is measured."""
    lives = live_all([Case(seed, orders=40) for seed in range(4)])
    assert lives.broken == []
    assert lives.ended.total() == lives.lives == 160


def test_without_evils_every_order_is_filled() -> None:
    """What goes wrong in a world comes from its evils alone."""
    lives = live_all([Case(1, orders=40, evils=frozenset())])
    assert lives.ended == Counter({OrderStatus.FILLED: 40})
    assert lives.hits == Counter()


def test_a_seed_lives_the_same_life_in_every_process() -> None:
    """What a seed finds can be looked at again, wherever hashes and addresses fall."""
    simulation = Simulation.of(SMALL)
    run(simulation.run())
    line = f"trace={simulation.trace()}"
    for hash_seed in ("1", "2"):
        assert line in simulated("--replay", SMALL.line(), hash_seed=hash_seed).splitlines()
    other = Simulation.of(Case(8, orders=40))
    run(other.run())
    assert other.trace() != simulation.trace()


@pytest.mark.parametrize(
    "case",
    [SMALL, Case(3, 2, 12.5, frozenset({Evil.FORKS, Evil.LOST})), Case(0, 1, 5, frozenset())],
)
def test_a_case_is_read_as_it_is_written(case: Case) -> None:
    """The printed line is the whole case."""
    assert parse(case.line()) == case


@pytest.mark.parametrize("line", ["seed=1,order=3", "seed=x", "seed=1,evils=rain"])
def test_a_case_that_is_none_is_refused(line: str) -> None:
    """By the command line too, before anything is lived."""
    with pytest.raises(ValueError, match=r"order|invalid|rain"):
        parse(line)
    with pytest.raises(SystemExit):
        main(["--replay", line])


def test_a_seed_draws_some_evils_and_now_and_then_all() -> None:
    """One evil may keep another from being seen."""
    drawn = [Case.drawn(seed) for seed in range(100)]
    assert {len(case.evils) for case in drawn} >= {5, 10, 15, len(ALL)}
    assert Case.drawn(3) == Case.drawn(3)
