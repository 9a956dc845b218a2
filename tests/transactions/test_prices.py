"""The going price is asked for ahead, once for all, and never waited for long."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from app.transactions.prices import (
    PRICE_KEPT_SECONDS,
    PRICE_SECONDS,
    PRICE_WAIT_SECONDS,
    PriceSource,
    UnitPrices,
)
from tests.transactions.kit import ManualClock

POOL, OTHER = ("pool", "vault"), ("other",)
pytestmark = pytest.mark.anyio


@dataclass
class Source:
    """Answers with what a test sets, when it lets the answer go."""

    price: int | None = 70_000
    asked: list[tuple[str, ...]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    arrivals: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    stopped: int = 0

    def __post_init__(self) -> None:
        self.gate.set()

    async def unit_price(self, accounts: Sequence[str]) -> int | None:
        self.asked.append(tuple(accounts))
        self.arrivals.release()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.stopped += 1
            raise
        return self.price


def opened(
    source: PriceSource | None, *, wait_seconds: float = PRICE_WAIT_SECONDS, read_seconds: float = 2
) -> tuple[UnitPrices, ManualClock]:
    """Open the figures on a clock that a test turns."""
    clock = ManualClock()
    prices = UnitPrices(
        source, clock.monotonic, wait_seconds=wait_seconds, read_seconds=read_seconds
    )
    return prices, clock


async def test_without_a_source_nothing_is_known() -> None:
    """The configured price is then the price."""
    prices, _ = opened(None)
    prices.ask(POOL)
    assert await prices.latest(POOL) is None
    await prices.aclose()


async def test_one_question_serves_everybody_for_two_seconds() -> None:
    """However many orders want it: one request while it is current, one more when it is not."""
    source = Source()
    prices, clock = opened(source)
    assert await asyncio.gather(*(prices.latest(POOL) for _ in range(50))) == [70_000] * 50
    clock.seconds = PRICE_SECONDS - 0.01
    source.price = 80_000
    assert await prices.latest(POOL) == 70_000
    assert source.asked == [POOL]
    clock.seconds = PRICE_SECONDS
    assert await prices.latest(POOL) == 80_000
    assert source.asked == [POOL, POOL]


async def test_each_pool_has_its_own_figure() -> None:
    """What is paid for one pool says nothing about another."""
    source = Source()
    prices, _ = opened(source)
    assert await prices.latest(POOL) == 70_000
    source.price = 5
    assert await prices.latest(OTHER) == 5
    assert await prices.latest(POOL) == 70_000
    assert source.asked == [POOL, OTHER]


async def test_a_question_asked_ahead_is_not_asked_again() -> None:
    """Building asks, signing takes the answer."""
    source = Source()
    prices, _ = opened(source)
    prices.ask(POOL)
    assert await prices.latest(POOL) == 70_000
    assert source.asked == [POOL]


async def test_a_slow_source_holds_nobody_up() -> None:
    """When the answer is not there in time: the last known figure, before the first one none."""
    source = Source()
    prices, clock = opened(source, wait_seconds=0.001)
    source.gate.clear()
    assert await prices.latest(POOL) is None
    await prices.aclose()
    source.gate.set()
    clock.seconds = 10
    prices.ask(POOL)
    await source.arrivals.acquire()
    assert await prices.latest(POOL) == 70_000
    source.gate.clear()
    clock.seconds = 20
    assert await prices.latest(POOL) == 70_000
    assert len(source.asked) == 3
    await prices.aclose()


async def test_the_wait_counts_from_the_question() -> None:
    """Once a question has taken its time, later orders do not wait for it at all."""
    source = Source()
    prices, clock = opened(source, wait_seconds=1_000)
    source.gate.clear()
    prices.ask(POOL)
    await source.arrivals.acquire()
    clock.seconds = 1_000.1
    assert await prices.latest(POOL) is None
    assert len(source.asked) == 1
    await prices.aclose()


async def test_an_old_figure_counts_no_more() -> None:
    """A minute later congestion is another: the floor is bid rather than what was once paid."""
    source = Source()
    prices, clock = opened(source)
    assert await prices.latest(POOL) == 70_000
    source.price = None
    clock.seconds = PRICE_KEPT_SECONDS - 0.1
    assert await prices.latest(POOL) == 70_000
    clock.seconds = PRICE_KEPT_SECONDS
    assert await prices.latest(POOL) is None


async def test_a_question_without_an_answer_is_given_up_and_asked_again() -> None:
    """A source that hangs once is not lost for ever."""
    source = Source()
    prices, clock = opened(source, read_seconds=0.001)
    source.gate.clear()
    assert await prices.latest(POOL) is None
    assert source.stopped == 1
    clock.seconds = PRICE_SECONDS
    source.gate.set()
    assert await prices.latest(POOL) == 70_000
    assert len(source.asked) == 2


async def test_an_order_that_is_cancelled_leaves_the_question_to_the_others() -> None:
    """One order gives up; the other gets its answer from the same question."""
    source = Source()
    prices, _ = opened(source)
    source.gate.clear()
    first, second = (asyncio.create_task(prices.latest(POOL)) for _ in range(2))
    await source.arrivals.acquire()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    source.gate.set()
    assert await second == 70_000
    assert source.asked == [POOL]


async def test_closing_stops_the_questions() -> None:
    """Nothing is left under way."""
    source = Source()
    prices, _ = opened(source)
    source.gate.clear()
    for accounts in (POOL, OTHER):
        prices.ask(accounts)
        await source.arrivals.acquire()
    await prices.aclose()
    assert source.stopped == 2
