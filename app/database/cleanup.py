"""Clean-up in small batches: old settled orders go, then the events that only they had."""

from dataclasses import dataclass
from typing import Final

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
from app.database.tables import CHECKPOINT, EVENTS, ORDERS, PROCESSES, one_of
from app.database.trail import Note, append
from app.domain.events import EventKind
from app.domain.order import FINAL_STATUSES, OrderStatus

BATCH: Final = 200
"""Orders, or events, removed in one unit of work: other writes go in between."""
_TRAIL: Final = ""
"""The order id of events that tell of the trail itself."""
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
    while gone := await database.write(lambda conn: _prune_events(conn, at_us, keep_after)):
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


_FIRST = (
    select(
        EVENTS.c.position,
        EVENTS.c.hash,
        EVENTS.c.order_id,
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


def _prune_events(conn: Connection, at_us: int, keep_after: int | None) -> int:
    """Remove the trail's first events whose orders are gone; a checkpoint says where it goes on.

    An event that tells of a checkpoint goes only together with others: else each clean-up would make
    work for the next.
    """
    prefix = []
    for row in conn.execute(_FIRST):
        if row.kept or (keep_after is not None and row.position > keep_after):
            break
        prefix.append(row)
    if all(row.order_id == _TRAIL for row in prefix):
        return 0
    last = prefix[-1]
    conn.execute(_CUT, {"last": last.position})
    if conn.scalar(_STANDS) is not None:
        # forwards only: another process may have cut further meanwhile
        conn.execute(_MOVE, {"at": last.position, "chained": last.hash})
    else:
        values = {"checkpoint_id": 1, "position": last.position, "hash": last.hash}
        conn.execute(_FIRST_CHECKPOINT, values)
    _tell(conn, at_us, last.position, last.hash, len(prefix))
    return len(prefix)


def _tell(conn: Connection, at_us: int, position: int, digest: str, removed: int) -> None:
    data = {"position": position, "hash": digest, "removed": removed}
    note = Note(EventKind.CHECKPOINT, at_us, data)
    # the position serves as its sequence: it only grows, whatever was removed before
    append(conn, account=_TRAIL, order_id=_TRAIL, last_seq=position, notes=[note])


_FORGET = delete(PROCESSES).where(PROCESSES.c.heartbeat_at_us < NowUs() - _FORGOTTEN_US)


def _forget_processes(conn: Connection) -> None:
    conn.execute(_FORGET)
