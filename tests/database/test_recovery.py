"""A database that lost commits: marked, held by one process, completed, and asked again by bots."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from app.database.addresses import address_of
from app.database.backup import mark_database
from app.database.orders import SqlStore, open_store
from app.domain import changes
from app.domain.attempt import AttemptStatus, Blockhash
from app.domain.audit import differences
from app.domain.errors import ReasonCode, StartupError, TransientError
from app.domain.events import SYSTEM, EventKind, verify_chain
from app.domain.memo import Memo, client_hash
from app.domain.order import OrderStatus
from app.domain.signal import Action
from app.engine.ports import Accepted, IntakeRefusal
from app.engine.recovery_port import Mark, Recovered
from tests.database import steps
from tests.database.conftest import administer
from tests.database.steps import SOON, new_order
from tests.domain import makers
from tests.domain.makers import BLOCKHASH_SLOT, NOW, PROOF

pytestmark = pytest.mark.anyio
KEY = client_hash("default", "key")
LATER = NOW * 2
"""After everything that is stored: nothing is missing but what came last."""


def lost(order_id: str = "lost", number: int = 1, digits: str = KEY, **given: object) -> Recovered:
    """Make what the chain tells of an attempt: a sale of 0.01 SOL, executed in slot 5,005."""
    memo = Memo(order_id, number, digits)
    signed = replace(makers.signed(), signature=f"chain-{order_id}-{number}")
    fields: dict[str, object] = {
        "memo": memo,
        "wallet": "main",
        "signed": signed,
        "market": "SOL-USDC",
        "action": Action.SELL,
        "size": 10_000_000,
        "quote_size": None,
        "slot": 5_005,
        "failed": False,
        "at_us": NOW,
    }
    return Recovered(**{**fields, **given})  # type: ignore[arg-type]


@asynccontextmanager
async def marked(url: str, *, whole: bool = False) -> AsyncIterator[SqlStore]:
    """Mark a database, and open it as a process that took the mark."""
    await mark_database(address_of(url), since_us=None if whole else LATER)
    async with open_store(url, process_name="test") as store:
        assert await store.recovery.begin() is not None
        yield store


async def ask(
    store: SqlStore, order_id: str = "again", /, **given: object
) -> Accepted | IntakeRefusal:
    """Post a signal that names an order of its own, as a bot's retry does."""
    return await store.accept(new_order(order_id, **given), full=False)


async def told(store: SqlStore, kind: EventKind) -> list[dict[str, object]]:
    """Give what the trail tells of a kind."""
    events = await steps.seal_all(store)
    assert verify_chain(events) is None
    return [dict(event.data) for event in events if event.kind is kind]


# ---------------------------------------------------------------- the mark


async def test_a_marked_database_is_halted_until_it_is_reconciled(url: str) -> None:
    """`resume` before changes nothing; afterwards it is the operator's."""
    async with marked(url) as store:
        state = await store.trading_state()
        assert (state.halted, state.reconciling) == (True, True)
        assert await store.resume(SOON) == state
        await store.recovery.reconciled({"orders": 2}, SOON)
        state = await store.trading_state()
        assert (state.halted, state.reconciling) == (True, False)
        assert not (await store.resume(SOON)).halted
        assert await store.recovery.begin() is None
        assert await told(store, EventKind.DATABASE_RECONCILED) == [{"orders": 2}]
        with pytest.raises(TransientError):
            await store.recovery.reconciled({"orders": 2}, SOON)
        assert len(await told(store, EventKind.DATABASE_RECONCILED)) == 1


async def test_height_and_slot_are_noted_once(url: str) -> None:
    """What is added meanwhile moves neither: an interrupted run reads no less than the first."""
    async with open_store(url, process_name="before") as store:
        await steps.sign(store, await steps.begin(store))
    async with marked(url) as store:
        noted = Mark(whole=False, until_height=900, since_slot=BLOCKHASH_SLOT)
        assert await store.recovery.note_height(900) == noted
        assert await store.recovery.recover_order(lost(slot=9_000), "default", SOON) == 0
        assert await store.recovery.begin() == noted
    async with open_store(url, process_name="after a crash") as store:
        assert await store.recovery.begin() == noted
    async with marked(url) as store:  # and a mark upon a mark looks no less far back
        assert (await store.recovery.note_height(950)).since_slot == BLOCKHASH_SLOT
    async with marked(url, whole=True) as store:
        assert await store.recovery.note_height(990) == Mark(whole=True, until_height=990)


async def test_a_database_that_ran_on_is_read_from_the_moment_that_it_was_cut_off_at(
    url: str,
) -> None:
    """Attempts of after the loss hide no execution of before them, and neither does a late landing."""
    async with open_store(url, process_name="before") as store:
        early = await steps.sign(store, await steps.begin(store))
        await steps.fill(store, early)  # it landed later than it was signed for
        ran_on = await steps.begin(store, "ran-on")
        signed = replace(
            makers.signed(), signature="ran on", blockhash=Blockhash("b", 2_000, 8_000)
        )
        await store.store_attempt(
            ran_on,
            signed,
            makers.attempt().plan,
            balances=steps.RICH,
            reserve_lamports=0,
            at_us=SOON + 2,
        )
    for since_us, slot in (
        (LATER, 8_000),
        (SOON + 1, BLOCKHASH_SLOT),
        (LATER, BLOCKHASH_SLOT),  # a mark upon a mark looks no less far back
        (NOW - 1, None),
        (LATER, None),
    ):
        await mark_database(address_of(url), since_us=since_us)
        async with open_store(url, process_name="after") as store:
            assert await store.recovery.begin() is not None
            assert (await store.recovery.note_height(900)).since_slot == slot, since_us


@pytest.mark.postgres
async def test_one_process_reconciles_and_none_may_be_at_work_when_it_is_marked(
    postgres_url: str,
) -> None:
    """A process that runs could sign before it hears of the mark."""
    async with open_store(postgres_url, process_name="busy"):
        with pytest.raises(StartupError, match=r"^DATABASE_IN_USE: process busy works"):
            await mark_database(address_of(postgres_url), since_us=LATER)
    await mark_database(address_of(postgres_url), since_us=LATER)
    async with open_store(postgres_url, process_name="first") as first:
        assert await first.recovery.begin() is not None
        async with open_store(postgres_url, process_name="second") as second:
            assert await second.recovery.begin() is None
            assert await first.recovery.begin() is not None
    async with open_store(postgres_url, process_name="third") as third:
        assert await third.recovery.begin() is not None


@pytest.mark.postgres
async def test_a_process_that_lost_the_mark_writes_nothing_more(postgres_url: str) -> None:
    """It was thought dead and goes on, while another one reconciles or has done so."""
    async with open_store(postgres_url, process_name="before") as store:
        await steps.sign(store, await steps.begin(store))
    await mark_database(address_of(postgres_url), since_us=None)
    async with open_store(postgres_url, process_name="zombie") as zombie:
        assert await zombie.recovery.begin() is not None
        await silence(postgres_url)
        async with open_store(postgres_url, process_name="other") as other:
            assert await other.recovery.begin() is not None
            for done in (False, True):
                if done:
                    await other.recovery.reconciled({}, SOON)
                before = await steps.seal_all(other)
                for write in (
                    zombie.recovery.note_height(1),
                    zombie.recovery.recover_order(lost(), "default", SOON),
                    zombie.recovery.recover_attempt(lost("order1"), (), SOON),
                    zombie.recovery.contradict("order1", "sig", 5_005, SOON),
                    zombie.recovery.note_failure(lost(failed=True), SOON),
                    zombie.recovery.requeue_bare(0, SOON),
                    zombie.recovery.reconciled({}, SOON),
                ):
                    with pytest.raises(TransientError):
                        await write
                assert await steps.seal_all(other) == before
                assert (await other.trading_state()).reconciling is not done


async def silence(url: str) -> None:
    """Let every process of a PostgreSQL database seem dead."""
    await administer(url, "UPDATE processes SET heartbeat_at_us = 0")


# ---------------------------------------------------------------- an order that nobody knew


async def test_an_unknown_order_comes_back_as_submitted_with_its_bytes(url: str) -> None:
    """Whoever claims it settles it by the ordinary evidence, and makes a fill of it."""
    async with marked(url) as store:
        assert await store.recovery.recover_order(lost(), "default", SOON) == 0
        assert await store.recovery.recover_order(lost(), "default", SOON) is None
        (claimed,) = await store.claim(10, SOON, live_only=True)
        order, attempt = claimed.view.order, steps.live(claimed)
        assert (order.order_id, order.status) == ("lost", OrderStatus.SUBMITTED)
        assert (order.client_hash, order.accepted_at_us) == (KEY, NOW)
        assert (attempt.signature, attempt.status) == ("chain-lost-1", AttemptStatus.SUBMITTED)
        await steps.finalize(store, await steps.fill(store, claimed))
        assert await steps.kinds(store, "lost") == [
            EventKind.ORDER_RECOVERED,
            EventKind.ATTEMPT_RECOVERED,
            EventKind.FILLED,
            EventKind.FINALIZED,
        ]


@pytest.mark.parametrize("named", [{"idempotency_key": "key"}, {"by": "key"}], ids=["key", "id"])
async def test_a_repeat_of_its_signal_gets_it(url: str, named: dict[str, str]) -> None:
    """By either kind of key, again and again, and from then on by its keys, body and all."""
    by = named.get("by")
    keys = {"signal": makers.signal(client_order_id="key")} if by else dict(named)
    async with marked(url) as store:
        await store.recovery.recover_order(lost(), "somebody", SOON)
        for name in ("again", "and again"):
            found = await ask(store, name, **keys)
            assert isinstance(found, Accepted)
            assert (found.replayed, found.order.order_id) == (True, "lost")
        assert await ask(store, fingerprint="0" * 64, **keys) is IntakeRefusal.MISMATCH
        view = await store.view("default", "lost")
        assert view is not None, "it is the account's whose key its hash proves"
        await steps.seal_all(store)
        events = await store.events(account="default", order_id="lost", after=0, limit=10)
        assert len(events) == 2


async def test_another_signal_under_its_key_is_refused(url: str) -> None:
    """The chain tells what was traded: another size, side or market is no repeat."""
    async with marked(url) as store:
        await store.recovery.recover_order(lost(), "default", SOON)
        for signal in (makers.signal(size=20_000_000), makers.signal(Action.BUY)):
            found = await ask(store, signal=signal, idempotency_key="key")
            assert found is IntakeRefusal.MISMATCH
        other = await ask(store, account="other", idempotency_key="key")
        assert isinstance(other, Accepted)
        assert not other.replayed, "another account's key is another key"


async def test_an_open_order_of_its_key_is_ended_and_a_repeat_gets_the_execution(url: str) -> None:
    """It was posted anew before anybody knew that its key had been executed."""
    async with open_store(url, process_name="before") as store:
        await steps.accept(store, "twin", idempotency_key="key")
        await steps.accept(store, "stranger", idempotency_key="another")
    async with marked(url) as store:
        assert await store.recovery.recover_order(lost(), "default", SOON) == 1
        view = await store.view("default", "twin")
        assert view is not None
        assert view.order.status is OrderStatus.CANCELED
        assert view.order.reason_code is ReasonCode.ALREADY_EXECUTED
        assert await steps.status(store, "stranger") is OrderStatus.QUEUED
        found = await ask(store, idempotency_key="key")
        assert isinstance(found, Accepted)
        assert found.order.order_id == "lost"


async def test_an_open_order_of_its_key_that_was_sent_is_sent_no_more(url: str) -> None:
    """Its live attempt may have landed: only the chain ends it."""
    async with open_store(url, process_name="before") as store:
        await steps.sign(store, await steps.begin(store, "twin", idempotency_key="key"))
    async with marked(url) as store:
        assert await store.recovery.recover_order(lost(), "default", SOON) == 1
        view = await store.view("default", "twin")
        assert view is not None
        assert view.order.status is OrderStatus.SUBMITTED
        assert view.order.cancel_requested_at_us == SOON


# ---------------------------------------------------------------- an attempt that nobody knew


@pytest.mark.parametrize("status", ["queued", "executing"])
async def test_an_unknown_attempt_of_a_waiting_order_lives_again(url: str, status: str) -> None:
    """The order goes the legal way to `submitted`, whoever held it before."""
    async with open_store(url, process_name="before") as store:
        await (steps.accept if status == "queued" else steps.begin)(store, "order1")
    found = lost("order1", number=3)
    async with marked(url) as store:
        assert await store.recovery.recover_attempt(found, (), SOON)
        assert not await store.recovery.recover_attempt(found, (), SOON)
        (claimed,) = await store.claim(10, SOON, live_only=True)
        assert (steps.live(claimed).number, claimed.view.next_number) == (3, 4)
        filled = await steps.fill(store, claimed)
        assert filled.view.order.status is OrderStatus.FILLED


async def test_a_later_attempt_takes_the_place_of_one_proved_dead(url: str) -> None:
    """All in one transaction: there is never a moment with two alive, or with an order to be signed."""
    async with open_store(url, process_name="before") as store:
        await steps.sign(store, await steps.begin(store))
    async with marked(url) as store:
        view = await store.recovery.order("order1")
        assert view is not None
        assert view.live_attempt is not None
        dead = changes.attempt_expired(view.live_attempt, PROOF, at_us=SOON)
        back = changes.requeued(
            changes.apply(view, dead),
            at_us=SOON,
            next_us=SOON,
            code=ReasonCode.ATTEMPT_EXPIRED,
            reason="another came after it",
        )
        found = lost("order1", number=2)
        assert not await store.recovery.recover_attempt(found, (), SOON), "one is alive"
        assert await store.recovery.recover_attempt(found, (dead, back), SOON)
        after = await store.recovery.order("order1")
    assert after is not None
    statuses = [attempt.status for attempt in after.attempts]
    assert statuses == [AttemptStatus.EXPIRED, AttemptStatus.SUBMITTED]
    assert after.order.status is OrderStatus.SUBMITTED


async def test_an_attempt_is_told_by_the_number_that_it_is_stored_by(url: str) -> None:
    """Its memo's number may be taken by one that was signed without knowing of it."""
    async with open_store(url, process_name="before") as store:
        held = await steps.sign(store, await steps.begin(store))
        dead = steps.expiry(held)
        await steps.record(store, held, dead, steps.requeue(held, SOON, dead))
    async with marked(url) as store:
        assert await store.recovery.recover_attempt(lost("order1", number=1), (), SOON)
        (data,) = await told(store, EventKind.ATTEMPT_RECOVERED)
        assert (data["number"], data["memo_number"]) == (2, 1)
        view = await store.recovery.order("order1")
        assert view is not None
        events = [e for e in await steps.seal_all(store) if e.order_id == "order1"]
        assert list(differences(view, events, len(events))) == []


# ---------------------------------------------------------------- what cannot be made good


async def test_an_unknown_failure_is_told_once_and_makes_no_order(url: str) -> None:
    """It cost a fee and traded nothing: its signal may be posted again."""
    async with marked(url) as store:
        assert await store.recovery.note_failure(lost(failed=True), SOON)
        assert not await store.recovery.note_failure(lost(failed=True), SOON)
        (data,) = await told(store, EventKind.FAILED_UNKNOWN)
        assert (data["order_id"], data["signature"]) == ("lost", "chain-lost-1")
        found = await ask(store, idempotency_key="key")
        assert isinstance(found, Accepted)
        assert not found.replayed
        events = await steps.seal_all(store)
        assert {e.order_id for e in events if e.kind is EventKind.FAILED_UNKNOWN} == {SYSTEM}


async def test_what_is_known_is_found_by_signature(url: str) -> None:
    """With its order and where it stands; wallets are those that ever signed."""
    async with open_store(url, process_name="before") as store:
        await steps.sign(store, await steps.begin(store))
        known = await store.recovery.known(["sig-order1-1", "other"])
        assert known == {"sig-order1-1": ("order1", AttemptStatus.SIGNED)}
        assert await store.recovery.wallets() == ["main"]
