"""Trading is halted and resumed for all processes: stored, told once, and asked by STORE itself."""

import pytest

from app.database.orders import SqlStore, open_store
from app.domain.events import SYSTEM, Event, EventKind
from app.domain.order import OrderStatus
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
