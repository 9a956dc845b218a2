"""Every wait made to hang, one by one: nothing hangs for ever, and nothing is executed twice."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from app.bootstrap import ExecutionSystem
from tests.integration.chain import Chain
from tests.integration.kit import (
    BUY_BONK,
    ONE_NODE,
    SELL,
    comes_to,
    configure,
    document,
    ended,
    endpoint,
    running,
    submitted,
    until,
)

pytestmark = pytest.mark.anyio
SHORT_WAITS = {
    "solana.request_timeout": 0.3,
    "execution.push_timeout": 0.3,
    "execution.execution_timeout": 2,
}
SHORT_LIVES = {"execution.transaction_timeout": 1.2}
SIGNALS = (SELL, BUY_BONK, {"action": "SELL", "market": "RAY-SOL", "size": "1"})
STOP_SECONDS = 3.0
LOCKED_STOP_SECONDS = 25.0
"""The drain, the giving back, and one last write that is given up after 15 s."""


async def end_well(system: ExecutionSystem, chain: Chain, ids: list[str]) -> None:
    """Claim that all orders fill, each executed once and told as the chain has it."""
    for order_id in ids:
        order = await ended(system, order_id)
        assert order["status"] == "filled", order
        assert chain.differences(order) == []
    assert chain.executions(*ids) == [1] * len(ids)


@pytest.mark.parametrize(
    "rpc_method",
    [
        "sendTransaction",
        "simulateTransaction",
        "getSignatureStatuses",
        "getTransaction",
        "getLatestBlockhash",
        "getEpochInfo",
        "getMultipleAccounts",
    ],
)
async def test_a_call_that_never_answers(tmp_path: Path, chain: Chain, rpc_method: str) -> None:
    """The call is given up and made again, as often as it takes; then every order fills."""
    changes = {**ONE_NODE, **SHORT_WAITS}
    async with running(tmp_path, chain, changes) as system:
        chain.fault("hang", rpc_method)
        ids = [await system.submit_trading_signal(signal) for signal in SIGNALS]
        await until(f"{rpc_method} hangs", lambda: chain.hits() >= len(SIGNALS))
        chain.clear()
        await end_well(system, chain, ids)


async def test_a_proof_that_never_answers_leaves_the_order_in_doubt(
    tmp_path: Path, chain: Chain
) -> None:
    """No proof, no new attempt, however long: once it comes, the order goes on."""
    changes = {**ONE_NODE, **SHORT_WAITS, **SHORT_LIVES}
    async with running(tmp_path, chain, changes) as system:
        chain.fault("hang", "minimumLedgerSlot")
        chain.fault("accept_then_drop", "sendTransaction")
        order_id = await system.submit_trading_signal(SELL)
        seen = await comes_to(system, order_id, "doubt", lambda it: bool(it["in_doubt_since"]))
        assert (seen["status"], len(seen["attempts"])) == ("submitted", 1)
        chain.clear()
        await end_well(system, chain, [order_id])


async def test_a_chain_that_does_not_say_which_it_is(tmp_path: Path, chain: Chain) -> None:
    """Until the genesis hash is known orders are accepted and none is signed."""
    chain.fault("hang", "getGenesisHash")
    changes = {**SHORT_WAITS, **endpoint(chain)}
    async with ExecutionSystem(configure(tmp_path, chain, changes)) as system:
        order_id = await system.submit_trading_signal(SELL)
        await until("it asks again", lambda: chain.hits() >= 2)
        assert list(system.parts.report.readiness())
        assert (await document(system, order_id))["status"] == "queued"
        chain.clear()
        await end_well(system, chain, [order_id])
        assert list(system.parts.report.readiness()) == []


@pytest.mark.parametrize(
    ("kind", "rpc_method"),
    [
        ("ws_silent", None),
        ("hang", "signatureSubscribe"),
        ("drop", "signatureSubscribe"),
    ],
)
async def test_a_websocket_that_says_nothing(
    tmp_path: Path, chain: Chain, kind: str, rpc_method: str | None
) -> None:
    """Notices only accelerate: without them the status poll sees the landing."""
    loop = asyncio.get_running_loop()
    async with running(tmp_path, chain) as system:
        chain.fault(kind, rpc_method)
        ids = [await system.submit_trading_signal(signal) for signal in SIGNALS]
        await end_well(system, chain, ids)
        before = loop.time()
    assert loop.time() - before < STOP_SECONDS


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the database's write lock from another connection."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


async def test_a_database_that_another_one_has_locked(tmp_path: Path, chain: Chain) -> None:
    """Orders under way wait, a lease that lapses is said; afterwards everything goes on."""
    async with running(tmp_path, chain) as system:
        chain.fault("null_status")
        first = await system.submit_trading_signal(SELL)
        await submitted(system, first)
        with locked(tmp_path / "orders.db"):
            chain.clear()
            waiting = asyncio.create_task(system.submit_trading_signal(BUY_BONK))
            await until(
                "the lease is missed",
                lambda: any("lease" in reason for reason in system.parts.report.readiness()),
            )
            assert not waiting.done()
        await end_well(system, chain, [first, await waiting])
        await until("it is ready", lambda: not system.parts.report.readiness())


async def test_a_locked_metrics_database_holds_up_no_order(tmp_path: Path, chain: Chain) -> None:
    """Metrics are derived: they are late, and complete once the lock is gone."""
    async with running(tmp_path, chain) as system:
        with locked(tmp_path / "metrics.db"):
            ids = [await system.submit_trading_signal(signal) for signal in SIGNALS]
            await end_well(system, chain, ids)

        def rows() -> int:
            with closing(sqlite3.connect(tmp_path / "metrics.db")) as connection:
                (count,) = connection.execute("SELECT count(*) FROM executions").fetchone()
            return int(count)

        await until("the metrics are complete", lambda: rows() == len(ids), 40)


async def test_a_log_folder_that_cannot_be_written(
    tmp_path: Path, chain: Chain, capfd: pytest.CaptureFixture[str]
) -> None:
    """It costs the log file and is a warning on the console: no order waits for it."""
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "execution.log"
    async with running(tmp_path, chain, {"log.path": str(path)}) as system:
        ids = [await system.submit_trading_signal(signal) for signal in SIGNALS]
        await end_well(system, chain, ids)
    console = capfd.readouterr().err
    assert "the log file cannot be written" in console
    assert "order filled" in console


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
async def test_a_disk_that_is_full(
    tmp_path: Path, chain: Chain, capfd: pytest.CaptureFixture[str]
) -> None:
    """Lines that cannot be written are lost to the file, said once, and hold up nothing."""
    (tmp_path / "execution.log").symlink_to("/dev/full")
    async with running(tmp_path, chain) as system:
        ids = [await system.submit_trading_signal(signal) for signal in SIGNALS]
        await end_well(system, chain, ids)
    console = capfd.readouterr().err
    assert console.count("cannot be written: No space left on device") == 1
    assert console.count("order filled") == len(ids)


async def test_a_push_that_hangs_does_not_hold_up_the_end(tmp_path: Path, chain: Chain) -> None:
    """The end comes within its limit; the attempt stays stored, and the next start fills it once."""
    limits = {**ONE_NODE, "execution.push_timeout": 60, "execution.drain_timeout": 0.5}
    loop = asyncio.get_running_loop()
    async with running(tmp_path, chain, limits) as system:
        chain.fault("hang", "sendTransaction")
        ids = [await system.submit_trading_signal(signal) for signal in SIGNALS]
        await until("pushes hang", lambda: chain.hits() == len(ids))
        before = loop.time()
    assert loop.time() - before < STOP_SECONDS
    chain.clear()
    async with running(tmp_path, chain) as system:
        await end_well(system, chain, ids)


async def test_a_locked_database_does_not_hold_up_the_end(tmp_path: Path, chain: Chain) -> None:
    """What cannot be given back is left for the next start, which executes it once."""
    limits = {"execution.drain_timeout": 0.5}
    loop = asyncio.get_running_loop()
    chain.fault("null_status")
    system = ExecutionSystem(configure(tmp_path, chain, limits))
    await system.initialize()
    await system.start()
    ids = [await system.submit_trading_signal(signal) for signal in SIGNALS]
    for order_id in ids:
        await submitted(system, order_id)
    with locked(tmp_path / "orders.db"):
        before = loop.time()
        await system.stop()
    assert loop.time() - before < LOCKED_STOP_SECONDS
    chain.clear()
    async with running(tmp_path, chain) as system:
        await end_well(system, chain, ids)


async def test_the_log_tells_of_a_heartbeat_that_failed(tmp_path: Path, chain: Chain) -> None:
    """A wait that was cut off is a line in the log, not a silence."""
    log = tmp_path / "execution.log"
    async with running(tmp_path, chain):
        with locked(tmp_path / "orders.db"):
            await until(
                "it is logged", lambda: '"event": "the heartbeat failed"' in log.read_text()
            )
