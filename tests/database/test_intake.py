"""What the store promises at the door, on SQLite and PostgreSQL alike."""

import asyncio
from dataclasses import replace
from decimal import Decimal

import pytest

from app.database.orders import SqlStore
from app.domain.errors import IllegalMoveError, ReasonCode
from app.domain.events import EventKind
from app.domain.order import NewOrder, OrderStatus
from app.engine.ports import Accepted, CancelOutcome, Claimed, IntakeRefusal, LostLease
from tests.database import steps
from tests.database.steps import SOON, new_order
from tests.domain import makers
from tests.domain.makers import NOW, S

pytestmark = pytest.mark.anyio


async def ask(store: SqlStore, new: NewOrder, *, full: bool = False) -> Accepted | IntakeRefusal:
    """Ask for an order."""
    return await store.accept(new, full=full)


def keyed(order_id: str, key: str | None, client: str | None = None, body: str = "a") -> NewOrder:
    """Make an order asked for under keys; `body` stands for the posted body."""
    signal = makers.signal(client_order_id=client)
    return new_order(order_id, idempotency_key=key, signal=signal, fingerprint=body)


async def test_an_accepted_order_reads_back_as_it_was_posted(store: SqlStore) -> None:
    """Every field of signal and order survives the database exactly."""
    signal = makers.signal(
        price=Decimal("180.5"),
        confidence=Decimal("0.8"),
        client_order_id="mine",
        priority=9,
        valid_for_us=S,
        signal_time_us=NOW - 1,
        strategy="momentum",
        methods=("rpc", "jito"),
        allow_public_fallback=False,
        max_slippage_bps=7,
        metadata={"note": "ünï \u0000 \u2028", "deep": [1, {"x": None}], "n": 2**60},
    )
    new = new_order(signal=signal, idempotency_key="key")
    accepted = await ask(store, new)
    assert isinstance(accepted, Accepted)
    view = await store.view("default", "order1")
    assert view is not None
    assert view.order == accepted.order
    assert view.order.signal == signal
    assert (view.order.status, view.order.version) == (OrderStatus.QUEUED, 0)
    for name in NewOrder.__dataclass_fields__:
        assert getattr(view.order, name) == getattr(new, name)


async def test_amounts_at_the_edge_of_64_bits_are_kept(store: SqlStore) -> None:
    """The largest amount that a signal can bear comes back to the unit."""
    order = await steps.accept(store, signal=makers.signal(size=2**63 - 1))
    view = await store.view("default", order.order_id)
    assert view is not None
    assert view.order.signal.size == 2**63 - 1


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (keyed("a", "key"), keyed("b", "key")),
        (keyed("a", None, "mine"), keyed("b", None, "mine")),
        (keyed("a", "key", "mine"), keyed("b", "key", "mine")),
        (keyed("a", "key", "mine"), keyed("b", "other", "mine")),
        (keyed("a", None, "mine"), keyed("b", "late", "mine")),
    ],
)
async def test_the_same_key_and_body_is_the_same_order(
    store: SqlStore, first: NewOrder, again: NewOrder
) -> None:
    """Any of the keys finds the order, even when the queue is full by then."""
    await ask(store, first)
    replay = await ask(store, again, full=True)
    assert isinstance(replay, Accepted)
    assert (replay.replayed, replay.order.order_id) == (True, "a")
    assert await store.view("default", "b") is None


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (keyed("a", "key"), keyed("b", "key", body="b")),
        (keyed("a", None, "mine"), keyed("b", None, "mine", body="b")),
        (keyed("a", "key"), keyed("b", "key", "mine", body="b")),
    ],
)
async def test_the_same_key_with_another_body_is_refused(
    store: SqlStore, first: NewOrder, again: NewOrder
) -> None:
    """A key stands for one body; nothing is stored for another."""
    await ask(store, first)
    assert await ask(store, again) is IntakeRefusal.MISMATCH
    assert await store.view("default", "b") is None


async def test_a_key_that_was_answered_with_an_order_keeps_meaning_it(store: SqlStore) -> None:
    """A second key used with the same client_order_id is bound: with another body it is refused."""
    await ask(store, keyed("a", "first", "mine"))
    await ask(store, keyed("b", "second", "mine"))
    assert await ask(store, keyed("c", "second", body="b")) is IntakeRefusal.MISMATCH


async def test_keys_of_two_orders_conflict(store: SqlStore) -> None:
    """A key naming one order and a client_order_id naming another is refused."""
    await ask(store, keyed("a", "key"))
    await ask(store, keyed("b", None, "mine"))
    assert await ask(store, keyed("c", "key", "mine")) is IntakeRefusal.CONFLICT


async def test_keys_belong_to_their_account(store: SqlStore) -> None:
    """Two accounts may use the same keys, and neither reads the other's order."""
    await ask(store, keyed("a", "key", "mine"))
    other = await ask(store, replace(keyed("b", "key", "mine"), account="other"))
    assert isinstance(other, Accepted)
    assert not other.replayed
    assert await store.view("default", "b") is None
    assert await store.view("other", "a") is None


async def test_orders_without_keys_are_all_different(store: SqlStore) -> None:
    """Equal bodies without keys are two orders."""
    await steps.accept(store, "a")
    await steps.accept(store, "b")
    assert (await store.figures()).pending == 2


async def test_a_full_queue_takes_nothing_new(store: SqlStore) -> None:
    """FULL stores neither order nor event."""
    assert await ask(store, keyed("a", "key"), full=True) is IntakeRefusal.FULL
    assert await store.view("default", "a") is None
    assert await steps.seal_all(store) == []


async def test_asked_at_the_same_time_it_is_one_order(store: SqlStore) -> None:
    """Of many equal requests at once, one makes the order and all name it."""
    asked = await asyncio.gather(*(ask(store, keyed(f"o{n}", "key")) for n in range(20)))
    accepted = [one for one in asked if isinstance(one, Accepted)]
    assert len(accepted) == 20
    assert len({one.order.order_id for one in accepted}) == 1
    assert sum(not one.replayed for one in accepted) == 1


@pytest.mark.postgres
async def test_two_processes_asked_at_the_same_time_make_one_order(
    two_stores: tuple[SqlStore, SqlStore],
) -> None:
    """The race is decided by the unique keys: the loser finds the winner's order."""
    asks = [ask(two_stores[n % 2], keyed(f"o{n}", f"key{n // 4}", f"c{n // 4}")) for n in range(80)]
    accepted = [one for one in await asyncio.gather(*asks) if isinstance(one, Accepted)]
    assert len(accepted) == 80
    assert len({one.order.order_id for one in accepted}) == 20
    assert (await two_stores[0].figures()).pending == 20


async def test_an_id_is_never_given_twice(store: SqlStore) -> None:
    """Another signal under a taken order id is a defect, and changes nothing."""
    await steps.accept(store, "a", fingerprint="one")
    with pytest.raises(IllegalMoveError):
        await ask(store, new_order("a", fingerprint="two"))


async def test_a_rejected_signal_is_stored_with_its_reason(store: SqlStore) -> None:
    """It is final at once, told in the trail, found by its key again, and never claimed."""
    new = keyed("a", "key")
    rejection = (ReasonCode.SIGNAL_STALE.value, "too old")
    accepted = await store.accept(new, full=False, rejection=rejection)
    assert isinstance(accepted, Accepted)
    assert accepted.order.status is OrderStatus.REJECTED
    assert accepted.order.reason_code is ReasonCode.SIGNAL_STALE
    assert accepted.order.reason == "too old"
    replay = await ask(store, keyed("b", "key"))
    assert isinstance(replay, Accepted)
    assert replay.replayed
    assert await store.claim(10, SOON) == []
    assert await steps.kinds(store, "a") == [EventKind.REJECTED]


# ---------------------------------------------------------------- cancelling


async def cancel(store: SqlStore) -> CancelOutcome:
    """Cancel the order."""
    outcome, _ = await store.cancel("default", "order1", SOON)
    return outcome


async def test_a_waiting_order_is_canceled_at_once(store: SqlStore) -> None:
    """It ends `canceled`, is told once, and asking again gives the same order."""
    await steps.accept(store)
    outcome, order = await store.cancel("default", "order1", SOON)
    assert order is not None
    assert (outcome, order.status) == (CancelOutcome.CANCELED, OrderStatus.CANCELED)
    assert (order.ended_at_us, order.reason_code) == (SOON, ReasonCode.CANCEL_REQUESTED)
    assert await store.cancel("default", "order1", SOON + 1) == (CancelOutcome.CANCELED, order)
    assert await store.claim(10, SOON) == []
    assert await steps.kinds(store) == [EventKind.ACCEPTED, EventKind.ENDED]


async def test_a_canceled_order_leaves_its_worker_without_a_lease(store: SqlStore) -> None:
    """Cancelled between claim and STORE, nothing can be stored any more."""
    claimed = await steps.begin(store)
    assert await cancel(store) is CancelOutcome.CANCELED
    assert await steps.try_to_store(store, claimed) == LostLease()
    assert await store.record(claimed, steps.requeue(claimed)) == LostLease()
    assert await store.reload(claimed) == LostLease()
    view = await store.view("default", "order1")
    assert view is not None
    assert (view.order.status, view.attempts) == (OrderStatus.CANCELED, ())


@pytest.mark.parametrize("store_first", [True, False])
async def test_a_cancellation_and_a_store_at_once_have_one_winner(
    store: SqlStore, *, store_first: bool
) -> None:
    """Either the order is canceled without an attempt, or the attempt stands and the wish is noted."""
    claimed = await steps.begin(store)
    storing = steps.try_to_store(store, claimed)
    cancelling = store.cancel("default", "order1", SOON)
    if store_first:
        stored, (outcome, _) = await asyncio.gather(storing, cancelling)
    else:
        (outcome, _), stored = await asyncio.gather(cancelling, storing)
    await check_one_winner(store, outcome, stored)


@pytest.mark.postgres
async def test_a_cancellation_by_another_process_races_a_store(
    two_stores: tuple[SqlStore, SqlStore],
) -> None:
    """The API of one process against the worker of another: the row has one winner each time."""
    first, second = two_stores
    for n in range(20):
        claimed = await steps.begin(first, f"o{n}")
        stored, (outcome, _) = await asyncio.gather(
            steps.try_to_store(first, claimed), second.cancel("default", f"o{n}", SOON)
        )
        await check_one_winner(first, outcome, stored, f"o{n}")


async def check_one_winner(
    store: SqlStore, outcome: CancelOutcome, stored: object, order_id: str = "order1"
) -> None:
    """Check that the order is either canceled without an attempt, or submitted with the wish."""
    view = await store.view("default", order_id)
    assert view is not None
    if outcome is CancelOutcome.CANCELED:
        assert stored == LostLease()
        assert (view.order.status, view.attempts) == (OrderStatus.CANCELED, ())
    else:
        assert outcome is CancelOutcome.REQUESTED
        assert isinstance(stored, Claimed)
        assert view.order.status is OrderStatus.SUBMITTED
        assert view.order.cancel_requested_at_us == SOON


async def test_with_an_attempt_alive_the_wish_is_noted_once(store: SqlStore) -> None:
    """The order stays submitted, a second wish changes nothing, and the holder sees the first."""
    claimed = await steps.sign(store, await steps.begin(store))
    assert await store.refresh(["order1"]) == {"order1": None}
    outcome, order = await store.cancel("default", "order1", SOON)
    assert order is not None
    assert (outcome, order.status) == (CancelOutcome.REQUESTED, OrderStatus.SUBMITTED)
    assert await store.cancel("default", "order1", SOON + 5) == (CancelOutcome.REQUESTED, order)
    assert await store.refresh(["order1", "none"]) == {"order1": SOON}
    pushed = await steps.push(store, claimed)
    assert pushed.view.order.cancel_requested_at_us == SOON
    told = [kind for kind in await steps.kinds(store) if kind is EventKind.CANCEL_REQUESTED]
    assert len(told) == 1


async def test_after_the_wish_nothing_more_is_signed(store: SqlStore) -> None:
    """Even an order that came back to the queue and was claimed again stores no attempt."""
    claimed = await steps.sign(store, await steps.begin(store))
    await cancel(store)
    dead = steps.expiry(claimed)
    await steps.record(store, claimed, dead, steps.requeue(claimed, SOON, dead))
    again = await steps.claim(store)
    assert again.view.order.cancel_requested_at_us == SOON
    assert await steps.try_to_store(store, again) == LostLease()


async def test_what_is_over_cannot_be_canceled(store: SqlStore) -> None:
    """A filled order is left alone, an unknown one and another account's are unknown."""
    claimed = await steps.sign(store, await steps.begin(store))
    await steps.fill(store, claimed)
    outcome, order = await store.cancel("default", "order1", SOON)
    assert order is not None
    assert (outcome, order.status) == (CancelOutcome.FINAL, OrderStatus.FILLED)
    assert order.cancel_requested_at_us is None
    assert await store.cancel("default", "none", SOON) == (CancelOutcome.UNKNOWN, None)
    assert await store.cancel("other", "order1", SOON) == (CancelOutcome.UNKNOWN, None)
