"""Who holds an order: claims, take-overs and the fence of the version."""

import asyncio

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from app.database.addresses import PostgresServer, address_of
from app.database.attempts import Storing, store_attempt
from app.database.engine import Database, open_database, postgres_engine
from app.database.limits import Limits
from app.database.orders import SqlStore, open_store
from app.database.tables import ORDERS
from app.domain import changes
from app.domain.errors import ReasonCode, StartupError
from app.domain.events import EventKind
from app.domain.order import OrderStatus
from app.engine.ports import Claimed, LostLease
from tests.database import steps
from tests.database.steps import SOON
from tests.domain import makers
from tests.domain.makers import NOW, S

pytestmark = pytest.mark.anyio


async def age_heartbeats(url: str, name: str, seconds: int) -> None:
    """Make a process look silent for so long, as the database sees it."""
    async with open_database(address_of(url), pool_size=1) as database:
        await _age(database, name, seconds)


async def _age(database: Database, name: str, seconds: int) -> None:
    statement = text(
        "UPDATE processes SET heartbeat_at_us = heartbeat_at_us - :us WHERE name = :name"
    )
    await database.write(lambda conn: conn.execute(statement, {"us": seconds * S, "name": name}))


def ids(claimed: list[Claimed] | tuple[Claimed, ...] | object) -> list[str]:
    """List the ids of claimed orders."""
    assert isinstance(claimed, list)
    return [one.view.order.order_id for one in claimed]


async def test_priority_comes_before_age(store: SqlStore) -> None:
    """9 before 0, the older of two equals first, ids last."""
    for order_id, priority, age in (
        ("c", 5, 0),
        ("b", 5, 0),
        ("a", 0, 9),
        ("d", 9, 1),
        ("e", 5, 3),
    ):
        signal = makers.signal(priority=priority)
        await steps.accept(store, order_id, signal=signal, accepted_at_us=NOW - age)
    assert ids(await store.claim(2, SOON)) == ["d", "e"]
    assert ids(await store.claim(10, SOON)) == ["b", "c", "a"]


async def test_a_live_attempt_comes_before_priority(store: SqlStore) -> None:
    """Money under way is looked after first."""
    low = makers.signal(priority=0)
    claimed = await steps.sign(store, await steps.begin(store, "low", signal=low))
    await store.release(claimed)
    await steps.accept(store, "high", signal=makers.signal(priority=9))
    assert ids(await store.claim(10, SOON)) == ["low", "high"]


async def test_a_claim_moves_the_order_and_tells_it(store: SqlStore) -> None:
    """Queued becomes executing, the version goes up, the event is in the same commit."""
    claimed = await steps.begin(store)
    assert claimed.view == await store.view("default", "order1")
    assert claimed.view.order.status is OrderStatus.EXECUTING
    assert claimed.view.order.version == 1
    events = await steps.seal_all(store)
    assert [event.kind for event in events] == [EventKind.ACCEPTED, EventKind.CLAIMED]
    assert events[-1].data == {"from": "queued", "process": "test", "recovered": False}


async def test_a_held_order_is_not_claimed_again(store: SqlStore) -> None:
    """However often this process asks, it gets an order once."""
    await steps.begin(store)
    assert await store.claim(10, SOON) == []
    assert await store.adopt(10) == []


async def test_an_order_that_backs_off_is_not_due(store: SqlStore) -> None:
    """`next_attempt_at` is waited for, to the microsecond."""
    claimed = await steps.begin(store)
    await steps.record(store, claimed, steps.requeue(claimed, SOON + 5))
    assert await store.claim(10, SOON + 4) == []
    assert ids(await store.claim(10, SOON + 5)) == ["order1"]


async def test_a_released_order_is_claimed_as_it_stands(store: SqlStore) -> None:
    """It keeps its status, its version goes up, and the one who let go has nothing left."""
    claimed = await steps.begin(store)
    await store.release(claimed)
    again = await steps.claim(store)
    assert again.view.order.status is OrderStatus.EXECUTING
    assert again.view.order.version == 2
    assert await steps.try_to_store(store, claimed) == LostLease()
    await store.release(claimed)
    assert await steps.try_to_store(store, again) != LostLease()
    assert EventKind.SIGNED in await steps.kinds(store)


async def test_the_lease_ends_with_the_way_back_to_the_queue(store: SqlStore) -> None:
    """After a requeue nothing can be written through the old claim."""
    claimed = await steps.begin(store)
    requeued = await steps.record(store, claimed, steps.requeue(claimed))
    assert await store.reload(requeued) == LostLease()
    assert ids(await store.claim(1, SOON)) == ["order1"]


async def test_a_held_order_reads_again_with_all_that_was_written(store: SqlStore) -> None:
    """After an uncertain write the holder sees what is committed."""
    claimed = await steps.begin(store)
    signed = await steps.sign(store, claimed)
    assert await store.reload(claimed) == signed


async def test_in_doubt_is_adopted_and_not_claimed(store: SqlStore) -> None:
    """An order in doubt needs watching, no slot."""
    claimed = await steps.sign(store, await steps.begin(store))
    doubt = changes.in_doubt(steps.live(claimed), at_us=SOON, why="no answer")
    claimed = await steps.record(store, claimed, doubt)
    await store.release(claimed)
    assert await store.claim(10, SOON) == []
    (adopted,) = await store.adopt(10)
    assert adopted.view.order.in_doubt_since_us == SOON
    assert await store.adopt(10) == []


async def test_a_fill_is_adopted_until_it_is_finalized(store: SqlStore) -> None:
    """The holder keeps a fill for watching; once finalized nobody needs it."""
    claimed = await steps.sign(store, await steps.begin(store))
    await store.release(await steps.fill(store, claimed))
    (adopted,) = await store.adopt(10)
    finalized = await steps.finalize(store, adopted)
    assert finalized.view.order.finalized_at_us == SOON + S
    assert await store.reload(finalized) == LostLease()
    assert await store.adopt(10) == []
    assert await store.claim(10, SOON) == []


async def test_adoption_takes_no_more_than_asked(store: SqlStore) -> None:
    """Doubts first, then fills, up to the limit."""
    for n in range(3):
        claimed = await steps.sign(store, await steps.begin(store, f"o{n}"))
        if n == 2:
            doubt = changes.in_doubt(steps.live(claimed), at_us=SOON, why="no answer")
            claimed = await steps.record(store, claimed, doubt)
        else:
            claimed = await steps.fill(store, claimed)
        await store.release(claimed)
    first = await store.adopt(2)
    assert ids(first)[0] == "o2"
    assert len(first) == 2
    assert len(await store.adopt(2)) == 1


async def test_overdue_orders_are_claimed_to_be_ended(store: SqlStore) -> None:
    """Past its deadline even an order that backs off is handed out; others are not."""
    late, early = SOON + 10, SOON + 20
    claimed = await steps.begin(store, "late", deadline_us=late)
    await steps.record(store, claimed, steps.requeue(claimed, SOON + 99 * S))
    left = await steps.begin(store, "left", deadline_us=late)
    await store.release(left)
    await steps.accept(store, "early", deadline_us=early)
    assert await store.claim(10, late - 1, overdue_only=True) == []
    assert sorted(ids(await store.claim(10, late, overdue_only=True))) == ["late", "left"]
    assert await store.claim(10, late, overdue_only=True) == []


async def test_heartbeats_are_known_while_the_row_stands(store: SqlStore) -> None:
    """A process that nobody struck out goes on."""
    assert await store.heartbeat()
    assert await store.heartbeat()


# ---------------------------------------------------------------- after a crash


async def test_what_a_dead_process_held_is_recovered_at_once_on_sqlite(sqlite_url: str) -> None:
    """The file lock proves the other process gone: its leases are void at the start."""
    async with open_store(sqlite_url, process_name="first") as first:
        await steps.sign(first, await steps.begin(first, "sent"))
        await steps.begin(first, "begun")
    async with open_store(sqlite_url, process_name="second") as second:
        claimed = await second.claim(10, SOON)
        assert ids(claimed) == ["sent", "begun"]
        assert [len(one.view.attempts) for one in claimed] == [1, 0]
        told = [event for event in await steps.seal_all(second) if event.data.get("recovered")]
        assert {(event.order_id, event.data["from"]) for event in told} == {
            ("sent", "submitted"),
            ("begun", "executing"),
        }


async def test_a_second_process_is_kept_out_of_a_sqlite_file(sqlite_url: str) -> None:
    """The refusal names the holder, and the first process is not disturbed."""
    async with open_store(sqlite_url, process_name="first") as first:
        with pytest.raises(StartupError, match=r"DATABASE_LOCKED: .+ is in use by process"):
            await open_store(sqlite_url, process_name="second").__aenter__()
        await steps.accept(first)
    async with open_store(sqlite_url, process_name="second") as second:
        assert await steps.status(second) is OrderStatus.QUEUED


@pytest.mark.postgres
async def test_a_fresh_heartbeat_protects_what_a_process_holds(
    postgres_url: str, two_stores: tuple[SqlStore, SqlStore]
) -> None:
    """Nearly three seconds of silence are no reason to take over."""
    first, second = two_stores
    await steps.begin(first)
    await age_heartbeats(postgres_url, "first", 2)
    assert await second.claim(10, SOON) == []


@pytest.mark.postgres
async def test_a_silent_process_loses_its_orders(
    postgres_url: str, two_stores: tuple[SqlStore, SqlStore]
) -> None:
    """Over three seconds of silence: another takes over, and the zombie's writes match no row."""
    first, second = two_stores
    mine = await steps.begin(first)
    await age_heartbeats(postgres_url, "first", 4)
    taken = await steps.claim(second)
    assert taken.view.order.version == mine.view.order.version + 1
    assert await steps.try_to_store(first, mine) == LostLease()
    ending = changes.ended(
        mine.view, OrderStatus.FAILED, at_us=SOON, code=ReasonCode.PRICE_LIMIT, reason="zombie"
    )
    assert await first.record(mine, ending) == LostLease()
    assert await first.reload(mine) == LostLease()
    await first.release(mine)
    assert not await first.heartbeat()
    stored = await steps.sign(second, taken)
    assert await second.view("default", "order1") == stored.view


@pytest.mark.postgres
async def test_a_silence_that_nobody_used_is_forgiven(
    postgres_url: str, two_stores: tuple[SqlStore, SqlStore]
) -> None:
    """A process whose orders nobody took beats on, and still holds them."""
    first, second = two_stores
    mine = await steps.begin(first)
    await age_heartbeats(postgres_url, "first", 60)
    assert await first.heartbeat()
    assert await second.claim(10, SOON) == []
    await steps.sign(first, mine)


@pytest.mark.postgres
async def test_a_process_that_leaves_frees_its_orders(
    postgres_url: str, two_stores: tuple[SqlStore, SqlStore]
) -> None:
    """An orderly end needs no three seconds."""
    async with open_store(postgres_url, process_name="third") as third:
        await steps.begin(third)
        assert await two_stores[0].claim(10, SOON) == []
    assert len(await two_stores[0].claim(10, SOON)) == 1


@pytest.mark.postgres
async def test_two_processes_claim_apart(two_stores: tuple[SqlStore, SqlStore]) -> None:
    """However they race, each order is handed out once, and all are."""
    await asyncio.gather(*(steps.accept(two_stores[0], f"o{n:03}") for n in range(100)))
    taken: list[str] = []

    async def worker(store: SqlStore) -> None:
        while claimed := await store.claim(3, SOON):
            taken.extend(one.view.order.order_id for one in claimed)

    await asyncio.gather(*(worker(store) for store in two_stores * 3))
    assert sorted(taken) == [f"o{n:03}" for n in range(100)]


@pytest.mark.postgres
async def test_two_processes_do_everything_at_once(two_stores: tuple[SqlStore, SqlStore]) -> None:
    """Accepting, claiming, storing, filling and cancelling crosswise: no deadlock, nothing twice."""

    async def produce(store: SqlStore, name: str) -> None:
        await asyncio.gather(*(steps.accept(store, f"{name}{n:02}") for n in range(30)))

    async def work(store: SqlStore) -> None:
        while claimed := await store.claim(5, SOON):
            await asyncio.gather(*(execute(store, one) for one in claimed))

    async def execute(store: SqlStore, claimed: Claimed) -> None:
        stored = await steps.try_to_store(store, claimed)
        if isinstance(stored, Claimed):
            await steps.fill(store, await steps.push(store, stored))

    async def cancel(store: SqlStore, name: str) -> None:
        await asyncio.gather(*(store.cancel("default", f"{name}{n:02}", SOON) for n in range(10)))

    first, second = two_stores
    await asyncio.gather(produce(first, "a"), produce(second, "b"))
    await asyncio.gather(work(first), work(second), cancel(first, "b"), cancel(second, "a"))
    figures = await first.figures()
    assert figures.pending == 0
    assert figures.active == 0
    assert figures.completed == 60
    events = await steps.seal_all(second)
    assert [event.position for event in events] == list(range(1, len(events) + 1))


async def test_what_a_process_holds_unknowingly_is_freed(store: SqlStore) -> None:
    """The answer to a claim was lost: what is not known is free again, what is known stays held."""
    known = await steps.begin(store, "known")
    await steps.accept(store, "lost")
    assert ids(await store.claim(10, SOON)) == ["lost"]
    assert await store.disown({"known": known.view.order.version}) == 1
    assert ids(await store.claim(10, SOON)) == ["lost"]
    assert isinstance(await store.reload(known), Claimed)
    assert await store.disown({"known": known.view.order.version, "lost": 2}) == 0


async def test_what_was_claimed_again_unknowingly_is_freed(store: SqlStore) -> None:
    """An earlier hold is still in memory when the order's next claim is lost: the version tells."""
    claimed = await steps.begin(store, "order")
    known = {"order": claimed.view.order.version}
    await store.release(claimed)
    assert ids(await store.claim(10, SOON)) == ["order"]
    assert await store.disown(known) == 1
    assert ids(await store.claim(10, SOON)) == ["order"]


async def test_only_ones_own_orders_can_be_disowned(
    two_stores: tuple[SqlStore, SqlStore],
) -> None:
    """What another process holds stays with it."""
    first, second = two_stores
    held = await steps.begin(first, "held")
    assert await second.disown({}) == 0
    assert isinstance(await first.reload(held), Claimed)


@pytest.mark.postgres
async def test_reading_again_waits_for_a_write_that_is_still_being_committed(
    postgres_url: str, two_stores: tuple[SqlStore, SqlStore]
) -> None:
    """The connection broke in COMMIT and the server goes on with it: what it commits is seen."""
    store, _ = two_stores
    claimed = await steps.begin(store)
    address = address_of(postgres_url)
    assert isinstance(address, PostgresServer)
    engine = postgres_engine(address, size=1)
    async with engine.connect() as conn:
        process = str(await conn.scalar(select(ORDERS.c.process)))
        storing = Storing(
            claimed=claimed,
            signed=steps.signed("signature"),
            plan=makers.attempt().plan,
            balances=steps.RICH,
            reserve_lamports=0,
            at_us=SOON,
        )
        await conn.run_sync(store_attempt, process, storing)
        reading = asyncio.create_task(store.reload(claimed))
        await asyncio.wait([reading], timeout=0.2)
        await conn.commit()
        again = await reading
    await engine.dispose()
    assert isinstance(again, Claimed)
    assert steps.live(again).signature == "signature"


@pytest.mark.postgres
async def test_a_process_that_is_stopped_in_a_transaction_keeps_no_lock(
    postgres_url: str, two_stores: tuple[SqlStore, SqlStore]
) -> None:
    """The server ends a transaction that pauses: the locks of a zombie are free like its leases."""
    await steps.accept(two_stores[0])
    address = address_of(postgres_url)
    assert isinstance(address, PostgresServer)
    engine = postgres_engine(address, size=1, limits=Limits(idle_ms=300))
    async with engine.connect() as conn:
        await conn.execute(select(ORDERS).with_for_update())
        async with asyncio.timeout(Limits().lock_ms / 1_000):
            assert await two_stores[1].cancel("default", "order1", SOON)
        with pytest.raises(DBAPIError):
            await conn.execute(select(ORDERS))
        await conn.invalidate()
    await engine.dispose()


# ---------------------------------------------------------------- word of new work


@pytest.mark.postgres
async def test_new_work_is_announced_to_other_processes(
    two_stores: tuple[SqlStore, SqlStore],
) -> None:
    """Accepted by one process, it wakes another once it can be claimed there."""
    first, second = two_stores
    woken = asyncio.Event()
    listening = asyncio.create_task(second.listen(woken.set))
    async with asyncio.timeout(10):
        await woken.wait()  # it listens from now on
        woken.clear()
        await steps.accept(first)
        await woken.wait()
    assert len(await second.claim(1, SOON)) == 1
    await stop(listening)


@pytest.mark.postgres
async def test_a_lost_listener_listens_again(
    postgres_url: str, two_stores: tuple[SqlStore, SqlStore]
) -> None:
    """Work may have come meanwhile, so it wakes when it is back."""
    end = text(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
    )
    woken = asyncio.Event()
    listening = asyncio.create_task(two_stores[0].listen(woken.set))
    async with asyncio.timeout(20):
        await woken.wait()
        woken.clear()
        async with open_database(address_of(postgres_url), pool_size=1) as database:
            assert await database.write(lambda conn: conn.scalar(end)) == 1
        await woken.wait()
    await stop(listening)


async def test_on_sqlite_there_is_nobody_to_hear(sqlite_url: str) -> None:
    """Listening waits until it is cancelled, and never wakes."""
    woken = asyncio.Event()
    async with open_store(sqlite_url, process_name="x") as store:
        listening = asyncio.create_task(store.listen(woken.set))
        await steps.accept(store)
        assert not listening.done()
        await stop(listening)
    assert not woken.is_set()


async def stop(task: asyncio.Task[None]) -> None:
    """Cancel a task and see it end."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
