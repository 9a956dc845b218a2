"""Resolutions on a database: what is written, who may still write, and races with a landing."""

import asyncio
import random
from collections.abc import Sequence

import pytest

from app.database.orders import SqlStore
from app.domain import changes, resolution
from app.domain.attempt import AttemptStatus
from app.domain.audit import differences
from app.domain.changes import Change
from app.domain.errors import ReasonCode
from app.domain.events import EventKind
from app.domain.order import Fill, OrderStatus, OrderView
from app.domain.outcome import Absent, Heights
from app.domain.resolution import Amounts, Hearing, Resolution, Word
from app.engine.ports import Claimed, LostLease
from app.metrics.executions import execution_of
from tests.database import steps
from tests.database.steps import SOON
from tests.domain import makers
from tests.domain.makers import FILL, LAST_HEIGHT

pytestmark = pytest.mark.anyio

TOLD: Sequence[Hearing] = [Hearing("one", Heights(6_000, LAST_HEIGHT + 1), Absent(6_001))]


async def doubted(store: SqlStore, order_id: str = "order1") -> Claimed:
    """Bring an order into doubt, held by this process."""
    claimed = await steps.sign(store, await steps.begin(store, order_id))
    doubt = changes.in_doubt(steps.live(claimed), at_us=SOON, why="no answer")
    return await steps.record(store, claimed, doubt)


def unfilled(view: OrderView, how: Resolution) -> list[Change]:
    """End an order as an operator says."""
    word = Word(how, "seen elsewhere")
    return resolution.resolved_unfilled(
        view, word, TOLD, by="default", at_us=SOON, error=makers.SLIPPAGE
    )


def filled(view: OrderView, fill: Fill | None = None) -> list[Change]:
    """Fill an order as an operator says."""
    word = Word(Resolution.FILLED, "seen elsewhere", "0.01", "1.85")
    amounts = Amounts(10_000_000, 1_850_000)
    return resolution.resolved_filled(
        view, word, TOLD, by="default", at_us=SOON, fill=fill, amounts=amounts
    )


@pytest.mark.parametrize("how", [Resolution.FAILED, Resolution.EXPIRED])
async def test_an_order_resolved_unfilled_is_over_for_everybody(
    store: SqlStore, how: Resolution
) -> None:
    """Its row says how it ended, nobody claims or adopts it, and its execution row can be made."""
    await doubted(store)
    taken = await store.take_over("default", "order1")
    assert taken is not None
    ended = await steps.record(store, taken, *unfilled(taken.view, how))
    order = ended.view.order
    assert (order.status.value, order.reason_code) == (how.value, ReasonCode.RESOLVED_BY_OPERATOR)
    assert ended.view.attempts[0].status.value == how.value
    assert await store.view("default", "order1") == ended.view
    assert await store.reload(ended) == LostLease()
    assert await store.adopt(10) == []
    assert await store.claim(10, SOON) == []
    events = await steps.seal_all(store)
    assert [event.kind for event in events[-2:]] == [EventKind.RESOLVED, EventKind.ENDED]
    assert list(differences(ended.view, events, len(events))) == []
    row = execution_of(events)
    assert row is not None
    assert (row.status, row.reason_code) == (how.value, "RESOLVED_BY_OPERATOR")


async def test_an_order_filled_on_an_operators_word_is_settled(store: SqlStore) -> None:
    """Nobody follows it to finality; its execution row has the operator's amounts."""
    await doubted(store)
    taken = await store.take_over("default", "order1")
    assert taken is not None
    ended = await steps.record(store, taken, *filled(taken.view))
    assert ended.view.order.finalized_at_us == SOON
    assert ended.view.attempts[0].status is AttemptStatus.LANDED
    assert await store.view("default", "order1") == ended.view
    assert await store.reload(ended) == LostLease()
    assert await store.adopt(10) == []
    events = await steps.seal_all(store)
    assert list(differences(ended.view, events, len(events))) == []
    row = execution_of(events)
    assert row is not None
    assert (row.base_amount, row.quote_amount) == (10_000_000, 1_850_000)
    assert (row.priority_fee, row.network_fee, row.venue_fee) == (100, 5_000, 0)


async def test_an_order_filled_with_what_the_chain_shows_is_adopted_until_it_is_final(
    store: SqlStore,
) -> None:
    """As any other fill; the trail and the row agree on the way and at the end."""
    await doubted(store)
    taken = await store.take_over("default", "order1")
    assert taken is not None
    ended = await steps.record(store, taken, *filled(taken.view, FILL))
    events = await steps.seal_all(store)
    assert list(differences(ended.view, events, len(events))) == []
    await store.release(ended)
    (adopted,) = await store.adopt(10)
    final = await steps.finalize(store, adopted)
    events = await steps.seal_all(store)
    assert list(differences(final.view, events, len(events))) == []


async def test_only_an_order_in_doubt_of_the_account_is_taken_over(store: SqlStore) -> None:
    """Not one that may still land, not another account's, not one that does not exist."""
    claimed = await steps.sign(store, await steps.begin(store))
    assert await store.take_over("default", "order1") is None
    doubt = changes.in_doubt(steps.live(claimed), at_us=SOON, why="no answer")
    await steps.record(store, claimed, doubt)
    assert await store.take_over("other", "order1") is None
    assert await store.take_over("default", "order2") is None
    assert await store.take_over("default", "order1") is not None


async def test_whoever_held_it_writes_nothing_any_more(store: SqlStore) -> None:
    """The take-over raises the version; given back, the order is adopted as it stands."""
    held = await doubted(store)
    taken = await store.take_over("default", "order1")
    assert taken is not None
    late = changes.filled(steps.live(held), FILL, at_us=SOON)
    assert await store.record(held, late) == LostLease()
    await store.release(taken)
    (adopted,) = await store.adopt(10)
    await steps.fill(store, adopted)
    assert await store.take_over("default", "order1") is None


async def test_a_landing_and_an_operator_at_once_never_lose_the_fill(store: SqlStore) -> None:
    """The fill is written, or the operator has the order and looks at the chain again: never both."""
    chance, written = random.Random(1), 0
    for number in range(20):
        order_id = f"order{number}"
        held = await doubted(store, order_id)
        landing = changes.filled(steps.live(held), FILL, at_us=SOON)
        calls = [store.record(held, landing), store.take_over("default", order_id)]
        backwards = chance.random() < 0.5
        answers = list(await asyncio.gather(*(calls[::-1] if backwards else calls)))
        recorded, taken = answers[::-1] if backwards else answers
        assert (taken is None) == isinstance(recorded, Claimed)
        if isinstance(taken, Claimed):
            assert recorded == LostLease()
            assert taken.view.order.in_doubt_since_us == SOON
            continue
        written += 1
        assert await steps.status(store, order_id) is OrderStatus.FILLED
    assert 0 < written < 20
