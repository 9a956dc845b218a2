"""Long answers: open streams and long polls, bounded, and ended at once when the service stops."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum, auto
from typing import Final

from app.api.problems import Problem
from app.domain.errors import ReasonCode

STREAMS_MAX: Final = 100
POLLS_MAX: Final = 10_000


class Long(Enum):
    """The kinds of long answers."""

    STREAM = auto()
    POLL = auto()


class LongAnswers:
    """Counts long answers, bounds them, and ends them all on `close`."""

    def __init__(self, *, streams_max: int = STREAMS_MAX, polls_max: int = POLLS_MAX) -> None:
        """Hold at most `streams_max` event streams and `polls_max` long polls."""
        self._open: dict[Long, set[asyncio.Timeout]] = {kind: set() for kind in Long}
        self._max = {Long.STREAM: streams_max, Long.POLL: polls_max}
        self._closed = False

    def count(self, kind: Long) -> int:
        """Tell how many are open."""
        return len(self._open[kind])

    def close(self) -> None:
        """End every long answer now, and admit no more: the service is stopping."""
        self._closed = True
        for waits in self._open.values():
            for wait in waits:
                end(wait)

    def admits(self, kind: Long) -> bool:
        """Tell whether one more may begin; it may until the next await."""
        return not self._closed and self.count(kind) < self._max[kind]

    def demand_stream(self) -> None:
        """Raise Problem when no stream may begin."""
        if self._closed:
            raise Problem(ReasonCode.SHUTTING_DOWN, "the service is stopping")
        if not self.admits(Long.STREAM):
            raise Problem(ReasonCode.TOO_MANY_STREAMS, "as many streams are open as may be")

    @asynccontextmanager
    async def hold(self, kind: Long) -> AsyncIterator[asyncio.Timeout]:
        """Count a long answer while it lasts; its body ends with TimeoutError when it must end."""
        async with asyncio.timeout(None) as wait:
            self._open[kind].add(wait)
            try:
                yield wait
            finally:
                self._open[kind].discard(wait)


def end(wait: asyncio.Timeout) -> None:
    """Make the body of a long answer end with TimeoutError at its next wait."""
    if not wait.expired():
        wait.reschedule(asyncio.get_running_loop().time())
