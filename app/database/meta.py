"""Rows of `meta`: a name and a value each."""

from collections.abc import Mapping
from typing import Final

from sqlalchemy import Insert, bindparam, delete
from sqlalchemy.dialects import postgresql, sqlite

from app.database.tables import META

REMOVE: Final = delete(META).where(META.c.name == bindparam("named"))
PUT_NEW: Final[Mapping[str, Insert]] = {
    "sqlite": sqlite.insert(META).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(META).on_conflict_do_nothing(),
}
"""Writes a row, by dialect, unless there is one of that name."""


def _replacing(rows: sqlite.Insert | postgresql.Insert) -> Insert:
    return rows.on_conflict_do_update(index_elements=["name"], set_={"value": rows.excluded.value})


PUT: Final[Mapping[str, Insert]] = {
    "sqlite": _replacing(sqlite.insert(META)),
    "postgresql": _replacing(postgresql.insert(META)),
}
"""Writes a row, by dialect, in place of one of that name."""
