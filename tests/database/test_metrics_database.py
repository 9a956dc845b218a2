"""The metrics database: rows from sealed events alone, counted once whatever happens."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from app.database.metrics import MetricsDatabase, open_metrics_database
from app.database.migrate import migrate
from app.database.orders import SqlStore
from app.domain import changes
from app.domain.errors import ReasonCode
from app.domain.events import Event, EventKind
from app.domain.order import OrderStatus
from tests.database import steps
from tests.database.conftest import Server
from tests.database.steps import SOON, new_order
from tests.domain.makers import FILL, NOW, PROOF, S

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
async def metrics(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MetricsDatabase]:
    """Open a new metrics database of either kind."""
    url = str(tmp_path / "metrics.db")
    if request.param == "postgresql":
        server: Server = request.getfixturevalue("server")
        url = await server.database()
    await migrate(url, "metrics", tmp_path)
    async with open_metrics_database(url) as opened:
        yield opened


@pytest.fixture
def url(sqlite_url: str) -> str:
    """Let the orders lie in a SQLite file: only their events matter here."""
    return sqlite_url


async def trade(store: SqlStore) -> Sequence[Event]:
    """Fill one order after a dead attempt, cancel one, reject one, leave one waiting."""
    claimed = await steps.sign(store, await steps.begin(store, "filled"))
    dead = steps.expiry(claimed)
    await steps.record(store, claimed, dead, steps.requeue(claimed, SOON, dead))
    claimed = await steps.push(store, await steps.sign(store, await steps.claim(store)))
    await steps.finalize(store, await steps.fill(store, claimed))
    await steps.accept(store, "canceled")
    await store.cancel("default", "canceled", SOON)
    await store.accept(
        new_order("rejected"), full=False, rejection=(ReasonCode.SIGNAL_STALE.value, "old")
    )
    await steps.accept(store, "waiting")
    return await steps.seal_all(store)


async def test_a_row_says_what_the_events_say(store: SqlStore, metrics: MetricsDatabase) -> None:
    """Amounts to the unit, times, attempts, pushes and the method that won."""
    events = await trade(store)
    assert await metrics.apply(events) == len(events)
    rows = {row["order_id"]: row for row in await metrics.executions(since_us=0, limit=10)}
    assert set(rows) == {"filled", "canceled", "rejected"}
    filled = rows["filled"]
    for name in ("base_amount", "quote_amount", "network_fee", "priority_fee", "tip", "venue_fee"):
        assert filled[name] == getattr(FILL, name)
    assert (filled["status"], filled["reason_code"]) == ("filled", None)
    assert (filled["attempts"], filled["submissions"], filled["method"]) == (2, 1, "rpc")
    assert (filled["accepted_at_us"], filled["ended_at_us"]) == (NOW, SOON)
    assert (filled["first_signed_at_us"], filled["first_submitted_at_us"]) == (SOON, SOON)
    assert (filled["finalized_at_us"], filled["slot"]) == (SOON + S, FILL.slot)
    assert rows["canceled"]["reason_code"] == "CANCEL_REQUESTED"
    assert (rows["rejected"]["status"], rows["rejected"]["reason_code"]) == (
        "rejected",
        "SIGNAL_STALE",
    )


async def test_events_are_counted_once(store: SqlStore, metrics: MetricsDatabase) -> None:
    """Fed again, in part or in whole, cut anywhere: the same rows."""
    events = await trade(store)
    for start, end in ((0, 5), (3, 9), (0, 9), (9, 100), (0, 100)):
        await metrics.apply(events[start:end])
    assert await metrics.position() == len(events)
    (filled,) = [r for r in await metrics.executions(since_us=0, limit=9) if r["slot"]]
    assert (filled["attempts"], filled["submissions"]) == (2, 1)


async def test_two_consumers_at_once_count_once(store: SqlStore, metrics: MetricsDatabase) -> None:
    """The cursor moves in the transaction that writes the rows."""
    events = await trade(store)
    await asyncio.gather(*(metrics.apply(events) for _ in range(4)))
    (filled,) = [r for r in await metrics.executions(since_us=0, limit=9) if r["slot"]]
    assert filled["submissions"] == 1


async def test_rows_are_rebuilt_from_the_trail(store: SqlStore, metrics: MetricsDatabase) -> None:
    """Cleared and fed again, they are the same."""
    events = await trade(store)
    await metrics.apply(events)
    before = await metrics.executions(since_us=0, limit=10)
    await metrics.clear()
    assert (await metrics.position(), await metrics.executions(since_us=0, limit=9)) == (0, [])
    await metrics.apply(events)
    assert await metrics.executions(since_us=0, limit=10) == before


async def test_an_undone_fill_counts_as_failed(store: SqlStore, metrics: MetricsDatabase) -> None:
    """Amounts and method go with the fill."""
    claimed = await steps.fill(store, await steps.sign(store, await steps.begin(store)))
    undone = changes.fill_reverted(claimed.view.attempts[0], at_us=SOON, proof=PROOF)
    await steps.record(store, claimed, undone)
    await metrics.apply(await steps.seal_all(store))
    (row,) = await metrics.executions(since_us=0, limit=10)
    assert (row["status"], row["reason_code"]) == (OrderStatus.FAILED.value, "FILL_REVERTED")
    assert (row["base_amount"], row["method"]) == (None, None)


async def test_a_take_over_does_not_move_a_submitted_order(
    store: SqlStore, metrics: MetricsDatabase
) -> None:
    """Recovery is told and changes no figure."""
    await steps.sign(store, await steps.begin(store))
    event = Event(
        order_id="order1",
        seq=4,
        at_us=SOON,
        kind=EventKind.CLAIMED,
        data={"from": "submitted", "recovered": True, "process": "x"},
        position=4,
        hash="x",
    )
    await metrics.apply([*await steps.seal_all(store), event])
    assert await metrics.position() == 4
    assert await metrics.executions(since_us=0, limit=10) == []


async def test_old_rows_go(store: SqlStore, metrics: MetricsDatabase) -> None:
    """By the time at which the order ended; what has not ended stays."""
    await metrics.apply(await trade(store))
    assert await metrics.prune(SOON) == 1
    assert await metrics.prune(SOON + 1) == 2
    assert await metrics.prune(SOON + 1) == 0
