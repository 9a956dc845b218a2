"""A fork may put a filled order's transaction into another block before that is finalized."""

import pytest

from app.domain.order import OrderStatus
from app.domain.outcome import Unreachable
from tests.engine.fake_chain import SLOTS_AHEAD, Landing, height_at
from tests.engine.rig import Rig, pass_time, running

pytestmark = pytest.mark.anyio


def slot_of(landing: Landing | None) -> int:
    """Give the slot of a landing."""
    assert landing is not None
    return height_at(landing.at) + SLOTS_AHEAD


async def moved(rig: Rig) -> tuple[str, Landing | None]:
    """Fill an order, then let a fork move its transaction a second later."""
    order_id = await rig.post()
    await rig.reaches(order_id, OrderStatus.FILLED)
    (attempt,) = rig.database.attempts(order_id)
    (first,) = rig.chain.landings[attempt.signature]
    rig.chain.fork(first)
    await pass_time(1)
    second = rig.chain.land(attempt)
    assert slot_of(second) > slot_of(first)
    return order_id, second


async def test_a_fill_is_read_again_where_the_fork_moved_it() -> None:
    """The pool may stand differently in the other block: the final one tells what was traded."""
    async with running(Rig()) as rig:
        order_id, second = await moved(rig)
        await rig.until(lambda: rig.order(order_id).finalized_at_us is not None)
        fill = rig.order(order_id).fill
        assert fill is not None
        (attempt,) = rig.database.attempts(order_id)
        assert (fill.slot, attempt.landed_slot) == (slot_of(second), slot_of(second))


async def test_a_moved_fill_is_not_settled_before_it_could_be_read_again() -> None:
    """What the first block did is not kept for good; the order stays filled meanwhile."""
    async with running(Rig()) as rig:
        order_id, second = await moved(rig)
        (attempt,) = rig.database.attempts(order_id)
        rig.chain.read_back[attempt.signature] = Unreachable("down")
        await pass_time(60)
        order = rig.order(order_id)
        assert (order.status, order.finalized_at_us) == (OrderStatus.FILLED, None)
        del rig.chain.read_back[attempt.signature]
        await rig.until(lambda: rig.order(order_id).finalized_at_us is not None)
        fill = rig.order(order_id).fill
        assert fill is not None
        assert fill.slot == slot_of(second)
