"""The writers: one for each database, committing all units that wait together."""

import asyncio
import queue
import threading
from collections.abc import Sequence
from typing import Any, Final, Protocol, TypeVar

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from app.database.groups import GROUP_MAX, GroupError, Job, Outcome, Unit, run_group
from app.database.health import Health, unavailable
from app.database.limits import Limits
from app.domain.errors import IntakeError, ReasonCode

T = TypeVar("T")
ANYWHERE: Final = (0, "")
"""The place of a unit that takes no lock another process could hold."""

_log = structlog.get_logger(__name__)


class Writer(Protocol):
    """Runs units of work."""

    async def run(self, unit: Unit[T], place: tuple[int, str] = ANYWHERE) -> T:
        """Commit a unit and give its answer.

        Raises what the unit raised, or IntakeError: DATABASE_BUSY (too many wait, nothing was written) or
        STORAGE_UNAVAILABLE (it may have been: read again). A caller that is cancelled while its unit
        waits takes it back; one that is cancelled later leaves it to be committed.
        """
        ...

    async def aclose(self) -> None:
        """Commit what waits, then stop."""
        ...


def busy() -> IntakeError:
    """Say that the database has more to do than it can."""
    what = "the database has too much to do"
    return IntakeError(ReasonCode.DATABASE_BUSY, what, todo="try again shortly", retryable=True)


def unknown() -> IntakeError:
    """Say that nobody knows whether a write was committed."""
    return unavailable("the outcome of a write is unknown", "ask again with the same key")


async def answered(future: asyncio.Future[T], limits: Limits) -> T:
    """Wait for a unit's answer, for so long."""
    try:
        # not wait_for: before Python 3.12 it swallows a cancellation that comes with the answer
        async with asyncio.timeout(limits.write_seconds):
            return await future
    except TimeoutError as error:
        raise unknown() from error


def assign(jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> None:
    """Note what became of each unit."""
    for job, outcome in zip(jobs, outcomes, strict=True):
        job.outcome = outcome


def fail(jobs: Sequence[Job], error: GroupError, health: Health) -> None:
    """Note the same failure for all units, each with an error of its own, and for the database."""
    assign(jobs, [Outcome(error=error.as_intake_error()) for _ in jobs])
    health.write_failed(error.cause, unknown=error.unknown, units=len(jobs))


def settle(jobs: Sequence[Job]) -> None:
    """Hand all outcomes over with one wake-up of each loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Job]] = {}
    for job in jobs:
        by_loop.setdefault(job.loop, []).append(job)
    for loop, own in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_settle_all, own)


def _settle_all(jobs: list[Job]) -> None:
    for job in jobs:
        job.settle()


class ThreadWriter:
    """SQLite's writer: one thread, one connection, `BEGIN IMMEDIATE`."""

    def __init__(self, engine: Engine, name: str, limits: Limits, health: Health) -> None:
        """Start the thread; the connection is opened with the first unit."""
        self._engine = engine
        self._health = health
        self._limits = limits
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._conn: Connection | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    async def run(self, unit: Unit[T], place: tuple[int, str] = ANYWHERE) -> T:
        if self._closed or self._jobs.qsize() >= self._limits.waiting_units_max:
            raise busy()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._jobs.put(Job(unit, place, future, loop))
        return await answered(future, self._limits)

    async def aclose(self) -> None:
        """Commit what waits, then end the thread and its connection."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        running = True
        while running:
            jobs, running = self._next_group()
            if jobs:
                self._serve(jobs)
        self._drop_connection()
        self._engine.dispose()

    def _serve(self, jobs: Sequence[Job]) -> None:
        """Run a group and answer it, whatever happens: a writer that dies leaves everybody waiting."""
        try:
            self._run(jobs)
        except Exception as error:  # noqa: BLE001 - told to every caller and logged
            left = [job for job in jobs if job.outcome is None]
            fail(left, GroupError(error, unknown=True), self._health)
        settle(jobs)

    def _next_group(self) -> tuple[list[Job], bool]:
        """Wait for a unit, then take all that wait; False when it was the last group."""
        jobs: list[Job] = []
        job = self._jobs.get()
        while job is not None:
            if not job.future.cancelled():
                jobs.append(job)
            if len(jobs) >= GROUP_MAX or self._jobs.empty():
                return jobs, True
            job = self._jobs.get()
        return jobs, False

    def _run(self, jobs: Sequence[Job]) -> None:
        """Run a group; when it fails before its commit, each unit by itself."""
        try:
            assign(jobs, self._attempt(jobs))
        except GroupError as error:
            self._drop_connection()
            if error.unknown or not error.begun or len(jobs) == 1:
                fail(jobs, error, self._health)
                return
            for job in jobs:
                self._run([job])

    def _attempt(self, jobs: Sequence[Job]) -> list[Outcome]:
        try:
            if self._conn is None:
                self._conn = self._engine.connect()
        except (SQLAlchemyError, OSError) as error:
            raise GroupError(error, begun=False) from error
        driver: Any = self._conn.connection.driver_connection
        before = driver.total_changes
        try:
            outcomes = run_group(self._conn, [job.unit for job in jobs])
        except SQLAlchemyError as error:
            raise GroupError(error) from error
        if driver.total_changes != before:  # what changes nothing proves nothing of the disk
            self._health.wrote()
        return outcomes

    def _drop_connection(self) -> None:
        conn, self._conn = self._conn, None
        if conn is not None:
            try:
                conn.close()
            except SQLAlchemyError as error:
                _log.warning("closing a connection failed", why=str(error))
