"""Deliberate breakages of the product, each of a promise: the oracle must find every one."""

import importlib
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from app.domain.events import EventKind
from app.engine.settlement import Settlement
from tests.crash.hooks import LABELS

GROUPS: Any = importlib.import_module("app.database.groups")
METRICS: Any = importlib.import_module("app.database.metrics")
RECORD: Any = importlib.import_module("app.database.record")


def _swallow(*names: str) -> Callable[[], None]:
    """Have commits of these units answered as if they had been made."""

    def install() -> None:
        commit = GROUPS._commit  # noqa: SLF001 - broken on purpose

        def swallowed(conn: Connection) -> None:
            if any(label in names for label in conn.info.get(LABELS, [])):
                conn.rollback()
            else:
                commit(conn)

        GROUPS._commit = swallowed  # noqa: SLF001 - as above

    return install


def _miscount_fees() -> None:
    """Have every fill cost a lamport less than it did."""
    read: Any = getattr(Settlement, "_read_fill")  # noqa: B009 - not ours to call otherwise

    async def miscounted(self: Settlement, *order: Any) -> Any:
        fill = await read(self, *order)
        return fill and replace(fill, network_fee=fill.network_fee - 1)

    setattr(Settlement, "_read_fill", miscounted)  # noqa: B010 - of another type


def _forget_rows() -> None:
    """Have the metrics move on in the trail without the rows of what they read."""
    put = METRICS.replace

    def forgotten(conn: Connection, rows: Any, *rest: Any) -> Any:
        return put(conn, rows[1:], *rest)

    METRICS.replace = forgotten


def _leave_out_an_event() -> None:
    """Have pushes recorded without being told of, though they are counted."""
    append = RECORD.append

    def silent(conn: Connection, **told: Any) -> None:
        notes = told["notes"]
        append(conn, **{**told, "notes": [n for n in notes if n.kind is not EventKind.SUBMITTED]})

    RECORD.append = silent


def _forget_failed_fees() -> None:
    """Have what failed attempts cost told nowhere."""
    setattr(Settlement, "_count_failure", lambda *_: None)  # noqa: B010 - not ours to replace otherwise


def _forget_everything() -> None:
    """Have each start begin with new files, as on a machine whose disk is gone."""
    for name in ("SYNERGY7_ORDER_MANAGEMENT__DB_PATH", "SYNERGY7_METRICS__METRICS_DB_PATH"):
        for end in ("-wal", "-shm", ""):
            Path(os.environ[name] + end).unlink(missing_ok=True)


def _miscount_the_venue() -> None:
    """Have the metrics count a unit too much of what the venue took."""
    put = METRICS.replace

    def other(row: Mapping[str, Any]) -> Mapping[str, Any]:
        filled = row["status"] == "filled"
        return {**row, "venue_fee": row["venue_fee"] + 1} if filled else row

    METRICS.replace = lambda conn, rows, *rest: put(conn, [other(row) for row in rows], *rest)


BREAKAGES: Mapping[str, Callable[[], None]] = {
    "pushed before it is stored": _swallow("SqlStore.store_attempt"),
    "answered before it is stored": _swallow("SqlStore.accept"),
    "fees are miscounted": _miscount_fees,
    "metrics are skipped": _forget_rows,
    "an event is left out": _leave_out_an_event,
    "the venue's fee is miscounted": _miscount_the_venue,
    "the fees of failures are not counted": _forget_failed_fees,
    "a start forgets everything": _forget_everything,
}


UNTIL_KILLED = frozenset({"pushed before it is stored", "answered before it is stored"})
"""Breakages that the next start does not have: it would never come to an end."""


def install(name: str, start: int) -> None:
    """Break the product in this process, a service's start of that number."""
    if start == 1 or name not in UNTIL_KILLED:
        BREAKAGES[name]()
