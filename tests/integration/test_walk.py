"""The same walk of orders on SQLite and on PostgreSQL, alone and with workers beside the service."""

from pathlib import Path

import pytest

from app.bootstrap import ExecutionSystem
from app.database.metrics import open_metrics_database
from app.domain.events import EventKind, verify_chain
from tests.database.conftest import Server
from tests.database.conftest import server as postgres
from tests.integration.chain import Chain
from tests.integration.kit import configure, ended, running, sealed, trail, until
from tests.integration.walk import WALK, walk

__all__ = ["postgres"]
pytestmark = pytest.mark.anyio
ORDERS = 30


async def databases(postgres: Server) -> dict[str, object]:
    """Make two databases and name them in settings."""
    return {
        "order_management.database_url": await postgres.database(),
        "metrics.database_url": await postgres.database(),
    }


async def test_on_sqlite(tmp_path: Path, chain: Chain) -> None:
    """Every order fills, agrees with the chain to the unit, and is in an unbroken audit trail."""
    async with running(tmp_path, chain) as system:
        orders = await walk(system, chain.differences)
        await sealed(system, orders[-1]["order_id"], EventKind.FILLED)
        assert verify_chain(await trail(system)) is None


@pytest.mark.postgres
async def test_on_postgresql(tmp_path: Path, chain: Chain, postgres: Server) -> None:
    """The same on PostgreSQL, its metrics too, and again after a restart on the same data."""
    changes = await databases(postgres)
    async with running(tmp_path, chain, changes) as system:
        orders = await walk(system, chain.differences)
        await sealed(system, orders[-1]["order_id"], EventKind.FILLED)
        assert verify_chain(await trail(system)) is None
    async with running(tmp_path, chain, changes) as system:
        again = await ended(system, orders[0]["order_id"])
        assert again["fill"] == orders[0]["fill"]
        await until(
            "metrics are complete", lambda: rows(str(changes["metrics.database_url"]), len(WALK))
        )
    assert not (tmp_path / "orders.db").exists()
    assert chain.executions(*(order["order_id"] for order in orders)) == [1] * len(orders)


async def rows(url: str, wanted: int) -> bool:
    """Tell whether so many executions are in the metrics database."""
    async with open_metrics_database(url) as database:
        return len(await database.executions(since_us=0, limit=wanted + 1)) == wanted


@pytest.mark.postgres
async def test_two_processes_worth_of_workers_share_the_orders(
    tmp_path: Path, chain: Chain, postgres: Server
) -> None:
    """Both execute, none executes what the other does: each order once, each seen by both."""
    changes = await databases(postgres)
    folders = tmp_path / "service", tmp_path / "worker"
    for folder in folders:
        folder.mkdir()
    async with running(folders[0], chain, changes) as service:
        beside = ExecutionSystem(configure(folders[1], chain, changes))
        async with beside as worker:
            ids = [
                await service.submit_trading_signal({**WALK[0], "client_order_id": f"shared-{n}"})
                for n in range(ORDERS)
            ]
            for order_id in ids:
                assert (await ended(worker, order_id))["status"] == "filled"
                assert (await ended(service, order_id))["status"] == "filled"
            assert worker.failure is None
            await sealed(service, ids[-1], EventKind.FILLED)
            assert (
                len({e.order_id for e in await trail(service) if e.kind is EventKind.CLAIMED})
                == ORDERS
            )
        assert chain.executions(*ids) == [1] * ORDERS
