"""Executions that the database denies: ends stay and say so, and open orders are signed no more."""

import pytest

from app.database.orders import SqlStore, open_store
from app.domain.attempt import AttemptStatus
from app.domain.audit import differences
from app.domain.errors import ReasonCode
from app.domain.events import EventKind
from app.domain.order import OrderStatus, OrderView
from tests.database import steps
from tests.database.steps import SOON
from tests.database.test_recovery import lost, marked, told

pytestmark = pytest.mark.anyio


async def read(store: SqlStore, order_id: str = "order1") -> OrderView:
    """Read an order, which agrees with what its events tell."""
    view = await store.recovery.order(order_id)
    assert view is not None
    events = [each for each in await steps.seal_all(store) if each.order_id == order_id]
    assert list(differences(view, events, len(events))) == []
    return view


async def test_an_end_that_the_chain_denies_stays_and_says_so_once(url: str) -> None:
    """The status is not moved; the order's own document names the transaction."""
    async with open_store(url, process_name="before") as store:
        await steps.accept(store)
        await store.cancel("default", "order1", SOON)
    async with marked(url) as store:
        assert not await store.recovery.recover_attempt(lost("order1"), (), SOON)
        assert await store.recovery.contradict("order1", "sig", 5_005, SOON)
        assert not await store.recovery.contradict("order1", "sig", 5_005, SOON)
        order = (await read(store)).order
        assert order.status is OrderStatus.CANCELED
        assert "transaction sig executed it in slot 5005" in (order.reason or "")
        (data,) = await told(store, EventKind.CONTRADICTED)
        assert data == {"signature": "sig", "slot": 5_005, "status": "canceled"}


async def proved_dead(store: SqlStore) -> str:
    """Sign an attempt and believe a wrong proof: the order waits for the next; gives the signature."""
    held = await steps.sign(store, await steps.begin(store))
    dead = steps.expiry(held)
    await steps.record(store, held, dead, steps.requeue(held, SOON, dead))
    return steps.live(held).signature


@pytest.mark.parametrize("claimed", [False, True], ids=["queued", "executing"])
async def test_an_open_order_whose_dead_attempt_was_executed_is_signed_no_more(
    url: str, *, claimed: bool
) -> None:
    """It ends in the transaction that tells of it: resumed, nothing of it is there to be claimed."""
    async with open_store(url, process_name="before") as store:
        signature = await proved_dead(store)
        if claimed:
            await steps.claim(store)
    async with marked(url) as store:
        assert await store.recovery.contradict("order1", signature, 5_005, SOON)
        order = (await read(store)).order
        assert order.status is OrderStatus.CANCELED
        assert order.reason_code is ReasonCode.ALREADY_EXECUTED
        assert f"transaction {signature} executed it" in (order.reason or "")
        await store.recovery.reconciled({}, SOON)
        await store.resume(SOON)
        assert await store.claim(10, SOON) == []


async def test_a_live_attempt_after_an_executed_one_is_the_last(url: str) -> None:
    """It is pushed no more and may have landed: once it is dead, the order is canceled."""
    async with open_store(url, process_name="before") as store:
        signature = await proved_dead(store)
        await steps.sign(store, await steps.claim(store))
    async with marked(url) as store:
        assert await store.recovery.contradict("order1", signature, 5_005, SOON)
        view = await read(store)
        assert view.order.status is OrderStatus.SUBMITTED
        assert view.order.cancel_requested_at_us == SOON
        assert view.live_attempt is not None
        assert view.live_attempt.status is AttemptStatus.SIGNED
