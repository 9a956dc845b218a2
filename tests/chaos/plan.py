"""What a run is to be like, and what came of it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tests.chaos.oracle import Findings
from tests.chaos.recovery import Recovery

SLOT_MS: Final = 100


@dataclass(frozen=True)
class Plan:
    """What a run is to be like."""

    seed: int
    database: str
    seconds: float
    per_second: float = 20.0
    """Orders that bots post."""
    scale: float = 1.0
    """Share of the planned pace of request faults; 0: nothing at all goes wrong."""
    between_deeds: float | None = None
    """Seconds from one breakage to the next, on average; None: as suits the database."""
    events_per_second: float = 0.6
    settle_seconds: float = 120.0
    slot_ms: int = SLOT_MS
    env: Mapping[str, str] = field(default_factory=dict)
    """Settings above the usual ones."""
    keep: bool = False
    """Leave the folder with databases and logs where it is."""
    numbers: Sequence[int] | None = None
    """Just these intents, in place of as many as the time allows."""


@dataclass(frozen=True)
class Outcome:
    """What came of a run."""

    plan: Plan
    findings: Findings
    statuses: Counter[str]
    documents: Mapping[str, Mapping[str, Any]]
    fills: Mapping[str, float | None]
    """Seconds to the fill of each intent that asks for nothing impossible; None: not filled."""
    numbers: Sequence[int]
    heard: Counter[str]
    ends: Counter[str]
    settled_in: float
    seconds: float = 0.0
    """How long there was trouble."""
    hits: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    recoveries: Sequence[Recovery] = ()
    requests: Counter[str] = field(default_factory=Counter)
    wall: Mapping[str, float] = field(default_factory=dict)
