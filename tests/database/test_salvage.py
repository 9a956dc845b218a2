"""A damaged database: what can be read is recovered as it was, and what is lost is told."""

import asyncio
import random
import shutil
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from app.database.migrate import migrate
from app.database.orders import open_store
from app.database.salvage import TABLES, SalvageReport, salvage
from app.domain.errors import StartupError
from app.domain.events import EventKind
from tests.database import steps

ORDERS = 60
PAGE = 4_096
Rows = Mapping[str, frozenset[tuple[object, ...]]]


async def fill(path: Path) -> None:
    """Make a database with orders in several states, their attempts, pushes and events."""
    await migrate(str(path), "orders", path.parent)
    async with open_store(str(path), process_name="test") as store:
        for number in range(ORDERS):
            if number % 3:
                held = await steps.sign(store, await steps.begin(store, f"order{number}"))
                if number % 3 == 1:
                    await steps.push(store, held)
        for number in range(0, ORDERS, 3):
            await steps.accept(store, f"order{number}")
        while await store.seal(500):
            pass
        await store.note(EventKind.METHOD_DISABLED, {"method": "rpc"}, steps.SOON)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that nothing is wrong with."""
    path = tmp_path_factory.mktemp("sound") / "orders.db"
    asyncio.run(fill(path))
    return path


@pytest.fixture
def damaged(sound: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copy(sound, tmp_path / "damaged.db"))


def rows_of(path: Path) -> Rows:
    """Read every table."""
    with closing(sqlite3.connect(path)) as conn:
        return {
            table.name: frozenset(conn.execute(f"SELECT * FROM {table.name}").fetchall())
            for table in TABLES
        }


def recovered(path: Path) -> tuple[SalvageReport, Rows]:
    """Salvage a file, which stays as it is; gives the report and the rows of the new one."""
    before = path.read_bytes()
    target = path.with_name("salvaged.db")
    report = salvage(path, target)
    assert path.read_bytes() == before
    assert sorted(each.name for each in path.parent.iterdir() if "lock" not in each.name) == [
        "damaged.db",
        "salvaged.db",
    ]
    rows = rows_of(target)
    assert {name: len(found) for name, found in rows.items()} == {
        name: table.recovered for name, table in report.tables.items()
    }
    return report, rows


def pages_of(path: Path, table: str) -> list[int]:
    """Give the numbers (from 0) of the leaves of a table's tree: by the kind that stands in each."""
    with closing(sqlite3.connect(path)) as conn:
        (root,) = conn.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)
        ).fetchone()
    content = path.read_bytes()
    page = content[(root - 1) * PAGE : root * PAGE]
    if page[0] == 0x0D:
        return [root - 1]
    count = int.from_bytes(page[3:5])
    cells = [int.from_bytes(page[12 + 2 * n : 14 + 2 * n]) for n in range(count)]
    children = [int.from_bytes(page[cell : cell + 4]) for cell in cells]
    return [each - 1 for each in (*children, int.from_bytes(page[8:12]))]


def overwrite(path: Path, page: int, content: bytes) -> None:
    """Put other bytes in place of a page."""
    with path.open("r+b") as file:
        file.seek(page * PAGE)
        file.write(content)


def test_a_sound_database_comes_through_whole(sound: Path, damaged: Path) -> None:
    """Every row of every table, and the report says that nothing is missing."""
    report, rows = recovered(damaged)
    assert report.complete
    assert rows == rows_of(sound)
    assert report.tables["orders"].recovered == ORDERS


@pytest.mark.parametrize("table", ["orders", "attempts", "events"])
def test_a_lost_page_takes_its_own_rows_alone(sound: Path, damaged: Path, table: str) -> None:
    """The rows of a page of zeros are counted as lost; the others are as they were."""
    pages = pages_of(damaged, table)
    overwrite(damaged, pages[len(pages) // 2], bytes(PAGE))
    report, rows = recovered(damaged)
    whole = rows_of(sound)
    lost = len(whole[table]) - len(rows[table])
    assert 0 < lost < len(whole[table])
    assert report.tables[table].lost == lost
    assert not report.complete
    if table != "attempts":  # orders that lack attempts count them anew
        assert rows[table] < whole[table]
    assert rows["events"] <= whole["events"]
    _serves(damaged.with_name("salvaged.db"))


def test_attempts_without_their_order_are_named(sound: Path, damaged: Path) -> None:
    """Their signatures may still land: they are told, and not in the new file."""
    overwrite(damaged, pages_of(damaged, "orders")[2], bytes(PAGE))
    report, rows = recovered(damaged)
    gone = rows_of(sound)["attempts"] - rows["attempts"]
    assert gone
    assert len(report.orphaned_signatures) == len(gone)
    assert all(signature.startswith("sig-order") for signature in report.orphaned_signatures)


def test_orders_without_an_attempt_are_named(sound: Path, damaged: Path) -> None:
    """The chain must tell what became of it; the order counts the attempts that are there."""
    overwrite(damaged, pages_of(damaged, "attempts")[2], bytes(PAGE))
    report, rows = recovered(damaged)
    assert len(report.incomplete_orders) == len(rows_of(sound)["attempts"]) - len(rows["attempts"])
    with closing(sqlite3.connect(damaged.with_name("salvaged.db"))) as conn:
        for order_id in report.incomplete_orders:
            ask = "SELECT attempt_count FROM orders WHERE order_id = ?"
            assert conn.execute(ask, (order_id,)).fetchone() == (0,)


@pytest.mark.parametrize("what", ["header", "root"])
def test_what_all_else_hangs_on_may_be_gone(sound: Path, damaged: Path, what: str) -> None:
    """A header is made anew; the root of a tree of orders costs the orders, and no more."""
    if what == "header":
        with damaged.open("r+b") as file:
            file.write(b"\xff" * 100)
        report, rows = recovered(damaged)
        assert rows == rows_of(sound)
        return
    with closing(sqlite3.connect(damaged)) as conn:
        ask = "SELECT rootpage FROM sqlite_master WHERE name = 'orders'"
        (root,) = conn.execute(ask).fetchone()
    overwrite(damaged, root - 1, bytes(PAGE))
    report, rows = recovered(damaged)
    assert report.tables["orders"].lost == ORDERS
    assert rows["events"] == rows_of(sound)["events"]


@pytest.mark.parametrize("seed", range(6))
def test_noise_is_never_taken_for_an_order(sound: Path, damaged: Path, seed: int) -> None:
    """Whatever is overwritten: what comes out refers to what is there, and the service can read it."""
    dice = random.Random(seed)
    pages = damaged.stat().st_size // PAGE
    spoils: list[Callable[[int], bytes]] = [
        dice.randbytes,
        bytes,
        lambda size: b"\xff" * size,
    ]
    for _ in range(dice.randint(1, 6)):
        overwrite(damaged, dice.randrange(1, pages), dice.choice(spoils)(PAGE))
    try:
        _, rows = recovered(damaged)
    except StartupError as error:
        assert error.code == "DATABASE_CORRUPT"  # noqa: PT017 - either way is right
        return
    whole = rows_of(sound)
    for name in ("order_keys", "submissions", "events", "meta"):
        assert rows[name] <= whole[name]
    _serves(damaged.with_name("salvaged.db"))


def test_what_is_no_database_gives_nothing(tmp_path: Path) -> None:
    """It is said, and no empty database is left behind."""
    path = tmp_path / "letter"
    path.write_bytes(b"Dear reader, " * 1_000)
    with pytest.raises(StartupError, match="DATABASE_CORRUPT"):
        salvage(path, tmp_path / "new.db")
    assert not (tmp_path / "new.db").exists()


def test_nothing_is_overwritten(damaged: Path) -> None:
    """A target that is there stays."""
    with pytest.raises(StartupError, match="DATABASE_EXISTS"):
        salvage(damaged, damaged)


def _serves(path: Path) -> None:
    """Claim that the file is sound, and that the service opens it and reads every order."""
    with closing(sqlite3.connect(path)) as conn:
        assert conn.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert conn.execute("PRAGMA foreign_key_check").fetchone() is None

    async def read() -> None:
        async with open_store(str(path), process_name="test") as store:
            await store.figures()
            await store.trail(after=0, limit=10_000)
            await store.claim(1_000, steps.SOON)

    asyncio.run(read())
