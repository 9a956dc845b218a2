"""The metrics database: a row for each finished order, and the position in the trail it was read to."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from app.database.addresses import address_of
from app.database.engine import Database, open_database
from app.database.metrics_tables import CURSOR, EXECUTIONS
from app.database.migrate import refuse_unmigrated

BATCH: Final = 500
"""Rows removed in one unit of work."""

_POSITION = select(CURSOR.c.position)
_ADVANCE = (
    update(CURSOR)
    .where(CURSOR.c.position == bindparam("seen"))
    .values(position=bindparam("reached"))
)
_BEGIN_AT: Mapping[str, Any] = {
    "sqlite": sqlite.insert(CURSOR).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(CURSOR).on_conflict_do_nothing(),
}


def _replacing(insert_into: Callable[..., Any]) -> Any:  # noqa: ANN401 - either dialect's insert
    rows = insert_into(EXECUTIONS)
    own = {c.name: rows.excluded[c.name] for c in EXECUTIONS.columns if not c.primary_key}
    return rows.on_conflict_do_update(index_elements=["order_id"], set_=own)


_REPLACE: Mapping[str, Any] = {
    "sqlite": _replacing(sqlite.insert),
    "postgresql": _replacing(postgresql.insert),
}


def position(conn: Connection) -> int:
    """Give the position up to which events are in the rows."""
    return conn.scalar(_POSITION) or 0


def replace(conn: Connection, rows: Sequence[Mapping[str, object]], after: int, to: int) -> bool:
    """Replace rows and move the cursor to `to`, if it is at `after`; else do nothing and give False.

    The cursor is moved first: a second writer waits for that row, and then finds it elsewhere.
    """
    if not _advance(conn, after, to):
        return False
    if rows:
        conn.execute(_REPLACE[conn.dialect.name], [dict(row) for row in rows])
    return True


def _advance(conn: Connection, after: int, to: int) -> bool:
    if conn.execute(_ADVANCE, {"seen": after, "reached": to}).rowcount:
        return True
    begin = {"cursor_id": 1, "position": to}
    return after == 0 and conn.execute(_BEGIN_AT[conn.dialect.name], begin).rowcount == 1


def forget(conn: Connection, before_us: int) -> int:
    """Remove a batch of rows of orders that ended before a time; returns how many."""
    old = (
        select(EXECUTIONS.c.order_id)
        .where(EXECUTIONS.c.ended_at_us < before_us)
        .order_by(EXECUTIONS.c.ended_at_us)
        .limit(BATCH)
    )
    return conn.execute(delete(EXECUTIONS).where(EXECUTIONS.c.order_id.in_(old))).rowcount


def empty(conn: Connection) -> None:
    """Remove everything, so that the rows can be derived anew from the trail's beginning."""
    conn.execute(delete(EXECUTIONS))
    conn.execute(delete(CURSOR))


class MetricsDatabase:
    """Rows derived from sealed events, with the position up to which they are counted."""

    def __init__(self, database: Database) -> None:
        """Take an open database."""
        self._database = database

    async def position(self) -> int:
        """Give the position up to which events are counted; 0 at the beginning."""
        return await self._database.read(position)

    async def write(
        self, rows: Sequence[Mapping[str, object]], *, after: int, position: int
    ) -> bool:
        """Put rows (columns by name) in place of those of the same orders, and move the position.

        Does nothing and gives False unless the position is `after`: another writer was first.
        """
        return await self._database.write(lambda conn: replace(conn, rows, after, position))

    async def executions(self, *, since_us: int, limit: int) -> Sequence[Mapping[str, Any]]:
        """Read rows of orders that ended at or after a time, oldest first."""
        query = (
            select(EXECUTIONS)
            .where(EXECUTIONS.c.ended_at_us >= since_us)
            .order_by(EXECUTIONS.c.ended_at_us, EXECUTIONS.c.order_id)
            .limit(limit)
        )

        def read(conn: Connection) -> Sequence[Mapping[str, Any]]:
            return [dict(row) for row in conn.execute(query).mappings()]

        return await self._database.read(read)

    async def count(self) -> int:
        """Count the rows."""
        query = select(func.count()).select_from(EXECUTIONS)
        return await self._database.read(lambda conn: conn.scalar(query) or 0)

    async def prune(self, before_us: int) -> int:
        """Remove rows of orders that ended before a time, in small batches; returns how many."""
        removed = 0
        while gone := await self._database.write(lambda conn: forget(conn, before_us)):
            removed += gone
        return removed

    async def clear(self) -> None:
        """Remove everything, to be derived anew."""
        await self._database.write(empty)


@asynccontextmanager
async def open_metrics_database(url: str, *, pool_size: int = 2) -> AsyncIterator[MetricsDatabase]:
    """Open a migrated metrics database (a path, `sqlite:///path` or `postgresql://...`).

    Raises StartupError as `open_store` does.
    """
    async with open_database(address_of(url), pool_size=pool_size) as database:
        await refuse_unmigrated(database, "metrics")
        yield MetricsDatabase(database)
