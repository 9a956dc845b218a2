"""A reconciliation in a world of a test's own, which plays database and chain."""

from typing import Any, cast

from app.engine.ports import Ports
from app.engine.reconciliation import Reconciliation
from app.engine.trading_state import TradingSwitch
from tests.domain import makers
from tests.engine.fakes import FakeTelemetry, FakeTrading


class Clock:
    """A time that stands still."""

    def now_us(self) -> int:
        return makers.NOW

    def monotonic(self) -> float:
        return 0.0


async def work_in(world: object) -> Reconciliation:
    """Reconcile a world."""
    anything = cast("Any", world)
    switch = TradingSwitch(anything, Clock())
    await switch.load()
    return Reconciliation(
        Ports(anything, anything, FakeTrading(), Clock(), FakeTelemetry()),
        anything,
        history=anything,
        reader=anything,
        switch=switch,
        wallets=["main"],
        account="default",
    )
