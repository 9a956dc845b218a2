"""`synergy7 orders` against a stand-in service."""

import json
from collections.abc import Iterator

import pytest

from app.cli.commands import run
from tests.cli.stub import ORDER_ID, Stub, order, serving
from tests.harness import free_port


@pytest.fixture
def stub() -> Iterator[Stub]:
    """Run a stand-in service."""
    with serving() as running:
        yield running


def test_list_prints_one_line_an_order(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    """Each order is a line with its id, size, status and price, whole even when piped."""
    failed = order(
        order_id="0199c0de-0000-7000-8000-000000000002",
        status="failed",
        reason_code="PRICE_LIMIT",
        fill=None,
        size=None,
        quote_size="25",
    )
    stub.answers["GET /orders"] = (200, {"orders": [order(), failed], "next_cursor": None})
    assert run(["orders", "list", "--url", stub.url]) == 0
    head, one, other = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["order", "accepted", "action"]
    assert ORDER_ID in one
    assert "0.01 SOL" in one
    assert "filled" in one
    assert one.rstrip().endswith("184.5373")
    assert "25 USDC" in other
    assert "PRICE_LIMIT" in other


def test_list_passes_its_filters_on(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    """What is asked for goes into the query; what is not, does not. A further page is hinted at."""
    stub.answers["GET /orders"] = (200, {"orders": [], "next_cursor": "abc"})
    options = ["--status", "failed", "--market", "SOL-USDC", "--limit", "3"]
    assert run(["orders", "list", "--url", stub.url, *options]) == 0
    assert stub.asked == ["GET /orders?status=failed&market=SOL-USDC&limit=3"]
    assert "there are more" in capsys.readouterr().out


def test_list_prints_the_services_json(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` is the service's document, unchanged."""
    page = {"orders": [order()], "next_cursor": None}
    stub.answers["GET /orders"] = (200, page)
    assert run(["orders", "list", "--url", stub.url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == page


def test_show_tells_the_whole_order(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    """Fill, fees, attempt, method and signature of one order are shown."""
    stub.answers[f"GET /orders/{ORDER_ID}"] = (200, order())
    assert run(["orders", "show", ORDER_ID, "--url", stub.url]) == 0
    out = capsys.readouterr().out
    for text in ("0.01 SOL for 1.845373 USDC", "-252.07 bps", "5igna7ure", "rpc", "3.2 ms", "312"):
        assert text in out


def test_show_says_when_an_order_is_in_doubt(
    stub: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    """An order in doubt is never shown as plainly submitted; a refused push shows its reason."""
    push = {"method": "rpc", "outcome": "rejected", "reason": "rate_limited", "latency_ms": 1}
    attempt = {**order()["attempts"][0], "landed_slot": None, "submissions": [push]}
    silent = {**attempt, "number": 2, "submissions": []}
    shown = order(
        status="submitted",
        in_doubt_since="2026-01-31T12:01:00Z",
        fill=None,
        attempts=[attempt, silent],
    )
    stub.answers[f"GET /orders/{ORDER_ID}"] = (200, shown)
    assert run(["orders", "show", ORDER_ID, "--url", stub.url]) == 0
    out = capsys.readouterr().out
    assert "submitted (in doubt)" in out
    assert "rejected (rate_limited)" in out


@pytest.mark.parametrize(
    ("code", "status", "said"), [(200, "canceled", "canceled:"), (202, "submitted", "requested")]
)
def test_cancel_says_what_became_of_it(
    stub: Stub, capsys: pytest.CaptureFixture[str], code: int, status: str, said: str
) -> None:
    """A cancelled order and a requested cancellation are told apart."""
    stub.answers[f"POST /orders/{ORDER_ID}/cancel"] = (code, order(status=status))
    assert run(["orders", "cancel", ORDER_ID, "--url", stub.url]) == 0
    assert said in capsys.readouterr().out


def test_cancel_of_many_names_whose(stub: Stub) -> None:
    """Without an id the market and strategy are passed on."""
    stub.answers["POST /orders/cancel"] = (200, {"canceled": [], "requested": []})
    assert run(["orders", "cancel", "--market", "SOL-USDC", "--url", stub.url]) == 0
    assert stub.asked == ["POST /orders/cancel?market=SOL-USDC"]


@pytest.mark.parametrize("arguments", [[], [ORDER_ID, "--market", "SOL-USDC"]])
def test_cancel_of_nothing_in_particular_is_refused(
    stub: Stub, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    """Neither an id nor a filter, or both, is a mistake; nothing is asked of the service."""
    assert run(["orders", "cancel", *arguments, "--url", stub.url]) == 2
    assert capsys.readouterr().err.startswith("USAGE: ")
    assert stub.asked == []


def test_the_services_refusal_is_one_line(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    """A problem document becomes `CODE: what`, exit 2."""
    problem = {"code": "ORDER_NOT_FOUND", "title": "Not found", "detail": "no such order"}
    stub.answers[f"GET /orders/{ORDER_ID}"] = (404, problem)
    assert run(["orders", "show", ORDER_ID, "--url", stub.url]) == 2
    assert capsys.readouterr().err == "ORDER_NOT_FOUND: no such order\n"


def test_something_else_than_the_service_is_recognised(
    stub: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    """A page that is no JSON is said to be none, in one line."""
    stub.answers["GET /orders"] = (200, b"<html>hello</html>")
    assert run(["orders", "list", "--url", stub.url]) == 2
    assert capsys.readouterr().err.startswith("NOT_THE_SERVICE: ")


@pytest.mark.parametrize("url", ["localhost", "http://[", "ftp://x"])
def test_an_address_that_is_none_is_refused(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped address is one line, exit 2."""
    assert run(["orders", "list", "--url", url]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(("URL_INVALID: ", "SERVICE_UNREACHABLE: "))


def test_a_service_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody listening is said with what to do, exit 2."""
    url = f"http://127.0.0.1:{free_port()}"
    assert run(["orders", "list", "--url", url]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"SERVICE_UNREACHABLE: no service answers at {url}; start it")


def test_resolve_sends_the_operators_word(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    """How it ended, on what evidence, and the amounts that were given."""
    stub.answers[f"POST /orders/{ORDER_ID}/resolve"] = (200, order())
    options = ["--as", "filled", "--evidence", "seen", "--base-amount", "0.01"]
    options += ["--quote-amount", "1.8"]
    assert run(["orders", "resolve", ORDER_ID, "--url", stub.url, *options]) == 0
    assert capsys.readouterr().out == f"resolved: {ORDER_ID} is filled\n"
    (body,) = stub.bodies
    amounts = {"base_amount": "0.01", "quote_amount": "1.8"}
    assert json.loads(body) == {"as": "filled", "evidence": "seen", **amounts}


def test_resolve_tells_a_refusal(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    """One line with the service's code, exit code 2."""
    problem = {"code": "RESOLUTION_TOO_EARLY", "detail": "no endpoint is past its life"}
    stub.answers[f"POST /orders/{ORDER_ID}/resolve"] = (409, problem)
    options = ["--as", "expired", "--evidence", "seen"]
    assert run(["orders", "resolve", ORDER_ID, "--url", stub.url, *options]) == 2
    assert capsys.readouterr().err.startswith("RESOLUTION_TOO_EARLY: no endpoint")
