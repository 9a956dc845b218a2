"""Halted, nothing new is signed and nothing alive is given up; reconciling, no order is touched."""

import asyncio

import pytest

from app.domain.errors import IntakeError, ReasonCode
from app.domain.events import EventKind
from app.domain.order import OrderStatus
from app.engine.resolution import Resolver
from app.engine.store_port import TradingState
from app.engine.trading_state import MarkedWhileRunningError
from tests.domain.makers import S
from tests.engine.rig import Knobs, Rig, World, pass_time, running

pytestmark = pytest.mark.anyio
RECONCILING = TradingState(halted=True, reason="restored", since_us=1, reconciling=True)


async def test_a_halt_keeps_queued_orders_waiting_and_resume_lets_them_go() -> None:
    """Nothing is signed in between, for however long."""
    async with running(Rig()) as rig:
        await rig.switch.halt("wild")
        with pytest.raises(IntakeError) as caught:
            await rig.post()
        assert (caught.value.code, caught.value.retryable) == (ReasonCode.TRADING_HALTED, True)
        assert "wild" in caught.value.what
        await rig.switch.resume()
        order_id = await rig.post()
        await rig.switch.halt(None)
        await pass_time(20)
        assert rig.order(order_id).status is OrderStatus.QUEUED
        assert rig.database.attempts(order_id) == ()
        await rig.switch.resume()
        assert (await rig.ended(order_id)).status is OrderStatus.FILLED


async def test_a_known_key_still_gets_its_order_while_it_is_halted() -> None:
    """A bot that repeats a signal learns what became of it."""
    async with running(Rig()) as rig:
        order_id = await rig.post(client_order_id="mine")
        await rig.switch.halt(None)
        assert await rig.post(client_order_id="mine") == order_id
        with pytest.raises(IntakeError):
            await rig.post(client_order_id="other")


async def test_waiting_orders_end_at_their_deadline_while_it_is_halted() -> None:
    """A halt makes no signal younger."""
    async with running(Rig(Knobs(order_timeout=30))) as rig:
        order_id = await rig.post()
        await rig.switch.halt(None)
        assert (await rig.ended(order_id, 60)).status is OrderStatus.EXPIRED
        assert rig.database.attempts(order_id) == ()


async def test_what_is_alive_is_watched_and_pushed_to_its_end() -> None:
    """Also by the next process: a halt gives no sent bytes up."""
    world = World()
    world.chain.fate = lambda _attempt: None
    rig = Rig(world=world)
    async with running(rig):
        order_id = await rig.post()
        await rig.until(lambda: rig.rpc.pushed)
        await rig.switch.halt(None)
        pushed = len(rig.rpc.pushed)
        await pass_time(10)
        assert len(rig.rpc.pushed) > pushed
    second = Rig(world=world, process="two")
    await second.switch.load()
    async with running(second):
        await second.until(lambda: second.rpc.pushed)
        assert len(world.database.attempts(order_id)) == 1


async def test_a_halt_between_quote_and_store_keeps_the_bytes_back() -> None:
    """Whoever hears of it asks the database itself: the signed bytes are dropped, the order waits."""
    async with running(Rig()) as rig:
        gate = rig.store.script.gate("store_attempt")
        order_id = await rig.post()
        await gate.reached.wait()
        await rig.store.halt("elsewhere", 1)
        gate.opened.set()
        await rig.reaches(order_id, OrderStatus.QUEUED)
        assert rig.database.attempts(order_id) == ()
        assert rig.order(order_id).reason_code is ReasonCode.TRADING_HALTED
        assert rig.rpc.pushed == []


async def test_no_order_is_held_while_the_database_is_reconciled() -> None:
    """Not signed, not pushed, not ended at its deadline, not canceled: the chain decides first."""
    world = World()
    first = Rig(Knobs(order_timeout=30), world=world)
    world.chain.fate = lambda _attempt: None
    async with running(first):
        live = await first.post()
        await first.until(lambda: first.rpc.pushed)
        await first.switch.halt(None)
    waiting = next(iter(world.database.rows))
    world.database.trading = RECONCILING
    rig = Rig(Knobs(order_timeout=30), world=world, process="two")
    await rig.switch.load()
    async with running(rig):
        await pass_time(60)
        assert rig.rpc.pushed == []
        assert rig.order(live).status is OrderStatus.SUBMITTED
        assert world.database.rows[waiting].process is None
        resolver = Resolver(rig.ports, engine=rig.engine, manager=rig.manager)
        word = {"as": "expired", "evidence": "a hunch"}
        for refused in (
            rig.post(),
            rig.manager.cancel("default", live),
            resolver.resolve("default", live, word),
            rig.switch.resume(),
        ):
            with pytest.raises(IntakeError) as caught:
                await refused
            assert caught.value.code is ReasonCode.RECONCILING
        world.database.trading = TradingState(halted=True)
        await rig.switch.look()
        await rig.until(lambda: world.database.rows[live].process == "two")


async def test_a_mark_under_a_running_process_ends_it() -> None:
    """It holds orders that may be touched no more: the next start holds none."""
    rig = Rig()
    await rig.switch.load()
    rig.database.trading = RECONCILING
    for call in (rig.switch.resume, lambda: rig.switch.halt(None)):  # their callers hear why
        with pytest.raises(IntakeError) as caught:
            await call()
        assert caught.value.code is ReasonCode.RECONCILING
    with pytest.raises(MarkedWhileRunningError):
        await rig.switch.look()


async def test_a_halt_by_another_process_is_heard_of_within_a_second() -> None:
    """And told once in the trail."""
    rig = Rig()
    task = asyncio.create_task(rig.switch.run())
    await rig.store.halt("elsewhere", 5 * S)
    await pass_time(1.1)
    assert not rig.switch.may_sign()
    assert rig.switch.reasons() == ["trading is halted: elsewhere"]
    assert rig.switch.document()["since"] == "1970-01-01T00:00:05.000000Z"
    assert rig.database.kinds("") == [EventKind.TRADING_HALTED]
    task.cancel()
