"""Units of work at the door: an order is accepted once, or cancelled."""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection, Insert, Row, Text, bindparam, select, union_all, update
from sqlalchemy.dialects import postgresql, sqlite

from app.database.documents import clean
from app.database.notices import announce
from app.database.replay import find_recovered
from app.database.rows import order_of, order_values
from app.database.running import fetch, fetch_one
from app.database.sequence import placed
from app.database.tables import ORDER_KEYS, ORDERS
from app.database.trail import Note, append
from app.domain.errors import IllegalMoveError, ReasonCode
from app.domain.events import EventKind
from app.domain.order import FINAL_STATUSES, NewOrder, Order, OrderStatus
from app.engine.ports import Accepted, CancelOutcome, IntakeRefusal

Rejection = tuple[str, str]
"""Reason code and reason of a refusal by rule."""

_LOOKS_MAX: Final = 3
"""Looks for an order that another transaction inserts at the same time; the second finds it."""
_CANCELED: Final = "canceled as requested"

# A key that is NULL matches no row, so that one statement serves every combination of keys. Each key
# is looked up by its own index.
_KEY = bindparam("key", type_=Text())
_BY_KEYS = select(ORDERS).where(
    ORDERS.c.order_id.in_(
        union_all(
            select(ORDERS.c.order_id).where(
                ORDERS.c.account == bindparam("account"), ORDERS.c.idempotency_key == _KEY
            ),
            select(ORDERS.c.order_id).where(
                ORDERS.c.account == bindparam("account"),
                ORDERS.c.client_order_id == bindparam("client", type_=Text()),
            ),
            select(ORDER_KEYS.c.order_id).where(
                ORDER_KEYS.c.account == bindparam("account"), ORDER_KEYS.c.idempotency_key == _KEY
            ),
        )
    )
)
_INSERTS: Mapping[str, Insert] = {
    "sqlite": sqlite.insert(ORDERS).on_conflict_do_nothing().returning(ORDERS),
    "postgresql": postgresql.insert(ORDERS).on_conflict_do_nothing().returning(ORDERS),
}
_ADD_KEY: Mapping[str, Insert] = {
    "sqlite": sqlite.insert(ORDER_KEYS).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(ORDER_KEYS).on_conflict_do_nothing(),
}


def accept(
    conn: Connection, new: NewOrder, *, full: bool, rejection: Rejection | None
) -> Accepted | IntakeRefusal:
    """Insert an order with its first event, or find the one that its keys name.

    Any of the keys finds the order; it is a repeat when the body is the same. A full queue refuses only
    what is new.
    """
    for _ in range(_LOOKS_MAX):
        found = _find(conn, new)
        if found is not None:
            return found
        if full:
            return IntakeRefusal.FULL
        order = _insert(conn, new, rejection)
        if order is not None:
            announce(conn)
            return Accepted(order, replayed=False)
    raise IllegalMoveError(f"order id {new.order_id} is taken, and not by this signal")


def _find(conn: Connection, new: NewOrder) -> Accepted | IntakeRefusal | None:
    key, client = new.idempotency_key, new.signal.client_order_id
    if key is None and client is None:
        return None
    rows = fetch(conn, _BY_KEYS, {"account": new.account, "key": key, "client": client})
    if not rows or all(row.reason_code == ReasonCode.ALREADY_EXECUTED.value for row in rows):
        recovered = find_recovered(conn, new)
        if recovered is not None or not rows:
            return recovered
    if len(rows) > 1:
        return IntakeRefusal.CONFLICT
    if rows[0].fingerprint != new.fingerprint:
        return IntakeRefusal.MISMATCH
    _remember_key(conn, rows[0], key)
    return Accepted(order_of(rows[0]), replayed=True)


def _remember_key(conn: Connection, row: Row[Any], key: str | None) -> None:
    """Bind a further key to the order it was answered with."""
    if key is not None and key != row.idempotency_key:
        values = {"account": row.account, "idempotency_key": key, "order_id": row.order_id}
        conn.execute(_ADD_KEY[conn.dialect.name], values)


def _insert(conn: Connection, new: NewOrder, rejection: Rejection | None) -> Order | None:
    due_us = new.accepted_at_us
    if rejection is None:
        new = placed(conn, new)
    values = {**order_values(new), "next_attempt_at_us": due_us}
    values["status"] = OrderStatus.QUEUED.value
    note = Note(EventKind.ACCEPTED, new.accepted_at_us, told(values))
    if rejection is not None:
        code, reason = ReasonCode(rejection[0]).value, clean(rejection[1])
        values |= {"status": OrderStatus.REJECTED.value, "reason_code": code, "reason": reason}
        values["ended_at_us"] = new.accepted_at_us
        data = {**told(values), "reason_code": code, "reason": reason}
        note = Note(EventKind.REJECTED, new.accepted_at_us, data)
    row = fetch_one(conn, _INSERTS[conn.dialect.name], values)
    if row is None:
        return None
    append(conn, account=new.account, order_id=new.order_id, last_seq=1, notes=[note])
    return order_of(row)


_TOLD: Final = (
    "account", "wallet", "fingerprint", "action", "market", "price", "confidence",
    "client_order_id", "priority", "strategy", "max_slippage_bps", "allow_public_fallback",
    "deadline_us",
)  # fmt: skip


def told(values: Mapping[str, Any]) -> dict[str, object]:
    """Say what the trail keeps of a signal: enough to derive every figure of the order from events."""
    amounts = {name: values[name] for name in ("size", "quote_size")}
    said: dict[str, object] = {name: values[name] for name in _TOLD}
    return said | {name: None if value is None else str(value) for name, value in amounts.items()}


_OWN = (
    select(ORDERS)
    .where(ORDERS.c.order_id == bindparam("order_id"), ORDERS.c.account == bindparam("account"))
    .with_for_update()
)
_CANCEL = (
    update(ORDERS)
    .where(
        ORDERS.c.order_id == bindparam("id"),
        ORDERS.c.status.in_([OrderStatus.QUEUED.value, OrderStatus.EXECUTING.value]),
    )
    .values(
        status=OrderStatus.CANCELED.value,
        reason_code=ReasonCode.CANCEL_REQUESTED.value,
        reason=_CANCELED,
        cancel_requested_at_us=bindparam("at"),
        ended_at_us=bindparam("at"),
        process=None,
        version=ORDERS.c.version + 1,
        event_seq=ORDERS.c.event_seq + 1,
    )
    .returning(ORDERS)
)
_REQUEST = (
    update(ORDERS)
    .where(
        ORDERS.c.order_id == bindparam("id"),
        ORDERS.c.status == OrderStatus.SUBMITTED.value,
        ORDERS.c.cancel_requested_at_us.is_(None),
    )
    .values(cancel_requested_at_us=bindparam("at"), event_seq=ORDERS.c.event_seq + 1)
    .returning(ORDERS)
)


def cancel(
    conn: Connection, account: str, order_id: str, at_us: int
) -> tuple[CancelOutcome, Order | None]:
    """Cancel an order that has nothing alive, raising its version so that no worker's STORE matches.

    With an attempt alive the request is noted, once; the order ends when the attempt is settled.
    """
    row = conn.execute(_OWN, {"order_id": order_id, "account": account}).one_or_none()
    if row is None:
        return CancelOutcome.UNKNOWN, None
    status = OrderStatus(row.status)
    if status in FINAL_STATUSES:
        canceled = status is OrderStatus.CANCELED
        return (CancelOutcome.CANCELED if canceled else CancelOutcome.FINAL), order_of(row)
    if status is not OrderStatus.SUBMITTED:
        return CancelOutcome.CANCELED, _cancel_now(conn, order_id, at_us)
    if row.cancel_requested_at_us is None:
        row = conn.execute(_REQUEST, {"id": order_id, "at": at_us}).one()
        _tell(conn, row, Note(EventKind.CANCEL_REQUESTED, at_us, {}))
    return CancelOutcome.REQUESTED, order_of(row)


def _cancel_now(conn: Connection, order_id: str, at_us: int) -> Order:
    row = conn.execute(_CANCEL, {"id": order_id, "at": at_us}).one()
    data = {
        "status": OrderStatus.CANCELED.value,
        "reason_code": ReasonCode.CANCEL_REQUESTED.value,
        "reason": _CANCELED,
        "program_error": None,
    }
    _tell(conn, row, Note(EventKind.ENDED, at_us, data))
    return order_of(row)


def _tell(conn: Connection, row: Row[Any], note: Note) -> None:
    append(conn, account=row.account, order_id=row.order_id, last_seq=row.event_seq, notes=[note])
