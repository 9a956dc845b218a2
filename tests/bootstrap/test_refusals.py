"""Starts that cannot be: refused in one line, and nothing is left behind."""

import asyncio
import contextlib
import json
import logging
import sqlite3
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
from solders.keypair import Keypair

from app.bootstrap import ExecutionSystem
from app.domain.errors import StartupError
from tests.harness import alive
from tests.integration.chain import Chain
from tests.integration.kit import configure, endpoint, running, until

pytestmark = pytest.mark.anyio
SOL_USDC = "7JuwJuNU88gurFnyWeiyGKbFmExMWcmRZntn9imEzdny"
BONK_USDC = "31fGRcaJddV3oTCSvgFc6WryuKXks6eE7GpPamaWnB61"


def running_here() -> tuple[int, set[str], list[logging.Handler]]:
    """Give what the system could leave behind: tasks, threads, log handlers."""
    threads = {each.name for each in threading.enumerate() if not each.name.startswith("asyncio_")}
    return len(asyncio.all_tasks()), threads, logging.getLogger().handlers[:]


async def refused(folder: Path, chain: Chain | None, changes: Mapping[str, object]) -> str:
    """Claim that initialize refuses in one line of the one form, leaving nothing; gives the line."""
    system = ExecutionSystem(configure(folder, chain, changes))
    before = running_here()
    with pytest.raises(StartupError) as error:
        await system.initialize()
    await until("nothing is left", lambda: running_here() == before, 5)
    assert not system.opened
    line = str(error.value)
    assert line == f"{error.value.code}: {error.value.what}; {error.value.todo}"
    assert "\n" not in line
    return line


def market(pool: str, name: str = "SOL-USDC", venue: str = "raydium_cpmm") -> dict[str, object]:
    """Configure one market only."""
    return {"markets": {name: {"pools": [{"venue": venue, "address": pool}]}}}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"server.host": "0.0.0.0"}, "NO_API_KEYS: "),
        ({"network": "devnet"}, "NO_API_KEYS: "),
        ({"markets": {}}, "NO_MARKETS: "),
        (market("nowhere"), "CONFIG_INVALID: markets.SOL-USDC.pools "),
        (market(SOL_USDC, venue="orca"), "CONFIG_INVALID: "),
        (market(BONK_USDC), "POOL_INVALID: "),
        ({"methods.order": []}, "NO_METHODS: "),
        ({"methods.order": ["carrier-pigeon"]}, "METHOD_UNKNOWN: the method 'carrier-pigeon' "),
        ({"methods.order": ["rpc", "rpc"]}, "METHOD_DUPLICATE: "),
        ({"methods.options": {"rpc": {}}}, "CONFIG_UNKNOWN: methods.options.rpc names no method"),
        (
            {"methods.senders": {"mine": {"preset": "helios"}}},
            "CONFIG_INVALID: methods.senders.mine",
        ),
        (
            {"fees.max_order_lamports": 14_999},
            "METHODS_TOO_DEAR: an order to all methods costs 15000",
        ),
        ({"order_management.database_url": "mysql://host/x"}, "DATABASE_URL_INVALID: "),
        ({"order_management.database_url": "postgresql://127.0.0.1:1/x"}, "DATABASE_UNREACHABLE: "),
        ({"metrics.database_url": "mysql://host/x"}, "DATABASE_URL_INVALID: "),
        ({"order_management.db_path": "/dev/null/orders.db"}, "DATABASE_"),
        ({"execution.proof_endpoints": 2}, "TOO_FEW_ENDPOINTS: "),
        ({"wallet.keypair_file": "/no/such/key.json"}, "WALLET_MISSING: "),
    ],
)
async def test_a_mistake_is_refused(
    tmp_path: Path, chain: Chain, changes: dict[str, object], line: str
) -> None:
    """One line with a code that says what to do; the chain that was adopted runs on."""
    assert (await refused(tmp_path, chain, changes)).startswith(line)
    assert alive(chain.process.pid)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"solana.rpc_urls": ["ftp://127.0.0.1"]},
            "CONFIG_INVALID: the URL of an endpoint is no http",
        ),
        ({"wallet.keypair_file": None}, "WALLET_MISSING: no wallet is configured"),
    ],
)
async def test_a_mistake_about_endpoints_is_refused(
    tmp_path: Path, chain: Chain, changes: dict[str, object], line: str
) -> None:
    """A service that was told where its chain is needs an address that is one, and a key."""
    given = {**endpoint(chain), **changes}
    given = {key: value for key, value in given.items() if value is not None}
    assert (await refused(tmp_path, chain, given)).startswith(line)


async def test_a_key_that_others_may_read(tmp_path: Path, chain: Chain) -> None:
    """Refused with the command that mends it; the key is not shown."""
    key = tmp_path / "key.json"
    key.write_text(json.dumps(list(bytes(Keypair()))))
    key.chmod(0o644)
    line = await refused(tmp_path, chain, {"wallet.keypair_file": str(key)})
    assert line.startswith("WALLET_PERMISSIONS: ")
    assert f"chmod 600 {key}" in line


@pytest.mark.parametrize("text", ["", "[1, 2, 3]", "no key", "{}"])
async def test_a_file_that_is_no_key(tmp_path: Path, chain: Chain, text: str) -> None:
    """What it holds instead is not shown."""
    key = tmp_path / "key.json"
    key.write_text(text)
    key.chmod(0o600)
    line = await refused(tmp_path, chain, {"wallet.keypair_file": str(key)})
    assert line.startswith("WALLET_INVALID: ")


async def test_two_keys(tmp_path: Path, chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which one is meant is not guessed."""
    monkeypatch.setenv("SYNERGY7_WALLET__SECRET_KEY", str(Keypair()))
    line = await refused(tmp_path, chain, {"wallet.keypair_file": str(chain.wallet_file)})
    assert line.startswith("WALLET_AMBIGUOUS: ")


async def test_a_database_that_another_system_has(tmp_path: Path, chain: Chain) -> None:
    """The second one is refused, the first one goes on; once it has ended the second may start."""
    async with running(tmp_path, chain) as system:
        second = ExecutionSystem(configure(tmp_path, chain, {}))
        with pytest.raises(StartupError, match=r"^DATABASE_LOCKED: "):
            await second.initialize()
        assert system.failure is None
    async with running(tmp_path, chain):
        pass


async def test_a_database_of_a_newer_version(tmp_path: Path, chain: Chain) -> None:
    """Orders that this version does not understand are not touched."""
    async with running(tmp_path, chain):
        pass
    with contextlib.closing(sqlite3.connect(tmp_path / "orders.db")) as connection, connection:
        connection.execute("UPDATE alembic_version_orders SET version_num = 'from_the_future'")
    assert (await refused(tmp_path, chain, {})).startswith("DATABASE_NEWER: ")


async def test_a_file_that_is_no_database(tmp_path: Path, chain: Chain) -> None:
    """Whatever it is, it is left as it was."""
    (tmp_path / "orders.db").write_text("dear diary " * 100)
    assert (await refused(tmp_path, chain, {})).startswith("DATABASE_CORRUPT: ")
    assert (tmp_path / "orders.db").read_text() == "dear diary " * 100


async def test_a_sandbox_of_its_own_is_ended_when_the_start_fails(tmp_path: Path) -> None:
    """What comes after the sandbox is refused: its process does not stay."""
    (tmp_path / "orders.db").write_text("dear diary " * 100)
    places = {
        "sandbox.ledger": str(tmp_path / "ledger"),
        "sandbox.file": str(tmp_path / "sandbox.json"),
    }
    assert (await refused(tmp_path, None, places)).startswith("DATABASE_CORRUPT: ")
    assert (tmp_path / "ledger" / "ledger.jsonl").exists(), "it had been started"
    assert not (tmp_path / "sandbox.json").exists()


async def test_a_ledger_that_is_corrupt(tmp_path: Path) -> None:
    """The sandbox's refusal is the service's."""
    (tmp_path / "ledger").mkdir()
    (tmp_path / "ledger" / "ledger.jsonl").write_text("no ledger\nat all\n")
    places = {
        "sandbox.ledger": str(tmp_path / "ledger"),
        "sandbox.file": str(tmp_path / "sandbox.json"),
    }
    line = await refused(tmp_path, None, places)
    assert line.startswith("SANDBOX_FAILED: ")
    assert "LEDGER_CORRUPT" in line
