"""The handle on a held order: its writes, and what is known after one went wrong."""

import asyncio
from collections.abc import Sequence

import pytest

from app.domain import changes
from app.domain.attempt import LanePlan
from app.domain.changes import Change
from app.domain.errors import IntakeError, ReasonCode
from app.domain.order import OrderStatus, OrderView
from app.engine.held import Held
from app.engine.order_time import OrderTime
from app.engine.ports import Balances, Claimed, LostLease, Shortage
from app.engine.store_port import Halted
from tests.domain import makers
from tests.engine.fake_store import busy, unknown
from tests.engine.rig import Rig
from tests.engine.scripting import Fault

pytestmark = pytest.mark.anyio

Told = list[tuple[OrderStatus, OrderStatus]]


async def hold(rig: Rig, told: Told | None = None) -> Held:
    """Claim a new order and give the handle on it."""
    await rig.post()
    (claimed,) = await rig.store.claim(1, rig.clock.now_us())
    kept = [] if told is None else told

    def recorded(before: OrderView, after: OrderView) -> None:
        kept.append((before.order.status, after.order.status))

    rig.store.script.calls.clear()
    return Held(claimed, rig.store, recorded, OrderTime(rig.clock))


def failed(view: OrderView) -> Sequence[Change]:
    """End an order."""
    code = ReasonCode.INTERNAL_ERROR
    return [changes.ended(view, OrderStatus.FAILED, at_us=1, code=code, reason="why")]


async def test_a_committed_write_renews_what_is_known_and_is_told() -> None:
    """The view is the one that the store gave, and whoever listens hears of the move."""
    told: Told = []
    rig = Rig()
    held = await hold(rig, told)
    assert await held.record(failed)
    assert held.view.order.status is OrderStatus.FAILED
    assert told == [(OrderStatus.EXECUTING, OrderStatus.FAILED)]


async def test_no_changes_write_nothing() -> None:
    """What needs no write costs none, and counts as held."""
    rig = Rig()
    held = await hold(rig)
    assert await held.record(lambda _view: [])
    assert rig.store.script.calls == []


async def test_after_a_refused_write_the_order_is_read_again_before_the_next() -> None:
    """An error leaves open whether it was committed: here it was not, and the next write does it."""
    rig = Rig()
    held = await hold(rig)
    rig.store.script.add("record", Fault(refuses=busy()))
    with pytest.raises(IntakeError):
        await held.record(failed)
    assert await held.record(failed)
    assert rig.store.script.calls == ["record", "reload", "record"]


async def test_after_a_lost_answer_the_order_is_taken_as_it_is_stored() -> None:
    """The write had been committed, and with it the lease ended: nothing is written on top."""
    rig = Rig()
    held = await hold(rig)
    rig.store.script.add("record", Fault(loses=unknown()))
    with pytest.raises(IntakeError):
        await held.record(failed)
    assert not await held.record(failed)
    assert held.lost
    assert rig.store.script.calls == ["record", "reload"]


@pytest.mark.parametrize("committed", [False, True])
async def test_after_a_cancelled_write_the_order_is_read_again(committed: bool) -> None:
    """A cancelled write may have been committed or not; the next unit starts from what is stored."""
    rig = Rig()
    held = await hold(rig)
    gate = rig.store.script.gate("record", after=committed)
    writing = asyncio.create_task(held.record(failed))
    await gate.reached.wait()
    writing.cancel()
    await asyncio.wait([writing])
    assert await held.reload() is not committed
    status = OrderStatus.FAILED if committed else OrderStatus.EXECUTING
    assert rig.order(held.order_id).status is status


async def test_a_reload_that_fails_is_tried_again() -> None:
    """Nothing is written before it is known what is stored."""
    rig = Rig()
    held = await hold(rig)
    rig.store.script.add("record", Fault(refuses=busy()))
    rig.store.script.add("reload", Fault(refuses=busy()))
    for _ in range(2):
        with pytest.raises(IntakeError):
            await held.record(failed)
    assert await held.record(failed)
    assert rig.store.script.calls == ["record", "reload", "reload", "record"]


async def test_a_lost_lease_is_final_for_the_handle() -> None:
    """Another was first: the slot is free, and nothing is asked of the store again."""
    rig = Rig()
    held = await hold(rig)
    await rig.store.cancel("default", held.order_id, 1)
    assert not await held.record(failed)
    assert held.lost
    assert held.settled.is_set()
    rig.store.script.calls.clear()
    assert not await held.record(failed)
    assert rig.store.script.calls == []
    assert rig.order(held.order_id).status is OrderStatus.CANCELED


async def test_a_shortage_leaves_the_order_as_it_is() -> None:
    """A unit that wrote nothing changes nothing that is known."""
    rig = Rig()
    held = await hold(rig)
    before = held.view

    async def unit(_claimed: Claimed) -> Shortage:
        return Shortage("too little", passing=True)

    assert await held.write(unit) == Shortage("too little", passing=True)
    assert held.view is before


async def test_writes_go_in_single_file() -> None:
    """Worker, push and watch write through one handle: the second starts when the first is done."""
    rig = Rig()
    held = await hold(rig)
    gate = rig.store.script.gate("record")
    first = asyncio.create_task(held.record(failed))
    await gate.reached.wait()
    second = asyncio.create_task(held.record(lambda _view: []))
    await asyncio.sleep(1)
    assert not second.done()
    gate.opened.set()
    assert await first
    assert await second


async def store_attempt(rig: Rig, held: Held) -> None:
    """Give the order a live attempt."""

    async def unit(claimed: Claimed) -> Claimed | LostLease | Shortage | Halted:
        return await rig.store.store_attempt(
            claimed,
            makers.signed(),
            LanePlan(()),
            balances=Balances(1, 1),
            reserve_lamports=0,
            at_us=1,
        )

    assert isinstance(await held.write(unit), Claimed)


async def test_pushes_that_could_not_be_recorded_are_recorded_with_the_next_write() -> None:
    """Whatever that is about: an order that ends shows every push that was answered, and each once."""
    rig = Rig()
    held = await hold(rig)
    await store_attempt(rig, held)
    first, second = makers.push("jito"), makers.push("rpc")
    held.pushed(1, first, 5)
    rig.store.script.add("record", Fault(refuses=busy()), Fault(loses=unknown()))
    for _ in range(2):
        with pytest.raises(IntakeError):
            await held.record()
    held.pushed(1, second, 6)
    doubt = [changes.in_doubt(held.view.attempts[0], at_us=7, why="why")]
    assert await held.record(lambda _view: doubt)
    assert await held.record()
    (attempt,) = rig.database.attempts(held.order_id)
    assert attempt.submissions == (first, second)
    told = [kind.value for kind in rig.database.kinds(held.order_id)]
    assert told[-3:] == ["attempt.submitted", "attempt.submitted", "order.in_doubt"]


async def test_what_is_made_of_an_order_sees_the_pushes_that_come_first() -> None:
    """So that a landing is credited to the method that took the bytes, recorded already or not."""
    rig = Rig()
    held = await hold(rig)
    await store_attempt(rig, held)
    held.pushed(1, makers.push("jito"), 5)
    seen: list[str | None] = []

    def make(view: OrderView) -> Sequence[Change]:
        seen.append(view.attempts[0].landing_method)
        return []

    assert await held.record(make)
    assert seen == ["jito"]


async def test_a_cancellation_is_learnt_from_any_read() -> None:
    """What another process asked for shows with the next answer of the store, and with a new claim."""
    rig = Rig()
    held = await hold(rig)
    await store_attempt(rig, held)
    known = [held.cancel_requested]
    await rig.store.cancel("default", held.order_id, 1)
    assert await held.reload()
    known.append(held.cancel_requested)
    assert known == [False, True]
    await rig.store.release(held.claimed)
    (claimed,) = await rig.store.claim(1, rig.clock.now_us())
    assert Held(
        claimed, rig.store, lambda _before, _after: None, OrderTime(rig.clock)
    ).cancel_requested


async def test_a_lost_order_stays_lost_for_a_unit() -> None:
    """A unit after the loss is not run at all."""
    rig = Rig()
    held = await hold(rig)
    await rig.store.cancel("default", held.order_id, 1)
    assert not await held.reload()

    async def unit(_claimed: Claimed) -> Shortage:
        raise AssertionError("ran without a lease")

    assert isinstance(await held.write(unit), LostLease)
