"""The cast of one run on one database, and what it is made of."""

import asyncio
import contextlib
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp

from tests import shim
from tests.chain_oracle import executions_of
from tests.chaos.books import Books, PostgresBooks, SqliteBooks, trail, unsettled
from tests.chaos.bots import Bots
from tests.chaos.cast import Node, Postgres, Unit, service
from tests.chaos.kinds import EVERYWHERE, ON_POSTGRES
from tests.chaos.oracle import Evidence
from tests.chaos.plan import Plan
from tests.chaos.watch import Watch

READY_SECONDS: Final = 120.0
POLL_SECONDS: Final = 0.3
PAGE: Final = 500
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
        self.watch = Watch()
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
                self.postgres = await _postgres()
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
async def background(*works: Any) -> AsyncIterator[None]:
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
    """Start a world in a folder that goes with it, unless something was found in it or failed."""
    folder = Path(tempfile.mkdtemp(prefix=f"synergy7-chaos-{plan.database}-"))
    world = World(plan, folder)
    try:
        async with world.running() as http:
            keepers = [unit.keep() for unit in (world.node.unit, *world.services)]
            async with background(world.watch.run(world.books), *keepers):
                yield world, http
    except asyncio.CancelledError:  # whoever ends it has no use for half a run
        world.clean = True
        raise
    finally:
        _leave(folder, keep=plan.keep or not world.clean)


async def _postgres() -> Postgres:
    """Start a server; one that was not waited for is ended, too."""
    starting = asyncio.ensure_future(asyncio.to_thread(Postgres))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        (await starting).end()
        raise


def _leave(folder: Path, *, keep: bool) -> None:
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"kept for a look: {folder}")  # noqa: T201
