"""Damage that shows only while the database is used: said, told apart from a bad moment, and for good."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError
from structlog.testing import capture_logs

from app.database.addresses import SqliteFile
from app.database.engine import Database, open_database
from app.database.health import Health, Trouble, trouble_of
from app.domain.errors import IntakeError

pytestmark = pytest.mark.anyio
PAGE = 4_096
FILLING = "INSERT INTO meta VALUES (?, ?)"


@pytest.fixture
def damaged(migrated_file: Path, tmp_path: Path) -> Path:
    """A database with a page of zeros in its table `meta`."""
    path = Path(shutil.copy(migrated_file, tmp_path / "orders.db"))
    with closing(sqlite3.connect(path)) as conn:
        conn.executemany(FILLING, [(f"n{number:03}", "v" * 900) for number in range(60)])
        conn.commit()
        ask = "SELECT rootpage FROM sqlite_master WHERE name = 'meta'"
        (root,) = conn.execute(ask).fetchone()
    with path.open("r+b") as file:
        file.seek((root - 1) * PAGE)
        file.write(bytes(PAGE))
    return path


async def query(database: Database) -> None:
    """Read the table."""
    await database.read(lambda conn: conn.execute(text("SELECT * FROM meta")).fetchall())


async def put(database: Database) -> None:
    """Write to the table."""
    await database.write(lambda conn: conn.execute(text("INSERT INTO meta VALUES ('x', 'y')")))


@pytest.mark.parametrize("first", [query, put])
async def test_nothing_is_written_to_a_damaged_database(damaged: Path, first: object) -> None:
    """A read or a write finds it; from then on every write is refused, and the file stays as it is."""
    use = query if first is query else put
    with capture_logs() as logs:
        async with open_database(SqliteFile(damaged), pool_size=1) as database:
            with pytest.raises(IntakeError, match="STORAGE_UNAVAILABLE"):
                await use(database)
            assert str(database.health.trouble()).startswith("is damaged (database disk image")
            before = content(damaged)
            with pytest.raises(IntakeError, match="restore a copy") as refused:
                await database.write(lambda conn: conn.execute(text("DELETE FROM processes")))
            assert refused.value.retryable
        assert content(damaged) == before
    assert [each["event"] for each in logs if each["log_level"] == "critical"] == [
        "a database is damaged"
    ]


def content(path: Path) -> bytes:
    """Read a file."""
    return path.read_bytes()


class Now:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def failure(code: int) -> DatabaseError:
    """Make what a driver raises with a result code."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = code
    return DatabaseError("COMMIT", None, error)


def test_it_is_well_again_when_a_write_succeeds_a_second_later() -> None:
    """On a full disk every other write may succeed: one right after a failure says nothing."""
    now = Now()
    health = Health("orders", now)
    health.write_failed(failure(sqlite3.SQLITE_IOERR_FSYNC), unknown=True, units=1)
    assert health.trouble() == "cannot be written (disk I/O error)"
    health.wrote()
    assert health.trouble() is not None
    now.seconds = 1.1
    health.wrote()
    assert health.trouble() is None


@pytest.mark.parametrize(
    ("code", "trouble"),
    [
        (sqlite3.SQLITE_FULL, Trouble.FAILING),
        (sqlite3.SQLITE_BUSY, Trouble.FAILING),
        (sqlite3.SQLITE_IOERR_WRITE, Trouble.FAILING),
        (sqlite3.SQLITE_READONLY, Trouble.FAILING),
        (sqlite3.SQLITE_CORRUPT, Trouble.DAMAGED),
        (sqlite3.SQLITE_NOTADB, Trouble.DAMAGED),
        (sqlite3.SQLITE_ERROR, Trouble.NONE),
        (sqlite3.SQLITE_CONSTRAINT, Trouble.NONE),
    ],
)
def test_the_drivers_codes_tell_what_it_is(code: int, trouble: Trouble) -> None:
    """A statement that cannot be run says nothing of the disk."""
    assert trouble_of(failure(code)) is trouble
