"""Migrations: a database is brought to what the code expects, or refused by name; never overwritten."""

import asyncio
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final, Literal

from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, create_engine, inspect, text
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.pool import NullPool

import app
from alembic import command
from app.database.addresses import Address, PostgresServer, SqliteFile, address_of
from app.database.engine import Database, postgres_engine, sqlite_engine, unreachable
from app.database.limits import Limits
from app.database.lock import file_lock
from app.database.log_check import lost_commits
from app.database.metrics_tables import MetricsBase
from app.database.tables import OrdersBase
from app.domain.errors import StartupError

Section = Literal["orders", "metrics"]
_EFFECTIVE: Final = os.access in os.supports_effective_ids
METADATA: Final = {"orders": OrdersBase.metadata, "metrics": MetricsBase.metadata}
MIGRATION_LOCK: Final = 7_305_004
"""Key of the advisory lock under which PostgreSQL is migrated."""
CHECKED_BYTES_MAX: Final = 256 * 2**20
"""Larger SQLite files are not read through at the start; their pages are checked as they are read."""


PATIENT: Final = Limits(lock_ms=600_000, statement_ms=3_600_000, idle_ms=3_600_000)
"""A migration may take its time, and another process's migration is waited for."""


@dataclass(frozen=True, slots=True)
class Migrated:
    """What a migration did: revisions before (None: a new database) and after, and the copy made."""

    before: str | None
    after: str
    backup: Path | None


def version_table(section: Section) -> str:
    """Name the table that holds the revision: both sections may share one PostgreSQL database."""
    return f"alembic_version_{section}"


async def migrate(url: str, section: Section, backup_dir: Path) -> Migrated:
    """Bring a database to the newest revision, creating it when it is new.

    An existing SQLite file is copied to `backup_dir` first, if anything is to be done. Raises
    StartupError: DATABASE_LOCKED, DATABASE_CORRUPT, DATABASE_FOREIGN, DATABASE_NEWER,
    DATABASE_UNREACHABLE, BACKUP_FAILED.
    """
    address = address_of(url)
    if isinstance(address, SqliteFile):
        return await asyncio.to_thread(migrate_file, address.path, section, backup_dir)
    return await _migrate_server(address, section)


async def refuse_unmigrated(database: Database, section: Section) -> None:
    """Raise StartupError(DATABASE_NOT_MIGRATED or DATABASE_NEWER) unless the revision is the newest."""
    name = str(database.address)
    current = await database.read(lambda conn: _current(conn, section, name))
    if current != _head(section):
        what = f"{name} is at revision {current or 'none'}, not {_head(section)}"
        raise StartupError("DATABASE_NOT_MIGRATED", what, "run: synergy7 migrate")


# ---------------------------------------------------------------- where a database stands


def _scripts() -> Path:
    """Find alembic.ini and the scripts: beside the package, as in a clone."""
    root = Path(app.__file__).resolve().parent.parent
    if not (root / "alembic.ini").is_file():
        what = f"alembic.ini is not in {root}"
        raise StartupError("MIGRATIONS_MISSING", what, "run the service from a full clone")
    return root


def _config(section: Section, conn: Connection | None = None) -> Config:
    config = Config(_scripts() / "alembic.ini", ini_section=section)
    config.attributes["connection"] = conn
    return config


def _head(section: Section) -> str:
    return ScriptDirectory.from_config(_config(section)).get_current_head() or ""


def revision_of(conn: Connection, section: Section, name: str) -> str | None:
    """Give a database's revision, None without a table of ours.

    Raises StartupError(DATABASE_FOREIGN or DATABASE_NEWER).
    """
    return _current(conn, section, name)


def _current(conn: Connection, section: Section, name: str) -> str | None:
    """Read the revision; refuses what is not ours and what is newer than the code."""
    tables = set(inspect(conn).get_table_names())
    ours = {table.name for metadata in METADATA.values() for table in metadata.sorted_tables}
    ours |= {version_table("orders"), version_table("metrics")}
    if version_table(section) not in tables:
        strange = (tables - ours) | (tables & set(METADATA[section].tables))
        if strange:
            raise _foreign(name, min(strange))
        return None
    options = {"version_table": version_table(section)}
    current = MigrationContext.configure(conn, opts=options).get_current_revision()
    if current is not None:
        _refuse_newer(section, current, name)
    return current


def _foreign(name: str, table: str) -> StartupError:
    what = f"{name} holds a table {table} that is not this service's"
    return StartupError("DATABASE_FOREIGN", what, "name another database")


def _refuse_newer(section: Section, current: str, name: str) -> None:
    try:
        ScriptDirectory.from_config(_config(section)).get_revision(current)
    except CommandError as error:
        what = f"{name} is at revision {current}, which this version does not know"
        todo = "run the version that wrote it, or name another database"
        raise StartupError("DATABASE_NEWER", what, todo) from error


def _upgrade(conn: Connection, section: Section) -> None:
    command.upgrade(_config(section, conn), "head")


def refuse_dangling(conn: Connection) -> None:
    """Raise when a migration of a SQLite file, made without foreign keys, left rows without theirs."""
    broken = conn.exec_driver_sql("PRAGMA foreign_key_check").first()
    if broken is not None:
        raise IntegrityError("PRAGMA foreign_key_check", None, Exception(f"row of {broken[0]}"))


# ---------------------------------------------------------------- SQLite


def migrate_file(path: Path, section: Section, backup_dir: Path) -> Migrated:
    """Do what `migrate` does, for a SQLite file; blocks."""
    address = SqliteFile(path)
    make_folder(path.parent)
    with file_lock(path):
        existing = _is_there(path)
        if existing:
            demand_sound(path)
            with _reading(address) as conn:  # nothing is written before it is known to be ours
                _current(conn, section, str(address))
        with _writing(address) as conn:
            before = _current(conn, section, str(address))
            conn.rollback()
            if before == _head(section):
                return Migrated(before, before, None)
            backup = _back_up(path, before, backup_dir) if existing else None
            with conn.begin():
                _upgrade(conn, section)
                refuse_dangling(conn)
            return Migrated(before, _head(section), backup)


@contextmanager
def _reading(address: SqliteFile) -> Iterator[Connection]:
    engine = create_engine(
        "sqlite://", creator=partial(read_only, address.path), poolclass=NullPool
    )
    try:
        with engine.connect() as conn:
            yield conn
    except SQLAlchemyError as error:
        raise unreachable(address, error) from error
    finally:
        engine.dispose()


@contextmanager
def _writing(address: SqliteFile) -> Iterator[Connection]:
    engine = sqlite_engine(address, foreign_keys=False)
    try:
        with engine.connect() as conn:
            yield conn
    except (SQLAlchemyError, OSError) as error:
        raise unreachable(address, error) from error
    finally:
        engine.dispose()


def make_folder(folder: Path) -> None:
    """Make a folder, with those it lies in; raises StartupError(DATABASE_UNREACHABLE)."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what = f"{folder} cannot be made ({error.strerror})"
        raise StartupError("DATABASE_UNREACHABLE", what, "name another folder") from error


def _is_there(path: Path) -> bool:
    """Tell whether there is a database; raises StartupError for what SQLite would take for an empty one."""
    if path.is_dir():
        raise unreachable(SqliteFile(path), IsADirectoryError("it is a folder"))
    if path.exists() and not os.access(path, os.R_OK | os.W_OK, effective_ids=_EFFECTIVE):
        raise unreachable(SqliteFile(path), PermissionError("it may not be read or written"))
    if path.exists() and path.stat().st_size:
        return True
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size:
        raise corrupt(path, f"it is empty, yet commits lie in {log.name}")
    return False


def read_only(path: Path) -> sqlite3.Connection:
    """Connect so that neither the file nor its log is changed, not even when it is closed."""
    uri = f"{path.absolute().as_uri()}?mode=ro"
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)


def demand_sound(path: Path) -> None:
    """Refuse a file that SQLite cannot read, or whose log has lost commits; nothing is written to it.

    Raises StartupError(DATABASE_CORRUPT or DATABASE_UNREACHABLE).
    """
    try:
        with closing(read_only(path)) as conn:
            conn.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if path.stat().st_size <= CHECKED_BYTES_MAX:
                found = conn.execute("PRAGMA quick_check(1)").fetchone()[0]
                if found != "ok":
                    raise corrupt(path, found)
    except sqlite3.OperationalError as error:
        raise unreachable(SqliteFile(path), error) from error
    except sqlite3.DatabaseError as error:
        raise corrupt(path, str(error)) from error
    if lost := lost_commits(path.with_name(f"{path.name}-wal")):
        raise corrupt(path, f"its log is damaged, {lost} commits or more cannot be read")


def corrupt(path: Path, why: str) -> StartupError:
    """Say that a file is damaged."""
    what = f"{path} is no sound database ({why.splitlines()[0]})"
    todo = "restore a copy (of orders: synergy7 restore), or name another file; this one is left as it is"
    return StartupError("DATABASE_CORRUPT", what, todo)


def _back_up(path: Path, revision: str | None, folder: Path) -> Path:
    """Copy a database as it is, with what its log holds, and see the copy on disk; or leave none."""
    make_folder(folder)
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    copy = folder / f"{path.stem}-{revision or 'empty'}-{moment}{path.suffix}"
    try:
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
            target.execute("PRAGMA synchronous=FULL")
            source.backup(target)
        copy.chmod(0o600)
    except (sqlite3.Error, OSError) as error:
        for end in ("", "-journal", "-wal", "-shm"):
            copy.with_name(copy.name + end).unlink(missing_ok=True)
        what = f"{path} cannot be copied to {folder} before it is migrated ({error})"
        raise StartupError("BACKUP_FAILED", what, "look at the folder and its disk") from error
    return copy


# ---------------------------------------------------------------- PostgreSQL


async def _migrate_server(address: PostgresServer, section: Section) -> Migrated:
    engine = postgres_engine(address, size=1, limits=PATIENT)
    try:
        async with engine.connect() as conn, conn.begin():
            return await conn.run_sync(lambda sync: _migrate_locked(sync, section, address))
    except (SQLAlchemyError, OSError) as error:
        raise unreachable(address, error) from error
    finally:
        await engine.dispose()


def _migrate_locked(conn: Connection, section: Section, address: Address) -> Migrated:
    """Migrate within one transaction, one process at a time; the second finds it done."""
    conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
    before = _current(conn, section, str(address))
    if before != _head(section):
        _upgrade(conn, section)
    return Migrated(before, _head(section), None)
