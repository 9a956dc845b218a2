"""The audit trail, its seal and the clean-up, on both databases."""

import asyncio

import pytest

from app.database.orders import SqlStore
from app.domain import changes
from app.domain.errors import ReasonCode, StartupError
from app.domain.events import GENESIS_HASH, Event, EventKind, verify_chain
from app.domain.order import OrderStatus
from app.engine.ports import Claimed, OrderFilter
from tests.database import steps
from tests.database.steps import SOON, new_order
from tests.domain import makers
from tests.domain.makers import S

pytestmark = pytest.mark.anyio


async def end(store: SqlStore, order_id: str, at_us: int = SOON) -> None:
    """Accept an order, claim it and let it fail."""
    claimed = await steps.begin(store, order_id)
    ending = changes.ended(
        claimed.view, OrderStatus.FAILED, at_us=at_us, code=ReasonCode.PRICE_LIMIT, reason="no"
    )
    await steps.record(store, claimed, ending)


async def test_the_seal_is_gapless_and_chained(store: SqlStore) -> None:
    """However the sealing is cut, positions count from 1, each order's events keep their order."""
    for n in range(4):
        await end(store, f"o{n}")
    assert [await store.seal(5) for _ in range(4)] == [5, 5, 2, 0]
    events = await store.trail(after=0, limit=100)
    assert [event.position for event in events] == list(range(1, 13))
    assert verify_chain(events) is None
    for n in range(4):
        assert [e.seq for e in events if e.order_id == f"o{n}"] == [1, 2, 3]


async def test_what_is_not_sealed_is_not_read(store: SqlStore) -> None:
    """Readers see sealed events only."""
    await steps.accept(store)
    assert await store.events(account="default", order_id=None, after=0, limit=9) == []
    await store.seal(10)
    assert len(await store.events(account="default", order_id=None, after=0, limit=9)) == 1


async def test_whoever_follows_the_trail_finds_its_end(store: SqlStore) -> None:
    """The end is the newest sealed position, and the lives of orders are read whole."""
    assert await store.trail_end() == 0
    await end(store, "a")
    await end(store, "b")
    await store.seal(4)
    assert await store.trail_end() == 4
    lives = await store.histories(["a", "b", "none"])
    assert {order_id: [e.seq for e in life] for order_id, life in lives.items()} == {
        "a": [1, 2, 3],
        "b": [1],
    }


async def test_an_account_reads_its_own_events(store: SqlStore) -> None:
    """By account, by order, after a position, so many."""
    for order_id, account in (("a", "default"), ("b", "other"), ("c", "default")):
        await store.accept(new_order(order_id, account=account), full=False)
    await store.seal(10)

    async def read(account: str, order_id: str | None = None, after: int = 0) -> list[str]:
        events = await store.events(account=account, order_id=order_id, after=after, limit=10)
        return [event.order_id for event in events]

    assert await read("default") == ["a", "c"]
    assert await read("default", after=1) == ["c"]
    assert await read("other") == ["b"]
    assert await read("default", "c") == ["c"]
    assert await read("default", "b") == []
    assert len(await store.events(account="default", order_id=None, after=0, limit=1)) == 1


async def test_a_forged_event_breaks_the_chain(store: SqlStore) -> None:
    """Any change of what was told is seen from its position on."""
    await end(store, "a")
    events = await steps.seal_all(store)
    forged = Event(
        order_id="a",
        seq=2,
        at_us=events[1].at_us,
        kind=events[1].kind,
        data={"process": "another"},
        position=2,
        hash=events[1].hash,
    )
    assert verify_chain([events[0], forged, events[2]]) == 2


@pytest.mark.postgres
async def test_two_sealers_make_one_chain(two_stores: tuple[SqlStore, SqlStore]) -> None:
    """Sealing from both processes while both write: one gapless chain."""

    async def write(store: SqlStore, name: str) -> None:
        await asyncio.gather(*(steps.accept(store, f"{name}{n}") for n in range(40)))

    async def seal(store: SqlStore) -> None:
        for _ in range(20):
            await store.seal(3)

    first, second = two_stores
    await asyncio.gather(write(first, "a"), write(second, "b"), seal(first), seal(second))
    events = await steps.seal_all(first)
    assert [event.position for event in events] == list(range(1, 81))
    assert verify_chain(events) is None


# ---------------------------------------------------------------- clean-up


async def prune(store: SqlStore, before_us: int, keep_after: int | None = None) -> tuple[int, int]:
    """Clean up; how many orders and events went."""
    pruned = await store.prune(before_us=before_us, at_us=SOON + 9 * S, keep_after=keep_after)
    return pruned.orders, pruned.events


async def test_old_settled_orders_go_with_their_keys(store: SqlStore) -> None:
    """After the clean-up a key is free again."""
    new = new_order("a", idempotency_key="key", signal=makers.signal(client_order_id="c"))
    await store.accept(new, full=False)
    await store.accept(new_order("b", idempotency_key="late", signal=new.signal), full=False)
    await store.cancel("default", "a", SOON)
    assert await prune(store, SOON) == (0, 0)
    assert await prune(store, SOON + 1) == (1, 0)
    assert await store.view("default", "a") is None
    again = new_order("c", idempotency_key="late", fingerprint="x", signal=new.signal)
    await steps.accept(store, "d", idempotency_key="key", fingerprint="y")
    assert await store.accept(again, full=False) is not None
    assert await steps.status(store, "c") is OrderStatus.QUEUED


async def test_what_is_not_settled_stays(store: SqlStore) -> None:
    """Waiting, under way, in doubt, filled and not finalized: never removed, however old."""
    doubt = await steps.sign(store, await steps.begin(store, "doubt"))
    change = changes.in_doubt(steps.live(doubt), at_us=SOON, why="no answer")
    await steps.record(store, doubt, change)
    await steps.fill(store, await steps.sign(store, await steps.begin(store, "filled")))
    await steps.begin(store, "executing")
    await steps.accept(store, "queued")
    await steps.seal_all(store)
    assert await prune(store, SOON + 10**15) == (0, 0)
    assert (await store.figures()).active == 2


async def test_a_finalized_fill_goes_with_attempts_and_pushes(store: SqlStore) -> None:
    """Everything that hangs on the order goes with it."""
    claimed = await steps.push(store, await steps.sign(store, await steps.begin(store, "a")))
    await steps.finalize(store, await steps.fill(store, claimed))
    assert await prune(store, SOON + 1) == (1, 0)
    second = await steps.begin(store, "b")
    stored = await store.store_attempt(
        second,
        steps.signed("sig-a-1"),
        makers.attempt().plan,
        balances=steps.RICH,
        reserve_lamports=0,
        at_us=SOON,
    )
    assert isinstance(stored, Claimed)
    assert steps.live(stored).submissions == ()


async def test_the_trail_is_cut_at_its_beginning_only(store: SqlStore) -> None:
    """Events go up to the first whose order stays; the rest verifies from the checkpoint on."""
    await end(store, "a")
    await end(store, "b")
    await steps.accept(store, "kept")
    before = await steps.seal_all(store)
    assert await prune(store, SOON + 1) == (2, 6)
    start = await store.trail_start()
    assert (start.position, start.hash) == (6, before[5].hash)
    events = await steps.seal_all(store)
    assert events[0] == before[6]
    assert verify_chain(events, start.hash) is None
    assert events[-1].kind is EventKind.CHECKPOINT
    assert events[-1].data == {"position": 6, "hash": before[5].hash, "removed": 6}


async def test_an_emptied_trail_goes_on_where_it_was(store: SqlStore) -> None:
    """Even with every event gone, the next one continues positions and hashes."""
    await end(store, "a")
    last = (await steps.seal_all(store))[-1]
    assert await prune(store, SOON + 1) == (1, 3)
    (event,) = await steps.seal_all(store)
    assert (event.kind, event.position) == (EventKind.CHECKPOINT, 4)
    assert verify_chain([event], last.hash or "") is None


async def test_a_clean_up_makes_no_work_for_the_next(store: SqlStore) -> None:
    """With nothing to remove, no checkpoint is told; old checkpoints go with later events."""
    await end(store, "a")
    await steps.seal_all(store)
    await prune(store, SOON + 1)
    await steps.seal_all(store)
    assert await prune(store, SOON + 1) == (0, 0)
    assert await steps.seal_all(store) == await steps.seal_all(store)
    await end(store, "b")
    await steps.seal_all(store)
    assert await prune(store, SOON + 1) == (1, 4)
    assert (await store.trail_start()).position == 7


async def test_events_that_somebody_still_reads_stay(store: SqlStore) -> None:
    """`keep_after` bounds the cut: metrics that lag behind lose nothing."""
    await end(store, "a")
    await steps.seal_all(store)
    assert await prune(store, SOON + 1, keep_after=2) == (1, 2)
    assert (await steps.seal_all(store))[0].position == 3
    assert await prune(store, SOON + 1) == (0, 2)


async def test_unsealed_events_stay(store: SqlStore) -> None:
    """What has no position yet is not cut."""
    await end(store, "a")
    assert await prune(store, SOON + 1) == (1, 0)
    assert [event.seq for event in await steps.seal_all(store)] == [1, 2, 3]


async def test_more_than_a_batch_is_removed(store: SqlStore) -> None:
    """Small batches, until nothing is left."""
    await asyncio.gather(*(steps.accept(store, f"o{n}") for n in range(250)))
    await asyncio.gather(*(store.cancel("default", f"o{n}", SOON) for n in range(250)))
    await steps.seal_all(store)
    assert await prune(store, SOON + 1) == (250, 500)
    assert await store.orders(OrderFilter(account="default"), limit=9, before=None) == []


# ---------------------------------------------------------------- the chain it belongs to


async def test_a_database_belongs_to_one_chain(store: SqlStore) -> None:
    """Bound once; the same chain may come back, another is refused by name."""
    await store.bind_chain("sandbox", "hash1")
    await store.bind_chain("sandbox", "hash1")
    with pytest.raises(StartupError, match="DATABASE_OTHER_CHAIN") as refused:
        await store.bind_chain("mainnet", "hash2")
    assert "sandbox" in refused.value.what
    await store.bind_chain("sandbox", "hash1")


def test_the_chain_begins_with_a_known_hash() -> None:
    """Whoever verifies from position 1 starts from the published constant."""
    assert GENESIS_HASH == "0" * 64
