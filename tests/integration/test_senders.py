"""Senders in a real service: presets as they are, in front of the sandbox's node."""

import json
from pathlib import Path

import pytest

from app.executors.tip_accounts import TIP_ACCOUNTS
from tests.harness import SEED_SIGNAL, Sandbox, Service
from tests.relay import Json, Relay, relaying
from tests.verifier import verify

pytestmark = pytest.mark.e2e
SENDERS = "SYNERGY7_METHODS__SENDERS__"


def says(relay: Relay, target: str, document: Json) -> tuple[int, Json]:
    """Refuse as Helius does when it is asked too often; take what comes as Nozomi does."""
    if target == "/h/fast":
        return 429, {"error": {"code": -32005, "message": "Too many requests"}}
    return 200, {"jsonrpc": "2.0", "id": 1, "result": relay.hand_over(document["params"][0])}


def balance(sandbox: Sandbox, account: str) -> int:
    """Read an account's lamports as the newest confirmed block has them."""
    return int(sandbox.rpc("getBalance", account, {"commitment": "confirmed"})["value"])


def test_two_senders_share_the_bytes_and_each_is_offered_its_tip(tmp_path: Path) -> None:
    """The first refuses, the second lands the same bytes; both tips were in them, and are paid."""
    with relaying(says) as relay:
        env = {
            "SYNERGY7_METHODS__ORDER": "helius,nozomi",
            f"{SENDERS}HELIUS__PRESET": "helius",
            f"{SENDERS}HELIUS__URL": f"{relay.url}/h",
            f"{SENDERS}NOZOMI__PRESET": "nozomi",
            f"{SENDERS}NOZOMI__URL": f"{relay.url}/n",
            f"{SENDERS}NOZOMI__API_KEY": "12345",
        }
        with Service(tmp_path, env) as service:
            sandbox = service.sandbox()
            relay.node_url = sandbox.rpc_url
            order = service.finished(service.submit(SEED_SIGNAL))
            assert order["status"] == "filled", order
            assert verify(sandbox.rpc_url, order, sandbox.wallet) == []
            (attempted,) = order["attempts"]
            first, second, *_ = attempted["submissions"]
            assert (first["method"], first["reason"]) == ("helius", "rate_limited")
            assert (second["method"], second["outcome"]) == ("nozomi", "accepted")
            assert [target for target, _ in relay.asked[:2]] == ["/h/fast", "/n/?c=12345"]
            assert len({document["params"][0] for _, document in relay.asked}) == 1
            for vendor in ("helius", "nozomi"):
                assert sum(balance(sandbox, each) for each in TIP_ACCOUNTS[vendor]) == 1_000_000
            states = {state["name"]: state for state in service.get("/status")["methods"]}
            assert states["helius"]["wait_seconds"] > 0
            assert states["nozomi"]["retries_internally"] is True
            assert "12345" not in json.dumps(states)
