"""The store as the engine needs it: a Protocol, and the values that go in and out; see `ports`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from app.domain.attempt import LanePlan, Signed
from app.domain.changes import Change
from app.domain.events import Event, EventKind
from app.domain.order import NewOrder, Order, OrderStatus, OrderView


@dataclass(frozen=True, slots=True)
class Balances:
    """What a wallet holds at `slot`: lamports, and base units by mint of what it trades."""

    slot: int
    lamports: int
    tokens: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The order is committed; `replayed` when it is the one an earlier request made."""

    order: Order
    replayed: bool


class IntakeRefusal(StrEnum):
    """Why the store did not take an order in."""

    MISMATCH = "mismatch"
    CONFLICT = "conflict"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Claimed:
    """An order that this process holds; every write through it must match its version."""

    view: OrderView


@dataclass(frozen=True, slots=True)
class LostLease:
    """The write matched no row: another process, or a cancellation, was first. Nothing was written."""


@dataclass(frozen=True, slots=True)
class Shortage:
    """The wallet cannot bear the attempt; `passing` when only live attempts stand in the way."""

    what: str
    passing: bool


class CancelOutcome(StrEnum):
    """What a cancellation did."""

    CANCELED = "canceled"
    REQUESTED = "requested"
    FINAL = "final"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """Counts and ages: pending = queued; active = executing and submitted; completed = final."""

    pending: int
    active: int
    completed: int
    in_doubt: int
    by_status: Mapping[OrderStatus, int]
    oldest_queued_us: int | None
    oldest_in_doubt_us: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFilter:
    """Which orders a list, a statistic or a mass cancellation means; None: any."""

    account: str
    status: OrderStatus | None = None
    market: str | None = None
    action: str | None = None
    strategy: str | None = None
    client_order_id: str | None = None
    from_us: int | None = None
    to_us: int | None = None


@dataclass(frozen=True, slots=True)
class StatisticsRow:
    """Final figures of one group of orders; volumes and fees in base units and lamports.

    `key` is (status, market, action, strategy, method, reason).
    """

    status: OrderStatus
    market: str
    action: str
    strategy: str | None
    method: str | None
    reason: str | None
    orders: int
    base_amount: int
    quote_amount: int
    network_fees: int
    priority_fees: int
    tips: int
    seconds_total_us: int


@dataclass(frozen=True, slots=True)
class LiveProcess:
    """A process whose lease runs: its name, its start, and how old its heartbeat was when it was read."""

    name: str
    started_at_us: int
    silent_us: int


@dataclass(frozen=True, slots=True)
class MethodSwitches:
    """What operators switched, for all processes.

    `resets` gives a mark for each method that was ever reset; another mark means: reset again.
    """

    disabled: frozenset[str]
    resets: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TradingState:
    """Whether anything may be signed, for all processes; `reason` and `since_us` of the halt.

    `reconciling`: the database lost commits, and is not known yet to agree with the chain.
    """

    halted: bool
    reason: str | None = None
    since_us: int | None = None
    reconciling: bool = False


@dataclass(frozen=True, slots=True)
class Halted:
    """Trading was halted before the attempt could be stored. Nothing was written."""


class Store(Protocol):
    """Orders, attempts and events, durable. Each call is one unit of work.

    Raises IntakeError(DATABASE_BUSY or STORAGE_UNAVAILABLE) when the database cannot serve it now.
    """

    async def accept(
        self, new: NewOrder, *, full: bool, rejection: tuple[str, str] | None = None
    ) -> Accepted | IntakeRefusal:
        """Commit a new order, or find the one that its keys name. `rejection` = (reason code, reason)."""
        ...

    async def cancel(
        self, account: str, order_id: str, at_us: int
    ) -> tuple[CancelOutcome, Order | None]:
        """Cancel an order without a live attempt, else note the request; a final order is left alone."""
        ...

    async def claim(
        self, limit: int, at_us: int, *, overdue_only: bool = False, live_only: bool = False
    ) -> Sequence[Claimed]:
        """Take up to `limit` free orders that are due: live attempts first, then priority, then age.

        `overdue_only`: only queued or executing orders past their deadline, due or not, to be ended.
        `live_only`: only those with a live attempt, to be watched.
        """
        ...

    async def adopt(self, limit: int) -> Sequence[Claimed]:
        """Take free orders that need watching but no slot: in doubt, or filled and not finalized."""
        ...

    async def take_over(self, account: str, order_id: str) -> Claimed | None:
        """Take an order in doubt, whoever holds it; None: it is not in doubt, or not the account's."""
        ...

    async def disown(self, known: Mapping[str, int]) -> int:
        """Free every order that this process holds unknowingly; returns how many.

        `known` gives the versions by order id. For a claim whose answer was lost: nobody else may take
        such orders, and nobody here works on them.
        """
        ...

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
        """Commit a signed attempt and move its order to submitted; its bytes may be pushed only after."""
        ...

    async def record(self, claimed: Claimed, *changes: Change) -> Claimed | LostLease:
        """Commit changes of a held order with their events.

        The lease ends with the write (the order names no process any more) when the order is then
        queued, or final with nothing left to watch: any final state but `filled` without `finalized_at`.
        """
        ...

    async def reload(self, claimed: Claimed) -> Claimed | LostLease:
        """Read a held order again, after an error or a cancellation left open whether a write committed."""
        ...

    async def release(self, claimed: Claimed) -> None:
        """Give an order back, unchanged, for any process to claim; a lost lease is fine."""
        ...

    async def heartbeat(self) -> bool:
        """Renew this process's lease by the database's clock; False when the lease was lost."""
        ...

    async def view(self, account: str, order_id: str) -> OrderView | None:
        """Read an order with its attempts."""
        ...

    async def refresh(self, order_ids: Sequence[str]) -> Mapping[str, int | None]:
        """Give `cancel_requested_at_us` of held orders."""
        ...

    async def orders(
        self, which: OrderFilter, *, limit: int, before: tuple[int, str] | None
    ) -> Sequence[OrderView]:
        """List orders, newest first, before a cursor (accepted_at_us, order_id)."""
        ...

    async def statistics(self, which: OrderFilter) -> Sequence[StatisticsRow]:
        """Group orders and add up their figures."""
        ...

    async def events(
        self, *, account: str, order_id: str | None, after: int, limit: int
    ) -> Sequence[Event]:
        """Read sealed events of an account or an order after a position, oldest first.

        Without an order the system's own events are among them.
        """
        ...

    async def seal(self, limit: int) -> int:
        """Give committed events their positions and hashes; returns how many."""
        ...

    async def figures(self) -> QueueFigures:
        """Count the queue."""
        ...

    async def note(self, kind: EventKind, data: Mapping[str, object], at_us: int) -> None:
        """Tell an event of the system itself: of no order and no account, seen by all."""
        ...

    async def switch_method(self, name: str, *, disabled: bool, at_us: int) -> bool:
        """Take a method out of use for all processes, or back into it, and tell the event.

        Gives False, and tells nothing, when it was so already.
        """
        ...

    async def reset_method(self, name: str, at_us: int) -> str:
        """Mark for all processes that a method was reset, and tell the event; gives the mark."""
        ...

    async def method_switches(self) -> MethodSwitches:
        """Read what is switched."""
        ...

    async def trading_state(self) -> TradingState:
        """Read whether anything may be signed."""
        ...

    async def halt(self, reason: str | None, at_us: int) -> TradingState:
        """Halt trading for all processes, and tell the event unless it was so already."""
        ...

    async def resume(self, at_us: int) -> TradingState:
        """Go on, and tell the event; a database that is being reconciled stays halted."""
        ...
