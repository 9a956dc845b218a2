"""When the watch pushes bytes, which lanes get them, and what is recorded of it."""

from itertools import pairwise

import pytest

from app.domain.attempt import AttemptStatus
from app.domain.errors import ReasonCode
from app.domain.events import EventKind
from app.domain.order import OrderStatus
from app.domain.outcome import Reply, ReplyOutcome
from tests.engine.fake_chain import LIFE_BLOCKS
from tests.engine.fake_store import busy
from tests.engine.rig import Knobs, Rig, pass_time, running
from tests.engine.scripting import Fault
from tests.engine.watched import nothing_lands, only, submitted, taken_over

pytestmark = pytest.mark.anyio

ERROR = {"InstructionError": [2, {"Custom": 6005}]}


async def test_bytes_are_pushed_again_about_every_rebroadcast_interval() -> None:
    """Identical bytes, at a jittered pace, from lane to lane as their patience runs out, then round."""
    knobs = Knobs(rebroadcast=2, poll=0.1, patience=4)
    async with running(Rig(knobs, methods=("jito", "rpc"))) as rig:
        nothing_lands(rig)
        order_id = await submitted(rig)
        await pass_time(20)
        jito, rpc = rig.methods["jito"].times, rig.methods["rpc"].times
        start = jito[0]
        assert all(at - start < 4 or at - start >= 8 for at in jito)
        assert any(at - start >= 8 for at in jito)
        assert all(at - start >= 4 for at in rpc)
        times = sorted([*jito, *rpc])
        gaps = [later - earlier for earlier, later in pairwise(times)]
        assert all(1.5 < gap < 2.7 for gap in gaps)
        assert len(set(gaps)) > 1
        assert set(rig.methods["rpc"].pushed) == {only(rig, order_id).signature}


async def test_a_lane_that_makes_wait_is_come_back_to_as_soon_as_it_does_not() -> None:
    """Not only after the next rebroadcast interval; nothing left the process meanwhile."""
    async with running(Rig(Knobs(rebroadcast=30, poll=0.1))) as rig:
        nothing_lands(rig)
        rig.rpc.admitting, rig.rpc.wait, rig.rpc.shut = False, 1.0, "limited"
        order_id = await submitted(rig)
        await pass_time(3)
        assert rig.rpc.pushed == []
        rig.rpc.admitting = True
        await rig.until(lambda: rig.rpc.pushed, seconds=2)
        told = [(s.outcome, s.reason) for s in only(rig, order_id).submissions]
        assert told[0] == (ReplyOutcome.NOT_SENT, "limited")
        assert len(told) == 2


async def test_pushes_that_could_not_be_recorded_are_recorded_with_the_next() -> None:
    """A database that is away keeps no bytes from going on to the next lane, and no push is forgotten."""
    async with running(Rig(Knobs(rebroadcast=1), methods=("jito", "rpc"))) as rig:
        nothing_lands(rig)
        rig.methods["jito"].replies.append(Reply(ReplyOutcome.REJECTED, "rate_limited"))
        order_id = await submitted(rig)
        rig.store.script.add("record", Fault(refuses=busy()), Fault(refuses=busy()))
        await rig.until(lambda: len(only(rig, order_id).submissions) >= 3)
        methods = [(s.method, s.outcome.value) for s in only(rig, order_id).submissions[:3]]
        assert methods == [("jito", "rejected"), ("rpc", "accepted"), ("rpc", "accepted")]


async def test_an_orderly_end_records_what_could_not_be_recorded_before() -> None:
    """The next process goes on with the plan where this one left it."""
    rig = Rig(Knobs(rebroadcast=30))
    nothing_lands(rig)
    await rig.engine.start()
    rig.store.script.add("record", Fault(refuses=busy()), Fault(refuses=busy()))
    order_id = await rig.post()
    await rig.until(lambda: rig.rpc.pushed)
    await pass_time(1)
    assert only(rig, order_id).submissions == ()
    await rig.engine.stop()
    assert [s.method for s in only(rig, order_id).submissions] == ["rpc"]


async def test_a_landing_against_a_methods_word_is_counted_and_told() -> None:
    """What a block engine says of a bundle's fate is never a proof."""
    async with running(Rig(methods=("jito",))) as rig:
        nothing_lands(rig)
        order_id = await submitted(rig)
        rig.methods["jito"].claims[only(rig, order_id).signature] = "Failed"
        rig.chain.land(only(rig, order_id), after=0)
        await rig.reaches(order_id, OrderStatus.FILLED)
        assert rig.telemetry.of("landed_against") == [("jito", "Failed")]
        events = [event for event in rig.database.events if event.order_id == order_id]
        filled = next(event for event in events if event.kind is EventKind.FILLED)
        assert filled.data["contradicted_claims"] == {"jito": "Failed"}


async def test_a_push_under_way_is_not_joined_by_another() -> None:
    """One push of an attempt at a time."""
    async with running(Rig(Knobs(rebroadcast=0.5, push_seconds=3))) as rig:
        nothing_lands(rig)
        rig.rpc.script.gate("submit")
        await rig.post()
        await rig.until(lambda: rig.rpc.pushed)
        await pass_time(2.5)
        assert len(rig.rpc.pushed) == 1
        await pass_time(2)
        assert len(rig.rpc.pushed) > 1


async def test_after_the_deadline_nothing_is_pushed_only_watched() -> None:
    """Bytes that were out already may still land, and then it is a fill."""
    async with running(Rig()) as rig:
        nothing_lands(rig)
        rig.chain.shortest_life_blocks = LIFE_BLOCKS
        order_id = await rig.post(valid_for=10)
        await rig.until(lambda: rig.rpc.pushed)
        await pass_time(10)
        pushed = len(rig.rpc.pushed)
        assert pushed > 3
        await pass_time(10)
        assert rig.order(order_id).in_doubt_since_us is None
        rig.chain.land(only(rig, order_id), after=0)
        await rig.reaches(order_id, OrderStatus.FILLED)
        assert len(rig.rpc.pushed) == pushed


async def test_without_a_lease_nothing_is_pushed_until_it_is_back() -> None:
    """Another process may hold the order by now."""
    async with running(Rig()) as rig:
        nothing_lands(rig)
        await submitted(rig)
        rig.store.script.add("heartbeat", *[Fault(refuses=busy())] * 8)
        await rig.until(lambda: not rig.lease.held())
        pushed = len(rig.rpc.pushed)
        await pass_time(3)
        assert len(rig.rpc.pushed) == pushed
        await rig.until(rig.lease.held)
        await pass_time(3)
        assert len(rig.rpc.pushed) > pushed


async def test_after_a_cancellation_nothing_is_pushed_and_the_order_ends_canceled() -> None:
    """Asked for through this process: at once. Its bytes may land until they are proved dead."""
    async with running(Rig(Knobs(max_retries=0))) as rig:
        nothing_lands(rig)
        order_id = await submitted(rig)
        await rig.manager.cancel("default", order_id)
        pushed = len(rig.rpc.pushed)
        order = await rig.ended(order_id)
        assert order.status is OrderStatus.CANCELED
        assert len(rig.rpc.pushed) == pushed
        assert only(rig, order_id).status is AttemptStatus.EXPIRED


async def test_a_cancellation_is_not_unsaid_by_an_older_answer() -> None:
    """The database was asked before the client canceled, and answers after: nothing is pushed any more."""
    async with running(Rig(Knobs(rebroadcast=0.5))) as rig:
        nothing_lands(rig)
        order_id = await submitted(rig)
        gate = rig.store.script.gate("refresh", after=True)
        await gate.reached.wait()
        await rig.manager.cancel("default", order_id)
        pushed = len(rig.rpc.pushed)
        gate.opened.set()
        await pass_time(3)
        assert len(rig.rpc.pushed) == pushed


async def test_a_cancellation_during_a_push_keeps_the_next_lane_empty() -> None:
    """The first lane hangs; when it has hung long enough the second gets nothing."""
    async with running(Rig(methods=("jito", "rpc"))) as rig:
        nothing_lands(rig)
        gate = rig.methods["jito"].script.gate("submit")
        order_id = await rig.post()
        await gate.reached.wait()
        await rig.manager.cancel("default", order_id)
        await pass_time(10)
        assert rig.rpc.pushed == []


async def test_a_loss_during_a_push_keeps_the_next_lane_empty() -> None:
    """Another process took the order over while the first lane hung: it pushes now, not this one."""
    async with running(Rig(methods=("jito", "rpc"))) as rig:
        nothing_lands(rig)
        gate = rig.methods["jito"].script.gate("submit")
        order_id = await rig.post()
        await gate.reached.wait()
        (held,) = rig.confirmation.held()
        taken_over(rig, order_id)
        assert not await held.reload()
        await pass_time(10)
        assert rig.rpc.pushed == []


async def test_a_canceled_order_that_lands_is_filled() -> None:
    """The request came too late: what happened is told as it is."""
    async with running(Rig()) as rig:
        nothing_lands(rig)
        order_id = await submitted(rig)
        await rig.manager.cancel("default", order_id)
        rig.chain.land(only(rig, order_id))
        order = await rig.reaches(order_id, OrderStatus.FILLED)
        assert order.cancel_requested_at_us is not None


async def test_a_failed_attempt_of_a_canceled_order_ends_it_canceled() -> None:
    """Asked for through another process, moments before the attempt died: no retry, no failure."""
    async with running(Rig(Knobs(max_retries=0))) as rig:
        rig.chain.fate = lambda attempt: rig.chain.land(attempt, error=ERROR)
        order_id = await rig.post()
        await rig.until(lambda: rig.order(order_id).landed_failed_at_us is not None)
        await rig.store.cancel("default", order_id, rig.clock.now_us())
        order = await rig.ended(order_id)
        assert (order.status, order.reason_code) == (
            OrderStatus.CANCELED,
            ReasonCode.CANCEL_REQUESTED,
        )


async def test_cancellations_asked_of_another_process_are_found_within_a_second() -> None:
    """Even when the first look for them fails."""
    async with running(Rig(Knobs(poll=0.1))) as rig:
        nothing_lands(rig)
        order_id = await submitted(rig)
        rig.store.script.add("refresh", Fault(refuses=busy()))
        await rig.store.cancel("default", order_id, rig.clock.now_us())
        await pass_time(2.3)
        pushed = len(rig.rpc.pushed)
        await pass_time(5)
        assert len(rig.rpc.pushed) == pushed
        assert rig.failures == []


async def test_a_cancellation_between_store_and_watch_keeps_the_bytes_here() -> None:
    """STORE is committed, its answer under way: the request is known before the first push."""
    async with running(Rig()) as rig:
        gate = rig.store.script.gate("store_attempt", after=True)
        order_id = await rig.post()
        await gate.reached.wait()
        await rig.manager.cancel("default", order_id)
        gate.opened.set()
        await rig.ended(order_id)
        assert rig.order(order_id).status is OrderStatus.CANCELED
        assert rig.rpc.pushed == []
