"""The service as a process: the first signal, fills that the chain confirms, an orderly end."""

import copy
import json
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.harness import ROOT, SEED_SIGNAL, Service, alive, run_cli, wait_until
from tests.needs import skip_or_fail
from tests.verifier import executions_by_order, main, verify

pytestmark = pytest.mark.e2e
FIRST_FILL_SECONDS = 3.0
TRADES: list[dict[str, object]] = [
    {"action": "BUY", "market": "SOL-USDC", "size": 0.01, "price": 190.0, "confidence": 0.8},
    {"action": "SELL", "market": "SOL-USDC", "size": "12.345678901"},
    {"action": "BUY", "market": "SOL-USDC", "quote_size": "99.999999"},
    {"action": "SELL", "market": "SOL-USDC", "quote_size": "50"},
    {"action": "SELL", "market": "BONK-USDC", "size": "1234567.89012", "price": "0.000019"},
    {"action": "BUY", "market": "BONK-USDC", "size": "1000000"},
    {"action": "SELL", "market": "RAY-SOL", "size": "100", "price": "0.0118"},
    {"action": "BUY", "market": "RAY-SOL", "size": "33.333333"},
    {"action": "BUY", "market": "RAY-SOL", "quote_size": "0.123456789"},
    {"action": "SELL", "market": "RAY-SOL", "quote_size": "0.5"},
]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one service for the tests that leave it as it was."""
    with Service(tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture(scope="module")
def seed_order(service: Service) -> dict[str, Any]:
    """Post the seed's signal to the fresh service and wait for its end."""
    answer = service.post_signal(SEED_SIGNAL)
    assert answer.status_code == httpx.codes.ACCEPTED, answer.text
    order_id = answer.json()["order_id"]
    assert answer.headers["location"].endswith(f"/orders/{order_id}")
    return service.finished(order_id, FIRST_FILL_SECONDS)


def verified(service: Service, order: dict[str, Any]) -> list[str]:
    """Hold an order against the chain."""
    sandbox = service.sandbox()
    return verify(sandbox.rpc_url, order, sandbox.wallet)


def test_the_seeds_signal_fills_within_three_seconds(
    service: Service, seed_order: dict[str, Any]
) -> None:
    """The signal, character for character, is filled, and the chain agrees to the unit."""
    assert seed_order["status"] == "filled", seed_order
    assert seed_order["fill"]["base_amount"] == "0.01"
    assert verified(service, seed_order) == []


def test_the_readmes_first_command_trades(service: Service) -> None:
    """The first command of the README, run as it stands there, is accepted and filled."""
    if shutil.which("curl") is None:
        skip_or_fail("curl is not installed: the README's command cannot be run")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = readme.partition("```sh\n")[2].partition("```")[0]
    assert SEED_SIGNAL in block
    script = block.replace("http://127.0.0.1:8000", service.url)
    done = subprocess.run(["sh", "-ec", script], capture_output=True, text=True, check=True)
    order = service.finished(json.loads(done.stdout)["order_id"], FIRST_FILL_SECONDS)
    assert order["status"] == "filled"


@pytest.mark.parametrize("posted", TRADES)
def test_every_kind_of_trade_agrees_with_the_chain(
    service: Service, posted: dict[str, object]
) -> None:
    """Both sides, sizes in base and in quote, every market: fill and fees are the chain's."""
    order = service.finished(service.submit(posted))
    assert order["status"] == "filled", order
    assert verified(service, order) == []


def test_the_verifier_notices_every_lie(service: Service, seed_order: dict[str, Any]) -> None:
    """A document that differs in any figure from the chain is caught."""

    def changed(*path: str | int, to: object) -> list[str]:
        lie: Any = copy.deepcopy(seed_order)
        place = lie
        for step in path[:-1]:
            place = place[step]
        assert place[path[-1]] != to
        place[path[-1]] = to
        return verified(service, lie)

    assert changed("status", to="failed")
    assert changed("order_id", to="0199c0de-0000-7000-8000-000000000001")
    assert changed("action", to="BUY")
    assert changed("size", to="0.02")
    assert changed("price", to="500")
    assert changed("fill", "base_amount", to="0.010000001")
    assert changed("fill", "quote_amount", to="1.800001")
    assert changed("fill", "average_price", to="180")
    assert changed("fill", "slippage_bps", to="-10")
    for fee in ("network", "priority", "tip", "venue"):
        assert changed("fill", "fees", fee, to="0.123")
    assert changed("attempts", 0, "landed_slot", to=1)
    assert changed("attempts", 0, "number", to=2)
    assert verify(service.sandbox().rpc_url, seed_order, "1" * 32)


def test_the_verifier_is_a_command(
    service: Service, seed_order: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """It takes the service's address and an order id."""
    assert main(service.url, seed_order["order_id"]) == 0
    assert capsys.readouterr().out.startswith("AGREES")


def test_executions_are_counted_by_memo(service: Service, seed_order: dict[str, Any]) -> None:
    """Every filled order is on the chain once, and no other order is."""
    orders = list(service.orders())
    filled = {order["order_id"] for order in orders if order["status"] == "filled"}
    assert seed_order["order_id"] in filled
    counted = executions_by_order(service.sandbox().rpc_url, service.sandbox().wallet)
    assert counted == dict.fromkeys(filled, 1)


def test_the_orders_commands_speak_to_the_service(
    service: Service, seed_order: dict[str, Any], tmp_path: Path
) -> None:
    """list, show and cancel find the service by the settings, and an end cannot be cancelled."""
    order_id = seed_order["order_id"]
    listed = run_cli("orders", "list", cwd=tmp_path, env=service.env)
    assert listed.returncode == 0, listed.stderr
    assert order_id in listed.stdout
    shown = run_cli("orders", "show", order_id, "--url", service.url, cwd=tmp_path)
    assert seed_order["attempts"][0]["signature"] in shown.stdout
    refused = run_cli("orders", "cancel", order_id, "--url", service.url, cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.startswith("ORDER_FINAL: ")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_an_orderly_way(tmp_path: Path, number: signal.Signals) -> None:
    """SIGTERM and Ctrl-C: exit 0, the sandbox and the port are given back, nothing is lost."""
    with Service(tmp_path) as service:
        sandbox = service.sandbox()
        order_id = service.submit(SEED_SIGNAL)
        service.process.send_signal(number)
        assert service.wait_end() == 0
        wait_until("the sandbox has ended", lambda: not alive(sandbox.pid), 10)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", service.port))
        service.start()
        assert service.finished(order_id)["status"] == "filled"


def test_an_open_wait_does_not_hold_up_the_end(tmp_path: Path) -> None:
    """A client that waits for an order is cut off or answered; the service still ends."""
    settings = {"SYNERGY7_EXECUTION__MAX_CONCURRENT_EXECUTIONS": "1"}
    with Service(tmp_path, settings) as service:
        ids = [service.submit({**TRADES[1], "client_order_id": f"w{n}"}) for n in range(6)]
        with httpx.stream("GET", f"{service.url}/orders/{ids[-1]}?wait=30", timeout=40) as _:
            assert service.stop() == 0
