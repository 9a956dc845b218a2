"""Verification finds what was changed behind the service's back, and what the chain says otherwise."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from sqlalchemy import text

from app.database import inspection
from app.database.addresses import address_of
from app.database.engine import Database, open_database, open_for_reading
from app.database.inspection import Inspection, open_inspection
from app.database.orders import SqlStore, open_store
from app.database.tables import OrdersBase
from app.domain import changes
from app.domain.attempt import StoredAttempt
from app.domain.errors import ReasonCode, StartupError, TransientError
from app.domain.memo import Memo
from app.domain.order import Fill, OrderStatus, OrderView
from app.domain.outcome import Absent, Commitment, Seen, Unreachable
from app.engine.ports import CancelOutcome, LandedTransaction
from app.engine.recovery_port import Mention
from app.engine.verification import TOLD_MAX, Findings, Verification
from app.engine.verification_port import TrailPage
from tests.database import steps
from tests.database.conftest import MIGRATED, Server, administer
from tests.database.steps import SOON
from tests.domain import makers
from tests.domain.makers import FILL, NOW, SLIPPAGE, S

pytestmark = pytest.mark.anyio

FILLED = "filled"
GONE = Absent(10_000)
DAY = 86_400 * S


def landing(error: object | None = None, slot: int = FILL.slot) -> Seen:
    """Say that it is in a finalized block."""
    return Seen(slot, Commitment.FINALIZED, error, 10_000)


@dataclass
class FakeLedger:
    """A chain that says what a test has it say; every attempt that is not named is gone for good."""

    fated: dict[str, Seen | Absent | Unreachable] = field(default_factory=dict)
    shown: dict[str, LandedTransaction | Unreachable | None] = field(default_factory=dict)
    listed: list[Sequence[Mention] | Unreachable] = field(default_factory=list)
    strangers: set[str] = field(default_factory=set)
    unread: set[str] = field(default_factory=set)
    asked: list[tuple[str, int, bool]] = field(default_factory=list)
    fill_shown: Fill = FILL
    fill_error: Exception | None = None

    async def fates(
        self, attempts: Sequence[StoredAttempt]
    ) -> Mapping[str, Seen | Absent | Unreachable]:
        return {each.signature: self.fated.get(each.signature, GONE) for each in attempts}

    async def transaction(self, signature: str) -> LandedTransaction | Unreachable | None:
        return self.shown.get(signature, transaction(signature))

    async def signed_by(self, signature: str, wallet: str) -> bool | Unreachable:
        return Unreachable("away") if signature in self.unread else signature not in self.strangers

    async def mentions(
        self, wallet: str, since_slot: int, *, whole: bool
    ) -> AsyncIterator[Sequence[Mention] | Unreachable]:
        self.asked.append((wallet, since_slot, whole))
        for page in self.listed:
            yield page

    def fill(self, attempt: StoredAttempt, landed: LandedTransaction) -> Fill:
        if self.fill_error is not None:
            raise self.fill_error
        return self.fill_shown


def transaction(signature: str) -> LandedTransaction:
    """Show a transaction; what it traded is said apart."""
    return LandedTransaction(signature, FILL.slot, None, 5_100, (), (), (), (), {}, {})


def executed(signature: str, order_id: str, number: int = 1, **given: object) -> Mention:
    """List a transaction with a memo of ours."""
    memo = Memo(order_id, number, "0" * 16).text()
    fields = {"slot": FILL.slot, "failed": False, "unix_time": NOW // S, **given}
    return Mention(signature=signature, memo=f"[{len(memo)}] {memo}", **fields)  # type: ignore[arg-type]


async def test_a_fill_that_a_fork_undid_agrees_with_its_trail(url: str) -> None:
    """It has no amounts and no time of its fill any more, and its attempt is dead."""
    async with open_store(url, process_name="test") as store:
        claimed = await steps.fill(store, await steps.sign(store, await steps.begin(store)))
        last = claimed.view.attempts[-1]
        undone = changes.fill_reverted(last, at_us=SOON, proof=makers.PROOF)
        await steps.record(store, claimed, undone)
        await steps.seal_all(store)
    assert words(await verified(url, FakeLedger())) == []


async def test_a_fill_that_a_fork_moved_agrees_with_its_trail(url: str) -> None:
    """Pushed twice, and final in another block at another price: the last event's amounts hold."""
    moved = replace(FILL, slot=FILL.slot + 2, quote_amount=1_844_000, tip=9)
    async with open_store(url, process_name="test") as store:
        claimed = await steps.push(store, await steps.sign(store, await steps.begin(store)))
        claimed = await steps.fill(store, await steps.push(store, claimed))
        last = claimed.view.attempts[-1]
        final = changes.finalized(last, slot=moved.slot, at_us=SOON + S, moved=moved)
        claimed = await steps.record(store, claimed, final)
        await steps.seal_all(store)
    assert len(claimed.view.attempts[-1].submissions) == 2
    fated = {last.signature: landing(slot=moved.slot)}
    found = await verified(url, FakeLedger(fated=dict(fated), fill_shown=moved))
    assert (words(found), found.unknown) == ([], 0)


async def fill_database(store: SqlStore) -> None:
    """Leave an order of every kind behind, as the service would."""
    claimed = await steps.push(store, await steps.sign(store, await steps.begin(store, "filled")))
    await steps.finalize(store, await steps.fill(store, claimed))
    claimed = await steps.push(store, await steps.sign(store, await steps.begin(store, "failed")))
    dead = changes.attempt_failed(steps.live(claimed), SLIPPAGE, slot=5_004, at_us=SOON)
    claimed = await steps.record(store, claimed, dead, steps.requeue(claimed, SOON, dead))
    claimed = await steps.sign(store, await steps.claim(store))
    gone = steps.expiry(claimed)
    view = changes.apply(claimed.view, gone)
    await steps.record(store, claimed, gone, ended(view, OrderStatus.FAILED))
    claimed = await steps.begin(store, "expired")
    await steps.record(store, claimed, ended(claimed.view, OrderStatus.EXPIRED))
    await steps.accept(store, "canceled")
    assert (await store.cancel("default", "canceled", SOON))[0] is CancelOutcome.CANCELED
    stale = (ReasonCode.SIGNAL_STALE.value, "too late")
    await store.accept(steps.new_order("rejected"), full=False, rejection=stale)
    await store.release(
        await steps.push(store, await steps.sign(store, await steps.begin(store, "live")))
    )
    await steps.accept(store, "waiting", signal=makers.signal(price=makers.PRICE))
    await steps.seal_all(store)


def ended(view: OrderView, status: OrderStatus) -> changes.Change:
    """End an order without a fill."""
    code = ReasonCode.RETRIES_EXHAUSTED
    return changes.ended(view, status, at_us=SOON, code=code, reason="over")


KINDS = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]


@pytest.fixture(scope="module", params=KINDS)
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Make a database of either kind with orders of every kind; it is only read."""
    if request.param == "sqlite":
        template = request.getfixturevalue("migrated_file")
        url = str(shutil.copy(template, tmp_path_factory.mktemp("filled") / "orders.db"))
    else:
        server: Server = request.getfixturevalue("server")
        tables = reversed(OrdersBase.metadata.sorted_tables)
        emptying = [f"DELETE FROM {table.name}" for table in tables]
        asyncio.run(administer(server.url_of(MIGRATED), *emptying))
        asyncio.run(administer(server.url, f"CREATE DATABASE {FILLED} TEMPLATE {MIGRATED}"))
        url = server.url_of(FILLED)

    async def fill() -> None:
        async with open_store(url, process_name="test") as store:
            await fill_database(store)

    asyncio.run(fill())
    return url


@pytest.fixture
async def filled_url(
    filled: str, request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[str]:
    """Give a copy of it, to be changed."""
    if "://" not in filled:
        yield str(shutil.copy(filled, tmp_path / "orders.db"))
        return
    server: Server = request.getfixturevalue("server")
    await administer(server.url, f"CREATE DATABASE changed TEMPLATE {FILLED}")
    yield server.url_of("changed")
    await administer(server.url, "DROP DATABASE changed WITH (FORCE)")


@pytest.fixture
def ledger() -> FakeLedger:
    """Give the chain that agrees with these orders."""
    error = {"InstructionError": [2, {"Custom": 6005}]}
    fated = {"sig-filled-1": landing(), "sig-failed-1": landing(error, 5_004)}
    listed = [[executed("sig-filled-1", "filled")]]
    return FakeLedger(fated=dict(fated), listed=list(listed))


async def verified(
    url: str, ledger: FakeLedger | None, removed_before_us: int | None = None
) -> Findings:
    """Verify a database."""
    fills = ledger or FakeLedger()
    async with open_inspection(url) as kept:
        run = Verification(kept, ledger, fills, removed_before_us=removed_before_us)
        return await run.run()


def words(findings: Findings) -> list[str]:
    """List what differs."""
    return [f"{each.place}: {each.what}" for each in findings.told]


async def change(url: str, *statements: str) -> None:
    """Change a database behind the service's back."""
    async with open_database(address_of(url), pool_size=1) as database:
        for statement in statements:
            done = await database.write(lambda conn, s=statement: conn.execute(text(s)).rowcount)  # type: ignore[misc]
            assert done, f"nothing matches: {statement}"


async def test_a_sound_database_has_no_differences(filled_url: str, ledger: FakeLedger) -> None:
    """Every kind of order, sealed or not yet, agrees with its events and with the chain."""
    async with open_store(filled_url, process_name="test") as store:
        await steps.accept(store, "unsealed")
        found = await verified(filled_url, ledger)
    assert words(found) == []
    assert (found.orders, found.differences, found.unknown, found.unsealed) == (8, 0, 0, 1)
    assert found.events == len(await everything(filled_url))
    assert ledger.asked == [("main", makers.BLOCKHASH_SLOT, True)]


async def everything(url: str) -> Sequence[object]:
    """Read a row for each event, sealed or not."""
    async with open_database(address_of(url), pool_size=1) as database:
        return await database.read(lambda conn: conn.execute(text("SELECT 1 FROM events")).all())


TAMPERINGS = [
    ("an event's words", [("UPDATE events SET data = replace(data, 'SELL', 'BUY') WHERE seq = 1"
      " AND order_id = 'filled'")], ["position 1: the event does not", "filled: action is SELL"]),
    ("an event's time", ["UPDATE events SET at_us = at_us + 1 WHERE order_id = 'live' AND seq = 1"],
      ["does not continue the hash chain", "live: accepted_at_us"]),
    ("an event removed", ["DELETE FROM events WHERE order_id = 'filled' AND seq = 3"],
      ["position 3: the trail goes on with 4", "filled: the order has 6 events, and the trail 5",
       "attempt 1 is kept and told by no event"]),
    ("the trail's end removed", ["DELETE FROM events WHERE order_id = 'waiting'"],
      ["waiting: the order has 1 events, and the trail none"]),
    ("a hash", ["UPDATE events SET hash = 'x' WHERE position = 5"],
      ["position 5: the event does not", "position 6: the event does not"]),
    ("an event that is none", ["UPDATE events SET data = '{' WHERE order_id = 'canceled' AND seq = 2"],
      ["does not continue the hash chain", "canceled: status is canceled, and by the events queued"]),
    ("an event of no known kind",
      ["UPDATE events SET kind = 'order.lost' WHERE order_id = 'canceled' AND seq = 2"],
      ["does not continue the hash chain", "canceled: status is canceled"]),
    ("an amount", [("UPDATE orders SET fill_quote_amount = fill_quote_amount + 1"
      " WHERE order_id = 'filled'")],
      ["filled: quote_amount is 1845001, and by the events 1845000",
       "attempt 1: quote_amount is 1845001, and on the chain 1845000"]),
    ("a fee", ["UPDATE orders SET fill_tip = 7 WHERE order_id = 'filled'"],
      ["filled: tip is 7, and by the events 0", "tip is 7, and on the chain 0"]),
    ("a size", ["UPDATE orders SET size = size * 2 WHERE order_id = 'waiting'"],
      ["waiting: size is 20000000, and by the events 10000000"]),
    ("a status", ["UPDATE orders SET status = 'failed' WHERE order_id = 'filled'"],
      ["filled: status is failed, and by the events filled"]),
    ("a forged fill", [("UPDATE orders SET status = 'filled', fill_base_amount = 1, fill_quote_amount = 1,"
      " fill_network_fee = 1, fill_priority_fee = 1, fill_tip = 1, fill_venue_fee = 1, fill_slot = 1,"
      " filled_at_us = 1, finalized_at_us = 1 WHERE order_id = 'failed'")],
      ["failed: status is filled, and by the events failed",
       "failed: it is filled, and none of its attempts landed"]),
    ("a fill removed", [("UPDATE orders SET status = 'failed', fill_base_amount = NULL"
      " WHERE order_id = 'filled'")],
      ["filled: status is failed, and by the events filled",
       "filled: base_amount is None, and by the events 10000000"]),
    ("a reason", ["UPDATE orders SET reason_code = 'ORDER_TIMEOUT' WHERE order_id = 'failed'"],
      ["failed: reason_code is ORDER_TIMEOUT, and by the events RETRIES_EXHAUSTED"]),
    ("a lost attempt", ["DELETE FROM submissions", "DELETE FROM attempts WHERE order_id = 'filled'"],
      ["filled: attempt 1 is told by the events and not kept",
       "filled: sig-filled-1 executed filled/1, and no attempt with it is known"]),
    ("an attempt's last height", [("UPDATE attempts SET last_valid_block_height = 1"
      " WHERE order_id = 'live'")], ["live: attempt 1: last_valid_block_height is 1"]),
    ("an attempt's status", ["UPDATE attempts SET status = 'expired' WHERE order_id = 'live'"],
      ["live: attempt 1: status is expired, and by the events submitted"]),
    ("a push", ["DELETE FROM submissions"], ["filled: attempt 1: submissions is 0, and by the events 1"]),
    ("a lost order", ["DELETE FROM orders WHERE order_id = 'waiting'"],
      ["waiting: the trail tells of it, and the order is not there"]),
    ("a row that is none", ["UPDATE orders SET price = 'dear' WHERE order_id = 'waiting'"],
      ["waiting: its row, or an attempt's, cannot be read"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("statements", "expected"),
    [(statements, expected) for _, statements, expected in TAMPERINGS],
    ids=[name for name, *_ in TAMPERINGS],
)
async def test_each_tampering_is_found(
    filled_url: str, ledger: FakeLedger, statements: list[str], expected: list[str]
) -> None:
    """Whatever is edited or deleted in rows and events shows, in words that name it."""
    await change(filled_url, *statements)
    found = await verified(filled_url, ledger)
    for each in expected:
        assert any(each in line for line in words(found)), (each, words(found))
    assert found.differences >= len(expected)


# ---------------------------------------------------------------- what the chain says otherwise

FAILURE = {"InstructionError": [2, {"Custom": 6005}]}
CONTRADICTIONS: dict[str, tuple[dict[str, Seen | Absent | Unreachable], str]] = {
    "a fill that is not there": ({"sig-filled-1": GONE}, "filled: attempt 1: it landed by the record"),
    "a fill that failed": ({"sig-filled-1": landing(FAILURE)}, "filled: attempt 1: it failed in slot"),
    "a dead attempt that was executed": (
        {"sig-failed-2": landing()},
        "failed: attempt 2: it was executed in slot 5005, and the order is failed",
    ),
    "two executions": (
        {"sig-failed-1": landing(), "sig-failed-2": landing()},
        "failed: 2 of its attempts were executed",
    ),
    "a failure that is not there": ({"sig-failed-1": GONE}, "failed: attempt 1: it landed by the"),
    "a landing after the proof of death": (
        {"sig-failed-2": landing(FAILURE)},
        "failed: attempt 2: it failed in slot 5005 on the chain, and is expired",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTRADICTIONS)
async def test_each_contradiction_of_the_chain_is_found(
    filled: str, ledger: FakeLedger, name: str
) -> None:
    """The database agrees with itself; the chain does not agree with it."""
    fated, expected = CONTRADICTIONS[name]
    ledger.fated |= fated
    assert any(line.startswith(expected) for line in words(await verified(filled, ledger)))


async def test_a_fill_is_held_against_the_transaction(filled: str, ledger: FakeLedger) -> None:
    """Amounts, fees and slot are those that the transaction shows."""
    ledger.fill_shown = replace(FILL, base_amount=9, priority_fee=101)
    assert words(await verified(filled, ledger)) == [
        "filled: attempt 1: base_amount is 10000000, and on the chain 9",
        "filled: attempt 1: priority_fee is 100, and on the chain 101",
    ]


async def test_an_execution_that_nobody_knows_is_found(filled: str, ledger: FakeLedger) -> None:
    """By its memo in the wallet's history: of a lost order, of a lost attempt; a stranger's is none."""
    ledger.listed.append(
        [
            executed("sig-x", "lost"),
            executed("sig-y", "failed", 3),
            executed("sig-z", "lost", failed=True),
            executed("sig-s", "forged"),
            Mention("sig-o", 1, failed=False, memo="[5] hello", unix_time=None),
        ]
    )
    ledger.strangers.add("sig-s")
    assert words(await verified(filled, ledger)) == [
        "lost: sig-x executed lost/1, and no attempt with it is known",
        "failed: sig-y executed failed/3, and no attempt with it is known",
    ]


async def test_what_cannot_be_checked_is_unknown_and_never_fine(
    filled: str, ledger: FakeLedger
) -> None:
    """Pruned history, an endpoint away, a transaction that nobody shows: each is counted."""
    silent = Unreachable("away")
    ledger.fated = {"sig-failed-1": silent, "sig-failed-2": silent, "sig-filled-1": landing()}
    ledger.shown["sig-filled-1"] = None
    ledger.listed.append(silent)
    found = await verified(filled, ledger)
    assert (found.differences, found.unknown) == (0, 4)
    found = await verified(filled, None)
    assert (found.differences, found.unknown) == (0, 4)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no such venue"),
        KeyError("no such venue"),
        TransientError(ReasonCode.POOL_INVALID, "no such venue"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_fill_that_cannot_be_read_is_unknown(
    filled: str, ledger: FakeLedger, error: Exception
) -> None:
    """The transaction is shown, and what it traded cannot be told: no difference, and not fine."""
    ledger.fill_error = error
    found = await verified(filled, ledger)
    assert (found.differences, found.unknown) == (0, 1)
    (untold,) = found.untold
    assert untold.place == "filled"
    assert untold.what.startswith("attempt 1: its fill cannot be read (")
    assert "no such venue" in untold.what


async def test_an_execution_whose_signer_nobody_shows_is_unknown(
    filled: str, ledger: FakeLedger
) -> None:
    """Its memo alone proves nothing, being anybody's; the wallet is named, and what was claimed."""
    ledger.listed.append([executed("sig-x", "lost")])
    ledger.unread.add("sig-x")
    found = await verified(filled, ledger)
    assert (found.differences, found.unknown) == (0, 1)
    (untold,) = found.untold
    assert (untold.place, untold.what) == ("main", "sig-x names lost/1: away")


async def test_more_than_can_be_told_is_counted_all_the_same(
    filled: str, ledger: FakeLedger
) -> None:
    """Of each kind the first thousand are told in words, and every one of them counts."""
    many = TOLD_MAX + 1
    ledger.listed.append([executed(f"sig-x{number}", "lost") for number in range(many)])
    ledger.listed += [Unreachable(f"away {number}") for number in range(many)]
    found = await verified(filled, ledger)
    assert (found.differences, found.unknown) == (many, many)
    assert (len(found.told), len(found.untold)) == (TOLD_MAX, TOLD_MAX)
    assert found.told[-1].what.startswith(f"sig-x{TOLD_MAX - 1} executed")
    assert found.untold[-1].what.endswith(f"away {TOLD_MAX - 1}")


async def test_a_fill_that_is_not_final_yet_is_no_difference(url: str, ledger: FakeLedger) -> None:
    """A fork may move it to another block until then: it counts as unknown."""
    async with open_store(url, process_name="test") as store:
        await steps.fill(store, await steps.sign(store, await steps.begin(store, "filled")))
        ledger.fill_shown = replace(FILL, slot=FILL.slot + 1)
        found = await verified(url, ledger)
    assert (found.differences, found.unknown) == (0, 1)


# ---------------------------------------------------------------- with clean-up, beside a service


async def test_what_a_clean_up_removed_is_no_difference(
    filled_url: str, ledger: FakeLedger
) -> None:
    """Orders go first, their events later, a checkpoint tells where the trail begins."""
    async with open_store(filled_url, process_name="test") as store:
        await store.prune(before_us=SOON + 1, at_us=SOON + DAY, keep_after=3)
        await steps.seal_all(store)
        found = await verified(filled_url, ledger, removed_before_us=SOON + S + 1)
        assert words(found) == []
        await store.prune(before_us=SOON + 1, at_us=SOON + DAY)
        await steps.seal_all(store)
    found = await verified(filled_url, ledger, removed_before_us=SOON + S + 1)
    assert words(found) == []
    assert ledger.asked[-1][2] is False
    assert (await verified(filled_url, ledger)).differences


class Overtaken(Inspection):
    """An inspection beside which a service cleans up, as soon as the trail's first page is read."""

    def __init__(self, database: Database, clean_up: Callable[[], Awaitable[None]]) -> None:
        super().__init__(database)
        self._clean_up = clean_up

    async def trail(self, after: int) -> TrailPage:
        page = await super().trail(after)
        if after == 0:
            await self._clean_up()
        return page


async def test_a_trail_that_is_cut_off_while_it_is_read_is_no_difference(
    filled_url: str, ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Verification goes on from the new checkpoint, and what follows must continue its hash."""
    monkeypatch.setattr(inspection, "_SEALED", inspection._SEALED.limit(1))  # noqa: SLF001
    starts: list[int] = []
    async with (
        open_store(filled_url, process_name="test") as store,
        open_for_reading(address_of(filled_url)) as database,
    ):

        async def clean_up() -> None:
            for _ in ("orders", "their events"):
                await store.prune(before_us=SOON + 1, at_us=SOON + DAY)
                await steps.seal_all(store)
            starts.append((await store.trail_start()).position)

        kept = Overtaken(database, clean_up)
        found = await Verification(kept, ledger, ledger, removed_before_us=SOON + S + 1).run()
        left = len(await steps.seal_all(store))
    assert starts[0] > 1
    assert words(found) == []
    assert found.events == 1 + left


async def test_the_pages_of_a_verification_join(
    filled_url: str, ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Orders, events and what only the trail knows, page after page: everything once."""
    await change(filled_url, "DELETE FROM orders WHERE order_id IN ('waiting', 'live')")
    whole = await verified(filled_url, ledger)
    for name in ("_ORDERS", "_SEALED", "_ORPHANS"):
        monkeypatch.setattr(inspection, name, getattr(inspection, name).limit(1))
    assert await verified(filled_url, ledger) == whole


async def test_a_missing_database_is_refused_and_nothing_is_ever_written(sqlite_url: str) -> None:
    """Not even a new file is made, and the open one takes no write."""
    with pytest.raises(StartupError, match=r"DATABASE_UNREACHABLE: .+ \(there is no such file\)"):
        await verified(sqlite_url + ".none", None)
    assert not Path(sqlite_url + ".none").exists()  # noqa: ASYNC240
    async with open_inspection(sqlite_url) as kept:
        with pytest.raises(RuntimeError, match="for reading only"):
            await kept._database.write(lambda conn: conn.execute(text("DELETE FROM orders")))  # noqa: SLF001
