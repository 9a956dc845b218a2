"""A database that lost commits is completed from the chain, and nothing is executed twice."""

from pathlib import Path
from typing import Any

import pytest

from app.bootstrap import ExecutionSystem
from app.database.backup import back_up, restore
from app.domain.errors import IntakeError, ReasonCode
from app.domain.events import EventKind
from app.engine.ports import Accepted
from tests.integration.chain import Chain
from tests.integration.kit import ONE_NODE, SELL, configure, document, ended, trail, until

pytestmark = pytest.mark.anyio
PAST_LIFE_SLOTS = 200


async def post(system: ExecutionSystem, key: str, **fields: object) -> Accepted:
    """Post a signal under a key."""
    return await system.parts.manager.submit({**SELL, **fields}, idempotency_key=key)


async def filled(system: ExecutionSystem, key: str, **fields: object) -> str:
    """Post a signal and wait for its fill; gives the order's id."""
    order_id = (await post(system, key, **fields)).order.order_id
    assert (await ended(system, order_id))["status"] == "filled"
    return order_id


async def reconciled(system: ExecutionSystem, chain: Chain) -> dict[str, Any]:
    """Let blocks pass until the database agrees with the chain; gives the counts."""
    switch = system.parts.switch
    await until("the height is noted", lambda: switch.blocks_left() is not None)
    chain.step(PAST_LIFE_SLOTS)
    await until("it is reconciled", lambda: not switch.state.reconciling)

    async def told() -> bool:
        return any(event.kind is EventKind.DATABASE_RECONCILED for event in await trail(system))

    await until("that is sealed", told)
    events = await trail(system)
    (told_last,) = [e for e in events if e.kind is EventKind.DATABASE_RECONCILED][-1:]
    return dict(told_last.data)


async def test_what_a_restored_backup_lacks_comes_back_from_the_chain(
    tmp_path: Path, chain: Chain
) -> None:
    """A fill that it knows, an order that was queued in it, an order that it never saw: each once."""
    database, copy = tmp_path / "orders.db", tmp_path / "copy.db"
    settings = configure(tmp_path, chain, ONE_NODE)
    async with ExecutionSystem(settings) as system:
        known = await filled(system, "known")
    system = ExecutionSystem(settings)
    await system.initialize()  # accepts, and executes nothing yet
    queued = (await post(system, "queued")).order.order_id
    back_up(database, copy)
    async with system:
        assert (await ended(system, queued))["status"] == "filled"
        lost = await filled(system, "lost", size="0.02")
        failed = await post(system, "lost by client id", client_order_id="mine")
        both = await ended(system, failed.order.order_id)
        before = [await document(system, each) for each in (known, queued, lost)]
    restore(copy, database)

    async with ExecutionSystem(settings) as system:
        with pytest.raises(IntakeError) as caught:
            await post(system, "lost", size="0.02")
        assert caught.value.code is ReasonCode.RECONCILING
        with pytest.raises(IntakeError):
            await system.parts.switch.resume()
        counts = await reconciled(system, chain)
        assert (counts["orders"], counts["attempts"], counts["contradictions"]) == (2, 1, 0)
        for each, told in zip((known, queued, lost), before, strict=True):
            now = await ended(system, each)
            assert (now["status"], now["fill"]) == (told["status"], told["fill"])
            assert chain.differences(now) == []
        again = await post(system, "lost", size="0.02")
        assert (again.replayed, again.order.order_id) == (True, lost)
        assert (await post(system, "lost by client id")).order.order_id == both["order_id"]
        with pytest.raises(IntakeError) as caught:
            await post(system, "new")
        assert caught.value.code is ReasonCode.TRADING_HALTED
        await system.parts.switch.resume()
        new = await filled(system, "new")
    assert chain.executions(known, queued, lost, both["order_id"], new) == [1, 1, 1, 1, 1]
