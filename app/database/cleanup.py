"""Clean-up in small batches: old settled orders go, then the events that only they had."""

from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Final

from sqlalchemy import (
    Connection,
    bindparam,
    delete,
    exists,
    insert,
    literal_column,
    or_,
    select,
    update,
)

from app.database.engine import Database
from app.database.expressions import NowUs
from app.database.places import SYSTEM as SYSTEM_PLACE
from app.database.tables import CHECKPOINT, EVENTS, ORDERS, PROCESSES, one_of
from app.database.trail import Note, append_own, next_own_seq
from app.domain.events import SYSTEM, EventKind
from app.domain.order import FINAL_STATUSES, OrderStatus

BATCH: Final = 200
"""Orders, or events, removed in one unit of work: other writes go in between."""
_FORGOTTEN_US: Final = 24 * 3_600_000_000
"""Processes are forgotten when they have been silent for a day (their leases end after seconds)."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a clean-up removed."""

    orders: int
    events: int


async def prune(
    database: Database, *, before_us: int, at_us: int, keep_after: int | None
) -> Pruned:
    """Remove settled orders that ended before `before_us`, then the trail's beginning that is theirs."""
    orders = events = 0
    while gone := await database.write(lambda conn: _prune_orders(conn, before_us)):
        orders += gone
    cut = _Cut(before_us, at_us, keep_after)
    while gone := await database.write(lambda conn: _prune_events(conn, cut), SYSTEM_PLACE):
        events += gone
    await database.write(_forget_processes)
    return Pruned(orders, events)


_SETTLED = or_(
    literal_column(one_of("status", [s for s in FINAL_STATUSES if s is not OrderStatus.FILLED])),
    ORDERS.c.finalized_at_us.is_not(None),
)
_OLD = (
    select(ORDERS.c.order_id)
    .where(
        ORDERS.c.ended_at_us < bindparam("before"),
        _SETTLED,
        ORDERS.c.in_doubt_since_us.is_(None),
    )
    .order_by(ORDERS.c.ended_at_us)
    .limit(BATCH)
    .with_for_update(skip_locked=True)
)
_DELETE = delete(ORDERS).where(ORDERS.c.order_id.in_(bindparam("ids", expanding=True)))


def _prune_orders(conn: Connection, before_us: int) -> int:
    """Remove a batch; keys, attempts and submissions go with their orders."""
    ids = list(conn.scalars(_OLD, {"before": before_us}))
    if ids:
        conn.execute(_DELETE, {"ids": ids})
    return len(ids)


@dataclass(frozen=True, slots=True)
class _Cut:
    """How far the trail may be cut, and when that is done."""

    before_us: int
    at_us: int
    keep_after: int | None

    def keeps(self, event: Any) -> bool:  # noqa: ANN401 - a row of the statement below
        """Tell whether an event stays: its order is there, or it is young, or somebody will read it."""
        if event.kept or (self.keep_after is not None and event.position > self.keep_after):
            return True
        if event.order_id != SYSTEM or event.kind == EventKind.CHECKPOINT.value:
            return False
        return bool(event.at_us >= self.before_us)


_FIRST = (
    select(
        EVENTS.c.position,
        EVENTS.c.hash,
        EVENTS.c.order_id,
        EVENTS.c.kind,
        EVENTS.c.at_us,
        exists().where(ORDERS.c.order_id == EVENTS.c.order_id).label("kept"),
    )
    .where(EVENTS.c.position.is_not(None))
    .order_by(EVENTS.c.position)
    .limit(BATCH)
)
_CUT = delete(EVENTS).where(EVENTS.c.position <= bindparam("last"))
_MOVE = (
    update(CHECKPOINT)
    .where(CHECKPOINT.c.position < bindparam("at"))
    .values(position=bindparam("at"), hash=bindparam("chained"))
)
_STANDS = select(CHECKPOINT.c.position)
_FIRST_CHECKPOINT = insert(CHECKPOINT)


def _prune_events(conn: Connection, cut: _Cut) -> int:
    """Remove the trail's first events whose orders are gone; a checkpoint says where it goes on.

    An event that tells of a checkpoint goes only together with others: else each clean-up would make
    work for the next.
    """
    seq = next_own_seq(conn)  # before the cut, which may take the last one away
    prefix = list(takewhile(lambda event: not cut.keeps(event), conn.execute(_FIRST)))
    if all(row.kind == EventKind.CHECKPOINT.value for row in prefix):
        return 0
    last = prefix[-1]
    conn.execute(_CUT, {"last": last.position})
    if conn.scalar(_STANDS) is not None:
        # forwards only: another process may have cut further meanwhile
        conn.execute(_MOVE, {"at": last.position, "chained": last.hash})
    else:
        values = {"checkpoint_id": 1, "position": last.position, "hash": last.hash}
        conn.execute(_FIRST_CHECKPOINT, values)
    data = {"position": last.position, "hash": last.hash, "removed": len(prefix)}
    append_own(conn, seq, Note(EventKind.CHECKPOINT, cut.at_us, data))
    return len(prefix)


_FORGET = delete(PROCESSES).where(PROCESSES.c.heartbeat_at_us < NowUs() - _FORGOTTEN_US)


def _forget_processes(conn: Connection) -> None:
    conn.execute(_FORGET)
