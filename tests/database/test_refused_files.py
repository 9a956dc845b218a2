"""Files that are no database to work on: each is refused in one line, and left as it is to the byte."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from app.database.log_check import lost_commits
from app.database.migrate import migrate
from app.database.salvage import salvage
from app.domain.errors import StartupError

pytestmark = pytest.mark.anyio
NOBODY = 65_534
FRAME = 24 + 4_096


@contextmanager
def as_nobody() -> Iterator[None]:
    """Be a user without special rights: root may read and write everything."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that a user without rights may enter and own."""
    path = Path(tempfile.mkdtemp(prefix="synergy7-files-"))
    path.chmod(0o755)
    if not os.geteuid():
        os.chown(path, NOBODY, NOBODY)
    yield path
    path.chmod(0o755)
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory, migrated_file: Path) -> Path:
    """A folder with a database whose last twelve commits lie in its log, as a kill leaves them."""
    work, left = tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("left")
    shutil.copy(migrated_file, work / "x.db")
    with closing(sqlite3.connect(work / "x.db", isolation_level=None)) as conn:
        for number in range(12):
            conn.execute("INSERT INTO meta VALUES (?, ?)", (f"n{number}", "v" * 3_000))
        for name in ("x.db", "x.db-wal"):
            shutil.copy(work / name, left / name)
    return left


def hurt(path: Path, at: int, content: bytes = b"\xa5" * 64) -> None:
    """Overwrite a part of a file."""
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)


def alone(path: Path) -> Path:
    """Take the log away, so that the file is all there is."""
    path.with_name(f"{path.name}-wal").unlink()
    return path


def folder_instead(path: Path) -> None:
    """Put a folder where the file was."""
    path.unlink()
    path.mkdir()


def foreign(path: Path, mode: str) -> None:
    """Make somebody else's database, closed or killed."""
    alone(path)
    work = path.with_name("work.db")
    with closing(sqlite3.connect(work, isolation_level=None)) as conn:
        conn.execute(f"PRAGMA journal_mode={mode}")
        conn.execute("CREATE TABLE customers (id INTEGER)")
        for end in ("", "-wal"):
            if (part := work.with_name(f"work.db{end}")).exists():
                shutil.copy(part, f"{path}{end}")
    for part in path.parent.glob("work.db*"):
        part.unlink()


def newer(path: Path) -> None:
    """Take the revision for one that is not known yet."""
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("UPDATE alembic_version_orders SET version_num = 'orders_9999'")
        conn.commit()


def unread(path: Path) -> None:
    """Take all rights away."""
    path.chmod(0)


Make = Callable[[Path], object]
CASES: dict[str, tuple[Make, str, str]] = {
    "a letter": (
        lambda p: alone(p).write_bytes(b"Dear reader, " * 999),
        "CORRUPT",
        "not a database",
    ),
    "a folder": (folder_instead, "UNREACHABLE", "it is a folder"),
    "no header": (lambda p: hurt(alone(p), 0, bytes(100)), "CORRUPT", "not a database"),
    "a lost page": (lambda p: hurt(p, 5 * 4_096, bytes(4_096)), "CORRUPT", "no sound database"),
    "emptied": (lambda p: p.write_bytes(b""), "CORRUPT", "commits lie in x.db-wal"),
    "removed": (Path.unlink, "CORRUPT", "commits lie in x.db-wal"),
    "its log hurt": (
        lambda p: hurt(p.with_name("x.db-wal"), 32 + 3 * FRAME + 2_000),
        "CORRUPT",
        "commits or more cannot be read",
    ),
    "its log without header": (
        lambda p: hurt(p.with_name("x.db-wal"), 0, bytes(32)),
        "CORRUPT",
        "its log is damaged",
    ),
    "foreign": (lambda p: foreign(p, "DELETE"), "FOREIGN", "customers"),
    "foreign and killed": (lambda p: foreign(p, "WAL"), "FOREIGN", "customers"),
    "newer": (newer, "NEWER", "orders_9999"),
    "unreadable": (unread, "UNREACHABLE", "may not be read or written"),
    "read-only": (lambda p: p.chmod(0o444), "UNREACHABLE", "may not be read or written"),
    "in a read-only folder": (
        lambda p: p.parent.chmod(0o555),
        "UNREACHABLE",
        "x.db.lock cannot be made",
    ),
}


def contents(folder: Path) -> dict[str, bytes]:
    """Read what must not change: databases and logs (an empty log holds nothing)."""
    files = [each for each in folder.iterdir() if each.name.endswith((".db", "-wal"))]
    return {each.name: each.read_bytes() for each in files if each.is_file()} | {
        "x.db-wal": b"".join(each.read_bytes() for each in files if each.name == "x.db-wal")
    }


def copied(source: Path, folder: Path) -> Path:
    """Copy a database with its log, owned by nobody; gives its path."""
    for part in source.iterdir():
        copy = shutil.copy(part, folder / part.name)
        if not os.geteuid():
            os.chown(copy, NOBODY, NOBODY)
    return folder / "x.db"


@pytest.mark.parametrize("name", CASES)
async def test_it_is_refused_and_left_as_it_is(name: str, folder: Path, crashed: Path) -> None:
    """The code, words that say what is wrong, and not a byte of file or log is changed."""
    make, code, words = CASES[name]
    path = copied(crashed, folder)
    make(path)
    before = contents(folder)
    with as_nobody(), pytest.raises(StartupError) as refused:
        await migrate(str(path), "orders", folder / "backups")
    assert refused.value.code == f"DATABASE_{code}"
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
    assert contents(folder) == before


@pytest.mark.parametrize("cut", [0, 1, 2_000, FRAME, FRAME + 9])
async def test_a_log_that_a_crash_cut_off_is_taken(folder: Path, crashed: Path, cut: int) -> None:
    """Its end torn or missing is what a power loss leaves of a commit that nobody was told of."""
    copied(crashed, folder)
    log = folder / "x.db-wal"
    whole = log.read_bytes()
    log.write_bytes(whole[: len(whole) - cut] + (b"\xa5" * cut if cut % 2 else b""))
    assert lost_commits(log) == 0
    await migrate(str(folder / "x.db"), "orders", folder / "backups")
    with closing(sqlite3.connect(folder / "x.db")) as conn:
        (count,) = conn.execute("SELECT count(*) FROM meta").fetchone()
    assert count >= 11


@pytest.mark.parametrize("frame", range(0, 20, 3))
@pytest.mark.parametrize("at", [10, 30, 4_000])
def test_no_saved_commit_is_lost_unnoticed(
    tmp_path: Path, crashed: Path, frame: int, at: int
) -> None:
    """Wherever a frame is damaged: its header or its page, with two commits or more behind it."""
    log = Path(shutil.copy(crashed / "x.db-wal", tmp_path / "log"))
    frames = (log.stat().st_size - 32) // FRAME
    assert frames > 20 + 4
    hurt(log, 32 + frame * FRAME + at, b"\xa5" * 8)
    assert lost_commits(log) > 0


@pytest.mark.parametrize("hurt_at", [None, 32 + 3 * FRAME + 2_000])
def test_salvaging_tells_of_commits_that_are_lost_with_the_log(
    tmp_path: Path, crashed: Path, hurt_at: int | None
) -> None:
    """No table misses their rows, yet the report says that something is missing."""
    for part in crashed.iterdir():
        shutil.copy(part, tmp_path / part.name)
    if hurt_at is not None:
        hurt(tmp_path / "x.db-wal", hurt_at)
    report = salvage(tmp_path / "x.db", tmp_path / "new.db")
    assert report.tables["meta"].lost == 0
    assert (report.lost_commits == 0) is report.complete is (hurt_at is None)
