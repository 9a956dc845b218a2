"""Migrations: a database is brought to what the code expects, or refused by name; never overwritten."""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

import app
from alembic import command
from app.database.addresses import Address, PostgresServer, SqliteFile, address_of
from app.database.engine import Database, postgres_engine, sqlite_engine, unreachable
from app.database.limits import Limits
from app.database.lock import file_lock
from app.database.metrics_tables import MetricsBase
from app.database.tables import OrdersBase
from app.domain.errors import StartupError

Section = Literal["orders", "metrics"]
METADATA: Final = {"orders": OrdersBase.metadata, "metrics": MetricsBase.metadata}
MIGRATION_LOCK: Final = 7_305_004
"""Key of the advisory lock under which PostgreSQL is migrated."""
CHECKED_BYTES_MAX: Final = 256 * 2**20
"""Larger SQLite files are not read through at the start; their pages are checked as they are read."""


PATIENT: Final = Limits(lock_ms=600_000, statement_ms=3_600_000)
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
    DATABASE_UNREACHABLE.
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
    _make_folder(path.parent)
    with file_lock(address.path):
        existing = address.path.exists() and address.path.stat().st_size > 0
        if existing:
            _refuse_corrupt(address.path)
        engine = sqlite_engine(address, foreign_keys=False)
        try:
            with engine.connect() as conn:
                before = _current(conn, section, str(address))
                conn.rollback()
                if before == _head(section):
                    return Migrated(before, before, None)
                backup = _back_up(address.path, before, backup_dir) if existing else None
                with conn.begin():
                    _upgrade(conn, section)
                    refuse_dangling(conn)
                return Migrated(before, _head(section), backup)
        except SQLAlchemyError as error:
            raise unreachable(address, error) from error
        finally:
            engine.dispose()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what = f"{folder} cannot be made ({error.strerror})"
        raise StartupError("DATABASE_UNREACHABLE", what, "name another folder") from error


def _refuse_corrupt(path: Path) -> None:
    """Refuse a file that SQLite cannot read; nothing is written to it."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as conn:
            conn.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if path.stat().st_size <= CHECKED_BYTES_MAX:
                found = conn.execute("PRAGMA quick_check(1)").fetchone()[0]
                if found != "ok":
                    raise _corrupt(path, found)
    except sqlite3.OperationalError as error:
        raise unreachable(SqliteFile(path), error) from error
    except sqlite3.DatabaseError as error:
        raise _corrupt(path, str(error)) from error


def _corrupt(path: Path, why: str) -> StartupError:
    what = f"{path} is no sound database ({why.splitlines()[0]})"
    todo = "restore a copy, or name another file; this one is left as it is"
    return StartupError("DATABASE_CORRUPT", what, todo)


def _back_up(path: Path, revision: str | None, folder: Path) -> Path:
    """Copy a database as it is, with what its log holds, and see the copy on disk."""
    _make_folder(folder)
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    copy = folder / f"{path.stem}-{revision or 'empty'}-{moment}{path.suffix}"
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        target.execute("PRAGMA synchronous=FULL")
        source.backup(target)
    copy.chmod(0o600)
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
