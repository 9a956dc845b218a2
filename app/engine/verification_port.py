"""What verification needs of database and chain: Protocols, and the values that go in and out."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from app.domain.attempt import StoredAttempt
from app.domain.events import Event
from app.domain.order import Fill, OrderStatus, OrderView
from app.domain.outcome import Absent, Seen, Unreachable
from app.engine.ports import LandedTransaction
from app.engine.recovery_port import Mention


@dataclass(frozen=True, slots=True)
class TrailPage:
    """Sealed events after a position, and where the trail begins: both of one moment."""

    start: int
    start_hash: str
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class KeptOrder:
    """An order with its attempts, the sequence of its last event, and all its events.

    `view` is None when its row, or one of an attempt, cannot be read as what it should be.
    """

    order_id: str
    view: OrderView | None
    event_seq: int
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class KeptAttempt:
    """What the database has of a signature."""

    signature: str
    order_id: str
    number: int
    landed: bool
    order_status: OrderStatus


class Kept(Protocol):
    """The orders database, read in pages. Raises IntakeError when it cannot be read."""

    async def trail(self, after: int) -> TrailPage:
        """Read sealed events of all accounts after a position, or from the trail's start."""
        ...

    async def unsealed(self) -> int:
        """Count events that are not sealed yet."""
        ...

    async def orders(self, after: str) -> Sequence[KeptOrder]:
        """Read orders by their ids, after one; none: that was the last page."""
        ...

    async def orphans(self, after: str) -> Sequence[Sequence[Event]]:
        """Read the events of orders that are not there, by order id, after one."""
        ...

    async def wallets(self) -> Sequence[tuple[str, int]]:
        """Name each wallet that ever signed, with the slot of the oldest blockhash it signed for."""
        ...

    async def attempts(self, signatures: Sequence[str]) -> Sequence[KeptAttempt]:
        """Find attempts by their signatures."""
        ...


class Ledger(Protocol):
    """The chain's past, from the configured endpoints. Never raises: what is not known is told so."""

    async def fates(
        self, attempts: Sequence[StoredAttempt]
    ) -> Mapping[str, Seen | Absent | Unreachable]:
        """Look attempts up with history search; gives what is known of each signature.

        Absent: as many endpoints as a proof needs are past its life, have kept all of that, and do not
        have it. Seen: in a confirmed block at least.
        """
        ...

    async def transaction(self, signature: str) -> LandedTransaction | Unreachable | None:
        """Read a transaction back at `confirmed`; None when no node has it."""
        ...

    async def signed_by(self, signature: str, wallet: str) -> bool | Unreachable:
        """Tell whether a finalized transaction bears a wallet's signature: its memo is anybody's."""
        ...

    def mentions(
        self, wallet: str, since_slot: int, *, whole: bool
    ) -> AsyncIterator[Sequence[Mention] | Unreachable]:
        """Page through a wallet's finalized transactions, newest first, on every endpoint in turn.

        Back to a slot, or `whole` to their end. An Unreachable says what could not be read: an endpoint,
        or what it has not kept since the slot.
        """
        ...


class Fills(Protocol):
    """Reads back what a landed transaction traded."""

    def fill(self, attempt: StoredAttempt, landed: LandedTransaction) -> Fill:
        """Read a fill; raises ValueError, TransientError or KeyError when it cannot be told."""
        ...
