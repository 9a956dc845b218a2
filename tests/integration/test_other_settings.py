"""Each key outside of `execution`: changed, and the behaviour seen to change."""

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from solders.keypair import Keypair

from app.bootstrap import ExecutionSystem
from app.domain.errors import StartupError
from tests.integration.chain import Chain, running_chain
from tests.integration.kit import (
    BUY_BONK,
    SELL,
    configure,
    document,
    ended,
    running,
    status,
    until,
)

pytestmark = pytest.mark.anyio
DAY_US = 86_400_000_000
IMPOSSIBLE = {**SELL, "price": "1000000"}


def sql(path: Path, statement: str, *values: object) -> list[Any]:
    """Run one statement behind the system's back; gives its rows."""
    with closing(sqlite3.connect(path, timeout=10)) as connection, connection:
        return connection.execute(statement, values).fetchall()


def age(path: Path, table: str, days: int) -> None:
    """Make what has ended look older."""
    sql(path, f"UPDATE {table} SET ended_at_us = ended_at_us - ?", days * DAY_US)


# ---------------------------------------------------------------- order_management


@pytest.mark.parametrize(("seconds", "end"), [(0.8, "expired"), (60, "filled")])
async def test_order_timeout(tmp_path: Path, chain: Chain, seconds: float, end: str) -> None:
    """Counted from acceptance: after it nothing is signed any more."""
    async with running(tmp_path, chain, {"order_management.order_timeout": seconds}) as system:
        chain.fault("http_5xx", "simulateTransaction")
        order_id = await system.submit_trading_signal(SELL)
        await asyncio.sleep(1.2)
        chain.clear()
        order = await ended(system, order_id)
        assert order["status"] == end
        assert order["reason_code"] == ("ORDER_TIMEOUT" if end == "expired" else None)


async def test_db_path_and_metrics_db_path(tmp_path: Path, chain: Chain) -> None:
    """The files are made where they are named, folders too, and hold the order and its metrics."""
    orders, metrics = tmp_path / "a" / "o.db", tmp_path / "b" / "m.db"
    changes = {
        "order_management.db_path": str(orders),
        "metrics.metrics_db_path": str(metrics),
    }
    async with running(tmp_path, chain, changes) as system:
        order_id = await system.submit_trading_signal(IMPOSSIBLE)
        await ended(system, order_id)
        assert sql(orders, "SELECT order_id FROM orders") == [(order_id,)]
        await until(
            "its metrics are there",
            lambda: sql(metrics, "SELECT order_id FROM executions") == [(order_id,)],
        )
    assert not (tmp_path / "orders.db").exists()
    assert not (tmp_path / "metrics.db").exists()


async def test_database_url(tmp_path: Path, chain: Chain) -> None:
    """A URL goes before the path, for both databases."""
    changes = {
        "order_management.database_url": f"sqlite:///{tmp_path}/by-url.db",
        "metrics.database_url": f"sqlite:///{tmp_path}/metrics-by-url.db",
    }
    async with running(tmp_path, chain, changes) as system:
        order_id = await system.submit_trading_signal(IMPOSSIBLE)
        await ended(system, order_id)
    assert sql(tmp_path / "by-url.db", "SELECT order_id FROM orders") == [(order_id,)]
    assert (tmp_path / "metrics-by-url.db").exists()
    assert not (tmp_path / "orders.db").exists()
    assert not (tmp_path / "metrics.db").exists()


@pytest.mark.parametrize("size", [0, 5])
async def test_max_history_size(tmp_path: Path, chain: Chain, size: int) -> None:
    """So many settled orders are read from memory: even when the database has lost them."""
    changes = {"order_management.max_history_size": size}
    async with running(tmp_path, chain, changes) as system:
        ids = [
            await system.submit_trading_signal({**IMPOSSIBLE, "client_order_id": f"h-{number}"})
            for number in range(6)
        ]
        for order_id in ids:
            await ended(system, order_id)
            await document(system, order_id)
        sql(tmp_path / "orders.db", "DELETE FROM orders")
        known = [await system.get_order_status(order_id) is not None for order_id in ids]
        assert sum(known) == size


@pytest.mark.parametrize(
    ("days", "interval", "kept"),
    [(0, 0.1, True), (3, 0.1, False), (3, 3_600, True), (9, 0.1, True)],
)
async def test_retention_days_and_cleanup_interval(
    tmp_path: Path, chain: Chain, *, days: int, interval: float, kept: bool
) -> None:
    """An order that ended longer ago is removed at the next clean-up; 0 keeps it for ever."""
    changes = {
        "order_management.retention_days": days,
        "order_management.cleanup_interval": interval,
        "order_management.max_history_size": 0,
    }
    async with running(tmp_path, chain, changes) as system:
        order_id = await system.submit_trading_signal(IMPOSSIBLE)
        await ended(system, order_id)
        age(tmp_path / "orders.db", "orders", days=5)
        if kept:
            await asyncio.sleep(0.6)
            assert await system.get_order_status(order_id) is not None
        else:

            async def gone() -> bool:
                return await system.get_order_status(order_id) is None

            await until("it is removed", gone)


async def test_migrate_at_start(tmp_path: Path, chain: Chain) -> None:
    """Without it an empty database is refused by name, and nothing is made of it."""
    changes = {"order_management.migrate_at_start": False}
    with pytest.raises(StartupError, match=r"^DATABASE_NOT_MIGRATED: "):
        async with running(tmp_path, chain, changes):
            pass


# ------------------------------------------------------------------------- metrics


@pytest.mark.parametrize(("days", "interval", "rows"), [(3, 0.1, 0), (3, 3_600, 1), (9, 0.1, 1)])
async def test_metrics_retention_days_and_cleanup_interval(
    tmp_path: Path, chain: Chain, days: int, interval: float, rows: int
) -> None:
    """Rows of orders that ended longer ago are removed at the next clean-up."""
    changes = {"metrics.metrics_retention_days": days, "metrics.cleanup_interval": interval}

    def count() -> int:
        return int(sql(tmp_path / "metrics.db", "SELECT count(*) FROM executions")[0][0])

    async with running(tmp_path, chain, changes) as system:
        await ended(system, await system.submit_trading_signal(IMPOSSIBLE))
        await until("there is a row", lambda: count() == 1)
        age(tmp_path / "metrics.db", "executions", days=5)
        if rows == 0:
            await until("it is removed", lambda: count() == 0)
        else:
            await asyncio.sleep(0.6)
            assert count() == 1


# -------------------------------------------------------------- network and sandbox


async def test_a_database_of_another_chain(tmp_path: Path, chain: Chain) -> None:
    """Orders of one chain mean nothing on another: refused, naming both."""
    async with running(tmp_path, chain):
        pass
    with running_chain(tmp_path / "other", "--seed", "8") as other:
        hashes = [each.rpc("getGenesisHash") for each in (chain, other)]
        assert hashes[0] != hashes[1]
        with pytest.raises(StartupError, match=r"^DATABASE_OTHER_CHAIN: ") as refused:
            async with running(tmp_path, other):
                pass
    assert all(each in str(refused.value) for each in hashes)


async def test_network_is_shown_first(tmp_path: Path, chain: Chain) -> None:
    """The status document begins with the network."""
    async with running(tmp_path, chain) as system:
        assert next(iter(status(system).items())) == ("network", "sandbox")


async def test_a_sandbox_of_its_own(tmp_path: Path) -> None:
    """Ledger, file, slot time, seed and keeper are the configured ones; at the end it is gone."""
    changes = {
        "sandbox.ledger": str(tmp_path / "ledger"),
        "sandbox.file": str(tmp_path / "my-sandbox.json"),
        "sandbox.slot_ms": 30,
        "sandbox.seed": 99,
        "sandbox.keeper_volatility_bps": 20,
    }
    async with ExecutionSystem(configure(tmp_path, None, changes)) as system:
        known = json.loads((tmp_path / "my-sandbox.json").read_text())
        assert (known["slot_ms"], known["ledger"]) == (30, str(tmp_path / "ledger"))
        prices = [
            (await ended(system, await system.submit_trading_signal(signal)))["fill"]
            for signal in ({**SELL, "size": "0.001", "client_order_id": f"{n}"} for n in range(3))
        ]
        assert len({fill["quote_amount"] for fill in prices}) > 1, "the keeper moves prices"
    assert not (tmp_path / "my-sandbox.json").exists()


# -------------------------------------------------------------------------- wallet


async def test_keypair_file(tmp_path: Path, chain: Chain) -> None:
    """The key that the file holds signs; one without money has its order fail."""
    key = Keypair()
    file = tmp_path / "key.json"
    file.write_text(json.dumps(list(bytes(key))))
    file.chmod(0o600)
    async with running(tmp_path, chain, {"wallet.keypair_file": str(file)}) as system:
        assert status(system)["wallets"][0]["address"] == str(key.pubkey())
        order = await ended(system, await system.submit_trading_signal(SELL))
        assert (order["status"], order["reason_code"]) == ("failed", "INSUFFICIENT_FUNDS")


async def test_secret_key(tmp_path: Path, chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment may hold the key itself; no document and no log line shows it."""
    secret = str(chain.key)
    monkeypatch.setenv("SYNERGY7_WALLET__SECRET_KEY", secret)
    changes = {"wallet.name": "desk-1", "log.level": "DEBUG"}
    async with running(tmp_path, chain, changes) as system:
        wallet = status(system)["wallets"][0]
        assert (wallet["name"], wallet["address"]) == ("desk-1", chain.wallet)
        order = await ended(system, await system.submit_trading_signal(SELL))
        assert order["status"] == "filled"
        assert secret not in json.dumps([status(system), order])
    assert secret not in (tmp_path / "execution.log").read_text()


@pytest.mark.parametrize(("reserve", "end"), [("0.05", "filled"), ("1000000", "failed")])
async def test_reserve_sol(tmp_path: Path, chain: Chain, reserve: str, end: str) -> None:
    """What is reserved is never traded."""
    async with running(tmp_path, chain, {"wallet.reserve_sol": reserve}) as system:
        order = await ended(system, await system.submit_trading_signal(SELL))
        assert order["status"] == end
        assert order["reason_code"] == (None if end == "filled" else "INSUFFICIENT_FUNDS")


# -------------------------------------------------------------------- fees and log


@pytest.mark.parametrize("price", [0, 1_000_000])
async def test_unit_price_micro_lamports(tmp_path: Path, chain: Chain, price: int) -> None:
    """The priority fee follows the price of a compute unit."""
    changes = {"fees.unit_price_micro_lamports": price, "fees.priority.source": "fixed"}
    async with running(tmp_path, chain, changes) as system:
        order = await ended(system, await system.submit_trading_signal(BUY_BONK))
        assert chain.differences(order) == []
        assert (order["fill"]["fees"]["priority"] == "0") is (price == 0)


@pytest.mark.parametrize(("level", "shown"), [("INFO", True), ("ERROR", False)])
async def test_log_level(tmp_path: Path, chain: Chain, level: str, *, shown: bool) -> None:
    """Lines below the level are not written; the file lies where `log.path` says."""
    path = tmp_path / "elsewhere" / "my.log"
    async with running(tmp_path, chain, {"log.level": level, "log.path": str(path)}) as system:
        await ended(system, await system.submit_trading_signal(SELL))
    assert ("order filled" in path.read_text()) is shown


def log_files(folder: Path) -> list[str]:
    """List the log's files."""
    return sorted(file.name for file in folder.glob("execution.log*"))


@pytest.mark.parametrize("backups", [1, 3])
async def test_log_max_bytes_and_backups(tmp_path: Path, chain: Chain, backups: int) -> None:
    """A file of that size is put aside, and so many of them are kept."""
    changes = {"log.max_bytes": 10_000, "log.backups": backups}
    async with running(tmp_path, chain, changes) as system:
        for number in range(300):
            signal = {**IMPOSSIBLE, "client_order_id": f"log-{number}", "priority": 0}
            await system.submit_trading_signal(signal)
    assert log_files(tmp_path) == [
        "execution.log",
        *(f"execution.log.{n}" for n in range(1, backups + 1)),
    ]
