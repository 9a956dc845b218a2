"""An operator's word on an order in doubt: what it does, what contradicts it, and that no fill is lost."""

import asyncio
from dataclasses import replace
from typing import Any, cast

import pytest

from app.domain.attempt import AttemptStatus
from app.domain.errors import IntakeError, NotFoundError, ReasonCode, ResolutionError, SignalError
from app.domain.events import EventKind
from app.domain.money import SIGNATURE_LAMPORTS
from app.domain.order import OrderStatus
from app.domain.outcome import Commitment, Seen, Unreachable
from app.engine.order_manager import DEFAULT_ACCOUNT
from app.engine.resolution import Resolver
from tests.domain.makers import SLIPPAGE
from tests.engine.fake_chain import landed_transaction
from tests.engine.fake_store import busy
from tests.engine.rig import Rig, pass_time, running
from tests.engine.scripting import Fault
from tests.engine.watched import nothing_lands, only, submitted

pytestmark = pytest.mark.anyio

ERROR = {"InstructionError": [2, {"Custom": 6005}]}
WHY = "looked at two explorers"
AMOUNTS = {"base_amount": "0.01", "quote_amount": "1.85"}
SILENT = {"proof", "statuses", "transaction"}


async def doubted(rig: Rig, *, lands: bool = False) -> str:
    """Bring an order into doubt: nobody can tell whether it landed."""
    rig.chain.down |= SILENT
    if not lands:
        nothing_lands(rig)
    order_id = await submitted(rig)
    await rig.until(lambda: rig.order(order_id).in_doubt_since_us is not None)
    return order_id


async def resolve(rig: Rig, order_id: str, how: str, **more: Any) -> None:
    """Resolve an order as an operator would."""
    resolver = Resolver(rig.ports, engine=rig.engine, manager=rig.manager)
    await resolver.resolve(DEFAULT_ACCOUNT, order_id, {"as": how, "evidence": WHY, **more})


async def refused(rig: Rig, order_id: str, how: str, **more: Any) -> ReasonCode:
    """Try to resolve an order; gives why that was refused. It is in doubt as before, and watched."""
    before = rig.order(order_id)
    with pytest.raises((ResolutionError, SignalError)) as caught:
        await resolve(rig, order_id, how, **more)
    assert EventKind.RESOLVED not in rig.database.kinds(order_id)
    await pass_time(5)
    assert rig.order(order_id).in_doubt_since_us == before.in_doubt_since_us
    assert rig.database.rows[order_id].process == rig.store.process
    return caught.value.code


# ---------------------------------------------------------------- what it does


@pytest.mark.parametrize(
    ("how", "attempt"),
    [("failed", AttemptStatus.FAILED), ("expired", AttemptStatus.EXPIRED)],
)
async def test_an_order_resolved_unfilled_ends_and_is_never_signed_again(
    how: str, attempt: AttemptStatus
) -> None:
    """Its attempt is dead, its reason names the operator, and there are retries left that nobody makes."""
    async with running(Rig()) as rig:
        order_id = await doubted(rig)
        rig.chain.down -= {"statuses"}
        await resolve(rig, order_id, how)
        order = rig.order(order_id)
        assert (order.status, order.reason_code) == (
            OrderStatus(how),
            ReasonCode.RESOLVED_BY_OPERATOR,
        )
        assert (order.in_doubt_since_us, order.ended_at_us is None) == (None, False)
        assert only(rig, order_id).status is attempt
        rig.chain.down.clear()
        await pass_time(120)
        assert len(rig.trading.signed) == 1
        assert rig.order(order_id) == order
        assert rig.telemetry.of("order_ended") == [(OrderStatus(how), "RESOLVED_BY_OPERATOR")]
        assert rig.database.kinds(order_id)[-2:] == [EventKind.RESOLVED, EventKind.ENDED]


async def test_the_trail_has_who_why_and_what_was_asked_of_the_chain() -> None:
    """One event says it all."""
    async with running(Rig()) as rig:
        order_id = await doubted(rig)
        rig.chain.down -= {"statuses"}
        await resolve(rig, order_id, "expired")
        (event,) = [each for each in rig.database.events if each.kind is EventKind.RESOLVED]
        assert (event.data["as"], event.data["evidence"]) == ("expired", WHY)
        assert (event.data["by"], event.data["number"]) == (DEFAULT_ACCOUNT, 1)
        (asked,) = cast("list[dict[str, Any]]", event.data["asked"])
        assert (asked["endpoint"], asked["said"]) == ("fake", "absent")
        assert asked["height"] > only(rig, order_id).last_valid_block_height


async def test_a_failure_that_never_gets_final_can_be_resolved_with_its_error() -> None:
    """What the chain shows of it is kept: slot, decoded error."""
    async with running(Rig()) as rig:
        order_id = await doubted(rig)
        attempt = only(rig, order_id)
        rig.chain.down -= {"statuses"}
        rig.chain.shown[attempt.signature] = Seen(12_345, Commitment.CONFIRMED, ERROR, 12_400)
        await resolve(rig, order_id, "failed")
        attempt, order = only(rig, order_id), rig.order(order_id)
        assert (attempt.status, attempt.landed_slot) == (AttemptStatus.FAILED, 12_345)
        assert attempt.error == order.program_error == SLIPPAGE.document()


async def test_a_fill_that_the_chain_shows_is_read_from_it_and_followed() -> None:
    """The operator's amounts are not needed, nor taken: the chain knows better."""
    async with running(Rig()) as rig:
        order_id = await doubted(rig, lands=True)
        rig.chain.down -= {"statuses", "transaction"}
        await resolve(rig, order_id, "filled", base_amount="7", quote_amount="7")
        order = rig.order(order_id)
        assert (order.status, order.finalized_at_us) == (OrderStatus.FILLED, None)
        assert order.fill is not None
        assert order.fill.base_amount == 10_000_000
        await rig.until(lambda: rig.order(order_id).finalized_at_us is not None)
        assert rig.database.kinds(order_id)[-3:] == [
            EventKind.RESOLVED,
            EventKind.FILLED,
            EventKind.FINALIZED,
        ]


async def test_a_fill_that_nobody_shows_is_recorded_as_told_and_settled() -> None:
    """With the fees that the attempt was signed with; there is nothing to follow, so nobody does."""
    async with running(Rig()) as rig:
        order_id = await doubted(rig)
        await resolve(rig, order_id, "filled", **AMOUNTS)
        order, signed = rig.order(order_id), only(rig, order_id).signed
        assert order.fill is not None
        assert (order.fill.base_amount, order.fill.quote_amount) == (10_000_000, 1_850_000)
        assert (order.fill.network_fee, order.fill.venue_fee) == (SIGNATURE_LAMPORTS, 0)
        assert (order.fill.priority_fee, order.fill.tip) == (
            signed.priority_fee_lamports,
            signed.tip_lamports,
        )
        assert order.status is OrderStatus.FILLED
        assert order.finalized_at_us is not None
        assert only(rig, order_id).status is AttemptStatus.LANDED
        rig.chain.down.clear()
        await pass_time(120)
        assert rig.order(order_id) == order
        assert rig.database.rows[order_id].process is None


async def test_an_order_that_another_process_holds_is_taken_from_it() -> None:
    """The holder's next write misses; nothing is watched twice."""
    rig = Rig()
    async with running(rig):
        order_id = await doubted(rig)
        rig.chain.down -= {"statuses"}
        other = Rig(world=rig.world, process="two")
        async with running(other):
            await resolve(other, order_id, "expired")
            assert rig.order(order_id).status is OrderStatus.EXPIRED
            await pass_time(20)
            assert rig.order(order_id).status is OrderStatus.EXPIRED
    assert not rig.failures


# ---------------------------------------------------------------- what contradicts it


@pytest.mark.parametrize("how", ["failed", "expired"])
async def test_a_success_that_an_endpoint_shows_leaves_filled_only(how: str) -> None:
    """Even when its transaction cannot be read back."""
    async with running(Rig()) as rig:
        order_id = await doubted(rig, lands=True)
        rig.chain.down -= {"statuses"}
        assert await refused(rig, order_id, how) is ReasonCode.RESOLUTION_CONTRADICTED
        assert await refused(rig, order_id, "filled") is ReasonCode.MISSING_FIELD
        await resolve(rig, order_id, "filled", **AMOUNTS)


@pytest.mark.parametrize("how", ["failed", "expired"])
async def test_a_transaction_that_an_endpoint_shows_outweighs_absent_statuses(how: str) -> None:
    """Nodes forget statuses before transactions."""
    async with running(Rig()) as rig:
        order_id = await doubted(rig)
        signature = only(rig, order_id).signature
        rig.chain.read_back[signature] = landed_transaction(signature, 12_345)
        rig.chain.down -= {"statuses", "transaction"}
        assert await refused(rig, order_id, how) is ReasonCode.RESOLUTION_CONTRADICTED


@pytest.mark.parametrize("how", ["filled", "expired"])
async def test_a_transaction_that_is_shown_failed_leaves_failed_only(how: str) -> None:
    """With its error decoded from its own log lines."""
    async with running(Rig()) as rig:
        order_id = await doubted(rig)
        signature = only(rig, order_id).signature
        rig.chain.read_back[signature] = landed_transaction(signature, 12_345, ERROR)
        rig.chain.down -= {"statuses", "transaction"}
        more = AMOUNTS if how == "filled" else {}
        assert await refused(rig, order_id, how, **more) is ReasonCode.RESOLUTION_CONTRADICTED
        await resolve(rig, order_id, "failed")
        assert rig.order(order_id).program_error == SLIPPAGE.document()


async def test_a_fill_that_cannot_be_read_needs_the_operators_amounts() -> None:
    """The transaction is there, and nobody here can tell what it traded."""
    async with running(Rig()) as rig:
        order_id = await doubted(rig, lands=True)
        rig.trading.fill_error = ValueError("unreadable")
        rig.chain.down -= {"statuses", "transaction"}
        assert await refused(rig, order_id, "filled") is ReasonCode.MISSING_FIELD
        await resolve(rig, order_id, "filled", **AMOUNTS)
        assert rig.order(order_id).status is OrderStatus.FILLED


@pytest.mark.parametrize("how", ["filled", "expired"])
async def test_a_failure_that_an_endpoint_shows_leaves_failed_only(how: str) -> None:
    """Whatever amounts are told."""
    async with running(Rig()) as rig:
        order_id = await doubted(rig)
        signature = only(rig, order_id).signature
        rig.chain.shown[signature] = Seen(12_345, Commitment.CONFIRMED, ERROR, 12_400)
        rig.chain.down -= {"statuses"}
        more = AMOUNTS if how == "filled" else {}
        assert await refused(rig, order_id, how, **more) is ReasonCode.RESOLUTION_CONTRADICTED


@pytest.mark.parametrize("how", ["failed", "expired"])
async def test_nothing_is_resolved_unfilled_before_some_node_is_past_its_life(how: str) -> None:
    """Until then it may land; a doubt may begin earlier while heights cannot be read."""
    async with running(Rig()) as rig:
        nothing_lands(rig)
        rig.chain.down.add("heights")
        order_id = await submitted(rig)
        await rig.until(lambda: rig.order(order_id).in_doubt_since_us is not None)
        assert await refused(rig, order_id, how) is ReasonCode.RESOLUTION_TOO_EARLY
        rig.chain.lag_seconds = 600
        rig.chain.down.clear()
        assert await refused(rig, order_id, how) is ReasonCode.RESOLUTION_TOO_EARLY


@pytest.mark.parametrize("how", ["failed", "expired"])
async def test_silence_is_no_evidence(how: str) -> None:
    """A height alone does not say that it did not land."""
    async with running(Rig()) as rig:
        order_id = await doubted(rig)
        assert await refused(rig, order_id, how) is ReasonCode.RESOLUTION_TOO_EARLY
        rig.chain.shown[only(rig, order_id).signature] = Unreachable("too old")
        rig.chain.down -= {"statuses"}
        assert await refused(rig, order_id, how) is ReasonCode.RESOLUTION_TOO_EARLY


async def test_no_fill_is_told_of_an_attempt_that_is_proved_dead() -> None:
    """The proof may be had just then: the service goes on by it, and executes the order."""
    async with running(Rig()) as rig:
        order_id = await doubted(rig)
        gate = rig.chain.script.gate("testimony")
        operator = asyncio.create_task(resolve(rig, order_id, "filled", **AMOUNTS))
        await gate.reached.wait()
        rig.chain.down.clear()
        rig.chain.fate = rig.chain.land
        gate.opened.set()
        with pytest.raises(ResolutionError) as caught:
            await operator
        assert caught.value.code is ReasonCode.RESOLUTION_CONTRADICTED
        assert EventKind.RESOLVED not in rig.database.kinds(order_id)
        await rig.reaches(order_id, OrderStatus.FILLED)


async def test_only_what_is_in_doubt_is_resolved() -> None:
    """What waits, what may still land, what has ended, and what does not exist is left alone."""
    async with running(Rig()) as rig:
        nothing_lands(rig)
        order_id = await submitted(rig)
        with pytest.raises(ResolutionError) as caught:
            await resolve(rig, order_id, "expired")
        assert caught.value.code is ReasonCode.ORDER_NOT_IN_DOUBT
        rig.chain.land(only(rig, order_id))
        await rig.reaches(order_id, OrderStatus.FILLED)
        with pytest.raises(ResolutionError) as caught:
            await resolve(rig, order_id, "expired")
        assert caught.value.code is ReasonCode.ORDER_FINAL
        with pytest.raises(NotFoundError):
            await resolve(rig, "nowhere", "expired")


async def test_no_word_is_taken_on_an_order_whose_transaction_was_lost() -> None:
    """A damaged database has it in doubt without its bytes: the refusal says what brings them back."""
    before = Rig()
    async with running(before):
        order_id = await doubted(before)
    row = before.database.rows[order_id]
    before.database.put(row, replace(row.view, attempts=()))
    async with running(Rig(world=before.world, process="two")) as rig:
        in_doubt = rig.order(order_id).in_doubt_since_us
        with pytest.raises(ResolutionError) as caught:
            await resolve(rig, order_id, "filled", **AMOUNTS)
        assert caught.value.code is ReasonCode.ORDER_NOT_IN_DOUBT
        assert "a damaged database lost the order's transaction" in caught.value.what
        assert caught.value.todo is not None
        assert "reconciled" in caught.value.todo
        await pass_time(5)
        assert rig.order(order_id).in_doubt_since_us == in_doubt is not None
        assert EventKind.RESOLVED not in rig.database.kinds(order_id)


# ---------------------------------------------------------------- races


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("call", ["take_over", "testimony"])
async def test_a_landing_seen_while_an_operator_resolves_is_not_lost(
    call: str, *, after: bool
) -> None:
    """It comes into sight at any step of the operator's call, and the operator is wrong."""
    async with running(Rig()) as rig:
        order_id = await doubted(rig, lands=True)
        script = rig.store.script if call == "take_over" else rig.chain.script
        gate = script.gate(call, after=after)
        operator = asyncio.create_task(resolve(rig, order_id, "failed"))
        await gate.reached.wait()
        rig.chain.down.clear()
        await pass_time(3)
        gate.opened.set()
        with pytest.raises(ResolutionError):
            await operator
        await rig.reaches(order_id, OrderStatus.FILLED, 10)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("call", ["transaction", "record"])
async def test_a_fill_that_is_being_written_is_not_lost_to_an_operator(
    call: str, *, after: bool
) -> None:
    """Whoever watches the order has seen it land when the operator says that it did not."""
    async with running(Rig()) as rig:
        order_id = await doubted(rig, lands=True)
        script = rig.store.script if call == "record" else rig.chain.script
        gate = script.gate(call, after=after)
        rig.chain.down.clear()
        await gate.reached.wait()
        with pytest.raises(ResolutionError) as caught:
            await resolve(rig, order_id, "failed")
        written = call == "record" and after
        expected = ReasonCode.ORDER_FINAL if written else ReasonCode.RESOLUTION_CONTRADICTED
        assert caught.value.code is expected
        await pass_time(3)
        gate.opened.set()
        await rig.reaches(order_id, OrderStatus.FILLED, 10)
        assert rig.database.kinds(order_id).count(EventKind.FILLED) == 1


async def test_of_two_operators_one_is_heard() -> None:
    """The other learns that the order has moved on."""
    async with running(Rig()) as rig:
        order_id = await doubted(rig)
        rig.chain.down -= {"statuses"}
        answers = await asyncio.gather(
            *(resolve(rig, order_id, how) for how in ("failed", "expired")), return_exceptions=True
        )
        (refusal,) = [each for each in answers if each is not None]
        assert isinstance(refusal, (ResolutionError, IntakeError))
        assert rig.database.kinds(order_id).count(EventKind.RESOLVED) == 1
        assert rig.order(order_id).status in {OrderStatus.FAILED, OrderStatus.EXPIRED}


async def test_other_orders_are_watched_on_while_one_is_resolved() -> None:
    """Only the handle on that order is given up."""
    async with running(Rig()) as rig:
        order_id = await doubted(rig)
        other = await doubted(rig)
        rig.chain.down -= {"statuses"}
        gate = rig.chain.script.gate("testimony")
        operator = asyncio.create_task(resolve(rig, order_id, "failed"))
        await gate.reached.wait()
        held = {each.order_id for each in rig.confirmation.held() if not each.lost}
        gate.opened.set()
        await operator
        assert held == {other}


async def test_a_resolution_that_is_cut_off_leaves_the_order_watched() -> None:
    """The store is away when it is to be written: the order is in doubt as before."""
    async with running(Rig()) as rig:
        order_id = await doubted(rig)
        rig.chain.down -= {"statuses"}
        rig.store.script.add("record", Fault(refuses=busy()))
        rig.store.script.add("release", Fault(refuses=busy()))
        with pytest.raises(IntakeError) as caught:
            await resolve(rig, order_id, "failed")
        assert caught.value.todo == "read the order, then try again"
        rig.chain.down.clear()
        rig.chain.fate = rig.chain.land
        await rig.reaches(order_id, OrderStatus.FILLED)
