"""Copies of a SQLite orders database while it is used, and their way back into its place."""

import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, delete
from sqlalchemy.exc import SQLAlchemyError

from app.database.addresses import Address, SqliteFile
from app.database.engine import open_database, sqlite_engine
from app.database.lock import UNFINISHED, file_lock
from app.database.migrate import make_folder, refuse_unmigrated, revision_of
from app.database.places import SYSTEM
from app.database.recovery import mark
from app.database.salvage import SalvageReport, salvage
from app.database.tables import PROCESSES
from app.domain.errors import IntakeError, StartupError

COMPANIONS: Final = ("", "-wal", "-shm")
"""A SQLite database is these files together."""
_LOCKED_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Restored:
    """Where the database that was there before is kept now, and what was salvaged of a damaged one."""

    kept: Path | None
    """None: there was none."""
    salvaged: SalvageReport | None


def see_on_disk(path: Path) -> None:
    """See a file, or a folder's names, on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def moment() -> str:
    """Name this moment, as it stands in the names of copies."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")


def back_up(source: Path, target: Path, link: Callable[[Path, Path], None] = os.link) -> None:
    """Copy a database as it is at one moment, whoever writes to it; it is on disk when this returns.

    The copy is one file of mode 0600, read through before it gets its name; what is there already is
    never overwritten. `link` gives a file a second name. Raises StartupError:
    BACKUP_FAILED, DATABASE_CORRUPT, DATABASE_FOREIGN, ...
    """
    if not source.is_file():
        raise _failed(f"{source} is not there", "name another database")
    with _partial(target) as partial:
        _copy(source, partial)
        _demand_orders(partial, source)
        see_on_disk(partial)
        try:
            _name(partial, target, link)
        except FileExistsError as error:
            raise _failed(f"{target} is there already", "name another file") from error
        see_on_disk(target.parent)


def _name(partial: Path, target: Path, link: Callable[[Path, Path], None]) -> None:
    """Give a copy its name, which must be free; where files have one name only, it is taken first."""
    try:
        link(partial, target)
    except FileExistsError:
        raise
    except OSError:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        partial.replace(target)


@contextmanager
def _partial(target: Path) -> Iterator[Path]:
    """Give the name of a file beside a copy's place, which is gone afterwards."""
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600))
        partial.chmod(0o600)
        yield partial
    except OSError as error:
        what = f"{target} cannot be written ({error.strerror})"
        raise _failed(what, "look at the folder and its disk") from error
    finally:
        for end in ("", "-journal", "-wal", "-shm", ".lock"):
            with suppress(FileNotFoundError):
                partial.with_name(partial.name + end).unlink()


def _copy(source: Path, target: Path) -> None:
    """Copy in one step, on one snapshot: in several a busy writer would have it begin anew for ever."""
    uri = f"{source.absolute().as_uri()}?mode=rw"
    try:
        with (
            closing(sqlite3.connect(uri, uri=True, timeout=_LOCKED_SECONDS)) as read,
            closing(sqlite3.connect(target)) as written,
        ):
            read.execute("PRAGMA query_only=ON")
            read.backup(written, pages=-1)
            written.execute("PRAGMA journal_mode=DELETE")  # one file, without companions
            found = written.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.OperationalError as error:
        raise _failed(f"{source} cannot be copied ({error})", "try again later") from error
    except sqlite3.DatabaseError as error:
        raise _corrupt(source, str(error)) from error
    if found != "ok":
        raise _corrupt(source, found)


def _demand_orders(copy: Path, source: Path) -> None:
    """Refuse what is no orders database that this version knows; raises StartupError."""
    engine = sqlite_engine(SqliteFile(copy), wal=False)
    try:
        with engine.connect() as conn:
            revision = revision_of(conn, "orders", str(source))
            conn.rollback()
    except SQLAlchemyError as error:
        raise _corrupt(source, str(getattr(error, "orig", error))) from error
    finally:
        engine.dispose()
    if revision is None:
        what = f"{source} holds no orders"
        raise StartupError("DATABASE_FOREIGN", what, "name a backup of an orders database")


# ---------------------------------------------------------------- restore


def restore(
    source: Path,
    target: Path,
    flush: Callable[[Path], None] = see_on_disk,
    *,
    salvaging: bool = False,
) -> Restored:
    """Put a copy into the place of a database, halted and to be compared with the chain.

    What is there is kept beside it under another name; `flush` sees a file, or a folder's names, on disk.
    `salvaging` takes what can be read of a damaged file, be it the database itself. Raises StartupError:
    DATABASE_LOCKED while the service runs, DATABASE_CORRUPT, DATABASE_FOREIGN or DATABASE_NEWER for a
    copy that cannot be used.
    """
    if not source.is_file():
        raise _failed(f"{source} is not there", "name a backup")
    if not salvaging and target.exists() and source.samefile(target):
        raise _failed(f"{source} is the database itself", "name a backup")
    make_folder(target.parent)
    with file_lock(target, unfinished_too=True), _partial(target) as partial:
        report = _salvaged(source, partial) if salvaging else None
        if report is None:
            _copy(source, partial)
        _demand_orders(partial, source)
        _mark(partial, source, whole=salvaging)
        flush(partial)
        return Restored(_swap(partial, target, flush), report)


def _salvaged(source: Path, partial: Path) -> SalvageReport:
    partial.unlink()
    report = salvage(source, partial)
    partial.chmod(0o600)
    return report


def _mark(copy: Path, source: Path, *, whole: bool) -> None:
    """Mark a copy; the processes that its rows name are those of the moment it was made."""
    engine = sqlite_engine(SqliteFile(copy), wal=False)
    try:
        with engine.begin() as conn:
            conn.execute(delete(PROCESSES))
            at_us = time.time_ns() // 1_000
            mark(conn, cause=f"restored from {source.name}", whole=whole, at_us=at_us)
    except SQLAlchemyError as error:
        what = f"the copy cannot be marked ({getattr(error, 'orig', error)})"
        raise _failed(what, "look at the folder and its disk") from error
    finally:
        engine.dispose()


def _swap(partial: Path, target: Path, flush: Callable[[Path], None]) -> Path | None:
    """Move what is there aside and the copy into its place.

    These are several steps: a start in between is refused by the file that says so, and a restore begins
    again, with the name that the first one chose: what was there is in one place.
    """
    unfinished = target.with_name(target.name + UNFINISHED)
    kept = _aside(unfinished, target)
    flush(unfinished)
    flush(target.parent)
    moved = [_moved(target, kept, end) for end in COMPANIONS]
    flush(target.parent)
    partial.rename(target)
    flush(target.parent)
    unfinished.unlink()
    flush(target.parent)
    return kept if any(moved) else None


def _aside(unfinished: Path, target: Path) -> Path:
    """Name the place of what is there: a new one, or the one of a restore that was cut short."""
    beginning = f"{target.name}.before-restore-"
    name = unfinished.read_text() if unfinished.exists() else ""
    if not re.fullmatch(rf"{re.escape(beginning)}[0-9T]+Z", name):
        name = beginning + moment()
        unfinished.write_text(name)
        unfinished.chmod(0o600)
    return target.with_name(name)


def _moved(target: Path, kept: Path, end: str) -> bool:
    """Move a file aside, unless that is done; what is there then came with the copy. Tells if it is there."""
    there, aside = target.with_name(target.name + end), kept.with_name(kept.name + end)
    if there.exists() and not aside.exists():
        there.rename(aside)
    return aside.exists()


def _failed(what: str, todo: str) -> StartupError:
    return StartupError("BACKUP_FAILED", what, todo)


def _corrupt(path: Path, why: str) -> StartupError:
    what = f"{path} is no sound database ({why.splitlines()[0]})"
    todo = "name another copy; this one is left as it is (synergy7 restore --salvage reads what it can)"
    return StartupError("DATABASE_CORRUPT", what, todo)


# ---------------------------------------------------------------- a database that lost commits otherwise


async def mark_database(address: Address, *, since_us: int | None) -> None:
    """Have a database compared with the chain; raises StartupError, DATABASE_IN_USE while it is worked on.

    It lacks nothing that was stored before `since_us`, UTC microseconds; None: it may lack rows of any age.
    """
    async with open_database(address, pool_size=1) as database:
        await refuse_unmigrated(database, "orders")
        at_us = time.time_ns() // 1_000

        def unit(conn: Connection) -> None:
            if database.single_process:  # the lock says that nobody else is there
                conn.execute(delete(PROCESSES))
            cause = "marked by an operator"
            mark(conn, cause=cause, whole=since_us is None, at_us=at_us, since_us=since_us)

        try:
            await database.write(unit, SYSTEM)
        except IntakeError as error:
            what = f"{address} cannot be marked ({error.what})"
            raise StartupError("DATABASE_UNREACHABLE", what, error.todo) from error
