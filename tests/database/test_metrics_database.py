"""The metrics database: rows and position move together, once, whatever happens."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.database.metrics import MetricsDatabase, open_metrics_database
from app.database.migrate import migrate
from app.domain.errors import IllegalMoveError
from tests.domain.makers import NOW

pytestmark = pytest.mark.anyio


@pytest.fixture
async def metrics(empty_url: str, tmp_path: Path) -> AsyncIterator[MetricsDatabase]:
    """Open a new metrics database of either kind."""
    await migrate(empty_url, "metrics", tmp_path)
    async with open_metrics_database(empty_url) as opened:
        yield opened


def row(order_id: str, ended_at_us: int = NOW, **given: Any) -> dict[str, Any]:
    """Make a row of a failed order."""
    nothing = dict.fromkeys(
        (
            "first_executing_at_us", "first_signed_at_us", "first_submitted_at_us",
            "finalized_at_us", "base_amount", "quote_amount", "network_fee", "priority_fee",
            "tip", "venue_fee", "slot", "strategy", "price", "method",
        )
    )  # fmt: skip
    return {
        **nothing,
        "order_id": order_id,
        "account": "default",
        "market": "SOL-USDC",
        "action": "SELL",
        "status": "failed",
        "reason_code": "PRICE_LIMIT",
        "attempts": 0,
        "submissions": 0,
        "accepted_at_us": NOW,
        "ended_at_us": ended_at_us,
        **given,
    }


async def kept(metrics: MetricsDatabase) -> list[dict[str, Any]]:
    """Read all rows."""
    return [dict(each) for each in await metrics.executions(since_us=0, limit=100)]


async def test_rows_read_back_with_their_position(metrics: MetricsDatabase) -> None:
    """Amounts of 64 bits to the unit; oldest first."""
    assert await metrics.position() == 0
    rows = [row("b", NOW + 1, base_amount=2**63 - 1, slot=7), row("a", NOW + 1), row("c", NOW)]
    assert await metrics.write(rows, after=0, position=9)
    assert await metrics.position() == 9
    assert await kept(metrics) == [rows[2], rows[1], rows[0]]
    assert [r["order_id"] for r in await metrics.executions(since_us=NOW + 1, limit=1)] == ["a"]


async def test_a_row_replaces_the_one_of_the_same_order(metrics: MetricsDatabase) -> None:
    """A fill that is finalized, or undone, is told anew."""
    await metrics.write([row("a", status="filled", tip=5)], after=0, position=1)
    await metrics.write([row("a"), row("b")], after=1, position=2)
    assert await kept(metrics) == [row("a"), row("b")]


async def test_a_writer_that_comes_second_writes_nothing(metrics: MetricsDatabase) -> None:
    """The position tells who was first; a step without rows moves it too."""
    assert await metrics.write([], after=0, position=5)
    assert not await metrics.write([row("a")], after=0, position=6)
    assert not await metrics.write([row("a")], after=4, position=6)
    assert (await metrics.position(), await kept(metrics)) == (5, [])


async def test_of_two_writers_at_once_one_writes(metrics: MetricsDatabase) -> None:
    """From the beginning, and further on."""
    for after in (0, 10):
        writing = (metrics.write([row("a")], after=after, position=after + 10) for _ in range(4))
        assert sum(await asyncio.gather(*writing)) == 1
    assert await metrics.position() == 20


async def test_rows_that_cannot_be_kept_leave_the_position(metrics: MetricsDatabase) -> None:
    """One transaction: rows and position, or neither."""
    bad = row("b", market=None)
    with pytest.raises(IllegalMoveError):
        await metrics.write([row("a"), bad], after=0, position=5)
    assert (await metrics.position(), await kept(metrics)) == (0, [])


async def test_old_rows_go(metrics: MetricsDatabase) -> None:
    """By the time at which the order ended, in batches, until none is left."""
    old = [row(f"o{n}", NOW) for n in range(600)]
    await metrics.write([*old, row("young", NOW + 1)], after=0, position=5)
    assert await metrics.prune(NOW) == 0
    assert await metrics.prune(NOW + 1) == 600
    assert await kept(metrics) == [row("young", NOW + 1)]


async def test_everything_can_be_derived_anew(metrics: MetricsDatabase) -> None:
    """Cleared, it stands at the trail's beginning."""
    await metrics.write([row("a")], after=0, position=5)
    await metrics.clear()
    assert (await metrics.position(), await kept(metrics)) == (0, [])
    assert await metrics.write([row("a")], after=0, position=1)
