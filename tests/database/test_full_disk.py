"""A disk that gets full while a database is copied, restored, salvaged or migrated: one line."""

import resource
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from app.database.backup import back_up, restore
from app.database.migrate import migrate_file
from app.database.orders import open_store
from app.domain.errors import StartupError
from tests.database import steps

pytestmark = pytest.mark.anyio
STEP = 24_000
ORDERS = 60
CODES = {"BACKUP_FAILED", "DATABASE_UNREACHABLE"}
Work = Callable[[Path, Path], object]
WORKS: dict[str, Work] = {
    "backup": lambda database, folder: back_up(database, folder / "copy.db"),
    "restore": lambda database, folder: restore(folder / "old.db", database),
    "salvage": lambda database, _: restore(database, database, salvaging=True),
    "migrate": lambda database, folder: migrate_file(database, "orders", folder / "backups"),
}


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes: SQLite and the kernel fail as on a full disk."""
    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, most))


def one_revision_back(database: Path) -> None:
    """Have the last migration wait; it finds what it makes there already, so it must not be reached."""
    with closing(sqlite3.connect(database)) as conn:
        conn.execute("UPDATE alembic_version_orders SET version_num = 'orders_0001'")
        conn.commit()


def orders_in(path: Path) -> int:
    """Count the orders of a file."""
    with closing(sqlite3.connect(path)) as conn:
        found: int = conn.execute("SELECT count(*) FROM orders").fetchone()[0]
    return found


def ended(work: Work, database: Path, size: int) -> str:
    """Do it with so much room; gives the code of the refusal, or nothing."""
    try:
        with room_for(size):
            work(database, database.parent)
    except StartupError as error:
        return error.code
    return ""


def codes_of(work: Work, database: Path) -> Iterator[str]:
    """Do it with ever more room until it succeeds; nothing is lost by each failure."""
    there = {each.name for each in database.parent.iterdir()}
    for size in range(0, database.stat().st_size, STEP):
        code = ended(work, database, size)
        yield code
        if not code:
            return
        assert orders_in(database) == ORDERS
        left = {each.name for each in database.parent.iterdir()} - there
        assert all(each.endswith((".lock", "backups")) for each in left), left


@pytest.mark.parametrize("name", WORKS)
async def test_a_full_disk_is_said_in_a_line_and_costs_nothing(name: str, sqlite_url: str) -> None:
    """Wherever the room ends: the database holds its orders, and no half copy lies about."""
    database = Path(sqlite_url)
    async with open_store(sqlite_url, process_name="test") as store:
        for number in range(ORDERS):
            await steps.accept(store, f"order{number}")
    back_up(database, database.with_name("old.db"))
    if name == "migrate":
        one_revision_back(database)
    codes = list(codes_of(WORKS[name], database))
    assert len(codes) > 3
    assert set(codes) <= {*CODES, ""}
