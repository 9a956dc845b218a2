"""The interface around a real order manager and a real database, for the tests to call."""

import asyncio
import itertools
import json
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import httpx
from starlette.types import Message

from app.api.app import Api, build_api
from app.api.ports import ApiService
from app.api.waits import LongAnswers
from app.database.migrate import migrate
from app.database.orders import SqlStore, open_store
from app.domain import changes
from app.domain.attempt import Lane, LanePlan, StoredAttempt
from app.domain.errors import Synergy7Error
from app.domain.market import Market, Token
from app.domain.order import Fill
from app.domain.outcome import Absent, ChainStatus, Heights, NotProved, Reply
from app.domain.resolution import Hearing
from app.domain.signal import SignalRules
from app.engine.held import Held
from app.engine.method_admin import MethodAdmin
from app.engine.order_manager import OrderManager
from app.engine.order_time import OrderTime
from app.engine.ports import Balances, Chain, Claimed, Ports, Trading
from app.engine.resolution import Resolver
from app.engine.trading_state import TradingSwitch
from tests.domain.makers import FILL, POOL, RULES, SOL, SOL_USDC, USDC, push, signed

Json = dict[str, Any]
SIGNAL: Json = {"action": "SELL", "market": "SOL-USDC", "size": 0.01, "price": 180.0}
OTHER_MARKET = Market("USDC-SOL", USDC, SOL, (POOL,), base_size_min=10, quote_size_min=1_000)
MARKETS = {"SOL-USDC": SOL_USDC, "USDC-SOL": OTHER_MARKET}
NOBODY = "01890a5d-ac96-774b-bcce-b302099a8057"
AILING: Json = {"sendTransaction": {"why": "error 429", "retry_after_seconds": 0.9}}
"""The id of no order."""


class TestClock:
    """UTC that only moves when told, by a microsecond a look; the loop's own time for waits."""

    __test__ = False

    def __init__(self) -> None:
        self.us = 1_769_860_800_000_000

    def now_us(self) -> int:
        self.us += 1
        return self.us

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


@dataclass
class Telemetry:
    """Remembers what was told of signals."""

    signals: list[tuple[str, str]] = field(default_factory=list)

    def signal(self, result: str, reason: str) -> None:
        self.signals.append((result, reason))

    def order_ended(self, status: object, reason: str) -> None: ...
    def stage(self, stage: str, seconds: float) -> None: ...
    def submission(self, method: str, reply: Reply, seconds: float) -> None: ...
    def landing(self, method: str, result: str, slots: int | None) -> None: ...
    def fees(self, method: str, kind: str, lamports: int) -> None: ...
    def resigned(self, reason: str) -> None: ...
    def recovered(self, to: str) -> None: ...
    def workers_busy(self, busy: int) -> None: ...
    def disputed(self, dispute: str) -> None: ...
    def landed_against(self, method: str, claim: str) -> None: ...


@dataclass
class Methods:
    """The methods jito and rpc, whose breakers a test may open."""

    open: set[str] = field(default_factory=set)
    disabled: frozenset[str] = frozenset()

    def has(self, name: str) -> bool:
        return name in RULES.methods

    def reset(self, name: str) -> None:
        self.open.discard(name)

    def set_disabled(self, names: Iterable[str]) -> None:
        self.disabled = frozenset(names)

    def states(self) -> list[Mapping[str, object]]:
        return [self._state(name) for name in sorted(RULES.methods)]

    def _state(self, name: str) -> Mapping[str, object]:
        breaker = "open" if name in self.open else "closed"
        enabled = name not in self.disabled
        wait = 0.0 if enabled else None
        return {"name": name, "breaker": breaker, "enabled": enabled, "wait_seconds": wait}


@dataclass
class Report:
    """Says of the system what a test lets it say."""

    reasons: tuple[str, ...] = ()
    broken: bool = False

    def status(self) -> Mapping[str, object]:
        if self.broken:
            raise RuntimeError("a defect")
        return {
            "network": "sandbox",
            "version": "0.1.0",
            "uptime_seconds": 1.5,
            "trading": {
                "state": "active",
                "reason": None,
                "since": None,
                "reconciling": False,
                "blocks_left": None,
            },
            "chain": {
                "network": "sandbox",
                "rpc_url": "http://127.0.0.1:8899",
                "genesis_hash": None,
                "slot": 12,
                "block_height": 10,
                "endpoints": [
                    {"endpoint": "127.0.0.1:8899", "latency_ms": 1.5, "ailing": AILING},
                    {"endpoint": "127.0.0.1:8898", "latency_ms": None, "ailing": {}},
                ],
            },
            "queue": {"pending": 0, "active": 0, "completed": 0, "in_doubt": 0},
            "workers": {"slots": 3, "busy": 0},
            "methods": Methods().states(),
            "wallets": [{"name": "main", "address": "abc", "balance_lamports": 1}],
            "processes": [
                {
                    "name": "host:1",
                    "started_at": "2026-01-31T12:00:00.000000Z",
                    "heartbeat_age_seconds": 0.5,
                }
            ],
            "metrics": {"database": "available", "why": None, "position": 7},
        }

    def readiness(self) -> Sequence[str]:
        return self.reasons

    def render_metrics(self) -> tuple[bytes, str]:
        return b"synergy7_up 1\n", "text/plain; version=1.0.0; charset=utf-8"


@dataclass
class Running:
    """An open interface with everything behind it."""

    app: Api
    client: httpx.AsyncClient
    store: SqlStore
    manager: OrderManager
    clock: TestClock
    telemetry: Telemetry
    report: Report
    methods: Methods
    long_answers: LongAnswers
    service: ApiService | None = None
    witness: "Witness" = field(default_factory=lambda: Witness())  # noqa: PLW0108 - it stands below
    desk: "Desk" = field(default_factory=lambda: Desk())  # noqa: PLW0108 - it stands below

    async def post(self, signal: object = SIGNAL, **headers: str) -> httpx.Response:
        """Post a signal; header names with _ for -."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        content = signal if isinstance(signal, bytes) else json.dumps(signal).encode()
        named = {"content-type": "application/json", **named}
        return await self.client.post("/signals", content=content, headers=named)

    async def new_order(self, **given: object) -> str:
        """Post a good signal and give its order's id."""
        answer = await self.post({**SIGNAL, **given})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["order_id"])

    async def get(self, path: str, **parameters: Any) -> Json:
        """Read a document that must be there."""
        answer = await self.client.get(path, params=parameters)
        assert answer.status_code == 200, answer.text
        return cast("Json", answer.json())

    async def stored(self) -> int:
        """Count the orders in the database."""
        figures = await self.store.figures()
        return sum(figures.by_status.values())

    async def sign(self, number: int) -> Claimed:
        """Claim the next order and store an attempt with a signature of its own."""
        (claimed,) = await self.store.claim(1, self.clock.now_us())
        stored = await self.store.store_attempt(
            claimed,
            replace(signed(), signature=f"signature{number}"),
            LanePlan((Lane("rpc", 1_000),)),
            balances=Balances(slot=1, lamports=10**12),
            reserve_lamports=0,
            at_us=self.clock.now_us(),
        )
        assert isinstance(stored, Claimed)
        return stored

    async def doubt(self, number: int = 1) -> None:
        """Sign the next order and let nobody know what became of it."""
        claimed = await self.sign(number)
        attempt = claimed.view.attempts[-1]
        doubt = changes.in_doubt(attempt, at_us=self.clock.now_us(), why="nobody knows")
        await self._recorded(claimed, doubt)

    async def fill(self, number: int = 1, fill: Fill = FILL) -> None:
        """Execute the next order: sign, push, land, finalize, and seal the trail."""
        claimed = await self.sign(number)
        attempt = claimed.view.attempts[-1]
        pushed = changes.submitted(attempt, (push(),), at_us=self.clock.now_us())
        claimed = await self._recorded(claimed, pushed)
        attempt = claimed.view.attempts[-1]
        filled = changes.filled(attempt, fill, at_us=self.clock.now_us())
        claimed = await self._recorded(claimed, filled)
        final = changes.finalized(attempt, slot=fill.slot, at_us=self.clock.now_us())
        await self._recorded(claimed, final)
        await self.seal()

    async def fill_all(self) -> None:
        """Fill whatever is accepted, as it comes, until canceled."""
        work = asyncio.Event()
        self.manager.on_work = work.set
        for number in itertools.count(1):
            work.clear()  # before the look: what comes during it counts
            while not (await self.store.figures()).pending:
                await work.wait()
                work.clear()
            await self.fill(number)

    async def _recorded(self, claimed: Claimed, change: changes.Change) -> Claimed:
        recorded = await self.store.record(claimed, change)
        assert isinstance(recorded, Claimed)
        return recorded

    async def seal(self) -> None:
        """Seal the trail and wake whoever waits."""
        await self.store.seal(10_000)
        self.manager.changed()


def token(symbol: str, decimals: int) -> Token:
    """Make a token of other decimals."""
    return replace(USDC, symbol=symbol, decimals=decimals)


@asynccontextmanager
async def running(folder: Path, *, queue_max: int = 1_000) -> AsyncIterator[Running]:
    """Open the interface on the SQLite database in a folder, a new one if there is none."""
    database = folder / "orders.db"
    if not database.exists():
        await migrate(str(database), "orders", backup_dir=folder)
    async with open_store(str(database), process_name="test") as store:
        clock, telemetry, report, methods = TestClock(), Telemetry(), Report(), Methods()
        switch = TradingSwitch(store, clock)
        await switch.load()
        witness = Witness()
        ports = Ports(
            store=store,
            chain=cast("Chain", witness),
            trading=cast("Trading", None),
            clock=clock,
            telemetry=telemetry,
        )
        manager = OrderManager(
            ports,
            switch=switch,
            rules=SignalRules(markets=MARKETS, methods=RULES.methods),
            wallet="main",
            new_id=lambda: str(uuid.uuid4()),
            order_timeout_seconds=300,
            queue_max=queue_max,
            history_max=100,
        )
        long_answers = LongAnswers(streams_max=2, polls_max=2)
        parts = (store, manager, clock, telemetry, report, methods, long_answers)
        admin = MethodAdmin(store, methods, clock)
        api = build_api(lambda: open_api.service, version="0.1.0", long_answers=long_answers)
        transport = httpx.ASGITransport(app=api)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            resolver = Resolver(ports, engine=Hands(store), manager=manager)
            desk = Desk()
            service = ApiService(manager, report, telemetry, admin, switch, resolver, desk)
            open_api = Running(api, client, *parts, service, witness, desk)
            yield open_api


class Desk:
    """A desk that shows what it was asked, or fails as a test says."""

    def __init__(self) -> None:
        self.trouble: Synergy7Error | None = None

    async def markets(self) -> Sequence[Json]:
        self._fail()
        return [{"name": "SOL-USDC"}]

    async def quote(self, body: Mapping[str, object]) -> Json:
        self._fail()
        return {"quoted": dict(body)}

    def _fail(self) -> None:
        if self.trouble is not None:
            raise self.trouble


class Witness:
    """A chain of one endpoint, past every life, that says what a test lets it say of an attempt."""

    def __init__(self) -> None:
        self.status: ChainStatus = Absent(10_000)
        self.heights = Heights(10_000, 10_000)

    async def testimony(self, _attempt: StoredAttempt) -> Sequence[Hearing]:
        return [Hearing("node.example:443", self.heights, self.status)]

    async def transaction(self, _signature: str) -> None:
        return None

    async def prove_dead(self, _attempt: StoredAttempt) -> NotProved:
        return NotProved("one endpoint is not enough")


class Hands:
    """Holds an order in doubt as the engine does, with nobody else there."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store

    @asynccontextmanager
    async def taken_over(self, account: str, order_id: str) -> AsyncIterator[Held | None]:
        claimed = await self._store.take_over(account, order_id)
        if claimed is None:
            yield None
            return
        try:
            yield Held(claimed, self._store, lambda _before, _after: None, OrderTime(TestClock()))
        finally:
            await self._store.release(claimed)


class Reader:
    """A client of a stream: takes messages as the application sends them, when it is let."""

    def __init__(self, app: Api, path: str = "/events", **headers: str) -> None:
        path, _, query = path.partition("?")
        named = {"accept": "text/event-stream", **headers}
        self.scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "query_string": query.encode(),
            "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in named.items()],
        }
        self._app = app
        self._sent: asyncio.Queue[Message] = asyncio.Queue()
        self._gone = asyncio.Event()
        self.takes = asyncio.Event()
        self.takes.set()
        self._task: asyncio.Task[None] | None = None

    def open(self) -> "Reader":
        """Ask the application."""
        self._task = asyncio.create_task(self._app(self.scope, self.receive, self.send))
        return self

    async def receive(self) -> Message:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        await self.takes.wait()
        await self._sent.put(message)

    def go(self) -> None:
        """Go away."""
        self._gone.set()

    async def next(self) -> Message:
        """Take the next message, which must come."""
        async with asyncio.timeout(10):
            return await self._sent.get()

    async def started(self) -> int:
        """Take the start of the answer and give its status."""
        return int((await self.next())["status"])

    async def text(self) -> str:
        """Take the next piece of the body."""
        return str((await self.next())["body"].decode())

    async def gone(self) -> None:
        """Go away, and see the application notice."""
        self.go()
        await self.ended()

    async def ended(self) -> None:
        """Wait for the application's end of the answer."""
        assert self._task is not None
        async with asyncio.timeout(10):
            await self._task

    def left(self) -> list[Message]:
        """Give what was sent and not taken."""
        messages = []
        while not self._sent.empty():
            messages.append(self._sent.get_nowait())
        return messages


def events_of(text: str) -> list[Json]:
    """Read the events of a piece of a stream."""
    lines = text.splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
