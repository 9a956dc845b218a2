"""The metrics database as the projector uses it: rows and position together, or not at all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from app.database.metrics import MetricsDatabase, open_metrics_database
from app.database.migrate import migrate
from app.domain.errors import IllegalMoveError
from app.metrics.ports import ExecutionRow, MetricsStore
from tests.database.conftest import Server

pytestmark = pytest.mark.anyio
ENDED = 1_000


def row(order_id: str, status: str = "failed", *, ended_at_us: int = ENDED) -> dict[str, object]:
    """Make a row with every column set."""
    made = ExecutionRow(
        order_id=order_id,
        account="default",
        market="SOL-USDC",
        action="SELL",
        strategy="mean",
        price="180.5",
        status=status,
        reason_code="PRICE_LIMIT",
        method="rpc",
        attempts=1,
        submissions=2,
        accepted_at_us=1,
        first_executing_at_us=2,
        first_signed_at_us=3,
        first_submitted_at_us=4,
        ended_at_us=ended_at_us,
        finalized_at_us=6,
        base_amount=2**63 - 1,
        quote_amount=8,
        network_fee=9,
        priority_fee=10,
        tip=11,
        venue_fee=12,
        slot=13,
    )
    return dict(made.columns())


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def running(request: pytest.FixtureRequest) -> Server | None:
    """Start a PostgreSQL, or nothing: what SQLite needs."""
    return request.getfixturevalue("server") if request.param == "postgresql" else None


@pytest.fixture
async def metrics(running: Server | None, tmp_path: Path) -> AsyncIterator[MetricsDatabase]:
    """Open a new metrics database of either kind."""
    url = str(tmp_path / "metrics.db") if running is None else await running.database()
    await migrate(url, "metrics", tmp_path)
    async with open_metrics_database(url) as opened:
        yield opened


async def rows(metrics: MetricsDatabase) -> dict[object, dict[str, object]]:
    """Read every row by its order."""
    return {one["order_id"]: dict(one) for one in await metrics.executions(since_us=0, limit=99)}


async def test_rows_are_kept_whole_with_the_position(metrics: MetricsDatabase) -> None:
    """Every column of the projector's row has its place, up to the largest amount."""
    store: MetricsStore = metrics
    assert await store.position() == 0
    assert await store.write([row("a"), row("b")], after=0, position=7)
    assert await store.position() == 7
    assert await rows(metrics) == {"a": row("a"), "b": row("b")}


async def test_a_row_takes_the_place_of_its_orders_earlier_one(metrics: MetricsDatabase) -> None:
    """All of its columns, also those that are empty now."""
    await metrics.write([row("a", "filled")], after=0, position=1)
    undone = {**row("a"), "base_amount": None, "slot": None}
    assert await metrics.write([undone, row("b")], after=1, position=2)
    assert await rows(metrics) == {"a": undone, "b": row("b")}


async def test_a_position_without_rows_is_kept(metrics: MetricsDatabase) -> None:
    """Most events end no order; the position may also be put back to the beginning."""
    assert await metrics.write([], after=0, position=5)
    assert await metrics.write([], after=5, position=0)
    assert await metrics.position() == 0
    assert await metrics.write([], after=0, position=3)
    assert await metrics.position() == 3


@pytest.mark.parametrize("after", [0, 4, 6])
async def test_a_write_from_another_position_does_nothing(
    metrics: MetricsDatabase, after: int
) -> None:
    """Neither its rows nor its position are taken."""
    await metrics.write([row("a", "filled")], after=0, position=5)
    assert not await metrics.write([row("a"), row("b")], after=after, position=9)
    assert await rows(metrics) == {"a": row("a", "filled")}
    assert await metrics.position() == 5


async def test_a_first_write_from_elsewhere_does_nothing(metrics: MetricsDatabase) -> None:
    """An empty database is at its beginning, and nowhere else."""
    assert not await metrics.write([row("a")], after=5, position=9)
    assert await rows(metrics) == {}


async def test_a_row_that_cannot_be_kept_takes_the_position_back(
    metrics: MetricsDatabase,
) -> None:
    """One transaction holds both."""
    broken = {**row("b"), "market": None}
    with pytest.raises(IllegalMoveError):
        await metrics.write([row("a"), broken], after=0, position=5)
    assert await rows(metrics) == {}
    assert await metrics.position() == 0


@pytest.mark.postgres
async def test_of_two_processes_one_wins(server: Server, tmp_path: Path) -> None:
    """Both at the same position, at the beginning and later: one writes, one is told so."""
    url = await server.database()
    await migrate(url, "metrics", tmp_path)
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(open_metrics_database(url))
        second = await stack.enter_async_context(open_metrics_database(url))
        for after in (0, 1, 2):
            won = await asyncio.gather(
                *(db.write([row("a")], after=after, position=after + 1) for db in (first, second))
            )
            assert sorted(won) == [False, True]
        assert set(await rows(first)) == {"a"}


async def test_pruning_keeps_what_ended_later(metrics: MetricsDatabase) -> None:
    """Only rows of orders that ended before the time go; the position stays."""
    old, young = row("old", ended_at_us=ENDED - 1), row("young", ended_at_us=ENDED)
    await metrics.write([old, young], after=0, position=5)
    assert await metrics.prune(ENDED) == 1
    assert await rows(metrics) == {"young": young}
    assert await metrics.position() == 5
