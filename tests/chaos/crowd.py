"""How long a killed service takes to take up a thousand orders that are all in flight."""

import asyncio
import time
from collections import Counter
from dataclasses import replace
from typing import Final

import aiohttp

from tests.chaos.books import versions
from tests.chaos.bots import Bots
from tests.chaos.deeds import recovery_seconds
from tests.chaos.world import Outcome, Plan, World, conclude, running

ORDERS: Final = 1_000
KILLS: Final = 12
GATHER_SECONDS: Final = 60.0
SLOT_MS: Final = 400
SETTINGS: Final = {
    "SYNERGY7_EXECUTION__MAX_CONCURRENT_EXECUTIONS": "1100",
    "SYNERGY7_EXECUTION__TRANSACTION_TIMEOUT": "60",
}
"""All of them at once, and none of them dead before the next kill."""


async def run_crowd(seed: int, orders: int = ORDERS, kills: int = KILLS) -> Outcome:
    """Kill a service again and again while nothing it sends lands; then let all land, and judge."""
    plan = Plan(
        seed,
        "sqlite",
        0,
        per_second=200,
        scale=0,
        numbers=range(10**6, 10**6 + orders),
        env=SETTINGS,
        slot_ms=SLOT_MS,
    )
    async with running(plan) as (world, http):
        bots = Bots(plan.seed, world.urls, plan.per_second)
        await _drop_all(world, http)
        posting = asyncio.create_task(bots.post_all(http, plan.numbers or ()))
        least = round(orders * 0.9)  # some ask for an impossible price, or for their cancellation
        recoveries, recovered = [], []
        for _ in range(kills):
            held = await _gathered(world, least)
            (unit,) = world.services
            unit.kill()
            unit.launch()
            recoveries.append(await recovery_seconds(world.books, unit.started_at, held))
            recovered.append(len(held))
        outcome = await conclude(world, http, bots, posting)
        hits = Counter({"sigkill_service": kills})
        return replace(outcome, hits=hits, recoveries=recoveries, recovered=recovered)


async def _drop_all(world: World, http: aiohttp.ClientSession) -> None:
    rules = [
        {"kind": "accept_then_drop", "rpc_method": name, "count": None}
        for name in ("sendTransaction", "sendBundle")
    ]
    assert await world.node.ask(http, "POST", "faults", rules) is not None


async def _gathered(world: World, least: int) -> dict[str, int]:
    """Wait until enough orders have an attempt in flight; gives all that are unfinished."""
    ends = time.monotonic() + GATHER_SECONDS
    while time.monotonic() < ends:
        rows = await world.books.ask("SELECT count(*) FROM orders WHERE status = 'submitted'")
        if rows and rows[0][0] >= least:
            break
        await asyncio.sleep(0.2)
    return dict(await versions(world.books) or {})
