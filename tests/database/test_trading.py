"""Trading is halted and resumed for all processes: stored, told once, and asked by STORE itself."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import text

from app.database.addresses import PostgresServer, address_of
from app.database.engine import postgres_engine
from app.database.orders import SqlStore, open_store
from app.domain.events import SYSTEM, Event, EventKind
from app.domain.order import OrderStatus
from app.engine.ports import Claimed
from app.engine.store_port import Halted, TradingState
from tests.database import steps
from tests.database.steps import SOON

pytestmark = pytest.mark.anyio
ACTIVE = TradingState(halted=False)


async def own(store: SqlStore) -> list[Event]:
    """Seal all there is, and give the events of the system."""
    return [event for event in await steps.seal_all(store) if event.order_id == SYSTEM]


async def test_a_halt_is_kept_across_starts_and_told_once(url: str) -> None:
    """Halted again it keeps its reason; resumed it is as if nothing had been, but for the trail."""
    async with open_store(url, process_name="first") as store:
        assert await store.trading_state() == ACTIVE
        halted = await store.halt("too wild", SOON)
        assert halted == TradingState(halted=True, reason="too wild", since_us=SOON)
        assert await store.halt("wilder", SOON + 1) == halted
    async with open_store(url, process_name="second") as store:
        assert await store.trading_state() == halted
        assert await store.resume(SOON + 2) == ACTIVE
        assert await store.resume(SOON + 3) == ACTIVE
        first, second = await own(store)
    assert (first.kind, first.data) == (EventKind.TRADING_HALTED, {"reason": "too wild"})
    assert (second.kind, second.at_us) == (EventKind.TRADING_RESUMED, SOON + 2)
    assert second.data == {"reason": "too wild", "halted_since_us": SOON}


async def test_nothing_is_stored_to_be_sent_while_it_is_halted(store: SqlStore) -> None:
    """The last look is STORE's own, in its transaction: a process may not have heard of it yet."""
    claimed = await steps.begin(store)
    await store.halt(None, SOON)
    assert await steps.try_to_store(store, claimed) == Halted()
    assert await steps.status(store) is OrderStatus.EXECUTING
    await store.resume(SOON)
    assert (await steps.sign(store, claimed)).view.live_attempt is not None


async def test_only_what_is_alive_is_claimed_to_be_watched(url: str) -> None:
    """Orders that would have to be signed stay where they are."""
    async with open_store(url, process_name="first") as store:
        await steps.sign(store, await steps.begin(store, "live"))
        await steps.begin(store, "executing")
        await steps.accept(store, "queued")
    async with open_store(url, process_name="second") as store:
        claimed = await store.claim(10, SOON, live_only=True)
        assert [each.view.order.order_id for each in claimed] == ["live"]
        assert await store.claim(10, SOON, live_only=True) == []


@pytest.mark.postgres
async def test_a_halt_that_was_answered_leaves_no_store_on_its_way(
    postgres_url: str, two_stores: tuple[SqlStore, SqlStore]
) -> None:
    """A STORE that asked before and is held up after is waited for.

    The race: it saw no halt, another process halted and told its operator so, and then it committed.
    """
    first, second = two_stores
    claimed = await steps.begin(first)
    async with held_up(postgres_url, "order1") as met:
        storing = asyncio.create_task(steps.try_to_store(first, claimed))
        await met()
        halting = asyncio.create_task(second.halt(None, SOON))
        await asyncio.wait({halting}, timeout=0.3)
        assert not halting.done()
    await halting
    assert storing.done() or isinstance(await storing, Claimed)
    view = await second.view("default", "order1")
    assert view is not None
    assert view.order.status is OrderStatus.SUBMITTED, "it was stored before the halt was answered"


@asynccontextmanager
async def held_up(url: str, order_id: str) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Lock an order's row; what is given waits until somebody waits for it."""
    address = address_of(url)
    assert isinstance(address, PostgresServer)
    engine = postgres_engine(address, size=1)
    lock = text("SELECT order_id FROM orders WHERE order_id = :id FOR UPDATE")
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    pause = text("SELECT pg_sleep(0.01)")
    try:
        async with engine.connect() as conn:
            await conn.execute(lock, {"id": order_id})

            async def met() -> None:
                while not await conn.scalar(waiting):
                    await conn.execute(pause)

            yield met
    finally:
        await engine.dispose()
