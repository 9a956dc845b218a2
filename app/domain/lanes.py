"""Whose turn it is: the pure rule that says which lanes of a plan get the bytes now."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.domain.attempt import LanePlan, LaneStrategy, Submission
from app.domain.outcome import ReplyOutcome

HOLDS: Final = frozenset({ReplyOutcome.ACCEPTED, ReplyOutcome.ALREADY})
"""Outcomes after which a method has the bytes, for its patience."""
_MS = 1_000


@dataclass(frozen=True, slots=True)
class Turn:
    """Methods to be tried in order until one has the bytes, or all of them at once."""

    methods: tuple[str, ...]
    tried: frozenset[str]
    """Methods whose part in this attempt has been told already."""
    held: frozenset[str]
    """Methods that took the bytes: another push only repeats, and yields to first ones."""
    at_once: bool = False


def turn(
    plan: LanePlan, submissions: Sequence[Submission], *, signed_at_us: int, now_us: int
) -> Turn:
    """Say which lanes get the bytes now, from what is stored: a restart goes on where it was.

    In a fallback a lane that has the bytes keeps them to itself for its patience, a lane that refused
    or was not heard is passed over, and after the last one's patience the bytes go round.
    """
    names = tuple(lane.method for lane in plan.lanes)
    tried = frozenset(s.method for s in submissions)
    held = frozenset(s.method for s in submissions if s.outcome in HOLDS)
    if plan.strategy is LaneStrategy.RACE:
        return Turn(names, tried, held, at_once=True)
    since_us = signed_at_us
    for number, lane in enumerate(plan.lanes):
        if lane.method not in tried:
            return Turn(_from(names, number), tried, held)
        held_us = _held_since(lane.method, submissions)
        if held_us is not None:
            since_us = max(since_us, held_us) + lane.patience_ms * _MS
            if now_us < since_us:
                return Turn((lane.method,), tried, held)
    return Turn(_from(names, _after_holder(names, submissions)), tried, held)


def _held_since(method: str, submissions: Sequence[Submission]) -> int | None:
    pushes = (s.sent_at_us for s in submissions if s.method == method and s.outcome in HOLDS)
    return next(pushes, None)


def _after_holder(names: Sequence[str], submissions: Sequence[Submission]) -> int:
    """Give the lane after the one that took the bytes last; the first when none ever did."""
    held = [s.method for s in submissions if s.outcome in HOLDS and s.method in names]
    return names.index(held[-1]) + 1 if held else 0


def _from(names: tuple[str, ...], number: int) -> tuple[str, ...]:
    """Turn the list so that it begins at a lane and comes round."""
    return names[number:] + names[:number]
