"""A database that lost commits is completed from the chain, and nothing is executed twice."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from app.bootstrap import ExecutionSystem
from app.database.addresses import address_of
from app.database.backup import back_up, mark_database, restore
from app.domain.errors import IntakeError, ReasonCode
from app.domain.events import EventKind
from app.engine.ports import Accepted
from tests.database.conftest import Server, administer
from tests.database.conftest import server as postgres
from tests.integration.chain import Chain
from tests.integration.kit import ONE_NODE, SELL, configure, document, ended, trail, until

__all__ = ["postgres"]
pytestmark = pytest.mark.anyio
PAST_LIFE_SLOTS = 400


async def post(system: ExecutionSystem, key: str, **fields: object) -> Accepted:
    """Post a signal under a key."""
    return await system.parts.manager.submit({**SELL, **fields}, idempotency_key=key)


async def filled(system: ExecutionSystem, key: str, **fields: object) -> str:
    """Post a signal and wait for its fill; gives the order's id."""
    order_id = (await post(system, key, **fields)).order.order_id
    assert (await ended(system, order_id))["status"] == "filled"
    return order_id


async def reconciled(system: ExecutionSystem, chain: Chain) -> dict[str, Any]:
    """Let blocks pass until the database agrees with the chain; gives the counts."""
    switch = system.parts.switch
    await until("the height is noted", lambda: switch.blocks_left() is not None)
    chain.step(PAST_LIFE_SLOTS)
    await until("it is reconciled", lambda: not switch.state.reconciling)

    async def told() -> bool:
        return any(event.kind is EventKind.DATABASE_RECONCILED for event in await trail(system))

    await until("that is sealed", told)
    events = await trail(system)
    (told_last,) = [e for e in events if e.kind is EventKind.DATABASE_RECONCILED][-1:]
    return dict(told_last.data)


async def test_what_a_restored_backup_lacks_comes_back_from_the_chain(
    tmp_path: Path, chain: Chain
) -> None:
    """A fill that it knows, an order that was queued in it, an order that it never saw: each once."""
    database, copy = tmp_path / "orders.db", tmp_path / "copy.db"
    settings = configure(tmp_path, chain, ONE_NODE)
    async with ExecutionSystem(settings) as system:
        known = await filled(system, "known")
    system = ExecutionSystem(settings)
    await system.initialize()  # accepts, and executes nothing yet
    queued = (await post(system, "queued")).order.order_id
    back_up(database, copy)
    async with system:
        assert (await ended(system, queued))["status"] == "filled"
        lost = await filled(system, "lost", size="0.02")
        failed = await post(system, "lost by client id", client_order_id="mine")
        both = await ended(system, failed.order.order_id)
        before = [await document(system, each) for each in (known, queued, lost)]
    restore(copy, database)

    async with ExecutionSystem(settings) as system:
        with pytest.raises(IntakeError) as caught:
            await post(system, "lost", size="0.02")
        assert caught.value.code is ReasonCode.RECONCILING
        with pytest.raises(IntakeError):
            await system.parts.switch.resume()
        counts = await reconciled(system, chain)
        assert counts["orders"] >= 2, "those of other tests on this chain come too"
        assert (counts["attempts"], counts["contradictions"]) == (1, 0)
        for each, told in zip((known, queued, lost), before, strict=True):
            now = await ended(system, each)
            assert (now["status"], now["fill"]) == (told["status"], told["fill"])
            assert chain.differences(now) == []
        again = await post(system, "lost", size="0.02")
        assert (again.replayed, again.order.order_id) == (True, lost)
        assert (await post(system, "lost by client id")).order.order_id == both["order_id"]
        with pytest.raises(IntakeError) as caught:
            await post(system, "new")
        assert caught.value.code is ReasonCode.TRADING_HALTED
        await system.parts.switch.resume()
        new = await filled(system, "new")
    assert chain.executions(known, queued, lost, both["order_id"], new) == [1, 1, 1, 1, 1]


async def test_a_failure_and_a_denied_execution_are_told_and_nothing_is_made_up(
    tmp_path: Path, chain: Chain
) -> None:
    """A copy that ran on without being reconciled: its order expired, and the chain has executed it."""
    database, copy = tmp_path / "orders.db", tmp_path / "copy.db"
    settings = configure(tmp_path, chain, {**ONE_NODE, "execution.max_retries": 0})
    system = ExecutionSystem(settings)
    await system.initialize()
    denied = (await post(system, "denied")).order.order_id
    copied_us = time.time_ns() // 1_000
    back_up(database, copy)
    async with system:
        assert (await ended(system, denied))["status"] == "filled"
    restore(copy, database)
    forget_the_mark(database)
    async with ExecutionSystem(settings) as system:
        await system.parts.switch.halt("before it is noticed")
    end_order(database, denied)
    await mark_database(address_of(str(database)), since_us=copied_us)
    async with ExecutionSystem(settings) as system:
        counts = await reconciled(system, chain)
        assert (counts["contradictions"], counts["attempts"]) == (1, 0)
        now = await document(system, denied)
        assert now["status"] == "expired"
        assert "contradicted by the chain" in now["reason"]
        kinds = [event.kind for event in await trail(system, denied)]
        assert EventKind.CONTRADICTED in kinds
        again = await post(system, "denied")
        assert (again.replayed, again.order.order_id) == (True, denied)
    assert chain.executions(denied) == [1]


def forget_the_mark(database: Path) -> None:
    """Run on as nobody should."""
    with closing(sqlite3.connect(database)) as conn:
        conn.execute("DELETE FROM meta WHERE name IN ('database.reconciling', 'trading.halted')")
        conn.execute("UPDATE orders SET next_attempt_at_us = 9223372036854775807")
        conn.commit()


def end_order(database: Path, order_id: str) -> None:
    """End an order as its deadline does."""
    with closing(sqlite3.connect(database)) as conn:
        conn.execute(
            "UPDATE orders SET status = 'expired', reason_code = 'ORDER_TIMEOUT', "
            "reason = 'the time ran out', ended_at_us = 1 WHERE order_id = ?",
            [order_id],
        )
        conn.commit()


@pytest.mark.postgres
async def test_a_restored_postgresql_is_completed_too(
    tmp_path: Path, chain: Chain, postgres: Server
) -> None:
    """A copy of an earlier moment under another name, as `pg_restore` makes it, then `reconcile`."""
    url = await postgres.database()
    changes = {**ONE_NODE, "order_management.database_url": url}
    system = ExecutionSystem(configure(tmp_path, chain, changes))
    await system.initialize()
    queued = (await post(system, "pg queued")).order.order_id
    copied_us = time.time_ns() // 1_000
    await system.stop()
    name = make_url(url).database
    await administer(postgres.url, f"CREATE DATABASE {name}_copy TEMPLATE {name}")
    async with ExecutionSystem(configure(tmp_path, chain, changes)) as system:
        assert (await ended(system, queued))["status"] == "filled"
        lost = await filled(system, "pg lost")
    restored = postgres.url_of(f"{name}_copy")
    await mark_database(address_of(restored), since_us=copied_us)
    changes["order_management.database_url"] = restored
    async with ExecutionSystem(configure(tmp_path, chain, changes)) as system:
        counts = await reconciled(system, chain)
        assert counts["orders"] >= 1
        assert counts["attempts"] == 1
        for order_id, key in ((queued, "pg queued"), (lost, "pg lost")):
            again = await post(system, key)
            assert (again.replayed, again.order.order_id) == (True, order_id)
            now = await ended(system, order_id)
            assert now["status"] == "filled"
            assert chain.differences(now) == []
        await system.parts.switch.resume()
        new = await filled(system, "pg new")
    assert chain.executions(queued, lost, new) == [1, 1, 1]
