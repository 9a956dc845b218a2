"""Tells the audit trail what happens to the system itself, without anybody waiting for the database."""

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from app.domain.errors import IntakeError
from app.domain.events import EventKind
from app.engine.ports import Clock, Store

QUEUED_MAX: Final = 1_000
"""Events that may wait for the database; what comes beyond is counted, logged and not told."""
AGAIN_SECONDS: Final = 1.0
"""Pause before events that could not be written are tried again."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Waiting:
    kind: EventKind
    data: Mapping[str, object]
    at_us: int


class SystemNotes:
    """A bounded queue of events, written by a background task in the order in which they were noted.

    An event whose write was interrupted is written again: it may be told twice, never not at all.
    """

    def __init__(self, store: Store, clock: Clock, *, queued_max: int = QUEUED_MAX) -> None:
        """Begin with nothing to tell."""
        self._store = store
        self._clock = clock
        self._queued_max = queued_max
        self._waiting: deque[_Waiting] = deque()
        self._woken = asyncio.Event()
        self._lost = 0

    def noted(self, kind: EventKind, data: Mapping[str, object]) -> None:
        """Have an event told that happened just now, and log it; never waits, never raises."""
        _log.info("noted", kind=kind.value, data=dict(data))
        if len(self._waiting) >= self._queued_max:
            self._lose()
            return
        self._waiting.append(_Waiting(kind, data, self._clock.now_us()))
        self._woken.set()

    def _lose(self) -> None:
        self._lost += 1
        if self._lost == 1:  # the rest is told at once when the database is back
            _log.warning("events of the system are lost", lost=1, waiting=len(self._waiting))

    async def run(self) -> None:
        """Write what is noted until cancelled, trying again while the database refuses."""
        while True:
            await self._woken.wait()
            try:
                await self.flush()
            except IntakeError as error:
                _log.warning("events of the system have to wait", why=error.what)
                await asyncio.sleep(AGAIN_SECONDS)

    async def flush(self) -> None:
        """Write all that waits; raises IntakeError, and keeps the rest, when the database refuses."""
        while self._waiting:
            first = self._waiting[0]
            await self._store.note(first.kind, first.data, first.at_us)
            self._waiting.popleft()
        self._woken.clear()
        if self._lost:
            _log.warning("events of the system are lost", lost=self._lost, waiting=0)
            self._lost = 0
