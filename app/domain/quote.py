"""Quotes and the bound that is signed on chain."""

import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from app.domain.errors import ReasonCode, RefusedError
from app.domain.market import Market, PoolRef
from app.domain.money import BASE_UNITS_MAX, ceil_div, from_base_units
from app.domain.signal import Action, Signal

BPS = 10_000
"""Basis points in one."""
PRICE_PLACES = 18
"""Decimal places of an average price that is told."""
SLIPPAGE_PLACES = 2
"""Decimal places of a slippage in basis points that is told."""


@dataclass(frozen=True, slots=True)
class SwapIntent:
    """What is swapped: the direction, the fixed side, and its amount in base units."""

    base_to_quote: bool
    exact_in: bool
    amount: int


@dataclass(frozen=True, slots=True)
class Quote:
    """What a pool would do now: amounts in base units, exact for the state read at `slot`."""

    pool: PoolRef
    intent: SwapIntent
    amount_in: int
    amount_out: int
    venue_fee: int
    """In base units of the input token."""
    slot: int


@dataclass(frozen=True, slots=True)
class Limit:
    """The bound signed on chain: `min_out` for exact-in, `max_in` for exact-out (base units)."""

    exact_in: bool
    bound: int


def intent_of(signal: Signal) -> SwapIntent:
    """Say which swap a signal asks for: SELL swaps base to quote, the posted size is fixed."""
    sell = signal.action is Action.SELL
    if signal.size is not None:
        return SwapIntent(base_to_quote=sell, exact_in=sell, amount=signal.size)
    assert signal.quote_size is not None
    return SwapIntent(base_to_quote=sell, exact_in=not sell, amount=signal.quote_size)


def price_bound(signal: Signal, market: Market) -> int | None:
    """Give the worst other-side amount that the signal's price and slippage s allow (base units).

    SELL: quote received per base >= price x (1 - s). BUY: quote paid per base <= price x (1 + s).
    Rounded to the safe side: what is received up, what is paid down. None without a price.
    """
    if signal.price is None:
        return None
    intent = intent_of(signal)
    slippage = -signal.max_slippage_bps if intent.base_to_quote else signal.max_slippage_bps
    shift = Fraction(10) ** (market.quote.decimals - market.base.decimals)
    price = Fraction(signal.price) * Fraction(BPS + slippage, BPS) * shift  # in base units
    other = intent.amount * price if signal.size is not None else intent.amount / price
    return math.ceil(other) if intent.exact_in else math.floor(other)


def quote_bound(signal: Signal, quote: Quote) -> int:
    """Give the worst other-side amount that the quote and the signal's slippage s allow.

    Exact-in: received >= quoted x (1 - s), rounded up, never zero. Exact-out: paid <= quoted x
    (1 + s), rounded down, within what is kept.
    """
    slippage = signal.max_slippage_bps
    if quote.intent.exact_in:
        return max(ceil_div(quote.amount_out * (BPS - slippage), BPS), 1)
    return min(quote.amount_in * (BPS + slippage) // BPS, BASE_UNITS_MAX)


def limit_of(signal: Signal, market: Market, quote: Quote) -> Limit:
    """Give the tighter of the price bound and the quote's slippage bound.

    Raises RefusedError: PRICE_LIMIT when the quote itself is outside the price bound (a signal is
    no resting order), SIZE_TOO_LARGE when a side of it is beyond what is kept.
    """
    intent = intent_of(signal)
    assert quote.intent == intent, "the quote is for another swap"
    if max(quote.amount_in, quote.amount_out) > BASE_UNITS_MAX:
        what = "the swap's other side is too large to be expressed"
        raise RefusedError(ReasonCode.SIZE_TOO_LARGE, what, todo="post a smaller size")
    bound = quote_bound(signal, quote)
    by_price = price_bound(signal, market)
    if by_price is None:
        return Limit(intent.exact_in, bound)
    outside = by_price > quote.amount_out if intent.exact_in else by_price < quote.amount_in
    if outside:
        what = "the market's price is outside the signal's price and slippage"
        raise RefusedError(ReasonCode.PRICE_LIMIT, what, todo="post a signal with a current price")
    return Limit(intent.exact_in, max(bound, by_price) if intent.exact_in else min(bound, by_price))


def average_price(base_amount: int, quote_amount: int, market: Market) -> Decimal:
    """Give quote per base in whole tokens, to 18 places; `base_amount` is above zero."""
    shift = Fraction(10) ** (market.base.decimals - market.quote.decimals)
    return _rounded(Fraction(quote_amount, base_amount) * shift, PRICE_PLACES)


def slippage_bps(average: Decimal, price: Decimal, action: Action) -> Decimal:
    """Give how much worse than `price` the fill was, in basis points to 2 places (negative: better)."""
    worse = Fraction(average) - Fraction(price)
    bps = worse / Fraction(price) * BPS
    return _rounded(-bps if action is Action.SELL else bps, SLIPPAGE_PLACES)


def _rounded(value: Fraction, places: int) -> Decimal:
    return from_base_units(round(value * 10**places), places)
