"""Reads the orders database from beside the service, and locks it."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Final, Protocol

import asyncpg

OPEN: Final = "('queued', 'executing', 'submitted')"
HELD: Final = "('executing', 'submitted')"
ASK_SECONDS: Final = 2.0

Row = tuple[Any, ...]


class Books(Protocol):
    """The orders database as others see it."""

    async def ask(self, statement: str) -> Sequence[Row] | None:
        """Give the rows of a query; None when it cannot be read now."""

    def locked(self) -> Any:
        """Lock the orders for as long as the context lasts."""


class SqliteBooks:
    """The file of a service on SQLite."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def ask(self, statement: str) -> Sequence[Row] | None:
        try:
            return await asyncio.to_thread(self._ask, statement)
        except sqlite3.Error:
            return None

    def _ask(self, statement: str) -> Sequence[Row]:
        address = f"file:{self._path}?mode=ro"
        with closing(sqlite3.connect(address, uri=True, timeout=ASK_SECONDS)) as connection:
            return connection.execute(statement).fetchall()

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Hold the file as another program does that writes for long."""
        connection = sqlite3.connect(
            self._path, timeout=5, isolation_level=None, check_same_thread=False
        )
        with closing(connection):
            await asyncio.to_thread(connection.execute, "BEGIN EXCLUSIVE")
            try:
                yield
            finally:
                connection.execute("ROLLBACK")


class PostgresBooks:
    """A database of the server that several processes share."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: asyncpg.Connection | None = None
        self._one = asyncio.Lock()

    async def ask(self, statement: str) -> Sequence[Row] | None:
        async with self._one:
            try:
                async with asyncio.timeout(ASK_SECONDS):
                    if self._connection is None or self._connection.is_closed():
                        self._connection = await asyncpg.connect(self._url)
                    return [tuple(row) for row in await self._connection.fetch(statement)]
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
                if self._connection is not None:
                    self._connection.terminate()
                self._connection = None
                return None

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Hold the table of orders as a migration or a careless session does."""
        session = await asyncpg.connect(self._url)
        try:
            async with session.transaction():
                await session.execute("SET LOCAL lock_timeout = '5s'")
                await session.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
                yield
        finally:
            session.terminate()


async def unfinished(books: Books) -> Mapping[str, str] | None:
    """Give the status of every unfinished order."""
    rows = await books.ask(f"SELECT order_id, status FROM orders WHERE status IN {OPEN}")
    return None if rows is None else {row[0]: row[1] for row in rows}


async def held_by_any(books: Books) -> Mapping[str, int] | None:
    """Give the versions of the orders that are in any process's hands."""
    rows = await books.ask(f"SELECT order_id, version FROM orders WHERE status IN {HELD}")
    return None if rows is None else {row[0]: row[1] for row in rows}


async def held_by(books: Books, pid: int) -> Mapping[str, int] | None:
    """Give the versions of the unfinished orders that a process holds."""
    rows = await books.ask(
        "SELECT o.order_id, o.version, p.name FROM orders o JOIN processes p"
        f" ON p.process_id = o.process WHERE o.status IN {HELD}"
    )
    if rows is None:
        return None
    return {row[0]: row[1] for row in rows if str(row[2]).endswith(f":{pid}")}


async def unsettled(books: Books) -> int | None:
    """Count the orders that have not ended, or are filled and not final."""
    rows = await books.ask(
        f"SELECT count(*) FROM orders WHERE status IN {OPEN}"
        " OR (status = 'filled' AND finalized_at_us IS NULL)"
    )
    return None if rows is None else int(rows[0][0])


async def trail(books: Books) -> Mapping[str, list[tuple[int, str, dict[str, Any]]]]:
    """Give every order's events in their order: number, kind, data."""
    rows = await books.ask("SELECT order_id, seq, kind, data FROM events ORDER BY order_id, seq")
    assert rows is not None, "the trail cannot be read"
    events: dict[str, list[tuple[int, str, dict[str, Any]]]] = {}
    for order_id, seq, kind, data in rows:
        read = json.loads(data) if isinstance(data, str) else data
        events.setdefault(order_id, []).append((seq, kind, read))
    return events
