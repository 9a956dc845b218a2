"""What can go wrong in a simulated world, each kind to be had by itself; and the case that names a world."""

import random
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final


class Evil(StrEnum):
    """A kind of trouble; the words are those of a case's line."""

    DEATHS = "deaths"
    """A process dies between any two of its steps."""
    PAUSES = "pauses"
    """A process stands still, past its lease too, and wakes in the middle of what it did."""
    COMPANY = "company"
    """More than one process works on the database."""
    CLOCKS = "clocks"
    """Wall clocks disagree, and jump forwards and back; the monotonic ones go on."""
    SLOWNESS = "slowness"
    REFUSED = "refused"
    """Writes that are not done."""
    LOST = "lost"
    """Writes that are done, and whose answer is lost."""
    TROUBLES = "troubles"
    """Quotes, drafts and signatures fail; one has a defect."""
    DEFECTS = "defects"
    """A method breaks its contract after the bytes have left."""
    REPLIES = "replies"
    """Methods answer anything, whatever they did with the bytes."""
    SHUT = "shut"
    """Methods take nothing, or not soon."""
    BLIND = "blind"
    """Heights, statuses, transactions or proofs cannot be read."""
    LAG = "lag"
    STANDSTILL = "standstill"
    """There is no recent blockhash."""
    NULLS = "nulls"
    """A status is null although the transaction landed; the history is pruned."""
    MISLED = "misled"
    """A status tells another fork's error."""
    LIES = "lies"
    """A faulty endpoint tells a final failure of anything."""
    FAILURES = "failures"
    """What lands fails on the chain; simulations do; fills cannot be read."""
    LOSSES = "losses"
    """Bytes do not land, or late."""
    FORKS = "forks"
    """A fork undoes a block; the bytes may land again."""
    CANCELS = "cancels"
    REPEATS = "repeats"
    """A client posts the same signal again, with its key."""
    DEADLINES = "deadlines"
    """Signals that are valid for a short time only."""
    HALTS = "halts"
    """An operator halts trading, and lets it go on."""
    OPPOSITES = "opposites"
    """Orders against each other that keep their sequence."""


ALL: Final = frozenset(Evil)
ORDERS: Final = 400
CHAOS_SECONDS: Final = 50.0


@dataclass(frozen=True)
class Case:
    """A world that can be lived again: all that happens in it follows from these values."""

    seed: int
    orders: int = ORDERS
    chaos_seconds: float = CHAOS_SECONDS
    evils: frozenset[Evil] = ALL

    @classmethod
    def drawn(cls, seed: int) -> "Case":
        """Draw a seed's world: mostly one of some evils, since one may keep another from being seen."""
        rng = random.Random(f"evils of {seed}")
        share = rng.choice([0.1, 0.2, 0.3, 0.4, 0.6, 1.0])
        return cls(seed, evils=frozenset(evil for evil in Evil if rng.random() < share))

    def line(self) -> str:
        """Give the case as one word, for `parse`."""
        evils = "all" if self.evils == ALL else "+".join(sorted(self.evils)) or "none"
        chaos = f"{self.chaos_seconds:g}"
        return f"seed={self.seed},orders={self.orders},chaos={chaos},evils={evils}"

    def without(self, evil: Evil) -> "Case":
        """Give the case with one kind of trouble less."""
        return replace(self, evils=self.evils - {evil})


def parse(line: str) -> Case:
    """Read a case's line; raises ValueError, which tells what it does not understand."""
    case = Case(0)
    for word in line.strip().split(","):
        name, _, value = word.partition("=")
        if name == "seed":
            case = replace(case, seed=int(value))
        elif name == "orders":
            case = replace(case, orders=int(value))
        elif name == "chaos":
            case = replace(case, chaos_seconds=float(value))
        elif name == "evils":
            case = replace(case, evils=_evils(value))
        else:
            raise ValueError(f"a case says seed, orders, chaos and evils, not {name!r}")
    return case


def _evils(value: str) -> frozenset[Evil]:
    if value in {"all", "none"}:
        return ALL if value == "all" else frozenset()
    return frozenset(Evil(each) for each in value.split("+"))
