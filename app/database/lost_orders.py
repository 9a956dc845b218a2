"""Orders of which only the chain knows: recorded from it, and given to whoever repeats their signal."""

from typing import Final

from sqlalchemy import Connection, bindparam, insert, literal_column, select, update

from app.database.attempts import store_recovered
from app.database.documents import clean
from app.database.intake import told
from app.database.recovery import attempt_told, order
from app.database.rows import order_of, order_values
from app.database.tables import OPEN, ORDERS
from app.database.trail import Note, append
from app.domain.errors import ReasonCode
from app.domain.events import EventKind
from app.domain.memo import client_hash
from app.domain.order import NewOrder, OrderStatus, OrderView
from app.domain.signal import Signal
from app.engine.recovery_port import Recovered

_INSERT: Final = insert(ORDERS).returning(ORDERS)


def recover_order(conn: Connection, lost: Recovered, account: str, at_us: int) -> int | None:
    """Record an order of which nothing else is known, as submitted; None: it is known.

    Its key is known by its hash alone, until a repeat of its signal shows it. Gives how many open orders
    of that key were ended, or at least kept from another attempt.
    """
    if order(conn, lost.memo.order_id) is not None:
        return None
    new = _new_order(lost, account, at_us)
    values = {
        **order_values(new),
        "status": OrderStatus.SUBMITTED.value,
        "client_hash": lost.memo.client_hash,
        "attempt_count": 1,
        "event_seq": 2,
    }
    stored = conn.execute(_INSERT, values).one()
    store_recovered(conn, OrderView(order_of(stored), ()), lost)
    data = {**told(values), "client_hash": lost.memo.client_hash}
    notes = [
        Note(EventKind.ORDER_RECOVERED, new.accepted_at_us, data),
        Note(EventKind.ATTEMPT_RECOVERED, at_us, attempt_told(lost)),
    ]
    append(conn, account=account, order_id=new.order_id, last_seq=2, notes=notes)
    return _end_twins(conn, lost, at_us)


def _new_order(lost: Recovered, account: str, at_us: int) -> NewOrder:
    """Give what is known of a lost order: the swap that it made, and when."""
    made_us = lost.at_us or at_us
    return NewOrder(
        order_id=lost.memo.order_id,
        account=account,
        wallet=lost.wallet,
        signal=Signal(
            action=lost.action,
            market=lost.market,
            size=lost.size,
            quote_size=lost.quote_size,
            allow_public_fallback=False,
            max_slippage_bps=0,
        ),
        fingerprint="",
        idempotency_key=None,
        accepted_at_us=made_us,
        deadline_us=made_us,
    )


# ---------------------------------------------------------------- open orders of the same key

_OPEN_KEYS = select(
    ORDERS.c.order_id,
    ORDERS.c.account,
    ORDERS.c.idempotency_key,
    ORDERS.c.client_order_id,
    ORDERS.c.status,
).where(literal_column(OPEN), ORDERS.c.client_hash.is_(None))
_END = (
    update(ORDERS)
    .where(ORDERS.c.order_id == bindparam("id"))
    .values(
        status=OrderStatus.CANCELED.value,
        reason_code=ReasonCode.ALREADY_EXECUTED.value,
        reason=bindparam("why"),
        ended_at_us=bindparam("at"),
        process=None,
        version=ORDERS.c.version + 1,
        event_seq=ORDERS.c.event_seq + 1,
    )
    .returning(ORDERS.c.event_seq)
)
_STOP = (
    update(ORDERS)
    .where(ORDERS.c.order_id == bindparam("id"), ORDERS.c.cancel_requested_at_us.is_(None))
    .values(cancel_requested_at_us=bindparam("at"), event_seq=ORDERS.c.event_seq + 1)
    .returning(ORDERS.c.event_seq)
)


def _end_twins(conn: Connection, lost: Recovered, at_us: int) -> int:
    """End the open orders of the same client key: the chain shows it executed.

    One with a live attempt is sent no more, and its end stays open: that attempt may have landed.
    """
    ended = 0
    for row in conn.execute(_OPEN_KEYS).all():
        keys = (row.idempotency_key, row.client_order_id)
        if lost.memo.client_hash not in {client_hash(row.account, key) for key in keys if key}:
            continue
        ended += 1
        if row.status == OrderStatus.SUBMITTED.value:
            seq = conn.scalar(_STOP, {"id": row.order_id, "at": at_us})
            note = Note(EventKind.CANCEL_REQUESTED, at_us, {})
        else:
            why = clean(f"its key was executed before, by order {lost.memo.order_id}")
            seq = conn.scalar(_END, {"id": row.order_id, "why": why, "at": at_us})
            note = Note(EventKind.ENDED, at_us, _ended(why))
        if seq is not None:
            append(conn, account=row.account, order_id=row.order_id, last_seq=seq, notes=[note])
    return ended


def _ended(why: str) -> dict[str, object]:
    return {
        "status": OrderStatus.CANCELED.value,
        "reason_code": ReasonCode.ALREADY_EXECUTED.value,
        "reason": why,
        "program_error": None,
    }
