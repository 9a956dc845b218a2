"""From a world with a broken promise to the smallest one like it: fewer orders, fewer evils, less time."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from tests.engine.evils import Case

SEEDS: Final = 40
"""Worlds of a smaller kind that are tried: what breaks seldom needs some luck in so few orders."""
CHAOS_SECONDS_MIN: Final = 5.0

Broken = Callable[[Case], list[str]]
"""Lives a case; gives the promises that were broken in it."""


def shrink(
    case: Case, breaches: list[str], broken: Broken, *, seconds: float, seeds: int = SEEDS
) -> tuple[Case, list[str]]:
    """Make a broken case smaller while it stays broken, for so long; gives the smallest one found."""
    ends = time.monotonic() + seconds
    tried: set[Case] = set()
    smaller = _smaller(case)
    while (kind := next(smaller, None)) is not None and time.monotonic() < ends:
        for seed in (case.seed, *range(seeds)):
            candidate = replace(kind, seed=seed)
            if candidate in tried or time.monotonic() >= ends:
                continue
            tried.add(candidate)
            if found := broken(candidate):
                case, breaches, smaller = candidate, found, _smaller(candidate)
                break
    return case, breaches


def _smaller(case: Case) -> Iterator[Case]:
    """Give kinds of smaller worlds, the boldest cuts first."""
    for orders in (1, 2, 4, 8, 16, 32, 64, case.orders // 2):
        if 0 < orders < case.orders:
            yield replace(case, orders=orders)
    evils = sorted(case.evils)
    for half in (evils[: len(evils) // 2], evils[len(evils) // 2 :]):
        if 0 < len(half) < len(evils):
            yield replace(case, evils=frozenset(half))
    yield from (case.without(evil) for evil in evils)
    if case.chaos_seconds / 2 >= CHAOS_SECONDS_MIN:
        yield replace(case, chaos_seconds=case.chaos_seconds / 2)
