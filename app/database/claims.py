"""Units of work on leases: who holds which order. The orders table is the queue."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    bindparam,
    case,
    delete,
    insert,
    literal_column,
    or_,
    select,
    union_all,
    update,
)

from app.database.expressions import NowUs, constant
from app.database.reading import views_of
from app.database.running import change, fetch
from app.database.sequence import ITS_TURN
from app.database.tables import ACTIVE, ORDERS, PROCESSES, UNSETTLED
from app.database.trail import Note, append
from app.domain.events import EventKind
from app.domain.order import OrderStatus
from app.engine.ports import Claimed, LostLease
from app.engine.store_port import LiveProcess

LEASE_US: Final = 3_000_000
"""A process whose heartbeat is older than this, by the database's clock, holds nothing any more."""
_ME: Final = "me"


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that holds orders, as its row names it."""

    process_id: str
    name: str


# ---------------------------------------------------------------- processes

_REGISTER = insert(PROCESSES).values(
    process_id=bindparam("id"),
    name=bindparam("called"),
    started_at_us=NowUs(),
    heartbeat_at_us=NowUs(),
)
_BEAT = (
    update(PROCESSES)
    .where(PROCESSES.c.process_id == bindparam("id"))
    .values(heartbeat_at_us=NowUs())
)
_LEAVE = delete(PROCESSES).where(PROCESSES.c.process_id == bindparam("id"))
_BURY = delete(PROCESSES).where(
    PROCESSES.c.process_id.in_(bindparam("ids", expanding=True)),
    PROCESSES.c.heartbeat_at_us < NowUs() - LEASE_US,
)


def register(conn: Connection, holder: Holder, *, alone: bool) -> None:
    """Enter this process; `alone` (a file lock says so) voids the leases of all others."""
    if alone:
        conn.execute(delete(PROCESSES))
    conn.execute(_REGISTER, {"id": holder.process_id, "called": holder.name})


def leave(conn: Connection, holder: Holder) -> None:
    """Take this process out: all that it holds is free at once."""
    conn.execute(_LEAVE, {"id": holder.process_id})


def heartbeat(conn: Connection, holder: Holder) -> bool:
    """Renew the lease; False when another process took over and struck this one out."""
    return change(conn, _BEAT, {"id": holder.process_id}) == 1


_LIVE_PROCESSES = (
    select(
        PROCESSES.c.name,
        PROCESSES.c.started_at_us,
        (NowUs() - PROCESSES.c.heartbeat_at_us).label("silent_us"),
    )
    .where(PROCESSES.c.heartbeat_at_us >= NowUs() - LEASE_US)
    .order_by(PROCESSES.c.started_at_us, PROCESSES.c.process_id)
)


def live_processes(conn: Connection) -> Sequence[LiveProcess]:
    """List the processes whose leases run, oldest first."""
    rows = conn.execute(_LIVE_PROCESSES)
    return [LiveProcess(row.name, row.started_at_us, max(row.silent_us, 0)) for row in rows]


# ---------------------------------------------------------------- claiming


def _abandoned() -> ColumnElement[bool]:
    """No process holds the order, or one that is gone. One's own orders are never free."""
    alive = (
        select(PROCESSES.c.process_id)
        .where(
            PROCESSES.c.process_id == ORDERS.c.process,
            PROCESSES.c.heartbeat_at_us >= NowUs() - LEASE_US,
        )
        .correlate(ORDERS)
        .exists()
    )
    me = bindparam(_ME, type_=ORDERS.c.process.type)
    return or_(
        ORDERS.c.process.is_(None),
        and_(ORDERS.c.process != me, ~alive),
    )


_KEYS = select(
    ORDERS.c.order_id,
    ORDERS.c.queue_rank,
    ORDERS.c.accepted_at_us,
    ORDERS.c.status,
    ORDERS.c.process,
)
_BY_RANK = (ORDERS.c.queue_rank, ORDERS.c.accepted_at_us, ORDERS.c.order_id)
# SQLite uses a partial index only where its very condition is written out.
_ACTIVE: ColumnElement[bool] = literal_column(ACTIVE)
_PAST = ORDERS.c.deadline_us <= bindparam("at")


def _is(status: OrderStatus) -> ColumnElement[bool]:
    return ORDERS.c.status == constant(status)


def _candidates(
    *conditions: ColumnElement[bool], by: Sequence[ColumnElement[Any]] = _BY_RANK
) -> Select[Any]:
    """Build a query for free orders; rows that another process is taking are passed over."""
    chosen = _KEYS.where(*conditions).order_by(*by).limit(bindparam("limit"))
    return chosen.with_for_update(skip_locked=True)


# 'submitted' comes after 'executing' by name, and so first here
_LEFT = _candidates(
    _ACTIVE,
    ORDERS.c.in_doubt_since_us.is_(None),
    _abandoned(),
    # one that was taken up to be ended, out of turn, by a clock that runs ahead waits like any other
    or_(_is(OrderStatus.SUBMITTED), ITS_TURN),
    by=[ORDERS.c.status.desc(), *_BY_RANK],
)
_LIVE = _candidates(
    _ACTIVE, _is(OrderStatus.SUBMITTED), ORDERS.c.in_doubt_since_us.is_(None), _abandoned()
)
_QUEUED = _candidates(
    _is(OrderStatus.QUEUED),
    ORDERS.c.next_attempt_at_us <= bindparam("at"),
    ITS_TURN,
)
_OVERDUE_QUEUED = _candidates(_is(OrderStatus.QUEUED), _PAST, by=[ORDERS.c.deadline_us])
_OVERDUE_EXECUTING = _candidates(_ACTIVE, _is(OrderStatus.EXECUTING), _PAST, _abandoned())
_DOUBTED = _candidates(ORDERS.c.in_doubt_since_us.is_not(None), _abandoned())
_UNSETTLED = _candidates(_is(OrderStatus.FILLED), ORDERS.c.finalized_at_us.is_(None), _abandoned())


def claim(conn: Connection, holder: Holder, limit: int, at_us: int) -> Sequence[Claimed]:
    """Take up to `limit` orders: those with a live attempt first, then by priority, then by age.

    A queued order that would overtake an earlier one of its sequence is passed over.
    """
    left = fetch(conn, _LEFT, {_ME: holder.process_id, "limit": limit})
    taken = [row for row in left if row.status == OrderStatus.SUBMITTED]
    others = left[len(taken) :]
    if len(taken) < limit:
        free = limit - len(taken)
        others = [*others, *fetch(conn, _QUEUED, {"limit": free, "at": at_us})]
        others.sort(key=lambda row: (row.queue_rank, row.accepted_at_us, row.order_id))
        taken += others[:free]
    return _take(conn, holder, taken, at_us)


def claim_live(conn: Connection, holder: Holder, limit: int, at_us: int) -> Sequence[Claimed]:
    """Take up to `limit` orders with a live attempt, to be watched."""
    taken = fetch(conn, _LIVE, {_ME: holder.process_id, "limit": limit})
    return _take(conn, holder, taken, at_us)


def claim_overdue(conn: Connection, holder: Holder, limit: int, at_us: int) -> Sequence[Claimed]:
    """Take up to `limit` queued or executing orders past their deadline, due or not, to be ended."""
    values = {"limit": limit, "at": at_us}
    taken = list(fetch(conn, _OVERDUE_QUEUED, values))
    left = limit - len(taken)
    if left > 0:
        values = {"limit": left, "at": at_us}
        taken += fetch(conn, _OVERDUE_EXECUTING, {**values, _ME: holder.process_id})
    return _take(conn, holder, taken, at_us)


def adopt(conn: Connection, holder: Holder, limit: int) -> Sequence[Claimed]:
    """Take up to `limit` orders that need watching only: in doubt, or filled and not finalized."""
    taken = list(fetch(conn, _DOUBTED, {_ME: holder.process_id, "limit": limit}))
    left = limit - len(taken)
    if left > 0:
        taken += fetch(conn, _UNSETTLED, {_ME: holder.process_id, "limit": left})
    return _take(conn, holder, taken, None)


_THIS = _KEYS.where(ORDERS.c.order_id == bindparam("id"))


def take(conn: Connection, holder: Holder, order_id: str, at_us: int) -> Claimed:
    """Take one order, which is locked and open."""
    return _take(conn, holder, fetch(conn, _THIS, {"id": order_id}), at_us)[0]


_TAKE_OVER = (
    update(ORDERS)
    .where(
        ORDERS.c.order_id == bindparam("id"),
        ORDERS.c.account == bindparam("of_account"),
        ORDERS.c.in_doubt_since_us.is_not(None),
    )
    .values(process=bindparam(_ME), version=ORDERS.c.version + 1)
    .returning(ORDERS)
)


def take_over(conn: Connection, holder: Holder, account: str, order_id: str) -> Claimed | None:
    """Take an order in doubt from whoever holds it, alive or not: its writes match no row any more."""
    values = {"id": order_id, "of_account": account, _ME: holder.process_id}
    row = conn.execute(_TAKE_OVER, values).one_or_none()
    return None if row is None else Claimed(views_of(conn, [row])[0])


_moves = _is(OrderStatus.QUEUED)
_tells = or_(_moves, ORDERS.c.process.is_not(None))
_TAKE = (
    update(ORDERS)
    .where(ORDERS.c.order_id.in_(bindparam("ids", expanding=True)))
    .values(
        process=bindparam(_ME),
        version=ORDERS.c.version + 1,
        status=case((_moves, OrderStatus.EXECUTING.value), else_=ORDERS.c.status),
        event_seq=ORDERS.c.event_seq + case((_tells, 1), else_=0),
    )
    .returning(ORDERS)
)


def _take(
    conn: Connection, holder: Holder, taken: Sequence[Row[Any]], at_us: int | None
) -> list[Claimed]:
    """Hold these orders, whose rows this transaction has locked; tell of moves and of take-overs."""
    if not taken:
        return []
    before = {row.order_id: row for row in taken}
    rows = conn.execute(_TAKE, {"ids": list(before), _ME: holder.process_id}).all()
    now_us = at_us if at_us is not None else conn.scalar(select(NowUs())) or 0
    for row in rows:
        _tell(conn, holder, before[row.order_id], row, now_us)
    _bury(conn, {row.process for row in taken if row.process is not None})
    views = {view.order.order_id: view for view in views_of(conn, rows)}
    return [Claimed(views[order_id]) for order_id in before]


def _tell(conn: Connection, holder: Holder, before: Row[Any], after: Row[Any], at_us: int) -> None:
    recovered = before.process is not None
    if not recovered and before.status == after.status:
        return
    data = {"process": holder.name, "recovered": recovered, "from": before.status}
    note = Note(EventKind.CLAIMED, at_us, data)
    append(
        conn,
        account=after.account,
        order_id=after.order_id,
        last_seq=after.event_seq,
        notes=[note],
    )


def _bury(conn: Connection, process_ids: Iterable[str]) -> None:
    """Strike out processes whose orders were taken over: they learn it from their next heartbeat."""
    ids = list(process_ids)
    if ids:
        conn.execute(_BURY, {"ids": ids})


# ---------------------------------------------------------------- a held order

_held = and_(
    ORDERS.c.order_id == bindparam("id"),
    ORDERS.c.process == bindparam(_ME),
    ORDERS.c.version == bindparam("at_version"),
)
_RELEASE = update(ORDERS).where(_held).values(process=None)
# Locked: a write whose answer was lost may still be on its way to its commit on PostgreSQL.
_RELOAD = select(ORDERS).where(_held).with_for_update()


def _values(holder: Holder, claimed: Claimed) -> dict[str, Any]:
    order = claimed.view.order
    return {"id": order.order_id, _ME: holder.process_id, "at_version": order.version}


def release(conn: Connection, holder: Holder, claimed: Claimed) -> None:
    """Give an order back unchanged; one that is no longer held is left alone."""
    change(conn, _RELEASE, _values(holder, claimed))


_HELD_BY_ME = ORDERS.c.process == bindparam(_ME)
# only active orders and unsettled fills have a holder; each kind is found by its own index
_MINE = union_all(
    select(ORDERS.c.order_id, ORDERS.c.version).where(_HELD_BY_ME, _ACTIVE),
    select(ORDERS.c.order_id, ORDERS.c.version).where(_HELD_BY_ME, literal_column(UNSETTLED)),
)
_DISOWN = (
    update(ORDERS)
    .where(
        ORDERS.c.process == bindparam("holder"),
        ORDERS.c.order_id.in_(bindparam("ids", expanding=True)),
    )
    .values(process=None)
)
_DISOWNED_AT_ONCE: Final = 500


def disown(conn: Connection, holder: Holder, known: Mapping[str, int]) -> int:
    """Free what this process holds beside the orders it knows of, at the versions it knows."""
    mine = conn.execute(_MINE, {_ME: holder.process_id})
    unknown = sorted(row.order_id for row in mine if known.get(row.order_id) != row.version)
    for start in range(0, len(unknown), _DISOWNED_AT_ONCE):
        ids = unknown[start : start + _DISOWNED_AT_ONCE]
        conn.execute(_DISOWN, {"holder": holder.process_id, "ids": ids})
    return len(unknown)


def reload(conn: Connection, holder: Holder, claimed: Claimed) -> Claimed | LostLease:
    """Read a held order again, after whatever this process has written of it."""
    rows = fetch(conn, _RELOAD, _values(holder, claimed))
    return Claimed(views_of(conn, rows)[0]) if rows else LostLease()
