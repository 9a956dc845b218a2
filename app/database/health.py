"""Whether a database can be relied on now: what failed last, and whether it has been well since."""

import time
from collections.abc import Callable
from enum import Enum
from typing import Final

import structlog
from sqlalchemy.exc import DBAPIError

from app.domain.errors import IntakeError, ReasonCode

WELL_AFTER_SECONDS: Final = 1.0
"""How long after the last failure a write must succeed: on a full disk every other one may."""
LOG_SECONDS: Final = 5.0
"""How often failures in a row are logged."""
_SQLITE_DAMAGED: Final = frozenset({11, 26})
"""Primary result codes CORRUPT and NOTADB (sqlite.org/rescode.html)."""
_SQLITE_FAILING: Final = frozenset({5, 6, 7, 8, 10, 13, 14, 15, 22})
"""BUSY, LOCKED, NOMEM, READONLY, IOERR, FULL, CANTOPEN, PROTOCOL, NOLFS."""
_POSTGRES_DAMAGED: Final = frozenset({"XX001", "XX002"})
"""SQLSTATEs of a corrupted table and index (postgresql.org, appendix A)."""
_POSTGRES_FAILING: Final = frozenset({"08", "53", "57", "58", "XX"})
"""Classes: connection, resources (a full disk), intervention, system (I/O), internal."""
_POSTGRES_REFUSED: Final = frozenset({"25006", "55P03"})
"""A server that only reads, and a lock that is not given."""

_log = structlog.get_logger(__name__)


class Trouble(Enum):
    """What a failure says of the database: nothing, that it fails now, that its content is damaged."""

    NONE = "none"
    FAILING = "failing"
    DAMAGED = "damaged"


def trouble_of(error: BaseException) -> Trouble:
    """Tell what a failure says of the database itself, by the driver's codes."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(cause, "sqlite_errorcode", None)
    if code is not None:
        primary = code & 0xFF
        return _judged(primary in _SQLITE_DAMAGED, primary in _SQLITE_FAILING)
    state = getattr(cause, "sqlstate", None)
    if state is not None:
        failing = state[:2] in _POSTGRES_FAILING or state in _POSTGRES_REFUSED
        return _judged(state in _POSTGRES_DAMAGED, failing)
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    return _judged(False, lost or isinstance(cause, OSError))  # noqa: FBT003 - as above


def _judged(damaged: bool, failing: bool) -> Trouble:  # noqa: FBT001 - two findings
    if damaged:
        return Trouble.DAMAGED
    return Trouble.FAILING if failing else Trouble.NONE


def unavailable(what: str, todo: str = "try again later") -> IntakeError:
    """Say that the database does not serve now."""
    return IntakeError(ReasonCode.STORAGE_UNAVAILABLE, what, todo=todo, retryable=True)


class Health:
    """What the writer and the readers of one database have met; used by their threads too.

    A failing database is well again when a write has changed something a second after its last failure.
    A damaged one stays so until it is opened anew: nothing more is written to it.
    """

    def __init__(self, name: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Begin well; `name` is how the database is spoken of."""
        self._name = name
        self._monotonic = monotonic
        self._damage: str | None = None
        self._writing: str | None = None
        self._reading: str | None = None
        self._failed_at = float("-inf")
        self._logged_at = float("-inf")

    def trouble(self) -> str | None:
        """Say what the database cannot do, and why, e.g. `cannot be written (disk I/O error)`; or None."""
        return self._damage or self._writing or self._reading

    def demand_sound(self) -> None:
        """Raise IntakeError(STORAGE_UNAVAILABLE) when the database is known to be damaged."""
        if self._damage is not None:
            raise unavailable(f"the database {self._damage}", "stop the service and restore a copy")

    def write_failed(self, error: BaseException, *, unknown: bool, units: int) -> None:
        """Note a group of writes that failed, and log it unless that was done a moment ago."""
        why = reason(error)
        known = self.trouble() is not None
        if self._found(error) is Trouble.FAILING:
            self._writing = f"cannot be written ({why})"
            self._failed_at = self._monotonic()
        if not known or self._may_log():
            self._logged_at = self._monotonic()
            _log.error("a group of writes failed", why=why, unknown=unknown, units=units)

    def read_failed(self, error: BaseException) -> None:
        """Note a query that failed."""
        if self._found(error) is Trouble.FAILING:
            self._reading = f"cannot be read ({reason(error)})"

    def wrote(self) -> None:
        """Note that something was committed."""
        if self._writing is None or self._monotonic() < self._failed_at + WELL_AFTER_SECONDS:
            return
        self._writing = None
        _log.info("a database is written again", database=self._name)

    def read(self) -> None:
        """Note that a query was answered."""
        self._reading = None

    def _found(self, error: BaseException) -> Trouble:
        found, why = trouble_of(error), reason(error)
        if found is Trouble.DAMAGED and self._damage is None:
            self._damage = f"is damaged ({why})"
            _log.critical("a database is damaged", database=self._name, why=why)
        elif found is Trouble.FAILING and self.trouble() is None:
            _log.critical("a database does not serve", database=self._name, why=why)
        return found

    def _may_log(self) -> bool:
        return self._monotonic() >= self._logged_at + LOG_SECONDS


def reason(error: BaseException) -> str:
    """Give the driver's own words, one line."""
    cause = getattr(error, "orig", None) or error
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return str(cause).partition("\n")[0] or type(cause).__name__
