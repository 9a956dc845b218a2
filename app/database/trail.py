"""The audit trail: events are appended with their order's sequence, then sealed in one chain."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, text, union_all, update

from app.database.documents import dump
from app.database.rows import event_of
from app.database.running import change_many, fetch, fetch_one, fetch_value
from app.database.tables import CHECKPOINT, EVENTS
from app.domain.events import GENESIS_HASH, SYSTEM, Event, EventKind, chain_hash

SEALER_LOCK = 7_305_001
"""Key of the advisory lock that lets one sealer work at a time on PostgreSQL."""
SYSTEM_LOCK = 7_305_003
"""Key of the advisory lock that lets one process at a time tell of the system on PostgreSQL."""


@dataclass(frozen=True, slots=True)
class Note:
    """What an event will say."""

    kind: EventKind
    at_us: int
    data: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the sealed trail: where the next event goes on."""

    position: int
    hash: str


_INSERT = insert(EVENTS).values(
    account=bindparam("account"),
    order_id=bindparam("order_id"),
    seq=bindparam("seq"),
    at_us=bindparam("at_us"),
    kind=bindparam("kind"),
    data=bindparam("data"),
)
_LAST = (
    select(EVENTS.c.position, EVENTS.c.hash)
    .where(EVENTS.c.position.is_not(None))
    .order_by(EVENTS.c.position.desc())
    .limit(1)
)
_CHECKPOINT = select(CHECKPOINT.c.position, CHECKPOINT.c.hash)
_UNSEALED = (
    select(EVENTS)
    .where(EVENTS.c.position.is_(None))
    .order_by(EVENTS.c.event_id)
    .limit(bindparam("limit"))
)
_SEAL = (
    update(EVENTS)
    .where(EVENTS.c.event_id == bindparam("id"), EVENTS.c.position.is_(None))
    .values(position=bindparam("at"), hash=bindparam("chained"))
)
_TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(:key)")


def append(
    conn: Connection, *, account: str, order_id: str, last_seq: int, notes: Sequence[Note]
) -> None:
    """Append events of one order whose last one is to bear `last_seq`."""
    first = last_seq - len(notes) + 1
    rows = [
        {
            "account": account,
            "order_id": order_id,
            "seq": first + index,
            "at_us": note.at_us,
            "kind": note.kind.value,
            "data": dump(note.data),
        }
        for index, note in enumerate(notes)
    ]
    change_many(conn, _INSERT, rows)


_LAST_OWN = (
    select(EVENTS.c.seq).where(EVENTS.c.order_id == SYSTEM).order_by(EVENTS.c.seq.desc()).limit(1)
)
_LOCK = text("SELECT pg_advisory_xact_lock(:key)")


def next_own_seq(conn: Connection) -> int:
    """Give the sequence of the next event of the system itself; nobody else gets it.

    On PostgreSQL other processes wait for this transaction's end, so it comes first in its unit of work,
    which has the place SYSTEM.
    """
    if conn.dialect.name == "postgresql":
        conn.execute(_LOCK, {"key": SYSTEM_LOCK})
    return int(fetch_value(conn, _LAST_OWN) or 0) + 1


def append_own(conn: Connection, seq: int, note: Note) -> None:
    """Append an event of the system itself, with the sequence that `next_own_seq` gave."""
    append(conn, account=SYSTEM, order_id=SYSTEM, last_seq=seq, notes=[note])


def head(conn: Connection) -> Head:
    """Read the end of the sealed trail, or where it begins after a clean-up, or the very beginning."""
    row = fetch_one(conn, _LAST) or fetch_one(conn, _CHECKPOINT)
    return Head(0, GENESIS_HASH) if row is None else Head(row.position, row.hash)


def checkpoint(conn: Connection) -> Head:
    """Read where the trail begins: position and hash before the first event that is still kept."""
    row = conn.execute(_CHECKPOINT).one_or_none()
    return Head(0, GENESIS_HASH) if row is None else Head(row.position, row.hash)


def seal(conn: Connection, limit: int) -> int:
    """Give up to `limit` committed events their positions and hashes; returns how many.

    Ids grow with the commits of one order, since its row is locked by whoever appends; so the order of
    ids is one in which each order's events keep their sequence. Positions are gapless because a single
    sealer, and no transaction that may still fail, hands them out.
    """
    if conn.dialect.name == "postgresql" and not conn.scalar(_TRY_LOCK, {"key": SEALER_LOCK}):
        return 0
    rows = fetch(conn, _UNSEALED, {"limit": limit})
    if not rows:
        return 0
    end = head(conn)
    position, previous = end.position, end.hash
    sealed: list[dict[str, Any]] = []
    for row in rows:
        position += 1
        previous = chain_hash(previous, position, event_of(row).digest())
        sealed.append({"id": row.event_id, "at": position, "chained": previous})
    change_many(conn, _SEAL, sealed)
    return len(sealed)


_SEALED = (
    select(EVENTS)
    .where(EVENTS.c.position > bindparam("after"))
    .order_by(EVENTS.c.position)
    .limit(bindparam("limit"))
)
_OWN = _SEALED.where(EVENTS.c.account == bindparam("account"))
_OF_ORDER = _OWN.where(EVENTS.c.order_id == bindparam("order_id"))
# Each part is read off the index by itself: `IN` would read and sort the rest of the trail.
_EITHER = union_all(
    select(_OWN.subquery("own")),
    select(_SEALED.where(EVENTS.c.account == SYSTEM).subquery("of_system")),
).subquery("either")
_OF_ACCOUNT = select(_EITHER).order_by(_EITHER.c.position).limit(bindparam("limit"))
_OF_ORDERS = (
    select(EVENTS)
    .where(
        EVENTS.c.order_id.in_(bindparam("order_ids", expanding=True)),
        EVENTS.c.position.is_not(None),
    )
    .order_by(EVENTS.c.order_id, EVENTS.c.seq)
)


def of_account(conn: Connection, account: str, after: int, limit: int) -> Sequence[Event]:
    """Read an account's sealed events, and the system's own, after a position, oldest first."""
    values = {"account": account, "after": after, "limit": limit}
    return [event_of(row) for row in conn.execute(_OF_ACCOUNT, values)]


def of_order(
    conn: Connection, account: str, order_id: str, after: int, limit: int
) -> Sequence[Event]:
    """Read one order's sealed events after a position, oldest first."""
    values = {"account": account, "order_id": order_id, "after": after, "limit": limit}
    return [event_of(row) for row in conn.execute(_OF_ORDER, values)]


def of_all(conn: Connection, after: int, limit: int) -> Sequence[Event]:
    """Read the sealed trail of all accounts after a position, oldest first."""
    return [event_of(row) for row in conn.execute(_SEALED, {"after": after, "limit": limit})]


def of_orders(conn: Connection, order_ids: Sequence[str]) -> Mapping[str, Sequence[Event]]:
    """Read all sealed events of some orders, each order's oldest first."""
    found: dict[str, list[Event]] = {}
    for row in conn.execute(_OF_ORDERS, {"order_ids": order_ids}):
        found.setdefault(row.order_id, []).append(event_of(row))
    return found
