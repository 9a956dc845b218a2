"""The unit of work that moves a held order: changes, legal and fenced, with the events that tell them."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Connection, Update, and_, bindparam, insert, update

from app.database.rows import (
    Values,
    attempt_update_values,
    order_update_values,
    submission_values,
)
from app.database.running import change as run_change
from app.database.running import change_many, fetch_one
from app.database.tables import ATTEMPTS, ORDERS, SUBMISSIONS
from app.database.trail import Note, append
from app.database.undo import Undo
from app.domain.changes import Change, apply
from app.domain.order import OrderStatus, OrderView
from app.engine.ports import Claimed, LostLease

_SHAPES_MAX: Final = 128
"""Sets of columns that changes write together; there are about a dozen."""
_INSERT = insert(SUBMISSIONS)


def record(
    conn: Connection, process_id: str, claimed: Claimed, changes: Sequence[Change]
) -> Claimed | LostLease:
    """Write changes of a held order; the lease ends with the move to `queued` or to a settled end.

    Raises IllegalMoveError for what the tables of moves forbid. A write that matches no row undoes the
    whole unit: LostLease.
    """
    view = claimed.view
    for change in changes:
        view = apply(view, change)
    row = _write_order(conn, process_id, claimed.view, view, changes)
    if row is None:
        return LostLease()
    current = claimed.view
    for change in changes:
        _write_attempt(conn, current, change)
        current = apply(current, change)
    order_id = claimed.view.order.order_id
    notes = [Note(change.kind, change.at_us, change.data) for change in changes]
    # the row's account: a repeat of its signal may have made the order another's since it was claimed
    append(conn, account=row.account, order_id=order_id, last_seq=row.event_seq, notes=notes)
    known = replace(
        view.order, account=row.account, cancel_requested_at_us=row.cancel_requested_at_us
    )
    return Claimed(OrderView(known, view.attempts))


def _write_order(
    conn: Connection,
    process_id: str,
    before: OrderView,
    after: OrderView,
    changes: Sequence[Change],
) -> Any:  # noqa: ANN401 - a row, or None
    values: Values = {}
    for change in changes:
        values |= order_update_values(change.order)
    if _settled(after):
        values["process"] = None
    if after.order.status is OrderStatus.FILLED and before.order.status is not OrderStatus.FILLED:
        values["fill_method"] = _landing_method(after)
    statement = _order_update(frozenset(values))
    matched = {
        "match_id": before.order.order_id,
        "match_process": process_id,
        "match_version": before.order.version,
        "match_status": before.order.status.value,
        "match_attempts": len(before.attempts),
        "events": len(changes),
    }
    return fetch_one(conn, statement, {**values, **matched})


def _settled(view: OrderView) -> bool:
    """Tell whether this process has nothing more to do with the order."""
    order = view.order
    if order.status is OrderStatus.FILLED:
        return order.finalized_at_us is not None
    return order.status.final or order.status is OrderStatus.QUEUED


def _landing_method(view: OrderView) -> str | None:
    landed = [a for a in view.attempts if not a.status.dead]
    return landed[-1].landing_method if landed else None


@lru_cache(maxsize=_SHAPES_MAX)
def _order_update(columns: frozenset[str]) -> Update:
    """Build the statement once for each set of columns."""
    values: dict[str, Any] = {name: bindparam(name, type_=ORDERS.c[name].type) for name in columns}
    return (
        update(ORDERS)
        .where(
            ORDERS.c.order_id == bindparam("match_id"),
            ORDERS.c.process == bindparam("match_process"),
            ORDERS.c.version == bindparam("match_version"),
            ORDERS.c.status == bindparam("match_status"),
            ORDERS.c.attempt_count == bindparam("match_attempts"),
        )
        .values(**values, event_seq=ORDERS.c.event_seq + bindparam("events"))
        .returning(ORDERS.c.event_seq, ORDERS.c.account, ORDERS.c.cancel_requested_at_us)
    )


def _write_attempt(conn: Connection, before: OrderView, change: Change) -> None:
    attempt = next((a for a in before.attempts if a.number == change.number), None)
    if attempt is None:
        return
    values = attempt_update_values(change.attempt)
    if values:
        matched = {"match_id": attempt.attempt_id, "match_status": attempt.status.value}
        statement = _attempt_update(frozenset(values))
        if run_change(conn, statement, {**values, **matched}) != 1:
            raise Undo(LostLease())
    pushes = [submission_values(attempt.attempt_id, push) for push in change.submissions]
    change_many(conn, _INSERT, pushes)


@lru_cache(maxsize=_SHAPES_MAX)
def _attempt_update(columns: frozenset[str]) -> Update:
    values: dict[str, Any] = {
        name: bindparam(name, type_=ATTEMPTS.c[name].type) for name in columns
    }
    matched = and_(
        ATTEMPTS.c.attempt_id == bindparam("match_id"),
        ATTEMPTS.c.status == bindparam("match_status"),
    )
    return update(ATTEMPTS).where(matched).values(**values)
