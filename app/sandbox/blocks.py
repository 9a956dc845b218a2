"""What a chain consists of: blocks, what landed in them, and how it looks at a commitment."""

from dataclasses import dataclass, field
from typing import Literal

from solders.account import Account
from solders.pubkey import Pubkey

from app.sandbox.machine import Execution
from app.sandbox.transactions import SignedTransaction

Commitment = Literal["processed", "confirmed", "finalized"]


class NotIncluded(Exception):
    """A leader would have dropped the transaction; `error` is a transaction error."""

    def __init__(self, error: object) -> None:
        super().__init__(str(error))
        self.error = error


class CannotUndo(Exception):
    """A fork cannot reach behind the last final block."""


@dataclass(slots=True)
class Landed:
    """A transaction in a block. Without `outcome` its details lie in the history file.

    `unit_price` is in micro-lamports a compute unit, `units` is what it consumed; `bundle_id` is
    None for one that landed by itself.
    """

    number: int
    signature: str
    slot: int
    height: int
    unix_time: int
    index: int
    err: object
    memo: str | None
    bundle_id: str | None
    unit_price: int
    units: int
    transaction: SignedTransaction | None
    outcome: Execution | None
    stored_at: int = -1


@dataclass(frozen=True, slots=True)
class Aftermath:
    """The chain's counters as they stood when a block was closed and the next one opened."""

    forks: int
    count: int
    final_height: int
    open_slot: int
    open_unix_time: int


@dataclass(slots=True)
class Block:
    """A block, open or closed; `blockhash` is empty while it is open."""

    slot: int
    height: int
    unix_time: int
    parent_slot: int
    parent_hash: str
    blockhash: str = ""
    skipped_after: int = 0
    landed: list[Landed] = field(default_factory=list)
    preimages: dict[Pubkey, Account | None] = field(default_factory=dict)
    lowest_price: int = 0
    lowest_prices: dict[Pubkey, int] = field(default_factory=dict)
    after: Aftermath | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """All that cannot be undone: blocks up to the last final one, and the accounts behind it."""

    blocks: list[Block]
    after: Aftermath
    accounts: dict[Pubkey, Account | None]


@dataclass(frozen=True, slots=True)
class Closing:
    """What the end of a block brought: it is confirmed, and at most one other is final now."""

    confirmed: Block
    final: Block | None


@dataclass(frozen=True, slots=True)
class Bank:
    """The chain as seen at a commitment; `newest_hash_height` is the last block hashed in it."""

    slot: int
    height: int
    unix_time: int
    blockhash: str
    newest_hash_height: int
