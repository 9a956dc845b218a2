"""Orders of which only the chain knows: recorded from it, and given to whoever repeats their signal."""

from typing import Final

from sqlalchemy import Connection, bindparam, insert, literal_column, select

from app.database.attempts import store_recovered
from app.database.contradictions import stop
from app.database.documents import clean
from app.database.intake import told
from app.database.recovery import attempt_told, order
from app.database.rows import order_of, order_values
from app.database.tables import EVENTS, OPEN, ORDERS
from app.database.trail import Note, append
from app.domain.events import EventKind
from app.domain.memo import client_hash
from app.domain.order import NewOrder, OrderStatus, OrderView
from app.domain.signal import Signal
from app.engine.recovery_port import Recovered

_INSERT: Final = insert(ORDERS).returning(ORDERS)
_LAST_EVENT: Final = (
    select(EVENTS.c.seq, EVENTS.c.account)
    .where(EVENTS.c.order_id == bindparam("id"))
    .order_by(EVENTS.c.seq.desc())
    .limit(1)
)


def recover_order(conn: Connection, lost: Recovered, account: str, at_us: int) -> int | None:
    """Record an order of which nothing else is known, as submitted; None: it is known.

    Its key is known by its hash alone, until a repeat of its signal shows it. Gives how many open orders
    of that key were ended, or at least kept from another attempt. Where the trail outlived the order's
    row, it goes on, and says whose the order was.
    """
    if order(conn, lost.memo.order_id) is not None:
        return None
    last = conn.execute(_LAST_EVENT, {"id": lost.memo.order_id}).one_or_none()
    seq, account = (0, account) if last is None else (last.seq, last.account)
    new = _new_order(lost, account, at_us)
    values = {
        **order_values(new),
        "status": OrderStatus.SUBMITTED.value,
        "client_hash": lost.memo.client_hash,
        "attempt_count": 1,
        "event_seq": seq + 2,
    }
    stored = conn.execute(_INSERT, values).one()
    number = store_recovered(conn, OrderView(order_of(stored), ()), lost)
    data = {**told(values), "client_hash": lost.memo.client_hash}
    notes = [
        Note(EventKind.ORDER_RECOVERED, new.accepted_at_us, data),
        Note(EventKind.ATTEMPT_RECOVERED, at_us, attempt_told(lost, number)),
    ]
    append(conn, account=account, order_id=new.order_id, last_seq=seq + 2, notes=notes)
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
        why = clean(f"its key was executed before, by order {lost.memo.order_id}")
        alive = row.status == OrderStatus.SUBMITTED.value
        stop(conn, row.order_id, row.account, alive=alive, why=why, at_us=at_us)
    return ended
