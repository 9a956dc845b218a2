"""A damaged file that kept events and lost rows of the same orders is completed from the chain."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.database.addresses import address_of
from app.database.backup import mark_database
from app.database.orders import open_store
from app.database.salvage import salvage
from app.domain.attempt import AttemptStatus
from app.domain.audit import differences
from app.domain.events import EventKind
from app.domain.order import OrderStatus
from app.metrics.executions import execution_of
from tests.database import steps
from tests.database.steps import SOON
from tests.database.test_lost_suffix import Ledger, Life, reconcile
from tests.database.test_recovery import lost, marked
from tests.domain.makers import FILL

pytestmark = pytest.mark.anyio


def lose(path: Path, *statements: str) -> None:
    """Take rows out of a file that nobody has open, as damage does: without what hangs on them."""
    with closing(sqlite3.connect(path)) as conn:
        for statement in statements:
            conn.execute(statement)
        conn.commit()


CUT = (
    "INSERT INTO audit_checkpoint SELECT 1, position, hash FROM events WHERE position = 2",
    "DELETE FROM events WHERE position <= 2",
)


@pytest.mark.parametrize("cut", [(), CUT], ids=["all", "cut"])
async def test_an_order_whose_events_outlived_its_row_is_recovered_behind_them(
    sqlite_url: str, tmp_path: Path, cut: tuple[str, ...]
) -> None:
    """Salvaged, compared with the chain, resumed: its repeat trades no more, and its trail goes on.

    Events may survive from the beginning, or only what a clean-up had left of them.
    """
    life = Life(1, Ledger())
    async with open_store(sqlite_url, process_name="before") as store:
        accepted = await life.post(store, "key")
        while await life.one(store, sure=True):
            pass
        await steps.seal_all(store)
    order_id = accepted.order.order_id
    damaged, salvaged = Path(sqlite_url), tmp_path / "salvaged.db"
    lose(damaged, "DELETE FROM attempts", "DELETE FROM orders", *cut)
    salvage(damaged, salvaged)
    await mark_database(address_of(str(salvaged)), since_us=None)
    async with open_store(str(salvaged), process_name="after") as store:
        told = await reconcile(store, life.ledger)
        assert (told["orders"], told["contradictions"]) == (1, 0)
        for claimed in await store.claim(10, SOON, live_only=True):
            await life.settle(store, claimed)
        await store.resume(SOON)
        assert await steps.status(store, order_id) is OrderStatus.FILLED
        again = await life.post(store, "key")
        assert (again.replayed, again.order.order_id) == (True, order_id)
        assert await store.claim(10, SOON) == []
        view = await store.view("default", order_id)
        events = [each for each in await steps.seal_all(store) if each.order_id == order_id]
    assert view is not None
    assert events[0].seq == (3 if cut else 1)
    assert [each.kind for each in events].count(EventKind.ORDER_RECOVERED) == 1
    assert list(differences(view, events, events[-1].seq)) == []
    row = execution_of(events)
    assert row is not None
    assert (row.status, row.attempts) == ("filled", 1)


async def test_the_attempt_that_filled_a_known_order_is_put_back_as_landed(
    sqlite_url: str, tmp_path: Path
) -> None:
    """It contradicts nothing: the fill that was not final yet is followed to its end again."""
    life = Life(1, Ledger())
    async with open_store(sqlite_url, process_name="before") as store:
        accepted = await life.post(store, "key")
        claimed = await life.sign(store, await steps.claim(store))
        life.land(claimed, failed=False)
        await steps.fill(store, await steps.push(store, claimed))
        await steps.seal_all(store)
    order_id = accepted.order.order_id
    damaged, salvaged = Path(sqlite_url), tmp_path / "salvaged.db"
    lose(damaged, "DELETE FROM submissions", "DELETE FROM attempts")
    salvage(damaged, salvaged)
    await mark_database(address_of(str(salvaged)), since_us=None)
    async with open_store(str(salvaged), process_name="after") as store:
        told = await reconcile(store, life.ledger)
        assert (told["attempts"], told["contradictions"]) == (1, 0)
        (claimed,) = await store.adopt(10)
        (attempt,) = claimed.view.attempts
        assert (attempt.status, attempt.landed_slot) == (AttemptStatus.LANDED, FILL.slot)
        await steps.finalize(store, claimed)
        view = await store.view("default", order_id)
        events = [each for each in await steps.seal_all(store) if each.order_id == order_id]
    assert view is not None
    assert view.order.finalized_at_us is not None
    assert list(differences(view, events, len(events))) == []
    row = execution_of(events)
    assert row is not None
    assert row.attempts == 1


@pytest.mark.parametrize("unlike", [{"slot": FILL.slot + 1}, {"size": 1}], ids=["slot", "size"])
async def test_an_execution_unlike_the_fill_is_not_put_back(
    sqlite_url: str, unlike: dict[str, Any]
) -> None:
    """Another block after finality, or another amount: it is a second execution."""
    async with open_store(sqlite_url, process_name="before") as store:
        claimed = await steps.sign(store, await steps.begin(store, "lost"))
        await steps.finalize(store, await steps.fill(store, claimed))
    async with marked(sqlite_url) as store:
        assert not await store.recovery.recover_fill(lost("lost", slot=FILL.slot), SOON), "known"
    lose(Path(sqlite_url), "DELETE FROM attempts", "UPDATE orders SET attempt_count = 0")
    async with marked(sqlite_url) as store:
        other = replace(lost("lost", slot=FILL.slot), **unlike)
        assert not await store.recovery.recover_fill(other, SOON)
        assert await store.recovery.recover_fill(lost("lost", slot=FILL.slot), SOON)
