"""Reconciliation goes on whatever it meets: it waits, says so, and begins again from what is stored."""

import asyncio
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from app.domain.errors import IllegalMoveError, ReasonCode, TransientError
from app.engine.reconciliation import Reconciliation
from app.engine.recovery_port import Mark
from app.engine.store_port import TradingState
from tests.engine.rig import Rig, pass_time

pytestmark = pytest.mark.anyio


class Troubled:
    """A store whose mark cannot be taken for some times; then another process has done the work."""

    def __init__(self, rig: Rig, errors: list[Exception]) -> None:
        self.errors = errors
        self.asked_at: list[float] = []
        self._rig = rig

    async def begin(self) -> Mark | None:
        self.asked_at.append(asyncio.get_running_loop().time())
        if self.errors:
            raise self.errors.pop(0)
        self._rig.database.trading = TradingState(halted=True)
        return None


def work_of(rig: Rig, store: Troubled) -> Reconciliation:
    """Reconcile with a store in trouble, which the chain is never reached through."""
    parts = cast("Any", None)
    return Reconciliation(
        rig.ports,
        cast("Any", store),
        history=parts,
        reader=parts,
        switch=rig.switch,
        wallets=["main"],
        account="default",
    )


async def test_a_defect_ends_nothing_and_is_tried_again_ever_more_rarely() -> None:
    """A wait is tried again each second; a defect is a critical line, after which pauses double."""
    rig = Rig()
    rig.database.trading = TradingState(halted=True, reconciling=True)
    await rig.switch.load()
    wait = TransientError(ReasonCode.CHAIN_UNAVAILABLE, "a node lags")
    store = Troubled(rig, [wait, IllegalMoveError("seq"), IndexError("0"), wait])
    work = work_of(rig, store)
    with capture_logs() as lines:
        task = asyncio.create_task(work.run())
        await pass_time(60)
    assert not task.done()
    assert not rig.switch.state.reconciling
    begun = store.asked_at[0]
    assert [round(at - begun) for at in store.asked_at] == [0, 1, 3, 7, 11]
    told = [
        (each["log_level"], each["event"]) for each in lines if "reconciliation" in each["event"]
    ]
    waits = ("warning", "reconciliation has to wait")
    defect = ("critical", "reconciliation met a defect")
    assert told == [waits, defect, defect, waits]
    task.cancel()


async def test_what_stands_in_the_way_is_told_and_forgotten() -> None:
    """Readiness names it, a defect included; while blocks are waited for it counts those."""
    rig = Rig()
    rig.database.trading = TradingState(halted=True, reconciling=True)
    await rig.switch.load()
    store = Troubled(
        rig, [TransientError(ReasonCode.CHAIN_UNAVAILABLE, "a node lags"), IndexError()]
    )
    work = work_of(rig, store)
    rig.switch.blocks_left, rig.switch.hindrance = work.blocks_left, work.hindrance
    task = asyncio.create_task(work.run())
    await pass_time(0.5)
    reconciled = "the database is being reconciled with the chain"
    assert rig.switch.reasons() == [f"{reconciled}, which has to wait: a node lags"]
    await pass_time(1)
    assert rig.switch.reasons() == [f"{reconciled}, which has to wait: a defect, see the log"]
    rig.switch.blocks_left = lambda: 12
    assert rig.switch.reasons() == [f"{reconciled}, 12 blocks must be finalized before"]
    task.cancel()
