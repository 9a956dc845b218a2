"""`synergy7 selftest`: orders through every configured method on a private sandbox."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from app.cli.private import private_service
from app.cli.trading import Trade, describe, post, watch
from app.settings import load_settings
from app.settings.sections import Methods

ORDERS_SECONDS = 60.0
SIGNALS = (
    {"action": "SELL", "market": "SOL-USDC", "size": "0.05"},
    {"action": "BUY", "market": "SOL-USDC", "size": "0.05"},
    {"action": "SELL", "market": "BONK-USDC", "size": "250000"},
    {"action": "BUY", "market": "RAY-SOL", "size": "10"},
)
PASSED = "ALL TESTS PASSED"


def run_selftest(folder: Path | None) -> int:
    """Run the tests; 0 and PASSED as the last line, or 1 and what failed."""
    out = Console(highlight=False, soft_wrap=True)
    methods = load_settings().methods
    with private_service(folder, passed_on(methods)) as service:
        tests = [
            (name, Trade({**each, "methods": [name]})) for name in methods.order for each in SIGNALS
        ]
        for number, (_, trade) in enumerate(tests, 1):
            post(service.client, trade, key=f"selftest-{number}")
        watch(service.client, [trade for _, trade in tests], lambda: None, seconds=ORDERS_SECONDS)
        failures = list(judge(out, tests))
        if not tests:
            failures.append("no method is configured")
        if failures:
            service.keep = True
            out.print(f"Everything about it is kept in {service.folder}")
    out.print(PASSED if not failures else f"TESTS FAILED: {'; '.join(failures)}")
    return 1 if failures else 0


def passed_on(methods: Methods) -> Mapping[str, str]:
    """Give the variables by which the private service has the same methods, on its own sandbox.

    Addresses of the built-in ones are left out: the sandbox stands in for Jito, QuickNode and nodes.
    """
    told = {
        "ORDER": list(methods.order),
        "OPTIONS": dict(methods.options),
        "SENDERS": dict(methods.senders),
        "JITO__BUNDLE_ONLY": methods.jito.bundle_only,
        "QUICKNODE__LIL_JIT": methods.quicknode.lil_jit.model_dump(),
        "QUICKNODE__JITO_TIP": methods.quicknode.jito_tip,
    }
    return {f"SYNERGY7_METHODS__{key}": json.dumps(value) for key, value in told.items()}


def judge(out: Console, tests: Sequence[tuple[str, Trade]]) -> Iterable[str]:
    """Print a line for each order; yields what failed."""
    for method, trade in tests:
        trouble = wrong_with(trade, method)
        line = f"{method}: {describe(trade.signal)}"
        took = "" if trade.seconds is None else f" in {trade.seconds:.2f} s"
        out.print(f"failed  {line}: {trouble}" if trouble else f"ok      {line}{took}")
        if trouble:
            yield f"{line} {trouble}"


def wrong_with(trade: Trade, method: str) -> str | None:
    """Say what is wrong with an order that ought to be filled by one method; None when nothing."""
    if not trade.as_expected:
        return f"{trade.status} {trade.code or ''}".rstrip()
    if trade.method != method:
        return f"was landed by {trade.method}"
    return None
