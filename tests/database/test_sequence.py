"""Orders that keep their sequence: opposite ones of a wallet and market do not overtake each other."""

import asyncio
import random
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql.base import PGDialect

from app.database import claims, intake
from app.database.addresses import PostgresServer, address_of
from app.database.engine import open_database, postgres_engine
from app.database.inspection import open_inspection
from app.database.orders import SqlStore, open_store
from app.database.rows import order_values
from app.domain import changes
from app.domain.audit import differences
from app.domain.errors import ReasonCode
from app.domain.order import Order, OrderStatus
from app.domain.retry import out_of_time
from app.domain.signal import Action
from app.engine.ports import Accepted, CancelOutcome, Claimed, OrderFilter
from tests.database import steps
from tests.database.steps import SOON
from tests.domain import makers
from tests.domain.makers import NOW, S

pytestmark = pytest.mark.anyio

BUY, SELL = Action.BUY, Action.SELL
LATER = SOON + 60 * S


async def post(
    store: SqlStore, order_id: str, action: Action, /, *, at: int = NOW, **given: Any
) -> Order:
    """Accept an order that keeps its sequence; what belongs to its signal goes there."""
    ours = {"priority", "market", "valid_for_us", "signal_time_us"}
    signal = makers.signal(action, **{name: given.pop(name) for name in ours & given.keys()})
    fields: dict[str, Any] = {"in_sequence": True, **given}
    return await steps.accept(store, order_id, signal=signal, accepted_at_us=at, **fields)


async def claimed(store: SqlStore, limit: int = 10, at_us: int = SOON) -> list[str]:
    """Claim what is free, and name it."""
    return [one.view.order.order_id for one in await store.claim(limit, at_us)]


async def take(store: SqlStore, order_id: str) -> Claimed:
    """Claim the one order that is free, which is this one."""
    held = await steps.claim(store)
    assert held.view.order.order_id == order_id
    return held


async def test_an_opposite_order_waits_whatever_its_priority(store: SqlStore) -> None:
    """The SELL came first: the BUY of priority 9 is claimed once it is filled, not before."""
    await post(store, "a-sell", SELL, priority=0)
    await post(store, "b-buy", BUY, at=NOW + 1, priority=9)
    sell = await take(store, "a-sell")
    assert await claimed(store) == []
    sell = await steps.sign(store, sell)
    assert await claimed(store) == []
    await steps.fill(store, sell)
    assert await claimed(store) == ["b-buy"]


async def test_an_order_that_backs_off_or_is_in_doubt_is_waited_for(store: SqlStore) -> None:
    """It is open in any of these states, and what waits for it stays."""
    await post(store, "a-sell", SELL)
    await post(store, "b-buy", BUY, at=NOW + 1)
    sell = await take(store, "a-sell")
    await steps.record(store, sell, steps.requeue(sell, LATER))
    assert await claimed(store, at_us=LATER - 1) == []
    (sell,) = await store.claim(10, LATER)
    sell = await steps.sign(store, sell)
    doubt = changes.in_doubt(steps.live(sell), at_us=LATER, why="no answer")
    sell = await steps.record(store, sell, doubt)
    assert await claimed(store, at_us=LATER) == []
    await store.release(sell)
    assert await claimed(store, at_us=LATER) == []


async def test_any_end_of_the_earlier_order_gives_way(store: SqlStore) -> None:
    """Canceled, failed, expired by proof: the next in the sequence goes on."""
    for number, action in enumerate((SELL, BUY, SELL, BUY)):
        await post(store, f"o{number}", action, at=NOW + number)
    assert (await store.cancel("default", "o0", SOON))[0] is CancelOutcome.CANCELED
    held = await take(store, "o1")
    failed = changes.ended(
        held.view, OrderStatus.FAILED, at_us=SOON, code=ReasonCode.PRICE_LIMIT, reason="no"
    )
    await steps.record(store, held, failed)
    held = await steps.sign(store, await take(store, "o2"))
    dead = steps.expiry(held)
    view = changes.apply(held.view, dead)
    expired = changes.ended(
        view, OrderStatus.EXPIRED, at_us=SOON, code=ReasonCode.ORDER_TIMEOUT, reason="late"
    )
    await steps.record(store, held, dead, expired)
    assert await claimed(store) == ["o3"]


@pytest.mark.parametrize(
    "other",
    [
        {"action": SELL},
        {"action": BUY, "market": "BONK-USDC"},
        {"action": BUY, "wallet": "another"},
        {"action": BUY, "in_sequence": False},
    ],
    ids=["same direction", "other market", "other wallet", "not in sequence"],
)
async def test_others_are_not_waited_for(store: SqlStore, other: dict[str, Any]) -> None:
    """Only what keeps its sequence, is opposite, and is of the same wallet and market."""
    given = dict(other)
    await post(store, "a-sell", SELL, priority=0)
    await post(store, "b", given.pop("action"), at=NOW + 1, priority=9, **given)
    assert await claimed(store) == ["b", "a-sell"]


async def test_an_order_not_in_sequence_is_not_waited_for(store: SqlStore) -> None:
    """The rule holds between orders that are both in sequence."""
    await post(store, "a-sell", SELL, in_sequence=False)
    await post(store, "b-buy", BUY, at=NOW + 1)
    assert await claimed(store) == ["a-sell", "b-buy"]


async def test_the_same_microsecond_has_an_order(store: SqlStore) -> None:
    """Accepted later, placed later, though its id is smaller: its time says so."""
    await post(store, "z-sell", SELL)
    buy = await post(store, "a-buy", BUY)
    assert buy.accepted_at_us == NOW + 1
    assert await claimed(store) == ["z-sell"]


async def test_a_clock_behind_changes_no_sequence(store: SqlStore) -> None:
    """An hour behind: placed after the open one, its own deadline kept and its reason with it."""
    hour = 3_600 * S
    await post(store, "a-sell", SELL, at=NOW + hour, deadline_us=NOW + 2 * hour)
    buy = await post(store, "b-buy", BUY, valid_for_us=20 * S, deadline_us=NOW + 20 * S)
    plain = await post(store, "c-buy", BUY, valid_for_us=900 * S, deadline_us=NOW + 300 * S)
    assert buy.accepted_at_us == plain.accepted_at_us == NOW + hour + 1
    assert buy.deadline_us == NOW + 20 * S
    assert await claimed(store, at_us=NOW + hour) == ["a-sell"]
    assert (await store.cancel("default", "a-sell", SOON))[0] is CancelOutcome.CANCELED
    held = {h.view.order.order_id: h for h in await store.claim(10, NOW)}
    assert out_of_time(held["b-buy"].view).code is ReasonCode.SIGNAL_STALE
    assert out_of_time(held["c-buy"].view).code is ReasonCode.ORDER_TIMEOUT


async def test_what_waits_beyond_its_deadline_is_handed_out_to_be_ended(store: SqlStore) -> None:
    """Its turn has not come, and never will."""
    await post(store, "a-sell", SELL)
    await take(store, "a-sell")
    await post(store, "b-buy", BUY, at=NOW + 1, deadline_us=SOON)
    assert await claimed(store) == []
    (late,) = await store.claim(10, SOON, overdue_only=True)
    assert late.view.order.order_id == "b-buy"


async def test_what_a_clock_ahead_took_out_of_turn_waits_again(store: SqlStore) -> None:
    """A process takes an order up to end it, since its clock is ahead, and dies: nobody signs it now."""
    await post(store, "a-sell", SELL)
    await post(store, "b-buy", BUY, at=NOW + 1, deadline_us=LATER)
    await steps.sign(store, await take(store, "a-sell"))
    (overdue,) = await store.claim(10, LATER + 1, overdue_only=True)
    await store.release(overdue)
    assert await claimed(store) == []
    (overdue,) = await store.claim(10, LATER + 1, overdue_only=True)
    assert overdue.view.order.order_id == "b-buy"


async def test_a_waiting_order_says_what_it_waits_for(store: SqlStore) -> None:
    """By itself and in lists: the first open order in its way; nothing once its turn has come."""
    await post(store, "a-sell", SELL)
    await post(store, "b-sell", SELL, at=NOW + 1)
    await post(store, "c-buy", BUY, at=NOW + 2)
    view = await store.view("default", "c-buy")
    assert view is not None
    assert view.order.reason_code is ReasonCode.IN_SEQUENCE
    assert "a-sell" in (view.order.reason or "")
    listed = await store.orders(OrderFilter(account="default"), limit=10, before=None)
    assert [v.order.reason_code for v in listed] == [ReasonCode.IN_SEQUENCE, None, None]
    for order_id in ("a-sell", "b-sell"):
        await store.cancel("default", order_id, SOON)
    view = await store.view("default", "c-buy")
    assert view is not None
    assert view.order.reason_code is None


# ---------------------------------------------------------------- races between processes


@pytest.mark.postgres
async def test_an_order_being_taken_in_is_not_overtaken(
    postgres_url: str, two_stores: tuple[SqlStore, SqlStore]
) -> None:
    """The SELL is inserted and not committed: no BUY is accepted before it, whatever its clock says.

    The race: a BUY that was committed first would be claimed before the SELL could be seen, and both
    would run at once.
    """
    first, second = two_stores
    address = address_of(postgres_url)
    assert isinstance(address, PostgresServer)
    sell = steps.new_order("sell", signal=makers.signal(SELL), in_sequence=True)
    engine = postgres_engine(address, size=1)
    async with engine.connect() as conn:
        await conn.begin()
        taken = await conn.run_sync(lambda c: intake.accept(c, sell, full=False, rejection=None))
        assert isinstance(taken, Accepted)
        posting = asyncio.create_task(post(second, "buy", BUY, at=NOW - S))
        await until_waiting(postgres_url)
        assert await claimed(first) == []
        assert not posting.done()
        await conn.commit()
    await engine.dispose()
    buy = await posting
    assert buy.accepted_at_us == NOW + 1
    assert await claimed(first) == ["sell"]
    assert await claimed(second) == []


async def until_waiting(url: str) -> None:
    """Return when a process waits for an advisory lock."""
    waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
    async with open_database(address_of(url), pool_size=1) as database, asyncio.timeout(10):
        while not await database.read(lambda conn: conn.scalar(waiting)):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.postgres
async def test_two_processes_post_and_claim_crosswise(
    two_stores: tuple[SqlStore, SqlStore],
) -> None:
    """However they race, no two opposite orders are ever held together, and all have their turn."""
    active = {BUY: 0, SELL: 0}
    done: list[str] = []
    chance = random.Random(7)

    async def produce(store: SqlStore, name: str) -> None:
        for number in range(20):
            at = NOW + chance.randrange(-S, S)
            await post(store, f"{name}{number:02}", chance.choice((BUY, SELL)), at=at)

    async def work(store: SqlStore) -> None:
        while len(done) < 40:
            for one in await store.claim(2, LATER):
                action = one.view.order.signal.action
                active[action] += 1
                assert not active[BUY if action is SELL else SELL], "opposite orders at once"
                stored = await steps.sign(store, one)
                active[action] -= 1
                await steps.fill(store, stored)
                done.append(one.view.order.order_id)
            await asyncio.sleep(0)

    first, second = two_stores
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        for store, name in ((first, "a"), (second, "b")):
            group.create_task(produce(store, name))
            group.create_task(work(store))
            group.create_task(work(store))
    assert sorted(done) == sorted(f"{name}{number:02}" for name in "ab" for number in range(20))


# ---------------------------------------------------------------- any story


@dataclass
class Known:
    """An order as the story knows it, numbered by acceptance."""

    number: int
    action: Action
    market: str
    in_sequence: bool
    status: OrderStatus = OrderStatus.QUEUED
    held: Claimed | None = None

    @property
    def open(self) -> bool:
        return not self.status.final

    def opposes(self, other: "Known") -> bool:
        """Tell whether two orders must not overtake each other."""
        return (
            self.in_sequence
            and other.in_sequence
            and self.market == other.market
            and self.action is not other.action
        )


class Story:
    """Random arrivals, claims and outcomes; each claim is judged by what was accepted before."""

    def __init__(self, store: SqlStore, seed: int) -> None:
        self.store = store
        self.chance = random.Random(seed)
        self.now = SOON
        self.orders: dict[str, Known] = {}

    async def arrive(self) -> None:
        chance, number = self.chance, len(self.orders)
        known = Known(
            number,
            chance.choice((BUY, SELL)),
            chance.choice(("SOL-USDC", "SOL-USDC", "RAY-SOL")),
            in_sequence=chance.random() < 0.8,
        )
        order_id = f"{chance.randrange(10**6):06}-{number}"
        await post(
            self.store,
            order_id,
            known.action,
            at=NOW + chance.choice((0, 0, 1, -S, S)),
            market=known.market,
            priority=chance.randrange(10),
            in_sequence=known.in_sequence,
        )
        self.orders[order_id] = known

    async def claim(self) -> None:
        for one in await self.store.claim(self.chance.randrange(1, 5), self.now):
            known = self.orders[one.view.order.order_id]
            before = [k for k in self.orders.values() if k.open and k.number < known.number]
            if known.status is OrderStatus.QUEUED:
                assert not [k for k in before if k.opposes(known)], "it overtakes"
            known.status, known.held = one.view.order.status, one
        self.judge()

    def judge(self) -> None:
        active = (OrderStatus.EXECUTING, OrderStatus.SUBMITTED)
        busy = [k for k in self.orders.values() if k.status in active]
        assert not [(a, b) for a in busy for b in busy if a.opposes(b)], "opposite ones at once"

    async def act(self) -> None:
        busy = [k for k in self.orders.values() if k.held is not None]
        if not busy:
            return
        known = self.chance.choice(busy)
        held = known.held
        assert held is not None
        if held.view.live_attempt is not None:
            await self.settle(known, held)
        elif self.chance.random() < 0.6:
            known.held = await steps.sign(self.store, held)
            known.status = OrderStatus.SUBMITTED
        else:
            later = self.now + self.chance.choice((0, S))
            await steps.record(self.store, held, steps.requeue(held, later))
            known.status, known.held = OrderStatus.QUEUED, None

    async def settle(self, known: Known, held: Claimed) -> None:
        outcome = self.chance.choice(("fill", "dead", "doubt"))
        if outcome == "fill":
            await self.store.release(await steps.fill(self.store, held))
            known.status, known.held = OrderStatus.FILLED, None
        elif outcome == "dead":
            dead = steps.expiry(held)
            requeue = steps.requeue(held, self.now, dead)
            await steps.record(self.store, held, dead, requeue)
            known.status, known.held = OrderStatus.QUEUED, None
        elif held.view.order.in_doubt_since_us is None:
            doubt = changes.in_doubt(steps.live(held), at_us=self.now, why="no answer")
            known.held = await steps.record(self.store, held, doubt)

    async def cancel(self) -> None:
        waiting = [o for o, k in self.orders.items() if k.open and k.held is None]
        if waiting:
            order_id = self.chance.choice(waiting)
            outcome, _ = await self.store.cancel("default", order_id, self.now)
            assert outcome is CancelOutcome.CANCELED
            self.orders[order_id].status = OrderStatus.CANCELED

    async def go(self, count: int) -> None:
        """Let so many things happen, then see every order to its end: nobody waits for ever."""
        happenings = (self.arrive, self.arrive, self.claim, self.act, self.act, self.act)
        for _ in range(count):
            await self.chance.choice((*happenings, self.cancel))()
            self.now += self.chance.randrange(S)
        for _ in range(40 * count):
            if not any(k.open for k in self.orders.values()):
                return
            await self.claim()
            await self.act()
            self.now += S
        raise AssertionError("some orders never have their turn")


@pytest.mark.parametrize("seed", range(8))
async def test_in_no_story_an_order_overtakes(sqlite_url: str, seed: int) -> None:
    """Whatever arrives, with any priority and outcome, and whatever the clocks say."""
    async with open_store(sqlite_url, process_name="test") as store:
        await Story(store, seed).go(120)
    assert await untrue(sqlite_url) == []


@pytest.mark.postgres
@pytest.mark.parametrize("seed", [11, 12])
async def test_in_no_story_on_postgresql_an_order_overtakes(postgres_url: str, seed: int) -> None:
    """As above, on the other database."""
    async with open_store(postgres_url, process_name="test") as store:
        await Story(store, seed).go(120)
    assert await untrue(postgres_url) == []


async def untrue(url: str) -> list[str]:
    """List in what the orders differ from what the trail tells of them."""
    async with open_inspection(url) as kept:
        orders = await kept.orders("")
    assert orders
    assert all(each.view is not None for each in orders)
    return [
        what
        for each in orders
        if each.view is not None
        for what in differences(each.view, each.events, each.event_seq)
    ]


# ---------------------------------------------------------------- what it costs

MANY = 3_000
POSTGRESQL = PGDialect()  # type: ignore[no-untyped-call]


async def fill_queue(url: str, count: int) -> None:
    """Queue orders of one direction, all in sequence and none in the way of another."""
    columns = {**order_values(steps.new_order("x", in_sequence=True)), "status": "queued"}
    names = sorted(columns)
    statement = text(
        f"INSERT INTO orders ({', '.join(names)}) VALUES ({', '.join(':' + n for n in names)})"
    )
    rows = [
        {**columns, "order_id": f"o{n:06}", "accepted_at_us": NOW + n, "next_attempt_at_us": NOW}
        for n in range(count)
    ]
    async with open_database(address_of(url), pool_size=1) as database:
        await database.write(lambda conn: conn.execute(statement, rows))


async def test_a_claim_costs_the_same_in_a_long_queue_on_sqlite(sqlite_url: str) -> None:
    """Counted in steps of SQLite's machine: the earlier orders of a sequence are not read through."""
    compiled = claims._QUEUED.compile(dialect=sqlite.dialect())  # noqa: SLF001 - as it is sent
    values = {**compiled.params, "limit": 3, "at": SOON}
    parameters = [values[name] for name in compiled.positiontup or ()]
    counts = []
    for count in (10, MANY):
        with closing(sqlite3.connect(sqlite_url)) as conn:
            conn.execute("DELETE FROM orders")
            conn.commit()
        await fill_queue(sqlite_url, count)
        counts.append(steps_of(sqlite_url, str(compiled), parameters))
    assert counts[0] == counts[1] < 500


def steps_of(path: str, sql: str, parameters: list[Any]) -> int:
    """Count the steps of SQLite's machine for a query of three rows."""
    taken = 0

    def step() -> int:
        nonlocal taken
        taken += 1
        return 0

    with closing(sqlite3.connect(path)) as conn:
        conn.set_progress_handler(step, 1)
        assert len(conn.execute(sql, parameters).fetchall()) == 3
    return taken


@pytest.mark.postgres
async def test_a_claim_costs_little_in_a_long_queue_on_postgresql(postgres_url: str) -> None:
    """Both indexes are taken, and a few pages read, whatever waits."""
    await fill_queue(postgres_url, MANY)
    statement = claims._QUEUED.compile(dialect=POSTGRESQL)  # noqa: SLF001 - as it is sent
    sql = str(statement).replace("%(limit)s", "3").replace("%(at)s", str(SOON))
    explain = text(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF) {sql}")

    def ask(conn: Connection) -> list[str]:
        conn.execute(text("ANALYZE orders"))
        rows = conn.execute(explain)
        return [row[0] for row in rows]

    async with open_database(address_of(postgres_url), pool_size=1) as database:
        plan = "\n".join(await database.write(ask))
    assert "Scan using ix_orders_queue" in plan
    assert "Scan using ix_orders_sequence" in plan
    assert "Sort" not in plan
    hits = next(line for line in plan.splitlines() if "Buffers: shared hit=" in line)
    assert int(hits.partition("hit=")[2].split()[0]) < 60, plan
