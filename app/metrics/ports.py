"""What the execution metrics need: sealed events to read, and a database of their own to write."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

from app.domain.events import Event

Columns = Mapping[str, object]
"""An execution as it is stored: the fields of ExecutionRow by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionRow:
    """How one order went, from acceptance to its end. Times are UTC microseconds.

    Amounts are base units, fees lamports (`venue_fee`: base units of the input token), all None without
    a fill. `method` is the first that accepted the bytes of the attempt that landed, or else of the last
    attempt.
    """

    order_id: str
    account: str
    market: str
    action: str
    strategy: str | None
    price: str | None
    status: str
    reason_code: str | None
    method: str | None
    attempts: int
    submissions: int
    accepted_at_us: int
    first_executing_at_us: int | None
    first_signed_at_us: int | None
    first_submitted_at_us: int | None
    ended_at_us: int
    finalized_at_us: int | None
    base_amount: int | None = None
    quote_amount: int | None = None
    network_fee: int | None = None
    priority_fee: int | None = None
    tip: int | None = None
    venue_fee: int | None = None
    slot: int | None = None

    def columns(self) -> Columns:
        """Give the row as it is stored."""
        return asdict(self)


class EventSource(Protocol):
    """Sealed events of all accounts. Raises whatever its database raises."""

    async def trail(self, *, after: int, limit: int) -> Sequence[Event]:
        """Read events after a position, oldest first."""
        ...

    async def trail_end(self) -> int:
        """Give the position of the newest event ever sealed, 0 before the first."""
        ...

    async def histories(self, order_ids: Sequence[str]) -> Mapping[str, Sequence[Event]]:
        """Read all events of these orders, each order's oldest first; unknown orders are left out."""
        ...


class MetricsStore(Protocol):
    """The metrics database. Raises whatever it raises."""

    async def position(self) -> int:
        """Give the position up to which events are in the rows, 0 at the beginning."""
        ...

    async def write(self, rows: Sequence[Columns], *, after: int, position: int) -> bool:
        """Put rows, replacing those of the same orders, and move the position, in one transaction.

        Does nothing and gives False unless the position is `after`: another writer was first.
        """
        ...

    async def prune(self, before_us: int) -> int:
        """Remove rows of orders that ended before a time, in small batches; returns how many."""
        ...
