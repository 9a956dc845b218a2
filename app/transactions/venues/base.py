"""What a venue is: a DEX program whose pools the service can price, trade on and read back."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey

from app.domain.errors import ReasonCode
from app.engine.ports import Account

ANCHOR_EVENT_LINE: Final = "Program data: "
"""What an Anchor program's log line begins with that bears an event, in base64."""
Accounts = Mapping[str, Account | None]
"""Accounts by address (base58), read at one slot; None: there is no such account."""


@dataclass(frozen=True, slots=True)
class Moment:
    """When accounts were read, by the chain's own clock: slot, epoch, UTC seconds."""

    slot: int
    epoch: int
    unix_time: int


@dataclass(frozen=True, slots=True)
class Swap:
    """What is wanted of a pool: `amount` is what is paid (exact-in) or received (exact-out)."""

    mint_in: Pubkey
    mint_out: Pubkey
    exact_in: bool
    amount: int


@dataclass(frozen=True, slots=True)
class Priced:
    """What the pool would do: paid by and received by the trader; the fee in input base units."""

    amount_in: int
    amount_out: int
    venue_fee: int
    units: int
    """Compute units that the swap takes, about."""
    moved_in: int
    """What moves the price: what is paid less every fee on it."""
    moved_out: int
    """What the pool gives for that, before any fee is taken off."""


@dataclass(frozen=True, slots=True)
class UserAccounts:
    """Who trades, from which token account, into which."""

    owner: Pubkey
    source: Pubkey
    destination: Pubkey


@dataclass(frozen=True, slots=True)
class Terms:
    """What a swap instruction says, read back from its bytes."""

    pool: Pubkey
    user: UserAccounts
    vault_in: Pubkey
    vault_out: Pubkey
    exact_in: bool
    amount: int
    bound: int
    directed: bool = True
    """False when the bytes do not say which of the two vaults takes and which gives."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a pool's event tells: paid and received by the trader, and what moved through the vaults."""

    amount_in: int
    amount_out: int
    vault_in: int
    vault_out: int
    venue_fee: int | None
    """In base units of the input token; None when the event does not say."""
    before: tuple[int, ...] = ()
    """What the event tells of the pool right before the swap, as its `as_before` takes it."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a program's error code means for an order; `retryable`: a new quote may help."""

    name: str
    words: str
    code: ReasonCode
    retryable: bool


def passing(name: str, words: str, code: ReasonCode = ReasonCode.PROGRAM_ERROR) -> Meaning:
    """Describe a failure that a new quote may overcome."""
    return Meaning(name, words, code, retryable=True)


def lasting(name: str, words: str, code: ReasonCode = ReasonCode.PROGRAM_ERROR) -> Meaning:
    """Describe a failure that would only come again."""
    return Meaning(name, words, code, retryable=False)


class Pool(Protocol):
    """A pool's decoded state. Raises RefusedError or TransientError when it cannot do the swap."""

    @property
    def decimals(self) -> Mapping[Pubkey, int]:
        """The two mints with their decimals."""
        ...

    @property
    def fee_millionths(self) -> int:
        """The fee on what is paid, in millionths, rounded down; of an adaptive fee the least."""
        ...

    def require_open(self) -> None:
        """Pass when the pool takes swaps now: TransientError when it will, RefusedError when not."""
        ...

    def quote(self, swap: Swap) -> Priced:
        """Price a swap exactly as the program would in this state."""
        ...

    def worth(self, mint: Pubkey, amount: int) -> int:
        """Say an amount of one mint in the other at the mid price, without fees; rounded down."""
        ...

    def build(self, swap: Swap, bound: int, user: UserAccounts) -> Instruction:
        """Give the swap's instruction; `bound` is the least received or the most paid."""
        ...

    def as_before(self, swap: Swap, report: Report) -> "Pool | None":
        """Give the pool as it was right before a reported swap; None when the event does not tell enough."""
        ...


class Venue(Protocol):
    """A DEX program: one file in this folder and one entry in `known_venues`."""

    @property
    def name(self) -> str:
        """The name that a market's pools use."""
        ...

    @property
    def program(self) -> Pubkey:
        """The program's address."""
        ...

    @property
    def event_line(self) -> str:
        """What the program's log lines begin with that bear its events, in base64."""
        ...

    def probe(self) -> Instruction | None:
        """Give an instruction whose failure tells which form the deployed program takes; None: one form."""
        ...

    def learn(self, error: object) -> bool:
        """Take in the raw `err` of the simulated probe; False when it does not tell."""
        ...

    def accounts_needed(self, address: Pubkey, account: Account) -> tuple[Pubkey, ...]:
        """Name what `decode` reads besides the pool's account itself and the mints."""
        ...

    def decode(self, address: Pubkey, accounts: Accounts, moment: Moment) -> Pool:
        """Read a pool strictly; anything unexpected is RefusedError(POOL_INVALID)."""
        ...

    def terms(self, accounts: Sequence[Pubkey], data: bytes) -> Terms | None:
        """Read a swap instruction back; None for any other instruction of the program."""
        ...

    def parse_fill(self, pool: Pubkey, events: Iterable[bytes]) -> Report | None:
        """Find the pool's swap among the events that the program itself wrote."""
        ...

    def classify_error(self, code: int) -> Meaning | None:
        """Say what one of the program's own error codes means; None for an unknown one."""
        ...


def readonly(key: Pubkey) -> AccountMeta:
    """Name an account that an instruction reads."""
    return AccountMeta(key, is_signer=False, is_writable=False)


def writable(key: Pubkey) -> AccountMeta:
    """Name an account that an instruction writes."""
    return AccountMeta(key, is_signer=False, is_writable=True)


class OneForm:
    """A venue whose program takes its swaps in one form."""

    def probe(self) -> None:
        """There is nothing to find out."""

    def learn(self, error: object) -> bool:
        """There is nothing to find out."""
        del error
        return True
