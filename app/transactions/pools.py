"""Pools and wallets as the chain has them: read once a slot, for all orders together."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Final

from solders.pubkey import Pubkey

from app.domain.errors import ReasonCode, RefusedError, TransientError
from app.domain.market import WSOL_MINT, Market, PoolRef, Token
from app.engine.ports import Account, Balances, Chain, Snapshot
from app.transactions.tokens import (
    TOKEN_PROGRAMS,
    Mint,
    associated_address,
    decode_mint,
    decode_token_account,
)
from app.transactions.venues.base import Accounts, Moment, Pool, Venue

ACCOUNTS_MAX: Final = 100
"""The most accounts that one call reads (`getMultipleAccounts`)."""
READ_SECONDS_MAX: Final = 10
"""How long one read may take; a call that hangs must not hold every order for ever."""
CLOCK_SYSVAR: Final = "SysvarC1ock11111111111111111111111111111111"
"""Holds epoch and time of the very bank that was read."""
_CLOCK_BYTES = 40
_ROUNDS_MAX = 3
"""The first read learns which accounts the pools name; a later one may find them changed."""


@dataclass(frozen=True, slots=True)
class Holding:
    """The wallet's associated account of a mint: absent, or with its amount."""

    address: Pubkey
    exists: bool
    usable: bool
    amount: int


class Board:
    """What one read found. Pools are decoded when first asked for; one that is wrong harms no other."""

    def __init__(
        self,
        views: Mapping[str, "_View"],
        markets: Mapping[str, Market],
        venues: Mapping[str, Venue],
    ) -> None:
        self._views = views
        self._markets = markets
        self._venues = venues
        self._pools: dict[tuple[str, Pubkey], Pool] = {}

    def slot(self, market: str) -> int:
        """Give the slot at which a market's accounts were read."""
        return self._views[market].moment.slot

    def pool(self, market: str, ref: PoolRef) -> Pool:
        """Give a pool that trades a market; RefusedError(POOL_INVALID) when it is not what it should be."""
        key = (market, ref.address)
        if key not in self._pools:
            view = self._views[market]
            pool = self._venues[ref.venue].decode(ref.address, view.accounts, view.moment)
            self._require_tokens(self._markets[market], pool, ref)
            self._pools[key] = pool
        return self._pools[key]

    def _require_tokens(self, market: Market, pool: Pool, ref: PoolRef) -> None:
        expected = {token.mint: token.decimals for token in (market.base, market.quote)}
        if dict(pool.decimals) != expected:
            what = f"{ref.address} does not trade {market.name} as configured (mints or decimals)"
            raise RefusedError(ReasonCode.POOL_INVALID, what, todo="correct the market's settings")

    def mint(self, market: str, token: Token) -> Mint:
        """Give a market's mint; RefusedError(POOL_INVALID) when it cannot be traded."""
        view = self._views[market]
        return decode_mint(token.mint, view.accounts.get(str(token.mint)), view.moment.epoch)

    def holding(self, market: str, wallet: Pubkey, mint: Mint) -> Holding:
        """Give what a wallet holds of a market's mint."""
        return self._held(self._views[market].accounts, wallet, mint.address, mint.program)

    def _held(self, accounts: Accounts, wallet: Pubkey, mint: Pubkey, program: Pubkey) -> Holding:
        address = associated_address(wallet, mint, program)
        account = accounts.get(str(address))
        # anybody can send lamports to the address of an account that is not there yet
        if account is None or Pubkey.from_string(account.owner) not in TOKEN_PROGRAMS:
            return Holding(address, exists=False, usable=False, amount=0)
        found = decode_token_account(account, f"the wallet's account {address}")
        usable = found.usable and found.owner == wallet and found.mint == mint
        return Holding(address, exists=True, usable=usable, amount=found.amount)

    def worth(self, token: Token, amount: int) -> int | None:
        """Say an amount in lamports at the mid price of the first pool that pairs the token with SOL.

        Rounded down; None when no configured pool does, or none that does can tell now: an emptied
        one cannot.
        """
        if token.is_sol:
            return amount
        pairs = pairs_with_sol(token, self._markets)
        worths = (self._worth(*place, token, amount) for place in pairs)
        return next((each for each in worths if each is not None), None)

    def _worth(self, market: str, ref: PoolRef, token: Token, amount: int) -> int | None:
        try:
            return self.pool(market, ref).worth(token.mint, amount)
        except (RefusedError, TransientError):
            return None  # a pool that is wrong or empty says nothing; there may be another

    def balances(self, wallet: str) -> Balances:
        """Give a wallet's lamports, and the amounts of every token that the markets trade."""
        tokens: dict[str, int] = {}
        lamports: list[int] = []
        for name, view in self._views.items():
            purse = view.accounts.get(wallet)
            lamports.append(0 if purse is None else purse.lamports)
            tokens.update(self._amounts(name, Pubkey.from_string(wallet)))
        return Balances(self.oldest_slot, min(lamports), tokens)

    @property
    def oldest_slot(self) -> int:
        """The slot up to which everything in it is known."""
        return min(view.moment.slot for view in self._views.values())

    def _amounts(self, market: str, wallet: Pubkey) -> Iterator[tuple[str, int]]:
        accounts = self._views[market].accounts
        for token in _paid_tokens(self._markets[market]):
            program = _token_program(accounts, token)
            if program is not None:
                holding = self._held(accounts, wallet, token.mint, program)
                yield str(token.mint), holding.amount if holding.usable else 0


def pairs_with_sol(token: Token, markets: Mapping[str, Market]) -> Iterator[tuple[str, PoolRef]]:
    """List markets and pools that trade a token for SOL, and so tell what it is worth."""
    for market in markets.values():
        if {market.base.mint, market.quote.mint} == {token.mint, WSOL_MINT}:
            yield from ((market.name, ref) for ref in market.pools)


@dataclass(frozen=True, slots=True)
class _View:
    """A market's accounts, all of one slot."""

    moment: Moment
    accounts: Accounts


@dataclass(frozen=True, slots=True)
class _Batch:
    """Markets whose accounts are read in one call."""

    markets: tuple[str, ...]
    addresses: tuple[str, ...]


class PoolReader:
    """Reads every market's pools and every wallet's balances, at most once a slot.

    Orders that ask at the same time share one read; cancelling one of them leaves it to the others.
    """

    def __init__(
        self,
        *,
        chain: Chain,
        wallets: Sequence[str],
        markets: Mapping[str, Market],
        venues: Mapping[str, Venue],
        slot_seconds: float,
        monotonic: Callable[[], float],
        read_seconds_max: int = READ_SECONDS_MAX,
    ) -> None:
        """`slot_seconds` is how long a read counts as current."""
        self._chain = chain
        self._wallets = tuple(wallets)
        self._markets = markets
        self._venues = venues
        self._slot_seconds = slot_seconds
        self._monotonic = monotonic
        self._read_seconds_max = read_seconds_max
        self._known: Accounts = {}
        self._board: Board | None = None
        self._read_at = monotonic()
        self._landed_slot = 0
        self._reading: asyncio.Task[Board] | None = None

    async def board(self) -> Board:
        """Give what was read in this slot. Raises TransientError(CHAIN_UNAVAILABLE)."""
        board, age = self._board, self._monotonic() - self._read_at
        if (
            board is not None
            and age < self._slot_seconds
            and board.oldest_slot >= self._landed_slot
        ):
            return board
        return await self._shared()

    def landed(self, slot: int) -> None:
        """Take note of a trade of ours at a slot: what was read before knows neither price nor money."""
        self._landed_slot = max(self._landed_slot, slot)

    async def latest(self) -> Board:
        """Give the last read however old; for what hardly changes, such as which accounts exist."""
        return self._board or await self._shared()

    async def aclose(self) -> None:
        """Stop a read that is under way; who still waits for it is cancelled."""
        if self._reading is not None and not self._reading.done():
            self._reading.cancel()
            await asyncio.wait([self._reading])

    async def _shared(self) -> Board:
        if self._reading is None or self._reading.done():
            # a context of its own: what is logged below belongs to no single order
            self._reading = asyncio.create_task(
                self._bounded(), name="read pools", context=Context()
            )
            self._reading.add_done_callback(_retrieve)
        return await asyncio.shield(self._reading)

    async def _bounded(self) -> Board:
        started = self._monotonic()
        try:
            async with asyncio.timeout(self._read_seconds_max):
                board = await self._read()
        except TimeoutError as error:
            what = f"the pools could not be read within {self._read_seconds_max} s"
            raise TransientError(ReasonCode.CHAIN_UNAVAILABLE, what) from error
        self._board, self._read_at = board, started
        return board

    async def _read(self) -> Board:
        views: dict[str, _View] = {}
        for _ in range(_ROUNDS_MAX):
            views, read = await self._round(self._batches())
            self._known = read
            if all(address in read for each in self._batches() for address in each.addresses):
                break
        return Board(views, self._markets, self._venues)

    async def _round(
        self, batches: Sequence[_Batch]
    ) -> tuple[dict[str, _View], dict[str, Account | None]]:
        views: dict[str, _View] = {}
        read: dict[str, Account | None] = {}
        for batch in batches:
            snapshot = await self._chain.accounts(batch.addresses)
            view = _View(_moment(snapshot), snapshot.accounts)
            views.update(dict.fromkeys(batch.markets, view))
            read.update(snapshot.accounts)
        return views, read

    def _batches(self) -> list[_Batch]:
        """Pack the markets into as few calls as possible, each market's accounts into one."""
        batches: list[_Batch] = []
        common = (CLOCK_SYSVAR, *self._wallets)
        names: tuple[str, ...] = ()
        addresses: tuple[str, ...] = common
        for market in self._markets.values():
            wanted = tuple(self._addresses(market))
            union = tuple(dict.fromkeys((*addresses, *wanted)))
            if names and len(union) > ACCOUNTS_MAX:
                batches.append(_Batch(names, addresses))
                names, union = (), tuple(dict.fromkeys((*common, *wanted)))
            names, addresses = (*names, market.name), union
        return [*batches, _Batch(names, addresses)]

    def _addresses(self, market: Market) -> Iterator[str]:
        for ref in market.pools:
            yield str(ref.address)
            account = self._known.get(str(ref.address))
            if account is not None:
                yield from map(str, self._venues[ref.venue].accounts_needed(ref.address, account))
        yield from (str(token.mint) for token in (market.base, market.quote))
        for token in _paid_tokens(market):
            program = _token_program(self._known, token)
            if program is not None:
                for wallet in map(Pubkey.from_string, self._wallets):
                    yield str(associated_address(wallet, token.mint, program))


def _paid_tokens(market: Market) -> Iterable[Token]:
    """Give the tokens that are held in token accounts: all but SOL."""
    return (token for token in (market.base, market.quote) if not token.is_sol)


def _token_program(accounts: Accounts, token: Token) -> Pubkey | None:
    mint = accounts.get(str(token.mint))
    program = None if mint is None else Pubkey.from_string(mint.owner)
    return program if program in TOKEN_PROGRAMS else None


def _moment(snapshot: Snapshot) -> Moment:
    """Read epoch and time of the bank that answered; its slot is the answer's own."""
    clock = snapshot.accounts.get(CLOCK_SYSVAR)
    if clock is None or len(clock.data) < _CLOCK_BYTES:
        what = "the node does not tell the chain's time"
        raise TransientError(ReasonCode.CHAIN_UNAVAILABLE, what)
    epoch, unix_time = (int.from_bytes(clock.data[at : at + 8], "little") for at in (16, 32))
    return Moment(snapshot.slot, epoch, unix_time)


def _retrieve(task: asyncio.Task[Board]) -> None:
    """Take note of a failure that no order waits for any more; the next read tells it again."""
    if not task.cancelled():
        task.exception()
