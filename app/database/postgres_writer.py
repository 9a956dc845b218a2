"""PostgreSQL's writer: one task that commits all waiting units together."""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import Final, TypeVar

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database.groups import GROUP_MAX, RERUNS_MAX, GroupError, Job, Outcome, Unit, run_group
from app.database.health import Health
from app.database.limits import Limits
from app.database.writer import ANYWHERE, answered, assign, busy, fail, settle

T = TypeVar("T")
RERUN_SECONDS: Final = 0.02
"""Pause before a group that met a deadlock is run again, growing with each time."""
GROUP_SECONDS: Final = 0.5
"""How long a group should take: it holds locks, and on a machine with too much to do 256 units, each of
several round trips, would hold them for half a minute."""
GROUP_LEAST: Final = 4
"""Units committed together however slow they are."""


class PostgresWriter:
    """Runs groups on one connection; other processes do the same, and locks keep them apart."""

    def __init__(self, engine: AsyncEngine, limits: Limits, health: Health) -> None:
        """Start the task; needs a running event loop."""
        self._engine = engine
        self._health = health
        self._limits = limits
        self._jobs: deque[Job] = deque()
        self._wake = asyncio.Event()
        self._closed = False
        self._size = GROUP_MAX
        self._task = asyncio.create_task(self._work(), name="database writer")

    async def run(self, unit: Unit[T], place: tuple[int, str] = ANYWHERE) -> T:
        if self._closed or len(self._jobs) >= self._limits.waiting_units_max:
            raise busy()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._jobs.append(Job(unit, place, future, loop))
        self._wake.set()
        return await answered(future, self._limits)

    async def aclose(self) -> None:
        """Commit what waits, then end."""
        self._closed = True
        self._wake.set()
        await self._task

    async def _work(self) -> None:
        while self._jobs or not self._closed:
            await self._wake.wait()
            jobs = self._next_group()
            if jobs:
                await self._serve(jobs)

    async def _serve(self, jobs: Sequence[Job]) -> None:
        """Run a group and answer it, whatever happens: a writer that dies leaves everybody waiting."""
        began = time.monotonic()
        try:
            await self._run(jobs)
        except Exception as error:  # noqa: BLE001 - told to every caller and logged
            left = [job for job in jobs if job.outcome is None]
            fail(left, GroupError(error, unknown=True), self._health)
        settle(jobs)
        each = max(time.monotonic() - began, 1e-6) / len(jobs)
        self._size = max(GROUP_LEAST, min(GROUP_MAX, int(GROUP_SECONDS / each)))

    def _next_group(self) -> list[Job]:
        """Take what waits, in the order in which every process takes its locks: no circle of waits."""
        size = min(len(self._jobs), self._size)
        jobs = [self._jobs.popleft() for _ in range(size)]
        if not self._jobs and not self._closed:
            self._wake.clear()
        return sorted((j for j in jobs if not j.future.cancelled()), key=lambda job: job.place)

    async def _run(self, jobs: Sequence[Job]) -> None:
        """Run a group, again while that may help; then each unit by itself."""
        for rerun in range(1, RERUNS_MAX + 1):
            try:
                assign(jobs, await self._attempt(jobs))
                self._health.wrote()
                return
            except GroupError as error:
                if not error.passing or rerun == RERUNS_MAX:
                    await self._run_apart(jobs, error)
                    return
            await asyncio.sleep(RERUN_SECONDS * rerun)

    async def _run_apart(self, jobs: Sequence[Job], error: GroupError) -> None:
        if error.unknown or not error.begun or len(jobs) == 1:
            fail(jobs, error, self._health)
            return
        for job in jobs:
            await self._run([job])

    async def _attempt(self, jobs: Sequence[Job]) -> list[Outcome]:
        units = [job.unit for job in jobs]
        try:
            conn = await self._engine.connect()
        except (SQLAlchemyError, OSError) as error:
            raise GroupError(error, begun=False) from error
        try:
            return await conn.run_sync(run_group, units)
        except (SQLAlchemyError, OSError) as error:
            raise GroupError(error) from error
        finally:
            await conn.close()
