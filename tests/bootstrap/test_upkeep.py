"""Background work: it waits for what is away, and says so."""

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import pytest

from app.bootstrap import ExecutionSystem
from tests.integration.chain import Chain
from tests.integration.kit import SELL, configure, ended, endpoint, status, until

pytestmark = pytest.mark.anyio
OLD_US = 86_400_000_000 * 30


async def test_the_balance_is_shown_as_soon_as_it_can_be_read(tmp_path: Path, chain: Chain) -> None:
    """Before that `/status` says null, never nought."""
    chain.fault("http_5xx", "getMultipleAccounts")
    changes = endpoint(chain)
    async with ExecutionSystem(configure(tmp_path, chain, changes)) as system:
        assert status(system)["wallets"][0]["balance_sol"] is None
        await until("it is asked for", lambda: chain.hits() > 0)
        chain.clear()
        await until(
            "the balance is shown", lambda: status(system)["wallets"][0]["balance_sol"] is not None
        )
        lamports = status(system)["wallets"][0]["balance_lamports"]
        assert lamports == chain.rpc("getBalance", chain.wallet)["value"]


async def test_a_chain_that_turns_out_to_be_another_ends_the_service(
    tmp_path: Path, chain: Chain
) -> None:
    """It was out of reach at the start; once it says its name, a wrong one is not traded on."""
    told: list[str] = []
    async with ExecutionSystem(configure(tmp_path, chain, {})):
        pass
    with contextlib.closing(sqlite3.connect(tmp_path / "orders.db")) as connection, connection:
        connection.execute("UPDATE meta SET value = 'another' WHERE name = 'genesis_hash'")
    chain.fault("http_5xx", "getGenesisHash")
    settings = configure(tmp_path, chain, endpoint(chain))
    async with ExecutionSystem(settings, on_failure=told.append) as system:
        order_id = await system.submit_trading_signal(SELL)
        chain.clear()
        await until("it is told", lambda: bool(told))
        assert told == ["chain"]
        document = await system.get_order_status(order_id)
        assert document is not None
        assert document["attempts"] == []
    assert "DATABASE_OTHER_CHAIN" in (tmp_path / "execution.log").read_text()


def told_of_database(log: str) -> bool:
    """Find the line that says that the database keeps the chain from being known."""
    waits = (line for line in log.splitlines() if "orders wait" in line)
    return any("the database" in line for line in waits)


async def test_a_database_that_is_locked_when_the_chain_comes_back_ends_nothing(
    tmp_path: Path, chain: Chain
) -> None:
    """The chain is bound to the orders as soon as that can be written; readiness says what is amiss."""
    told: list[str] = []
    chain.fault("http_5xx", "getGenesisHash")
    settings = configure(tmp_path, chain, endpoint(chain))
    async with ExecutionSystem(settings, on_failure=told.append) as system:
        path = tmp_path / "orders.db"
        log = tmp_path / "execution.log"
        with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=5)) as lock:
            lock.execute("BEGIN IMMEDIATE")
            chain.clear()
            await until("it is told", lambda: told_of_database(log.read_text()), 30)
            lock.execute("COMMIT")
        order_id = await system.submit_trading_signal(SELL)
        await ended(system, order_id)
        assert told == []


async def test_a_clean_up_that_has_to_wait_is_done_later(tmp_path: Path, chain: Chain) -> None:
    """The database is locked when its time comes: a warning, and the next one removes the order."""
    changes = {
        "order_management.retention_days": 1,
        "order_management.cleanup_interval": 0.2,
        "order_management.max_history_size": 0,
    }
    async with ExecutionSystem(configure(tmp_path, chain, changes)) as system:
        order_id = await system.submit_trading_signal({**SELL, "price": "1000000"})
        await ended(system, order_id)
        path = tmp_path / "orders.db"
        with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=5)) as lock:
            lock.execute("BEGIN IMMEDIATE")
            lock.execute("UPDATE orders SET ended_at_us = ended_at_us - ?", (OLD_US,))
            log = tmp_path / "execution.log"
            await until("it has to wait", lambda: "clean-up has to wait" in log.read_text(), 30)
            lock.execute("COMMIT")

        async def gone() -> bool:
            return await system.get_order_status(order_id) is None

        await until("it is removed", gone)
        await asyncio.sleep(0)
