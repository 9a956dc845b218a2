"""A machine that does anything a process may do, in any order, and checks what must always hold."""

import asyncio
import shutil
import sqlite3
import tempfile
from contextlib import AsyncExitStack, closing
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from app.database.orders import SqlStore, open_store
from app.domain import changes
from app.domain.attempt import Spend
from app.domain.errors import ReasonCode
from app.domain.events import verify_chain
from app.domain.order import OrderStatus
from app.engine.ports import Accepted, Balances, CancelOutcome, Claimed, LostLease, Shortage
from tests.database import steps
from tests.database.steps import SOON, new_order
from tests.domain import makers
from tests.domain.makers import S

SPEND = 30
WALLET = Balances(slot=10**6, lamports=100)
"""Money for three attempts at a time."""
LIVE_MAX = 3


class StoreMachine(RuleBasedStateMachine):
    """Accept, claim, store, record, cancel, release, crash and seal, with claims old and new."""

    orders = Bundle("orders")
    claims = Bundle("claims")

    template: Path

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._folder = Path(tempfile.mkdtemp(prefix="synergy7-machine-"))
        self._count = 0
        self._versions: dict[str, int] = {}
        self._finals: dict[str, OrderStatus] = {}
        self._stack = AsyncExitStack()
        self.store: SqlStore

    @initialize()
    def open(self) -> None:
        """Start with an empty database."""
        self._url = str(shutil.copy(self.template, self._folder / "orders.db"))
        self._enter()

    def _enter(self) -> None:
        opening = open_store(self._url, process_name=f"run{self._count}")
        self.store = self._runner.run(self._stack.enter_async_context(opening))

    def teardown(self) -> None:
        """Close, and throw the database away."""
        self._runner.run(self._stack.aclose())
        self._runner.close()
        shutil.rmtree(self._folder)

    @rule(target=orders, priority=st.integers(0, 9))
    def accept(self, priority: int) -> str:
        """A new order is queued."""
        self._count += 1
        new = new_order(f"o{self._count:03}", signal=makers.signal(priority=priority))
        accepted = self._runner.run(self.store.accept(new, full=False))
        assert isinstance(accepted, Accepted)
        return new.order_id

    @rule(target=claims, limit=st.integers(1, 3))
    def claim(self, limit: int) -> object:
        """Claims raise versions and never hand out a finished order."""
        claimed = self._runner.run(self.store.claim(limit, SOON))
        assert all(not one.view.order.status.final for one in claimed)
        return multiple(*claimed)

    @rule(target=claims)
    def adopt(self) -> object:
        """Adopted orders are in doubt or filled."""
        adopted = self._runner.run(self.store.adopt(3))
        for one in adopted:
            order = one.view.order
            assert order.in_doubt_since_us is not None or order.status is OrderStatus.FILLED
        return multiple(*adopted)

    @rule(target=claims, claimed=claims)
    def store_attempt(self, claimed: Claimed) -> object:
        """However old the claim: stored, lost or short, never a second live attempt."""
        if claimed.view.live_attempt is not None:
            return multiple()
        storing = steps.try_to_store(self.store, claimed, Spend("", 0, SPEND), balances=WALLET)
        stored = self._runner.run(storing)
        assert isinstance(stored, (Claimed, LostLease, Shortage))
        return stored if isinstance(stored, Claimed) else multiple()

    @rule(
        target=claims,
        claimed=consumes(claims),
        what=st.sampled_from(["push", "fill", "expire", "doubt", "end", "requeue", "finalize"]),
    )
    def record(self, claimed: Claimed, what: str) -> object:
        """Any change that is legal for the claim's view is written, or the lease is lost."""
        steps_to_take = _changes(claimed, what)
        if not steps_to_take:
            return claimed
        recorded = self._runner.run(self.store.record(claimed, *steps_to_take))
        return recorded if isinstance(recorded, Claimed) else multiple()

    @rule(order_id=orders)
    def cancel(self, order_id: str) -> None:
        """A wish is granted, noted or too late."""
        outcome, order = self._runner.run(self.store.cancel("default", order_id, SOON))
        assert order is not None
        assert (outcome is CancelOutcome.CANCELED) == (order.status is OrderStatus.CANCELED)
        assert (outcome is CancelOutcome.FINAL) <= order.status.final

    @rule(claimed=claims)
    def release(self, claimed: Claimed) -> None:
        """Old or new, a claim may be given back at any time."""
        self._runner.run(self.store.release(claimed))

    @rule()
    def restart(self) -> None:
        """The process ends, another begins on the same file."""
        self._runner.run(self._stack.aclose())
        self._count += 1
        self._enter()

    @rule(limit=st.integers(1, 20))
    def seal(self, limit: int) -> None:
        """Sealing may happen at any time."""
        self._runner.run(self.store.seal(limit))

    # what must always hold

    def _read(self, query: str) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(self._url)) as conn:
            return conn.execute(query).fetchall()

    @invariant()
    def one_live_attempt_exactly_where_submitted(self) -> None:
        """An attempt is alive for exactly the submitted orders."""
        query = (
            "SELECT o.order_id, o.status, (SELECT count(*) FROM attempts a WHERE "
            "a.order_id = o.order_id AND a.status IN ('signed', 'submitted')) FROM orders o"
        )
        live = 0
        for order_id, status, count in self._read(query):
            assert count == (1 if status == "submitted" else 0), (order_id, status, count)
            live += int(str(count))
        assert live <= LIVE_MAX

    @invariant()
    def versions_grow_and_ends_stay(self) -> None:
        """No version goes back, and only a fill may still change."""
        for order_id, status, version in self._read("SELECT order_id, status, version FROM orders"):
            assert int(str(version)) >= self._versions.get(str(order_id), 0)
            self._versions[str(order_id)] = int(str(version))
            final = self._finals.get(str(order_id))
            assert final is None or status == final.value
            if OrderStatus(str(status)).final:
                self._finals[str(order_id)] = OrderStatus(str(status))

    @invariant()
    def events_are_gapless(self) -> None:
        """Each order's events count from 1, as many as its row says."""
        query = (
            "SELECT o.order_id, o.event_seq, count(e.seq), max(e.seq) FROM orders o "
            "JOIN events e ON e.order_id = o.order_id GROUP BY o.order_id, o.event_seq"
        )
        for _, seq, count, last in self._read(query):
            assert seq == count == last

    @invariant()
    def the_chain_verifies(self) -> None:
        """What is sealed is one unbroken chain."""
        events = self._runner.run(self.store.trail(after=0, limit=100_000))
        assert verify_chain(events) is None
        assert [event.position for event in events] == list(range(1, len(events) + 1))

    @invariant()
    def what_waits_is_nobodys(self) -> None:
        """A queued order, and one that is settled, has no holder."""
        query = (
            "SELECT count(*) FROM orders WHERE process IS NOT NULL AND (status IN "
            "('queued', 'failed', 'expired', 'canceled', 'rejected') "
            "OR finalized_at_us IS NOT NULL)"
        )
        assert self._read(query) == [(0,)]


def _changes(claimed: Claimed, what: str) -> list[changes.Change]:
    """Give the changes that are legal for what the claim knows, perhaps none."""
    view = claimed.view
    live, status = view.live_attempt, view.order.status
    if status is OrderStatus.FILLED and view.order.finalized_at_us is None:
        is_asked = what == "finalize"
        return [changes.finalized(view.attempts[-1], slot=7, at_us=SOON)] if is_asked else []
    if live is None and status is OrderStatus.EXECUTING:
        if what == "end":
            code = ReasonCode.PRICE_LIMIT
            return [changes.ended(view, OrderStatus.FAILED, at_us=SOON, code=code, reason="no")]
        return [steps.requeue(claimed)] if what == "requeue" else []
    if live is None:
        return []
    if what == "expire":
        dead = steps.expiry(claimed)
        return [dead, steps.requeue(claimed, SOON, dead)]
    return {
        "push": [changes.submitted(live, (makers.push(),), at_us=SOON)],
        "fill": [changes.filled(live, makers.FILL, at_us=SOON)],
        "doubt": [changes.in_doubt(live, at_us=SOON + S, why="no answer")],
    }.get(what, [])


@pytest.mark.slow
def test_nothing_a_process_does_breaks_what_must_hold(migrated_file: Path) -> None:
    """Any sequence of steps, with claims of any age, keeps the database consistent."""

    class Machine(StoreMachine):
        template = migrated_file

    searching = settings(max_examples=15, stateful_step_count=30, deadline=None)
    run_state_machine_as_test(Machine, settings=searching)
