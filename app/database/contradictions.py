"""What the chain shows and the database denies: told, and nothing more is signed for such an order."""

from typing import Final

from sqlalchemy import Connection, bindparam, select, update

from app.database import trail
from app.database.documents import clean
from app.database.recovery import attempt_told, order
from app.database.tables import EVENTS, ORDERS
from app.database.trail import Note, append
from app.domain.errors import ReasonCode
from app.domain.events import SYSTEM, EventKind
from app.domain.order import OrderStatus
from app.engine.recovery_port import Recovered

_TOLD: Final = (
    select(EVENTS.c.event_id)
    .where(
        EVENTS.c.order_id == bindparam("id"),
        EVENTS.c.kind == bindparam("told_kind"),
        EVENTS.c.data.contains(bindparam("named")),
    )
    .limit(1)
)
_CONTRADICT: Final = (
    update(ORDERS)
    .where(ORDERS.c.order_id == bindparam("id"))
    .values(reason=bindparam("why"), event_seq=ORDERS.c.event_seq + 1)
    .returning(ORDERS.c.event_seq)
)


def _was_told(conn: Connection, order_id: str, kind: EventKind, signature: str) -> bool:
    values = {"id": order_id, "told_kind": kind.value, "named": signature}
    return conn.scalar(_TOLD, values) is not None


def contradict(conn: Connection, order_id: str, signature: str, slot: int, at_us: int) -> bool:
    """Tell of an execution that an order denies, in its trail and in its reason.

    An end stays: nothing moves out of it. An open order is signed no more, from this very transaction
    on. False when it was told before.
    """
    view = order(conn, order_id)
    if view is None or _was_told(conn, order_id, EventKind.CONTRADICTED, signature):
        return False
    status, account = view.order.status, view.order.account
    what = f"contradicted by the chain: transaction {signature} executed it in slot {slot}"
    why = clean(f"{view.order.reason}; {what}" if view.order.reason else what)
    seq = conn.scalar(_CONTRADICT, {"id": order_id, "why": why})
    data = {"signature": signature, "slot": slot, "status": status.value}
    note = Note(EventKind.CONTRADICTED, at_us, data)
    append(conn, account=account, order_id=order_id, last_seq=int(seq or 0), notes=[note])
    if not status.final:
        alive = view.live_attempt is not None
        stop(conn, order_id, account, alive=alive, why=why, at_us=at_us)
    return True


def note_failure(conn: Connection, lost: Recovered, at_us: int) -> bool:
    """Tell of a failed transaction that nothing was known of; False when it was told before."""
    seq = trail.next_own_seq(conn)
    if _was_told(conn, SYSTEM, EventKind.FAILED_UNKNOWN, lost.signed.signature):
        return False
    data = {"order_id": lost.memo.order_id, **attempt_told(lost, lost.memo.number)}
    trail.append_own(conn, seq, Note(EventKind.FAILED_UNKNOWN, at_us, data))
    return True


# ---------------------------------------------------------------- an open order that was executed

_END: Final = (
    update(ORDERS)
    .where(ORDERS.c.order_id == bindparam("id"))
    .values(
        status=OrderStatus.CANCELED.value,
        reason_code=ReasonCode.ALREADY_EXECUTED.value,
        reason=bindparam("why"),
        ended_at_us=bindparam("at"),
        in_doubt_since_us=None,
        process=None,
        version=ORDERS.c.version + 1,
        event_seq=ORDERS.c.event_seq + 1,
    )
    .returning(ORDERS.c.event_seq)
)
_STOP: Final = (
    update(ORDERS)
    .where(ORDERS.c.order_id == bindparam("id"), ORDERS.c.cancel_requested_at_us.is_(None))
    .values(cancel_requested_at_us=bindparam("at"), event_seq=ORDERS.c.event_seq + 1)
    .returning(ORDERS.c.event_seq)
)


def stop(
    conn: Connection, order_id: str, account: str, *, alive: bool, why: str, at_us: int
) -> None:
    """End an open order of which the chain shows the execution.

    One with a live attempt is sent no more, and its end stays open: that attempt may have landed too.
    """
    if alive:
        seq = conn.scalar(_STOP, {"id": order_id, "at": at_us})
        note = Note(EventKind.CANCEL_REQUESTED, at_us, {})
    else:
        seq = conn.scalar(_END, {"id": order_id, "why": why, "at": at_us})
        note = Note(EventKind.ENDED, at_us, _ended(why))
    if seq is not None:
        append(conn, account=account, order_id=order_id, last_seq=seq, notes=[note])


def _ended(why: str) -> dict[str, object]:
    return {
        "status": OrderStatus.CANCELED.value,
        "reason_code": ReasonCode.ALREADY_EXECUTED.value,
        "reason": why,
        "program_error": None,
    }
