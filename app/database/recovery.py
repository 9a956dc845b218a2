"""A database that lost commits: marked, compared with the chain, and completed from it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    Connection,
    Row,
    and_,
    bindparam,
    exists,
    func,
    literal_column,
    select,
    update,
)

from app.database import trail
from app.database.attempts import store_recovered
from app.database.claims import LEASE_US, Holder, take
from app.database.documents import dump
from app.database.expressions import NowUs
from app.database.meta import PUT, REMOVE
from app.database.reading import views_of
from app.database.record import record
from app.database.tables import ATTEMPTS, LIVE, META, ORDERS, PROCESSES
from app.database.trading import HALTED, RECONCILING, wait_for_stores
from app.database.trail import Note, append
from app.domain.attempt import AttemptStatus
from app.domain.changes import Change
from app.domain.errors import IllegalMoveError, ReasonCode, StartupError, TransientError
from app.domain.events import EventKind
from app.domain.order import OrderStatus, OrderView
from app.domain.signal import US
from app.engine.ports import Claimed
from app.engine.recovery_port import Mark, Newest, Recovered

_KNOWN_AT_ONCE: Final = 500
_READ = select(META.c.value).where(META.c.name == RECONCILING).with_for_update()
_NEWEST = select(
    func.max(ATTEMPTS.c.blockhash_slot),
    func.max(ATTEMPTS.c.landed_slot),
    func.max(ATTEMPTS.c.last_valid_block_height),
)
_FIRST_SLOT: Final = 0
"""Noted when no slot was known: no later mark may look less far back, whatever was added meanwhile."""
_SIGNED_BEFORE = select(func.max(ATTEMPTS.c.blockhash_slot)).where(
    ATTEMPTS.c.signed_at_us <= bindparam("moment")
)
_RUNNING = (
    select(PROCESSES.c.name).where(PROCESSES.c.heartbeat_at_us >= NowUs() - LEASE_US).limit(1)
)


# ---------------------------------------------------------------- the mark


def mark(
    conn: Connection, *, cause: str, whole: bool, at_us: int, since_us: int | None = None
) -> None:
    """Have the database compared with the chain before anything is signed again, and halt trading.

    Unless rows of any age may be missing (`whole`), nothing is that was stored before `since_us`; None:
    before the newest that is there, as in a copy that nothing was added to. A mark that is there already
    keeps how far back it looks. Raises StartupError(DATABASE_IN_USE) when a process works on it: what
    that process holds could not be held back any more.
    """
    wait_for_stores(conn)
    seq = trail.next_own_seq(conn)
    name = conn.scalar(_RUNNING)
    if name is not None:
        what = f"process {name} works on the database"
        raise StartupError("DATABASE_IN_USE", what, "stop every process of the service first")
    known = _mark(conn) or {}
    document = {
        "cause": cause,
        "marked_at_us": at_us,
        "whole": whole or bool(known.get("whole")),
        "since_slot": known.get("since_slot"),
        "since_us": _earlier(since_us, known.get("since_us")),
    }
    _put(conn, RECONCILING, document)
    reason = f"the database lost commits ({cause})"
    _put(conn, HALTED, {"reason": reason, "since_us": at_us})
    data = {"cause": cause, "whole": document["whole"]}
    trail.append_own(conn, seq, Note(EventKind.DATABASE_MARKED, at_us, data))
    trail.append_own(conn, seq + 1, Note(EventKind.TRADING_HALTED, at_us, {"reason": reason}))


def _earlier(*moments: int | None) -> int | None:
    return min((each for each in moments if each is not None), default=None)


def _mark(conn: Connection) -> dict[str, Any] | None:
    value = conn.scalar(_READ)
    return None if value is None else dict(json.loads(value))


def _put(conn: Connection, name: str, document: Mapping[str, object]) -> None:
    conn.execute(PUT[conn.dialect.name], {"name": name, "value": dump(document)})


_ALIVE = select(PROCESSES.c.process_id).where(
    PROCESSES.c.process_id == bindparam("holder"),
    PROCESSES.c.heartbeat_at_us >= NowUs() - LEASE_US,
)


def begin(conn: Connection, holder: Holder) -> Mark | None:
    """Take the mark for a process; None: there is none, or another live process has it."""
    document = _mark(conn)
    if document is None:
        return None
    other = document.get("process")
    if other not in (None, holder.process_id) and conn.scalar(_ALIVE, {"holder": other}):
        return None
    _put(conn, RECONCILING, {**document, "process": holder.process_id})
    return _mark_of(document)


def demand_mark(conn: Connection, holder: Holder) -> dict[str, Any]:
    """Give the mark, locked until this transaction ends; each unit of a reconciliation begins with it.

    Raises TransientError unless the process has it: another one took it over, or is done.
    """
    document = _mark(conn)
    if document is None or document.get("process") != holder.process_id:
        what = "another process reconciles the database, or it is reconciled"
        raise TransientError(ReasonCode.RECONCILING, what)
    return document


def note_height(conn: Connection, holder: Holder, until_height: int) -> Mark:
    """Note the height to wait for, and since which slot transactions may be unknown; both only once.

    What the database does not know was stored after all that it knows, or after the moment in the
    mark, and landed later than it was stored. So it is not older than the newest slot that was known
    then, and this is read before anything is added.
    """
    document = demand_mark(conn, holder)
    since_us = document.get("since_us")
    slot = newest(conn).slot if since_us is None else _slot_before(conn, since_us)
    document |= {
        "until_height": until_height,
        "since_slot": _earlier(slot or _FIRST_SLOT, document.get("since_slot")),
    }
    _put(conn, RECONCILING, document)
    return _mark_of(document)


def _slot_before(conn: Connection, since_us: int) -> int | None:
    """Give the newest slot that attempts were signed for; where they landed was stored later."""
    slot: int | None = conn.scalar(_SIGNED_BEFORE, {"moment": since_us})
    return slot


def newest(conn: Connection) -> Newest:
    """Read what the stored attempts tell of the chain's height and slot."""
    *slots, height = conn.execute(_NEWEST).one()
    return Newest(max((slot for slot in slots if slot is not None), default=None), height)


def _mark_of(document: Mapping[str, Any]) -> Mark:
    whole = bool(document["whole"])
    since = None if whole else document.get("since_slot")
    return Mark(whole, document.get("until_height"), since or None)


def reconciled(conn: Connection, tally: Mapping[str, object], at_us: int) -> None:
    """Remove the mark, and tell what was found; trading stays halted."""
    seq = trail.next_own_seq(conn)
    if conn.execute(REMOVE, {"named": RECONCILING}).rowcount:
        trail.append_own(conn, seq, Note(EventKind.DATABASE_RECONCILED, at_us, tally))


# ---------------------------------------------------------------- what is known

_WALLETS = select(ATTEMPTS.c.wallet).distinct()
_KNOWN = select(ATTEMPTS.c.signature, ATTEMPTS.c.order_id, ATTEMPTS.c.status).where(
    ATTEMPTS.c.signature.in_(bindparam("signatures", expanding=True))
)
_ORDER = select(ORDERS).where(ORDERS.c.order_id == bindparam("id"))
_LOCKED_ORDER = _ORDER.with_for_update()


def wallets(conn: Connection) -> Sequence[str]:
    """Name the wallets that any attempt was signed with."""
    return list(conn.scalars(_WALLETS))


def known(conn: Connection, signatures: Sequence[str]) -> Mapping[str, tuple[str, AttemptStatus]]:
    """Give order id and status of the attempts that are stored."""
    found: dict[str, tuple[str, AttemptStatus]] = {}
    for start in range(0, len(signatures), _KNOWN_AT_ONCE):
        some = list(signatures[start : start + _KNOWN_AT_ONCE])
        for row in conn.execute(_KNOWN, {"signatures": some}):
            found[row.signature] = (row.order_id, AttemptStatus(row.status))
    return found


def order(conn: Connection, order_id: str, *, lock: bool = True) -> OrderView | None:
    """Read an order of any account, to write it, or (without `lock`) to look at it only."""
    rows = conn.execute(_LOCKED_ORDER if lock else _ORDER, {"id": order_id}).all()
    return views_of(conn, rows)[0] if rows else None


# ---------------------------------------------------------------- lost attempts

_COUNTED = (
    select(func.count())
    .select_from(ATTEMPTS)
    .where(ATTEMPTS.c.order_id == ORDERS.c.order_id)
    .scalar_subquery()
)
_MEND = update(ORDERS).where(ORDERS.c.order_id == bindparam("id")).values(attempt_count=_COUNTED)
_SUBMIT = (
    update(ORDERS)
    .where(ORDERS.c.order_id == bindparam("id"))
    .values(
        status=OrderStatus.SUBMITTED.value,
        attempt_count=ORDERS.c.attempt_count + 1,
        event_seq=ORDERS.c.event_seq + 1,
        process=None,
    )
    .returning(ORDERS.c.event_seq)
)


def recover_attempt(
    conn: Connection, holder: Holder, lost: Recovered, burial: Sequence[Change], at_us: int
) -> bool:
    """Record an attempt of a known open order as live, after `burial` of the one that was.

    The order goes the ordinary way to `submitted`, and whoever claims it next settles the attempt by the
    ordinary evidence. False, with nothing but its count of attempts mended, when it has changed meanwhile.
    """
    view = mended(conn, lost.memo.order_id)
    if view is None or view.order.status.final or known(conn, [lost.signed.signature]):
        return False
    if (view.live_attempt is None) != (not burial):
        return False
    claimed = take(conn, holder, view.order.order_id, at_us)
    if burial:
        buried = record(conn, holder.process_id, claimed, burial)
        if not isinstance(buried, Claimed):
            raise IllegalMoveError(f"order {view.order.order_id} is held and not held")
        claimed = take(conn, holder, view.order.order_id, at_us)
    seq = conn.scalar(_SUBMIT, {"id": view.order.order_id})
    number = store_recovered(conn, claimed.view, lost)
    note = Note(EventKind.ATTEMPT_RECOVERED, at_us, attempt_told(lost, number))
    append(
        conn,
        account=view.order.account,
        order_id=view.order.order_id,
        last_seq=int(seq or 0),
        notes=[note],
    )
    return True


def mended(conn: Connection, order_id: str) -> OrderView | None:
    """Read an order, to write it, whose attempts are counted anew: damage may have taken some."""
    conn.execute(_MEND, {"id": order_id})
    return order(conn, order_id)


def attempt_told(lost: Recovered, number: int) -> dict[str, object]:
    """Say what the trail keeps of an attempt that was found on the chain, and stored by a number."""
    return {
        "number": number,
        "memo_number": lost.memo.number,
        "signature": lost.signed.signature,
        "wallet": lost.wallet,
        "slot": lost.slot,
        "failed": lost.failed,
        "client_hash": lost.memo.client_hash,
    }


_IS_BARE = and_(
    ORDERS.c.status == OrderStatus.SUBMITTED.value,
    ~exists().where(ATTEMPTS.c.order_id == ORDERS.c.order_id, literal_column(f"attempts.{LIVE}")),
)
_COUNT_BARE = select(func.count()).select_from(ORDERS).where(_IS_BARE)
_CLOCKS_US: Final = 600 * US
"""By so much a clock may have been put back between two orders."""
_EARLIER: Final = ATTEMPTS.alias("earlier")
_SLOT_BEFORE_IT = (
    select(func.coalesce(func.max(_EARLIER.c.blockhash_slot), 0))
    .where(_EARLIER.c.signed_at_us <= ORDERS.c.accepted_at_us - _CLOCKS_US)
    .scalar_subquery()
)
"""A slot that the chain had reached when the order was accepted: nothing of it landed earlier."""
_REQUEUE = (
    update(ORDERS)
    .where(_IS_BARE, bindparam("first_slot") <= _SLOT_BEFORE_IT)
    .values(
        status=OrderStatus.QUEUED.value,
        in_doubt_since_us=None,
        process=None,
        attempt_count=_COUNTED,
        version=ORDERS.c.version + 1,
        event_seq=ORDERS.c.event_seq + 1,
    )
    .returning(ORDERS.c.order_id, ORDERS.c.account, ORDERS.c.event_seq)
)
_DOUBT = (
    update(ORDERS)
    .where(_IS_BARE, ORDERS.c.in_doubt_since_us.is_(None))
    .values(
        in_doubt_since_us=bindparam("at"),
        process=None,
        attempt_count=_COUNTED,
        version=ORDERS.c.version + 1,
        event_seq=ORDERS.c.event_seq + 1,
    )
    .returning(ORDERS.c.order_id, ORDERS.c.account, ORDERS.c.event_seq)
)


def requeue_bare(conn: Connection, first_slot: int, at_us: int) -> tuple[int, int]:
    """Give orders back to the queue whose live attempt is lost from a damaged database.

    Only after the chain's history was read back to `first_slot`, and only what is younger: that landed
    nowhere, and is past its life. The others are in doubt. Gives how many are queued, and how many are not.
    """
    rows = conn.execute(_REQUEUE, {"first_slot": first_slot}).all()
    reason = "its attempt was lost with a damaged database, and never landed"
    data = {
        "reason_code": ReasonCode.ATTEMPT_EXPIRED.value,
        "reason": reason,
        "next_attempt_at_us": at_us,
    }
    for row in rows:
        _append_one(conn, row, Note(EventKind.REQUEUED, at_us, data))
    why = "its attempt was lost with a damaged database, and may have landed before the histories begin"
    for row in conn.execute(_DOUBT, {"at": at_us}).all():
        _append_one(conn, row, Note(EventKind.IN_DOUBT, at_us, {"why": why}))
    return len(rows), conn.scalar(_COUNT_BARE) or 0


def _append_one(conn: Connection, row: Row[Any], note: Note) -> None:
    append(conn, account=row.account, order_id=row.order_id, last_seq=row.event_seq, notes=[note])
