"""The bound that is signed keeps both promises: the signal's price and the quote's slippage."""

from decimal import Context, Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from solders.pubkey import Pubkey

from app.domain.errors import ReasonCode, RefusedError
from app.domain.market import Market, Token
from app.domain.money import BASE_UNITS_MAX
from app.domain.quote import (
    Limit,
    SwapIntent,
    average_price,
    intent_of,
    limit_of,
    price_bound,
    quote_bound,
    slippage_bps,
)
from app.domain.signal import Action, Signal
from tests.domain.makers import POOL, SOL_USDC, quote, signal

AMOUNTS = st.integers(1, BASE_UNITS_MAX) | st.integers(1, 10_000)
PRICES = st.decimals("0.000001", 10**9, places=12) | st.integers(1, 10**6).map(
    lambda n: Decimal(n).scaleb(-12)
)
BPS = st.integers(0, 9_999) | st.sampled_from([0, 50, 9_999])


@st.composite
def markets(draw: st.DrawFn) -> Market:
    """Draw a market of two tokens with any decimals that tokens have."""
    base, quote_token = (
        Token(name, Pubkey.from_bytes(bytes([n] * 32)), draw(st.integers(0, 12)))
        for n, name in enumerate(("BASE", "QUOTE"))
    )
    return Market("BASE-QUOTE", base, quote_token, (POOL,))


@st.composite
def signals(draw: st.DrawFn) -> Signal:
    """Draw a priced signal of either action, sized on either side."""
    side = draw(st.sampled_from(["size", "quote_size"]))
    return signal(
        draw(st.sampled_from(Action)),
        market="BASE-QUOTE",
        price=draw(PRICES),
        max_slippage_bps=draw(BPS),
        **{side: draw(AMOUNTS)},
    )


def keeps_price(given: Signal, market: Market, other: int) -> bool:
    """Tell by definition whether an other-side amount keeps price and slippage, exactly."""
    base, paid = (given.size, other) if given.size is not None else (other, given.quote_size)
    assert base is not None
    assert paid is not None
    assert given.price is not None
    sell = given.action is Action.SELL
    whole_base = Fraction(base, 10**market.base.decimals)
    whole_quote = Fraction(paid, 10**market.quote.decimals)
    share = Fraction(given.max_slippage_bps, 10_000)
    worst = Fraction(given.price) * (1 - share if sell else 1 + share) * whole_base
    return whole_quote >= worst if sell else whole_quote <= worst


@pytest.mark.parametrize(
    ("action", "side", "base_to_quote", "exact_in"),
    [
        (Action.SELL, "size", True, True),
        (Action.BUY, "size", False, False),
        (Action.SELL, "quote_size", True, False),
        (Action.BUY, "quote_size", False, True),
    ],
)
def test_the_posted_size_is_the_fixed_side(
    action: Action, side: str, base_to_quote: bool, exact_in: bool
) -> None:
    """SELL gives base and BUY takes it; what was posted is exact, the other side is bounded."""
    assert intent_of(signal(action, **{side: 7})) == SwapIntent(base_to_quote, exact_in, 7)


@given(signals(), markets())
def test_the_price_bound_is_the_last_amount_that_keeps_the_price(
    given: Signal, market: Market
) -> None:
    """The bound itself keeps price and slippage, one unit worse does not."""
    with localcontext(Context(prec=3)):
        bound = price_bound(given, market)
    assert bound is not None
    worse = bound - 1 if intent_of(given).exact_in else bound + 1
    # Nothing at all for some base is no price; a bound of nothing can be met by no swap.
    assume(bound > 0 and worse > 0)
    assert keeps_price(given, market, bound)
    assert not keeps_price(given, market, worse)


def test_without_a_price_there_is_no_price_bound() -> None:
    """Only the quote's slippage bounds such a signal."""
    assert price_bound(signal(), SOL_USDC) is None
    limit = limit_of(signal(), SOL_USDC, quote(intent_of(signal()), 10_000_000, 1_850_001))
    assert limit == Limit(exact_in=True, bound=1_840_751)


@given(signals(), AMOUNTS)
def test_the_quote_s_bound_is_the_last_amount_within_its_slippage(
    given: Signal, other: int
) -> None:
    """The bound keeps the slippage to the fraction of a unit, and one unit worse does not."""
    intent = intent_of(given)
    share = Fraction(given.max_slippage_bps, 10_000)
    if intent.exact_in:
        bound = quote_bound(given, quote(intent, intent.amount, other))
        assert bound >= other * (1 - share) > bound - 1
        assert 1 <= bound <= other
    else:
        bound = quote_bound(given, quote(intent, other, intent.amount))
        assert bound <= other * (1 + share)
        assert bound == BASE_UNITS_MAX or other * (1 + share) < bound + 1
        assert other <= bound <= BASE_UNITS_MAX


@given(signals(), markets(), AMOUNTS)
def test_the_signed_bound_is_worse_than_neither_promise(
    given: Signal, market: Market, other: int
) -> None:
    """The tighter of the two is signed; a quote that itself breaks the price is refused."""
    intent = intent_of(given)
    pair = (intent.amount, other) if intent.exact_in else (other, intent.amount)
    share = Fraction(given.max_slippage_bps, 10_000)
    if not keeps_price(given, market, other):
        with pytest.raises(RefusedError, match=r"^PRICE_LIMIT: "):
            limit_of(given, market, quote(intent, *pair))
        return
    limit = limit_of(given, market, quote(intent, *pair))
    assert keeps_price(given, market, limit.bound)
    assert limit.exact_in == intent.exact_in
    if limit.exact_in:
        assert other * (1 - share) <= limit.bound <= other
    else:
        assert other <= limit.bound <= other * (1 + share)


@pytest.mark.parametrize(
    ("given", "pair", "bound"),
    [
        # SELL 0.01 SOL at 180, 50 bps: at least 1.791; the quote of 1.85 says at least 1.84075
        (signal(price=Decimal(180)), (10_000_000, 1_850_000), 1_840_750),
        # price 185, quote 1.845: the price says at least 1.84075, the quote 1.835775
        (signal(price=Decimal(185)), (10_000_000, 1_845_000), 1_840_750),
        # BUY 0.01 SOL at 190: at most 1.9095; the quote of 1.86 says at most 1.8693
        (signal(Action.BUY, price=Decimal(190)), (1_860_000, 10_000_000), 1_869_300),
        # price 185: at most 1.85925 by the price
        (signal(Action.BUY, price=Decimal(185)), (1_855_000, 10_000_000), 1_859_250),
        # raise 1.85 USDC at 185: sell at most 0.010050251 SOL
        (
            signal(quote_size=1_850_000, price=Decimal(185)),
            (10_040_000, 1_850_000),
            10_050_251,
        ),
        # spend 1.85 USDC at 185: receive at least 0.009950249 SOL
        (
            signal(Action.BUY, quote_size=1_850_000, price=Decimal(185)),
            (1_850_000, 9_990_000),
            9_950_249,
        ),
    ],
)
def test_bounds_reckoned_by_hand(given: Signal, pair: tuple[int, int], bound: int) -> None:
    """Each signal and quote has just this bound, in base units."""
    intent = intent_of(given)
    assert limit_of(given, SOL_USDC, quote(intent, *pair)) == Limit(intent.exact_in, bound)


@pytest.mark.parametrize(
    ("given", "pair"),
    [
        (signal(price=Decimal(200)), (10_000_000, 1_850_000)),
        (signal(Action.BUY, price=Decimal(170)), (1_850_000, 10_000_000)),
        (signal(price=Decimal("185.94")), (10_000_000, 1_850_102)),
    ],
)
def test_a_quote_outside_the_price_is_refused(given: Signal, pair: tuple[int, int]) -> None:
    """A signal is no resting order; one unit short is outside too."""
    with pytest.raises(RefusedError) as caught:
        limit_of(given, SOL_USDC, quote(intent_of(given), *pair))
    assert caught.value.code is ReasonCode.PRICE_LIMIT


def test_a_quote_of_nothing_still_asks_for_something() -> None:
    """A swap that would give nothing cannot be signed as acceptable."""
    given = signal(size=1_000)
    assert limit_of(given, SOL_USDC, quote(intent_of(given), 1_000, 0)).bound == 1


def test_the_most_that_is_paid_stays_expressible() -> None:
    """Slippage on a huge amount is cut to what the database holds, which is the safe side."""
    given = signal(Action.BUY, max_slippage_bps=9_999)
    limit = limit_of(given, SOL_USDC, quote(intent_of(given), BASE_UNITS_MAX - 1, 10_000_000))
    assert limit.bound == BASE_UNITS_MAX


@pytest.mark.parametrize("action", [Action.SELL, Action.BUY])
def test_a_quote_beyond_what_can_be_kept_is_refused(action: Action) -> None:
    """The other side must fit into 63 bits like every amount."""
    given = signal(action)
    pair = (10_000_000, 2**63) if action is Action.SELL else (2**63, 10_000_000)
    with pytest.raises(RefusedError) as caught:
        limit_of(given, SOL_USDC, quote(intent_of(given), *pair))
    assert caught.value.code is ReasonCode.SIZE_TOO_LARGE


def test_a_quote_for_another_swap_is_a_defect() -> None:
    """The bound of one swap is never put on another."""
    with pytest.raises(AssertionError, match="another swap"):
        limit_of(signal(), SOL_USDC, quote(intent_of(signal(Action.BUY)), 1, 1))


@given(AMOUNTS, AMOUNTS, markets())
def test_the_average_price_is_quote_per_base(base: int, paid: int, market: Market) -> None:
    """It is the exact ratio of whole tokens to 18 places, whatever the context around it."""
    with localcontext(Context(prec=3)):
        average = average_price(base, paid, market)
    exact = Fraction(paid, 10**market.quote.decimals) / Fraction(base, 10**market.base.decimals)
    assert abs(Fraction(average) - exact) <= Fraction(1, 2 * 10**18)


@pytest.mark.parametrize(
    ("average", "price", "action", "bps"),
    [
        ("179.1", "180", Action.SELL, "50"),
        ("180.9", "180", Action.SELL, "-50"),
        ("180.9", "180", Action.BUY, "50"),
        ("179.1", "180", Action.BUY, "-50"),
        ("180", "180", Action.BUY, "0"),
        ("185", "1E-30", Action.SELL, str(10_000 - 185 * 10**34)),
    ],
)
def test_slippage_is_what_was_lost_against_the_price(
    average: str, price: str, action: Action, bps: str
) -> None:
    """Positive is worse for the trader, negative better, on both sides."""
    assert slippage_bps(Decimal(average), Decimal(price), action) == Decimal(bps)


@given(PRICES, PRICES)
def test_one_side_s_loss_is_the_other_s_gain(average: Decimal, price: Decimal) -> None:
    """BUY and SELL at the same fill see the same slippage with opposite signs."""
    buy, sell = (slippage_bps(average, price, action) for action in (Action.BUY, Action.SELL))
    assert buy == -sell
    exact = (Fraction(average) / Fraction(price) - 1) * 10_000
    assert abs(Fraction(buy) - exact) <= Fraction(1, 200)
