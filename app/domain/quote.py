"""Quotes and the bound that is signed on chain."""

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal, localcontext

from app.domain.errors import ReasonCode, RefusedError
from app.domain.market import Market, PoolRef
from app.domain.signal import Action, Signal

BPS = 10_000
"""Basis points in one."""


@dataclass(frozen=True, slots=True)
class SwapIntent:
    """What is swapped: which side is fixed. Amounts in base units of their token."""

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
    """Say which swap a signal asks for: SELL swaps base to quote, the posted size is the fixed side."""
    sell = signal.action is Action.SELL
    if signal.size is not None:
        return SwapIntent(base_to_quote=sell, exact_in=sell, amount=signal.size)
    return SwapIntent(base_to_quote=sell, exact_in=not sell, amount=signal.quote_size or 0)


def price_bound(signal: Signal, market: Market) -> int | None:
    """Give the worst other-side amount that the signal's price and slippage allow, or None without price.

    SELL: quote received per base >= price x (1 - s). BUY: quote paid per base <= price x (1 + s).
    Rounded to the safe side: what is received up, what is paid down.
    """
    if signal.price is None:
        return None
    intent = intent_of(signal)
    sell = intent.base_to_quote
    with localcontext(Context(prec=80)):
        factor = Decimal(BPS - signal.max_slippage_bps if sell else BPS + signal.max_slippage_bps)
        shift = market.quote.decimals - market.base.decimals
        price = (signal.price * factor / BPS).scaleb(shift)  # quote base units per base unit
        fixed = Decimal(intent.amount)
        value = fixed * price if signal.size is not None else fixed / price
        rounding = ROUND_CEILING if intent.exact_in else ROUND_FLOOR
        return int(value.to_integral_value(rounding=rounding))


def limit_of(signal: Signal, market: Market, quote: Quote) -> Limit:
    """Give the tighter of the price bound and the quote's slippage bound.

    Raises RefusedError(PRICE_LIMIT) when the quote itself is outside the price bound: a signal is no
    resting order.
    """
    by_price = price_bound(signal, market)
    slippage = signal.max_slippage_bps
    if quote.intent.exact_in:
        by_quote = quote.amount_out * (BPS - slippage) // BPS
        bound = by_quote if by_price is None else max(by_quote, by_price)
        outside = bound > quote.amount_out
    else:
        by_quote = quote.amount_in * (BPS + slippage) // BPS
        bound = by_quote if by_price is None else min(by_quote, by_price)
        outside = bound < quote.amount_in
    if outside:
        what = "the market's price is outside the signal's price and slippage"
        raise RefusedError(ReasonCode.PRICE_LIMIT, what, todo="post a signal with a current price")
    return Limit(
        exact_in=quote.intent.exact_in, bound=max(bound, 1) if quote.intent.exact_in else bound
    )


def average_price(base_amount: int, quote_amount: int, market: Market) -> Decimal:
    """Give quote per base in whole tokens, to 12 significant places beyond the quote's decimals."""
    with localcontext(Context(prec=40)):
        ratio = Decimal(quote_amount) / Decimal(base_amount)
        return ratio.scaleb(market.base.decimals - market.quote.decimals).quantize(
            Decimal(1).scaleb(-18)
        )


def slippage_bps(average: Decimal, price: Decimal, action: Action) -> Decimal:
    """Give how much worse than the signal's price the fill was, in basis points (negative: better)."""
    with localcontext(Context(prec=40)):
        worse = price - average if action is Action.SELL else average - price
        return (worse / price * BPS).quantize(Decimal("0.01"))
