"""The writers: groups, isolation, failures, cancellation, limits."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import DBAPIError

from app.database.addresses import SqliteFile, address_of
from app.database.engine import Database, open_database
from app.database.groups import GroupError
from app.database.limits import Limits
from app.database.undo import Undo
from app.domain.errors import IllegalMoveError, IntakeError, ReasonCode

pytestmark = pytest.mark.anyio


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    """Open a database without a store."""
    async with open_database(address_of(url), pool_size=2) as opened:
        yield opened


def put(name: str) -> Callable[[Connection], str]:
    """Make a unit that writes a row."""

    def unit(conn: Connection) -> str:
        conn.execute(text("INSERT INTO meta (name, value) VALUES (:n, 'x')"), {"n": name})
        return name

    return unit


def names(conn: Connection) -> list[str]:
    """Read which rows there are."""
    return list(conn.scalars(text("SELECT name FROM meta ORDER BY name")))


class Gate:
    """Holds the writer up inside a unit, so that others wait and become one group."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._open = threading.Event()

    def unit(self, conn: Connection) -> None:
        """Wait in the writer's thread until the gate opens."""
        self._loop.call_soon_threadsafe(self.entered.set)
        assert self._open.wait(10)

    def open(self) -> None:
        """Let the writer go on."""
        self._open.set()


async def test_units_that_wait_together_are_committed_together(sqlite_url: str) -> None:
    """Behind a slow one, fifty units are one transaction."""
    commits = 0

    def count(_conn: object) -> None:
        nonlocal commits
        commits += 1

    address = address_of(sqlite_url)
    assert isinstance(address, SqliteFile)
    async with open_database(address, pool_size=1) as database:
        writer: Any = database._writer  # noqa: SLF001 - the engine below has no other door
        event.listen(writer._engine, "commit", count)  # noqa: SLF001
        gate = Gate()
        held = asyncio.create_task(database.write(gate.unit))
        await gate.entered.wait()
        waiting = [asyncio.create_task(database.write(put(f"n{n:02}"))) for n in range(50)]
        await asyncio.sleep(0)
        gate.open()
        assert await asyncio.gather(*waiting) == [f"n{n:02}" for n in range(50)]
        await held
    assert commits == 2


async def test_a_failing_unit_takes_back_only_its_own_writes(database: Database) -> None:
    """Its caller gets its exception; its neighbours in the group are committed."""

    def fail(conn: Connection) -> None:
        put("lost")(conn)
        raise KeyError("mine")

    def undo(conn: Connection) -> None:
        put("undone")(conn)
        raise Undo("answer")

    gathered = await asyncio.gather(
        database.write(put("a")),
        database.write(fail),
        database.write(put("a")),
        database.write(undo),
        database.write(put("b")),
        return_exceptions=True,
    )
    answers: list[object] = list(gathered)
    assert answers[0] == "a"
    assert isinstance(answers[1], KeyError)
    assert isinstance(answers[2], IllegalMoveError)
    assert answers[3:] == ["answer", "b"]
    assert await database.read(names) == ["a", "b"]


@pytest.mark.parametrize("answer", [Undo("answer"), KeyError("mine")])
async def test_a_failing_unit_alone_writes_nothing(database: Database, answer: Exception) -> None:
    """Also without neighbours, where it needs no savepoint."""

    def unit(conn: Connection) -> None:
        put("lost")(conn)
        raise answer

    result: object
    (result,) = await asyncio.gather(database.write(unit), return_exceptions=True)
    assert result == "answer" if isinstance(answer, Undo) else isinstance(result, KeyError)
    assert await database.read(names) == []
    assert await database.write(put("next")) == "next"


async def test_a_failing_database_fails_only_the_unit_that_meets_it(database: Database) -> None:
    """A statement that the database cannot run: the others are run again, and committed once."""

    def broken(conn: Connection) -> None:
        put("lost")(conn)
        conn.execute(text("SELECT * FROM nowhere"))

    gathered = await asyncio.gather(
        database.write(put("a")),
        database.write(broken),
        database.write(put("b")),
        return_exceptions=True,
    )
    answers: list[object] = list(gathered)
    assert (answers[0], answers[2]) == ("a", "b")
    assert isinstance(answers[1], IntakeError)
    assert answers[1].code is ReasonCode.STORAGE_UNAVAILABLE
    assert answers[1].retryable
    assert await database.read(names) == ["a", "b"]


async def test_a_commit_that_fails_fails_the_whole_group(sqlite_url: str) -> None:
    """Nobody is told of success; the next group works on a new connection."""
    broken = True

    def refuse(_conn: object) -> None:
        nonlocal broken
        if broken:
            broken = False
            raise DBAPIError("COMMIT", None, sqlite3.OperationalError("disk I/O error"))

    async with open_database(address_of(sqlite_url), pool_size=1) as database:
        writer: Any = database._writer  # noqa: SLF001 - the engine below has no other door
        event.listen(writer._engine, "commit", refuse)  # noqa: SLF001
        gate = Gate()
        first = asyncio.create_task(database.write(gate.unit))
        await gate.entered.wait()
        second = asyncio.create_task(database.write(put("a")))
        await asyncio.sleep(0)
        gate.open()
        with pytest.raises(IntakeError, match="outcome of a write is unknown"):
            await first
        assert await second == "a"
        assert await database.read(names) == ["a"]


async def test_a_caller_cancelled_while_waiting_takes_its_unit_back(sqlite_url: str) -> None:
    """Not begun, not done; and the group it would have been in is not disturbed."""
    async with open_database(address_of(sqlite_url), pool_size=1) as database:
        gate = Gate()
        held = asyncio.create_task(database.write(gate.unit))
        await gate.entered.wait()
        leaving = asyncio.create_task(database.write(put("left")))
        staying = asyncio.create_task(database.write(put("stays")))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        gate.open()
        assert await staying == "stays"
        await held
        assert await database.read(names) == ["stays"]


async def test_a_caller_cancelled_in_the_middle_leaves_its_unit_to_be_committed(
    sqlite_url: str,
) -> None:
    """That is why callers read again after a cancellation."""
    async with open_database(address_of(sqlite_url), pool_size=1) as database:
        gate = Gate()

        def unit(conn: Connection) -> None:
            put("done")(conn)
            gate.unit(conn)

        leaving = asyncio.create_task(database.write(unit))
        await gate.entered.wait()
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        gate.open()
        await database.write(put("after"))
        assert await database.read(names) == ["after", "done"]


async def test_a_wait_has_a_limit(sqlite_url: str) -> None:
    """A writer that hangs leaves nobody hanging: the outcome counts as unknown."""
    limits = Limits(write_seconds=0.05)
    async with open_database(address_of(sqlite_url), pool_size=1, limits=limits) as database:
        gate = Gate()
        with pytest.raises(IntakeError, match="STORAGE_UNAVAILABLE") as failed:
            await database.write(gate.unit)
        assert failed.value.retryable
        gate.open()


async def test_too_many_waiting_units_are_refused(sqlite_url: str) -> None:
    """A full queue answers at once that the database is busy."""
    limits = Limits(waiting_units_max=2)
    async with open_database(address_of(sqlite_url), pool_size=1, limits=limits) as database:
        gate = Gate()
        held = asyncio.create_task(database.write(gate.unit))
        await gate.entered.wait()
        waiting = [asyncio.create_task(database.write(put(f"n{n}"))) for n in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(IntakeError, match="DATABASE_BUSY"):
            await database.write(put("refused"))
        gate.open()
        await asyncio.gather(held, *waiting)
        assert await database.read(names) == ["n0", "n1"]


async def test_a_foreign_lock_makes_the_database_unavailable(sqlite_url: str) -> None:
    """Another program that keeps SQLite locked: nothing is written, it is said, and on it goes."""
    limits = Limits(lock_ms=10)
    async with open_database(address_of(sqlite_url), pool_size=1, limits=limits) as database:
        other = sqlite3.connect(sqlite_url, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(IntakeError, match="STORAGE_UNAVAILABLE"):
            await database.write(put("a"))
        other.execute("ROLLBACK")
        other.close()
        assert await database.write(put("b")) == "b"
        assert await database.read(names) == ["b"]


async def test_closing_commits_what_waits(url: str) -> None:
    """An orderly end loses no unit; afterwards the database takes no more."""
    async with open_database(address_of(url), pool_size=1) as database:
        waiting = [asyncio.create_task(database.write(put(f"n{n}"))) for n in range(5)]
        await asyncio.sleep(0)
    assert await asyncio.gather(*waiting) == [f"n{n}" for n in range(5)]
    with pytest.raises(IntakeError, match="DATABASE_BUSY"):
        await database.write(put("late"))


async def test_readers_cannot_write(database: Database) -> None:
    """Only units of work do."""
    with pytest.raises(IntakeError, match="STORAGE_UNAVAILABLE"):
        await database.read(put("never"))
    assert await database.read(names) == []


@pytest.mark.parametrize(
    ("pragma", "expected"),
    [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)],
)
async def test_sqlite_writes_durably(sqlite_url: str, pragma: str, expected: object) -> None:
    """WAL, synchronous=FULL and foreign keys are in force on the writing connection."""
    async with open_database(address_of(sqlite_url), pool_size=1) as database:
        found = await database.write(lambda conn: conn.scalar(text(f"PRAGMA {pragma}")))
    assert found == expected


# ---------------------------------------------------------------- PostgreSQL


@pytest.mark.postgres
async def test_an_exhausted_pool_is_busy(postgres_url: str) -> None:
    """A reader that finds no connection in time is told so."""
    limits = Limits(pool_seconds=0.05)
    slow = text("SELECT pg_sleep(0.5)")
    async with open_database(address_of(postgres_url), pool_size=1, limits=limits) as database:
        reading = asyncio.create_task(database.read(lambda conn: conn.execute(slow)))
        await asyncio.sleep(0.1)
        with pytest.raises(IntakeError, match="DATABASE_BUSY") as refused:
            await database.read(names)
        assert refused.value.retryable
        await reading


@pytest.mark.postgres
async def test_a_deadlock_is_run_again(postgres_url: str) -> None:
    """Two processes locking crosswise: the victim's group runs once more, both are committed."""
    async with (
        open_database(address_of(postgres_url), pool_size=1) as first,
        open_database(address_of(postgres_url), pool_size=1) as second,
    ):
        await first.write(put("a"))
        await first.write(put("b"))
        touch = text("UPDATE meta SET value = value || :who WHERE name = :name")

        def crossing(who: str, names: str) -> Callable[[Connection], None]:
            def unit(conn: Connection) -> None:
                conn.execute(touch, {"who": who, "name": names[0]})
                conn.execute(text("SELECT pg_sleep(0.2)"))
                conn.execute(touch, {"who": who, "name": names[1]})

            return unit

        await asyncio.gather(first.write(crossing("1", "ab")), second.write(crossing("2", "ba")))
        values = await first.read(lambda conn: list(conn.scalars(text("SELECT value FROM meta"))))
    assert sorted("".join(sorted(value)) for value in values) == ["12x", "12x"]


@pytest.mark.postgres
async def test_a_lost_connection_is_replaced(postgres_url: str) -> None:
    """The server ends the writer's session: the unit is run again on a new one, once."""
    async with (
        open_database(address_of(postgres_url), pool_size=1) as victim,
        open_database(address_of(postgres_url), pool_size=1) as killer,
    ):
        pid = await victim.write(lambda conn: conn.scalar(text("SELECT pg_backend_pid()")))
        end = text("SELECT pg_terminate_backend(:pid)")
        assert await killer.write(lambda conn: conn.scalar(end, {"pid": pid}))
        assert await victim.write(put("a")) == "a"
        assert await victim.read(names) == ["a"]


@pytest.mark.postgres
async def test_slow_units_are_committed_in_small_groups(postgres_url: str) -> None:
    """A group holds its locks for about half a second, however slow the machine: the next is smaller."""

    def transaction(conn: Connection) -> int:
        return int(conn.scalar(text("SELECT pg_current_xact_id()::text")) or 0)

    def slow(conn: Connection) -> None:
        conn.execute(text("SELECT pg_sleep(0.1)"))

    async with open_database(address_of(postgres_url), pool_size=1) as database:
        await asyncio.gather(*(database.write(slow) for _ in range(5)))
        ids = await asyncio.gather(*(database.write(transaction) for _ in range(24)))
        first, *_, last = ids
        assert ids.count(first) <= 5
        assert ids.count(last) > 5  # the quick ones made it larger again


@pytest.mark.postgres
async def test_what_is_written_at_once_does_not_wait_for_a_slow_group(postgres_url: str) -> None:
    """A lease is renewed while a group takes seconds."""
    done: list[str] = []

    def slow(conn: Connection) -> None:
        conn.execute(text("SELECT pg_sleep(1.5)"))

    async with open_database(address_of(postgres_url), pool_size=1) as database:
        group = asyncio.create_task(database.write(slow))
        group.add_done_callback(lambda _: done.append("group"))
        await asyncio.sleep(0)  # the group is on its way before the beat
        await database.write_at_once(put("beat"))
        done.append("beat")
        await group
        assert done == ["beat", "group"]
        assert "beat" in await database.read(names)


def test_only_what_surely_failed_is_run_again() -> None:
    """A failure in COMMIT itself is never repeated: it may have been committed."""
    assert not GroupError(DBAPIError("x", None, Exception()), unknown=True).passing
    assert not GroupError(ValueError("x")).passing
