"""The pace that Jito allows, one request a second for each region: kept, and rests are rested out."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.integration.chain import Chain, running_chain
from tests.integration.kit import answer, served, until
from tests.integration.methods import (
    executed_once,
    figure,
    has_events,
    over,
    posted,
    pushes_of,
    spoil,
    state,
    told,
)

pytestmark = pytest.mark.anyio
SLOT_MS = 80
INTERVAL_SECONDS = 0.95
"""One a second, less what a clock of the block engine jitters."""
REFUSED = "rate_limit"
"""How the journal marks what the block engine's own limit refused."""


@pytest.fixture(scope="module")
def module_chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """Run a chain whose block engine has Jito's limit, and where bytes live longer than a rest."""
    folder, limit = tmp_path_factory.mktemp("chain"), ("--jito-requests-per-second", "1")
    with running_chain(folder, *limit, slot_ms=SLOT_MS) as chain:
        yield chain


def at_region(chain: Chain, *names: str) -> dict[str, object]:
    """Give the settings of a service that speaks to regions which no other test has asked anything."""
    return {"methods.block_engine.urls": [f"{chain.jito_url}/{name}" for name in names]}


def asked(chain: Chain, region: str) -> list[dict[str, Any]]:
    """List everything that a region was asked which counts against its limit."""
    return [each for each in chain.journal() if each["path"].startswith(f"/{region}/")]


async def test_many_orders_keep_the_pace_and_all_fill(tmp_path: Path, chain: Chain) -> None:
    """More orders than requests a second: each waits for its turn, and the limit refuses nothing."""
    async with served(tmp_path, chain, at_region(chain, "frankfurt")) as client:
        ids = [await posted(client, f"paced-{number}", "bundle") for number in range(5)]
        for order_id in ids:
            order = await over(client, order_id)
            executed_once(chain, order)
            assert len(order["attempts"]) == 1
            assert {reason for _, _, reason in told(order)} <= {"ok", "limited"}
        times = [each["time"] for each in asked(chain, "frankfurt")]
        assert min(after - before for before, after in pairwise(times)) >= INTERVAL_SECONDS
        assert REFUSED not in str(asked(chain, "frankfurt"))
        assert await figure(client, "method_limited_total", method="bundle") == 0


async def test_regions_have_a_pace_each(tmp_path: Path, chain: Chain) -> None:
    """What one region has no place for goes to the next at once; the order is told of one push."""
    regions = ("ny", "tokyo", "london")
    async with served(tmp_path, chain, at_region(chain, *regions)) as client:
        ids = [await posted(client, f"region-{number}", "bundle") for number in range(3)]
        orders = [await over(client, order_id) for order_id in ids]
        for order in orders:
            executed_once(chain, order)
        firsts = [pushes_of(chain, order)[0] for order in orders]
        assert {push.region for push in firsts} == {f"/{name}" for name in regions}
        assert max(push.time for push in firsts) - min(push.time for push in firsts) < 1.0


@pytest.mark.parametrize(("region", "said", "rest"), [("slc", 2, 2.0), ("dublin", None, 5.0)])
async def test_a_refusal_is_rested_out(
    tmp_path: Path, chain: Chain, region: str, said: int | None, rest: float
) -> None:
    """Nothing is asked of the region for as long as it said, or five seconds: then the bytes go again."""
    async with served(tmp_path, chain, at_region(chain, region)) as client:
        spoil(chain, "bundle", "http_429", count=1, retry_after=said)
        order_id = await posted(client, f"told-off-{region}", "bundle")
        (limited, also) = await has_events(client, "method.limited", 2)
        assert {limited["data"]["method"], also["data"]["method"]} == {"bundle", "jito"}
        assert float(limited["data"]["seconds"]) == rest
        resting = await state(client, "jito")
        assert 0 < resting["wait_seconds"] <= rest
        order = await over(client, order_id)
        executed_once(chain, order)
        assert len(order["attempts"]) == 1
        assert ("bundle", "rejected", "rate_limited") in told(order)
        refused, after, *_ = asked(chain, region)
        assert refused["http"] == 429
        assert after["time"] - refused["time"] >= rest
        assert await figure(client, "method_limited_total", method="bundle") == 1


async def test_without_a_pace_of_our_own_the_limits_refusals_cost_no_order(
    tmp_path: Path, chain: Chain
) -> None:
    """The block engine refuses what comes too soon and says for how long: all orders fill all the same."""
    changes = {**at_region(chain, "amsterdam"), "methods.block_engine.requests_per_second": 0}
    async with served(tmp_path, chain, changes) as client:
        ids = [await posted(client, f"unpaced-{number}", "bundle") for number in range(4)]
        for order_id in ids:
            order = await over(client, order_id)
            executed_once(chain, order)
        assert REFUSED in str(asked(chain, "amsterdam"))

        async def closed() -> bool:
            _, shown = await answer(client, "/methods/bundle")
            return bool(shown["breaker"] == "closed")

        await until("refusals do not keep the method shut", closed)
