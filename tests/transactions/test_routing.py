"""The pool that leaves most is taken, unless its price cannot be believed or would move too far."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

import pytest
from solders.account import Account as SvmAccount
from solders.pubkey import Pubkey

from app.domain.errors import ReasonCode, RefusedError, TransientError
from app.domain.market import Market, PoolRef, Token
from app.domain.quote import SwapIntent
from app.domain.signal import Action
from app.transactions.pools import Board as PoolBoard
from app.transactions.routing import Router
from app.transactions.tokens import TOKEN_PROGRAM
from app.transactions.venues.base import Priced, Swap
from app.transactions.venues.raydium_cpmm import PROGRAM
from tests.transactions.kit import GENESIS, Desk, desk, markets, order

pytestmark = pytest.mark.anyio
TIER, POOL, VAULT0, VAULT1 = (Pubkey.from_bytes(bytes([each] * 32)) for each in range(31, 35))
AMOUNT_AT = 64


def market() -> Market:
    """Give the market of the first pool."""
    return markets()["SOL-USDC"]


def read(on: Desk, address: Pubkey) -> bytes:
    """Read an account's data."""
    found = on.chain.account(str(address))
    assert found is not None
    return found.data


def second_pool(on: Desk, *, rate: int, depth: float, price: float = 1.0) -> PoolRef:
    """Open a second SOL-USDC pool with reserves of its own: deeper or thinner, at another price."""
    data = read(on, GENESIS.markets[0].pool)
    tier = read(on, Pubkey.from_bytes(data[8:40]))
    vaults = [Pubkey.from_bytes(data[at : at + 32]) for at in (72, 104)]
    factors = (depth, depth * price)
    contents = {TIER: tier[:12] + rate.to_bytes(8, "little") + tier[20:]}
    for key, original, factor in zip((VAULT0, VAULT1), vaults, factors, strict=True):
        copied = read(on, original)
        amount = int(int.from_bytes(copied[AMOUNT_AT : AMOUNT_AT + 8], "little") * factor)
        contents[key] = copied[:AMOUNT_AT] + amount.to_bytes(8, "little") + copied[AMOUNT_AT + 8 :]
    contents[POOL] = (
        data[:8] + bytes(TIER) + data[40:72] + bytes(VAULT0) + bytes(VAULT1) + data[136:]
    )
    for key, content in contents.items():
        vault = key in (VAULT0, VAULT1)
        held = int.from_bytes(content[AMOUNT_AT : AMOUNT_AT + 8], "little") if vault else 0
        account = SvmAccount(10**9 + held, content, TOKEN_PROGRAM if vault else PROGRAM)
        on.chain.svm.set_account(key, account)
    return PoolRef("raydium_cpmm", POOL)


def with_both(on: Desk, other: PoolRef, **limits: int | None) -> Market:
    """Let the market have both pools."""
    both = replace(market(), pools=(*market().pools, other), **limits)  # type: ignore[arg-type]
    on.trading = on.with_markets({both.name: both})
    return both


async def test_the_better_pool_is_chosen_and_does_what_was_quoted() -> None:
    """Of different fee and depth, over sizes and both directions, executed on the chain each time."""
    chance = random.Random(5)
    chosen: set[PoolRef] = set()
    for turn in range(24):
        on = desk()
        other = second_pool(
            on, rate=chance.choice((100, 2_500, 10_000)), depth=chance.choice((0.02, 1, 5))
        )
        with_both(on, other)
        action = chance.choice(list(Action))
        size = int(10 ** chance.uniform(7, 11))
        wanted = order("SOL-USDC", action, size=size)
        singles = {}
        for ref in (*market().pools, other):
            alone = on.with_markets({"SOL-USDC": replace(market(), pools=(ref,))})
            try:
                singles[ref] = (await alone.quote(wanted)).quote
            except RefusedError:
                continue
        quoted = (await on.trading.quote(wanted)).quote
        best = max(singles.values(), key=lambda each: (each.amount_out, -each.amount_in))
        assert (quoted.amount_in, quoted.amount_out) == (best.amount_in, best.amount_out), turn
        chosen.add(quoted.pool)
        landed = on.chain.land((await on.signed(wanted)).raw)
        assert landed.error is None
    assert len(chosen) == 2


@dataclass
class Board:
    """Two pools of given offers, priced one to one with SOL."""

    offers: Mapping[Pubkey, Priced]

    def pool(self, _market: str, ref: PoolRef) -> "Offer":
        return Offer(self.offers[ref.address])

    def worth(self, _token: Token, amount: int) -> int:
        return amount

    def slot(self, _market: str) -> int:
        return 1


@dataclass
class Offer:
    """A pool that makes one offer."""

    priced: Priced

    def quote(self, _swap: Swap) -> Priced:
        return self.priced

    def worth(self, _mint: Pubkey, amount: int) -> int:
        return amount


@pytest.mark.parametrize(
    ("exact_in", "cheap", "dear", "better"),
    [
        (True, 1_000_000, 1_000_500, "cheap"),
        (True, 1_000_000, 1_001_500, "dear"),
        (False, 1_000_000, 999_500, "cheap"),
        (False, 1_000_000, 998_500, "dear"),
    ],
)
def test_what_compute_costs_counts(exact_in: bool, cheap: int, dear: int, better: str) -> None:
    """An offer that takes 100,000 units more, at 10,000 micro-lamports, must be 1,000 lamports better."""
    refs = {"cheap": PoolRef("a", TIER), "dear": PoolRef("b", POOL)}
    offers = {
        TIER: Priced(2_000_000, cheap, 0, 0, 1, 1)
        if exact_in
        else Priced(cheap, 500_000, 0, 0, 1, 1),
        POOL: Priced(2_000_000, dear, 0, 100_000, 1, 1)
        if exact_in
        else Priced(dear, 500_000, 0, 100_000, 1, 1),
    }
    both = replace(market(), pools=tuple(refs.values()))
    intent = SwapIntent(True, exact_in, 2_000_000 if exact_in else 500_000)
    found = Router(10_000).best(cast("PoolBoard", Board(offers)), both, intent)
    assert found.quote.pool == refs[better]


async def test_a_swap_that_moves_the_price_too_far_is_refused() -> None:
    """PRICE_IMPACT, with what to do; without a limit it goes through, and dust is never refused for it."""
    on = desk()
    name = market().name
    big = order(name, Action.SELL, size=5_000 * 10**9, max_slippage_bps=9_000)
    limited = replace(market(), impact_bps_max=500)
    on.trading = on.with_markets({name: limited})
    with pytest.raises(RefusedError) as caught:
        await on.trading.quote(big)
    assert caught.value.code is ReasonCode.PRICE_IMPACT
    assert "max_price_impact_bps" in caught.value.todo
    for size in (10_000, 10_000_000):
        for action in Action:
            assert (await on.trading.quote(order(name, action, size=size))).quote.amount_out > 0
    on.trading = on.with_markets({name: market()})
    assert (await on.trading.quote(big)).quote.amount_out > 0


@pytest.mark.parametrize("price", [0.9, 1.1])
async def test_a_pool_whose_price_no_other_confirms_makes_the_order_wait(price: float) -> None:
    """A manipulated pool is quoted exactly too: the best offer alone proves nothing."""
    on = desk()
    other = second_pool(on, rate=2_500, depth=1, price=price)
    with_both(on, other, mid_gap_bps_max=300)
    for action in Action:
        with pytest.raises(TransientError) as caught:
            await on.trading.quote(order("SOL-USDC", action))
        assert caught.value.code is ReasonCode.MID_PRICE_GAP
    with_both(on, other, mid_gap_bps_max=2_000)
    assert (await on.trading.quote(order())).quote.amount_out > 0
    near = second_pool(on, rate=2_500, depth=1, price=1.01)
    with_both(on, near, mid_gap_bps_max=300)
    assert (await on.trading.quote(order())).quote.amount_out > 0


async def test_a_pool_that_tells_nothing_confirms_nothing_and_stops_nothing() -> None:
    """With the other pool gone there is nothing to compare with; the order goes on."""
    on = desk()
    gone = PoolRef("raydium_cpmm", Pubkey.from_bytes(bytes([99] * 32)))
    with_both(on, gone, mid_gap_bps_max=1)
    assert (await on.trading.quote(order())).quote.pool == market().pools[0]


async def test_a_thin_pool_of_a_better_price_does_not_stop_the_market() -> None:
    """Its offer looks best, and fails a guard: the next best that passes both is taken."""
    on = desk()
    thin = second_pool(on, rate=100, depth=0.01, price=1.03)
    with_both(on, thin, impact_bps_max=100)
    wanted = order("SOL-USDC", Action.SELL, size=10 * 10**9)
    alone = on.with_markets({"SOL-USDC": replace(market(), pools=(thin,))})
    assert (await alone.quote(wanted)).quote.amount_out > 0
    assert (await on.trading.quote(wanted)).quote.pool == market().pools[0]


async def test_closed_pools_confirm_nothing_and_an_unread_one_is_waited_for() -> None:
    """A price that nobody could trade at says nothing; what cannot be read just now may say no."""
    on = desk()
    other = second_pool(on, rate=2_500, depth=1, price=1.5)
    data = read(on, POOL)
    closed = data[:329] + bytes([4]) + data[330:]
    on.chain.svm.set_account(POOL, SvmAccount(10**9, closed, PROGRAM))
    with_both(on, other, mid_gap_bps_max=300)
    assert (await on.trading.quote(order())).quote.pool == market().pools[0]
    later = data[:373] + (2**40).to_bytes(8, "little") + data[381:]
    on.chain.svm.set_account(POOL, SvmAccount(10**9, later, PROGRAM))
    with_both(on, other, mid_gap_bps_max=300)
    with pytest.raises(TransientError) as caught:
        await on.trading.quote(order())
    assert caught.value.code is ReasonCode.MARKET_CLOSED


async def test_fees_are_no_impact() -> None:
    """A fee of 4 % on what is paid leaves the impact at nothing."""
    on = desk()
    dear = second_pool(on, rate=40_000, depth=1)
    trading = on.with_markets({"SOL-USDC": replace(market(), pools=(dear,), impact_bps_max=5)})
    for action in Action:
        assert (await trading.quote(order("SOL-USDC", action))).quote.pool == dear
