"""The store in memory, on which the engine's lives are simulated, does what the real ones do.

Two processes tell the same story to both, with claims old and new; every answer is compared, and in the
end every order and what was told of it.
"""

import random
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

import pytest
from sqlalchemy import text

from app.database import claims
from app.database.claims import Holder
from app.database.engine import Database
from app.database.orders import SqlStore
from app.domain import changes
from app.domain.changes import Change
from app.domain.errors import IllegalMoveError, ReasonCode
from app.domain.events import EventKind
from app.domain.order import NewOrder, Order, OrderStatus, OrderView
from app.domain.signal import Action
from app.engine.ports import Accepted, Claimed, LostLease
from tests.database import steps
from tests.database.steps import SOON
from tests.domain import makers
from tests.domain.makers import FILL, NOW, PROOF, SLIPPAGE, S
from tests.engine.fake_store import FakeDatabase, FakeStore

pytestmark = pytest.mark.anyio

PROCESSES: Final = ("one", "two")
SILENCE_SECONDS: Final = 4
STEPS: Final = 220
SEEDS: Final = 4
LIMIT: Final = 50


class StillClock:
    """Time does not pass by itself in these stories."""

    def now_us(self) -> int:
        return SOON

    def monotonic(self) -> float:
        return 1_000.0


async def enter(database: Database, name: str) -> SqlStore:
    """Enter a process in a database, besides the one that opened it."""
    holder = Holder(name, name)
    await database.write(lambda conn: claims.register(conn, holder, alone=False))
    return SqlStore(database, holder)


def order_of(order: Order) -> dict[str, Any]:
    """Give what must be the same of an order in both stores; why a waiting one waits is the real one's."""
    names = (
        "order_id", "account", "wallet", "signal", "fingerprint", "idempotency_key", "status",
        "accepted_at_us", "deadline_us", "next_attempt_at_us", "version", "tries", "fill",
        "cancel_requested_at_us", "in_doubt_since_us", "landed_failed_at_us", "filled_at_us",
        "finalized_at_us", "ended_at_us", "in_sequence",
    )  # fmt: skip
    return {name: getattr(order, name) for name in names}


def said(answer: object) -> object:
    """Give an answer in a form that can be compared."""
    if isinstance(answer, Claimed):
        return said(answer.view)
    if isinstance(answer, OrderView):
        return order_of(answer.order), answer.attempts
    if isinstance(answer, Accepted):
        return order_of(answer.order), answer.replayed
    if isinstance(answer, Order):
        return order_of(answer)
    if isinstance(answer, Sequence) and not isinstance(answer, str):
        return [said(each) for each in answer]
    return answer


class Story:
    """One seed's story, told to the store in memory and to a real one, step by step."""

    def __init__(self, seed: int, real: SqlStore, stores: dict[str, SqlStore]) -> None:
        self.rng = random.Random(seed)
        self.seed = seed
        self.database = FakeDatabase(StillClock())
        self.fakes = {name: FakeStore(self.database, name) for name in PROCESSES}
        self.reals = stores
        self.real = real
        self.held: list[tuple[str, Claimed, Claimed]] = []
        self.posted: list[NewOrder] = []
        self.signed = 0
        self.done: list[str] = []

    async def both(self, name: str, ask: Callable[[Any, int], Awaitable[Any]]) -> tuple[Any, Any]:
        """Ask a process's store of both kinds; the answers must be the same."""
        answers: list[Any] = []
        for kind, store in enumerate((self.fakes[name], self.reals[name])):
            try:
                answers.append(await ask(store, kind))
            except IllegalMoveError as error:
                answers.append(type(error))
        fake, real = answers
        assert said(fake) == said(real), (
            f"{self.seed}: {self.done[-8:]}\n{said(fake)}\n{said(real)}"
        )
        return fake, real

    async def step(self) -> None:
        """Do anything that a process may do."""
        name = self.rng.choice(PROCESSES)
        ways = (self.post, self.claim, self.store, self.record, self.other, self.cancel)
        chosen = self.rng.choices(ways, [4, 4, 4, 8, 2, 1])[0]
        self.done.append(f"{chosen.__name__} by {name}")
        await chosen(name)

    async def post(self, name: str) -> None:
        """Accept an order, a repeat, another body under an old key, or two keys that do not go together."""
        new = self.new_order()
        if self.posted and self.rng.random() < 0.3:
            old, other = self.rng.choice(self.posted), self.rng.choice(self.posted)
            new = steps.new_order(
                new.order_id,
                signal=makers.signal(
                    client_order_id=self.rng.choice([old, other]).signal.client_order_id
                ),
                idempotency_key=old.idempotency_key,
                fingerprint=self.rng.choice([old.fingerprint, "e" * 64]),
            )
        full = self.rng.random() < 0.1
        fake, _ = await self.both(name, lambda store, _: store.accept(new, full=full))
        if isinstance(fake, Accepted) and not fake.replayed:
            self.posted.append(new)

    def new_order(self) -> NewOrder:
        """Make an order; some keep their sequence, some have no key, some are late."""
        number = len(self.done)
        in_sequence = self.rng.random() < 0.3
        keyed = self.rng.random() < 0.7
        return steps.new_order(
            f"o{number:04}",
            signal=makers.signal(
                self.rng.choice([Action.BUY, Action.SELL]) if in_sequence else Action.SELL,
                priority=self.rng.randint(0, 9),
                client_order_id=f"c{number}" if keyed else None,
            ),
            idempotency_key=f"k{number}" if self.rng.random() < 0.7 else None,
            fingerprint=f"{number:064}",
            accepted_at_us=NOW + self.rng.randint(-50, 50),
            deadline_us=self.rng.choice([SOON, NOW + 300 * S]),
            in_sequence=in_sequence,
        )

    async def claim(self, name: str) -> None:
        """Take what is due, overdue or to be watched."""
        what = self.rng.choice(["claim", "claim", "overdue", "adopt"])
        limit = self.rng.choice([1, 2, LIMIT]) if what == "claim" else LIMIT
        calls: dict[str, Callable[[Any], Awaitable[Sequence[Claimed]]]] = {
            "claim": lambda store: store.claim(limit, SOON),
            "overdue": lambda store: store.claim(limit, SOON, overdue_only=True),
            "adopt": lambda store: store.adopt(limit),
        }

        async def ask(store: Any, _kind: int) -> list[Claimed]:
            taken = list(await calls[what](store))
            by_id = sorted(taken, key=lambda one: one.view.order.order_id)
            return taken if what == "claim" else by_id  # a watch has no order of its own

        fake, real = await self.both(name, ask)
        assert isinstance(fake, list)
        assert isinstance(real, list)
        for ours, theirs in zip(fake, real, strict=True):
            self.hold(name, ours, theirs)

    def hold(self, name: str, fake: Claimed, real: Claimed) -> None:
        """Keep a claim; one that it renews is gone: a process writes to an order in single file."""
        order = fake.view.order
        known = (name, order.order_id, order.version)
        self.held = [
            each
            for each in self.held
            if (each[0], each[1].view.order.order_id, each[1].view.order.version) != known
        ]
        self.held.append((name, fake, real))

    def any_claim(self) -> tuple[str, Claimed, Claimed] | None:
        """Choose a claim, mostly one of the newest, of whatever process."""
        if not self.held:
            return None
        among = self.held[-4:] if self.rng.random() < 0.8 else self.held
        return self.rng.choice(among)

    async def store(self, _name: str) -> None:
        """Store an attempt for a claim of any age."""
        chosen = self.any_claim()
        if chosen is None or chosen[1].view.live_attempt is not None:
            return
        name, *pair = chosen
        self.signed += 1
        signed = steps.signed(f"s{self.signed}")
        plan = makers.attempt().plan
        await self.write(
            name,
            lambda store, kind: store.store_attempt(
                pair[kind], signed, plan, balances=steps.RICH, reserve_lamports=0, at_us=SOON
            ),
        )

    async def record(self, _name: str) -> None:
        """Record what is legal for what a claim knows, and sometimes what is not."""
        chosen = self.any_claim()
        if chosen is None:
            return
        name, *pair = chosen
        made = self.changes_of(pair[0].view)
        if made:
            await self.write(name, lambda store, kind: store.record(pair[kind], *made))

    async def write(self, name: str, ask: Callable[[Any, int], Awaitable[Any]]) -> None:
        """Write to both; what is renewed is held from now on."""
        fake, real = await self.both(name, ask)
        if isinstance(fake, Claimed) and isinstance(real, Claimed):
            self.hold(name, fake, real)

    def changes_of(self, view: OrderView) -> list[Change]:
        """Give changes of an order."""
        live, order = view.live_attempt, view.order
        if order.status is OrderStatus.FILLED:
            landed = view.attempts[-1]
            done = changes.finalized(landed, slot=7, at_us=SOON)
            undone = changes.fill_reverted(landed, at_us=SOON, proof=PROOF)
            return [self.rng.choice([done, done, undone])]
        if live is None:
            if order.status.final:
                return []
            code = ReasonCode.PRICE_LIMIT
            status = self.rng.choice([OrderStatus.FAILED, OrderStatus.EXPIRED])
            end = changes.ended(view, status, at_us=SOON, code=code, reason="no")
            return [self.rng.choice([end, self.requeued(view)])]
        died = changes.attempt_expired(live, PROOF, at_us=SOON)
        failed = changes.attempt_failed(live, SLIPPAGE, slot=3, at_us=SOON)
        return self.rng.choice(
            [
                [changes.submitted(live, (makers.push(),), at_us=SOON)],
                [changes.filled(live, FILL, at_us=SOON)],
                [changes.in_doubt(live, at_us=SOON, why="no answer")],
                [changes.landed_failed(live, slot=3, at_us=SOON)],
                [died, self.requeued(changes.apply(view, died))],
                [failed, self.requeued(changes.apply(view, failed))],
            ]
        )

    def requeued(self, view: OrderView) -> Change:
        """Back to the queue, due at once or later."""
        due = self.rng.choice([SOON, SOON, SOON + 60 * S])
        code = ReasonCode.ATTEMPT_EXPIRED
        return changes.requeued(view, at_us=SOON, next_us=due, code=code, reason="again")

    async def cancel(self, name: str) -> None:
        """Ask for the cancellation of any order."""
        order_id = self.rng.choice(self.posted).order_id if self.posted else "nobody's"
        await self.both(name, lambda store, _: store.cancel("default", order_id, SOON))

    async def other(self, name: str) -> None:
        """Read a claim again or give it back; beat, fall silent, forget; halt and resume."""
        chosen = self.any_claim()
        what = self.rng.choice(["reload", "release", "beat", "silent", "disown", "halt", "resume"])
        self.done[-1] = f"{what} by {name}"
        if what in {"reload", "release"} and chosen is not None:
            holder, *pair = chosen
            await self.write(holder, lambda store, kind: getattr(store, what)(pair[kind]))
        elif what == "beat":
            await self.both(name, lambda store, _: store.heartbeat())
        elif what == "silent":
            await self.fall_silent(name)
        elif what == "disown":
            known = {c.view.order.order_id: c.view.order.version for _, c, _ in self.held[-6:]}
            await self.both(name, lambda store, _: store.disown(known))
        elif what == "halt" and self.rng.random() < 0.5:
            await self.both(name, lambda store, _: store.halt("so", SOON))
        elif what in {"halt", "resume"}:
            await self.both(name, lambda store, _: store.resume(SOON))

    async def fall_silent(self, name: str) -> None:
        """Let a process's last heartbeat be long ago, and another one's be new."""
        if name not in self.database.processes:
            return
        self.database.processes[name] -= SILENCE_SECONDS
        statement = text(
            "UPDATE processes SET heartbeat_at_us = heartbeat_at_us - :by WHERE process_id = :who"
        )
        values = {"by": SILENCE_SECONDS * S, "who": name}
        database = self.real._database  # noqa: SLF001 - time cannot be turned in a database
        await database.write(lambda conn: conn.execute(statement, values).close())

    async def revive(self) -> None:
        """Let the living beat, and start again who was struck out: as new rows of the old name."""
        for name in PROCESSES:
            if name in self.database.processes:
                await self.both(name, lambda store, _: store.heartbeat())
                continue
            self.database.processes[name] = StillClock().monotonic()
            await enter(self.real._database, name)  # noqa: SLF001 - as a process does at its start

    async def compare(self) -> None:
        """Hold every order to its twin, with all that was told of it."""
        for new in self.posted:
            await self.both("one", partial(view_of, new.order_id))
        told: dict[str, list[EventKind]] = {}
        for event in await steps.seal_all(self.real):
            told.setdefault(event.order_id, []).append(event.kind)
        for new in self.posted:
            assert self.database.kinds(new.order_id) == told[new.order_id], new.order_id
        fake, real = await self.fakes["one"].figures(), await self.reals["one"].figures()
        assert fake == real


async def test_the_fake_does_what_the_real_one_does(store: SqlStore) -> None:
    """Whatever two processes do, in whatever order, with claims of any age."""
    database, seen = store._database, set[OrderStatus]()  # noqa: SLF001 - what two processes share
    for seed in range(SEEDS):
        await empty(database)
        story = Story(seed, store, {name: await enter(database, name) for name in PROCESSES})
        for _ in range(STEPS):
            if story.rng.random() < 0.2:
                await story.revive()
            await story.step()
        await story.compare()
        seen |= {row.order.status for row in story.database.rows.values()}
    assert seen == set(OrderStatus) - {OrderStatus.REJECTED}


async def view_of(order_id: str, store: Any, _kind: int) -> object:
    """Read an order."""
    return await store.view("default", order_id)


async def empty(database: Database) -> None:
    """Forget every order, as if the database was new."""

    def forget(conn: Any) -> None:
        for table in ("submissions", "attempts", "events", "order_keys", "orders", "meta"):
            conn.execute(text(f"DELETE FROM {table}"))
        conn.execute(text("DELETE FROM processes WHERE process_id IN ('one', 'two')"))

    await database.write(forget)


async def test_an_older_claim_of_the_same_process_writes_nothing(store: SqlStore) -> None:
    """It gave the order back and took it up again: what it still has in hand from before is void."""
    old = await steps.begin(store)
    await store.release(old)
    await steps.claim(store)
    assert await steps.try_to_store(store, old) == LostLease()
    assert await store.record(old, steps.requeue(old)) == LostLease()
    assert await steps.status(store) is OrderStatus.EXECUTING
