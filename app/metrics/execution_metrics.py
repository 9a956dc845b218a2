"""ExecutionMetrics: follows the sealed events and keeps a row for every order that ended."""

import asyncio
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from app.domain.events import Event
from app.domain.signal import US
from app.engine.ports import Clock
from app.metrics.executions import SETTLING, UnreadableHistoryError, execution_of
from app.metrics.ports import Columns, EventSource, MetricsStore

BACKOFF_SECONDS_MAX: Final = 30.0
COMPLAINT_SECONDS: Final = 60.0
DAY_US: Final = 86_400 * US

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast the trail is followed."""

    batch: int = 500
    """Events read at once: their rows are written in one transaction."""
    poll_seconds: float = 0.5
    """How often the trail is looked at without being woken."""
    step_seconds: float = 30.0
    """Bound on one batch, and on one clean-up: a database that hangs is one that fails."""
    backoff_seconds: float = 1.0
    """The wait after a first failure; each further one doubles it."""
    failures_max: float = math.inf
    """Failures in a row after which `run` raises the last one, e.g. to have the database opened anew."""


STEADY: Final = Pace()


class ExecutionMetrics:
    """Derives the metrics database from the audit trail; orders never wait for it.

    The position in the trail is written with the rows, so a crash in between repeats a batch and loses
    nothing. A row is read from all events of its order anew, so repeating changes nothing.
    """

    def __init__(
        self,
        events: EventSource,
        store: MetricsStore,
        *,
        clock: Clock,
        retention_days: int,
        cleanup_seconds: float,
        pace: Pace = STEADY,
    ) -> None:
        """Rows older than `retention_days` are removed every `cleanup_seconds`."""
        self._events = events
        self._store = store
        self._clock = clock
        self._retention_us = retention_days * DAY_US
        self._cleanup_seconds = cleanup_seconds
        self._pace = pace
        self._position: int | None = None
        self._seen = 0
        self._woken = asyncio.Event()
        self._failures = 0
        self._complained = -math.inf
        self._cleaned = -math.inf

    @property
    def seen_position(self) -> int:
        """The position up to which events are known to be in the rows; later ones are still needed."""
        return self._seen

    def wake(self) -> None:
        """Tell that events were sealed; without it they are found at the next poll."""
        self._woken.set()

    async def run(self) -> None:
        """Follow the trail until cancelled; a failing database is tried again, and spoken of at times.

        Raises the last error after `failures_max` failures in a row.
        """
        while True:
            try:
                await self.catch_up()
                await self._clean_up()
            except Exception as error:
                if self._failures + 1 >= self._pace.failures_max:
                    raise
                await self._back_off(error)  # metrics may be late, orders go on
            else:
                self._failures = 0
                await self._wait()

    async def catch_up(self) -> None:
        """Write the rows of all events sealed so far; raises what the databases raise."""
        while True:
            self._woken.clear()
            async with asyncio.timeout(self._pace.step_seconds):
                if not await self._step():
                    return

    # ------------------------------------------------------------ one batch

    async def _step(self) -> bool:
        """Write the rows of the next batch; False when there is none."""
        if self._position is None:
            self._position = self._seen = await self._start()
        after = self._position
        events = await self._events.trail(after=after, limit=self._pace.batch)
        if not events:
            return False
        reached = max(event.position or after for event in events)
        if await self._store.write(await self._rows(events), after=after, position=reached):
            self._position = self._seen = reached
        else:
            self._position = None  # another process writes too: go on from where it is
        return True

    async def _start(self) -> int:
        """Give the stored position; the beginning when it is beyond the trail, which is then another."""
        position, end = await self._store.position(), await self._events.trail_end()
        if position <= end:
            return position
        _log.warning("the metrics follow another trail from now on", was_at=position, end=end)
        return 0 if await self._store.write([], after=position, position=0) else await self._start()

    async def _rows(self, events: Sequence[Event]) -> Sequence[Columns]:
        settled = dict.fromkeys(event.order_id for event in events if event.kind in SETTLING)
        lives = await self._lives(list(settled), events)
        rows = []
        for order_id, life in lives.items():
            try:
                row = execution_of(life)
            except UnreadableHistoryError as error:
                _log.warning("an order's events give no row", order_id=order_id, why=str(error))
                continue
            if row is not None:
                rows.append(row.columns())
        return rows

    async def _lives(
        self, order_ids: Sequence[str], events: Sequence[Event]
    ) -> Mapping[str, Sequence[Event]]:
        """Give all events of these orders: from the batch when it has an order's first one, else read."""
        batch: dict[str, list[Event]] = defaultdict(list)
        for event in events:
            batch[event.order_id].append(event)
        begun = {each: batch[each] for each in order_ids if batch[each][0].seq == 1}
        rest = [each for each in order_ids if each not in begun]
        return {**begun, **(await self._events.histories(rest) if rest else {})}

    # ------------------------------------------------------------ around the batches

    async def _clean_up(self) -> None:
        now = self._clock.monotonic()
        if now - self._cleaned < self._cleanup_seconds:
            return
        async with asyncio.timeout(self._pace.step_seconds):
            removed = await self._store.prune(self._clock.now_us() - self._retention_us)
        self._cleaned = now
        if removed:
            _log.info("old execution metrics removed", rows=removed)

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._pace.poll_seconds):
                await self._woken.wait()
        except TimeoutError:
            return

    async def _back_off(self, error: Exception) -> None:
        """Wait longer after each failure in a row, and log one a minute."""
        now = self._clock.monotonic()
        if now - self._complained >= COMPLAINT_SECONDS:
            self._complained = now
            _log.warning("metrics are late: a database failed", why=repr(error), exc_info=error)
        delay = self._pace.backoff_seconds * 2 ** min(self._failures, 10)
        self._failures += 1
        await asyncio.sleep(min(delay, BACKOFF_SECONDS_MAX))
