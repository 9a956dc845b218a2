"""PostgreSQL that hangs, breaks off or goes away: orders wait, and are executed once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from app.bootstrap import ExecutionSystem
from tests.database.conftest import Server
from tests.database.conftest import server as postgres
from tests.integration.chain import Chain
from tests.integration.kit import SELL, ended, running, submitted, until

__all__ = ["postgres"]
pytestmark = [pytest.mark.anyio, pytest.mark.postgres]
ORDERS = 12


@asynccontextmanager
async def another(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Connect as somebody else does."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def urls(postgres: Server) -> dict[str, object]:
    """Make one database for orders and metrics."""
    url = await postgres.database()
    return {"order_management.database_url": url, "metrics.database_url": url}


async def post(system: ExecutionSystem, count: int = ORDERS) -> list[str]:
    """Post different signals; gives their ids."""
    return [
        await system.submit_trading_signal({**SELL, "client_order_id": f"pg-{number}"})
        for number in range(count)
    ]


async def end_well(system: ExecutionSystem, chain: Chain, ids: list[str]) -> None:
    """Claim that all orders fill, each executed once and told as the chain has it."""
    for order_id in ids:
        order = await ended(system, order_id, 30)
        assert order["status"] == "filled", order
        assert chain.differences(order) == []
    assert chain.executions(*ids) == [1] * len(ids)


async def test_a_locked_table(tmp_path: Path, chain: Chain, postgres: Server) -> None:
    """Another session holds the orders for seconds: the lease is missed and comes back."""
    changes = await urls(postgres)
    async with running(tmp_path, chain, changes) as system:
        chain.fault("null_status")
        (first,) = await post(system, 1)
        await submitted(system, first)
        url = str(changes["order_management.database_url"])
        async with another(url) as session, session.transaction():
            await session.execute("LOCK TABLE orders, processes IN ACCESS EXCLUSIVE MODE")
            chain.clear()
            waiting = asyncio.create_task(
                system.submit_trading_signal({**SELL, "client_order_id": "waits"})
            )
            await until(
                "the lease is missed",
                lambda: any("lease" in each for each in system.parts.report.readiness()),
            )
        await asyncio.gather(waiting, return_exceptions=True)
        second = await system.submit_trading_signal({**SELL, "client_order_id": "waits"})
        await end_well(system, chain, [first, second])
        await until("it is ready", lambda: not system.parts.report.readiness())


async def test_connections_that_break_off(tmp_path: Path, chain: Chain, postgres: Server) -> None:
    """All sessions are ended again and again while orders are in every stage: none is lost or doubled."""
    changes = await urls(postgres)
    async with running(tmp_path, chain, changes) as system:
        ids = await post(system)
        async with another(str(changes["order_management.database_url"])) as session:
            for _ in range(5):
                await session.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
                await asyncio.sleep(0.05)
        await end_well(system, chain, ids)
