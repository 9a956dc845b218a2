"""`doctor` looks at everything outside, names what is wrong and what to do, and changes nothing."""

import json
from pathlib import Path

import pytest
from solders.keypair import Keypair

from app.bootstrap.doctor import Check, Verdict, examine
from app.settings import Settings
from tests.harness import ROOT, free_port, run_cli
from tests.integration.chain import Chain
from tests.integration.kit import configure, endpoint

pytestmark = pytest.mark.anyio


async def examined(settings: Settings) -> list[Check]:
    """Collect what is found."""
    return [check async for check in examine(settings)]


def failed(checks: list[Check]) -> list[Check]:
    """Leave out what is well."""
    return [check for check in checks if check.verdict is Verdict.FAILED]


async def test_all_is_well_on_the_sandbox(tmp_path: Path, chain: Chain) -> None:
    """Every area is looked at; not a transaction is sent, and no database appears."""
    sent = len(chain.asked("sendTransaction")) + len(chain.asked("sendBundle"))
    checks = await examined(configure(tmp_path, chain, {}))
    assert failed(checks) == []
    areas = {check.area.partition(" ")[0] for check in checks}
    assert areas == {"key", "endpoint", "clock", "method", "block", "balance", "pool"}
    assert len([check for check in checks if check.area.startswith("pool")]) == 3
    assert len(chain.asked("sendTransaction")) + len(chain.asked("sendBundle")) == sent
    assert not (tmp_path / "orders.db").exists()


async def test_a_method_that_an_endpoint_refuses_is_named(tmp_path: Path, chain: Chain) -> None:
    """By the name of the RPC method: a plan may lack just the one that proofs need."""
    chain.fault("http_5xx", "minimumLedgerSlot")
    try:
        (found,) = failed(await examined(configure(tmp_path, chain, {})))
    finally:
        chain.clear()
    assert found.area.startswith("endpoint ")
    assert found.what.startswith("minimumLedgerSlot: refused with HTTP 5")
    assert "plan" in found.todo


async def test_an_endpoint_that_is_away_is_told_beside_one_that_answers(
    tmp_path: Path, chain: Chain
) -> None:
    """Once, not for every method; the rest is looked at through the other."""
    away = f"http://127.0.0.1:{free_port()}"
    changes = {**endpoint(chain), "solana.rpc_urls": [chain.rpc_url, away]}
    found = failed(await examined(configure(tmp_path, chain, changes)))
    assert len(found) == 1, found
    assert [check.area for check in found] == [f"endpoint {away.removeprefix('http://')}"]
    assert found[0].what.startswith("getGenesisHash: no answer")


async def test_a_wallet_without_money_and_a_pool_that_is_none_are_told(
    tmp_path: Path, chain: Chain
) -> None:
    """An empty wallet names its address; a wrong pool its market and why."""
    key = Keypair()
    file = tmp_path / "key.json"
    file.write_text(key.to_json())
    file.chmod(0o600)
    changes: dict[str, object] = {
        "wallet.keypair_file": str(file),
        "markets.SOL-USDC.pools": [{"venue": "orca_whirlpool", "address": str(key.pubkey())}],
    }
    checks = await examined(configure(tmp_path, chain, changes))
    assert len(failed(checks)) == 2, failed(checks)
    pool, balance = sorted(failed(checks), key=lambda each: each.area, reverse=True)
    assert balance.area == "balance"
    assert balance.todo == f"send SOL to {key.pubkey()}"
    assert pool.area == f"pool {key.pubkey()}"
    assert "SOL-USDC on orca_whirlpool: POOL_INVALID" in pool.what
    assert [check for check in checks if check.verdict is Verdict.WARNING]


async def test_settings_that_contradict_each_other_are_failed_checks(
    tmp_path: Path, chain: Chain
) -> None:
    """A method without an address, two keys, too few endpoints: told as at the start of the service."""
    for changes, code in (
        ({"wallet.keypair_file": "nowhere.json"}, "WALLET_MISSING"),
        ({"methods.block_engine.tip_accounts": ["x"]}, "TIP_ACCOUNT_UNKNOWN"),
        ({"execution.proof_endpoints": 2}, "TOO_FEW_ENDPOINTS"),
    ):
        found = failed(await examined(configure(tmp_path, chain, changes)))
        assert [check.what.partition(":")[0] for check in found] == [code]
        assert found[0].todo


def test_the_command_ends_with_a_line_that_counts(tmp_path: Path, chain: Chain) -> None:
    """Exit 0 when nothing failed, 1 when something did; `--json` for programs."""
    env = {
        "SYNERGY7_SOLANA__RPC_URLS": chain.rpc_url,
        "SYNERGY7_WALLET__KEYPAIR_FILE": str(chain.wallet_file),
    }
    well = run_cli("doctor", cwd=tmp_path, env=env)
    assert well.returncode == 0, well.stdout + well.stderr
    assert well.stdout.splitlines()[-1].endswith(" failed=0 warnings=0")
    shown = run_cli("doctor", "--json", cwd=tmp_path, env=env)
    assert {"area", "verdict", "what", "todo"} == set(json.loads(shown.stdout)[0])
    wrong = {**env, "SYNERGY7_EXECUTION__PROOF_ENDPOINTS": "2"}
    ill = run_cli("doctor", cwd=tmp_path, env=wrong)
    assert ill.returncode == 1
    assert ill.stdout.splitlines()[-1] == "checks=2 failed=1 warnings=0"


def test_everything_that_the_mainnet_example_lacks_is_told_at_once(tmp_path: Path) -> None:
    """Guards, endpoints and key, each with what to do; without a network at hand."""
    example = ROOT / "docs" / "examples" / "config.mainnet.yaml"
    told = run_cli("doctor", cwd=tmp_path, env={"SYNERGY7_CONFIG": str(example)})
    assert told.returncode == 1
    *checks, counts = told.stdout.splitlines()
    assert [line.split()[2] for line in checks] == [
        "NO_API_KEYS:",
        "NO_ENDPOINTS:",
        "WALLET_MISSING:",
    ]
    assert all(" -> " in line for line in checks)
    assert counts == "checks=3 failed=3 warnings=0"
