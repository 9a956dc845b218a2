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
from app.database.lock import file_lock
from app.database.postgres_writer import PostgresWriter
from app.database.writer import ANYWHERE, ThreadWriter, Writer, busy
from app.domain.errors import IntakeError, ReasonCode, StartupError

T = TypeVar("T")
BUSY_TIMEOUT_MS: Final = 5_000
"""How long SQLite waits for a lock of another program (a backup, a shell)."""
POOL_TIMEOUT_SECONDS: Final = 2.0
"""How long a read waits for a connection; then the database is busy."""
READ_SECONDS: Final = 10.0
READERS_SQLITE: Final = 4
LOCK_TIMEOUT_MS: Final = 5_000
STATEMENT_TIMEOUT_MS: Final = 10_000

_WRITER_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}",
    "PRAGMA cache_size=-16000",
)
_READER_PRAGMAS = (f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}", "PRAGMA query_only=ON")


class Database:
    """One database: `write` commits units of work, `read` runs queries on one consistent snapshot."""

    def __init__(self, address: Address, writer: Writer, readers: AsyncEngine) -> None:
        """Take over what `open_database` has opened."""
        self.address = address
        self._writer = writer
        self._readers = readers

    @property
    def single_process(self) -> bool:
        """Tell whether a lock keeps every other process out."""
        return isinstance(self.address, SqliteFile)

    async def write(self, unit: Unit[T], place: tuple[int, str] = ANYWHERE) -> T:
        """Commit a unit of work; raises what it raises, or IntakeError."""
        return await self._writer.run(unit, place)

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Run a query; raises IntakeError(DATABASE_BUSY or STORAGE_UNAVAILABLE)."""
        try:
            async with asyncio.timeout(READ_SECONDS), self._readers.connect() as conn:
                return await conn.run_sync(query)
        except PoolTimeoutError as error:
            raise busy() from error
        except TimeoutError as error:
            raise busy() from error
        except (DBAPIError, OSError) as error:
            what = "the database cannot be read"
            code = ReasonCode.STORAGE_UNAVAILABLE
            raise IntakeError(code, what, todo="try again later", retryable=True) from error


@asynccontextmanager
async def open_database(address: Address, *, pool_size: int) -> AsyncIterator[Database]:
    """Open a migrated database; `pool_size` bounds PostgreSQL's readers.

    On SQLite the file is locked for as long as it is open; raises StartupError(DATABASE_LOCKED). A
    PostgreSQL that may lose committed work is refused: StartupError(DATABASE_NOT_DURABLE).
    """
    async with AsyncExitStack() as stack:
        if isinstance(address, SqliteFile):
            stack.enter_context(file_lock(address.path))
            writer: Writer = ThreadWriter(sqlite_engine(address), f"writer {address.path.name}")
            readers = _sqlite_readers(address)
        else:
            engine = postgres_engine(address, size=1)
            stack.push_async_callback(engine.dispose)
            await _refuse_forgetful(address, engine)
            writer = PostgresWriter(engine)
            readers = postgres_engine(address, size=pool_size, read_only=True)
        stack.push_async_callback(readers.dispose)
        stack.push_async_callback(writer.aclose)
        yield Database(address, writer, readers)


# ---------------------------------------------------------------- SQLite


def sqlite_engine(address: SqliteFile) -> Engine:
    """Make the writing engine: transactions are ours alone, and begin with the write lock."""
    engine = create_engine(
        address.url("pysqlite"),
        poolclass=NullPool,
        connect_args={"isolation_level": None, "check_same_thread": False},
    )
    _on_connect(engine, _WRITER_PRAGMAS)
    _on_begin(engine, "BEGIN IMMEDIATE")
    return engine


def _sqlite_readers(address: SqliteFile) -> AsyncEngine:
    engine = create_async_engine(
        address.url("aiosqlite"),
        poolclass=AsyncAdaptedQueuePool,
        pool_size=READERS_SQLITE,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_SECONDS,
        connect_args={"isolation_level": None},
    )
    _on_connect(engine.sync_engine, _READER_PRAGMAS)
    _on_begin(engine.sync_engine, "BEGIN")
    return engine


def _on_connect(engine: Engine, pragmas: tuple[str, ...]) -> None:
    def connected(connection: Any, _record: object) -> None:  # noqa: ANN401 - a driver's connection
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(pragma)
        cursor.close()

    event.listen(engine, "connect", connected)


def _on_begin(engine: Engine, statement: str) -> None:
    def begun(conn: Connection) -> None:
        conn.exec_driver_sql(statement)

    event.listen(engine, "begin", begun)


# ---------------------------------------------------------------- PostgreSQL


def postgres_engine(address: PostgresServer, *, size: int, read_only: bool = False) -> AsyncEngine:
    """Make an engine with a bounded pool; every statement and every wait for a lock has a limit."""
    options: dict[str, Any] = {}
    if read_only:
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    return create_async_engine(
        address.url,
        pool_size=size,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_SECONDS,
        pool_pre_ping=read_only,
        execution_options=options,
        connect_args={
            "timeout": POOL_TIMEOUT_SECONDS * 2,
            "command_timeout": STATEMENT_TIMEOUT_MS / 1_000 + 1,
            "server_settings": {
                "application_name": "synergy7",
                "lock_timeout": str(LOCK_TIMEOUT_MS),
                "statement_timeout": str(STATEMENT_TIMEOUT_MS),
                "idle_in_transaction_session_timeout": str(2 * STATEMENT_TIMEOUT_MS),
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
