"""Units of work in groups: each in its savepoint, all in one transaction, committed once."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from app.database.health import unavailable
from app.database.undo import Undo
from app.domain.errors import IllegalMoveError, IntakeError

T = TypeVar("T")
Unit = Callable[[Connection], T]
"""A pure function of the database: it may be run again, and writes nothing anywhere else."""

GROUP_MAX: Final = 256
"""Units committed together: bounds how long the first of them waits for the last."""
RERUNS_MAX: Final = 5
"""How often a group that met a deadlock, a serialization failure or a lost connection is run again."""
PASSING_STATES: Final = frozenset({"40001", "40P01", "55P03"})
"""SQLSTATEs of serialization failure, deadlock and lock timeout: nothing was committed."""


@dataclass(slots=True, eq=False)
class Job:
    """A unit with the future of whoever waits for it; `place` orders units that take locks."""

    unit: Unit[Any]
    place: tuple[int, str]
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop
    outcome: "Outcome | None" = field(default=None)

    def settle(self) -> None:
        """Hand the outcome over, unless nobody waits any more; runs in the waiter's loop."""
        outcome = self.outcome
        if outcome is None or self.future.done():
            return
        if outcome.error is not None:
            self.future.set_exception(outcome.error)
        else:
            self.future.set_result(outcome.answer)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a unit answered, or raised."""

    answer: Any = None
    error: BaseException | None = None


class GroupError(Exception):
    """A group was not committed.

    `unknown`: it failed in COMMIT itself, and may have been committed. `begun`: its units ran, so that
    one of them may be the cause.
    """

    def __init__(self, cause: Exception, *, begun: bool = True, unknown: bool = False) -> None:
        """Keep the cause."""
        super().__init__(str(cause))
        self.cause = cause
        self.begun = begun
        self.unknown = unknown

    @property
    def passing(self) -> bool:
        """Tell whether running the same units again may well succeed."""
        cause = self.cause
        if self.unknown or not isinstance(cause, DBAPIError):
            return False
        state = getattr(cause.orig, "sqlstate", None)
        return cause.connection_invalidated or state in PASSING_STATES

    def as_intake_error(self) -> IntakeError:
        """Say it to the units' callers; after an unknown outcome they read again."""
        what = "the outcome of a write is unknown" if self.unknown else "the database failed"
        todo = "ask again with the same key" if self.unknown else "try again later"
        return unavailable(what, todo)


def run_group(conn: Connection, units: Sequence[Unit[Any]]) -> list[Outcome]:
    """Run units in one transaction and commit it; raises GroupError when that cannot be done.

    A unit that fails takes back its own writes only. A failure of the database itself (not of what the
    unit asked) fails the group: SQLite may have rolled all of it back.
    """
    with_savepoints = len(units) > 1
    _begin(conn)
    try:
        outcomes = [_run(conn, unit, savepoint=with_savepoints) for unit in units]
    except DBAPIError as error:
        _roll_back(conn)
        raise GroupError(error) from error
    except BaseException:
        _roll_back(conn)
        raise
    _commit(conn)
    return outcomes


def _begin(conn: Connection) -> None:
    try:
        conn.begin()
    except DBAPIError as error:
        _roll_back(conn)
        raise GroupError(error, begun=False) from error


def _commit(conn: Connection) -> None:
    try:
        conn.commit()
    except Exception as error:
        _roll_back(conn)
        raise GroupError(error, unknown=True) from error


def _run(conn: Connection, unit: Unit[Any], *, savepoint: bool) -> Outcome:
    if savepoint:
        _driver(conn, "SAVEPOINT unit")
    try:
        answer = unit(conn)
    except Undo as undo:
        _undo(conn, savepoint=savepoint)
        return Outcome(undo.answer)
    except (IntegrityError, DataError) as error:
        _undo(conn, savepoint=savepoint)
        defect = IllegalMoveError(f"the database refused a write: {error.orig}")
        defect.__cause__ = error
        return Outcome(error=defect)
    except DBAPIError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a unit raises is its caller's
        _undo(conn, savepoint=savepoint)
        return Outcome(error=error)
    if savepoint:
        _driver(conn, "RELEASE SAVEPOINT unit")
    return Outcome(answer)


def _undo(conn: Connection, *, savepoint: bool) -> None:
    if savepoint:
        _driver(conn, "ROLLBACK TO SAVEPOINT unit")
        _driver(conn, "RELEASE SAVEPOINT unit")
    else:
        conn.rollback()
        conn.begin()


def _driver(conn: Connection, statement: str) -> None:
    """Run a savepoint's statement: on SQLite past SQLAlchemy, which costs ten times the work itself."""
    if conn.dialect.name == "sqlite":
        conn.connection.cursor().execute(statement)
    else:
        conn.exec_driver_sql(statement)


def _roll_back(conn: Connection) -> None:
    """Roll back; a connection that cannot even do that is thrown away."""
    try:
        conn.rollback()
    except DBAPIError:
        conn.invalidate()
