"""The worker pool: what it takes up, in which order, how it dies, and how it ends."""

import asyncio

import pytest

from app.domain.errors import ReasonCode
from app.domain.events import EventKind, verify_chain
from app.domain.order import OrderStatus
from app.engine.lease import LeaseLostError
from tests.engine.fake_store import busy, unknown
from tests.engine.rig import Knobs, Rig, World, pass_time, running
from tests.engine.scripting import Fault, Gate

pytestmark = pytest.mark.anyio

ONE_SLOT = Knobs(slots=1)


class PanicError(BaseException):
    """Like a panic of native code: no Exception."""


# ---------------------------------------------------------------- taking up


async def test_posted_work_is_taken_up_at_once() -> None:
    """An event wakes the dispatcher; nobody waits for its poll."""
    async with running(Rig(Knobs(poll=0.05))) as rig:
        await pass_time(0.4)
        await rig.post()
        await pass_time(0.01)
        assert len(rig.rpc.pushed) == 1


async def test_priority_nine_overtakes_a_hundred_that_wait_at_nought() -> None:
    """With one worker; and those that waited are served within their time."""
    async with running(Rig(ONE_SLOT)) as rig:
        low = [await rig.post(priority=0) for _ in range(100)]
        await pass_time(2)
        done = sum(rig.order(each).status is OrderStatus.FILLED for each in low)
        high = await rig.post(priority=9)
        await rig.reaches(high, OrderStatus.FILLED, 3)
        assert sum(rig.order(each).status is OrderStatus.FILLED for each in low) <= done + 2
        await rig.until(lambda: all(rig.order(each).status.final for each in low), 290)
        assert {rig.order(each).status for each in low} == {OrderStatus.FILLED}


async def test_an_order_with_a_live_attempt_comes_before_any_priority() -> None:
    """Money under way is looked after first."""
    world = World()
    rig = Rig(ONE_SLOT, world=world)
    world.chain.fate = lambda _attempt: None
    async with running(rig):
        low = await rig.post(priority=0)
        await rig.until(lambda: rig.rpc.pushed)
    async with running(Rig(ONE_SLOT, world=world, process="two")) as second:
        await pass_time(0.1)
        high = await second.post(priority=9)
        await pass_time(1)
        assert second.rpc.pushed[0].startswith(low)
        assert second.order(high).status is OrderStatus.QUEUED


async def test_slots_and_busy_workers_are_told() -> None:
    """What `/status` and the metrics show."""
    async with running(Rig(Knobs(slots=2))) as rig:
        rig.chain.fate = lambda _attempt: None
        for _ in range(3):
            await rig.post()
        await pass_time(1)
        assert (rig.engine.busy, rig.engine.slots) == (2, 2)
        assert max(busy_now for (busy_now,) in rig.telemetry.of("workers_busy")) == 2  # type: ignore[type-var]


@pytest.mark.parametrize("lacking", ["chain", "method", "lease"])
async def test_orders_stay_queued_while_nothing_could_be_signed_or_pushed(lacking: str) -> None:
    """They are accepted and wait, untouched; when it is back they are executed."""
    async with running(Rig()) as rig:
        rig.chain.is_ready = lacking != "chain"
        rig.rpc.admitting = lacking != "method"
        if lacking == "lease":
            rig.store.script.add("heartbeat", *[Fault(refuses=busy())] * 10)
            await rig.until(lambda: not rig.lease.held())
        order_id = await rig.post()
        await pass_time(4)
        assert rig.order(order_id).status is OrderStatus.QUEUED
        assert rig.order(order_id).tries == 0
        rig.chain.is_ready = rig.rpc.admitting = True
        await rig.reaches(order_id, OrderStatus.FILLED, 20)


async def test_a_queue_that_cannot_be_read_is_read_again() -> None:
    """The dispatcher survives a database that refuses."""
    async with running(Rig()) as rig:
        rig.store.script.add("claim", *[Fault(refuses=busy())] * 3)
        order_id = await rig.post()
        await rig.reaches(order_id, OrderStatus.FILLED, 10)
        assert rig.failures == []


@pytest.mark.parametrize("call", ["claim", "claim_overdue"])
async def test_orders_whose_claim_was_never_answered_are_not_lost(call: str) -> None:
    """They were taken in this process's name, unknown to it: freed, claimed again, executed once."""
    async with running(Rig(Knobs(order_timeout=30))) as rig:
        rig.chain.is_ready = call == "claim"
        order_id = await rig.post()
        if call == "claim":
            rig.store.script.add(call, Fault(loses=unknown()))
            await rig.reaches(order_id, OrderStatus.FILLED, 10)
            assert len(rig.trading.signed) == 1
        else:
            await pass_time(29)
            rig.store.script.add(call, *[Fault(loses=unknown())] * 3)
            assert (await rig.ended(order_id, 10)).status is OrderStatus.EXPIRED
        assert rig.store.script.calls.count("disown") >= 1


async def test_orders_that_were_to_be_adopted_are_not_lost() -> None:
    """The same for fills that another run left: they become final."""
    world = World()
    async with running(Rig(Knobs(drain=0.1), world=world)) as rig:
        order_id = await rig.post()
        await rig.reaches(order_id, OrderStatus.FILLED)
    rig = Rig(world=world, process="two")
    rig.store.script.add("adopt", Fault(loses=unknown()))
    async with running(rig):
        await rig.until(lambda: rig.order(order_id).finalized_at_us, 20)


# ---------------------------------------------------------------- passes


async def test_a_pass_that_takes_too_long_with_nothing_alive_queues_the_order_again() -> None:
    """Its slot goes to others, the order backs off and is tried again."""
    knobs = Knobs(slots=1, execution_timeout=5)
    async with running(Rig(knobs)) as rig:
        rig.trading.script.gate("quote")
        order_id = await rig.post()
        await rig.until(lambda: rig.order(order_id).reason_code is ReasonCode.PASS_TIMED_OUT, 6)
        assert rig.order(order_id).status is OrderStatus.QUEUED
        await rig.reaches(order_id, OrderStatus.FILLED)


async def test_a_pass_that_takes_too_long_with_an_attempt_alive_goes_on() -> None:
    """The order stays submitted, is watched and pushed on, and nothing else is signed."""
    async with running(Rig(Knobs(execution_timeout=3))) as rig:
        rig.chain.fate = lambda _attempt: None
        order_id = await rig.post()
        await pass_time(20)
        assert rig.order(order_id).status is OrderStatus.SUBMITTED
        assert len(rig.rpc.pushed) > 10
        rig.chain.land(rig.database.attempts(order_id)[0])
        await rig.reaches(order_id, OrderStatus.FILLED, 5)
        assert len(rig.trading.signed) == 1


async def test_a_store_that_stays_silent_after_a_timeout_is_asked_until_it_answers() -> None:
    """The slot is kept meanwhile: nobody knows whether something is alive."""
    knobs = Knobs(slots=1, execution_timeout=5)
    async with running(Rig(knobs)) as rig:
        rig.trading.script.gate("quote")
        rig.store.script.add("reload", *[Fault(refuses=busy())] * 3)
        order_id = await rig.post()
        await pass_time(7)
        assert rig.engine.busy == 1
        await rig.reaches(order_id, OrderStatus.QUEUED, 3)
        assert rig.order(order_id).reason_code is ReasonCode.PASS_TIMED_OUT


async def test_an_order_that_was_filled_unseen_gives_its_slot_back() -> None:
    """The record of the fill hung until the pass was over, and its answer was lost: nothing is to do."""
    async with running(Rig(Knobs(slots=1, execution_timeout=5, poll=0.1))) as rig:
        rig.chain.fate = lambda _attempt: None
        order_id = await rig.post()
        await rig.until(lambda: EventKind.SUBMITTED in rig.database.kinds(order_id))
        await rig.manager.cancel("default", order_id)  # no push is recorded in between
        gate = Gate()
        rig.store.script.add("record", Fault(after=gate, loses=unknown()))
        rig.chain.land(rig.database.attempts(order_id)[0], after=0)
        await gate.reached.wait()
        await pass_time(6)
        assert rig.engine.busy == 1
        gate.opened.set()
        await rig.until(lambda: rig.engine.busy == 0, 0.1)
        await rig.until(lambda: rig.order(order_id).finalized_at_us, 20)


# ---------------------------------------------------------------- recovery and the end


async def test_a_killed_run_is_taken_up_by_the_next() -> None:
    """Orders queued, executing and submitted: each is executed once."""
    world = World()
    first = Rig(Knobs(slots=2), world=world)
    world.chain.fate = lambda _attempt: None
    await first.engine.start()
    submitted = await first.post()
    await first.until(lambda: first.rpc.pushed)
    first.trading.script.gate("quote")
    executing = await first.post()
    await first.reaches(executing, OrderStatus.EXECUTING)
    queued = await first.post()
    await first.supervisor.stop()  # as good as dead: nothing is released
    world.chain.fate = world.chain.land
    async with running(Rig(world=world, process="two")) as second:
        for order_id in (submitted, executing, queued):
            await second.reaches(order_id, OrderStatus.FILLED, 40)
            assert len(world.database.attempts(order_id)) == 1
        assert (OrderStatus.SUBMITTED,) in second.telemetry.of("recovered")


async def test_what_a_run_left_in_doubt_is_adopted_without_a_slot() -> None:
    """Its evidence is looked for, and new orders are executed beside it."""
    world = World()
    first = Rig(world=world)
    async with running(first):
        world.chain.fate = lambda _attempt: None
        world.chain.down.add("proof")
        doubted = await first.post()
        await first.until(lambda: first.order(doubted).in_doubt_since_us is not None)
    world.chain.fate = world.chain.land
    async with running(Rig(ONE_SLOT, world=world, process="two")) as second:
        await pass_time(2)
        assert second.engine.busy == 0
        other = await second.post()
        await second.reaches(other, OrderStatus.FILLED, 5)
        world.chain.down.clear()
        await second.reaches(doubted, OrderStatus.FILLED, 60)


async def test_a_failure_that_a_run_left_unsettled_holds_no_slot_in_the_next() -> None:
    """It has landed: it is watched to its finality beside the others."""
    world = World()
    world.chain.fate = lambda attempt: world.chain.land(attempt, error="an error")
    async with running(Rig(Knobs(drain=0.1), world=world)) as first:
        failed = await first.post()
        await first.until(lambda: first.order(failed).landed_failed_at_us is not None)
    world.chain.down.add("statuses")  # nothing more can be seen of it for now
    async with running(Rig(ONE_SLOT, world=world, process="two")) as second:
        await second.until(lambda: second.rpc.pushed)
        await pass_time(0.1)
        assert second.engine.busy == 0
        world.chain.down.clear()
        await second.until(lambda: EventKind.FAILED in second.database.kinds(failed))


async def test_an_attempt_is_buried_with_every_push_that_was_under_way() -> None:
    """A start pushes before it knows what landed meanwhile: its answer is waited for and recorded."""
    world = World()
    world.chain.fate = lambda attempt: world.chain.land(attempt, error="an error")
    async with running(Rig(world=world)) as first:
        order_id = await first.post()
        await first.until(lambda: first.order(order_id).landed_failed_at_us is not None)
    await pass_time(10)
    second = Rig(world=world, process="two")
    second.rpc.script.gate("submit", after=True)
    async with running(second):
        await second.until(lambda: world.database.attempts(order_id)[0].status.dead)
        before, after = world.database.attempts(order_id)[0].submissions[-2:]
        assert (before.reason, after.reason) == ("ok", "timeout")


async def test_an_orderly_end_lets_passes_end_and_takes_up_nothing_new() -> None:
    """What is in a slot is finished; what is queued stays queued, free for the next."""
    rig = Rig(ONE_SLOT)
    await rig.engine.start()
    running_order = await rig.post()
    await rig.until(lambda: rig.rpc.pushed)
    waiting = await rig.post()
    await rig.engine.stop()
    assert rig.order(running_order).status is OrderStatus.FILLED
    assert rig.order(waiting).status is OrderStatus.QUEUED
    assert rig.failures == []
    assert all(row.process is None for row in rig.database.rows.values())


async def test_an_end_does_not_wait_for_ever_and_gives_orders_back() -> None:
    """After the drain limit a held order is free for any process, at once."""
    rig = Rig(Knobs(drain=5))
    rig.chain.fate = lambda _attempt: None
    await rig.engine.start()
    order_id = await rig.post()
    await rig.until(lambda: rig.rpc.pushed)
    before = asyncio.get_running_loop().time()
    await rig.engine.stop()
    assert asyncio.get_running_loop().time() - before < 5.5
    assert rig.database.rows[order_id].process is None
    assert rig.order(order_id).status is OrderStatus.SUBMITTED


async def test_an_end_survives_a_database_that_refuses() -> None:
    """What cannot be given back is free when the heart no longer beats."""
    rig = Rig(Knobs(drain=1))
    rig.chain.fate = lambda _attempt: None
    await rig.engine.start()
    await rig.post()
    await rig.until(lambda: rig.rpc.pushed)
    await rig.until(lambda: rig.store.script.calls[-1] != "record")
    rig.store.script.dice = lambda name: (
        Fault(refuses=busy()) if name in ("reload", "seal") else Fault()
    )
    await rig.engine.stop()


async def test_an_order_that_another_took_meanwhile_is_not_given_back() -> None:
    """It is not ours to release."""
    rig = Rig(Knobs(drain=1))
    rig.chain.fate = lambda _attempt: None
    await rig.engine.start()
    order_id = await rig.post()
    await rig.until(lambda: rig.rpc.pushed)
    rig.database.rows[order_id].process = "two"
    await rig.engine.stop()
    assert rig.database.rows[order_id].process == "two"


async def test_after_its_end_no_signal_is_taken() -> None:
    """Nobody would execute it here."""
    rig = Rig()
    async with running(rig):
        pass
    with pytest.raises(Exception, match="SHUTTING_DOWN"):
        await rig.post()


# ---------------------------------------------------------------- supervision


@pytest.mark.parametrize(
    ("call", "error", "name"),
    [
        ("claim", ZeroDivisionError(), "dispatcher"),
        ("figures", ZeroDivisionError(), "housekeeping"),
        ("seal", ZeroDivisionError(), "sealer"),
        ("heartbeat", LeaseLostError(), "lease"),
    ],
)
async def test_a_task_that_dies_ends_the_service_by_name(
    call: str, error: Exception, name: str
) -> None:
    """A defect is no storage error: it is not survived in silence."""
    rig = Rig()
    await rig.engine.start()
    rig.store.script.add(call, Fault(refuses=error))
    await rig.post()
    await rig.until(lambda: rig.failures)
    assert rig.failures == [name]
    await rig.engine.stop()
    assert rig.failures == [name]


async def test_a_dying_worker_ends_the_service_by_name() -> None:
    """A panic of native code is no ordinary error; its order is free for the next run."""
    world = World()
    rig = Rig(ONE_SLOT, world=world)
    await rig.engine.start()
    rig.trading.script.add("quote", Fault(refuses=PanicError()))
    order_id = await rig.post()
    await rig.until(lambda: rig.failures)
    assert rig.failures == ["worker-1"]
    await rig.engine.stop()
    await pass_time(4)
    async with running(Rig(world=world, process="two")) as second:
        await second.reaches(order_id, OrderStatus.FILLED, 10)


async def test_a_dying_watch_ends_the_service_by_name() -> None:
    """Nothing would be confirmed any more."""
    rig = Rig()
    await rig.engine.start()
    rig.chain.script.add("heights", Fault(refuses=ZeroDivisionError()))
    await rig.until(lambda: rig.failures)
    assert rig.failures == ["confirmation"]
    await rig.engine.stop()


# ---------------------------------------------------------------- housekeeping


async def test_overdue_orders_end_though_nothing_can_be_executed() -> None:
    """The chain is out of reach: orders whose time ran out are told so, in time."""
    async with running(Rig(Knobs(order_timeout=20))) as rig:
        rig.chain.is_ready = False
        posted = [await rig.post() for _ in range(3)]
        await pass_time(22)
        for order_id in posted:
            order = rig.order(order_id)
            assert (order.status, order.reason_code) == (
                OrderStatus.EXPIRED,
                ReasonCode.ORDER_TIMEOUT,
            )


async def test_ending_overdue_orders_survives_the_store() -> None:
    """Cut short by an error, the rest is freed and ended with the next look."""
    async with running(Rig(Knobs(order_timeout=20))) as rig:
        rig.chain.is_ready = False
        posted = [await rig.post() for _ in range(3)]
        await pass_time(19)
        rig.store.script.add("record", Fault(), Fault(refuses=busy()))
        rig.store.script.add("disown", Fault(refuses=busy()))
        await pass_time(6)
        assert {rig.order(each).status for each in posted} == {OrderStatus.EXPIRED}
        assert rig.failures == []


async def test_housekeeping_survives_a_database_that_refuses() -> None:
    """Figures, overdue orders and orphans have to wait, and then are looked at."""
    async with running(Rig()) as rig:
        rig.store.script.add("figures", *[Fault(refuses=busy())] * 3)
        await pass_time(2)
        await rig.post()
        await pass_time(3)
        assert rig.failures == []
        assert rig.manager.figures is not None
        assert rig.manager.figures.by_status[OrderStatus.FILLED] == 1


async def test_the_trail_is_sealed_as_it_grows_whatever_befalls() -> None:
    """Refused once, sealed with the next look; the chain of hashes holds."""
    rig = Rig()
    async with running(rig):
        rig.store.script.add("seal", Fault(refuses=busy()))
        order_id = await rig.post()
        await rig.reaches(order_id, OrderStatus.FILLED)
    assert rig.database.sealed == len(rig.database.events)
    assert verify_chain(rig.database.events) is None
    assert EventKind.FILLED in rig.database.kinds(order_id)
