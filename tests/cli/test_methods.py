"""`synergy7 methods` against a stand-in service."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from app.cli.commands import run
from tests.cli.stub import Stub, serving

RPC: dict[str, Any] = {
    "name": "rpc",
    "breaker": "closed",
    "enabled": True,
    "wait_seconds": 0,
    "privacy": "public",
    "endpoints": ["127.0.0.1:8899", "127.0.0.1:8898"],
}
JITO: dict[str, Any] = {"name": "jito", "breaker": "open", "enabled": True, "wait_seconds": 7.25}


@pytest.fixture
def stub() -> Iterator[Stub]:
    """Run a stand-in service."""
    with serving() as running:
        yield running


def test_methods_are_one_line_each(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    """Whether it is in use, its breaker, and when it would take a push."""
    off = {**RPC, "name": "quicknode", "enabled": False, "wait_seconds": None}
    stub.answers["GET /methods"] = (200, {"methods": [JITO, RPC, off]})
    assert run(["methods", "--url", stub.url]) == 0
    head, jito, rpc, quicknode = capsys.readouterr().out.splitlines()
    assert head.split()[0] == "method"
    assert jito.split() == ["jito", "enabled", "open", "in", "7.2", "s"]
    ends = ["public", "127.0.0.1:8899,", "127.0.0.1:8898"]
    assert rpc.split() == ["rpc", "enabled", "closed", "now", *ends]
    assert quicknode.split()[:4] == ["quicknode", "disabled", "closed", "no"]


def test_methods_are_printed_as_the_services_json(
    stub: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--json` is the service's document, unchanged."""
    stub.answers["GET /methods"] = (200, {"methods": [RPC]})
    assert run(["methods", "--url", stub.url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"methods": [RPC]}


@pytest.mark.parametrize("verb", ["reset", "disable", "enable"])
def test_a_method_is_switched_and_its_state_printed(
    stub: Stub, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    """One request by the verb's own path; the state as a line, or as JSON."""
    stub.answers[f"POST /methods/rpc/{verb}"] = (200, RPC)
    assert run(["methods", verb, "rpc", "--url", stub.url]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("rpc ")
    assert run(["methods", verb, "rpc", "--url", stub.url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == RPC
    assert stub.asked == [f"POST /methods/rpc/{verb}"] * 2


def test_an_unknown_method_is_one_line(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    """The service's refusal with its code, exit 2; a name is sent as it is, whatever is in it."""
    problem = {"code": "METHOD_NOT_FOUND", "detail": "no method of this name is configured"}
    stub.answers["POST /methods/a%2Fb%3F/reset"] = (404, problem)
    assert run(["methods", "reset", "a/b?", "--url", stub.url]) == 2
    assert capsys.readouterr().err == "METHOD_NOT_FOUND: no method of this name is configured\n"


def test_a_method_has_to_be_named(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is switched by a mistyped command."""
    for arguments in (["disable"], ["explode", "rpc"]):
        assert run(["methods", *arguments]) == 2
        assert capsys.readouterr().err.startswith("USAGE: ")
    assert stub.asked == []
