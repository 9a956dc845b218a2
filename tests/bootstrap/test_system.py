"""ExecutionSystem: used from Python, opened and closed in order, however often it is asked."""

import asyncio
import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from app.bootstrap import ExecutionSystem
from app.domain.errors import IntakeError, ReasonCode, SignalError
from app.domain.order import OrderStatus
from app.engine.lease import LeaseLostError
from tests.integration.chain import Chain
from tests.integration.kit import ONE_NODE, SELL, configure, ended, running, status, until

pytestmark = pytest.mark.anyio
SEED = {"action": "SELL", "market": "SOL-USDC", "size": 0.01, "price": 180.0, "confidence": 0.8}


async def test_it_is_opened_started_and_stopped_in_order(tmp_path: Path, chain: Chain) -> None:
    """`initialize` accepts signals, `start` executes them, `stop` closes; each again does nothing."""
    system = ExecutionSystem(configure(tmp_path, chain, {}))
    assert not system.opened
    with pytest.raises(RuntimeError, match="not initialized"):
        system.get_system_status()
    await system.initialize()
    parts = system.parts
    await system.initialize()
    assert system.parts is parts
    order_id = await system.submit_trading_signal(SELL)
    assert await system.wait_for_order(order_id, 0.3) is OrderStatus.QUEUED
    await system.start()
    await system.start()
    assert await system.wait_for_order(order_id, 15) is OrderStatus.FILLED
    await system.stop()
    await system.stop()
    assert not system.opened
    with pytest.raises(RuntimeError, match="not initialized"):
        await system.submit_trading_signal(SELL)


async def test_it_may_be_opened_again(tmp_path: Path, chain: Chain) -> None:
    """The same object, after its end: orders are where they were."""
    system = ExecutionSystem(configure(tmp_path, chain, {}))
    async with system:
        order_id = await system.submit_trading_signal(SELL)
        await ended(system, order_id)
    async with system:
        assert (await ended(system, order_id))["status"] == "filled"
        again = await system.submit_trading_signal({**SELL, "client_order_id": "again"})
        assert (await ended(system, again))["status"] == "filled"


async def test_stopped_without_a_start_it_closes(tmp_path: Path, chain: Chain) -> None:
    """Nothing is drained that never ran; the database is free again."""
    system = ExecutionSystem(configure(tmp_path, chain, {}))
    await system.initialize()
    await system.stop()
    async with running(tmp_path, chain):
        pass


async def test_a_start_that_fails_closes_what_was_opened(tmp_path: Path, chain: Chain) -> None:
    """The database has forgotten the process before it began: it gives everything back."""
    system = ExecutionSystem(configure(tmp_path, chain, {}))
    await system.initialize()
    with closing(sqlite3.connect(tmp_path / "orders.db")) as connection, connection:
        connection.execute("DELETE FROM processes")
    with pytest.raises(LeaseLostError):
        async with system:
            pass
    assert not system.opened
    async with running(tmp_path, chain):
        pass


async def test_floats_are_the_decimals_they_are_written_as(tmp_path: Path, chain: Chain) -> None:
    """The seed's snippet posts 0.01 and 180.0: exactly these are traded, nested ones too."""
    async with running(tmp_path, chain) as system:
        signal = {**SEED, "metadata": {"ema": 0.1, "path": [0.2, (0.3,)]}}
        order = await ended(system, await system.submit_trading_signal(signal))
        assert (order["status"], order["size"], order["price"]) == ("filled", "0.01", "180")
        assert Decimal(order["confidence"]) == Decimal("0.8")
        assert chain.differences(order) == []


async def test_what_is_no_signal_raises(tmp_path: Path, chain: Chain) -> None:
    """Nothing is stored, and the code says why; an order nobody knows is None."""
    async with running(tmp_path, chain) as system:
        with pytest.raises(SignalError) as error:
            await system.submit_trading_signal({**SELL, "size": -1})
        assert error.value.code is ReasonCode.SIZE_NOT_POSITIVE
        with pytest.raises(SignalError):
            await system.submit_trading_signal({**SELL, "size": float("nan")})
        assert await system.get_order_status("0199c0de-0000-7000-8000-000000000001") is None
        assert await system.wait_for_order("0199c0de-0000-7000-8000-000000000001", 1) is None


async def test_a_market_that_is_no_longer_configured(tmp_path: Path, chain: Chain) -> None:
    """Its orders are still shown, with amounts that nobody can express left out."""
    async with running(tmp_path, chain) as system:
        order_id = await system.submit_trading_signal(SELL)
        await ended(system, order_id)
    settings = configure(tmp_path, chain, {})
    fewer = {name: entry for name, entry in settings.markets.items() if name != "SOL-USDC"}
    async with ExecutionSystem(settings.model_copy(update={"markets": fewer})) as system:
        order = await ended(system, order_id)
        assert (order["status"], order["market"], order["size"]) == ("filled", "SOL-USDC", None)


async def test_signals_are_refused_while_it_stops(tmp_path: Path, chain: Chain) -> None:
    """During the drain nothing new is taken in, and who asks is told to come back."""
    changes = {**ONE_NODE, "execution.push_timeout": 30, "execution.drain_timeout": 1}
    system = ExecutionSystem(configure(tmp_path, chain, changes))
    await system.initialize()
    await system.start()
    manager = system.parts.manager
    chain.fault("hang", "sendTransaction")
    await system.submit_trading_signal(SELL)
    await until("the push hangs", lambda: chain.hits() == 1)
    stopping = asyncio.create_task(system.stop())
    await asyncio.sleep(0.1)
    with pytest.raises(IntakeError) as refused:
        await manager.submit({**SELL, "client_order_id": "late"})
    assert refused.value.code is ReasonCode.SHUTTING_DOWN
    await stopping


async def test_a_dead_task_is_told_once(tmp_path: Path, chain: Chain) -> None:
    """Who runs the system is given the task's name, `failure` keeps it, readiness says it."""
    told: list[str] = []
    system = ExecutionSystem(configure(tmp_path, chain, {}), on_failure=told.append)
    async with system:

        async def break_down() -> None:
            raise RuntimeError("a defect")

        system.parts.supervisor.start("fragile", break_down())
        system.parts.supervisor.start("fragile-2", break_down())
        await until("it is told", lambda: bool(told))
        assert (told, system.failure) == (["fragile"], "fragile")
        reasons = system.parts.report.readiness()
        assert reasons[0] == "the task fragile has died, the service is stopping"
        assert status(system)["ready"] is False


async def test_without_settings_those_of_the_folder_are_taken(
    tmp_path: Path, chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ExecutionSystem()` reads config.yaml and the environment when it is initialized."""
    configure(tmp_path, chain, {"wallet.name": "from-the-file"})
    monkeypatch.chdir(tmp_path)
    async with ExecutionSystem() as system:
        assert status(system)["wallets"][0]["name"] == "from-the-file"
