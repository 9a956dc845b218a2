"""A trail and a metrics database in memory, which fail when told to."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from app.domain.events import Event
from app.metrics.ports import Columns
from tests.metrics.lives import Life


class Broken(Exception):
    """What a database raises."""


class ManualClock:
    """Time that stands still until it is turned."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def now_us(self) -> int:
        return int(self.seconds * 1_000_000)

    def monotonic(self) -> float:
        return self.seconds


class Trail:
    """Sealed events; counts what is read of whole lives."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.lives_read: list[str] = []
        self.first = 1

    def seal(self, *lives: Life, upto: int | None = None) -> None:
        """Seal the lives' next events, in turn."""
        for life in lives:
            sealed = sum(1 for event in self.events if event.order_id == life.order_id)
            for event in life.events[sealed:upto]:
                self.events.append(replace(event, position=len(self.events) + 1, hash="h"))

    async def trail(self, *, after: int, limit: int) -> Sequence[Event]:
        kept = [e for e in self.events if (e.position or 0) >= self.first]
        return [event for event in kept if (event.position or 0) > after][:limit]

    async def trail_end(self) -> int:
        return len(self.events)

    async def histories(self, order_ids: Sequence[str]) -> Mapping[str, Sequence[Event]]:
        self.lives_read += order_ids
        kept = [e for e in self.events if (e.position or 0) >= self.first]
        lives = {each: [e for e in kept if e.order_id == each] for each in order_ids}
        return {order_id: life for order_id, life in lives.items() if life}


async def at_once() -> None:
    """Let nothing happen in between."""


class MemoryMetrics:
    """Rows and their position, committed together or not at all."""

    def __init__(self) -> None:
        self.rows: dict[str, Columns] = {}
        self.reached = 0
        self.writes = 0
        self.pruned: list[int] = []
        self.before_write: Callable[[], Awaitable[None]] = at_once
        self.before_commit: Callable[[], None] = lambda: None
        self.after_commit: Callable[[], None] = lambda: None
        self.changed = asyncio.Event()

    async def position(self) -> int:
        return self.reached

    async def write(self, rows: Sequence[Columns], *, after: int, position: int) -> bool:
        self.writes += 1
        await self.before_write()
        self.before_commit()
        if after != self.reached:
            return False
        self.rows |= {str(row["order_id"]): row for row in rows}
        self.reached = position
        self.changed.set()
        self.after_commit()
        return True

    async def prune(self, before_us: int) -> int:
        self.pruned.append(before_us)
        return 1 if len(self.pruned) == 1 else 0

    def statuses(self) -> Mapping[str, object]:
        """Show how each order ended."""
        return {order_id: row["status"] for order_id, row in self.rows.items()}
