"""What reconciliation needs of database and chain: Protocols, and the values that go in and out."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

from app.domain.attempt import AttemptStatus, Signed
from app.domain.changes import Change
from app.domain.memo import Memo
from app.domain.order import OrderView
from app.domain.signal import Action
from app.engine.ports import LandedTransaction


@dataclass(frozen=True, slots=True)
class Mark:
    """What is noted in a database that lost commits, until it agrees with the chain again."""

    whole: bool
    """It may lack rows of any age: the wallets' whole histories are read."""
    until_height: int | None = None
    """Last block height at which any transaction signed before the mark can land; None: not yet known."""
    since_slot: int | None = None
    """No transaction that the database does not know landed before this slot, but for what a fork moves
    it; None: no slot is known."""


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest that the stored attempts tell of the chain; None without one."""

    slot: int | None
    last_valid_height: int | None


@dataclass(frozen=True, slots=True)
class Mention:
    """A finalized transaction that names a wallet, as the nodes list it; `memo` as they print it.

    `failed`: everybody who lists it says so.
    """

    signature: str
    slot: int
    failed: bool
    memo: str | None
    unix_time: int | None


@dataclass(frozen=True, slots=True)
class Found:
    """A finalized transaction with its bytes; `mints` by the address of token accounts."""

    raw: bytes
    landed: LandedTransaction
    mints: Mapping[str, str]
    unix_time: int | None = None
    """When its block was made, as validators voted."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a transaction of ours tells of its order: who signed it is proved by its signature."""

    memo: Memo
    wallet: str
    signed: Signed
    market: str
    action: Action
    size: int | None
    quote_size: int | None
    slot: int
    failed: bool
    at_us: int
    """When its block was made, UTC microseconds."""


@dataclass(slots=True)
class Tally:
    """What a reconciliation found."""

    mentions: int = 0
    known: int = 0
    orders: int = 0
    """Orders that the database did not know."""
    attempts: int = 0
    """Attempts that it did not know, of orders that it knew."""
    failures: int = 0
    """Failed transactions that it did not know: told as events."""
    contradictions: int = 0
    """Executions that an order's stored end denies."""
    twins: int = 0
    """Open orders of a client's key that the chain shows executed."""
    requeued: int = 0
    """Orders whose only live attempt a damaged database had lost, and that never landed."""
    left: int = 0
    """Those that may have landed before the nodes' histories begin: they are in doubt."""

    def document(self) -> Mapping[str, object]:
        """Give the counts as the event tells them."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Listing:
    """A wallet's transactions, newest first, as far back as every node goes that was listened to."""

    mentions: Sequence[Mention]
    first_slot: int
    """The first slot that all of those nodes have kept."""


class History(Protocol):
    """The chain's past, from as many endpoints as a proof needs. Raises TransientError without them."""

    async def last_valid_height(self, newest_slot: int | None) -> int:
        """Give the highest last valid block height of any blockhash that a node knows now.

        Nodes that have not seen `newest_slot` are not heard, and none is while they are far apart.
        """
        ...

    async def finalized_height(self) -> int:
        """Give the block height that as many nodes have finalized as are needed."""
        ...

    async def mentions(self, address: str, *, since_slot: int | None, until_height: int) -> Listing:
        """List the finalized transactions that name an address, all since a slot or all that are kept.

        Each node must itself have finalized a block above `until_height`, and have kept what it
        finalized since the slot.
        """
        ...

    async def found(self, signature: str) -> Found:
        """Read a finalized transaction; its bytes bear their signatures, endpoints agree on the rest."""
        ...


class Reader(Protocol):
    """Reads transactions of ours back."""

    def recovered(
        self, found: Found, mention: Mention, until_height: int, wallet: str
    ) -> Recovered | None:
        """Give what a transaction tells; None when not this wallet signed it with a memo of ours.

        Raises RefusedError when it is ours and cannot be read, TransientError when its bytes are forged.
        """
        ...


class RecoveryStore(Protocol):
    """The database under reconciliation. Each call is one unit of work, and may be repeated."""

    async def begin(self) -> Mark | None:
        """Take the mark for this process; None: there is none, or another live process has it."""
        ...

    async def newest(self) -> Newest:
        """Read what the stored attempts tell of the chain's height and slot."""
        ...

    async def note_height(self, until_height: int) -> Mark:
        """Note the height to wait for, and the slot since when transactions may be unknown."""
        ...

    async def wallets(self) -> Sequence[str]:
        """Name the wallets that any attempt was signed with."""
        ...

    async def known(self, signatures: Sequence[str]) -> Mapping[str, tuple[str, AttemptStatus]]:
        """Give order id and status of the attempts that are stored."""
        ...

    async def order(self, order_id: str) -> OrderView | None:
        """Read an order of any account."""
        ...

    async def recover_order(self, lost: Recovered, account: str, at_us: int) -> int | None:
        """Record an order of which nothing else is known, as submitted; None: it is known.

        Gives how many open orders of the same client key were ended for it.
        """
        ...

    async def recover_attempt(self, lost: Recovered, burial: Sequence[Change], at_us: int) -> bool:
        """Record an attempt of a known open order as live, after `burial` of the one that was.

        False when the order has changed meanwhile, or knows the attempt already.
        """
        ...

    async def recover_fill(self, lost: Recovered, at_us: int) -> bool:
        """Record the attempt that filled a known order; False when it did not, or one is known."""
        ...

    async def contradict(self, order_id: str, signature: str, slot: int, at_us: int) -> bool:
        """Tell of an execution that an order's stored end denies; False when it was told before."""
        ...

    async def note_failure(self, lost: Recovered, at_us: int) -> bool:
        """Tell of a failed transaction that nothing was known of; False when it was told before."""
        ...

    async def requeue_bare(self, first_slot: int, at_us: int) -> tuple[int, int]:
        """Give submitted orders without a live attempt back to the queue, and count them.

        Only after histories were read back to `first_slot`, and only those accepted later: what they
        were sent as landed nowhere. The second count is of the others, which are in doubt.
        """
        ...

    async def reconciled(self, tally: Mapping[str, object], at_us: int) -> None:
        """Remove the mark, and tell what was found."""
        ...
