"""Runs statements: on SQLite compiled once and handed to the driver as they are.

Each order takes some twenty statements, and SQLAlchemy's way to the driver costs five times what SQLite
itself does. So what is asked for every order goes through here; rows are the same, by attribute.
"""

import sqlite3
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Connection, Delete, Insert, Select, Update
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.selectable import CompoundSelect

Statement = Select[Any] | CompoundSelect[Any] | Insert | Update | Delete
Values = Mapping[str, Any]

COMPILED_MAX: Final = 512
_NOTHING: Final[Values] = {}
_DIALECT: Final = sqlite.dialect()


@dataclass(frozen=True, slots=True)
class _Compiled:
    """SQL with the names of its parameters in their order, and the values that are always the same."""

    sql: str
    names: tuple[str, ...]
    constants: Values
    make_row: Callable[[Sequence[Any]], Any]

    def parameters(self, values: Values) -> list[Any]:
        constants = self.constants
        return [values[n] if n in values else constants[n] for n in self.names]


@lru_cache(maxsize=COMPILED_MAX)
def _compile(statement: Statement, given: tuple[str, ...]) -> _Compiled:
    keys = list(given) if isinstance(statement, Insert) else None
    compiled: Any = statement.compile(dialect=_DIALECT, column_keys=keys)
    names = tuple(compiled.positiontup)
    required = {n for n in names if compiled.binds[n].required}
    constants = {n: v for n, v in compiled.params.items() if n not in required}
    columns = [entry.keyname for entry in compiled._result_columns]  # noqa: SLF001 - no public name
    row = namedtuple("Row", columns, rename=True)  # type: ignore[misc]  # noqa: PYI024 - made at runtime
    return _Compiled(str(compiled), names, constants, row._make)


def _direct(conn: Connection) -> bool:
    """Tell whether this is SQLite's own driver: readers speak to it through another, asynchronous one."""
    return conn.dialect.driver == _DIALECT.driver


def _execute(conn: Connection, compiled: _Compiled, values: Values) -> sqlite3.Cursor:
    driver: Any = conn.connection.driver_connection
    parameters = compiled.parameters(values)
    try:
        cursor: sqlite3.Cursor = driver.execute(compiled.sql, parameters)
    except sqlite3.Error as error:
        raise _wrapped(conn, compiled.sql, error) from error
    return cursor


def _wrapped(conn: Connection, sql: str, error: sqlite3.Error) -> BaseException:
    """Give the driver's error as SQLAlchemy does; without parameters, which may be anybody's."""
    return DBAPIError.instance(sql, None, error, sqlite3.Error, True, dialect=conn.dialect)  # noqa: FBT003


def fetch(conn: Connection, statement: Statement, values: Values = _NOTHING) -> Sequence[Any]:
    """Run a statement and give its rows."""
    if not _direct(conn):
        return conn.execute(statement, dict(values)).all()
    compiled = _compile(statement, tuple(values))
    make_row = compiled.make_row
    return [make_row(row) for row in _execute(conn, compiled, values).fetchall()]


def fetch_one(conn: Connection, statement: Statement, values: Values = _NOTHING) -> Any:  # noqa: ANN401
    """Run a statement that gives one row at most: that row, or None."""
    rows = fetch(conn, statement, values)
    return rows[0] if rows else None


def fetch_value(conn: Connection, statement: Statement, values: Values = _NOTHING) -> Any:  # noqa: ANN401
    """Run a statement and give the first column of its one row, or None without a row."""
    row = fetch_one(conn, statement, values)
    return None if row is None else row[0]


def change(conn: Connection, statement: Statement, values: Values) -> int:
    """Run a statement that gives no rows; returns how many it changed."""
    if not _direct(conn):
        return conn.execute(statement, dict(values)).rowcount
    return _execute(conn, _compile(statement, tuple(values)), values).rowcount


def change_many(conn: Connection, statement: Statement, many: Sequence[Values]) -> None:
    """Run a statement for each of several sets of values, which all have the same names."""
    if not many:
        return
    if not _direct(conn):
        conn.execute(statement, [dict(values) for values in many])
        return
    compiled = _compile(statement, tuple(many[0]))
    driver: Any = conn.connection.driver_connection
    try:
        driver.executemany(compiled.sql, [compiled.parameters(values) for values in many])
    except sqlite3.Error as error:
        raise _wrapped(conn, compiled.sql, error) from error
