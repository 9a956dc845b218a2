"""Whether anything may be signed: kept in the database, the same for all processes."""

import json
from typing import Any, Final

from sqlalchemy import Connection, bindparam, select, text

from app.database import trail
from app.database.documents import clean, dump
from app.database.meta import PUT_NEW, REMOVE
from app.database.running import fetch_value
from app.database.tables import META
from app.database.trail import Note
from app.domain.events import EventKind
from app.engine.store_port import TradingState

HALTED: Final = "trading.halted"
"""Name of the row that is there while trading is halted; its value says why and since when."""
RECONCILING: Final = "database.reconciling"
"""Name of the row that is there until a database that lost commits agrees with the chain again."""

_READ = select(META.c.name, META.c.value).where(META.c.name.in_([HALTED, RECONCILING]))
_STANDS = select(META.c.name).where(META.c.name == bindparam("named"))


def read(conn: Connection) -> TradingState:
    """Read the state."""
    rows = {row.name: row.value for row in conn.execute(_READ)}
    halted: dict[str, Any] = json.loads(rows.get(HALTED, "{}"))
    return TradingState(
        halted=HALTED in rows,
        reason=halted.get("reason"),
        since_us=halted.get("since_us"),
        reconciling=RECONCILING in rows,
    )


HALT_LOCK: Final = 7_305_006
"""Key of the advisory lock that keeps a halt and the transactions of STORE apart on PostgreSQL."""
_LOCK = text("SELECT pg_advisory_xact_lock(:key)")
_LOCK_SHARED = text("SELECT pg_advisory_xact_lock_shared(:key)")


def wait_for_stores(conn: Connection) -> None:
    """Wait for every STORE that may not see what this transaction is about to write; others wait for it.

    To be called before anything else of the unit of work.
    """
    if conn.dialect.name == "postgresql":
        conn.execute(_LOCK, {"key": HALT_LOCK})


def is_halted(conn: Connection) -> bool:
    """Tell whether trading is halted: asked by STORE in its own transaction, and true until its end."""
    if conn.dialect.name == "postgresql":
        conn.execute(_LOCK_SHARED, {"key": HALT_LOCK})
    return fetch_value(conn, _STANDS, {"named": HALTED}) is not None


def halt(conn: Connection, reason: str | None, at_us: int) -> TradingState:
    """Halt trading and tell it; what is halted already keeps its reason.

    Once this is committed nothing is stored to be sent any more, nor on its way to be.
    """
    wait_for_stores(conn)
    seq = trail.next_own_seq(conn)
    reason = None if reason is None else clean(reason)
    value = dump({"reason": reason, "since_us": at_us})
    if conn.execute(PUT_NEW[conn.dialect.name], {"name": HALTED, "value": value}).rowcount:
        trail.append_own(conn, seq, Note(EventKind.TRADING_HALTED, at_us, {"reason": reason}))
    return read(conn)


def resume(conn: Connection, at_us: int) -> TradingState:
    """Go on and tell it; while the database is being reconciled it stays halted."""
    seq = trail.next_own_seq(conn)
    state = read(conn)
    if state.reconciling or not state.halted:
        return state
    conn.execute(REMOVE, {"named": HALTED})
    data = {"reason": state.reason, "halted_since_us": state.since_us}
    trail.append_own(conn, seq, Note(EventKind.TRADING_RESUMED, at_us, data))
    return read(conn)
