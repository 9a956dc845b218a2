"""Connections: for each database one writer, and readers apart."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, NullPool

from app.database.addresses import Address, PostgresServer, SqliteFile
from app.database.groups import Unit
from app.database.health import Health, unavailable
from app.database.limits import Limits
from app.database.lock import file_lock
from app.database.postgres_writer import PostgresWriter
from app.database.renewal import renew_log
from app.database.writer import ANYWHERE, ThreadWriter, Writer, busy
from app.domain.errors import StartupError

T = TypeVar("T")
READERS_SQLITE: Final = 4
DEFAULT_LIMITS: Final = Limits()


class Database:
    """One database: `write` commits units of work, `read` runs queries on one consistent snapshot."""

    def __init__(
        self,
        address: Address,
        writer: Writer,
        readers: AsyncEngine,
        limits: Limits,
        health: Health,
        pulse: Writer | None = None,
    ) -> None:
        """Take over what `open_database` has opened; `pulse` writes what must not wait for a group."""
        self.address = address
        self.health = health
        self._limits = limits
        self._writer = writer
        self._pulse = pulse or writer
        self._readers = readers

    @property
    def single_process(self) -> bool:
        """Tell whether a lock keeps every other process out."""
        return isinstance(self.address, SqliteFile)

    async def write(self, unit: Unit[T], place: tuple[int, str] = ANYWHERE) -> T:
        """Commit a unit of work; raises what it raises, or IntakeError."""
        self.health.demand_sound()
        return await self._writer.run(unit, place)

    async def write_at_once(self, unit: Unit[T]) -> T:
        """As `write`, where it can be before all units that wait, and beside the one that is slow."""
        self.health.demand_sound()
        return await self._pulse.run(unit)

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Run a query; raises IntakeError(DATABASE_BUSY or STORAGE_UNAVAILABLE)."""
        try:
            async with asyncio.timeout(self._limits.read_seconds), self._readers.connect() as conn:
                answer = await conn.run_sync(query)
        except PoolTimeoutError as error:
            raise busy() from error
        except TimeoutError as error:
            raise busy() from error
        except (DBAPIError, OSError) as error:
            self.health.read_failed(error)
            raise unavailable("the database cannot be read") from error
        self.health.read()
        return answer


@asynccontextmanager
async def open_database(
    address: Address, *, pool_size: int, limits: Limits = DEFAULT_LIMITS
) -> AsyncIterator[Database]:
    """Open a migrated database; `pool_size` bounds PostgreSQL's readers.

    On SQLite the file is locked for as long as it is open; raises StartupError(DATABASE_LOCKED). A
    PostgreSQL that may lose committed work is refused: StartupError(DATABASE_NOT_DURABLE).
    """
    health = Health(str(address))
    async with AsyncExitStack() as stack:
        if isinstance(address, SqliteFile):
            stack.enter_context(file_lock(address.path))
            name = f"writer {address.path.name}"
            writer: Writer = ThreadWriter(sqlite_engine(address, limits), name, limits, health)
            pulse: Writer | None = None  # one connection writes, and the lock keeps others out
            readers = _sqlite_readers(address, limits)
        else:
            engine = postgres_engine(address, size=2, limits=limits)
            stack.push_async_callback(engine.dispose)
            await _refuse_forgetful(address, engine)
            writer = PostgresWriter(engine, limits, health)
            pulse = PostgresWriter(engine, limits, health)
            stack.push_async_callback(pulse.aclose)
            readers = postgres_engine(address, size=pool_size, limits=limits, read_only=True)
        stack.push_async_callback(readers.dispose)
        stack.push_async_callback(writer.aclose)
        yield Database(address, writer, readers, limits, health, pulse)


class _NoWriter:
    """The writer of a database that is read only."""

    async def run(self, unit: Unit[T], place: tuple[int, str] = ANYWHERE) -> T:
        raise RuntimeError("the database is open for reading only")

    async def aclose(self) -> None:
        return


@asynccontextmanager
async def open_for_reading(
    address: Address, *, limits: Limits = DEFAULT_LIMITS
) -> AsyncIterator[Database]:
    """Open a database that a service may be working on: nothing is locked, nothing can be written.

    Raises StartupError(DATABASE_UNREACHABLE) when there is none.
    """
    if isinstance(address, SqliteFile):
        if not address.path.is_file():
            raise unreachable(address, FileNotFoundError("there is no such file"))
        readers = _sqlite_readers(address, limits)
    else:
        readers = postgres_engine(address, size=2, limits=limits, read_only=True)
    try:
        yield Database(address, _NoWriter(), readers, limits, Health(str(address)))
    finally:
        await readers.dispose()


# ---------------------------------------------------------------- SQLite


def sqlite_engine(
    address: SqliteFile,
    limits: Limits = DEFAULT_LIMITS,
    *,
    foreign_keys: bool = True,
    wal: bool = True,
) -> Engine:
    """Make the writing engine: transactions are ours alone, and begin with the write lock.

    Migrations go without `foreign_keys`: a table that is rebuilt is dropped, and dropping it would
    delete what refers to it. A copy that is to be a single file is written without `wal`.
    """
    engine = create_engine(
        address.url("pysqlite"),
        poolclass=NullPool,
        connect_args={"isolation_level": None, "check_same_thread": False},
    )
    _on_connect(
        engine,
        f"PRAGMA journal_mode={'WAL' if wal else 'DELETE'}",
        "PRAGMA synchronous=FULL",
        # macOS answers fsync before the disk has the data, unless it is asked for more
        "PRAGMA fullfsync=ON",
        f"PRAGMA foreign_keys={'ON' if foreign_keys else 'OFF'}",
        f"PRAGMA busy_timeout={limits.lock_ms}",
        then=lambda connection: renew_log(connection, address.path),
    )
    _on_begin(engine, "BEGIN IMMEDIATE")
    return engine


def _sqlite_readers(address: SqliteFile, limits: Limits) -> AsyncEngine:
    engine = create_async_engine(
        address.url("aiosqlite"),
        poolclass=AsyncAdaptedQueuePool,
        pool_size=READERS_SQLITE,
        max_overflow=0,
        pool_timeout=limits.pool_seconds,
        connect_args={"isolation_level": None},
    )
    busy = f"PRAGMA busy_timeout={limits.lock_ms}"
    _on_connect(engine.sync_engine, busy, "PRAGMA query_only=ON")
    _on_begin(engine.sync_engine, "BEGIN")
    return engine


def _on_connect(
    engine: Engine, *pragmas: str, then: Callable[[Any], None] = lambda _connection: None
) -> None:
    def connected(connection: Any, _record: object) -> None:  # noqa: ANN401 - a driver's connection
        try:
            cursor = connection.cursor()
            for pragma in pragmas:
                cursor.execute(pragma)
            cursor.close()
            then(connection)
        except BaseException:
            connection.close()  # nobody else knows it yet
            raise

    event.listen(engine, "connect", connected)


def _on_begin(engine: Engine, statement: str) -> None:
    def begun(conn: Connection) -> None:
        conn.exec_driver_sql(statement)

    event.listen(engine, "begin", begun)


# ---------------------------------------------------------------- PostgreSQL


def postgres_engine(
    address: PostgresServer,
    *,
    size: int,
    limits: Limits = DEFAULT_LIMITS,
    read_only: bool = False,
) -> AsyncEngine:
    """Make an engine with a bounded pool; every statement and every wait for a lock has a limit."""
    options: dict[str, Any] = {}
    if read_only:
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    return create_async_engine(
        address.url,
        pool_size=size,
        max_overflow=0,
        pool_timeout=limits.pool_seconds,
        pool_pre_ping=read_only,
        execution_options=options,
        connect_args={
            "timeout": limits.connect_seconds,
            "command_timeout": limits.statement_ms / 1_000 + 1,
            "server_settings": {
                "application_name": "synergy7",
                "lock_timeout": str(limits.lock_ms),
                "statement_timeout": str(limits.statement_ms),
                "idle_in_transaction_session_timeout": str(limits.idle_ms),
                "default_transaction_isolation": "read committed",
            },
        },
    )


async def _refuse_forgetful(address: PostgresServer, engine: AsyncEngine) -> None:
    """Refuse a server that answers COMMIT before the work is on disk."""
    try:
        async with engine.connect() as conn:
            for setting in ("fsync", "synchronous_commit"):
                value = await conn.scalar(text(f"SHOW {setting}"))
                if value == "off":
                    what = f"{setting} is off on {address}: a crash would lose accepted orders"
                    raise StartupError("DATABASE_NOT_DURABLE", what, f"set {setting} = on")
    except (SQLAlchemyError, OSError) as error:
        raise unreachable(address, error) from error


def unreachable(address: Address, error: Exception) -> StartupError:
    """Say that a database cannot be opened."""
    why = str(getattr(error, "orig", None) or error).partition("\n")[0]
    what = f"{address} cannot be opened ({why})"
    return StartupError("DATABASE_UNREACHABLE", what, "start it, or name another database")
