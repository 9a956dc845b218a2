"""Fills on their way to finality, and those that a fork undid."""

from dataclasses import replace
from typing import Any, cast

import pytest

from app.domain.attempt import AttemptStatus, StoredAttempt
from app.domain.errors import ReasonCode
from app.domain.events import EventKind
from app.domain.order import OrderStatus
from app.domain.outcome import Commitment, Seen
from tests.engine.fake_chain import Landing, landed_transaction
from tests.engine.fake_store import busy, unknown
from tests.engine.rig import Knobs, Rig, World, pass_time, running
from tests.engine.scripting import Fault

pytestmark = pytest.mark.anyio

ERROR = {"InstructionError": [2, {"Custom": 6005}]}


async def filled(rig: Rig) -> tuple[str, StoredAttempt, Landing]:
    """Execute an order; gives it with its landed attempt and the landing."""
    order_id = await rig.post()
    await rig.reaches(order_id, OrderStatus.FILLED)
    attempt = rig.database.attempts(order_id)[-1]
    return order_id, attempt, rig.chain.landings[attempt.signature][-1]


async def test_a_fill_is_followed_until_its_block_is_final() -> None:
    """Then its slot is kept again, and nothing is held or asked any more."""
    async with running(Rig()) as rig:
        order_id, attempt, _ = await filled(rig)
        assert rig.order(order_id).finalized_at_us is None
        await rig.until(lambda: rig.order(order_id).finalized_at_us, 10)
        assert rig.confirmation.held() == []
        assert rig.database.rows[order_id].process is None
        assert rig.database.attempts(order_id)[0].landed_slot == attempt.landed_slot


async def test_a_fill_whose_block_moved_keeps_the_final_slot() -> None:
    """A fork undid the block and another took the transaction in: still one fill."""
    async with running(Rig()) as rig:
        order_id, attempt, landing = await filled(rig)
        rig.chain.fork(landing)
        rig.chain.land(attempt, after=1.5)
        await rig.until(lambda: rig.order(order_id).finalized_at_us, 20)
        assert rig.order(order_id).status is OrderStatus.FILLED
        moved = rig.database.attempts(order_id)[0].landed_slot
        assert moved is not None
        assert attempt.landed_slot is not None
        assert moved > attempt.landed_slot


async def test_a_moved_fill_is_not_kept_as_a_node_behind_tells_it() -> None:
    """The status is final in the new block, while the transaction is still read from the old one."""
    async with running(Rig()) as rig:
        order_id, attempt, landing = await filled(rig)
        fill = rig.order(order_id).fill
        assert fill is not None
        old = landed_transaction(attempt.signature, fill.slot)
        rig.chain.fork(landing)
        rig.chain.land(attempt, after=1.5)
        rig.chain.read_back[attempt.signature] = old
        await pass_time(20)
        assert rig.order(order_id).finalized_at_us is None
        rig.chain.read_back.clear()
        await rig.until(lambda: rig.order(order_id).finalized_at_us, 3)
        moved = rig.order(order_id).fill
        assert moved is not None
        assert moved.slot > fill.slot


async def test_a_fill_without_a_transaction_is_held_and_told_once() -> None:
    """A damaged database lost it: freed, it would be taken up again each second, for ever."""
    world = World()
    first = Rig(world=world)
    async with running(first):
        order_id, _, _ = await filled(first)
    row = world.database.rows[order_id]
    row.view = replace(row.view, attempts=())
    second = Rig(world=world, process="two")
    async with running(second):
        await pass_time(3)
        version = row.order.version
        assert row.process == "two"
        assert [each.order_id for each in second.confirmation.held()] == [order_id]
        await pass_time(10)
        assert row.order.version == version
    assert row.process is None


async def test_a_fill_that_is_gone_for_good_is_taken_back() -> None:
    """Proved absent after its life: failed with its own code, never retried by itself."""
    async with running(Rig()) as rig:
        order_id, _, landing = await filled(rig)
        rig.chain.fork(landing)
        await rig.reaches(order_id, OrderStatus.FAILED)
        order = rig.order(order_id)
        assert order.reason_code is ReasonCode.FILL_REVERTED
        assert order.fill is None
        assert EventKind.FILL_REVERTED in rig.database.kinds(order_id)
        (attempt,) = rig.database.attempts(order_id)
        assert attempt.status is AttemptStatus.EXPIRED
        assert attempt.proof is not None
        await pass_time(60)
        assert rig.order(order_id).status is OrderStatus.FAILED
        assert len(rig.trading.signed) == 1


async def test_a_fill_that_failed_on_the_fork_that_stays_is_taken_back() -> None:
    """Known when that block is final, with the decoded error."""
    async with running(Rig()) as rig:
        order_id, attempt, landing = await filled(rig)
        rig.chain.fork(landing)
        rig.chain.land(attempt, after=0.5, error=ERROR)
        await rig.reaches(order_id, OrderStatus.FAILED)
        assert rig.order(order_id).reason_code is ReasonCode.FILL_REVERTED
        (attempt,) = rig.database.attempts(order_id)
        assert attempt.status is AttemptStatus.FAILED
        assert attempt.error is not None
        undone = next(e for e in rig.database.events if e.kind is EventKind.FILL_REVERTED)
        (witness,) = cast("list[dict[str, Any]]", undone.data["proof"])
        assert witness["slot"] == attempt.landed_slot


async def test_a_faulty_endpoint_takes_no_fill_back() -> None:
    """It tells a final failure of what executed: the fill stands, and becomes final."""
    async with running(Rig()) as rig:
        order_id, attempt, _ = await filled(rig)
        rig.chain.shown[attempt.signature] = Seen(11_000, Commitment.FINALIZED, ERROR, 11_000)
        await pass_time(60)
        order = rig.order(order_id)
        assert (order.status, order.finalized_at_us) == (OrderStatus.FILLED, None)
        assert rig.chain.script.calls.count("prove_failed") > 3
        rig.chain.shown.clear()
        await rig.until(lambda: rig.order(order_id).finalized_at_us, 10)
        assert rig.order(order_id).status is OrderStatus.FILLED


async def test_an_absent_fill_is_not_taken_back_without_proof() -> None:
    """Nor while nodes are silent; when it shows again it becomes final."""
    async with running(Rig()) as rig:
        order_id, attempt, landing = await filled(rig)
        rig.chain.fork(landing)
        rig.chain.land(attempt, after=20)
        rig.chain.down |= {"proof"}
        await pass_time(15)
        rig.chain.down |= {"statuses"}
        await pass_time(100)
        assert rig.order(order_id).status is OrderStatus.FILLED
        rig.chain.down.clear()
        await rig.until(lambda: rig.order(order_id).finalized_at_us, 10)


async def test_a_fill_without_proof_is_asked_for_again() -> None:
    """Past its life and absent, yet no endpoint proves it: it stays a fill until one does."""
    async with running(Rig()) as rig:
        order_id, _, landing = await filled(rig)
        rig.chain.fork(landing)
        rig.chain.down |= {"proof"}
        await pass_time(90)
        assert rig.order(order_id).status is OrderStatus.FILLED
        assert rig.chain.script.calls.count("prove_dead") > 3
        rig.chain.down.clear()
        await rig.reaches(order_id, OrderStatus.FAILED, 10)


async def test_the_attempt_that_filled_is_followed_not_one_that_failed_before() -> None:
    """A first attempt failed on chain, and has a slot too: the second is what becomes final."""
    async with running(Rig()) as rig:
        fates = iter([ERROR, None])
        rig.chain.fate = lambda attempt: rig.chain.land(attempt, error=next(fates))
        order_id = await rig.post()
        await rig.reaches(order_id, OrderStatus.FILLED)
        await rig.until(lambda: rig.order(order_id).finalized_at_us, 10)
        first, second = rig.database.attempts(order_id)
        assert (first.status, second.status) == (AttemptStatus.FAILED, AttemptStatus.LANDED)


@pytest.mark.parametrize("fault", [Fault(refuses=busy()), Fault(loses=unknown())])
async def test_finality_that_was_not_recorded_is_recorded_again(fault: Fault) -> None:
    """Once, whether the first record was committed or not; then it is let go."""
    async with running(Rig()) as rig:
        order_id, _, _ = await filled(rig)
        rig.store.script.add("record", fault)
        await rig.until(lambda: rig.order(order_id).finalized_at_us, 20)
        await rig.until(lambda: not rig.confirmation.held(), 10)
        assert rig.database.kinds(order_id).count(EventKind.FINALIZED) == 1


async def test_another_run_follows_what_one_left_unfinalized() -> None:
    """Even long after: the node's history is asked."""
    world = World()
    async with running(Rig(Knobs(drain=0.1), world=world)) as rig:
        order_id, _, _ = await filled(rig)
    assert world.database.order(order_id).finalized_at_us is None
    await pass_time(600)
    async with running(Rig(world=world, process="two")) as rig:
        await rig.until(lambda: rig.order(order_id).finalized_at_us, 10)
        assert rig.telemetry.of("recovered") == [(OrderStatus.FILLED,)]
