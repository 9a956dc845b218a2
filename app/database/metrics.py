"""The metrics database: one row for each order, derived from sealed events and nothing else."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from app.database.addresses import address_of
from app.database.engine import Database, open_database
from app.database.metrics_tables import CURSOR, EXECUTIONS
from app.database.migrate import refuse_unmigrated
from app.domain.errors import ReasonCode
from app.domain.events import Event, EventKind
from app.domain.order import OrderStatus

BATCH: Final = 500
"""Rows removed in one unit of work."""
Columns = dict[str, Any]
"""Columns of `executions`, by name."""

# ---------------------------------------------------------------- what an event changes in a row


def started(event: Event) -> Columns | None:
    """Give the row that an order's first event begins; None for any other event."""
    if event.kind not in (EventKind.ACCEPTED, EventKind.REJECTED):
        return None
    data = event.data
    rejected = event.kind is EventKind.REJECTED
    return {
        "order_id": event.order_id,
        "account": data["account"],
        "market": data["market"],
        "action": data["action"],
        "strategy": data["strategy"],
        "price": data["price"],
        "status": (OrderStatus.REJECTED if rejected else OrderStatus.QUEUED).value,
        "reason_code": data.get("reason_code"),
        "attempts": 0,
        "submissions": 0,
        "accepted_at_us": event.at_us,
        "ended_at_us": event.at_us if rejected else None,
    }


_AMOUNTS: Final = (
    "base_amount",
    "quote_amount",
    "network_fee",
    "priority_fee",
    "tip",
    "venue_fee",
)


def changed(event: Event) -> Columns:
    """Give the columns an event sets on its order's row; none for an event that changes nothing."""
    change = _CHANGES.get(event.kind)
    return {} if change is None else change(event)


def _claimed(event: Event) -> Columns:
    """Taking over a submitted order leaves it submitted."""
    moved = event.data["from"] == OrderStatus.QUEUED.value
    return {"status": OrderStatus.EXECUTING.value} if moved else {}


def _signed(event: Event) -> Columns:
    return {"status": OrderStatus.SUBMITTED.value, "attempts": event.data["number"]}


def _requeued(event: Event) -> Columns:
    return {"status": OrderStatus.QUEUED.value, "reason_code": event.data["reason_code"]}


def _ended(event: Event) -> Columns:
    return _end(event, str(event.data["status"]), event.data["reason_code"])


def _filled(event: Event) -> Columns:
    amounts = {name: int(str(event.data[name])) for name in _AMOUNTS}
    won = {"method": event.data["method"], "slot": event.data["slot"]}
    return _end(event, OrderStatus.FILLED.value, None) | amounts | won


def _finalized(event: Event) -> Columns:
    return {"finalized_at_us": event.at_us, "slot": event.data["slot"]}


def _reverted(event: Event) -> Columns:
    gone = dict.fromkeys((*_AMOUNTS, "method", "slot"))
    return _end(event, OrderStatus.FAILED.value, ReasonCode.FILL_REVERTED.value) | gone


def _end(event: Event, status: str, reason_code: object) -> Columns:
    return {"status": status, "reason_code": reason_code, "ended_at_us": event.at_us}


_CHANGES: Final[Mapping[EventKind, Callable[[Event], Columns]]] = {
    EventKind.CLAIMED: _claimed,
    EventKind.SIGNED: _signed,
    EventKind.REQUEUED: _requeued,
    EventKind.ENDED: _ended,
    EventKind.FILLED: _filled,
    EventKind.FINALIZED: _finalized,
    EventKind.FILL_REVERTED: _reverted,
}


# ---------------------------------------------------------------- the database

_CURSOR = select(CURSOR.c.position)
_MOVE = update(CURSOR).where(CURSOR.c.position < bindparam("to")).values(position=bindparam("to"))
_FIRST = insert(CURSOR)
_BEGIN: Mapping[str, Any] = {
    "sqlite": sqlite.insert(EXECUTIONS).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(EXECUTIONS).on_conflict_do_nothing(),
}
_PUSHED = (
    update(EXECUTIONS)
    .where(EXECUTIONS.c.order_id == bindparam("id"))
    .values(submissions=EXECUTIONS.c.submissions + bindparam("pushes"))
)


def position(conn: Connection) -> int:
    """Give the position up to which events are counted."""
    return conn.scalar(_CURSOR) or 0


def apply(conn: Connection, events: Sequence[Event]) -> int:
    """Count sealed events that follow the cursor, and move it, in one transaction; gives the cursor.

    Events that are counted already are passed over: a crash repeats and loses nothing. An order whose
    first events are gone from the trail has no row, and its later events change none.
    """
    reached = position(conn)
    fresh = [event for event in events if (event.position or 0) > reached]
    for event in fresh:
        _apply_one(conn, event)
    if fresh:
        reached = fresh[-1].position or reached
        _move(conn, reached)
    return reached


def _apply_one(conn: Connection, event: Event) -> None:
    begun = started(event)
    if begun is not None:
        conn.execute(_BEGIN[conn.dialect.name], begun)
        return
    if event.kind is EventKind.SUBMITTED:
        pushes = event.data["submissions"]
        count = len(pushes) if isinstance(pushes, list) else 0
        conn.execute(_PUSHED, {"id": event.order_id, "pushes": count})
    values = changed(event) | _first_times(conn, event)
    if values:
        own = EXECUTIONS.c.order_id == event.order_id
        conn.execute(update(EXECUTIONS).where(own).values(**values))


_TIMES: Final = {
    EventKind.SIGNED: "first_signed_at_us",
    EventKind.SUBMITTED: "first_submitted_at_us",
}


def _first_times(conn: Connection, event: Event) -> Columns:
    """Give the time of an order's first signature or push, if this is it."""
    name = _TIMES.get(event.kind)
    if name is None:
        return {}
    column = EXECUTIONS.c[name]
    known = conn.scalar(select(column).where(EXECUTIONS.c.order_id == event.order_id))
    return {name: event.at_us} if known is None else {}


def _move(conn: Connection, reached: int) -> None:
    if conn.execute(_MOVE, {"to": reached}).rowcount == 0 and conn.scalar(_CURSOR) is None:
        conn.execute(_FIRST, {"cursor_id": 1, "position": reached})


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

    async def apply(self, events: Sequence[Event]) -> int:
        """Count sealed events in the order of their positions; returns the position reached."""
        return await self._database.write(lambda conn: apply(conn, events))

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
