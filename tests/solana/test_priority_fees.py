"""Going rates of the priority fee: which figure is taken, and what is taken for none."""

import asyncio
import copy
from collections.abc import Sequence
from typing import Any

import pytest

from app.domain.errors import ReasonCode, TransientError
from app.solana.priority_fees import (
    BLOCKS_MAX,
    UNIT_PRICE_MAX,
    PriorityFees,
    QuickNodeFees,
    RecentFees,
    percentile_of,
)
from tests.solana.server import CLOSE, HANG, Node, error, http, node

pytestmark = pytest.mark.anyio

ESTIMATE = {
    "context": {"slot": 9},
    "per_compute_unit": {
        "extreme": 900,
        "high": 750,
        "medium": 500,
        "low": 250,
        "percentiles": {"0": 0, "5": 51, "75": 751, "100": UNIT_PRICE_MAX + 1},
    },
    "per_transaction": {"extreme": 1, "high": 1, "medium": 1, "low": 1, "percentiles": {"75": 1}},
    "recommended": 2,
}
FALLBACK = 42


class Fixed:
    """A source that knows, and keeps what it was asked."""

    def __init__(self, price: int | None = FALLBACK) -> None:
        self.price = price
        self.asked: list[list[str]] = []

    async def unit_price(self, accounts: Sequence[str]) -> int | None:
        """See the protocol."""
        self.asked.append(list(accounts))
        return self.price


async def recent(*fees: int, percentile: int = 75) -> int | None:
    """Ask for the rate after such slots."""

    async def recent_fees(_accounts: Sequence[str]) -> Sequence[int]:
        return fees

    return await RecentFees(recent_fees, percentile).unit_price(["account"])


async def test_the_recent_rate_is_a_percentile_of_the_slots_that_paid() -> None:
    """Slots that paid nothing are many and tell nothing."""
    assert await recent(0, 0, 0, 40, 10, 0, 30, 20) == 30
    assert await recent(0, 5) == 5


async def test_without_a_slot_that_paid_no_rate_is_known() -> None:
    """What is then paid is the configured price's business."""
    assert await recent(0, 0) is None
    assert await recent() is None


async def test_an_unreadable_chain_knows_no_rate() -> None:
    """It is no reason to keep an order waiting, let alone to refuse it."""

    async def away(_accounts: Sequence[str]) -> Sequence[int]:
        raise TransientError(ReasonCode.CHAIN_UNAVAILABLE, "down")

    async def hangs(_accounts: Sequence[str]) -> Sequence[int]:
        await asyncio.Event().wait()
        return ()

    assert await RecentFees(away, 75).unit_price(["a"]) is None
    assert await RecentFees(hangs, 75, wait_seconds=0.01).unit_price(["a"]) is None


@pytest.mark.parametrize(
    ("percentile", "wanted"), [(0, 10), (25, 10), (26, 20), (50, 20), (75, 30), (76, 40), (100, 40)]
)
def test_a_percentile_is_a_figure_that_was_there(percentile: int, wanted: int) -> None:
    """The nearest rank: nothing is interpolated."""
    assert percentile_of([40, 10, 30, 20], percentile) == wanted
    assert percentile_of([], percentile) is None


async def estimated(percentile: int, answer: object) -> int | None:
    """Ask an endpoint that answers so."""
    async with node(qn_estimatePriorityFees=answer) as own:
        return await source(own, percentile, Fixed()).unit_price(["account", "other"])


def source(own: Node, percentile: int, fallback: PriorityFees) -> QuickNodeFees:
    """Make the source over a node."""
    assert own.client is not None
    return QuickNodeFees(own.client, percentile, fallback, wait_seconds=0.2)


@pytest.mark.parametrize(("percentile", "wanted"), [(75, 751), (5, 51), (0, 0)])
async def test_a_percentile_that_is_told_is_taken(percentile: int, wanted: int) -> None:
    """For the compute unit, not for the transaction."""
    assert await estimated(percentile, ESTIMATE) == wanted


@pytest.mark.parametrize(
    ("percentile", "wanted"),
    [(10, 250), (25, 250), (40, 500), (62, 500), (63, 750), (82, 750), (83, 900), (99, 900)],
)
async def test_else_the_nearest_level_is_taken(percentile: int, wanted: int) -> None:
    """Low, medium, high and extreme are the percentiles 25, 50, 75 and 90."""
    assert await estimated(percentile, ESTIMATE) == wanted


def changed(name: str, value: object) -> dict[str, Any]:
    """Give an estimate with one rate set."""
    made: dict[str, Any] = copy.deepcopy(ESTIMATE)
    made["per_compute_unit"]["percentiles"]["75"] = value
    made["per_compute_unit"][name] = value
    return made


@pytest.mark.parametrize(
    ("percentile", "answer"),
    [
        (100, ESTIMATE),
        (75, changed("high", 10**30)),
        (75, changed("high", -1)),
        (75, changed("high", True)),
        (75, changed("high", "751")),
        (75, changed("high", 751.5)),
        (75, changed("percentiles", None)["context"]),
        (75, {"per_compute_unit": []}),
        (75, []),
        (40, {"per_compute_unit": {"percentiles": 7}}),
        (75, error(200, -32603, "internal")),
        (75, http(429, "slow down")),
        (75, http(200, "?")),
        (75, CLOSE),
        (75, HANG),
    ],
)
async def test_what_makes_no_sense_is_no_rate(percentile: int, answer: object) -> None:
    """Absurd, malformed or missing: the other source is asked."""
    assert await estimated(percentile, answer) == FALLBACK


async def test_the_estimator_is_asked_in_its_own_shape() -> None:
    """Named parameters, one account; no account where there is none."""
    async with node(qn_estimatePriorityFees=ESTIMATE) as own:
        asking = source(own, 75, Fixed())
        await asking.unit_price(["account", "other"])
        await asking.unit_price([])
        shape = {"last_n_blocks": BLOCKS_MAX, "api_version": 2}
        wanted = [{**shape, "account": "account"}, shape]
        assert own.asked("qn_estimatePriorityFees") == wanted


async def test_an_endpoint_without_the_add_on_is_asked_once() -> None:
    """It will not learn the method while the service runs."""
    async with node() as own:
        fallback = Fixed()
        asking = source(own, 75, fallback)
        for _ in range(3):
            assert await asking.unit_price(["account"]) == FALLBACK
        assert len(own.asked("qn_estimatePriorityFees")) == 1
        assert fallback.asked == [["account"]] * 3


async def test_an_estimator_in_trouble_is_asked_again_after_its_rest() -> None:
    """What comes back is used again."""
    async with node(qn_estimatePriorityFees=CLOSE) as own:
        assert own.client is not None
        asking = QuickNodeFees(own.client, 75, Fixed(), rest_seconds=0)
        assert await asking.unit_price(["account"]) == FALLBACK
        own.answers["qn_estimatePriorityFees"] = ESTIMATE
        assert await asking.unit_price(["account"]) == 751


async def test_an_estimator_in_trouble_rests() -> None:
    """Not every order waits for an endpoint that is away."""
    async with node(qn_estimatePriorityFees=CLOSE) as own:
        asking = source(own, 75, Fixed(None))
        for _ in range(3):
            assert await asking.unit_price(["account"]) is None
        assert len(own.asked("qn_estimatePriorityFees")) == 1


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (http(429, "slow down", "retry-after: 7"), [7.0]),
        (http(429, "slow down"), [None]),
        (error(200, -32007, "50/second request limit reached"), [None]),
        (error(200, -32603, "internal"), []),
        (ESTIMATE, []),
    ],
)
async def test_a_refusal_is_told_to_who_keeps_the_pace(
    answer: object, told: list[float | None]
) -> None:
    """Pushes to the same endpoint then rest too."""
    refusals: list[float | None] = []
    async with node(qn_estimatePriorityFees=answer) as own:
        assert own.client is not None
        asking = QuickNodeFees(own.client, 75, Fixed(), refused=refusals.append)
        await asking.unit_price(["account"])
    assert refusals == told


async def test_nothing_is_asked_without_a_place() -> None:
    """The other source is asked meanwhile; there is no rest, the next order may have a place."""
    places = iter([False, True])
    async with node(qn_estimatePriorityFees=ESTIMATE) as own:
        assert own.client is not None
        asking = QuickNodeFees(own.client, 75, Fixed(), take=lambda: next(places))
        assert await asking.unit_price(["account"]) == FALLBACK
        assert own.asked("qn_estimatePriorityFees") == []
        assert await asking.unit_price(["account"]) == 751
