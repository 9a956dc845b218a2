"""Endpoints that contradict each other: told once in the trail, counted, and a reason for doubt."""

import pytest

from app.domain.events import Event, EventKind
from app.domain.order import OrderStatus
from app.domain.outcome import Commitment, Dispute, Seen
from app.engine.disputes import PAGE
from tests.engine.rig import Rig, pass_time, running
from tests.engine.watched import nothing_lands, only, submitted, taken_over

pytestmark = pytest.mark.anyio

ERROR = {"InstructionError": [2, {"Custom": 6005}]}


def told(rig: Rig, order_id: str) -> list[Event]:
    """Give what the trail tells of disputes."""
    events = [event for event in rig.database.events if event.order_id == order_id]
    return [event for event in events if event.kind is EventKind.DISPUTED]


async def test_a_disagreement_is_told_once_and_counted_and_is_the_reason_of_the_doubt() -> None:
    """However often it is looked at; another kind of it is told again. Nothing is proved by it."""
    async with running(Rig()) as rig:
        nothing_lands(rig)
        rig.chain.dispute = Dispute.PRESENCE
        order_id = await submitted(rig)
        await rig.until(lambda: told(rig, order_id))
        await pass_time(120)
        (event,) = told(rig, order_id)
        assert event.data["dispute"] == "presence"
        assert event.data["said"] == {"one": "yes", "two": "no"}
        assert event.data["signature"] == only(rig, order_id).signature
        doubts = [each for each in rig.database.events if each.kind is EventKind.IN_DOUBT]
        assert [each.data["why"] for each in doubts] == ["they disagree"]
        rig.chain.dispute = Dispute.EXPIRY
        await pass_time(120)
        assert [each.data["dispute"] for each in told(rig, order_id)] == ["presence", "expiry"]
        assert rig.telemetry.of("disputed") == [("presence",), ("expiry",)]
        assert (rig.order(order_id).status, len(rig.trading.signed)) == (OrderStatus.SUBMITTED, 1)
        rig.chain.dispute = None
        rig.chain.fate = rig.chain.land
        await rig.reaches(order_id, OrderStatus.FILLED)


async def test_a_disagreement_is_not_told_again_by_the_next_process() -> None:
    """The trail is asked, not only the memory."""
    rig = Rig()
    async with running(rig):
        nothing_lands(rig)
        rig.chain.dispute = Dispute.PRESENCE
        order_id = await submitted(rig)
        await rig.until(lambda: told(rig, order_id))
        await pass_time(5)
    after = Rig(world=rig.world, process="two")
    async with running(after):
        asked = after.chain.script.calls.count("prove_dead")
        await after.until(lambda: after.chain.script.calls.count("prove_dead") > asked + 3)
        assert len(told(after, order_id)) == 1
        assert after.telemetry.of("disputed") == []


async def test_a_long_trail_is_looked_through_to_its_end() -> None:
    """What was told stands far behind, or on no page at all."""
    rig = Rig()
    async with running(rig):
        nothing_lands(rig)
        order_id = await submitted(rig)
        number = {"number": 1, "dispute": Dispute.OUTCOME.value}
        rig.database.tell(order_id, EventKind.DISPUTED, 0, number)
        for _ in range(2 * PAGE - len(rig.database.kinds(order_id))):
            rig.database.tell(order_id, EventKind.SUBMITTED, 0, {})
        rig.chain.dispute = Dispute.PRESENCE
        await rig.until(lambda: len(told(rig, order_id)) > 1)
        rig.chain.dispute = Dispute.OUTCOME
        await pass_time(30)
        assert [each.data["dispute"] for each in told(rig, order_id)] == ["outcome", "presence"]


async def test_who_has_lost_the_order_tells_nothing() -> None:
    """Its new holder does."""
    async with running(Rig()) as rig:
        nothing_lands(rig)
        order_id = await submitted(rig)
        rig.chain.dispute = Dispute.PRESENCE
        gate = rig.store.script.gate("events")
        await gate.reached.wait()
        taken_over(rig, order_id)
        gate.opened.set()
        await pass_time(10)
        assert told(rig, order_id) == []
        assert rig.telemetry.of("disputed") == []


@pytest.mark.parametrize("level", [Commitment.CONFIRMED, Commitment.FINALIZED])
async def test_a_disagreement_on_a_failure_is_told_too(level: Commitment) -> None:
    """One says that it failed for good, another that it succeeded."""
    async with running(Rig()) as rig:
        nothing_lands(rig)
        order_id = await submitted(rig)
        rig.chain.shown[only(rig, order_id).signature] = Seen(11_000, level, ERROR, 11_000)
        rig.chain.dispute = Dispute.OUTCOME
        await rig.until(lambda: told(rig, order_id))
        await pass_time(60)
        assert len(told(rig, order_id)) == 1
        assert rig.order(order_id).in_doubt_since_us is not None


async def test_a_disagreement_on_a_fill_is_told_and_takes_nothing_back() -> None:
    """It stays filled until one side is proved."""
    async with running(Rig()) as rig:
        order_id = await rig.post()
        await rig.reaches(order_id, OrderStatus.FILLED)
        attempt = only(rig, order_id)
        rig.chain.fork(rig.chain.landings[attempt.signature][0])
        rig.chain.fate = lambda _attempt: None
        rig.chain.dispute = Dispute.PRESENCE
        await rig.until(lambda: told(rig, order_id))
        await pass_time(60)
        assert rig.order(order_id).status is OrderStatus.FILLED
        assert len(told(rig, order_id)) == 1
