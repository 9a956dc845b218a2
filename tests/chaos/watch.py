"""Looks at the unfinished orders all the time: how many are in a process's hands, when each ended."""

import asyncio
import time
from bisect import bisect_left
from collections.abc import Mapping
from typing import Final

from tests.chaos.books import Books, unfinished

POLL_SECONDS: Final = 0.3
IN_HAND: Final = frozenset({"executing", "submitted"})


class Watch:
    """What was seen of orders, by this program's own monotonic clock, which no fault moves."""

    def __init__(self) -> None:
        self._held_now = 0
        self._held_before = 0
        self._open: set[str] = set()
        self._seen: dict[str, float] = {}
        self._ended: dict[str, float] = {}
        self._looks: list[float] = []

    async def run(self, books: Books) -> None:
        """Look again and again, until cancelled."""
        while True:
            await self.look(books)
            await asyncio.sleep(POLL_SECONDS)

    async def look(self, books: Books) -> None:
        """Look once; orders that cannot be read now are looked at later."""
        found = await unfinished(books)
        if found is not None:
            self.note(found, time.monotonic())

    def note(self, found: Mapping[str, str], now: float) -> None:
        """Take note of every unfinished order with its status."""
        for order_id in found:
            self._seen.setdefault(order_id, now)
            self._ended.pop(order_id, None)
        self._ended |= dict.fromkeys(self._open - found.keys(), now)
        self._open = set(found)
        self._looks.append(now)
        held = sum(status in IN_HAND for status in found.values())
        self._held_before, self._held_now = self._held_now, held

    def in_flight(self) -> bool:
        """Whether orders were in a process's hands, and not just queued, at the last two looks."""
        return self._held_now > 0 and self._held_before > 0

    def seconds_to_end(self, order_id: str, accepted_at: float) -> float:
        """Give how long an order took that has ended, at most.

        From when the bot heard of it, or it was first seen, to the first look that found it unfinished
        no more: the order's own times are of wall clocks, which are set back and forth.
        """
        begun = min(accepted_at, self._seen.get(order_id, accepted_at))
        if order_id in self._ended:
            return self._ended[order_id] - begun
        if order_id in self._open:
            return float("inf")
        after = bisect_left(self._looks, begun)  # it came and went between two looks
        return self._looks[after] - begun if after < len(self._looks) else float("inf")
