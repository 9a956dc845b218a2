"""A recovered order becomes another account's while a process holds it: so does all that follows."""

import pytest

from app.database.orders import SqlStore
from tests.database import steps
from tests.database.steps import SOON
from tests.database.test_recovery import ask, lost, marked

pytestmark = pytest.mark.anyio


async def are_all(store: SqlStore) -> bool:
    """Tell whether the account that has the order has all of its events."""
    events = [each for each in await steps.seal_all(store) if each.order_id == "lost"]
    its = await store.events(account="default", order_id="lost", after=0, limit=100)
    return [each.seq for each in its] == [each.seq for each in events]


async def test_what_is_told_of_it_after_it_changed_hands_is_its_new_accounts(url: str) -> None:
    """Whoever watches it claimed it as somebody else's, and goes on without a new claim."""
    async with marked(url) as store:
        await store.recovery.recover_order(lost(), "somebody", SOON)
        (claimed,) = await store.claim(10, SOON, live_only=True)
        await ask(store, idempotency_key="key")
        await steps.finalize(store, await steps.fill(store, claimed))
        assert await are_all(store)


async def test_an_attempt_of_it_is_its_new_accounts(url: str) -> None:
    """Signed anew after it changed hands while it was being built."""
    async with marked(url) as store:
        await store.recovery.recover_order(lost(), "somebody", SOON)
        (claimed,) = await store.claim(10, SOON, live_only=True)
        dead = steps.expiry(claimed)
        await steps.record(store, claimed, dead, steps.requeue(claimed, SOON, dead))
        await store.recovery.reconciled({}, SOON)
        await store.resume(SOON)
        claimed = await steps.claim(store)
        await ask(store, idempotency_key="key")
        stored = await steps.sign(store, claimed)
        assert stored.view.order.account == "default"
        assert await are_all(store)
