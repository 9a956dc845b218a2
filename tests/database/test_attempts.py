"""STORE and what follows it: attempts, funds, changes, and the end of an order."""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import asdict, replace

import pytest

from app.database.documents import dump
from app.database.orders import SqlStore, open_store
from app.database.rows import proof_of
from app.domain import changes
from app.domain.attempt import AttemptStatus, Lane, LanePlan, LaneStrategy, Spend
from app.domain.changes import AttemptUpdate, Change, OrderUpdate
from app.domain.errors import IllegalMoveError, ReasonCode
from app.domain.events import EventKind
from app.domain.order import OrderStatus
from app.domain.outcome import ProgramError, Proof, ReplyOutcome
from app.engine.ports import Balances, Claimed, LostLease, Shortage
from tests.database import steps
from tests.database.steps import SOON
from tests.domain import makers
from tests.domain.makers import FILL, PROOF, S

pytestmark = pytest.mark.anyio


async def test_a_stored_attempt_reads_back_to_the_byte(store: SqlStore) -> None:
    """Bytes, signature, heights, quote, bound, spend and plan come back as they were signed."""
    claimed = await steps.begin(store)
    spend = Spend("mint", 10**15, 12_000_000)
    stored = await steps.sign(store, claimed, spend)
    assert stored.view.order.status is OrderStatus.SUBMITTED
    attempt = steps.live(stored)
    assert (attempt.attempt_id, attempt.number) == ("order1/1", 1)
    assert attempt.signed == steps.signed("sig-order1-1", spend)
    assert attempt.plan == makers.attempt().plan
    assert await store.view("default", "order1") == stored.view


async def test_a_plan_reads_back_with_its_strategy(store: SqlStore) -> None:
    """A restart goes on with the same lanes, one after the other or all at once."""
    lanes = (Lane("jito", 3_000), Lane("rpc", 250))
    for number, strategy in enumerate(LaneStrategy):
        claimed = await steps.begin(store, f"order{number}")
        stored = await store.store_attempt(
            claimed,
            steps.signed(f"sig{number}"),
            LanePlan(lanes, strategy, private=number > 0),
            balances=steps.RICH,
            reserve_lamports=0,
            at_us=SOON,
        )
        assert isinstance(stored, Claimed)
        view = await store.view("default", f"order{number}")
        assert view is not None
        assert view.attempts[0].plan == LanePlan(lanes, strategy, private=number > 0)


async def test_a_plan_of_before_strategies_is_a_fallback(sqlite_url: str) -> None:
    """Rows that hold the lanes alone are read: orders that an earlier version left go on."""
    async with open_store(sqlite_url, process_name="test") as store:
        await steps.sign(store, await steps.begin(store))
        with closing(sqlite3.connect(sqlite_url)) as conn, conn:
            conn.execute("""UPDATE attempts SET plan = '[["jito",1500],["rpc",250]]'""")
        view = await store.view("default", "order1")
    assert view is not None
    assert view.attempts[0].plan == LanePlan((Lane("jito", 1_500), Lane("rpc", 250)))


async def test_store_is_told_in_the_same_commit(store: SqlStore) -> None:
    """The event names signature, expiry, strategy, methods and what may be spent."""
    await steps.sign(store, await steps.begin(store))
    event = (await steps.seal_all(store))[-1]
    assert event.kind is EventKind.SIGNED
    assert event.data["signature"] == "sig-order1-1"
    assert (event.data["strategy"], event.data["methods"]) == ("fallback", ["rpc"])
    assert event.data["spend"] == {"mint": "", "amount": "0", "lamports": "12000000"}


async def test_the_same_claim_stores_once(store: SqlStore) -> None:
    """Repeated after an unknown outcome, STORE matches no row."""
    claimed = await steps.begin(store)
    await steps.sign(store, claimed)
    assert await steps.try_to_store(store, claimed) == LostLease()


async def test_two_stores_at_once_have_one_winner(store: SqlStore) -> None:
    """One attempt is alive, whoever asks how often."""
    claimed = await steps.begin(store)
    answers = await asyncio.gather(*(steps.try_to_store(store, claimed) for _ in range(5)))
    assert sum(isinstance(answer, Claimed) for answer in answers) == 1
    assert answers.count(LostLease()) == 4


async def test_with_an_attempt_alive_no_other_is_stored(store: SqlStore) -> None:
    """Asking for it is a defect, refused before the database is touched."""
    stored = await steps.sign(store, await steps.begin(store))
    with pytest.raises(IllegalMoveError):
        await steps.try_to_store(store, stored)


async def test_a_signature_is_stored_once_in_all(store: SqlStore) -> None:
    """Two orders never share bytes: the second STORE is refused, and leaves its order as it was."""
    first = await steps.begin(store, "a")
    second = await steps.begin(store, "b")
    plan = makers.attempt().plan
    for claimed, wanted in ((first, None), (second, IllegalMoveError)):
        storing = store.store_attempt(
            claimed,
            steps.signed("the same"),
            plan,
            balances=steps.RICH,
            reserve_lamports=0,
            at_us=SOON,
        )
        if wanted is None:
            await storing
        else:
            with pytest.raises(wanted):
                await storing
    assert await steps.status(store, "b") is OrderStatus.EXECUTING
    assert EventKind.SIGNED not in await steps.kinds(store, "b")
    await steps.sign(store, second)


# ---------------------------------------------------------------- funds


def holding(lamports: int, tokens: int = 0, slot: int = 5_000) -> Balances:
    """Make balances."""
    return Balances(slot=slot, lamports=lamports, tokens={"mint": tokens})


@pytest.mark.parametrize(
    ("spend", "balances", "reserve", "enough"),
    [
        (Spend("", 0, 100), holding(150), 50, True),
        (Spend("", 0, 101), holding(150), 50, False),
        (Spend("mint", 7, 100), holding(100, tokens=7), 0, True),
        (Spend("mint", 8, 100), holding(100, tokens=7), 0, False),
        (Spend("other", 1, 100), holding(100, tokens=7), 0, False),
        (Spend("mint", 2**63, 1), holding(10, tokens=2**64 - 1), 0, False),
    ],
)
async def test_an_attempt_needs_its_funds_and_the_reserve(
    store: SqlStore, spend: Spend, balances: Balances, reserve: int, *, enough: bool
) -> None:
    """Lamports with the reserve, tokens to the unit; too little by itself is no passing shortage."""
    claimed = await steps.begin(store)
    stored = await steps.try_to_store(
        store, claimed, spend, balances=balances, reserve_lamports=reserve
    )
    assert isinstance(stored, Claimed if enough else Shortage)
    if isinstance(stored, Shortage):
        assert not stored.passing
        assert await steps.status(store) is OrderStatus.EXECUTING
        assert await steps.kinds(store) == [EventKind.ACCEPTED, EventKind.CLAIMED]


async def test_live_attempts_reserve_what_they_may_spend(store: SqlStore) -> None:
    """The second order waits for the first one's money, and gets it when that attempt is dead."""
    first = await steps.sign(store, await steps.begin(store, "a"), Spend("mint", 60, 60))
    second = await steps.begin(store, "b")
    for balances in (holding(100, tokens=1_000), holding(1_000, tokens=100)):
        short = await steps.try_to_store(store, second, Spend("mint", 50, 50), balances=balances)
        assert isinstance(short, Shortage)
        assert short.passing
    dead = steps.expiry(first)
    await steps.record(store, first, dead, steps.requeue(first, SOON + S, dead))
    stored = await steps.try_to_store(
        store, second, Spend("mint", 50, 50), balances=holding(100, tokens=100)
    )
    assert isinstance(stored, Claimed)


async def test_only_the_same_mint_and_wallet_reserve(store: SqlStore) -> None:
    """Tokens of another mint, and everything of another wallet, stand in nobody's way."""
    await steps.sign(store, await steps.begin(store, "a"), Spend("other", 10**12, 10))
    claimed = await steps.begin(store, "b", wallet="second")
    await steps.sign(store, claimed, Spend("mint", 10**12, 10**12))
    third = await steps.begin(store, "c")
    stored = await steps.try_to_store(
        store, third, Spend("mint", 100, 90), balances=holding(100, tokens=100)
    )
    assert isinstance(stored, Claimed)


async def test_balances_read_before_a_landing_do_not_count_its_money_twice(
    store: SqlStore,
) -> None:
    """A fill at a later slot than the balances still reserves; from that slot on it does not."""
    first = await steps.sign(store, await steps.begin(store, "a"), Spend("", 0, 60))
    await steps.fill(store, first)
    second = await steps.begin(store, "b")
    before = holding(100, slot=FILL.slot - 1)
    short = await steps.try_to_store(store, second, Spend("", 0, 50), balances=before)
    assert isinstance(short, Shortage)
    assert short.passing
    after = holding(100, slot=FILL.slot)
    stored = await steps.try_to_store(store, second, Spend("", 0, 50), balances=after)
    assert isinstance(stored, Claimed)


async def test_balances_read_before_a_fill_do_not_end_the_order_that_spends_its_proceeds(
    store: SqlStore,
) -> None:
    """What they lack may be what the fill brought: the order waits for newer ones, then it is short."""
    first = await steps.sign(store, await steps.begin(store, "a"), Spend("", 0, 60))
    await steps.fill(store, first)
    second = await steps.begin(store, "b")
    for slot, passing in ((FILL.slot - 1, True), (FILL.slot, False)):
        balances = holding(1_000, tokens=0, slot=slot)
        short = await steps.try_to_store(store, second, Spend("mint", 1, 5), balances=balances)
        assert isinstance(short, Shortage)
        assert short.passing is passing


async def test_reservations_beyond_64_bits_are_added_up_exactly(store: SqlStore) -> None:
    """Sums of huge amounts neither overflow nor round."""
    huge = 2**63 - 1
    rich = Balances(slot=1, lamports=10**15, tokens={"mint": 4 * huge})
    for name in ("a", "b", "c"):
        claimed = await steps.begin(store, name)
        stored = await steps.try_to_store(store, claimed, Spend("mint", huge, 1), balances=rich)
        assert isinstance(stored, Claimed)
    last = await steps.begin(store, "d")
    poor = Balances(slot=1, lamports=10**15, tokens={"mint": 4 * huge - 1})
    short = await steps.try_to_store(store, last, Spend("mint", huge, 1), balances=poor)
    assert isinstance(short, Shortage)
    assert str(huge - 1) in short.what
    assert isinstance(
        await steps.try_to_store(store, last, Spend("mint", huge, 1), balances=rich), Claimed
    )


async def test_concurrent_stores_never_spend_more_than_there_is(store: SqlStore) -> None:
    """Ten orders at once on money for three: three are stored."""
    await asyncio.gather(*(steps.accept(store, f"o{n}") for n in range(10)))
    claims = await store.claim(10, SOON)
    answers = await asyncio.gather(
        *(
            steps.try_to_store(store, claimed, Spend("", 0, 30), balances=holding(100))
            for claimed in claims
        )
    )
    assert sum(isinstance(answer, Claimed) for answer in answers) == 3


@pytest.mark.postgres
async def test_two_processes_never_spend_more_than_there_is(
    two_stores: tuple[SqlStore, SqlStore],
) -> None:
    """The wallet's money is judged by one process at a time."""
    await asyncio.gather(*(steps.accept(two_stores[0], f"o{n}") for n in range(10)))
    claims = [(store, one) for store in two_stores for one in await store.claim(5, SOON)]
    answers = await asyncio.gather(
        *(
            steps.try_to_store(store, claimed, Spend("", 0, 30), balances=holding(100))
            for store, claimed in claims
        )
    )
    assert len(claims) == 10
    assert sum(isinstance(answer, Claimed) for answer in answers) == 3


# ---------------------------------------------------------------- changes


async def test_a_fill_reads_back_exactly(store: SqlStore) -> None:
    """Pushes, landing and fill are stored with what they cost, and told in order."""
    claimed = await steps.push(store, await steps.sign(store, await steps.begin(store)))
    claimed = await steps.fill(store, claimed)
    view = await store.view("default", "order1")
    assert view == claimed.view
    assert view.order.fill == FILL
    assert view.order.filled_at_us == SOON
    (attempt,) = view.attempts
    assert (attempt.status, attempt.landed_slot) == (AttemptStatus.LANDED, FILL.slot)
    assert attempt.submissions == (makers.push(),)
    assert await steps.kinds(store) == [
        EventKind.ACCEPTED,
        EventKind.CLAIMED,
        EventKind.SIGNED,
        EventKind.SUBMITTED,
        EventKind.FILLED,
    ]


async def test_pushes_are_kept_in_their_order(store: SqlStore) -> None:
    """Many pushes in one change and several changes: oldest first."""
    claimed = await steps.sign(store, await steps.begin(store))
    pushes = tuple(makers.push(f"m{n}", ReplyOutcome.NOT_SENT) for n in range(5))
    for batch in (pushes[:3], pushes[3:]):
        change = changes.submitted(steps.live(claimed), batch, at_us=SOON)
        claimed = await steps.record(store, claimed, change)
    assert steps.live(claimed).submissions == pushes
    assert await store.view("default", "order1") == claimed.view


async def test_a_dead_attempt_keeps_its_evidence(store: SqlStore) -> None:
    """The proof is stored with the attempt; the next attempt gets the next number."""
    claimed = await steps.sign(store, await steps.begin(store))
    dead = steps.expiry(claimed)
    await steps.record(store, claimed, dead, steps.requeue(claimed, SOON, dead))
    again = await steps.claim(store)
    (attempt,) = again.view.attempts
    assert (attempt.status, attempt.proof) == (AttemptStatus.EXPIRED, PROOF)
    second = await steps.sign(store, again)
    assert [a.number for a in second.view.attempts] == [1, 2]


def test_a_proof_of_before_blockhashes_were_asked_about_can_be_read() -> None:
    """It is shown as it was stored, and proves nothing any more."""
    (stored,) = [asdict(evidence) for evidence in PROOF.evidence]
    del stored["invalid_slot"]
    proof = proof_of(dump([stored]))
    assert proof == Proof((replace(PROOF.evidence[0], invalid_slot=None),))
    assert proof is not None
    assert not makers.attempt().is_proved_dead(proof)


async def test_a_failed_attempt_ends_its_order_with_the_decoded_error(store: SqlStore) -> None:
    """Reason code, words and raw error are kept, whatever characters they hold."""
    error = ProgramError("Odd", "bad \x00 \ud800 text", {"raw": [1, "\x00", 2**70]})
    claimed = await steps.sign(store, await steps.begin(store))
    failed = changes.attempt_failed(steps.live(claimed), error, slot=9, at_us=SOON)
    end = changes.ended(
        changes.apply(claimed.view, failed),
        OrderStatus.FAILED,
        at_us=SOON,
        code=ReasonCode.PROGRAM_ERROR,
        reason=error.words,
        program_error=error,
    )
    await steps.record(store, claimed, failed, end)
    view = await store.view("default", "order1")
    assert view is not None
    assert view.order.reason_code is ReasonCode.PROGRAM_ERROR
    assert view.order.reason == "bad \ufffd ? text"
    assert view.order.program_error == {
        "name": "Odd",
        "message": "bad \x00 ? text",
        "raw": {"raw": [1, "\x00", 2**70]},
    }
    assert view.attempts[0].landed_slot == 9
    assert (await steps.kinds(store))[-1] is EventKind.ENDED


async def test_a_fill_undone_by_a_fork_leaves_no_fill(store: SqlStore) -> None:
    """The only way out of a final state clears what was filled, and the order is watched no more."""
    claimed = await steps.fill(store, await steps.sign(store, await steps.begin(store)))
    undone = changes.fill_reverted(claimed.view.attempts[0], at_us=SOON, proof=PROOF)
    await steps.record(store, claimed, undone)
    view = await store.view("default", "order1")
    assert view is not None
    assert (view.order.status, view.order.fill) == (OrderStatus.FAILED, None)
    assert view.order.reason_code is ReasonCode.FILL_REVERTED
    assert await store.adopt(10) == []


async def test_an_illegal_change_writes_nothing(store: SqlStore) -> None:
    """Of several changes in one unit, one that the tables forbid undoes all."""
    claimed = await steps.sign(store, await steps.begin(store))
    fine = changes.submitted(steps.live(claimed), (makers.push(),), at_us=SOON)
    illegal = Change(
        kind=EventKind.REQUEUED, at_us=SOON, order=OrderUpdate(status=OrderStatus.QUEUED)
    )
    with pytest.raises(IllegalMoveError):
        await store.record(claimed, fine, illegal)
    assert await store.view("default", "order1") == claimed.view
    assert (await steps.kinds(store))[-1] is EventKind.SIGNED


async def test_a_stale_view_of_an_attempt_writes_nothing(store: SqlStore) -> None:
    """Marked as pushed already, an attempt is not marked so again from an older view."""
    claimed = await steps.sign(store, await steps.begin(store))
    await steps.push(store, claimed)
    again = changes.submitted(steps.live(claimed), (makers.push(),), at_us=SOON)
    assert await store.record(claimed, again) == LostLease()
    view = await store.view("default", "order1")
    assert view is not None
    assert len(view.attempts[0].submissions) == 1


async def test_a_view_that_lacks_an_attempt_writes_nothing(store: SqlStore) -> None:
    """A claim from before STORE cannot move the order."""
    claimed = await steps.begin(store)
    await steps.sign(store, claimed)
    assert await store.record(claimed, steps.requeue(claimed)) == LostLease()
    assert await steps.status(store) is OrderStatus.SUBMITTED


async def test_the_database_itself_refuses_a_second_live_attempt(store: SqlStore) -> None:
    """Even a forged view, which passes every check in Python, meets the partial unique index."""
    claimed = await steps.begin(store)
    stored = await steps.sign(store, claimed)
    forged_order = replace(stored.view.order, status=OrderStatus.SUBMITTED)
    dead = replace(stored.view.attempts[0], status=AttemptStatus.EXPIRED)
    forged = Claimed(replace(stored.view, order=forged_order, attempts=(dead,)))
    back = Change(kind=EventKind.REQUEUED, at_us=SOON, order=OrderUpdate(status=OrderStatus.QUEUED))
    await store.record(forged, back)
    again = await steps.claim(store)
    forged = Claimed(replace(again.view, attempts=(dead,)))
    with pytest.raises(IllegalMoveError, match="refused a write"):
        await steps.try_to_store(store, forged)


async def test_the_database_itself_refuses_a_fill_without_amounts(store: SqlStore) -> None:
    """What the code must never write, the tables do not take."""
    claimed = await steps.sign(store, await steps.begin(store))
    bare = Change(
        kind=EventKind.FILLED,
        at_us=SOON,
        order=OrderUpdate(status=OrderStatus.FILLED),
        number=1,
        attempt=AttemptUpdate(status=AttemptStatus.LANDED),
    )
    with pytest.raises(IllegalMoveError, match="refused a write"):
        await store.record(claimed, bare)
    assert await store.view("default", "order1") == claimed.view
