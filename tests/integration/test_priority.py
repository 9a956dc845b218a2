"""Who waits and who is served: priority first, then age, and nobody for ever."""

from pathlib import Path

import pytest

from app.domain.events import EventKind
from tests.integration.chain import Chain
from tests.integration.kit import SELL, ended, running, sealed, trail, until

pytestmark = pytest.mark.anyio
WAITING = 100
ORDER_TIMEOUT = 60


async def test_nine_overtakes_a_hundred_that_wait_at_nought(tmp_path: Path, chain: Chain) -> None:
    """With one worker the urgent order is the next one claimed; the others fill in their order, in time."""
    changes = {
        "execution.max_concurrent_executions": 1,
        "order_management.order_timeout": ORDER_TIMEOUT,
    }
    async with running(tmp_path, chain, changes) as system:
        chain.fault("hang", "simulateTransaction")
        waiting = [
            await system.submit_trading_signal(
                {**SELL, "priority": 0, "client_order_id": f"nought-{number}"}
            )
            for number in range(WAITING)
        ]
        await until("the worker is busy", lambda: chain.hits() > 0)
        urgent = await system.submit_trading_signal({**SELL, "priority": 9})
        chain.clear()
        for order_id in (urgent, *waiting):
            order = await ended(system, order_id, ORDER_TIMEOUT)
            assert order["status"] == "filled", order
        await sealed(system, waiting[-1], EventKind.FILLED)
        claims = [e.order_id for e in await trail(system) if e.kind is EventKind.CLAIMED]
        first = list(dict.fromkeys(claims))
        assert first == [waiting[0], urgent, *waiting[1:]]
        assert chain.executions(urgent, *waiting) == [1] * (WAITING + 1)
