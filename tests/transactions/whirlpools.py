"""Whirlpools for the tests: the recorded made-up ones, and any that a search makes of them."""

from collections.abc import Mapping
from dataclasses import replace

from hypothesis import strategies as st

from app.transactions.venues.base import Swap
from app.transactions.venues.orca_whirlpool import Whirlpool
from app.transactions.venues.whirlpool_math import TICK_MAX, TICK_MIN, sqrt_price_of
from app.transactions.venues.whirlpool_swap import ARRAY_TICKS, TickArray, array_starts
from tests.transactions.states import load_state

STATES = (
    "wp_sol_usdc_ts4_dynamic",
    "wp_on_tick",
    "wp_splash",
    "wp_fuzz_0",
    "wp_fuzz_1",
    "wp_adaptive_hot",
    "wp_adaptive_idle",
    "wp_token2022_fee_epoch0",
)


def whirlpool(name: str) -> Whirlpool:
    """Decode a recorded Whirlpool."""
    pool = load_state(name).decode()
    assert isinstance(pool, Whirlpool)
    return pool


POOLS: Mapping[str, Whirlpool] = {name: whirlpool(name) for name in STATES}
PLAIN = POOLS["wp_sol_usdc_ts4_dynamic"]
U64 = 2**64 - 1


def swap(pool: Whirlpool, amount: int, *, a_to_b: bool, exact_in: bool) -> Swap:
    """Say a swap by the pool's order of mints."""
    first, second = pool.account.mints
    mints = (first, second) if a_to_b else (second, first)
    return Swap(*mints, exact_in, amount)


@st.composite
def made(draw: st.DrawFn) -> Whirlpool:
    """Make a pool of any price, spacing, liquidity and fee, with ticks that leave liquidity at or above 0."""
    base = draw(st.sampled_from([POOLS["wp_sol_usdc_ts4_dynamic"], POOLS["wp_adaptive_hot"]]))
    adaptive = base.oracle is not None
    spacing = base.account.spacing if adaptive else draw(st.sampled_from([1, 2, 4, 8, 64, 128]))
    reach = 4 * ARRAY_TICKS * spacing
    tick = draw(st.integers(TICK_MIN + reach, TICK_MAX - reach))
    low, high = sqrt_price_of(tick), sqrt_price_of(tick + 1)
    account = replace(
        base.account,
        spacing=spacing,
        fee_tier=base.account.fee_tier if adaptive else spacing,
        fee_rate=draw(st.sampled_from([0, 100, 400, 3_000, 10_000])),
        sqrt_price=draw(st.integers(low, high - 1)),
        tick=tick,
        liquidity=draw(st.integers(10**3, 10**16)),
    )
    starts = sorted({*_starts(account.tick, spacing)})
    return replace(
        base, account=account, arrays=_arrays(draw, account.liquidity, tick, starts, spacing)
    )


def _starts(tick: int, spacing: int) -> set[int]:
    return {s for down in (True, False) for s in array_starts(tick, spacing, a_to_b=down)}


def _arrays(
    draw: st.DrawFn, liquidity: int, tick: int, starts: list[int], spacing: int
) -> dict[int, TickArray]:
    """Put ticks around the price so that liquidity never falls below zero, whichever way one goes."""
    slots = st.dictionaries(st.integers(0, ARRAY_TICKS - 1), st.integers(-100, 100), max_size=8)
    arrays: dict[int, TickArray] = {}
    wanted = {start: draw(slots) for start in starts}
    up, down = liquidity, liquidity
    nets: dict[int, dict[int, int]] = {start: {} for start in starts}
    places = sorted(
        (start + slot * spacing, start, slot) for start in starts for slot in wanted[start]
    )
    for at, start, slot in places:
        if at > tick:
            net = max(wanted[start][slot] * liquidity // 100, -up)
            up += net
            nets[start][slot] = net
    for at, start, slot in reversed(places):
        if at <= tick:
            net = min(wanted[start][slot] * liquidity // 100, down)
            down -= net
            nets[start][slot] = net
    for start in starts:
        arrays[start] = TickArray(start, nets[start])
    return arrays
