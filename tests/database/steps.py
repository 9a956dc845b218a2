"""Steps that stories about the store are told in: each asserts that it went as it should."""

from dataclasses import replace
from typing import Any

from app.database.orders import SqlStore
from app.domain import changes
from app.domain.attempt import Signed, Spend, StoredAttempt
from app.domain.changes import Change
from app.domain.errors import ReasonCode
from app.domain.events import Event, EventKind
from app.domain.order import NewOrder, Order, OrderStatus
from app.engine.ports import Accepted, Balances, Claimed, LostLease, Shortage
from app.engine.store_port import Halted
from tests.domain import makers
from tests.domain.makers import FILL, NOW, PROOF, S

RICH = Balances(slot=5_000, lamports=10**15, tokens={"mint": 10**15, "other": 10**15})
SOON = NOW + S


def new_order(order_id: str = "order1", /, **given: Any) -> NewOrder:
    """Make a new order; fields of its signal go by `signal`."""
    fields: dict[str, Any] = {
        "order_id": order_id,
        "account": "default",
        "wallet": "main",
        "signal": makers.signal(),
        "fingerprint": "f" * 64,
        "idempotency_key": None,
        "accepted_at_us": NOW,
        "deadline_us": NOW + 300 * S,
    }
    return NewOrder(**{**fields, **given})


async def accept(store: SqlStore, order_id: str = "order1", /, **given: Any) -> Order:
    """Accept a new order."""
    accepted = await store.accept(new_order(order_id, **given), full=False)
    assert isinstance(accepted, Accepted)
    assert not accepted.replayed
    return accepted.order


async def claim(store: SqlStore, at_us: int = SOON) -> Claimed:
    """Claim the one order that is free."""
    (claimed,) = await store.claim(10, at_us)
    return claimed


async def begin(store: SqlStore, order_id: str = "order1", /, **given: Any) -> Claimed:
    """Accept an order and claim it."""
    await accept(store, order_id, **given)
    return await claim(store)


def signed(name: str, spend: Spend | None = None) -> Signed:
    """Make a signed transaction with a signature of this name."""
    return replace(makers.signed(), signature=name, spend=spend or Spend("", 0, 12_000_000))


async def try_to_store(
    store: SqlStore,
    claimed: Claimed,
    spend: Spend | None = None,
    *,
    balances: Balances = RICH,
    reserve_lamports: int = 0,
) -> Claimed | LostLease | Shortage | Halted:
    """Store the next attempt; its signature tells order and number."""
    order = claimed.view.order
    name = f"sig-{order.order_id}-{len(claimed.view.attempts) + 1}"
    return await store.store_attempt(
        claimed,
        signed(name, spend),
        makers.attempt().plan,
        balances=balances,
        reserve_lamports=reserve_lamports,
        at_us=SOON,
    )


async def sign(store: SqlStore, claimed: Claimed, spend: Spend | None = None) -> Claimed:
    """Store the next attempt."""
    stored = await try_to_store(store, claimed, spend)
    assert isinstance(stored, Claimed), stored
    return stored


async def record(store: SqlStore, claimed: Claimed, *steps: Change) -> Claimed:
    """Record changes."""
    recorded = await store.record(claimed, *steps)
    assert isinstance(recorded, Claimed), recorded
    return recorded


def live(claimed: Claimed) -> StoredAttempt:
    """Give the live attempt."""
    attempt = claimed.view.live_attempt
    assert attempt is not None
    return attempt


async def push(store: SqlStore, claimed: Claimed) -> Claimed:
    """Record one accepted push."""
    return await record(
        store, claimed, changes.submitted(live(claimed), (makers.push(),), at_us=SOON)
    )


async def fill(store: SqlStore, claimed: Claimed) -> Claimed:
    """Record that the live attempt filled the order."""
    return await record(store, claimed, changes.filled(live(claimed), FILL, at_us=SOON))


async def finalize(store: SqlStore, claimed: Claimed) -> Claimed:
    """Record that the fill is final."""
    last = claimed.view.attempts[-1]
    return await record(store, claimed, changes.finalized(last, slot=FILL.slot, at_us=SOON + S))


def expiry(claimed: Claimed) -> Change:
    """Say that the live attempt is proved dead."""
    return changes.attempt_expired(live(claimed), PROOF, at_us=SOON)


def requeue(claimed: Claimed, next_us: int = SOON, *before: Change) -> Change:
    """Say that the order goes back to the queue, after these changes."""
    view = claimed.view
    for change in before:
        view = changes.apply(view, change)
    return changes.requeued(
        view,
        at_us=SOON,
        next_us=next_us,
        code=ReasonCode.ATTEMPT_EXPIRED,
        reason="try again",
    )


async def seal_all(store: SqlStore) -> list[Event]:
    """Seal everything and read the whole trail."""
    while await store.seal(1_000):
        pass
    return list(await store.trail(after=(await store.trail_start()).position, limit=100_000))


async def kinds(store: SqlStore, order_id: str = "order1") -> list[EventKind]:
    """List what the trail tells of an order."""
    return [event.kind for event in await seal_all(store) if event.order_id == order_id]


async def status(store: SqlStore, order_id: str = "order1") -> OrderStatus:
    """Read where an order stands."""
    view = await store.view("default", order_id)
    assert view is not None
    return view.order.status
