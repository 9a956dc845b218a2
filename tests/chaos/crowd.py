"""How long a killed service takes to take up a thousand orders that are all in flight."""

import asyncio
import itertools
import time
from collections import Counter
from dataclasses import replace
from typing import Final

import aiohttp

from tests.chaos.books import held_by
from tests.chaos.bots import Bots, intent
from tests.chaos.life import conclude, posting_all
from tests.chaos.plan import Outcome, Plan
from tests.chaos.recovery import Recovery, left_by, recovery
from tests.chaos.world import World, running

ORDERS: Final = 1_000
"""That many are in flight at each kill, at least."""
SPARE: Final = 50
"""Above that, for those that are just between two attempts."""
KILLS: Final = 12
GATHER_SECONDS: Final = 60.0
SLOT_MS: Final = 400
SETTINGS: Final = {
    "SYNERGY7_EXECUTION__MAX_CONCURRENT_EXECUTIONS": "1100",
    "SYNERGY7_EXECUTION__TRANSACTION_TIMEOUT": "60",
}
"""All of them at once, and none of them dead before the next kill."""


def numbers_of(seed: int, count: int) -> list[int]:
    """Choose intents which nothing ends but their fill: none is canceled, none asks the impossible."""
    good = (number for number in itertools.count(10**6) if intent(seed, number).fills)
    return list(itertools.islice(good, count))


async def run_crowd(seed: int, orders: int = ORDERS, kills: int = KILLS) -> Outcome:
    """Kill a service again and again while nothing it sends lands; then let all land, and judge."""
    numbers = numbers_of(seed, orders + SPARE)
    plan = Plan(
        seed,
        "sqlite",
        0,
        per_second=200,
        scale=0,
        numbers=numbers,
        env=SETTINGS,
        slot_ms=SLOT_MS,
    )
    async with running(plan) as (world, http):
        bots = Bots(plan.seed, world.urls, plan.per_second)
        await _drop_all(world, http)
        async with posting_all(bots, http, numbers) as posting:
            recoveries = [await _killed(world, orders, posting) for _ in range(kills)]
            outcome = await conclude(world, http, bots, posting)
        hits = Counter({"sigkill_service": kills})
        return replace(outcome, hits=hits, recoveries=recoveries)


async def _killed(world: World, orders: int, posting: asyncio.Task[None]) -> Recovery:
    """Kill the service once enough orders are in flight; gives how what it left was recovered."""
    await _gathered(world, orders, posting)
    (unit,) = world.services
    before = await held_by(world.books, unit.pid) or {}
    async with unit.busy:
        unit.kill()
        left = await left_by(world.books, unit.pid, before) or {}
        unit.launch()
    return await recovery(world.books, unit.started_at, left)


async def _drop_all(world: World, http: aiohttp.ClientSession) -> None:
    rules = [
        {"kind": "accept_then_drop", "rpc_method": name, "count": None}
        for name in ("sendTransaction", "sendBundle")
    ]
    assert await world.node.ask(http, "POST", "faults", rules) is not None


async def _gathered(world: World, least: int, posting: asyncio.Task[None]) -> None:
    """Wait until enough orders have an attempt in flight; in vain, the report fails for it."""
    ends = time.monotonic() + GATHER_SECONDS
    while time.monotonic() < ends:
        if posting.done():
            posting.result()
        rows = await world.books.ask("SELECT count(*) FROM orders WHERE status = 'submitted'")
        if rows and rows[0][0] >= least:
            return
        await asyncio.sleep(0.2)
