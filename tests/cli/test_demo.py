"""What the demo and the self-test say of a batch, whatever became of it."""

from decimal import Decimal
from io import StringIO

import pytest
from rich.console import Console

from app.cli.demo import against_signal, batch, trades_table, verdict
from app.cli.orders import price_text
from app.cli.selftest import judge, wrong_with
from app.cli.trading import Expected, Trade, describe
from tests.cli.stub import order

SIGNAL = {"action": "SELL", "market": "SOL-USDC", "size": "0.01"}


def ended(trade: Trade) -> Trade:
    """Let a trade end as it ought to."""
    if trade.expected.status == "refused":
        trade.reply = {"code": trade.expected.code, "status": 422, "detail": "no such market"}
        return trade
    trade.reply, trade.accepted = {"order_id": "x", "status": "queued"}, True
    filled = trade.expected.status == "filled"
    trade.order = (
        order() if filled else order(status="failed", reason_code="PRICE_LIMIT", fill=None)
    )
    return trade


def test_the_batch_trades_both_sides_of_every_market() -> None:
    """Nine signals over three markets and both sides are to be filled, two are to end otherwise."""
    trades = batch()
    fills = {(t.signal["market"], t.signal["action"]) for t in trades if t.expected == Expected()}
    assert len(fills) == 6
    assert [t.expected.code for t in trades if t.expected.code] == ["PRICE_LIMIT", "UNKNOWN_MARKET"]


def test_the_demo_passes_only_when_all_is_as_expected() -> None:
    """The last line counts the ends; a single surprise is named and fails the demo."""
    trades = [ended(trade) for trade in batch()]
    passed = "DEMO PASSED: 9 filled, 1 failed as expected, 1 refused as expected"
    assert verdict(trades) == passed
    trades[1].order = order(status="expired", reason_code="ORDER_TIMEOUT", fill=None)
    assert verdict(trades) == "DEMO FAILED: #2 expired ORDER_TIMEOUT instead of filled"


def test_a_refusal_of_a_good_signal_fails_the_demo() -> None:
    """A signal that ought to fill and is refused is no success, whatever the refusal's status."""
    trade = Trade(SIGNAL, reply={"code": "QUEUE_FULL", "status": 503})
    assert trade.done
    assert verdict([trade]) == "DEMO FAILED: #1 refused QUEUE_FULL instead of filled"


def test_the_table_shows_prices_fees_times_and_methods() -> None:
    """Each fill is shown with its price against the signal's, its fees, time and method."""
    out = StringIO()
    Console(file=out, width=200).print(trades_table([ended(Trade(SIGNAL)), Trade(SIGNAL)]))
    head, filled, waiting = out.getvalue().splitlines()
    assert "against signal" in head
    for text in ("184.5373", "252.07 bps better", "0.0000062", "0.75 s", "rpc"):
        assert text in filled
    assert waiting.split()[-1] == "-"


@pytest.mark.parametrize(
    ("bps", "said"), [("3.5", "3.5 bps worse"), ("-2", "2 bps better"), ("0", "0 bps better")]
)
def test_slippage_is_said_in_words(bps: str, said: str) -> None:
    """Positive slippage is to the trader's loss."""
    assert against_signal(Decimal(bps)) == said


@pytest.mark.parametrize(
    ("price", "shown"),
    [
        ("184.537300000", "184.5373"),
        ("0.0000199876543219876", "0.000019987654"),
        ("180", "180"),
        (None, ""),
    ],
)
def test_prices_are_shortened_for_reading(price: str | None, shown: str) -> None:
    """Six places are enough above one, twelve below."""
    assert price_text(price) == shown


@pytest.mark.parametrize(
    ("signal", "said"),
    [
        ({**SIGNAL, "price": 180.0}, "SELL 0.01 SOL at 180.0"),
        ({"action": "BUY", "market": "RAY-SOL", "quote_size": "2"}, "BUY RAY for 2 SOL"),
        ({"action": "SELL", "market": "RAY-SOL", "quote_size": "2"}, "SELL RAY for 2 SOL"),
    ],
)
def test_signals_are_said_in_words(signal: dict[str, object], said: str) -> None:
    """Size or quote size, and the price if any."""
    assert describe(signal) == said


def test_the_self_test_wants_the_fill_through_the_method() -> None:
    """A fill through the named method is right; another method, or another end, is not."""
    trade = ended(Trade(SIGNAL))
    assert wrong_with(trade, "rpc") is None
    assert wrong_with(trade, "bundle") == "was landed by rpc"
    trade.order = order(status="failed", reason_code="SLIPPAGE_EXCEEDED", fill=None)
    assert wrong_with(trade, "rpc") == "failed SLIPPAGE_EXCEEDED"


def test_the_self_test_names_what_failed() -> None:
    """Each order has its line; what failed is named with its method, and why."""
    good, bad = ended(Trade(SIGNAL)), ended(Trade(SIGNAL))
    bad.order = order(status="failed", reason_code="SLIPPAGE_EXCEEDED", fill=None, filled_at=None)
    out = StringIO()
    failures = list(judge(Console(file=out, width=200), [("rpc", good), ("rpc", bad)]))
    assert failures == ["rpc: SELL 0.01 SOL failed SLIPPAGE_EXCEEDED"]
    first, second = out.getvalue().splitlines()
    assert first == "ok      rpc: SELL 0.01 SOL in 0.75 s"
    assert second == "failed  rpc: SELL 0.01 SOL: failed SLIPPAGE_EXCEEDED"
