"""The keeper moves the market: it trades every pool's price along a path made from a seed.

The path is a function of (seed, market, step, volatility) alone, in integers, so that a test or a
replay sees the same prices; other people's trades do not bend it: the keeper trades them away.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from math import isqrt

from solders.hash import Hash
from solders.instruction import Instruction
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from app.sandbox.genesis import Genesis, Market
from app.sandbox.layouts import (
    RATE_DENOMINATOR,
    PoolState,
    Swap,
    associated_token_address,
    token_amount,
    trade_fee_rate,
)

ReadAccount = Callable[[Pubkey], bytes]

START_PPM = 1_000_000  # a level of the path, in millionths of the price in the first block
LEVEL_MIN_PPM = START_PPM // 4
LEVEL_MAX_PPM = START_PPM * 4
PULL_STEPS = 64  # a step takes this part of the way back to the start, so prices stay in sight
PPM_PER_BPS = 100
VOLATILITY_MAX_BPS = 1_000
NO_LIMIT = 0


def price_path(seed: int, market: str, volatility_bps: int) -> Iterator[int]:
    """Give a market's price at steps 1, 2, …, in millionths of its first price.

    A step is uniform within ± `volatility_bps`, and leans towards the first price.
    """
    level = START_PPM
    step = 0
    while True:
        step += 1
        moved = level * (START_PPM + _draw(seed, market, step, volatility_bps)) // START_PPM
        level = moved - (moved - START_PPM) // PULL_STEPS
        level = min(max(level, LEVEL_MIN_PPM), LEVEL_MAX_PPM)
        yield level


def _draw(seed: int, market: str, step: int, volatility_bps: int) -> int:
    digest = sha256(f"sandbox price {seed} {market} {step}".encode()).digest()
    reach = volatility_bps * PPM_PER_BPS
    return int.from_bytes(digest, "big") % (2 * reach + 1) - reach


@dataclass(frozen=True)
class _Trader:
    """One market's path, and the price it starts from as quote reserve over base reserve."""

    market: Market
    path: Iterator[int]
    first_base: int
    first_quote: int


class Keeper:
    """Makes the swaps that take every pool to the next price of its path.

    `volatility_bps` (0 to 1,000) bounds a step. `first_step` is the number of steps already made,
    for a chain that goes on.
    """

    def __init__(
        self, genesis: Genesis, seed: int, volatility_bps: int, first_step: int = 0
    ) -> None:
        if not 0 <= volatility_bps <= VOLATILITY_MAX_BPS:
            raise ValueError(f"volatility_bps must be within 0 and {VOLATILITY_MAX_BPS}")
        self._keypair = genesis.wallets["keeper"]
        first = {account.address: account.data for account in genesis.accounts}
        self._traders = [
            _Trader(
                market,
                islice(price_path(seed, market.name, volatility_bps), first_step, None),
                *_reserves(market, _pool(market, first.__getitem__), first.__getitem__),
            )
            for market in genesis.markets
        ]

    def next_transactions(
        self, read_account: ReadAccount, blockhash: Hash
    ) -> list[VersionedTransaction]:
        """Take one step: give at most one signed swap for each market.

        `read_account` gives an account's data as it now stands. A market that already is where its
        path leads needs no swap.
        """
        swaps = [self._swap(trader, next(trader.path), read_account) for trader in self._traders]
        return [self._sign(swap, blockhash) for swap in swaps if swap is not None]

    def _sign(self, instruction: Instruction, blockhash: Hash) -> VersionedTransaction:
        payer = self._keypair.pubkey()
        message = MessageV0.try_compile(payer, [instruction], [], blockhash)
        return VersionedTransaction(message, [self._keypair])

    def _swap(self, trader: _Trader, level: int, read_account: ReadAccount) -> Instruction | None:
        market = trader.market
        pool = _pool(market, read_account)
        base, quote = _reserves(market, pool, read_account)
        target = isqrt(base * quote * trader.first_quote * level // (trader.first_base * START_PPM))
        buys = target > quote
        net = target - quote if buys else base * quote // max(target, 1) - base
        kept = RATE_DENOMINATOR - trade_fee_rate(read_account(pool.config))
        amount = max(net, 0) * RATE_DENOMINATOR // kept
        if not amount:
            return None
        paid, got = market.base_mint, market.quote_mint
        if buys:
            paid, got = got, paid
        owner = self._keypair.pubkey()
        return Swap(
            pool_address=market.pool,
            pool=pool,
            side=pool.mints.index(paid),
            payer=owner,
            source=associated_token_address(owner, paid),
            destination=associated_token_address(owner, got),
        ).exact_in(amount, NO_LIMIT)


def _pool(market: Market, read_account: ReadAccount) -> PoolState:
    return PoolState.decode(read_account(market.pool))


def _reserves(market: Market, pool: PoolState, read_account: ReadAccount) -> tuple[int, int]:
    """Read what the pool trades with, base first: its vaults less the fees it owes."""
    free = [token_amount(read_account(vault)) - pool.owed(i) for i, vault in enumerate(pool.vaults)]
    base = pool.mints.index(market.base_mint)
    return free[base], free[1 - base]
