"""Signals in, orders out: durable, idempotent, cancelable, readable."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from app.domain.errors import IntakeError, ReasonCode, SignalError, Synergy7Error
from app.domain.order import OrderStatus, OrderView
from app.engine.order_manager import CANCEL_SWEEPS_MAX
from app.engine.ports import CancelOutcome, OrderFilter
from tests.domain.makers import NOW, RULES, S
from tests.engine.fake_store import Row, busy
from tests.engine.rig import SIGNAL, Knobs, Rig, pass_time, running
from tests.engine.scripting import Fault

pytestmark = pytest.mark.anyio

EVERYTHING = OrderFilter(account="default")


async def refused(rig: Rig, body: object, **given: Any) -> Synergy7Error:
    """Submit what must be refused; gives the error."""
    with pytest.raises((IntakeError, SignalError)) as caught:
        await rig.manager.submit(body, **given)
    return caught.value


# ---------------------------------------------------------------- in


async def test_a_signal_is_answered_only_after_it_is_committed() -> None:
    """While the store has not answered, neither has the intake."""
    rig = Rig()
    gate = rig.store.script.gate("accept")
    posting = asyncio.create_task(rig.post())
    await gate.reached.wait()
    await pass_time(5)
    assert not posting.done()
    gate.opened.set()
    order = rig.order(await posting)
    assert order.status is OrderStatus.QUEUED
    assert order.deadline_us - order.accepted_at_us == 300 * S
    assert (order.account, order.wallet) == ("default", "main")
    assert rig.telemetry.of("signal") == [("accepted", "")]


async def test_a_repeat_gives_the_same_order() -> None:
    """By either key; nothing is woken, and it is counted as a replay."""
    rig = Rig()
    woken: list[str] = []
    rig.manager.on_work = lambda: woken.append("work")
    body = {**SIGNAL, "client_order_id": "mine"}
    first = await rig.manager.submit(body, idempotency_key="key")
    again = await rig.manager.submit(body, idempotency_key="key")
    by_id = await rig.manager.submit(body)
    assert (first.replayed, again.replayed, by_id.replayed) == (False, True, True)
    assert len({each.order.order_id for each in (first, again, by_id)}) == 1
    assert woken == ["work"]
    assert [each for each, _ in rig.telemetry.of("signal")] == ["accepted", "replayed", "replayed"]


async def test_a_key_with_another_body_is_refused() -> None:
    """It names another signal: nothing is stored."""
    rig = Rig()
    await rig.manager.submit(SIGNAL, idempotency_key="key")
    error = await refused(rig, {**SIGNAL, "size": Decimal("0.02")}, idempotency_key="key")
    assert error.code is ReasonCode.IDEMPOTENCY_MISMATCH
    assert len(rig.database.rows) == 1
    assert rig.telemetry.of("signal")[-1] == ("refused", "IDEMPOTENCY_MISMATCH")


async def test_keys_that_name_two_orders_are_refused() -> None:
    """The caller must say which one it means."""
    rig = Rig()
    await rig.manager.submit(SIGNAL, idempotency_key="key")
    await rig.manager.submit({**SIGNAL, "client_order_id": "mine"})
    body = {**SIGNAL, "client_order_id": "mine"}
    assert (await refused(rig, body, idempotency_key="key")).code is ReasonCode.KEY_CONFLICT


@pytest.mark.parametrize("key", ["", "x" * 129, "new\nline"])
async def test_a_key_that_is_no_key_is_refused(key: str) -> None:
    """Before the store is asked anything."""
    rig = Rig()
    error = await refused(rig, SIGNAL, idempotency_key=key)
    assert (error.code, error.field) == (ReasonCode.INVALID_FIELD, "Idempotency-Key")
    assert rig.store.script.calls == []


async def test_what_is_no_signal_is_refused_and_counted() -> None:
    """Nothing is stored."""
    rig = Rig()
    error = await refused(rig, {**SIGNAL, "market": "NO-SUCH"})
    assert error.code is ReasonCode.UNKNOWN_MARKET
    assert rig.database.rows == {}
    assert rig.telemetry.of("signal") == [("refused", "UNKNOWN_MARKET")]


async def test_a_signal_that_is_stale_on_arrival_is_stored_as_rejected() -> None:
    """Refused by a rule: it has an id and a reason, and nobody is woken."""
    rig = Rig()
    woken: list[str] = []
    rig.manager.on_work = lambda: woken.append("work")
    body = {**SIGNAL, "signal_time": "2026-01-31T11:00:00Z", "valid_for": 60}
    accepted = await rig.manager.submit(body)
    assert accepted.order.status is OrderStatus.REJECTED
    assert accepted.order.reason_code is ReasonCode.SIGNAL_STALE
    assert woken == []
    assert rig.telemetry.of("signal") == [("rejected", "SIGNAL_STALE")]


async def test_valid_for_sets_an_earlier_deadline() -> None:
    """The lesser of it and the configured time."""
    rig = Rig()
    order = rig.order(await rig.post(valid_for=20))
    assert order.deadline_us == NOW + 20 * S


async def test_a_full_queue_refuses_what_is_new_and_answers_repeats() -> None:
    """Until the queue has drained, as the figures tell."""
    rig = Rig(Knobs(queue_max=2))
    body = {**SIGNAL, "client_order_id": "mine"}
    await rig.manager.submit(body)
    await rig.post()
    error = await refused(rig, SIGNAL)
    assert isinstance(error, IntakeError)
    assert (error.code, error.retryable) == (ReasonCode.QUEUE_FULL, True)
    assert (await rig.manager.submit(body)).replayed
    await rig.store.claim(1, rig.clock.now_us())
    await rig.manager.refresh_figures()
    await rig.post()


async def test_a_busy_database_is_told_and_counted() -> None:
    """The client may try again with the same key."""
    rig = Rig()
    rig.store.script.add("accept", Fault(refuses=busy()))
    assert (await refused(rig, SIGNAL)).code is ReasonCode.DATABASE_BUSY
    assert rig.telemetry.of("signal") == [("refused", "DATABASE_BUSY")]


async def test_a_stopping_service_takes_nothing() -> None:
    """It would not be executed here."""
    rig = Rig()
    rig.manager.stop_accepting()
    error = await refused(rig, SIGNAL)
    assert error.code is ReasonCode.SHUTTING_DOWN
    assert rig.database.rows == {}


def test_markets_and_rules_are_told() -> None:
    """What the interface judges its parameters by."""

    async def ask() -> None:
        manager = Rig().manager
        assert manager.markets == ["SOL-USDC"]
        assert manager.rules is RULES

    asyncio.run(ask())


# ---------------------------------------------------------------- cancel


async def test_a_queued_order_is_canceled_at_once_and_again() -> None:
    """The second time it is the same order; an unknown one is told as such."""
    rig = Rig()
    order_id = await rig.post()
    for _ in range(2):
        outcome, order = await rig.manager.cancel("default", order_id)
        assert outcome is CancelOutcome.CANCELED
        assert order is not None
        assert order.status is OrderStatus.CANCELED
    assert (await rig.manager.cancel("default", "none"))[0] is CancelOutcome.UNKNOWN
    assert (await rig.manager.cancel("other", order_id))[0] is CancelOutcome.UNKNOWN


async def test_a_filled_order_cannot_be_canceled() -> None:
    """It is over."""
    async with running(Rig()) as rig:
        order_id = await rig.post()
        await rig.reaches(order_id, OrderStatus.FILLED)
        outcome, order = await rig.manager.cancel("default", order_id)
        assert outcome is CancelOutcome.FINAL
        assert order is not None
        assert order.status is OrderStatus.FILLED


async def test_a_mass_cancellation_reaches_every_unfinished_order() -> None:
    """However many pages: canceled where nothing is alive, requested where something is."""
    async with running(Rig(Knobs(slots=1))) as rig:
        done = await rig.post()
        await rig.reaches(done, OrderStatus.FILLED)
        rig.chain.fate = lambda _attempt: None
        alive = await rig.post(priority=9)
        await rig.until(lambda: len(rig.rpc.pushed) > 1)
        for _ in range(450):
            await rig.post()
        counts = await rig.manager.cancel_many(EVERYTHING)
        assert counts == {"canceled": 450, "requested": 1}
        assert rig.order(alive).cancel_requested_at_us is not None
        assert rig.order(done).status is OrderStatus.FILLED


async def test_a_mass_cancellation_finds_what_moves_between_its_pages() -> None:
    """An order that went back to the queue behind the sweep is met by the next one."""
    async with running(Rig(Knobs(slots=1, execution_timeout=5))) as rig:
        gate = rig.trading.script.gate("quote")
        order_id = await rig.post()
        await gate.reached.wait()
        sweeping = rig.store.script.gate("orders", after=True)
        cancelling = asyncio.create_task(rig.manager.cancel_many(EVERYTHING))
        await sweeping.reached.wait()  # the queue was read: it is empty
        await rig.reaches(order_id, OrderStatus.QUEUED)
        sweeping.opened.set()
        assert await cancelling == {"canceled": 1, "requested": 0}
        assert rig.order(order_id).status is OrderStatus.CANCELED


async def test_a_mass_cancellation_ends_though_orders_keep_coming() -> None:
    """It is bounded: whoever posts on must stop first."""
    rig = Rig()
    await rig.post()

    def post_on(_order_id: str) -> None:
        rig.database.rows[order_id].view = fresh
        rig.database.rows[f"posted{len(rig.database.rows)}"] = Row(renamed())

    def renamed() -> OrderView:
        return replace(
            fresh, order=replace(fresh.order, order_id=f"posted{len(rig.database.rows)}")
        )

    (order_id,) = rig.database.rows
    fresh = rig.database.rows[order_id].view
    rig.manager.on_cancel = post_on
    counts = await rig.manager.cancel_many(EVERYTHING)
    assert CANCEL_SWEEPS_MAX <= counts["canceled"] <= 2 * CANCEL_SWEEPS_MAX


@pytest.mark.parametrize(
    ("which", "canceled"),
    [
        (OrderFilter(account="default", strategy="fast"), 1),
        (OrderFilter(account="default", market="SOL-USDC"), 2),
        (OrderFilter(account="default", market="ETH-USDC"), 0),
        (OrderFilter(account="default", status=OrderStatus.QUEUED), 2),
        (OrderFilter(account="default", status=OrderStatus.FILLED), 0),
        (OrderFilter(account="other"), 0),
    ],
)
async def test_a_mass_cancellation_keeps_to_its_filter(which: OrderFilter, canceled: int) -> None:
    """Other markets, strategies, states and accounts are left alone."""
    rig = Rig()
    await rig.post(strategy="fast")
    await rig.post()
    assert (await rig.manager.cancel_many(which))["canceled"] == canceled


async def test_an_order_that_ends_under_a_mass_cancellation_is_not_counted() -> None:
    """It was read unfinished and was final when its turn came."""
    rig = Rig()
    order_id = await rig.post()
    gate = rig.store.script.gate("cancel")
    cancelling = asyncio.create_task(rig.manager.cancel_many(EVERYTHING))
    await gate.reached.wait()
    row = rig.database.rows[order_id]
    row.view = replace(row.view, order=replace(row.order, status=OrderStatus.EXPIRED))
    gate.opened.set()
    assert await cancelling == {"canceled": 0, "requested": 0}


# ---------------------------------------------------------------- out


async def test_settled_orders_are_read_from_memory() -> None:
    """Finalized, failed, canceled: they cannot change any more."""
    async with running(Rig()) as rig:
        order_id = await rig.post()
        await rig.until(lambda: rig.order(order_id).finalized_at_us)
        first = await rig.manager.view("default", order_id)
        rig.store.script.calls.clear()
        assert await rig.manager.view("default", order_id) is first
        assert "view" not in rig.store.script.calls


async def test_what_may_still_change_is_read_from_the_store() -> None:
    """Queued, and filled but not finalized."""
    async with running(Rig()) as rig:
        order_id = await rig.post()
        for status in (OrderStatus.QUEUED, OrderStatus.FILLED):
            await rig.reaches(order_id, status)
            for _ in range(2):
                rig.store.script.calls.clear()
                view = await rig.manager.view("default", order_id)
                assert view is not None
                assert view.order.status is status
                assert "view" in rig.store.script.calls


async def test_memory_never_gives_another_account_an_order() -> None:
    """Nor one that does not exist."""
    rig = Rig()
    order_id = await rig.post()
    await rig.manager.cancel("default", order_id)
    assert await rig.manager.view("default", order_id) is not None
    assert await rig.manager.view("other", order_id) is None
    assert await rig.manager.view("default", "none") is None


@pytest.mark.parametrize(("kept", "reads"), [(2, ["a"]), (0, ["a", "b", "c"])])
async def test_memory_is_bounded(kept: int, reads: list[str]) -> None:
    """The oldest are forgotten first; with nought nothing is kept."""
    rig = Rig(Knobs(history_max=kept))
    ids = {name: await rig.post() for name in "abc"}
    for order_id in ids.values():
        await rig.manager.cancel("default", order_id)
        await rig.manager.view("default", order_id)
    asked = []
    for name in "cba":
        rig.store.script.calls.clear()
        await rig.manager.view("default", ids[name])
        asked += [name] if "view" in rig.store.script.calls else []
    assert sorted(asked) == reads


async def test_a_waiting_reader_is_woken_by_the_final_state() -> None:
    """At once, not at its next look."""
    async with running(Rig(Knobs(poll=0.05))) as rig:
        rig.chain.fate = lambda _attempt: None
        order_id = await rig.post()
        waiting = asyncio.create_task(rig.manager.wait_final("default", order_id, 30))
        await pass_time(1.02)
        rig.chain.land(rig.database.attempts(order_id)[0], after=0)
        view = await waiting
        assert view is not None
        assert view.order.status is OrderStatus.FILLED
        assert rig.clock.now_us() - (view.order.filled_at_us or 0) < 0.02 * S


async def test_a_waiting_reader_sees_what_another_process_did() -> None:
    """It looks for itself every half second."""
    rig = Rig()
    order_id = await rig.post()
    waiting = asyncio.create_task(rig.manager.wait_final("default", order_id, 30))
    await pass_time(1)
    await rig.store.cancel("default", order_id, 1)
    await pass_time(0.6)
    view = await waiting
    assert view is not None
    assert view.order.status is OrderStatus.CANCELED


async def test_a_waiting_reader_gets_what_is_known_when_time_is_up() -> None:
    """Not final, and no error; without time it does not wait at all."""
    rig = Rig()
    order_id = await rig.post()
    for seconds in (0, 3.2):
        before = rig.clock.monotonic()
        view = await rig.manager.wait_final("default", order_id, seconds)
        assert view is not None
        assert view.order.status is OrderStatus.QUEUED
        assert rig.clock.monotonic() - before == pytest.approx(seconds)


async def test_nobody_waits_for_an_unknown_order() -> None:
    """There is nothing to wait for."""
    rig = Rig()
    assert await rig.manager.wait_final("default", "none", 30) is None
    assert rig.store.script.calls == ["view"]


async def test_orders_events_and_statistics_are_read_through() -> None:
    """Lists page by cursor; events are those that are sealed."""
    rig = Rig()
    ids = []
    for _ in range(3):
        ids.append(await rig.post())
        await pass_time(1)
    page = await rig.manager.orders(EVERYTHING, limit=2)
    assert [view.order.order_id for view in page] == [ids[2], ids[1]]
    last = page[-1].order
    rest = await rig.manager.orders(
        EVERYTHING, limit=2, before=(last.accepted_at_us, last.order_id)
    )
    assert [view.order.order_id for view in rest] == [ids[0]]
    assert await rig.manager.statistics(EVERYTHING) == []
    assert await rig.manager.events(account="default") == []
    await rig.store.seal(10)
    events = await rig.manager.events(account="default", after=1)
    assert [event.order_id for event in events] == ids[1:]
    only = await rig.manager.events(account="default", order_id=ids[0], limit=5)
    assert [event.order_id for event in only] == ids[:1]


async def test_whoever_waits_for_events_is_woken_by_a_change() -> None:
    """Or looks by itself after half a second, or when its own time is up."""
    rig = Rig()
    before = rig.clock.monotonic()
    await rig.manager.wait_for_events(30)
    assert rig.clock.monotonic() - before == pytest.approx(0.5)
    await rig.manager.wait_for_events(0.1)
    assert rig.clock.monotonic() - before == pytest.approx(0.6)
    waiting = asyncio.create_task(rig.manager.wait_for_events(30))
    await pass_time(0.2)
    rig.manager.changed()
    await waiting
    assert rig.clock.monotonic() - before == pytest.approx(0.8)


async def test_figures_count_the_queue() -> None:
    """Pending is queued, active is executing and submitted, completed is final."""
    rig = Rig()
    ids = [await rig.post() for _ in range(3)]
    await rig.store.claim(1, rig.clock.now_us())
    await rig.manager.cancel("default", ids[2])
    await rig.manager.refresh_figures()
    figures = rig.manager.figures
    assert figures is not None
    assert (figures.pending, figures.active, figures.completed) == (1, 1, 1)
    assert figures.oldest_queued_us == NOW
