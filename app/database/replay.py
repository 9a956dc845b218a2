"""Repeats of signals whose orders a database had lost: found by the hash of their client's key."""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, select, update

from app.database.rows import order_of
from app.database.running import fetch
from app.database.tables import ATTEMPTS, EVENTS, ORDERS
from app.domain.memo import client_hash
from app.domain.order import NewOrder
from app.engine.ports import Accepted, IntakeRefusal

_BY_HASH = select(ORDERS).where(ORDERS.c.client_hash.in_([bindparam("first"), bindparam("second")]))
_SAME: Final = ("action", "market", "size", "quote_size")


def find_recovered(conn: Connection, new: NewOrder) -> Accepted | IntakeRefusal | None:
    """Find the order that the chain shows executed under one of a signal's keys.

    A transaction's memo holds the hash of one key only: of the idempotency key where there was one, else
    of the client's order id. The order becomes the account's, whose key its hash proves.
    """
    keys = {key for key in (new.idempotency_key, new.signal.client_order_id) if key is not None}
    hashes = [client_hash(new.account, key) for key in sorted(keys)]
    if not hashes:
        return None
    rows = fetch(conn, _BY_HASH, {"first": hashes[0], "second": hashes[-1]})
    if not rows:
        return None
    if len(rows) > 1:
        return IntakeRefusal.CONFLICT
    if not _is_same(rows[0], new):
        return IntakeRefusal.MISMATCH
    _adopt(conn, rows[0], new)
    found = conn.execute(_ONE, {"id": rows[0].order_id}).one()
    return Accepted(order_of(found), replayed=True)


def _is_same(row: Row[Any], new: NewOrder) -> bool:
    """Hold a signal against what the chain has of its order, or against the signal that named it first."""
    if row.fingerprint:
        return bool(row.fingerprint == new.fingerprint)
    signal = new.signal
    posted: Mapping[str, object] = {
        "action": signal.action.value,
        "market": signal.market,
        "size": signal.size,
        "quote_size": signal.quote_size,
    }
    return all(getattr(row, name) == posted[name] for name in _SAME)


_ONE = select(ORDERS).where(ORDERS.c.order_id == bindparam("id"))
_TAKEN = select(ORDERS.c.order_id).where(
    ORDERS.c.account == bindparam("of"),
    (ORDERS.c.idempotency_key == bindparam("key"))
    | (ORDERS.c.client_order_id == bindparam("client")),
)
_ADOPT = (
    update(ORDERS)
    .where(ORDERS.c.order_id == bindparam("id"))
    .values(
        account=bindparam("of"),
        idempotency_key=bindparam("key"),
        client_order_id=bindparam("client"),
        fingerprint=bindparam("signal"),
    )
)
_MOVE_ATTEMPTS = (
    update(ATTEMPTS).where(ATTEMPTS.c.order_id == bindparam("id")).values(account=bindparam("of"))
)
_MOVE_EVENTS = (
    update(EVENTS).where(EVENTS.c.order_id == bindparam("id")).values(account=bindparam("of"))
)


def _adopt(conn: Connection, row: Row[Any], new: NewOrder) -> None:
    """Give the order the keys that named it, unless another order has them."""
    if row.fingerprint:
        return
    keys = {"key": new.idempotency_key, "client": new.signal.client_order_id}
    if conn.execute(_TAKEN, {"of": new.account, **keys}).first() is not None:
        keys = {"key": None, "client": None}
    values = {"id": row.order_id, "of": new.account, **keys, "signal": new.fingerprint}
    conn.execute(_ADOPT, values)
    if row.account != new.account:
        conn.execute(_MOVE_ATTEMPTS, {"id": row.order_id, "of": new.account})
        conn.execute(_MOVE_EVENTS, {"id": row.order_id, "of": new.account})
