"""`synergy7 worker`: another process on the same orders."""

from pathlib import Path

import pytest

from tests.database.conftest import Server
from tests.harness import Service, run_cli, wait_until
from tests.verifier import executions_by_order, verify

ORDERS = 15


@pytest.mark.e2e
@pytest.mark.postgres
@pytest.mark.anyio
async def test_a_worker_carries_on_when_the_service_is_killed(
    tmp_path: Path, postgres: Server
) -> None:
    """The service dies with orders in hand and waiting: the worker ends them all, none twice."""
    url = await postgres.database()
    home = tmp_path / "service"
    env = {
        "SYNERGY7_ORDER_MANAGEMENT__DATABASE_URL": url,
        "SYNERGY7_METRICS__DATABASE_URL": url,
        "SYNERGY7_SANDBOX__LEDGER": str(home / "output" / "sandbox"),
        "SYNERGY7_SANDBOX__FILE": str(home / "output" / "sandbox.json"),
    }
    slow = {**env, "SYNERGY7_EXECUTION__MAX_CONCURRENT_EXECUTIONS": "1"}
    with Service(home, slow) as service:
        ids = [
            service.submit({"action": "SELL", "market": "SOL-USDC", "size": f"0.{1 + number}"})
            for number in range(ORDERS)
        ]
        worker = Service(tmp_path / "worker", env, arguments=("worker",))
        try:
            worker.launch()
            wait_until("the worker works", lambda: "Synergy7 worker on" in worker.output(), 30)
            sandbox = service.sandbox()
            service.kill()
            wait_until(
                "every order is on the chain",
                lambda: len(executions_by_order(sandbox.rpc_url, sandbox.wallet)) == ORDERS,
                60,
            )
            assert worker.stop() == 0
        finally:
            worker.close()
        service.start()
        orders = [service.finished(order_id) for order_id in ids]
        assert {order["status"] for order in orders} == {"filled"}
        assert [verify(sandbox.rpc_url, order, sandbox.wallet) for order in orders] == [[]] * ORDERS
        assert executions_by_order(sandbox.rpc_url, sandbox.wallet) == dict.fromkeys(ids, 1)


@pytest.mark.e2e
def test_a_worker_on_sqlite_is_refused(tmp_path: Path) -> None:
    """Said in one line, exit 2."""
    result = run_cli("worker", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith("WORKER_NEEDS_POSTGRESQL: ")
    assert len(result.stderr.splitlines()) == 1
