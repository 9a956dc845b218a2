"""Copies are whole, private and named last; what they replace is kept; nothing is overwritten."""

import asyncio
import errno
import os
import shutil
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from app.database.addresses import address_of
from app.database.backup import back_up, mark_database, restore, see_on_disk
from app.database.lock import UNFINISHED, file_lock
from app.database.migrate import migrate
from app.database.orders import open_store
from app.domain.errors import StartupError
from app.domain.events import EventKind
from app.domain.order import OrderStatus
from tests.database import steps
from tests.domain.makers import BLOCKHASH_SLOT, NOW

MUCH_LATER_US = 601 * 10**6

pytestmark = pytest.mark.anyio


def orders_in(path: Path) -> list[str]:
    """List the orders of a file."""
    with closing(sqlite3.connect(path)) as conn:
        return [row[0] for row in conn.execute("SELECT order_id FROM orders ORDER BY order_id")]


def names_in(folder: Path) -> set[str]:
    """List a folder, locks aside."""
    return {each.name for each in folder.iterdir() if each.suffix != ".lock"}


def tear(whole: Path, torn: Path) -> None:
    """Write the beginning of a database, and noise behind it."""
    torn.write_bytes(whole.read_bytes()[:5_000] + os.urandom(20_000))


def remove(path: Path) -> None:
    """Lose a file."""
    path.unlink()


def kept_in(folder: Path) -> list[list[str]]:
    """List the orders of every database that was moved aside."""
    aside = folder.glob("*.before-restore-*")
    return [orders_in(each) for each in aside if not each.name.endswith(("-wal", "-shm"))]


def kept_logs(folder: Path) -> set[Path]:
    """List the logs that were moved aside."""
    return set(folder.glob("*.before-restore-*-wal"))


@pytest.fixture
def database(sqlite_url: str) -> Path:
    """Give a migrated database file."""
    return Path(sqlite_url)


async def fill(database: Path, *order_ids: str) -> None:
    """Accept orders in a database."""
    async with open_store(str(database), process_name="test") as store:
        for order_id in order_ids:
            await steps.accept(store, order_id)


# ---------------------------------------------------------------- backup


async def test_a_copy_of_a_database_at_work_is_whole_private_and_one_file(
    database: Path, tmp_path: Path
) -> None:
    """What is committed is in it, also what only the write-ahead log holds; its owner alone reads it."""
    copy = tmp_path / "folder" / "copy.db"
    async with open_store(str(database), process_name="test") as store:
        await steps.accept(store, "one")
        await asyncio.to_thread(back_up, database, copy)
        await steps.accept(store, "two")
    assert orders_in(copy) == ["one"]
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert names_in(copy.parent) == {"copy.db"}


async def test_a_copy_never_takes_anothers_name(database: Path, tmp_path: Path) -> None:
    """What is there stays as it is, and no half copy lies about."""
    taken = tmp_path / "taken.db"
    taken.write_text("mine")
    before = names_in(tmp_path)
    with pytest.raises(StartupError, match=r"^BACKUP_FAILED: .*taken\.db is there already"):
        back_up(database, taken)
    assert taken.read_text() == "mine"
    assert names_in(tmp_path) == before


async def test_what_is_no_orders_database_is_not_copied(database: Path, tmp_path: Path) -> None:
    """A missing file, a torn one, a stranger's, and the metrics."""
    torn, foreign = tmp_path / "torn.db", tmp_path / "foreign.db"
    tear(database, torn)
    with closing(sqlite3.connect(foreign)) as conn:
        conn.execute("CREATE TABLE recipes (name TEXT)")
    metrics = tmp_path / "metrics.db"
    await migrate(str(metrics), "metrics", tmp_path)
    for path, code in (
        (tmp_path / "missing.db", "BACKUP_FAILED"),
        (torn, "DATABASE_CORRUPT"),
        (foreign, "DATABASE_FOREIGN"),
        (metrics, "DATABASE_FOREIGN"),
    ):
        with pytest.raises(StartupError) as caught:
            back_up(path, tmp_path / "copy.db")
        assert caught.value.code == code, path
    assert not (tmp_path / "copy.db").exists()


async def test_a_copy_gets_its_name_where_files_have_one_only(
    database: Path, tmp_path: Path
) -> None:
    """On file systems without hard links, too; and there too no name is taken twice."""

    def link(_: Path, __: Path) -> None:
        raise PermissionError(errno.EPERM, "no hard links here")

    copy = tmp_path / "folder" / "copy.db"
    await fill(database, "one")
    back_up(database, copy, link)
    assert orders_in(copy) == ["one"]
    assert names_in(copy.parent) == {"copy.db"}
    with pytest.raises(StartupError, match=r"^BACKUP_FAILED: .*copy\.db is there already"):
        back_up(database, copy, link)
    assert orders_in(copy) == ["one"]


# ---------------------------------------------------------------- restore


async def test_what_was_there_is_kept_and_the_copy_is_marked(
    database: Path, tmp_path: Path
) -> None:
    """With its log: it opens as it was. The restored one is halted and waits to be reconciled."""
    copy = tmp_path / "copy.db"
    await fill(database, "one")
    back_up(database, copy)
    await fill(database, "two")
    leave_log(database, "three")
    kept = restore(copy, database).kept
    assert kept is not None
    assert orders_in(kept) == ["one", "three", "two"]
    assert orders_in(database) == ["one"]
    assert orders_in(copy) == ["one"], "it can be restored again"
    async with open_store(str(database), process_name="test") as store:
        state = await store.trading_state()
        assert (state.halted, state.reconciling) == (True, True)
        assert state.reason == "the database lost commits (restored from copy.db)"
    assert not database.with_name(database.name + UNFINISHED).exists()


def leave_log(database: Path, order_id: str) -> None:
    """Commit an order as a process does that is killed right afterwards: it is in the log only."""
    with closing(sqlite3.connect(database)) as conn:
        conn.execute("PRAGMA journal_mode=WAL")
        columns = [row[1] for row in conn.execute("PRAGMA table_info(orders)")]
        row = dict(zip(columns, conn.execute("SELECT * FROM orders").fetchone(), strict=True))
        row["order_id"] = order_id
        marks = ",".join("?" * len(columns))
        conn.execute(f"INSERT INTO orders VALUES ({marks})", [row[each] for each in columns])
        conn.commit()
        for end in ("", "-wal"):
            source = database.with_name(database.name + end)
            shutil.copy(source, source.with_name(f"dead-{source.name}"))
    for end in ("", "-wal"):
        place = database.with_name(database.name + end)
        place.with_name(f"dead-{place.name}").replace(place)
    assert database.with_name(f"{database.name}-wal").stat().st_size > 0


async def test_a_lost_database_is_restored_too(database: Path, tmp_path: Path) -> None:
    """Also where a stale log of the lost one lies: it is moved aside and not read into the new one."""
    copy = tmp_path / "copy.db"
    await fill(database, "one")
    back_up(database, copy)
    leave_log(database, "two")
    remove(database)
    kept = restore(copy, database).kept
    assert kept is not None
    assert kept.with_name(f"{kept.name}-wal").exists()
    assert orders_in(database) == ["one"]


async def test_a_database_in_use_is_not_replaced(database: Path, tmp_path: Path) -> None:
    """The service has to be stopped first."""
    copy = tmp_path / "copy.db"
    back_up(database, copy)
    with file_lock(database), pytest.raises(StartupError, match=r"^DATABASE_LOCKED: "):
        restore(copy, database)
    with pytest.raises(StartupError, match=r"^BACKUP_FAILED: .* is the database itself"):
        restore(database, database)


async def test_a_copy_that_cannot_be_used_changes_nothing(database: Path, tmp_path: Path) -> None:
    """Torn, foreign, or of a newer version: the database stays, and stays unmarked."""
    await fill(database, "one")
    torn, newer, empty = (tmp_path / f"{name}.db" for name in ("torn", "newer", "empty"))
    torn.write_bytes(b"no database at all, whatever it is")
    back_up(database, newer)
    with closing(sqlite3.connect(newer)) as conn:
        conn.execute("UPDATE alembic_version_orders SET version_num = 'orders_9999'")
        conn.commit()
    empty.touch()
    before = names_in(tmp_path)
    for path, code in (
        (torn, "DATABASE_CORRUPT"),
        (newer, "DATABASE_NEWER"),
        (empty, "DATABASE_FOREIGN"),
    ):
        with pytest.raises(StartupError) as caught:
            restore(path, database)
        assert caught.value.code == code, path
    assert names_in(tmp_path) == before
    async with open_store(str(database), process_name="test") as store:
        assert not (await store.trading_state()).halted


class CutShortError(Exception):
    """The power went."""


class Power:
    """Lasts for some flushes."""

    def __init__(self, flushes: int) -> None:
        self.left = flushes

    def flush(self, path: Path) -> None:
        """See a file on disk, or go."""
        if self.left == 0:
            raise CutShortError
        self.left -= 1
        see_on_disk(path)


def cut_short(copy: Path, database: Path, flushes: int) -> bool:
    """Restore for so long; tells whether the power went."""
    try:
        restore(copy, database, Power(flushes).flush)
    except CutShortError:
        return True
    return False


async def found_by_a_start(database: Path) -> list[str] | str:
    """Open it as the service does: gives its orders, or the code of the refusal."""
    try:
        async with open_store(str(database), process_name="test") as store:
            state = await store.trading_state()
    except StartupError as error:
        return error.code
    assert state.halted == state.reconciling
    return orders_in(database)


async def test_a_restore_that_is_cut_short_is_no_empty_start(
    database: Path, tmp_path: Path
) -> None:
    """After every flush: the start is refused, or finds the old one or the new one whole; again it ends."""
    copy = tmp_path / "copy.db"
    await fill(database, "one")
    back_up(database, copy)
    await fill(database, "two")
    flushes, found = 0, []
    while cut_short(copy, database, flushes):
        found.append(await found_by_a_start(database))
        flushes += 1
    assert found[0] == ["one", "two"]
    assert found[-1] == ["one"]
    assert found.count("RESTORE_UNFINISHED") >= 2
    assert all(each in (["one", "two"], "RESTORE_UNFINISHED", ["one"]) for each in found)
    assert ["one", "two"] in kept_in(tmp_path)


async def test_a_restore_that_is_repeated_keeps_what_was_there_in_one_place(
    database: Path, tmp_path: Path
) -> None:
    """Wherever it was cut: database and log lie side by side, and the next restore keeps the new one."""
    copy = tmp_path / "copy.db"
    await fill(database, "one")
    back_up(database, copy)
    leave_log(database, "two")
    places = {f"{database.name}{end}": (tmp_path / f"{database.name}{end}") for end in ("", "-wal")}
    files = {name: path.read_bytes() for name, path in places.items()}
    for flushes in range(2, 5):
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
        aside = kept_logs(tmp_path)
        assert cut_short(copy, database, flushes)
        if flushes == 3:  # the power went between two renames
            (log,) = kept_logs(tmp_path) - aside
            log.rename(places[f"{database.name}-wal"])
        kept = restore(copy, database).kept
        assert kept is not None
        assert orders_in(kept) == ["one", "two"]
        again = restore(copy, database).kept
        assert again is not None
        assert orders_in(again) == ["one"]


async def test_what_can_be_read_of_a_damaged_database_takes_its_place(
    database: Path, tmp_path: Path
) -> None:
    """The damaged one is kept; of the other nothing is known to be whole, so all of the chain is read."""
    await fill(database, *(f"order{number:03}" for number in range(200)))
    damage(database)
    with pytest.raises(StartupError, match=r"^DATABASE_CORRUPT: "):
        back_up(database, tmp_path / "copy.db")
    restored = restore(database, database, salvaging=True)
    assert restored.salvaged is not None
    assert not restored.salvaged.complete
    assert restored.kept is not None
    assert 0 < len(orders_in(database)) < 200
    async with open_store(str(database), process_name="test") as store:
        mark = await store.recovery.begin()
    assert mark is not None
    assert mark.whole


def damage(database: Path) -> None:
    """Lose the pages that tell of an order in the middle."""
    with closing(sqlite3.connect(database)) as conn:
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = database.read_bytes()
    pages = [content[at : at + 4_096] for at in range(0, len(content), 4_096)]
    pages = [bytes(4_096) if b"order100" in p and b"SOL-USDC" in p else p for p in pages]
    database.write_bytes(b"".join(pages))


async def test_an_order_without_its_live_attempt_is_queued_again(sqlite_url: str) -> None:
    """It stays as it is in a database that lacks commits only: there the attempt was never stored."""
    async with open_store(sqlite_url, process_name="test") as store:
        for name in ("first", "live", "bare"):
            at_us = steps.SOON + MUCH_LATER_US if name == "bare" else NOW
            await steps.accept(store, name, accepted_at_us=at_us, deadline_us=at_us + 10**9)
            await steps.sign(store, await steps.claim(store, at_us + 1))
    for name in ("first", "bare"):
        lose_attempts(Path(sqlite_url), name)
    await mark_database(address_of(sqlite_url), since_us=None)
    async with open_store(sqlite_url, process_name="test") as store:
        assert await store.recovery.begin() is not None
        beyond = BLOCKHASH_SLOT + 1
        assert await store.recovery.requeue_bare(beyond, steps.SOON) == (0, 2)
        figures = await store.figures()
        assert (figures.in_doubt, figures.pending) == (2, 0)
        assert EventKind.IN_DOUBT in await steps.kinds(store, "first")
        assert await store.recovery.requeue_bare(BLOCKHASH_SLOT, steps.SOON) == (1, 1)
        assert await store.recovery.requeue_bare(BLOCKHASH_SLOT, steps.SOON) == (0, 1)
        assert await steps.status(store, "first") is OrderStatus.SUBMITTED
        assert await store.recovery.requeue_bare(0, steps.SOON) == (1, 0)
        assert await steps.status(store, "bare") is OrderStatus.QUEUED
        assert await steps.status(store, "live") is OrderStatus.SUBMITTED
        at_us = steps.SOON + 2 * MUCH_LATER_US
        again = {each.view.order.order_id for each in await store.claim(3, at_us)}
        assert again >= {"first", "bare"}


async def test_an_order_that_may_have_landed_unseen_is_never_ended(sqlite_url: str) -> None:
    """Without its attempt, and older than any node's history: in doubt, and taken up as such alone."""
    async with open_store(sqlite_url, process_name="before") as store:
        await steps.sign(store, await steps.begin(store, "bare"))
    lose_attempts(Path(sqlite_url), "bare")
    await mark_database(address_of(sqlite_url), since_us=None)
    async with open_store(sqlite_url, process_name="test") as store:
        assert await store.recovery.begin() is not None
        assert await store.recovery.requeue_bare(1, steps.SOON) == (0, 1)
        await store.recovery.reconciled({}, steps.SOON)
        late = NOW + 10**12
        for kind in ({}, {"live_only": True}, {"overdue_only": True}):
            assert await store.claim(9, late, **kind) == []
        (held,) = await store.adopt(9)
        assert (held.view.order.order_id, held.view.attempts) == ("bare", ())
        assert held.view.order.status is OrderStatus.SUBMITTED


def lose_attempts(database: Path, order_id: str) -> None:
    """Lose an order's attempts as a damaged page does, and count the rest as salvaging does."""
    with closing(sqlite3.connect(database)) as conn:
        conn.execute("DELETE FROM attempts WHERE order_id = ?", [order_id])
        conn.execute("UPDATE orders SET attempt_count = 0 WHERE order_id = ?", [order_id])
        conn.commit()
