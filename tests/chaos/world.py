"""One run on one database: the cast is started, troubled for a while, calmed, and judged."""

import asyncio
import contextlib
import itertools
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any, Final

import aiohttp

from tests import shim
from tests.chain_oracle import executions_of
from tests.chaos.books import Books, PostgresBooks, SqliteBooks, trail, unsettled, versions
from tests.chaos.bots import Bots, Told
from tests.chaos.cast import Node, Postgres, Unit, service
from tests.chaos.deeds import Deeds
from tests.chaos.kinds import EVERYWHERE, ON_POSTGRES
from tests.chaos.oracle import Evidence, Findings, judge, seconds_to_fill
from tests.chaos.weather import Weather

SLOT_MS: Final = 100
READY_SECONDS: Final = 120.0
POLL_SECONDS: Final = 0.3
PAGE: Final = 500
OVERTIME_TIMES: Final = 3
CALM_TRIES: Final = 100

SETTINGS: Final[Mapping[str, str]] = {
    "SYNERGY7_EXECUTION__MAX_CONCURRENT_EXECUTIONS": "256",
    "SYNERGY7_EXECUTION__PROOF_ENDPOINTS": "2",
    "SYNERGY7_EXECUTION__TRANSACTION_TIMEOUT": "6",
    "SYNERGY7_EXECUTION__MAX_RETRIES": "20",
    "SYNERGY7_EXECUTION__RETRY_DELAY": "0.3",
    "SYNERGY7_EXECUTION__PATIENCE": "0.6",
    "SYNERGY7_EXECUTION__REBROADCAST_INTERVAL": "0.6",
    "SYNERGY7_EXECUTION__STATUS_INTERVAL": "0.2",
    "SYNERGY7_EXECUTION__PUSH_TIMEOUT": "1.5",
    "SYNERGY7_SOLANA__REQUEST_TIMEOUT": "1.5",
    "SYNERGY7_SOLANA__POLL_INTERVAL": "0.3",
    "SYNERGY7_METHODS__BLOCK_ENGINE__REQUESTS_PER_SECOND": "0",
    "SYNERGY7_FEES__PRIORITY__SOURCE": "quicknode",
    "SYNERGY7_LOG__LEVEL": "WARNING",
}
"""Short lives and waits, so that a minute holds many of them; two witnesses, since one of them lies."""
VARIANTS: Final[Mapping[str, Mapping[str, str]]] = {
    "sqlite": {"SYNERGY7_FEES__PRIORITY__SOURCE": "recent"},
    "postgres": {
        "SYNERGY7_METHODS__JITO__BUNDLE_ONLY": "true",
        "SYNERGY7_METHODS__QUICKNODE__LIL_JIT__ENABLED": "true",
        "SYNERGY7_EXECUTION__STRATEGY": "race",
    },
}

BETWEEN_DEEDS: Final[Mapping[str, float]] = {"sqlite": 3.0, "postgres": 0.4}
"""A process alone needs time between its starts; of several, two go on."""


@dataclass(frozen=True)
class Plan:
    """What a run is to be like."""

    seed: int
    database: str
    seconds: float
    per_second: float = 20.0
    """Orders that bots post."""
    scale: float = 1.0
    """Share of the planned pace of request faults; 0: nothing at all goes wrong."""
    between_deeds: float | None = None
    """Seconds from one breakage to the next, on average; None: as suits the database."""
    events_per_second: float = 0.6
    settle_seconds: float = 120.0
    slot_ms: int = SLOT_MS
    env: Mapping[str, str] = field(default_factory=dict)
    """Settings above the usual ones."""
    keep: bool = False
    """Leave the folder with databases and logs where it is."""
    numbers: Sequence[int] | None = None
    """Just these intents, in place of as many as the time allows."""


@dataclass(frozen=True)
class Outcome:
    """What came of a run."""

    plan: Plan
    findings: Findings
    statuses: Counter[str]
    documents: Mapping[str, Mapping[str, Any]]
    fills: Mapping[str, float | None]
    """Seconds to the fill of each intent that asks for nothing impossible; None: not filled."""
    numbers: Sequence[int]
    heard: Counter[str]
    ends: Counter[str]
    settled_in: float
    seconds: float = 0.0
    """How long there was trouble."""
    hits: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    recoveries: Sequence[float] = ()
    recovered: Sequence[int] = ()
    requests: Counter[str] = field(default_factory=Counter)
    wall: Mapping[str, float] = field(default_factory=dict)


class World:
    """The cast of one run."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan = plan
        self.folder = folder
        self.node = Node(folder / "chain", slot_ms=plan.slot_ms, seed=plan.seed)
        self.postgres: Postgres | None = None
        self.control: shim.Control | None = None
        self.services: list[Unit] = []
        self.books: Books
        self.open_now = 0
        self.open_before = 0
        self.clean = False
        self.wall: dict[str, float] = {}
        """How long each stage of the run took, in seconds."""

    # ------------------------------------------------------------ life

    @asynccontextmanager
    async def running(self) -> AsyncIterator[aiohttp.ClientSession]:
        """Start everything; all is ended whatever happens."""
        async with AsyncExitStack() as stack:
            connector = aiohttp.TCPConnector(limit=0)
            http = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
            stack.push_async_callback(self.node.unit.end)
            self.node.unit.launch()
            env = self._shimmed()
            if self.plan.database == "postgres":
                self.postgres = await asyncio.to_thread(Postgres)
                stack.callback(self.postgres.end)
            await self.node.wait_ready(http)
            self._engage(env)
            for unit in self.services:
                stack.push_async_callback(unit.end)
                unit.launch()
            await self.all_ready(http, first=True)
            yield http

    def _shimmed(self) -> dict[str, str]:
        library = shim.build()
        if library is None:
            return {}
        self.control = shim.Control.create(self.folder / "shim.control")
        data = self.folder / "data"
        data.mkdir()
        return shim.environment(library, self.control, f"{data}/")

    def _engage(self, env: Mapping[str, str]) -> None:
        """Make the services, which know the chain as they would know any cluster."""
        sandbox = self.node.sandbox()
        witness = f"{sandbox.quicknode_url}/{sandbox.quicknode_token}/"
        env = {
            **SETTINGS,
            **VARIANTS[self.plan.database],
            **self.plan.env,
            **env,
            "SYNERGY7_SOLANA__RPC_URLS": f"{sandbox.rpc_url},{witness}",
            "SYNERGY7_SOLANA__WS_URL": sandbox.ws_url,
            "SYNERGY7_WALLET__KEYPAIR_FILE": sandbox.wallet_file,
            "SYNERGY7_METHODS__QUICKNODE__URL": sandbox.quicknode_url,
            "SYNERGY7_METHODS__QUICKNODE__TOKEN": sandbox.quicknode_token,
            "SYNERGY7_METHODS__BLOCK_ENGINE__URLS": sandbox.jito_url,
        }
        if self.postgres is not None:
            url = self.postgres.url
            env |= {
                "SYNERGY7_ORDER_MANAGEMENT__DATABASE_URL": url,
                "SYNERGY7_METRICS__DATABASE_URL": url,
            }
            self.books = PostgresBooks(url)
            self.services = [
                service("one", self.folder / "one", env),
                service("two", self.folder / "two", env),
                service("worker", self.folder / "worker", env, listens=False),
            ]
            return
        orders = self.folder / "data" / "orders.db"
        env |= {
            "SYNERGY7_ORDER_MANAGEMENT__DB_PATH": str(orders),
            "SYNERGY7_METRICS__METRICS_DB_PATH": str(orders.with_name("metrics.db")),
        }
        self.books = SqliteBooks(orders)
        self.services = [service("one", self.folder / "one", env)]

    async def all_ready(self, http: aiohttp.ClientSession, *, first: bool = False) -> None:
        """Wait until every process is; one that ends by itself at its `first` start fails the run."""
        async with asyncio.timeout(READY_SECONDS):
            for unit in self.services:
                while not await self._is_ready(http, unit):
                    assert unit.alive or not first, f"{unit.name} ended: {unit.console()[-4000:]}"
                    await asyncio.sleep(POLL_SECONDS)

    async def _is_ready(self, http: aiohttp.ClientSession, unit: Unit) -> bool:
        if not unit.port:
            return "Synergy7 worker on" in unit.console()
        with contextlib.suppress(aiohttp.ClientError, OSError):
            async with http.get(f"http://127.0.0.1:{unit.port}/readyz") as answer:
                return answer.status == 200
        return False

    # ------------------------------------------------------------ watching

    def in_flight(self) -> bool:
        """Whether orders were in flight at the last two looks."""
        return self.open_now > 0 and self.open_before > 0

    async def watch(self) -> None:
        """Count the unfinished orders again and again, until cancelled."""
        while True:
            found = await versions(self.books)
            if found is not None:
                self.open_before, self.open_now = self.open_now, len(found)
            await asyncio.sleep(POLL_SECONDS)

    @property
    def urls(self) -> list[str]:
        """Where bots may post."""
        return [f"http://127.0.0.1:{unit.port}" for unit in self.services if unit.port]

    def kinds(self) -> list[str]:
        """What may befall this cast."""
        without = set() if self.control else {"clock_jump", "full_disk"}
        if self.postgres is None:
            return [kind for kind in EVERYWHERE if kind not in without]
        return [kind for kind in (*EVERYWHERE, *ON_POSTGRES) if kind not in without | {"full_disk"}]

    # ------------------------------------------------------------ afterwards

    async def calm(self, http: aiohttp.ClientSession) -> None:
        """End what the sandbox does to requests, as soon as it listens."""
        for _ in range(CALM_TRIES):
            if await self.node.ask(http, "DELETE", "faults") is not None:
                return
            await asyncio.sleep(POLL_SECONDS)
        raise TimeoutError("the sandbox does not come back")

    async def settle(self) -> float:
        """Wait until every order has ended and every fill is final; gives how long that took."""
        started = time.monotonic()
        while time.monotonic() - started < self.plan.settle_seconds:
            if await unsettled(self.books) == 0:
                break
            await asyncio.sleep(POLL_SECONDS)
        return time.monotonic() - started

    async def documents(self, http: aiohttp.ClientSession) -> dict[str, dict[str, Any]]:
        """Read every order's document over HTTP."""
        found: dict[str, dict[str, Any]] = {}
        cursor = None
        while True:
            params = {"limit": str(PAGE)} | ({"cursor": cursor} if cursor else {})
            async with http.get(f"{self.urls[0]}/orders", params=params) as answer:
                page = await answer.json()
            found |= {each["order_id"]: each for each in page["orders"]}
            cursor = page["next_cursor"]
            if not cursor:
                return found

    async def evidence(self, http: aiohttp.ClientSession, bots: Bots) -> Evidence:
        """Collect what is judged."""
        sandbox = self.node.sandbox()
        return Evidence(
            rpc_url=sandbox.rpc_url,
            wallet=sandbox.wallet,
            documents=await self.documents(http),
            executions=await asyncio.to_thread(executions_of, sandbox.rpc_url, sandbox.wallet),
            trail=await trail(self.books),
            told=bots.told,
        )


@asynccontextmanager
async def _background(*works: Any) -> AsyncIterator[None]:
    """Run coroutines while the context lasts; one that fails ends the run."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result


@asynccontextmanager
async def running(plan: Plan) -> AsyncIterator[tuple[World, aiohttp.ClientSession]]:
    """Start a world in a folder that goes with it, unless something was found in it."""
    folder = Path(tempfile.mkdtemp(prefix=f"synergy7-chaos-{plan.database}-"))
    world = World(plan, folder)
    async with world.running() as http:
        keepers = [unit.keep() for unit in (world.node.unit, *world.services)]
        async with _background(world.watch(), *keepers):
            yield world, http
    if world.clean and not plan.keep:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"kept for a look: {folder}")  # noqa: T201


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


async def _live(world: World, http: aiohttp.ClientSession) -> Outcome:
    plan = world.plan
    weather = Weather(
        world.node,
        Random(f"{plan.seed}/weather"),
        world.in_flight,
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
    posting = asyncio.create_task(bots.post_all(http, wishes))
    works = [weather.blow(http), weather.storm(http), deeds.do()] if troubled else []
    async with _background(*works):
        await bots.scheduled.wait()
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
        recovered=deeds.recovered,
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
    evidence = await world.evidence(http, bots)
    findings = await asyncio.to_thread(judge, evidence)
    times.append(time.monotonic())
    world.clean = findings.clean and not findings.in_doubt
    names = ("answer", "settle", "judge")
    world.wall |= {
        name: end - begun for name, (begun, end) in zip(names, pairwise(times), strict=True)
    }
    return _outcome(world, bots, evidence, findings, settled_in)


def _fill(told: Told, documents: Mapping[str, Mapping[str, Any]]) -> float | None:
    """Give the seconds to the fill of a key's order; None: not filled."""
    taken = [seconds_to_fill(documents[each]) for each in told.order_ids if each in documents]
    return min((each for each in taken if each is not None), default=None)


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
        fills={key: _fill(told, documents) for key, told in bots.told.items() if told.intent.fills},
        numbers=[told.intent.number for told in bots.told.values()],
        heard=bots.heard,
        ends=Counter(f"{unit.name} {code}" for unit in world.services for code in unit.ends),
        settled_in=settled_in,
    )
