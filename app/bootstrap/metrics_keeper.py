"""Keeps the metrics database open: whatever it suffers from, orders go on, and it is tried again."""

import asyncio
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from typing import Final

import structlog

from app.domain.errors import StartupError, Synergy7Error
from app.metrics.execution_metrics import STEADY, ExecutionMetrics, Pace
from app.metrics.ports import MetricsStore

AGAIN_SECONDS: Final = 1.0
"""How soon a metrics database that failed is opened again; each further time takes twice as long."""
AGAIN_SECONDS_MAX: Final = 30.0
COMPLAINT_SECONDS: Final = 60.0
LEAVING_SECONDS: Final = 2.0
"""How long an end waits for a database that is being opened."""
KEPT_PACE: Final = replace(STEADY, failures_max=3)

_log = structlog.get_logger(__name__)

Open = Callable[[], AbstractAsyncContextManager[MetricsStore]]
"""Migrates and opens the metrics database; raises StartupError, and what the database raises."""
Follow = Callable[[MetricsStore, Pace], ExecutionMetrics]


class MetricsKeeper:
    """Follows the trail into the metrics database, which it opens, and opens anew when it has failed."""

    def __init__(
        self,
        open_database: Open,
        follow: Follow,
        *,
        again_seconds: float = AGAIN_SECONDS,
        pace: Pace = KEPT_PACE,
    ) -> None:
        """Nothing is opened before `run`."""
        self._open = open_database
        self._follow = follow
        self._again_seconds = again_seconds
        self._failures = 0
        self._pace = pace
        self._current: ExecutionMetrics | None = None
        self._seen = 0
        self._why: str | None = "it is being opened"
        self._complained = -math.inf

    @property
    def seen_position(self) -> int:
        """The position up to which events are known to be in the rows; later ones are still needed."""
        return self._current.seen_position if self._current is not None else self._seen

    def document(self) -> Mapping[str, object]:
        """Give what `/status` says: the position in the trail, and why the database is unavailable."""
        state = "available" if self._why is None else "unavailable"
        return {"database": state, "why": self._why, "position": self.seen_position}

    async def run(self) -> None:
        """Keep it open and follow the trail until cancelled; raises nothing."""
        while True:
            try:
                async with AsyncExitStack() as stack:
                    await self._kept(await self._opened(stack))
            except Exception as error:  # noqa: BLE001 - metrics may be late or missing, orders go on
                self._tell(error)
            delay = self._again_seconds * 2 ** min(self._failures, 10)
            self._failures += 1
            await asyncio.sleep(min(delay, AGAIN_SECONDS_MAX))

    async def _opened(self, stack: AsyncExitStack) -> MetricsStore:
        """Open the database; who is cancelled meanwhile lets that come to its end, if it is near."""
        opening = asyncio.create_task(stack.enter_async_context(self._open()))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            await asyncio.wait({opening}, timeout=LEAVING_SECONDS)
            opening.cancel()
            raise

    async def _kept(self, store: MetricsStore) -> None:
        metrics = self._follow(store, self._pace)
        await metrics.catch_up()
        if self._why is not None:
            self._why, self._complained, self._failures = None, -math.inf, 0
            _log.info("the metrics database is open", position=metrics.seen_position)
        self._current = metrics
        try:
            await metrics.run()
        finally:
            self._seen, self._current = metrics.seen_position, None

    def _tell(self, error: Exception) -> None:
        """Keep why it failed, and log it once a minute with what to do."""
        self._why = words(error)
        now = asyncio.get_running_loop().time()
        if now - self._complained < COMPLAINT_SECONDS:
            return
        self._complained = now
        todo = f"{error.todo}; " if isinstance(error, StartupError) else ""
        _log.critical(
            "the metrics database is unavailable, orders go on",
            why=self._why,
            todo=f"{todo}it is tried again; to derive it anew: synergy7 metrics rebuild",
        )


def words(error: Exception) -> str:
    """Say in one line what is wrong."""
    if isinstance(error, (StartupError, Synergy7Error)):
        return f"{error.code}: {error.what}"
    return repr(error)
