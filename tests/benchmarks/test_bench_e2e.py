"""A tiny run of the whole bench, on real services and chains."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.__main__ import run
from benchmarks.load import Answer
from benchmarks.service import Refused, Subject
from benchmarks.sizes import Sizes
from tests.harness import Service

pytestmark = [pytest.mark.e2e, pytest.mark.proof]

TINY = Sizes(
    runs=1, quotes=5, warm_up=2, bare=40, intake=6, burst=8, steady=3, steady_per_second=10
)
NAMES = [
    "Whirlpool quote, nothing crossed",
    "Whirlpool quote, 20 ticks crossed",
    "CPMM quote",
    "AMM v4 quote",
    "routed quote over six pools",
    "POST /signals",
    "bare FastAPI handler beside it",
    "intake, as a ratio to the bare handler",
    "POST to filled, 256 at once, 50 ms slots",
    "RPC calls for an order, all included",
    "websocket subscriptions for an order",
    "transactions signed for an order",
    "peak memory of the service",
    "POST to filled, four methods, all up",
    "POST to filled, the first method down",
    "first method down, as a ratio to all up",
    "POST to 202, at 10/s, p50",
    "POST to 202, at 10/s, p99",
    "accepted to first byte sent, one method, p50",
    "accepted to first byte sent, one method, p99",
    "accepted to filled, one method, p50",
    "accepted to filled, one method, p99",
    "accepted to first byte sent, four racing, p50",
    "accepted to first byte sent, four racing, p99",
    "first byte with four racing, as a ratio to one",
    "accepted to sent through all four, racing, p50",
    "accepted to filled, four racing, p50",
    "methods that had an order's bytes, racing",
]


def test_a_tiny_bench_measures_every_row_and_proves_every_order(tmp_path: Path) -> None:
    """The table and the file hold the same rows, all above zero; every order executed once."""
    screen = io.StringIO()
    output = tmp_path / "output" / "bench.json"
    assert run(TINY, output, Console(file=screen, width=140)) == 0
    document = json.loads(output.read_text())
    assert [each["name"] for each in document["figures"]] == NAMES
    assert all(each["runs"] and min(each["runs"]) > 0 for each in document["figures"])
    assert document["figures"][-1]["median"] == 4
    assert all(f" {name} " in screen.getvalue() for name in NAMES)
    orders = document["orders"]
    services = 6  # of the intake, the burst, the bursts with methods up and down, the two paces
    posted = TINY.intake + 3 * TINY.burst + 2 * TINY.steady
    assert orders["accepted"] == services * TINY.warm_up + posted
    assert not any(orders[name] for name in ("unfilled", "lost", "doubled", "strange"))
    assert screen.getvalue().splitlines()[-1].startswith("BENCH DONE: ")


def test_a_signal_that_is_refused_ends_the_bench(tmp_path: Path) -> None:
    """A rate of refusals is no rate: the first answer but 202 is raised with its text."""
    under = Subject(Service(tmp_path))
    accepted = Answer(202, b'{"order_id":"a"}', 0, 0.001)
    assert under.take([accepted]) == ["a"]
    with pytest.raises(Refused, match="503: full"):
        under.take([accepted, Answer(503, b"full", 0, 0.001)])
