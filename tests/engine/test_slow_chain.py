"""A chain too slow for transaction_timeout delays orders; only their own deadline ends them."""

import pytest

from app.domain.errors import ReasonCode
from app.domain.order import OrderStatus
from app.domain.signal import US
from tests.engine.fake_chain import BLOCK_SECONDS, LIFE_BLOCKS_MIN
from tests.engine.rig import Knobs, Rig, pass_time, running

pytestmark = pytest.mark.anyio

SHORT = Knobs(transaction_timeout=BLOCK_SECONDS * LIFE_BLOCKS_MIN / 2, order_timeout=60)


async def test_an_order_with_time_left_waits_for_the_chain_to_recover() -> None:
    """Signed now it would hardly land: it backs off, says why, and has not expired."""
    async with running(Rig(SHORT)) as rig:
        order_id = await rig.post()
        await pass_time(30)
        order = rig.order(order_id)
        assert order.status in (OrderStatus.QUEUED, OrderStatus.EXECUTING)
        assert order.reason_code is ReasonCode.CHAIN_UNAVAILABLE
        assert "transaction_timeout" in (order.reason or "")


async def test_an_order_ends_at_its_own_deadline_on_a_slow_chain() -> None:
    """It expires when its time is over, not before, and nothing was ever signed."""
    async with running(Rig(SHORT)) as rig:
        order = await rig.ended(await rig.post())
        assert (order.status, order.reason_code) == (OrderStatus.EXPIRED, ReasonCode.ORDER_TIMEOUT)
        assert order.ended_at_us is not None
        assert order.ended_at_us >= order.deadline_us - SHORT.transaction_timeout * US
        assert rig.trading.signed == []
