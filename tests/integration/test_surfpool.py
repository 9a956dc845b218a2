"""The same walk on a Solana node written by others: the sandbox's habits are not what makes it work."""

import json
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
from solders.keypair import Keypair

from app.sandbox.genesis import build_genesis
from app.sandbox.layouts import CPMM_PROGRAM
from tests import chain_oracle
from tests.harness import ROOT
from tests.integration.kit import ONE_NODE, SELL, Json, comes_to, ended, running
from tests.integration.plugins import SIEVE_METHOD, install_here
from tests.integration.walk import walk
from tests.needs import skip_or_fail
from tests.verifier import verify

pytestmark = [pytest.mark.anyio, pytest.mark.surfpool]
FOLDER = ROOT / "tools" / "surfpool"
SCRIPT = Path(__file__).with_name("surfpool.mjs")
SLOT_MS = 50
BY_REPORTED_FEE = ("fee charged: ", "lamports of ")


@dataclass(frozen=True)
class Surfpool:
    """A running node with the sandbox's market on it."""

    rpc_url: str
    ws_url: str
    wallet_file: Path
    wallet: str


@pytest.fixture(scope="module")
def surfpool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surfpool]:
    """Run Surfpool with the market program and the accounts of the sandbox's first block."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        skip_or_fail("Surfpool is installed on Linux on x86-64 only")
    if shutil.which("node") is None or not (FOLDER / "node_modules").is_dir():
        skip_or_fail("Surfpool is not installed: `tools/npm_folder.sh surfpool` does it")
    command = ["node", str(SCRIPT), str(FOLDER), str(SLOT_MS)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            where = json.loads(process.stdout.readline())
            key = Keypair()
            found_market(where["rpc_url"], key)
            file = tmp_path_factory.mktemp("surfpool") / "wallet.json"
            file.write_text(json.dumps(list(bytes(key))))
            file.chmod(0o600)
            yield Surfpool(where["rpc_url"], where["ws_url"], file, str(key.pubkey()))
        finally:
            process.stdin.close()
            process.wait(10)


def found_market(url: str, key: Keypair) -> None:
    """Write the market program, the pools and a funded wallet into the node."""
    genesis = build_genesis(wallet=key, unix_time=int(time.time()))
    with httpx.Client(base_url=url, timeout=10, trust_env=False) as client:

        def call(method: str, *params: object) -> None:
            body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
            answer = client.post("", json=body).json()
            assert "error" not in answer, answer

        for address, program in genesis.programs.items():
            assert address == CPMM_PROGRAM
            call("surfnet_writeProgram", str(address), program.hex(), 0)
        for each in genesis.accounts:
            account = {
                "lamports": each.lamports,
                "data": each.data.hex(),
                "owner": str(each.owner),
                "executable": each.executable,
            }
            call("surfnet_setAccount", str(each.address), account)


def differences(surfpool: Surfpool, order: Json) -> list[str]:
    """Hold an order against this chain, whose `meta.fee` leaves the priority fee out.

    What hangs on that figure is held against the balances instead: together they lost all fees.
    """
    found = verify(surfpool.rpc_url, order, surfpool.wallet)
    landed = chain_oracle.landed(surfpool.rpc_url, order["attempts"][0]["signature"])
    assert landed is not None
    fees = sum(Decimal(order["fill"]["fees"][kind]) for kind in ("network", "priority"))
    lost = sum(before - after for before, after in landed.lamports.values())
    if Decimal(lost).scaleb(-9) != fees:
        found.append(f"the balances lost {lost} lamports, the fees are {fees} SOL")
    return [each for each in found if not each.startswith(BY_REPORTED_FEE)]


def endpoint(surfpool: Surfpool) -> dict[str, object]:
    """Give the settings of a service that trades on it."""
    return {
        **ONE_NODE,
        "solana.rpc_urls": [surfpool.rpc_url],
        "solana.ws_url": surfpool.ws_url,
        "wallet.keypair_file": str(surfpool.wallet_file),
    }


async def test_on_surfpool(tmp_path: Path, surfpool: Surfpool) -> None:
    """Every order fills there too, and its document agrees with that chain, to the unit."""
    async with running(tmp_path, None, endpoint(surfpool)) as system:
        orders = await walk(system, lambda order: differences(surfpool, order))
        assert {len(order["attempts"]) for order in orders} == {1}
        for order in orders:
            await comes_to(system, order["order_id"], "finality", lambda it: it["finalized_at"])


async def test_an_attempt_that_expires_on_surfpool(
    tmp_path: Path, surfpool: Surfpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that never went out are proved dead by that chain's own words; the second attempt fills."""
    install_here(tmp_path, "sieve", SIEVE_METHOD, monkeypatch)
    changes = {
        **endpoint(surfpool),
        "methods.order": ["sieve"],
        "execution.transaction_timeout": 1.5,
    }
    async with running(tmp_path, None, changes) as system:
        order = await ended(system, await system.submit_trading_signal(SELL), 30)
        assert order["status"] == "filled"
        assert [attempt["status"] for attempt in order["attempts"]] == ["expired", "landed"]
        counted = chain_oracle.executions_by_order(surfpool.rpc_url, surfpool.wallet)
        assert counted[order["order_id"]] == 1
