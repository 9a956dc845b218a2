"""`synergy7 demo`: a batch of real signals, traded before your eyes, and its summary."""

import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from app.cli.orders import PIPE_WIDTH, STYLES, price_text
from app.cli.private import private_service
from app.cli.trading import REFUSED, Expected, Trade, describe, post, watch

ORDERS_SECONDS = 35.0
"""How long the batch may take; it takes a few slots."""
FAR_PRICE = 100_000
"""USDC for a SOL: no pool pays it."""


def batch() -> list[Trade]:
    """Give the signals and how each ought to end; prices suit the sandbox's first block."""
    signals: list[dict[str, object]] = [
        {"action": "SELL", "market": "SOL-USDC", "size": 0.01, "price": 180.0, "confidence": 0.8},
        {"action": "BUY", "market": "SOL-USDC", "size": "0.5", "price": "186"},
        {"action": "SELL", "market": "SOL-USDC", "size": "3", "price": "184"},
        {"action": "BUY", "market": "SOL-USDC", "quote_size": "250", "price": "186"},
        {"action": "SELL", "market": "BONK-USDC", "size": "1000000", "price": "0.0000198"},
        {"action": "BUY", "market": "BONK-USDC", "size": "2500000", "price": "0.0000202"},
        {"action": "SELL", "market": "RAY-SOL", "size": "40", "price": "0.0119"},
        {"action": "BUY", "market": "RAY-SOL", "size": "75", "price": "0.0121"},
        {"action": "BUY", "market": "RAY-SOL", "quote_size": "0.25"},
    ]
    impossible = {"action": "SELL", "market": "SOL-USDC", "size": "0.01", "price": FAR_PRICE}
    unknown = {"action": "SELL", "market": "DOGE-USDC", "size": "10", "price": "0.1"}
    return [
        *(Trade(signal) for signal in signals),
        Trade(impossible, Expected("failed", "PRICE_LIMIT")),
        Trade(unknown, Expected(REFUSED, "UNKNOWN_MARKET")),
    ]


def run_demo(folder: Path | None) -> int:
    """Run the demo; 0 when every signal ended as it ought to, else 1."""
    out = Console(highlight=False)
    if not out.is_terminal:
        out = Console(highlight=False, width=PIPE_WIDTH)
    trades = batch()
    began = time.monotonic()
    out.print("Starting a service and a sandbox chain of its own ...")
    with private_service(folder) as service:
        status = service.client.document("GET", "/status")
        out.print(_where(status, service.client.base_url), soft_wrap=True)
        screen = _Screen(out, trades)
        with screen:
            for number, trade in enumerate(trades, 1):
                post(service.client, trade, key=f"demo-{number}")
                screen.show()
            watch(service.client, trades, screen.show, seconds=ORDERS_SECONDS)
        passed = all(trade.as_expected for trade in trades)
        if not passed:
            service.keep = True
            out.print(f"Everything about it is kept in {service.folder}", soft_wrap=True)
    for part in _summary(trades, time.monotonic() - began):
        out.print(part)
    out.print(verdict(trades), soft_wrap=True)
    return 0 if passed else 1


def _where(status: dict[str, object], url: str) -> str:
    methods = status.get("methods")
    names = [str(each["name"]) for each in methods] if isinstance(methods, list) else []
    return f"network {status['network']}, service {url}, methods: {', '.join(names)}\n"


class _Screen:
    """Shows the batch: a live table on a terminal, a line for each change elsewhere."""

    def __init__(self, out: Console, trades: Sequence[Trade]) -> None:
        self._out = out
        self._trades = trades
        self._began = time.monotonic()
        self._told: dict[int, str] = {}
        self._live = Live(console=out, auto_refresh=False) if out.is_terminal else None

    def __enter__(self) -> None:
        if self._live:
            self._live.start()

    def __exit__(self, *_exc: object) -> None:
        if self._live:
            self.show()
            self._live.stop()
        else:
            self._out.print(trades_table(self._trades))

    def show(self) -> None:
        """Show what is known now."""
        if self._live:
            self._live.update(trades_table(self._trades), refresh=True)
        else:
            self._tell()

    def _tell(self) -> None:
        for number, trade in enumerate(self._trades, 1):
            if trade.status not in {"-", self._told.get(number)}:
                self._told[number] = trade.status
                after = time.monotonic() - self._began
                reason = f" ({trade.code})" if trade.code else ""
                line = f"{after:5.1f} s  #{number:<2} {describe(trade.signal)}: {trade.status}"
                self._out.print(line + reason, soft_wrap=True)


def trades_table(trades: Sequence[Trade]) -> Table:
    """Show each signal with what became of it."""
    table = Table(box=None, pad_edge=False)
    table.add_column("#", justify="right")
    for name in ("signal", "status"):
        table.add_column(name, no_wrap=True)
    for name in ("price", "against signal", "fees SOL", "time", "method"):
        table.add_column(name, justify="right", no_wrap=True)
    for number, trade in enumerate(trades, 1):
        table.add_row(str(number), describe(trade.signal), _status(trade), *_figures(trade))
    return table


def _status(trade: Trade) -> str:
    style = STYLES.get(trade.status, "cyan")
    if trade.done and trade.as_expected and trade.status != "filled":
        style = "green"
    reason = f" {trade.code}" if trade.code else ""
    return f"[{style}]{trade.status}{reason}[/]"


def _figures(trade: Trade) -> tuple[str, ...]:
    if trade.fill is None:
        return "", "", "", "", ""
    slippage = trade.fill["slippage_bps"]
    took = "" if trade.seconds is None else f"{trade.seconds:.2f} s"
    return (
        price_text(trade.fill["average_price"]),
        "" if slippage is None else against_signal(Decimal(slippage)),
        f"{trade.fee_sol:f}",
        took,
        trade.method or "",
    )


def against_signal(worse_bps: Decimal) -> str:
    """Say how a price compares with the signal's, in basis points."""
    return f"{abs(worse_bps):f} bps {'worse' if worse_bps > 0 else 'better'}"


def _summary(trades: Sequence[Trade], seconds: float) -> Iterable[object]:
    filled = [trade for trade in trades if trade.status == "filled"]
    by_method = defaultdict(list)
    for trade in filled:
        by_method[trade.method or "?"].append(trade)
    table = Table(box=None, pad_edge=False)
    table.add_column("method")
    for name in ("fills", "median time", "slowest", "fees SOL"):
        table.add_column(name, justify="right")
    for method, group in sorted(by_method.items()):
        times = [trade.seconds or 0.0 for trade in group]
        fees = sum((trade.fee_sol for trade in group), Decimal())
        median = f"{statistics.median(times):.2f} s"
        table.add_row(method, str(len(group)), median, f"{max(times):.2f} s", f"{fees:f}")
    yield ""
    yield table
    yield f"\nThe whole demo took {seconds:.1f} s, starts and ends included."


def verdict(trades: Sequence[Trade]) -> str:
    """Give the last line: what was as expected, or what was not."""
    wrong = [
        f"#{number} {trade.status}{f' {trade.code}' if trade.code else ''}"
        f" instead of {trade.expected.status} {trade.expected.code or ''}".rstrip()
        for number, trade in enumerate(trades, 1)
        if not trade.as_expected
    ]
    if wrong:
        return f"DEMO FAILED: {', '.join(wrong)}"
    ends = Counter(trade.expected.status for trade in trades)
    others = [f"{ends[end]} {end} as expected" for end in ("failed", REFUSED)]
    return f"DEMO PASSED: {ends['filled']} filled, {', '.join(others)}"
