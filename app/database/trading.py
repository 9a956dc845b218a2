"""Whether anything may be signed: kept in the database, the same for all processes."""

import json
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection, Insert, bindparam, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from app.database import trail
from app.database.documents import clean, dump
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
REMOVE = delete(META).where(META.c.name == bindparam("named"))
_PUT_NEW: Mapping[str, Insert] = {
    "sqlite": sqlite.insert(META).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(META).on_conflict_do_nothing(),
}


def _replacing(rows: sqlite.Insert | postgresql.Insert) -> Insert:
    return rows.on_conflict_do_update(index_elements=["name"], set_={"value": rows.excluded.value})


PUT: Mapping[str, Insert] = {
    "sqlite": _replacing(sqlite.insert(META)),
    "postgresql": _replacing(postgresql.insert(META)),
}
"""Writes a row of `meta`, by dialect, in place of one of that name."""


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


def is_halted(conn: Connection) -> bool:
    """Tell whether trading is halted: asked by STORE in its own transaction."""
    return fetch_value(conn, _STANDS, {"named": HALTED}) is not None


def halt(conn: Connection, reason: str | None, at_us: int) -> TradingState:
    """Halt trading and tell it; what is halted already keeps its reason."""
    seq = trail.next_own_seq(conn)
    reason = None if reason is None else clean(reason)
    value = dump({"reason": reason, "since_us": at_us})
    if conn.execute(_PUT_NEW[conn.dialect.name], {"name": HALTED, "value": value}).rowcount:
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
