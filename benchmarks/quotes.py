"""How long a quote takes: each venue on pools of the test vectors, and a route over six pools."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from solders.pubkey import Pubkey

from app.domain.market import Market, PoolRef, Token
from app.domain.quote import SwapIntent
from app.transactions.pools import Board
from app.transactions.routing import Router
from app.transactions.venues.base import Pool, Swap
from app.transactions.venues.orca_whirlpool import Whirlpool
from app.transactions.venues.raydium_amm_v4 import AmmV4Pool
from app.transactions.venues.whirlpool_math import SwapRefused
from benchmarks.audit import Audit
from benchmarks.figures import Figure
from benchmarks.sizes import Measured, Sizes
from tests.vectors import states
from tests.vectors.states import load_state

CROSSINGS = 20
VECTORS = Path(states.__file__).parent / "portable"
SMALL_AMOUNT = 10**7
ROUTE_AMOUNT = 10**9


def quotes(sizes: Sizes, folder: Path) -> Measured:
    """Time quotes in this process, each many times over."""
    del folder
    whirlpool = load_state(VECTORS, "wp_sol_usdc_ts4_dynamic").decode()
    cpmm = load_state(VECTORS, "cp_deep").decode()
    assert isinstance(whirlpool, Whirlpool)
    amm = _amm_v4(whirlpool)
    rows: Mapping[str, Callable[[], object]] = {
        "Whirlpool quote, nothing crossed": _quote(whirlpool, _sale(whirlpool)),
        f"Whirlpool quote, {CROSSINGS} ticks crossed": _quote(whirlpool, _crossing(whirlpool)),
        "CPMM quote": _quote(cpmm, _sale(cpmm)),
        "AMM v4 quote": _quote(amm, _sale(amm)),
        "routed quote over six pools": _route(whirlpool, amm),
    }
    figures = [
        Figure(name, "µs", [_microseconds(work, sizes.quotes) for _ in range(sizes.runs)])
        for name, work in rows.items()
    ]
    return figures, Audit(0)


def _sale(pool: Pool, amount: int = SMALL_AMOUNT) -> Swap:
    """Sell an amount of a pool's first mint."""
    first, second = pool.decimals
    return Swap(first, second, exact_in=True, amount=amount)


def _quote(pool: Pool, swap: Swap) -> Callable[[], object]:
    return lambda: pool.quote(swap)


def _microseconds(work: Callable[[], object], times: int) -> float:
    work()
    started = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - started) / times * 1e6


def _crossing(pool: Whirlpool) -> Swap:
    """Find an amount that crosses so many ticks."""
    low, high = 1, 2**63
    while low < high:
        middle = (low + high) // 2
        if _crossed(pool, _sale(pool, middle)) < CROSSINGS:
            low = middle + 1
        else:
            high = middle
    return _sale(pool, low)


def _crossed(pool: Whirlpool, swap: Swap) -> int:
    try:
        return pool.outcome(swap).trade.crossed
    except SwapRefused:
        return CROSSINGS  # too much for the pool is more than enough


def _amm_v4(like: Whirlpool) -> AmmV4Pool:
    """Make a pool of the same mints and price."""
    key = Pubkey.default()
    coin = 10**15
    return AmmV4Pool(
        address=key,
        vaults=(key, key),
        mints=like.account.mints,
        mint_decimals=(9, 6),
        reserves=(coin, like.worth(like.account.mints[0], coin)),
        fee=(25, 10_000),
        status=6,
        open_time=0,
        unix_time=0,
        open_orders=key,
        short=True,
    )


@dataclass(frozen=True)
class _Read:
    """Pools as read, in the shape of a board."""

    pools: Mapping[Pubkey, Pool]

    def pool(self, _market: str, ref: PoolRef) -> Pool:
        return self.pools[ref.address]

    def worth(self, token: Token, amount: int) -> int:
        return amount if token.is_sol else amount * 6

    def slot(self, _market: str) -> int:
        return 1


def _route(whirlpool: Whirlpool, amm: AmmV4Pool) -> Callable[[], object]:
    """Choose among three Whirlpools and three AMM v4 pools of other fees."""
    account = whirlpool.account
    pools: list[Pool] = [
        *(replace(whirlpool, account=replace(account, fee_rate=rate)) for rate in (300, 400, 500)),
        *(replace(amm, fee=(rate, 10_000)) for rate in (20, 25, 30)),
    ]
    keys = [Pubkey.from_bytes(bytes([at] * 32)) for at in range(1, len(pools) + 1)]
    sol, usdc = (
        Token(symbol, mint, places)
        for symbol, mint, places in zip(("SOL", "USDC"), account.mints, (9, 6), strict=True)
    )
    market = Market(
        "SOL-USDC",
        sol,
        usdc,
        tuple(PoolRef("any", key) for key in keys),
        impact_bps_max=500,
        mid_gap_bps_max=300,
    )
    board = cast("Board", _Read(dict(zip(keys, pools, strict=True))))
    intent = SwapIntent(base_to_quote=True, exact_in=True, amount=ROUTE_AMOUNT)
    router = Router(10_000)
    return lambda: router.best(board, market, intent)
