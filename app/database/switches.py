"""What operators switched, for all processes: methods taken out of use, and when one was reset."""

from collections.abc import Mapping
from typing import Final

from sqlalchemy import Connection, or_, select

from app.database import trail
from app.database.meta import PUT, PUT_NEW, REMOVE
from app.database.tables import META
from app.database.trail import Note
from app.domain.events import EventKind
from app.engine.store_port import MethodSwitches

_DISABLED: Final = "method.disabled:"
"""Begins the name of a row that is there while a method is disabled; its value says since when."""
_RESET: Final = "method.reset:"
"""Begins the name of a row whose value marks a method's last reset."""

_READ = select(META.c.name, META.c.value).where(
    or_(META.c.name.startswith(_DISABLED), META.c.name.startswith(_RESET))
)


def read(conn: Connection) -> MethodSwitches:
    """Read what is switched."""
    rows = {row.name: row.value for row in conn.execute(_READ)}
    return MethodSwitches(
        disabled=frozenset(_behind(_DISABLED, rows)), resets=_behind(_RESET, rows)
    )


def _behind(prefix: str, rows: Mapping[str, str]) -> dict[str, str]:
    return {n.removeprefix(prefix): value for n, value in rows.items() if n.startswith(prefix)}


def switch(conn: Connection, method: str, at_us: int, *, disabled: bool) -> bool:
    """Take a method out of use or back into it, and tell it; False when it was so already."""
    seq = trail.next_own_seq(conn)
    named = _DISABLED + method
    if disabled:
        changed = conn.execute(PUT_NEW[conn.dialect.name], {"name": named, "value": str(at_us)})
    else:
        changed = conn.execute(REMOVE, {"named": named})
    if not changed.rowcount:
        return False
    kind = EventKind.METHOD_DISABLED if disabled else EventKind.METHOD_ENABLED
    trail.append_own(conn, seq, Note(kind, at_us, {"method": method}))
    return True


def reset(conn: Connection, method: str, at_us: int) -> str:
    """Mark for every process that a method was reset, and tell it; gives the mark.

    The event's sequence is the mark: times of two resets may be the same.
    """
    seq = trail.next_own_seq(conn)
    mark = str(seq)
    conn.execute(PUT[conn.dialect.name], {"name": _RESET + method, "value": mark})
    trail.append_own(conn, seq, Note(EventKind.METHOD_RESET, at_us, {"method": method}))
    return mark
