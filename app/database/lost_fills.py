"""Filled orders whose attempt a damaged database lost: the chain has it, and it is put back as landed."""

from typing import Final

from sqlalchemy import Connection, bindparam, update

from app.database.attempts import store_recovered
from app.database.recovery import attempt_told, mended
from app.database.tables import ORDERS
from app.database.trail import Note, append
from app.domain.events import EventKind
from app.domain.order import OrderStatus, OrderView
from app.engine.recovery_port import Recovered

_COUNT: Final = (
    update(ORDERS)
    .where(ORDERS.c.order_id == bindparam("id"))
    .values(attempt_count=ORDERS.c.attempt_count + 1, event_seq=ORDERS.c.event_seq + 1)
    .returning(ORDERS.c.event_seq)
)


def recover_fill(conn: Connection, lost: Recovered, at_us: int) -> bool:
    """Record the attempt that filled a known order, as landed; False when it is not that order's fill."""
    view = mended(conn, lost.memo.order_id)
    if view is None or not _is_fill_of(view, lost):
        return False
    number = store_recovered(conn, view, lost, landed=True)
    seq = conn.scalar(_COUNT, {"id": view.order.order_id})
    note = Note(EventKind.ATTEMPT_RECOVERED, at_us, attempt_told(lost, number))
    append(
        conn,
        account=view.order.account,
        order_id=view.order.order_id,
        last_seq=int(seq or 0),
        notes=[note],
    )
    return True


def _is_fill_of(view: OrderView, lost: Recovered) -> bool:
    """Hold an execution against a fill that no attempt is known of; a fork may move it until it is final."""
    order, signal = view.order, view.order.signal
    if order.status is not OrderStatus.FILLED or order.fill is None or lost.failed:
        return False
    if any(not each.status.dead for each in view.attempts):
        return False
    wanted = (order.wallet, signal.action, signal.market, signal.size, signal.quote_size)
    made = (lost.wallet, lost.action, lost.market, lost.size, lost.quote_size)
    return wanted == made and (order.finalized_at_us is None or order.fill.slot == lost.slot)
