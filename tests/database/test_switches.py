"""What is told of the system itself, and what operators switch: in one trail, on both databases."""

import asyncio

import pytest

from app.database.orders import SqlStore, open_store
from app.domain.events import SYSTEM, Event, EventKind, verify_chain
from app.engine.store_port import MethodSwitches
from tests.database import steps
from tests.database.steps import SOON, new_order
from tests.domain.makers import S

pytestmark = pytest.mark.anyio
LIMITED = {"method": "rpc", "endpoint": "node", "seconds": 2.5}


async def own(store: SqlStore) -> list[Event]:
    """Seal all there is, and give the events of the system."""
    return [event for event in await steps.seal_all(store) if event.order_id == SYSTEM]


# ---------------------------------------------------------------- events of the system


async def test_what_is_noted_is_told_as_it_is(store: SqlStore) -> None:
    """Kind, time and data come back; events of the system count together."""
    await store.note(EventKind.METHOD_BREAKER, {"method": "rpc", "to": "open"}, SOON)
    await store.note(EventKind.METHOD_LIMITED, LIMITED, SOON + 1)
    first, second = await own(store)
    assert (first.kind, first.at_us, first.seq) == (EventKind.METHOD_BREAKER, SOON, 1)
    assert first.data == {"method": "rpc", "to": "open"}
    assert (second.kind, second.seq, second.data) == (EventKind.METHOD_LIMITED, 2, LIMITED)


async def test_every_account_sees_them_and_no_order_does(store: SqlStore) -> None:
    """They stand among an account's own events in the trail's order, however it is paged."""
    await store.note(EventKind.METHOD_LIMITED, LIMITED, SOON)
    await store.accept(new_order("a"), full=False)
    await store.accept(new_order("b", account="other"), full=False)
    await store.note(EventKind.METHOD_LIMITED, LIMITED, SOON)
    await store.accept(new_order("c"), full=False)
    await steps.seal_all(store)

    async def read(account: str, order_id: str | None = None, **page: int) -> list[str]:
        span = {"after": 0, "limit": 10, **page}
        events = await store.events(account=account, order_id=order_id, **span)
        return [event.order_id for event in events]

    assert await read("default") == ["", "a", "", "c"]
    assert await read("other") == ["", "b", ""]
    assert await read("nobody") == ["", ""]
    assert await read("default", "a") == ["a"]
    assert await read("default", after=1, limit=2) == ["a", ""]
    assert await read("default", after=4) == ["c"]


@pytest.mark.postgres
async def test_processes_that_note_at_once_make_one_trail(
    two_stores: tuple[SqlStore, SqlStore],
) -> None:
    """Two processes read the same last sequence, and both wrote the next: now one waits for the other."""

    async def work(store: SqlStore, name: str) -> None:
        notes = [store.note(EventKind.METHOD_LIMITED, LIMITED, SOON) for _ in range(20)]
        orders = [steps.accept(store, f"{name}{n}") for n in range(20)]
        await asyncio.gather(*notes, *orders, store.seal(7), store.claim(3, SOON))

    await asyncio.gather(work(two_stores[0], "a"), work(two_stores[1], "b"))
    events = await steps.seal_all(two_stores[0])
    assert [event.position for event in events] == list(range(1, len(events) + 1))
    assert verify_chain(events) is None
    told = [event for event in events if event.order_id == SYSTEM]
    assert sorted(event.seq for event in told) == list(range(1, 41))


# ---------------------------------------------------------------- their clean-up


async def end_one(store: SqlStore, order_id: str) -> None:
    """Have an order that is over."""
    await steps.accept(store, order_id)
    await store.cancel("default", order_id, SOON)


async def prune(store: SqlStore, before_us: int) -> int:
    """Clean up; how many events went."""
    return (await store.prune(before_us=before_us, at_us=SOON + 9 * S)).events


async def test_they_are_kept_as_long_as_orders_are(store: SqlStore) -> None:
    """A young event of the system stays, and so does what follows it; an old one goes."""
    await store.note(EventKind.METHOD_LIMITED, LIMITED, SOON)
    await end_one(store, "a")
    await store.note(EventKind.METHOD_BREAKER, {"method": "rpc", "to": "open"}, SOON + S)
    await end_one(store, "b")
    await steps.seal_all(store)
    assert await prune(store, SOON + 1) == 3
    assert [e.kind for e in await own(store)] == [EventKind.METHOD_BREAKER, EventKind.CHECKPOINT]


async def test_many_of_them_hold_up_no_clean_up(store: SqlStore) -> None:
    """More than a batch of old ones in a row goes, and what is behind them."""
    notes = [store.note(EventKind.METHOD_LIMITED, LIMITED, SOON) for _ in range(250)]
    await asyncio.gather(*notes)
    await end_one(store, "a")
    await steps.seal_all(store)
    assert await prune(store, SOON + 1) == 252


async def test_their_sequence_only_grows(store: SqlStore) -> None:
    """Even when all of them were removed, no number is given twice."""
    seen: set[int] = set()
    for n in range(3):
        await store.note(EventKind.METHOD_LIMITED, LIMITED, SOON)
        await end_one(store, f"o{n}")
        seqs = {event.seq for event in await own(store)}
        seen |= seqs
        await prune(store, SOON + 1)
    seen |= {event.seq for event in await own(store)}
    assert seen == set(range(1, 7))


# ---------------------------------------------------------------- switches


async def test_nothing_is_switched_at_first(store: SqlStore) -> None:
    """What else a database says of itself is no switch."""
    await store.bind_chain("sandbox", "hash")
    assert await store.method_switches() == MethodSwitches(frozenset(), {})


async def test_a_method_is_switched_once_and_told_once(store: SqlStore) -> None:
    """Repeating it changes and tells nothing; each method is switched by itself."""
    assert await store.switch_method("rpc", disabled=True, at_us=SOON)
    assert not await store.switch_method("rpc", disabled=True, at_us=SOON + 1)
    assert await store.switch_method("jito", disabled=True, at_us=SOON + 2)
    assert (await store.method_switches()).disabled == {"rpc", "jito"}
    assert await store.switch_method("rpc", disabled=False, at_us=SOON + 3)
    assert not await store.switch_method("rpc", disabled=False, at_us=SOON + 4)
    assert (await store.method_switches()).disabled == {"jito"}
    assert [(e.kind, e.at_us, e.data) for e in await own(store)] == [
        (EventKind.METHOD_DISABLED, SOON, {"method": "rpc"}),
        (EventKind.METHOD_DISABLED, SOON + 2, {"method": "jito"}),
        (EventKind.METHOD_ENABLED, SOON + 3, {"method": "rpc"}),
    ]


async def test_a_reset_leaves_another_mark_each_time(store: SqlStore) -> None:
    """Whoever saw the mark before knows that the method was reset since."""
    marks = [await store.reset_method("rpc", SOON) for _ in range(2)]
    assert marks[0] != marks[1]
    assert (await store.method_switches()).resets == {"rpc": marks[1]}
    assert [e.kind for e in await own(store)] == [EventKind.METHOD_RESET] * 2


async def test_switches_outlive_the_process(sqlite_url: str) -> None:
    """The next start finds what was switched, and its chain besides."""
    async with open_store(sqlite_url, process_name="first") as store:
        await store.switch_method("rpc", disabled=True, at_us=SOON)
        await store.reset_method("jito", SOON)
        before = await store.method_switches()
    async with open_store(sqlite_url, process_name="second") as store:
        assert await store.method_switches() == before
        assert before.disabled == {"rpc"}
        assert set(before.resets) == {"jito"}


@pytest.mark.postgres
async def test_two_processes_switch_a_method_once(two_stores: tuple[SqlStore, SqlStore]) -> None:
    """Both ask at once: one of them changes it, the other is told that it was so, nothing fails."""
    for at_us in range(SOON, SOON + 10):
        for disabled in (True, False):
            changed = await asyncio.gather(
                *(s.switch_method("rpc", disabled=disabled, at_us=at_us) for s in two_stores)
            )
            assert sorted(changed) == [False, True]
    await asyncio.gather(*(s.reset_method("rpc", SOON) for s in two_stores))
    assert len(await own(two_stores[0])) == 22
