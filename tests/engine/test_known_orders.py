"""What a process holds, it knows: an order that slipped from memory is freed and taken up again."""

from typing import Any

import pytest

from app.domain.order import OrderStatus
from app.engine.ports import LostLease
from tests.engine.rig import Rig, running

pytestmark = pytest.mark.anyio


async def test_an_order_whose_lease_only_seemed_lost_is_taken_up_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A write matched no row, yet the database still names this process: nobody else may take it."""
    rig = Rig()
    store_attempt = rig.store.store_attempt
    answers: list[LostLease] = [LostLease()]

    async def seems_lost(*given: Any, **named: Any) -> object:
        return answers.pop() if answers else await store_attempt(*given, **named)

    monkeypatch.setattr(rig.store, "store_attempt", seems_lost)
    async with running(rig):
        order_id = await rig.post()
        order = await rig.reaches(order_id, OrderStatus.FILLED, seconds=30)
        assert not answers
        assert len(rig.database.attempts(order.order_id)) == 1
