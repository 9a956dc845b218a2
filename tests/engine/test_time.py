"""An order's time, judged at every step: also by a clock that is set forward and back meanwhile."""

import asyncio
import random

import pytest

from app.domain.errors import ReasonCode
from app.domain.order import OrderStatus
from app.engine.held import Held
from app.engine.order_time import OrderTime
from tests.domain.makers import S
from tests.engine.fakes import ManualClock
from tests.engine.rig import Knobs, Rig, pass_time, running

pytestmark = pytest.mark.anyio

HOUR_US = 3_600 * S
STEPS = ("quote", "draft", "simulate", "blockhash", "sign", "balances")
"""What is awaited before STORE, in this order."""


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    ("knobs", "valid_for", "code"),
    [
        (Knobs(), 20, ReasonCode.SIGNAL_STALE),
        (Knobs(order_timeout=20), 300, ReasonCode.ORDER_TIMEOUT),
        (Knobs(order_timeout=20), None, ReasonCode.ORDER_TIMEOUT),
    ],
)
async def test_time_that_runs_out_during_any_step_is_seen_before_the_next(
    step: str, knobs: Knobs, valid_for: int | None, code: ReasonCode
) -> None:
    """However late: nothing is signed, or what is signed is not stored; the code tells whose time it was."""
    async with running(Rig(knobs)) as rig:
        script = rig.chain.script if step in ("simulate", "blockhash") else rig.trading.script
        gate = script.gate(step, after=True)
        order_id = await rig.post(**({} if valid_for is None else {"valid_for": valid_for}))
        await gate.reached.wait()
        rig.clock.skew_us += 20 * S
        gate.opened.set()
        order = await rig.ended(order_id)
        assert (order.status, order.reason_code) == (OrderStatus.EXPIRED, code)
        assert rig.database.attempts(order_id) == ()
        assert len(rig.trading.signed) == (1 if step in ("sign", "balances") else 0)


async def test_a_signal_counts_from_its_own_time() -> None:
    """`signal_time` lies 15 s back: five seconds of its twenty are left, and they pass."""
    async with running(Rig()) as rig:
        gate = rig.chain.script.gate("simulate")
        order_id = await rig.post(valid_for=20, signal_time="2026-01-31T11:59:45Z")
        await gate.reached.wait()
        await pass_time(5)
        gate.opened.set()
        order = await rig.ended(order_id)
        assert order.reason_code is ReasonCode.SIGNAL_STALE
        assert rig.trading.signed == []


async def test_a_clock_set_back_during_a_pass_gives_no_more_time() -> None:
    """Twenty seconds pass at the simulation while the clock is set back an hour: nothing is signed."""
    async with running(Rig()) as rig:
        gate = rig.chain.script.gate("simulate")
        order_id = await rig.post(valid_for=20)
        await gate.reached.wait()
        rig.clock.skew_us -= HOUR_US
        await pass_time(20)
        gate.opened.set()
        order = await rig.ended(order_id)
        assert (order.status, order.reason_code) == (OrderStatus.EXPIRED, ReasonCode.SIGNAL_STALE)
        assert rig.trading.signed == []


async def test_what_was_claimed_as_overdue_is_ended_whatever_the_clock_says_then() -> None:
    """It has no slot, and may wait its turn in a sequence: set back, the clock must not get it signed."""
    rig = Rig(Knobs(order_timeout=20))
    rig.rpc.admitting = False
    async with running(rig):
        order_id = await rig.post()
        await pass_time(18)
        await rig.until(lambda: rig.store.script.calls[-1] != "claim_overdue")
        rig.clock.skew_us += 20 * S
        gate = rig.store.script.gate("claim_overdue", after=True)
        await gate.reached.wait()
        await rig.until(lambda: rig.order(order_id).status is OrderStatus.EXECUTING)
        rig.rpc.admitting = True
        rig.clock.skew_us -= HOUR_US
        gate.opened.set()
        order = await rig.ended(order_id)
        assert order.reason_code is ReasonCode.ORDER_TIMEOUT
        assert rig.trading.signed == []


async def test_nothing_is_pushed_again_when_the_clock_is_set_back_past_the_deadline() -> None:
    """The pushes of a live attempt end with the order's time, and do not begin anew."""
    async with running(Rig(Knobs(order_timeout=20))) as rig:
        rig.chain.fate = lambda _attempt: None
        order_id = await rig.post()
        await rig.until(lambda: rig.rpc.pushed)
        await rig.until(lambda: rig.clock.now_us() >= rig.order(order_id).deadline_us)
        await pass_time(1)
        pushed = len(rig.rpc.pushed)
        rig.clock.skew_us -= HOUR_US
        await pass_time(5)
        assert len(rig.rpc.pushed) == pushed


class Judge:
    """Looks at the clocks whenever something is signed, while the wall clock jumps at every step."""

    def __init__(self, seed: int) -> None:
        self.rig = Rig(Knobs(order_timeout=60, execution_timeout=90, max_retries=1))
        self.chance = random.Random(seed)
        self.breaches: list[str] = []
        self.signed = 0
        self._claims: dict[str, tuple[float, int]] = {}
        self._take = self.rig.engine._take  # noqa: SLF001 - the moment of the claim
        self.rig.engine._take = self.take  # type: ignore[method-assign]  # noqa: SLF001
        self.rig.trading.judge = self.judge
        self.rig.trading.script.pace = self.rig.chain.script.pace = self.pace

    async def pace(self, _name: str) -> None:
        jumps = (0, 0, 0, 0, -HOUR_US, -5 * S, 5 * S, 15 * S)
        self.rig.clock.skew_us = self.chance.choice(jumps)
        await asyncio.sleep(self.chance.choice((0, 0, 0.5, 2)))

    def take(self, held: Held) -> None:
        left_us = held.view.order.deadline_us - held.time.now_us()
        self._claims[held.order_id] = self.rig.clock.monotonic(), left_us
        self._take(held)

    def judge(self, order_id: str) -> None:
        self.signed += 1
        at, left_us = self._claims[order_id]
        if self.rig.clock.now_us() >= self.rig.order(order_id).deadline_us:
            self.breaches.append(f"{order_id} is signed after its deadline")
        if (self.rig.clock.monotonic() - at) * S >= left_us:
            self.breaches.append(f"{order_id} is signed with more time than was left")


async def test_whatever_the_clock_does_nothing_is_signed_too_late() -> None:
    """Neither by the wall clock at that moment, nor beyond what was left at the claim."""
    signed = 0
    for seed in range(40):
        judge = Judge(seed)
        async with running(judge.rig) as rig:
            ids = [await rig.post(valid_for=seconds) for seconds in (300, 45, 30, 25)]
            for order_id in ids:
                await rig.ended(order_id, 3 * 3_600)
        assert not judge.breaches, f"seed {seed}"
        signed += judge.signed
    assert signed > 40


async def test_time_follows_forward_and_never_back() -> None:
    """It is the wall clock's, or what the monotonic one makes of the latest it saw."""
    clock = ManualClock()
    start = clock.now_us()
    time = OrderTime(clock)
    clock.skew_us = -HOUR_US
    assert time.now_us() == start
    await pass_time(2)
    assert time.now_us() == start + 2 * S
    clock.skew_us = HOUR_US
    assert time.now_us() == start + HOUR_US + 2 * S
    clock.skew_us = 0
    await pass_time(1)
    assert time.now_us() == start + HOUR_US + 3 * S
