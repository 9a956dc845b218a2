"""One run: the cast is started, troubled for a while, calmed, and judged."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import Any, Final

import aiohttp

from tests.chaos.bots import Bots, Told
from tests.chaos.deeds import Deeds
from tests.chaos.oracle import Evidence, Findings, judge
from tests.chaos.plan import Outcome, Plan
from tests.chaos.watch import Watch
from tests.chaos.weather import Weather
from tests.chaos.world import World, background, running

OVERTIME_TIMES: Final = 3
BETWEEN_DEEDS: Final[Mapping[str, float]] = {"sqlite": 3.0, "postgres": 0.4}
"""A process alone needs time between its starts; of several, two go on."""


async def run(plan: Plan) -> Outcome:
    """Live through a plan; gives what came of it."""
    begun = time.monotonic()
    async with running(plan) as (world, http):
        up = time.monotonic()
        outcome = await _live(world, http)
    wall = {"start": up - begun, **world.wall, "all": time.monotonic() - begun}
    return replace(outcome, wall={key: round(took, 1) for key, took in wall.items()})


def _numbers(plan: Plan, started: float, deeds: Deeds, *, troubled: bool) -> Iterator[int]:
    """Number the intents for as long as the plan says, and until everything has happened once."""
    if plan.numbers is not None:
        yield from plan.numbers
        return
    for number in itertools.count():
        passed = time.monotonic() - started
        everything = not troubled or deeds.first_round.is_set()
        if passed > plan.seconds and (everything or passed > plan.seconds * OVERTIME_TIMES):
            return
        yield number


async def _answered(posting: asyncio.Task[None], bots: Bots, seconds: float) -> None:
    """Let bots come to their answers now that all is calm."""
    try:
        async with asyncio.timeout(seconds):
            await asyncio.shield(posting)
    except TimeoutError:
        bots.stopped = True
        await posting


@asynccontextmanager
async def posting_all(
    bots: Bots, http: aiohttp.ClientSession, numbers: Iterable[int]
) -> AsyncIterator[asyncio.Task[None]]:
    """Let bots post beside what else happens; they end with it."""
    posting = asyncio.create_task(bots.post_all(http, numbers))
    try:
        yield posting
    finally:
        posting.cancel()
        await asyncio.wait([posting])


async def scheduled(bots: Bots, posting: asyncio.Task[None]) -> None:
    """Wait until every intent has been posted once; raises what ended the bots before."""
    waiting = asyncio.create_task(bots.scheduled.wait())
    await asyncio.wait([waiting, posting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not bots.scheduled.is_set():
        posting.result()


async def _live(world: World, http: aiohttp.ClientSession) -> Outcome:
    plan = world.plan
    weather = Weather(
        world.node,
        Random(f"{plan.seed}/weather"),
        world.watch.in_flight,
        plan.scale,
        plan.events_per_second,
    )
    deeds = Deeds(
        rng=Random(f"{plan.seed}/deeds"),
        books=world.books,
        node=world.node,
        services=world.services,
        kinds=world.kinds(),
        control=world.control,
        postgres=world.postgres,
        pause_between=plan.between_deeds or BETWEEN_DEEDS[plan.database],
    )
    bots = Bots(plan.seed, world.urls, plan.per_second)
    troubled = plan.scale > 0
    started = time.monotonic()
    wishes = _numbers(plan, started, deeds, troubled=troubled)
    works = [weather.blow(http), weather.storm(http), deeds.do()] if troubled else []
    async with posting_all(bots, http, wishes) as posting:
        async with background(*works):
            await scheduled(bots, posting)
        seconds = time.monotonic() - started
        deeds.end()
        await weather.read(http)
        outcome = await conclude(world, http, bots, posting)
    return replace(
        outcome,
        seconds=seconds,
        hits=weather.hits + deeds.hits,
        missed=weather.missed + deeds.missed,
        recoveries=deeds.recoveries,
        requests=weather.requests,
    )


async def conclude(
    world: World, http: aiohttp.ClientSession, bots: Bots, posting: asyncio.Task[None]
) -> Outcome:
    """End all trouble, let bots and orders come to their ends, and judge."""
    times = [time.monotonic()]
    await world.calm(http)
    await _answered(posting, bots, world.plan.settle_seconds)
    times.append(time.monotonic())
    settled_in = await world.settle()
    await world.all_ready(http)
    times.append(time.monotonic())
    await world.watch.look(world.books)
    evidence = await world.evidence(http, bots)
    findings = await asyncio.to_thread(judge, evidence)
    times.append(time.monotonic())
    world.clean = findings.clean and not findings.in_doubt
    names = ("answer", "settle", "judge")
    world.wall |= {
        name: end - begun for name, (begun, end) in zip(names, pairwise(times), strict=True)
    }
    return _outcome(world, bots, evidence, findings, settled_in)


def _fill(told: Told, documents: Mapping[str, Mapping[str, Any]], watch: Watch) -> float | None:
    """Give the seconds to the fill of a key's order; None: not filled."""
    filled = [each for each in told.order_ids if documents.get(each, {}).get("status") == "filled"]
    taken = (watch.seconds_to_end(each, told.accepted_at) for each in filled)
    return min(taken, default=None)


def _outcome(
    world: World, bots: Bots, evidence: Evidence, findings: Findings, settled_in: float
) -> Outcome:
    documents = evidence.documents
    ended = (f"{each['status']} {each['reason_code'] or ''}".strip() for each in documents.values())
    return Outcome(
        plan=world.plan,
        findings=findings,
        statuses=Counter(ended),
        documents=documents,
        fills={
            key: _fill(told, documents, world.watch)
            for key, told in bots.told.items()
            if told.intent.fills
        },
        numbers=[told.intent.number for told in bots.told.values()],
        heard=bots.heard,
        ends=Counter(f"{unit.name} {code}" for unit in world.services for code in unit.ends),
        settled_in=settled_in,
    )
