"""Thousands of orders through the real methods, at providers that refuse, lie, hang, drop and lose.

It prints the table fault × method × stage behind the tests' own summary; `METHODS_SEED` has it begin with
other seeds.
"""

import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from app.domain.order import OrderStatus
from tests.engine.virtual_time import run
from tests.methods.life import MethodsSimulation
from tests.methods.table import Table

FIRST_SEED = int(os.environ.get("METHODS_SEED", "0"))
ORDERS = 125
"""Orders of one seed."""
ORDERS_MIN = 2_000
ORDERS_MAX = 4_000
"""Before so many every cell has to be met: chance alone leaves none empty for longer."""
CLAIMANTS = {"bundle", "jito", "quicknode"}
"""Methods that say what becomes of a bundle; each has landed what it had called lost."""
LOST_SHARE_MAX = 0.02
"""Of what methods answered at most so much may be lost with the processes that were told it."""


@dataclass
class Lives:
    """What was lived, and what the oracle says of it."""

    table: Table = field(default_factory=Table)
    orders: int = 0
    findings: list[str] = field(default_factory=list)
    ended: Counter[OrderStatus] = field(default_factory=Counter)
    breakers: Counter[str] = field(default_factory=Counter)
    contradicted: Counter[str] = field(default_factory=Counter)
    deaths: int = 0
    answers: int = 0
    answers_lost: int = 0
    cpu_seconds: float = 0.0

    def live(self, seed: int) -> None:
        """Live one seed."""
        started = time.process_time()
        simulation = MethodsSimulation(seed, ORDERS, table=self.table)
        run(simulation.run())
        self.findings += [f"seed {seed}: {each}" for each in simulation.findings()]
        self.orders += len(simulation.accepted)
        self.ended += simulation.ended()
        self.breakers += simulation.breakers
        self.contradicted += simulation.contradicted()
        self.deaths += simulation.deaths
        self.answers += len(simulation.journal.told)
        self.answers_lost += simulation.journal.unrecorded(simulation.database)[1]
        self.cpu_seconds += time.process_time() - started

    @property
    def complete(self) -> bool:
        """Tell whether every cell was met, and every method contradicted that makes claims."""
        return not self.table.empty() and set(self.contradicted) >= CLAIMANTS

    def text(self) -> str:
        """Write the table, and what else there is to tell."""
        figures = [
            f"{self.orders} orders in {self.cpu_seconds:.0f} s of one core: {told(self.ended)}",
            f"{self.answers} answers of methods, {self.answers_lost} of them lost with a process",
            f"{self.deaths} processes killed",
            f"breakers moved to {told(self.breakers)}",
            f"landed against a method's word: {told(self.contradicted)}",
        ]
        return "\n".join([self.table.text(), "", *figures])


def told(counts: Counter[Any]) -> str:
    """Write counts by name."""
    return ", ".join(f"{counts[name]} {name}" for name in sorted(counts))


@pytest.mark.slow
def test_no_order_executes_twice_or_is_lost_whatever_befalls_the_methods(
    record_property: Callable[[str, object], None],
) -> None:
    """None that landed is called failed, either; and every cell of the table has been met.

    Processes die between any two steps, before bytes leave and after; operators switch methods, and
    configurations change between starts. What executed is counted by memo on the chain.
    """
    lives = Lives()
    seed = FIRST_SEED
    while lives.orders < (ORDERS_MIN if lives.complete else ORDERS_MAX):
        lives.live(seed)
        seed += 1
    record_property("printed", lives.text())
    assert not lives.findings
    assert not lives.table.empty()
    assert not lives.table.misjudged()
    four = (OrderStatus.FILLED, OrderStatus.FAILED, OrderStatus.EXPIRED, OrderStatus.CANCELED)
    assert all(lives.ended[status] for status in four)
    assert lives.ended.total() == lives.orders
    assert all(lives.breakers[state] for state in ("open", "half-open", "closed"))
    assert set(lives.contradicted) >= CLAIMANTS
    assert lives.answers_lost < LOST_SHARE_MAX * lives.answers


def test_a_seed_lives_the_same_life_twice() -> None:
    """What a seed finds can be looked at again."""
    lives = []
    for _ in range(2):
        simulation = MethodsSimulation(11, 30, chaos_seconds=60)
        run(simulation.run())
        lives.append([(event.kind, event.at_us) for event in simulation.database.events])
    assert lives[0] == lives[1]
