"""The projector loses nothing, counts nothing twice, and never falls over."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.domain.errors import ReasonCode
from app.domain.order import OrderStatus
from app.metrics.execution_metrics import DAY_US, ExecutionMetrics, Pace
from tests.metrics.fakes import Broken, ManualClock, MemoryMetrics, Trail, at_once
from tests.metrics.lives import Life, filled

pytestmark = pytest.mark.anyio
PATIENCE = 10


@pytest.fixture
def trail() -> Trail:
    """Begin a trail."""
    return Trail()


@pytest.fixture
async def store() -> MemoryMetrics:
    """Begin a metrics database."""
    return MemoryMetrics()


@pytest.fixture
def clock() -> ManualClock:
    """Stop the time."""
    return ManualClock()


def follow(
    trail: Trail, store: MemoryMetrics, clock: ManualClock | None = None, **given: Any
) -> ExecutionMetrics:
    """Make a projector, as a start of the service does."""
    pace = Pace(**{"poll_seconds": 0.001, "backoff_seconds": 0.001, **given})
    return ExecutionMetrics(
        trail,
        store,
        clock=clock or ManualClock(),
        retention_days=30,
        cleanup_seconds=3_600,
        pace=pace,
    )


@asynccontextmanager
async def running(metrics: ExecutionMetrics) -> AsyncIterator[None]:
    """Let it run beside the test; it must still run at the end."""
    task = asyncio.create_task(metrics.run())
    yield
    assert not task.done(), "it never ends by itself"
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert task.cancelled(), "a cancellation is not swallowed"


async def until(store: MemoryMetrics, reached: int) -> None:
    """Wait until the store has committed a position."""
    async with asyncio.timeout(PATIENCE):
        while store.reached < reached:
            store.changed.clear()
            await store.changed.wait()


def ended(order_id: str) -> Life:
    """Tell of an order that failed at once."""
    return Life(order_id).accepted().ended(OrderStatus.FAILED, ReasonCode.PRICE_LIMIT)


# ---------------------------------------------------------------- rows


async def test_every_ended_order_gets_a_row_and_no_other(
    trail: Trail, store: MemoryMetrics
) -> None:
    """An order on its way has none; the position covers its events all the same."""
    trail.seal(filled("a"), Life("b").accepted().claimed(), Life("c").rejected(), ended("d"))
    metrics = follow(trail, store)
    await metrics.catch_up()
    assert store.statuses() == {"a": "filled", "c": "rejected", "d": "failed"}
    assert store.reached == metrics.seen_position == len(trail.events)


async def test_a_row_is_the_same_however_its_events_are_cut_into_batches(trail: Trail) -> None:
    """Batches of 1 to 8 events, and one of all, give equal rows."""
    trail.seal(filled("a"), upto=3)
    trail.seal(filled("b"), ended("c"), filled("a"))
    found = []
    for size in (1, 2, 3, 5, 8, 100):
        store = MemoryMetrics()
        await follow(trail, store, batch=size).catch_up()
        found.append(store.rows)
    assert set(found[0]) == {"a", "b", "c"}
    assert all(rows == found[0] for rows in found)


async def test_a_life_inside_one_batch_is_not_read_again(
    trail: Trail, store: MemoryMetrics
) -> None:
    """Only an order whose beginning came earlier costs a read."""
    metrics, life = follow(trail, store), filled("a")
    trail.seal(life, upto=2)
    await metrics.catch_up()
    trail.seal(life, ended("b"))
    await metrics.catch_up()
    assert trail.lives_read == ["a"]
    assert store.statuses() == {"a": "filled", "b": "failed"}


async def test_finality_and_a_reverted_fill_change_the_row(
    trail: Trail, store: MemoryMetrics
) -> None:
    """What becomes known after the end is put into the row that is there."""
    metrics = follow(trail, store)
    settled = filled("a")
    undone = Life("b").accepted().claimed().signed().pushed("rpc").filled()
    trail.seal(settled, upto=5)
    trail.seal(undone)
    await metrics.catch_up()
    assert [row["finalized_at_us"] for row in store.rows.values()] == [None, None]
    trail.seal(settled, undone.reverted())
    await metrics.catch_up()
    assert store.statuses() == {"a": "filled", "b": "failed"}
    assert store.rows["a"]["finalized_at_us"] is not None
    assert store.rows["b"]["base_amount"] is None


async def test_an_order_that_cannot_be_read_does_not_stop_the_others(
    trail: Trail, store: MemoryMetrics
) -> None:
    """One whose beginning was cleaned away, or whose events are all gone, is passed over by name."""
    trail.seal(filled("cut"), upto=2)
    trail.first = 2
    trail.seal(filled("cut"), ended("whole"))
    with capture_logs() as logs:
        await follow(trail, store).catch_up()
    assert store.statuses() == {"whole": "failed"}
    assert store.reached == len(trail.events)
    assert {log["order_id"] for log in logs} == {"cut"}


# ---------------------------------------------------------------- crashes


class Crash(BaseException):
    """The process dies here: no handler runs."""


@pytest.fixture
def lives() -> list[Life]:
    """Tell of some orders, enough for several batches of two."""
    return [filled("a"), ended("b"), filled("c"), Life("d").rejected()]


@pytest.mark.parametrize("moment", ["before_commit", "after_commit"])
@pytest.mark.parametrize("nth", range(1, 9))
async def test_a_crash_around_any_write_repeats_it_and_loses_nothing(
    trail: Trail, lives: list[Life], moment: str, nth: int
) -> None:
    """The rows after a crash and a new start are those of a run without one."""
    trail.seal(*lives)
    calm, store = MemoryMetrics(), MemoryMetrics()
    await follow(trail, calm, batch=2).catch_up()
    assert calm.writes == 8

    def crash() -> None:
        if store.writes == nth:
            raise Crash

    setattr(store, moment, crash)
    with pytest.raises(Crash):
        await follow(trail, store, batch=2).catch_up()
    committed = nth if moment == "after_commit" else nth - 1
    assert store.reached == min(2 * committed, len(trail.events))
    setattr(store, moment, lambda: None)
    await follow(trail, store, batch=2).catch_up()
    assert store.rows == calm.rows
    assert store.reached == calm.reached


async def test_a_new_metrics_database_is_filled_from_the_trail(
    trail: Trail, store: MemoryMetrics, lives: list[Life]
) -> None:
    """Nothing is lost with a metrics database: its rows are derived again."""
    trail.seal(*lives)
    await follow(trail, store).catch_up()
    anew = MemoryMetrics()
    await follow(trail, anew).catch_up()
    assert anew.rows == store.rows


async def test_a_database_changed_for_an_older_one_while_running_is_made_up_for(
    trail: Trail, store: MemoryMetrics
) -> None:
    """The position in the database counts, not the one in memory."""
    metrics = follow(trail, store)
    trail.seal(ended("a"))
    await metrics.catch_up()
    store.rows, store.reached = {}, 0
    trail.seal(ended("b"))
    await metrics.catch_up()
    assert store.statuses() == {"a": "failed", "b": "failed"}


async def test_a_trail_shorter_than_the_position_is_read_from_its_beginning(
    trail: Trail, store: MemoryMetrics
) -> None:
    """The orders database was replaced: its events are not skipped as known."""
    store.reached = 50
    trail.seal(ended("a"))
    metrics = follow(trail, store)
    with capture_logs() as logs:
        await metrics.catch_up()
    assert store.statuses() == {"a": "failed"}
    assert metrics.seen_position == store.reached == 2
    assert [log["was_at"] for log in logs] == [50]


async def test_the_position_found_moved_at_the_reset_is_asked_for_again(
    trail: Trail, store: MemoryMetrics
) -> None:
    """Another process reset it first: its progress is kept."""
    trail.seal(ended("a"), ended("b"))
    store.reached = 50

    def other() -> None:
        store.reached, store.before_commit = 2, lambda: None

    store.before_commit = other
    await follow(trail, store).catch_up()
    assert store.statuses() == {"b": "failed"}


async def test_two_processes_may_follow_one_trail(trail: Trail, store: MemoryMetrics) -> None:
    """Whoever finds the position moved writes nothing and goes on from there: no old row returns."""
    life = Life("a").accepted().claimed().signed().pushed("rpc").filled()
    trail.seal(life)
    slow, fast = follow(trail, store), follow(trail, store)

    async def overtake() -> None:
        store.before_write = at_once
        trail.seal(life.finalized())
        await fast.catch_up()

    store.before_write = overtake
    await slow.catch_up()
    assert store.rows["a"]["finalized_at_us"] is not None
    assert slow.seen_position == store.reached == len(trail.events)


# ---------------------------------------------------------------- running


async def test_it_follows_the_trail_while_running(trail: Trail, store: MemoryMetrics) -> None:
    """Woken, it does not wait for the poll."""
    metrics = follow(trail, store, poll_seconds=PATIENCE * 10)
    async with running(metrics):
        trail.seal(ended("a"))
        metrics.wake()
        await until(store, 2)
        trail.seal(ended("b"))
        metrics.wake()
        await until(store, 4)
    assert store.statuses() == {"a": "failed", "b": "failed"}


async def test_it_finds_events_without_being_woken(trail: Trail, store: MemoryMetrics) -> None:
    """Those that another process sealed."""
    async with running(follow(trail, store)):
        trail.seal(ended("a"))
        await until(store, 2)


async def test_a_broken_database_is_tried_again_until_it_is_whole(
    trail: Trail, store: MemoryMetrics
) -> None:
    """Whatever it raises, nothing ends, and what was missed is made up for."""
    errors = iter([Broken("disk"), OSError("gone"), ValueError("odd"), TimeoutError()])

    def fail() -> None:
        error = next(errors, None)
        if error is not None:
            raise error

    store.before_commit = fail
    trail.seal(ended("a"))
    with capture_logs():
        async with running(follow(trail, store)):
            await until(store, 2)
    assert store.writes == 5


async def test_a_database_that_hangs_is_one_that_fails(
    trail: Trail, store: MemoryMetrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wait without an end is cut off and tried again."""
    asked = 0

    async def position() -> int:
        nonlocal asked
        asked += 1
        if asked == 1:
            await asyncio.Event().wait()
        return 0

    monkeypatch.setattr(store, "position", position)
    trail.seal(ended("a"))
    with capture_logs():
        async with running(follow(trail, store, step_seconds=0.01)):
            await until(store, 2)
    assert asked == 2


async def test_trouble_is_told_once_a_minute(
    trail: Trail, store: MemoryMetrics, clock: ManualClock
) -> None:
    """Many failures in a minute are one line, with what was raised; the next minute has its own."""
    failures, enough = 0, asyncio.Event()

    def fail() -> None:
        nonlocal failures
        failures += 1
        if failures in (5, 10):
            enough.set()
        raise Broken("disk")

    store.before_commit = fail
    trail.seal(ended("a"))
    with capture_logs() as logs:
        metrics = follow(trail, store, clock, backoff_seconds=0.0)
        async with running(metrics), asyncio.timeout(PATIENCE):
            await enough.wait()
            assert len(logs) == 1
            enough.clear()
            clock.seconds += 60
            await enough.wait()
    assert [log["why"] for log in logs] == ["Broken('disk')"] * 2


async def test_old_rows_are_removed_at_intervals(
    trail: Trail, store: MemoryMetrics, clock: ManualClock
) -> None:
    """At the start and then once an interval, those past their retention."""
    metrics = follow(trail, store, clock)
    async with running(metrics):
        trail.seal(ended("a"))
        await until(store, 2)
        trail.seal(ended("b"))
        await until(store, 4)
        assert store.pruned == [clock.now_us() - 30 * DAY_US]
        clock.seconds += 3_600
        async with asyncio.timeout(PATIENCE):
            while len(store.pruned) < 2:
                metrics.wake()
                await asyncio.sleep(0)
    assert store.pruned[1] == clock.now_us() - 30 * DAY_US


async def test_nothing_counts_as_seen_before_the_position_is_known(
    trail: Trail, store: MemoryMetrics
) -> None:
    """Until the metrics database has answered, every event is still needed."""
    store.reached = 4
    trail.seal(ended("a"), ended("b"))
    metrics = follow(trail, store)
    assert metrics.seen_position == 0
    await metrics.catch_up()
    assert metrics.seen_position == 4
