"""Lists, figures and statistics, on both databases."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from app.database.orders import SqlStore
from app.domain import changes
from app.domain.order import OrderStatus
from app.domain.signal import Action
from app.engine.ports import OrderFilter
from tests.database import steps
from tests.database.steps import SOON
from tests.domain import makers
from tests.domain.makers import FILL, NOW, S

pytestmark = pytest.mark.anyio


async def listed(
    store: SqlStore, which: Mapping[str, Any] | None = None, limit: int = 100
) -> list[str]:
    """List ids."""
    where = OrderFilter(**{"account": "default", **(which or {})})
    views = await store.orders(where, limit=limit, before=None)
    return [view.order.order_id for view in views]


async def test_orders_are_listed_newest_first(store: SqlStore) -> None:
    """By the time of acceptance, then by id."""
    for order_id, at_us in (("a", NOW), ("c", NOW + 1), ("b", NOW + 1)):
        await steps.accept(store, order_id, accepted_at_us=at_us)
    assert await listed(store) == ["c", "b", "a"]
    assert await listed(store, limit=2) == ["c", "b"]


async def test_a_cursor_stays_valid_under_new_orders(store: SqlStore) -> None:
    """Walking pages while orders arrive shows each older order once."""
    for n in range(10):
        await steps.accept(store, f"o{n}", accepted_at_us=NOW + n // 3)
    seen: list[str] = []
    before: tuple[int, str] | None = None
    where = OrderFilter(account="default")
    while views := await store.orders(where, limit=3, before=before):
        seen += [view.order.order_id for view in views]
        before = (views[-1].order.accepted_at_us, views[-1].order.order_id)
        await steps.accept(store, f"new{len(seen)}", accepted_at_us=NOW + 100)
    assert seen == [f"o{n}" for n in reversed(range(10))]


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        ({"market": "SOL-USDC"}, ["c", "a"]),
        ({"action": "BUY"}, ["b"]),
        ({"strategy": "s"}, ["c"]),
        ({"client_order_id": "mine"}, ["b"]),
        ({"status": OrderStatus.CANCELED}, ["a"]),
        ({"from_us": NOW + 1}, ["c", "b"]),
        ({"to_us": NOW + 1}, ["a"]),
        ({"from_us": NOW + 1, "to_us": NOW + 2, "market": "SOL-USDC"}, []),
        ({"account": "other"}, ["d"]),
    ],
)
async def test_filters_narrow_a_list(
    store: SqlStore, which: dict[str, object], expected: list[str]
) -> None:
    """Each filter alone and together; an account never sees another's orders."""
    await steps.accept(store, "a", accepted_at_us=NOW)
    await store.cancel("default", "a", SOON)
    buy = makers.signal(Action.BUY, market="B-C", client_order_id="mine")
    await steps.accept(store, "b", accepted_at_us=NOW + 1, signal=buy)
    await steps.accept(store, "c", accepted_at_us=NOW + 2, signal=makers.signal(strategy="s"))
    await steps.accept(store, "d", account="other")
    assert await listed(store, which) == expected


async def test_a_list_shows_attempts_and_pushes(store: SqlStore) -> None:
    """Each order comes with its own."""
    pushed = await steps.push(store, await steps.sign(store, await steps.begin(store, "a")))
    signed = await steps.sign(store, await steps.begin(store, "b"))
    await steps.accept(store, "c")
    views = await store.orders(OrderFilter(account="default"), limit=10, before=None)
    assert [view.attempts for view in views] == [(), signed.view.attempts, pushed.view.attempts]


async def test_figures_count_the_queue(store: SqlStore) -> None:
    """Pending, active (in doubt included), completed, the oldest of each kind."""
    empty = await store.figures()
    assert (empty.pending, empty.active, empty.completed, empty.in_doubt) == (0, 0, 0, 0)
    assert (empty.oldest_queued_us, empty.oldest_in_doubt_us) == (None, None)
    doubt = await steps.sign(store, await steps.begin(store, "doubt"))
    change = changes.in_doubt(steps.live(doubt), at_us=SOON, why="no answer")
    await steps.record(store, doubt, change)
    await steps.fill(store, await steps.sign(store, await steps.begin(store, "filled")))
    await steps.begin(store, "executing")
    await steps.accept(store, "late", accepted_at_us=NOW + 2)
    await steps.accept(store, "early", accepted_at_us=NOW + 1)
    await asyncio.sleep(1)  # a count that took long, on a busy machine, is kept for a while
    figures = await store.figures()
    assert (figures.pending, figures.active, figures.completed, figures.in_doubt) == (2, 2, 1, 1)
    assert figures.by_status[OrderStatus.SUBMITTED] == 1
    assert figures.by_status[OrderStatus.FILLED] == 1
    assert set(figures.by_status) == set(OrderStatus)
    assert (figures.oldest_queued_us, figures.oldest_in_doubt_us) == (NOW + 1, SOON)


async def test_statistics_add_up_exactly(store: SqlStore) -> None:
    """Volumes, fees and times by status, market, action, strategy, method and reason."""
    for n in range(2):
        claimed = await steps.push(
            store, await steps.sign(store, await steps.begin(store, f"f{n}"))
        )
        await steps.fill(store, claimed)
    await steps.accept(store, "canceled")
    await store.cancel("default", "canceled", NOW + 3 * S)
    await steps.accept(store, "other", account="other")
    canceled, filled = await store.statistics(OrderFilter(account="default"))
    assert (filled.status, filled.market, filled.action) == (OrderStatus.FILLED, "SOL-USDC", "SELL")
    assert (filled.method, filled.reason, filled.orders) == ("rpc", None, 2)
    assert filled.base_amount == 2 * FILL.base_amount
    assert filled.quote_amount == 2 * FILL.quote_amount
    assert (filled.network_fees, filled.priority_fees, filled.tips) == (10_000, 200, 0)
    assert filled.seconds_total_us == 2 * S
    assert (canceled.status, canceled.reason) == (OrderStatus.CANCELED, "CANCEL_REQUESTED")
    assert (canceled.orders, canceled.base_amount, canceled.seconds_total_us) == (1, 0, 3 * S)
    assert await store.statistics(OrderFilter(account="nobody")) == []


async def test_a_clock_that_went_back_gives_negative_times(store: SqlStore) -> None:
    """Sums of negative durations stay exact too."""
    await steps.accept(store, "a")
    await store.cancel("default", "a", NOW - 7)
    (row,) = await store.statistics(OrderFilter(account="default"))
    assert row.seconds_total_us == -7


async def test_a_read_sees_one_moment(store: SqlStore) -> None:
    """While an order is driven on, every view fits together: submitted means a live attempt."""
    stop = asyncio.Event()

    async def watch() -> int:
        views = 0
        while not stop.is_set():
            for view in await store.orders(OrderFilter(account="default"), limit=50, before=None):
                submitted = view.order.status is OrderStatus.SUBMITTED
                assert submitted == (view.live_attempt is not None)
                views += 1
        return views

    watching = asyncio.create_task(watch())
    for n in range(20):
        claimed = await steps.push(
            store, await steps.sign(store, await steps.begin(store, f"o{n}"))
        )
        await steps.fill(store, claimed)
    stop.set()
    assert await watching > 0
