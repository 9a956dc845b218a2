"""Killed at its busiest: nothing is executed twice and nothing is lost."""

from collections import Counter
from pathlib import Path

import pytest

from tests.harness import FINAL, Service, wait_until
from tests.verifier import executions_by_order, verify

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
ORDERS = 50
END_SECONDS = 60
QUICK = {  # fifty orders in a few seconds, several under way at any time
    "SYNERGY7_SANDBOX__SLOT_MS": "200",
    "SYNERGY7_EXECUTION__MAX_CONCURRENT_EXECUTIONS": "5",
}
MARKETS = (("SOL-USDC", "0.05"), ("BONK-USDC", "50000"), ("RAY-SOL", "5"))


def signal_number(number: int) -> dict[str, object]:
    """Give one of many different signals; every tenth asks for a price that nobody pays."""
    market, size = MARKETS[number % len(MARKETS)]
    action = "SELL" if number % 2 else "BUY"
    posted: dict[str, object] = {"action": action, "market": market, "size": size}
    if number % 10 == 9:
        posted |= {"action": "SELL", "price": "1000000"}
    return {**posted, "priority": number % 10, "client_order_id": f"crash-{number}"}


def post_all(service: Service) -> list[str]:
    """Post every signal; gives the order ids."""
    return [service.submit(signal_number(number)) for number in range(ORDERS)]


def stages(service: Service) -> Counter[str]:
    """Count the orders by status."""
    return Counter(order["status"] for order in service.orders())


def busy(service: Service, filled: int) -> bool:
    """Whether some orders are filled, some under way, and some still wait."""
    now = stages(service)
    return now["filled"] >= filled and now["submitted"] > 0 and now["queued"] > 0


def settle(service: Service, ids: list[str]) -> None:
    """Claim that every order ends, none lost, none twice, and each as the chain has it."""
    wait_until("every order has ended", lambda: set(stages(service)) <= FINAL, END_SECONDS)
    orders = {order["order_id"]: order for order in service.orders()}
    assert set(orders) == set(ids)
    sandbox = service.sandbox()
    filled = {key for key, order in orders.items() if order["status"] == "filled"}
    counted = executions_by_order(sandbox.rpc_url, sandbox.wallet)
    assert counted == dict.fromkeys(filled, 1)
    differences = {
        key: found
        for key, order in orders.items()
        if (found := verify(sandbox.rpc_url, order, sandbox.wallet))
    }
    assert differences == {}
    impossible = {ids[number] for number in range(9, ORDERS, 10)}
    assert {key: orders[key]["reason_code"] for key in impossible} == dict.fromkeys(
        impossible, "PRICE_LIMIT"
    )
    assert filled == set(ids) - impossible


def test_killed_with_orders_in_every_stage(tmp_path: Path) -> None:
    """`kill -9` three times while orders wait, execute and land: after that all is as if nothing."""
    with Service(tmp_path, QUICK) as service:
        ids = post_all(service)
        for filled in (3, 10, 20):
            wait_until("orders are in every stage", lambda n=filled: busy(service, n), END_SECONDS)  # type: ignore[misc]
            service.kill()
            service.start()
        settle(service, ids)


def test_killed_together_with_the_sandbox(tmp_path: Path) -> None:
    """The chain's process dies too: it comes back with its ledger, and every order ends."""
    with Service(tmp_path, QUICK) as service:
        ids = post_all(service)
        wait_until("orders are in every stage", lambda: busy(service, 5), END_SECONDS)
        genesis = service.sandbox().genesis_hash
        service.kill_sandbox()
        service.kill()
        service.start()
        assert service.sandbox().genesis_hash == genesis
        settle(service, ids)


def test_the_sandbox_killed_under_a_running_service(tmp_path: Path) -> None:
    """The service brings its chain back, ledger and all, and every order ends."""
    with Service(tmp_path, QUICK) as service:
        ids = post_all(service)
        wait_until("orders are in every stage", lambda: busy(service, 5), END_SECONDS)
        before = service.sandbox()
        service.kill_sandbox()
        settle(service, ids)
        assert service.sandbox().genesis_hash == before.genesis_hash
        assert service.sandbox().pid != before.pid


def test_killed_while_signals_come_in(tmp_path: Path) -> None:
    """What was answered 202 before the kill is there after it, and a repeated post is no second order."""
    with Service(tmp_path, QUICK) as service:
        ids = [service.submit(signal_number(number)) for number in range(20)]
        service.kill()
        service.start()
        again = [service.post_signal(signal_number(number)) for number in range(20)]
        assert [answer.json()["order_id"] for answer in again] == ids
        assert {answer.status_code for answer in again} == {200}
        ids += [service.submit(signal_number(number)) for number in range(20, ORDERS)]
        settle(service, ids)
