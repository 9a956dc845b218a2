"""From orders in one real database to rows in another."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.database.metrics import MetricsDatabase, open_metrics_database
from app.database.migrate import migrate
from app.database.orders import SqlStore, open_store
from app.domain.events import EventKind
from app.metrics.execution_metrics import ExecutionMetrics
from app.metrics.ports import EventSource
from tests.database import steps
from tests.domain.makers import FILL, NOW
from tests.metrics.fakes import ManualClock

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    """Open a new orders database."""
    url = str(tmp_path / "orders.db")
    await migrate(url, "orders", tmp_path)
    async with open_store(url, process_name="test") as opened:
        yield opened


@pytest.fixture
async def metrics_url(tmp_path: Path) -> str:
    """Make a new metrics database."""
    url = str(tmp_path / "metrics.db")
    await migrate(url, "metrics", tmp_path)
    return url


@pytest.fixture
async def metrics(metrics_url: str) -> AsyncIterator[MetricsDatabase]:
    """Open it."""
    async with open_metrics_database(metrics_url) as opened:
        yield opened


def follow(source: EventSource, metrics: MetricsDatabase) -> ExecutionMetrics:
    """Make a projector between the two."""
    return ExecutionMetrics(
        source, metrics, clock=ManualClock(), retention_days=30, cleanup_seconds=3_600
    )


async def seal(store: SqlStore) -> int:
    """Seal everything; gives the end of the trail."""
    await steps.seal_all(store)
    return await store.trail_end()


async def test_an_order_filled_in_one_database_is_a_row_in_the_other(
    store: SqlStore, metrics: MetricsDatabase
) -> None:
    """The store's own events carry all that a row says."""
    filled = await steps.fill(
        store, await steps.push(store, await steps.sign(store, await steps.begin(store)))
    )
    projector = follow(store, metrics)
    await projector.catch_up()
    assert await metrics.position() == 0, "what is not sealed is not read"
    end = await seal(store)
    await projector.catch_up()
    (row,) = await metrics.executions(since_us=0, limit=10)
    assert (row["order_id"], row["account"], row["market"]) == ("order1", "default", "SOL-USDC")
    assert (row["status"], row["method"], row["attempts"]) == ("filled", "rpc", 1)
    assert (row["base_amount"], row["slot"]) == (FILL.base_amount, FILL.slot)
    assert row["accepted_at_us"] == NOW
    assert row["first_executing_at_us"] == row["first_signed_at_us"] == steps.SOON
    assert row["finalized_at_us"] is None
    assert await metrics.position() == projector.seen_position == end
    await steps.finalize(store, filled)
    await seal(store)
    await projector.catch_up()
    (row,) = await metrics.executions(since_us=0, limit=10)
    assert row["finalized_at_us"] is not None


async def test_rejected_and_canceled_orders_are_rows_too(
    store: SqlStore, metrics: MetricsDatabase
) -> None:
    """Those that no worker ever touched."""
    await steps.accept(store, "gone")
    await store.cancel("default", "gone", steps.SOON)
    await store.accept(
        steps.new_order("late"), full=False, rejection=("SIGNAL_STALE", "it was late")
    )
    await seal(store)
    await follow(store, metrics).catch_up()
    found = {r["order_id"]: r["status"] for r in await metrics.executions(since_us=0, limit=10)}
    assert found == {"gone": "canceled", "late": "rejected"}


async def test_events_of_the_system_are_read_over(
    store: SqlStore, metrics: MetricsDatabase
) -> None:
    """They are no order's: the position moves past them, and no row is made of them."""
    await store.note(EventKind.METHOD_BREAKER, {"method": "rpc", "to": "open"}, steps.SOON)
    await steps.accept(store, "gone")
    await store.switch_method("rpc", disabled=True, at_us=steps.SOON)
    await store.cancel("default", "gone", steps.SOON)
    await store.reset_method("rpc", steps.SOON)
    end = await seal(store)
    projector = follow(store, metrics)
    await projector.catch_up()
    assert projector.seen_position == end == 5
    assert [r["order_id"] for r in await metrics.executions(since_us=0, limit=10)] == ["gone"]


async def test_only_asked_for_and_sealed_lives_are_read(store: SqlStore) -> None:
    """A history is whole, in order, and never another order's."""
    for order_id in ("a", "b", "c"):
        await steps.accept(store, order_id)
    await store.cancel("default", "a", steps.SOON)
    await seal(store)
    await store.cancel("default", "b", steps.SOON)
    lives = await store.histories(["a", "b", "unknown"])
    assert {order_id: [e.seq for e in life] for order_id, life in lives.items()} == {
        "a": [1, 2],
        "b": [1],
    }
    assert await store.histories([]) == {}


KILLED = """
import asyncio, os, signal, sys
from app.database.metrics import open_metrics_database
from app.database.orders import open_store
from app.metrics.execution_metrics import ExecutionMetrics, Pace
from tests.metrics.fakes import ManualClock


class Dying:
    def __init__(self, store, writes):
        self.store, self.writes = store, writes

    async def position(self):
        return await self.store.position()

    async def write(self, rows, *, after, position):
        written = await self.store.write(rows, after=after, position=position)
        self.writes -= 1
        if self.writes == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return written


async def main(orders, metrics, writes):
    async with open_store(orders, process_name="dying") as store:
        async with open_metrics_database(metrics) as database:
            projector = ExecutionMetrics(
                store, Dying(database, writes), clock=ManualClock(), retention_days=30,
                cleanup_seconds=60, pace=Pace(batch=3),
            )
            await projector.catch_up()


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


@pytest.mark.parametrize("writes", [1, 3])
async def test_a_killed_process_leaves_rows_and_position_that_agree(
    tmp_path: Path, metrics_url: str, writes: int
) -> None:
    """By kill -9, after a commit; the next start goes on, and every order has its row, once."""
    orders_url = str(tmp_path / "orders.db")
    await migrate(orders_url, "orders", tmp_path)
    async with open_store(orders_url, process_name="test") as store:
        for number in range(5):
            await steps.accept(store, f"order{number}")
            await store.cancel("default", f"order{number}", steps.SOON)
        end = await seal(store)
    arguments = [sys.executable, "-c", KILLED, orders_url, metrics_url, str(writes)]
    killed = await asyncio.create_subprocess_exec(*arguments)
    async with asyncio.timeout(60):
        assert await killed.wait() == -signal.SIGKILL
    async with (
        open_store(orders_url, process_name="next") as store,
        open_metrics_database(metrics_url) as metrics,
    ):
        assert await metrics.position() == 3 * writes
        await follow(store, metrics).catch_up()
        rows = await metrics.executions(since_us=0, limit=99)
        assert [row["order_id"] for row in rows] == [f"order{number}" for number in range(5)]
        assert await metrics.position() == end == 10
