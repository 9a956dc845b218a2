"""The examples run as they stand."""

import subprocess
import sys
import threading
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import pytest

from examples.live_bot import Cross
from tests.harness import ROOT, Service, environment
from tests.verifier import verify

BOT = ROOT / "examples" / "live_bot.py"
SNIPPET = ROOT / "examples" / "seed_snippet.py"


def decisions(prices: Sequence[int], short: int = 2, long: int = 4) -> list[str | None]:
    """Give what the bot's rule says after each price."""
    rule = Cross(short, long)
    return [rule.decide(Decimal(price)) for price in prices]


def test_the_rule_says_nothing_of_a_flat_market() -> None:
    """Without a cross there is no trade, however long it takes."""
    assert decisions([5] * 20) == [None] * 20


def test_the_rule_follows_crosses_and_only_them() -> None:
    """A fall after a rise sells once, a rise after that buys once."""
    said = decisions([1, 2, 3, 4, 5, 6, 2, 1, 1, 1, 6, 9, 9])
    assert [each for each in said if each] == ["SELL", "BUY"]


@pytest.mark.e2e
def test_the_snippet_runs_as_written(tmp_path: Path) -> None:
    """From Python alone a signal becomes an order, and everything ends with the program."""
    result = subprocess.run(
        [sys.executable, str(SNIPPET)],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "'action': 'SELL'" in result.stdout
    assert "'size': '0.01'" in result.stdout
    assert "'network': 'sandbox'" in result.stdout
    assert not (tmp_path / "output" / "sandbox.json").exists()


@pytest.mark.e2e
def test_the_bot_trades_on_a_moving_market(tmp_path: Path) -> None:
    """Prices go down and up under the bot: it sells and buys, each trade filled as the chain says."""
    with Service(tmp_path) as service:
        over = threading.Event()
        mover = threading.Thread(target=move_market, args=(service, over))
        mover.start()
        try:
            result = subprocess.run(
                [
                    sys.executable,
                    str(BOT),
                    "--url",
                    service.url,
                    "--trades",
                    "2",
                    "--interval",
                    "0.2",
                ],
                cwd=tmp_path,
                env=environment(),
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        finally:
            over.set()
            mover.join()
        assert result.returncode == 0, result.stdout + result.stderr
        assert result.stdout.splitlines()[-1] == "2 trades, 2 filled"
        own = [order for order in service.orders() if order["size"] == "0.1"]
        assert len(own) == 2
        sandbox = service.sandbox()
        assert [verify(sandbox.rpc_url, order, sandbox.wallet) for order in own] == [[], []]


def move_market(service: Service, over: threading.Event) -> None:
    """Sell, buy, sell again ... until it is over: more than the bot, less than its patience."""
    action = "SELL"
    while not over.is_set():
        for _ in range(3):
            service.finished(service.submit({"action": action, "market": "SOL-USDC", "size": "3"}))
            if over.wait(0.3):
                return
        action = "BUY" if action == "SELL" else "SELL"
