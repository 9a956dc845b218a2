"""A database in memory, and stores on it as processes have them.

It honours leases, versions and compare-and-swap as the real one does, and moves orders by the domain's
own `apply`. Work is done in one step; faults come before it, or after it was committed.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import TypeVar

from app.domain.attempt import AttemptStatus, LanePlan, Signed, StoredAttempt
from app.domain.changes import Change, apply
from app.domain.errors import IntakeError, ReasonCode
from app.domain.events import GENESIS_HASH, SYSTEM, Event, EventKind, chain_hash
from app.domain.order import NewOrder, Order, OrderStatus, OrderView
from app.engine.ports import (
    Accepted,
    Balances,
    CancelOutcome,
    Claimed,
    Clock,
    IntakeRefusal,
    LostLease,
    OrderFilter,
    QueueFigures,
    Shortage,
    StatisticsRow,
)
from app.engine.store_port import Halted, MethodSwitches, TradingState
from tests.engine.scripting import Script

T = TypeVar("T")
LEASE_SECONDS = 3.0


def busy() -> IntakeError:
    """Say that nothing was written."""
    return IntakeError(ReasonCode.DATABASE_BUSY, "the database has too much to do", retryable=True)


def unknown() -> IntakeError:
    """Say that nobody knows whether it was written."""
    return IntakeError(ReasonCode.STORAGE_UNAVAILABLE, "the outcome of a write is unknown")


@dataclass
class Row:
    """An order as it is committed, and who holds it."""

    view: OrderView
    process: str | None = None

    @property
    def order(self) -> Order:
        """The order."""
        return self.view.order


@dataclass
class FakeDatabase:
    """What is committed; it outlives every process."""

    clock: Clock
    rows: dict[str, Row] = field(default_factory=dict)
    processes: dict[str, float] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    told: Counter[str] = field(default_factory=Counter)
    sealed: int = 0
    hashing: bool = True
    """Whether sealed events get their hashes, which nobody looks at in a simulation."""
    disabled: set[str] = field(default_factory=set)
    resets: dict[str, str] = field(default_factory=dict)
    breaches: list[str] = field(default_factory=list)
    """Promises seen broken; noted here, since what is raised in a port may be survived."""
    shortage: Shortage | None = None
    trading: TradingState = field(default_factory=lambda: TradingState(halted=False))
    moved: Callable[[OrderView, OrderView], None] = lambda _before, _after: None
    keys: dict[tuple[str, str, str], Row] = field(default_factory=dict)
    """Orders by account and by what names them: the kind of key, and the key."""
    counts: Counter[OrderStatus] = field(default_factory=Counter)
    _open: dict[str, Row] = field(default_factory=dict)

    def unsettled(self) -> Collection[Row]:
        """List the orders that somebody has, or may yet have, something to do with."""
        return self._open.values()

    def add(self, row: Row) -> None:
        """Commit a new order."""
        order = row.order
        self.rows[order.order_id] = self._open[order.order_id] = row
        self.counts[order.status] += 1
        for kind, key in _keys(order.idempotency_key, order.signal.client_order_id):
            self.keys[order.account, kind, key] = row
        if is_over(order):
            del self._open[order.order_id]

    def order(self, order_id: str) -> Order:
        """Give an order."""
        return self.rows[order_id].order

    def attempts(self, order_id: str) -> tuple[StoredAttempt, ...]:
        """Give an order's attempts."""
        return self.rows[order_id].view.attempts

    def sees(self, account: str, event: Event) -> bool:
        """Tell whether an account may see an event."""
        return event.order_id == SYSTEM or self.order(event.order_id).account == account

    def kinds(self, order_id: str) -> list[EventKind]:
        """List what happened to an order."""
        return [event.kind for event in self.events if event.order_id == order_id]

    def tell(self, order_id: str, kind: EventKind, at_us: int, data: Mapping[str, object]) -> None:
        """Append an event."""
        self.told[order_id] += 1
        seq = self.told[order_id]
        self.events.append(Event(order_id=order_id, seq=seq, at_us=at_us, kind=kind, data=data))

    def demand(self, kept: bool, promise: str) -> None:
        """Note a promise that is not kept."""
        if not kept:
            self.breaches.append(promise)

    def put(self, row: Row, view: OrderView) -> None:
        """Commit an order as it is now."""
        before, row.view = row.view, view
        self.counts[before.order.status] -= 1
        self.counts[view.order.status] += 1
        if is_over(view.order):
            self._open.pop(view.order.order_id, None)
        self.moved(before, view)

    def free(self, row: Row, process: str) -> bool:
        """Tell whether nobody holds an order, or somebody who is gone; never one's own."""
        if row.process is None or row.process == process:
            return row.process is None
        beat = self.processes.get(row.process)
        return beat is None or self.clock.monotonic() - beat > LEASE_SECONDS

    def placed(self, new: NewOrder) -> NewOrder:
        """Give a new order its place behind the open ones that it must not overtake."""
        opposite = [
            row.order.accepted_at_us
            for row in (self.unsettled() if new.in_sequence else ())
            if row.order.in_sequence
            and not row.order.status.final
            and (row.order.wallet, row.order.signal.market) == (new.wallet, new.signal.market)
            and row.order.signal.action is not new.signal.action
        ]
        if not opposite or max(opposite) < new.accepted_at_us:
            return new
        signal = new.signal
        if signal.valid_for_us is not None and signal.signal_time_us is None:
            signal = replace(signal, signal_time_us=new.accepted_at_us)
        return replace(new, accepted_at_us=max(opposite) + 1, signal=signal)

    def overtakes(self, order: Order) -> bool:
        """Tell whether an order that keeps its sequence has an opposite one before it, not ended yet."""
        return order.in_sequence and any(
            earlier.in_sequence
            and not earlier.status.final
            and (earlier.wallet, earlier.signal.market) == (order.wallet, order.signal.market)
            and earlier.signal.action is not order.signal.action
            and _age(earlier) < _age(order)
            for earlier in (row.order for row in self.unsettled())
        )

    def seal(self, limit: int) -> int:
        """Give the next events their positions and hashes."""
        start, end = self.sealed, min(self.sealed + limit, len(self.events))
        for index in range(start, end if self.hashing else start):
            event = self.events[index]
            previous = self.events[index - 1].hash if index else GENESIS_HASH
            digest = chain_hash(previous or "", index + 1, event.digest())
            self.events[index] = replace(event, position=index + 1, hash=digest)
        self.sealed = end
        return end - start


def is_over(order: Order) -> bool:
    """Tell whether an order has ended for good."""
    unfinalized = order.status is OrderStatus.FILLED and order.finalized_at_us is None
    return order.status.final and not unfinalized


def settled(view: OrderView) -> bool:
    """Tell whether nobody has anything to do with an order before it is claimed again."""
    return is_over(view.order) or view.order.status is OrderStatus.QUEUED


class FakeStore:
    """The `Store` port of one process."""

    def __init__(self, database: FakeDatabase, process: str = "one") -> None:
        self.database = database
        self.process = process
        self.script = Script()
        database.processes[process] = database.clock.monotonic()

    # ------------------------------------------------------------ intake

    async def accept(
        self, new: NewOrder, *, full: bool, rejection: tuple[str, str] | None = None
    ) -> Accepted | IntakeRefusal:
        return await self.script.run("accept", lambda: self._accept(new, full, rejection))

    def _accept(
        self, new: NewOrder, full: bool, rejection: tuple[str, str] | None
    ) -> Accepted | IntakeRefusal:
        found = {row.order.order_id: row.order for row in self._named_by(new)}
        if len(found) > 1:
            return IntakeRefusal.CONFLICT
        for order in found.values():
            same = order.fingerprint == new.fingerprint
            return Accepted(order, replayed=True) if same else IntakeRefusal.MISMATCH
        if full:
            return IntakeRefusal.FULL
        placed = new if rejection is not None else self.database.placed(new)
        order = replace(_new_order(placed, rejection), next_attempt_at_us=new.accepted_at_us)
        self.database.add(Row(OrderView(order, ())))
        kind = EventKind.ACCEPTED if rejection is None else EventKind.REJECTED
        self.database.tell(order.order_id, kind, new.accepted_at_us, {})
        return Accepted(order, replayed=False)

    def _named_by(self, new: NewOrder) -> list[Row]:
        named = _keys(new.idempotency_key, new.signal.client_order_id)
        found = (self.database.keys.get((new.account, kind, key)) for kind, key in named)
        return [row for row in found if row is not None]

    async def cancel(
        self, account: str, order_id: str, at_us: int
    ) -> tuple[CancelOutcome, Order | None]:
        return await self.script.run("cancel", lambda: self._cancel(account, order_id, at_us))

    def _cancel(
        self, account: str, order_id: str, at_us: int
    ) -> tuple[CancelOutcome, Order | None]:
        row = self.database.rows.get(order_id)
        if row is None or row.order.account != account:
            return CancelOutcome.UNKNOWN, None
        order = row.order
        if order.status.final:
            canceled = order.status is OrderStatus.CANCELED
            return (CancelOutcome.CANCELED if canceled else CancelOutcome.FINAL), order
        if order.status is OrderStatus.SUBMITTED:
            if order.cancel_requested_at_us is None:
                asked = replace(order, cancel_requested_at_us=at_us)
                self.database.put(row, replace(row.view, order=asked))
                self.database.tell(order_id, EventKind.CANCEL_REQUESTED, at_us, {})
            return CancelOutcome.REQUESTED, row.order
        ended = replace(
            order,
            status=OrderStatus.CANCELED,
            reason_code=ReasonCode.CANCEL_REQUESTED,
            cancel_requested_at_us=at_us,
            ended_at_us=at_us,
            version=order.version + 1,
        )
        row.process = None
        self.database.put(row, replace(row.view, order=ended))
        self.database.tell(order_id, EventKind.ENDED, at_us, {})
        return CancelOutcome.CANCELED, ended

    # ------------------------------------------------------------ leases

    async def claim(
        self, limit: int, at_us: int, *, overdue_only: bool = False, live_only: bool = False
    ) -> Sequence[Claimed]:
        others = self._live if live_only else self._due
        work = self._overdue if overdue_only else others
        return await self.script.run(
            "claim_overdue" if overdue_only else "claim", lambda: work(limit, at_us)
        )

    def _live(self, limit: int, at_us: int) -> list[Claimed]:
        rows = [
            row
            for row in self.database.unsettled()
            if row.order.status is OrderStatus.SUBMITTED
            and row.order.in_doubt_since_us is None
            and self._free(row)
        ]
        return self._take(rows[:limit], at_us)

    def _due(self, limit: int, at_us: int) -> list[Claimed]:
        first, rest = [], []
        for row in self.database.unsettled():
            order = row.view.order
            if order.status is OrderStatus.QUEUED:
                if order.next_attempt_at_us <= at_us and not self.database.overtakes(order):
                    rest.append(row)
            elif order.status is OrderStatus.EXECUTING:
                if self._free(row) and not self.database.overtakes(order):
                    rest.append(row)
            elif order.status is OrderStatus.SUBMITTED and order.in_doubt_since_us is None:
                first += [row] if self._free(row) else []
        return self._take([*_ranked(first), *_ranked(rest)][:limit], at_us)

    def _overdue(self, limit: int, at_us: int) -> list[Claimed]:
        rows = self._rows(
            lambda row: (
                row.order.deadline_us <= at_us
                and (
                    row.order.status is OrderStatus.QUEUED
                    or (row.order.status is OrderStatus.EXECUTING and self._free(row))
                )
            )
        )
        return self._take(rows[:limit], at_us)

    async def adopt(self, limit: int) -> Sequence[Claimed]:
        return await self.script.run("adopt", lambda: self._adopt(limit))

    def _adopt(self, limit: int) -> list[Claimed]:
        rows = self._rows(
            lambda row: (
                self._free(row)
                and (
                    row.order.in_doubt_since_us is not None
                    or (
                        row.order.status is OrderStatus.FILLED and row.order.finalized_at_us is None
                    )
                )
            )
        )
        return self._take(rows[:limit], self.database.clock.now_us())

    def _rows(self, wanted: Callable[[Row], bool]) -> list[Row]:
        return _ranked([row for row in self.database.unsettled() if wanted(row)])

    def _free(self, row: Row) -> bool:
        return self.database.free(row, self.process)

    def _take(self, rows: list[Row], at_us: int) -> list[Claimed]:
        claims = []
        for row in rows:
            order = row.order
            queued = order.status is OrderStatus.QUEUED
            if queued or row.process is not None:
                self.database.tell(order.order_id, EventKind.CLAIMED, at_us, {"by": self.process})
            if row.process is not None and self.database.free(row, self.process):
                self.database.processes.pop(row.process, None)
            taken = replace(
                order,
                version=order.version + 1,
                status=order.status.to(OrderStatus.EXECUTING) if queued else order.status,
            )
            row.process = self.process
            self.database.put(row, OrderView(taken, row.view.attempts))
            claims.append(Claimed(row.view))
        return claims

    async def take_over(self, account: str, order_id: str) -> Claimed | None:
        return await self.script.run("take_over", lambda: self._take_over(account, order_id))

    def _take_over(self, account: str, order_id: str) -> Claimed | None:
        row = self.database.rows.get(order_id)
        if row is None or row.order.account != account or row.order.in_doubt_since_us is None:
            return None
        row.process = self.process
        taken = replace(row.order, version=row.order.version + 1)
        self.database.put(row, replace(row.view, order=taken))
        return Claimed(row.view)

    async def disown(self, known: Mapping[str, int]) -> int:
        return await self.script.run("disown", lambda: self._disown(known))

    def _disown(self, known: Mapping[str, int]) -> int:
        rows = [
            row
            for order_id, row in self.database.rows.items()
            if row.process == self.process and known.get(order_id) != row.order.version
        ]
        for row in rows:
            row.process = None
        return len(rows)

    async def release(self, claimed: Claimed) -> None:
        def work() -> None:
            row = self._held(claimed)
            if row is not None:
                row.process = None

        await self.script.run("release", work)

    async def reload(self, claimed: Claimed) -> Claimed | LostLease:
        def work() -> Claimed | LostLease:
            row = self._held(claimed)
            return LostLease() if row is None else Claimed(row.view)

        return await self.script.run("reload", work)

    async def heartbeat(self) -> bool:
        def work() -> bool:
            known = self.process in self.database.processes
            if known:
                self.database.processes[self.process] = self.database.clock.monotonic()
            return known

        return await self.script.run("heartbeat", work)

    def _held(self, claimed: Claimed) -> Row | None:
        """Give the row that a claim still matches: the fence of every write."""
        row = self.database.rows[claimed.view.order.order_id]
        same = row.process == self.process and row.order.version == claimed.view.order.version
        return row if same else None

    # ------------------------------------------------------------ a held order

    async def store_attempt(
        self,
        claimed: Claimed,
        signed: Signed,
        plan: LanePlan,
        *,
        balances: Balances,
        reserve_lamports: int,
        at_us: int,
    ) -> Claimed | LostLease | Shortage | Halted:
        return await self.script.run(
            "store_attempt", lambda: self._store_attempt(claimed, signed, plan, at_us)
        )

    def _store_attempt(
        self, claimed: Claimed, signed: Signed, plan: LanePlan, at_us: int
    ) -> Claimed | LostLease | Shortage | Halted:
        if self.database.trading.halted:
            return Halted()
        if self.database.shortage is not None:
            return self.database.shortage
        row = self._held(claimed)
        if (
            row is None
            or row.order.status is not OrderStatus.EXECUTING
            or row.order.cancel_requested_at_us is not None
            or len(row.view.attempts) != len(claimed.view.attempts)
        ):
            return LostLease()
        number = row.view.next_number
        attempt = StoredAttempt(
            attempt_id=f"{row.order.order_id}/{number}",
            order_id=row.order.order_id,
            number=number,
            wallet=row.order.wallet,
            status=AttemptStatus.SIGNED,
            plan=plan,
            signed=signed,
            signed_at_us=at_us,
        )
        self.database.demand(row.view.live_attempt is None, "two live attempts")
        order = replace(row.order, status=row.order.status.to(OrderStatus.SUBMITTED))
        self.database.put(row, OrderView(order, (*row.view.attempts, attempt)))
        self.database.tell(order.order_id, EventKind.SIGNED, at_us, {"number": number})
        return Claimed(row.view)

    async def record(self, claimed: Claimed, *changes: Change) -> Claimed | LostLease:
        return await self.script.run("record", lambda: self._record(claimed, changes))

    def _record(self, claimed: Claimed, changes: Sequence[Change]) -> Claimed | LostLease:
        wanted = reduce(apply, changes, claimed.view)  # raises what is illegal for the caller
        row = self._held(claimed)
        if row is None:
            return LostLease()
        view = wanted if row.view is claimed.view else reduce(apply, changes, row.view)
        for change in changes:
            self.database.tell(view.order.order_id, change.kind, change.at_us, change.data)
        if settled(view):
            row.process = None
        self.database.put(row, view)
        return Claimed(view)

    # ------------------------------------------------------------ reads

    async def view(self, account: str, order_id: str) -> OrderView | None:
        def work() -> OrderView | None:
            row = self.database.rows.get(order_id)
            return row.view if row is not None and row.order.account == account else None

        return await self.script.run("view", work)

    async def refresh(self, order_ids: Sequence[str]) -> Mapping[str, int | None]:
        return await self.script.run(
            "refresh",
            lambda: {each: self.database.order(each).cancel_requested_at_us for each in order_ids},
        )

    async def orders(
        self, which: OrderFilter, *, limit: int, before: tuple[int, str] | None
    ) -> Sequence[OrderView]:
        return await self.script.run("orders", lambda: self._orders(which, limit, before))

    def _orders(
        self, which: OrderFilter, limit: int, before: tuple[int, str] | None
    ) -> list[OrderView]:
        found = [row.view for row in self.database.rows.values() if _matches(row.order, which)]
        found.sort(key=_place, reverse=True)
        if before is not None:
            found = [view for view in found if _place(view) < before]
        return found[:limit]

    async def statistics(self, which: OrderFilter) -> Sequence[StatisticsRow]:
        return await self.script.run("statistics", list)

    async def events(
        self, *, account: str, order_id: str | None, after: int, limit: int
    ) -> Sequence[Event]:
        def work() -> list[Event]:
            return [
                event
                for event in self.database.events[: self.database.sealed]
                if (event.position or 0) > after
                and self.database.sees(account, event)
                and order_id in (None, event.order_id)
            ][:limit]

        return await self.script.run("events", work)

    async def seal(self, limit: int) -> int:
        return await self.script.run("seal", lambda: self.database.seal(limit))

    async def note(self, kind: EventKind, data: Mapping[str, object], at_us: int) -> None:
        await self.script.run("note", lambda: self.database.tell(SYSTEM, kind, at_us, data))

    async def switch_method(self, name: str, *, disabled: bool, at_us: int) -> bool:
        return await self.script.run("switch_method", lambda: self._switch(name, disabled, at_us))

    def _switch(self, name: str, disabled: bool, at_us: int) -> bool:
        if disabled == (name in self.database.disabled):
            return False
        self.database.disabled ^= {name}
        kind = EventKind.METHOD_DISABLED if disabled else EventKind.METHOD_ENABLED
        self.database.tell(SYSTEM, kind, at_us, {"method": name})
        return True

    async def reset_method(self, name: str, at_us: int) -> str:
        def work() -> str:
            self.database.tell(SYSTEM, EventKind.METHOD_RESET, at_us, {"method": name})
            mark = self.database.resets[name] = str(self.database.told[SYSTEM])
            return mark

        return await self.script.run("reset_method", work)

    async def method_switches(self) -> MethodSwitches:
        def work() -> MethodSwitches:
            return MethodSwitches(frozenset(self.database.disabled), dict(self.database.resets))

        return await self.script.run("method_switches", work)

    async def trading_state(self) -> TradingState:
        return await self.script.run("trading_state", lambda: self.database.trading)

    async def halt(self, reason: str | None, at_us: int) -> TradingState:
        def work() -> TradingState:
            before = self.database.trading
            if not before.halted:
                self.database.tell(SYSTEM, EventKind.TRADING_HALTED, at_us, {"reason": reason})
                self.database.trading = replace(before, halted=True, reason=reason, since_us=at_us)
            return self.database.trading

        return await self.script.run("halt", work)

    async def resume(self, at_us: int) -> TradingState:
        def work() -> TradingState:
            before = self.database.trading
            if before.halted and not before.reconciling:
                self.database.tell(SYSTEM, EventKind.TRADING_RESUMED, at_us, {})
                self.database.trading = TradingState(halted=False)
            return self.database.trading

        return await self.script.run("resume", work)

    async def figures(self) -> QueueFigures:
        return await self.script.run("figures", self._figures)

    def _figures(self) -> QueueFigures:
        orders = [row.order for row in self.database.unsettled()]
        counts = {status: self.database.counts[status] for status in OrderStatus}
        doubts = [o.in_doubt_since_us for o in orders if o.in_doubt_since_us is not None]
        queued = [o.accepted_at_us for o in orders if o.status is OrderStatus.QUEUED]
        return QueueFigures(
            pending=counts[OrderStatus.QUEUED],
            active=counts[OrderStatus.EXECUTING] + counts[OrderStatus.SUBMITTED],
            completed=sum(count for status, count in counts.items() if status.final),
            in_doubt=len(doubts),
            by_status=counts,
            oldest_queued_us=min(queued, default=None),
            oldest_in_doubt_us=min(doubts, default=None),
        )


def _ranked(rows: list[Row]) -> list[Row]:
    return sorted(
        rows, key=lambda r: (-r.order.signal.priority, r.order.accepted_at_us, r.order.order_id)
    )


def _keys(*named: str | None) -> Iterator[tuple[str, str]]:
    kinds = ("idempotency_key", "client_order_id")
    return ((kind, key) for kind, key in zip(kinds, named, strict=True) if key is not None)


def _new_order(new: NewOrder, rejection: tuple[str, str] | None) -> Order:
    order = Order(
        order_id=new.order_id,
        account=new.account,
        wallet=new.wallet,
        signal=new.signal,
        fingerprint=new.fingerprint,
        idempotency_key=new.idempotency_key,
        status=OrderStatus.QUEUED,
        accepted_at_us=new.accepted_at_us,
        deadline_us=new.deadline_us,
        next_attempt_at_us=new.accepted_at_us,
        in_sequence=new.in_sequence,
    )
    if rejection is None:
        return order
    return replace(
        order,
        status=OrderStatus.REJECTED,
        reason_code=ReasonCode(rejection[0]),
        reason=rejection[1],
        ended_at_us=new.accepted_at_us,
    )


def _matches(order: Order, which: OrderFilter) -> bool:
    return (
        order.account == which.account
        and which.status in (None, order.status)
        and which.market in (None, order.signal.market)
        and which.strategy in (None, order.signal.strategy)
    )


def _place(view: OrderView) -> tuple[int, str]:
    return _age(view.order)


def _age(order: Order) -> tuple[int, str]:
    return order.accepted_at_us, order.order_id
