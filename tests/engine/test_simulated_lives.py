"""Thousands of orders lived in a world where everything goes wrong, held to what the chain holds."""

import os
from collections import Counter

import pytest

from app.domain.order import OrderStatus
from tests.engine.simulation import Simulation
from tests.engine.virtual_time import run

ORDERS = 40
SEEDS = 10
FIRST_SEED = int(os.environ.get("SIMULATION_SEED", "0"))
"""Where the seeds begin: the same each time unless another is asked for."""


@pytest.mark.parametrize("start", range(FIRST_SEED, FIRST_SEED + 6 * SEEDS, SEEDS))
def test_every_order_ends_as_the_chain_says(start: int) -> None:
    """Processes die between any two steps, stores, nodes and methods fail, forks undo blocks.

    No order executes twice, none is lost, none that may have executed is called failed; nothing is
    pushed before it is stored, signed beside a live attempt, or done without a lease.
    """
    ended: Counter[OrderStatus] = Counter()
    deaths = 0
    for seed in range(start, start + SEEDS):
        simulation = Simulation(seed, ORDERS)
        run(simulation.run())
        ended.update(simulation.verdicts())
        deaths += simulation.deaths
    assert ended.total() == SEEDS * ORDERS
    assert deaths > SEEDS, "nobody died of it"
    four = (OrderStatus.FILLED, OrderStatus.FAILED, OrderStatus.EXPIRED, OrderStatus.CANCELED)
    assert all(ended[status] for status in four), ended


def test_a_seed_lives_the_same_life_twice() -> None:
    """What a seed finds can be looked at again."""
    lives = []
    for _ in range(2):
        simulation = Simulation(7, 10)
        run(simulation.run())
        simulation.verdicts()
        lives.append([(event.kind, event.at_us) for event in simulation.database.events])
    assert lives[0] == lives[1]
