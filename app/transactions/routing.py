"""Which of a market's pools an order trades on: the best net outcome, at a price that can be believed."""

from dataclasses import dataclass
from typing import NamedTuple

from app.domain.errors import ReasonCode, RefusedError, Synergy7Error, TransientError
from app.domain.market import Market, PoolRef, Token
from app.domain.money import ceil_div
from app.domain.quote import BPS, Quote, SwapIntent
from app.transactions import fees
from app.transactions.builder import swap_of, tokens_of
from app.transactions.pools import Board
from app.transactions.venues.base import Pool, Priced

_MID_AMOUNT = 10**18
"""Mid prices are compared on so much of what is paid that rounding does not matter."""


@dataclass(frozen=True, slots=True)
class Route:
    """A quote with what it would cost and move."""

    quote: Quote
    impact_bps: int
    """How far from the pool's own price the swap trades on average, fees aside; rounded up."""
    units: int


class _Offer(NamedTuple):
    """What a pool offers an order."""

    ref: PoolRef
    pool: Pool
    priced: Priced


class Router:
    """Chooses pools."""

    def __init__(self, unit_price_micro_lamports: int) -> None:
        """`unit_price_micro_lamports` is what a compute unit is reckoned to cost."""
        self._unit_price = unit_price_micro_lamports

    def best(self, board: Board, market: Market, intent: SwapIntent) -> Route:
        """Give the best route that passes the guards.

        Raises RefusedError or TransientError: the first pool's own when none can do the swap (a passing
        one first); when none passes, what the best one met: PRICE_IMPACT when it would trade too far from
        its own price, MID_PRICE_GAP while no other pool's price is near.
        """
        offers, troubles = self._offers(board, market, intent)
        if not offers:
            raise next((each for each in troubles if isinstance(each, TransientError)), troubles[0])
        offers.sort(key=lambda each: self._outcome(board, market, intent, each), reverse=True)
        refusals: list[Synergy7Error] = []
        for offer in offers:
            try:
                return self._route(board, market, intent, offer)
            except (RefusedError, TransientError) as error:
                refusals.append(error)
        raise refusals[0]

    def _route(self, board: Board, market: Market, intent: SwapIntent, offer: _Offer) -> Route:
        """Let an offer pass the guards."""
        impact = _impact_bps(market, intent, offer)
        _require_impact(market, offer, impact)
        _require_mid(board, market, intent, offer)
        quote = Quote(
            pool=offer.ref,
            intent=intent,
            amount_in=offer.priced.amount_in,
            amount_out=offer.priced.amount_out,
            venue_fee=offer.priced.venue_fee,
            slot=board.slot(market.name),
        )
        return Route(quote, impact, offer.priced.units)

    def _offers(
        self, board: Board, market: Market, intent: SwapIntent
    ) -> tuple[list[_Offer], list[Synergy7Error]]:
        offers: list[_Offer] = []
        troubles: list[Synergy7Error] = []
        for ref in market.pools:
            try:
                pool = board.pool(market.name, ref)
                offers.append(_Offer(ref, pool, pool.quote(swap_of(market, intent))))
            except (RefusedError, TransientError) as error:
                troubles.append(error)
        return offers, troubles

    def _outcome(self, board: Board, market: Market, intent: SwapIntent, offer: _Offer) -> int:
        """Say how good an offer is for the trader: what is received or, below zero, spent, after compute."""
        paid, received = tokens_of(market, intent)
        priced = offer.priced
        cost = fees.priority_fee(priced.units, self._unit_price)
        if intent.exact_in:
            return priced.amount_out - _in_token(board, received, priced.amount_out, cost)
        return -priced.amount_in - _in_token(board, paid, priced.amount_in, cost)


def _in_token(board: Board, token: Token, amount: int, lamports: int) -> int:
    """Say lamports in a token, by what an amount of it is worth; 0 when no pool tells."""
    worth = board.worth(token, amount)
    return ceil_div(lamports * amount, worth) if worth else 0


def _impact_bps(market: Market, intent: SwapIntent, offer: _Offer) -> int:
    """Hold what moved through the pool, free of every fee, against the pool's own price.

    What rounding alone can take, a unit of what comes out and two of what goes in, is no impact.
    """
    paid, _ = tokens_of(market, intent)
    ideal = offer.pool.worth(paid.mint, max(offer.priced.moved_in - 2, 0))
    lost = ideal - offer.priced.moved_out - 1
    return ceil_div(lost * BPS, ideal) if lost > 0 else 0


def _require_impact(market: Market, offer: _Offer, impact: int) -> None:
    most = market.impact_bps_max
    if most is not None and impact > most:
        what = (
            f"the swap would trade {impact} basis points from the price of pool {offer.ref.address}, "
            f"{most} at most are accepted"
        )
        todo = "trade a smaller size, or raise the market's max_price_impact_bps"
        raise RefusedError(ReasonCode.PRICE_IMPACT, what, todo=todo)


def _require_mid(board: Board, market: Market, intent: SwapIntent, offer: _Offer) -> None:
    """See that another pool's price is near: a manipulated pool is quoted exactly too.

    Pools that are closed, empty or wrong confirm nothing, and are not waited for. One that cannot be read
    just now is, unless another confirms.
    """
    most = market.mid_gap_bps_max
    if most is None:
        return
    mid = _mid(offer.pool, market, intent)
    gaps: list[int] = []
    unread: TransientError | None = None
    for ref in market.pools:
        if ref == offer.ref:
            continue
        try:
            other = _confirming(board, market, intent, ref)
        except TransientError as error:
            unread = error
        except RefusedError:
            continue  # it will not trade, whatever price it shows
        else:
            gaps.append(ceil_div(abs(mid - other) * BPS, max(other, 1)))
    if min(gaps, default=most + 1) <= most:
        return
    if gaps:
        raise _unconfirmed(market, offer, min(gaps), most)
    if unread is not None:
        raise unread


def _confirming(board: Board, market: Market, intent: SwapIntent, ref: PoolRef) -> int:
    """Give the price of a pool that could trade now."""
    pool = board.pool(market.name, ref)
    pool.require_open()
    return _mid(pool, market, intent)


def _unconfirmed(market: Market, offer: _Offer, gap: int, most: int) -> TransientError:
    what = (
        f"the price of pool {offer.ref.address} is {gap} basis points from that of the nearest "
        f"other pool of {market.name}, {most} at most are accepted"
    )
    todo = "wait until the pools agree, or raise the market's max_mid_gap_bps"
    return TransientError(ReasonCode.MID_PRICE_GAP, what, todo=todo)


def _mid(pool: Pool, market: Market, intent: SwapIntent) -> int:
    paid, _ = tokens_of(market, intent)
    return pool.worth(paid.mint, _MID_AMOUNT)
