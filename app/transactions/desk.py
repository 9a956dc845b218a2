"""What can be asked before an order is posted: the markets, and what a signal would be quoted now."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

from app.domain.documents import Document, sol_string
from app.domain.errors import ReasonCode, RefusedError, Synergy7Error, TransientError
from app.domain.market import Market, PoolRef, Token
from app.domain.money import SIGNATURE_LAMPORTS, amount_string, decimal_string
from app.domain.quote import BPS, Limit, Quote, average_price, intent_of, limit_of
from app.domain.signal import Signal, SignalRules, parse_signal
from app.transactions import fees
from app.transactions.builder import tokens_of
from app.transactions.pools import Board, PoolReader
from app.transactions.routing import Route, Router

_MILLIONTHS = 1_000_000
_MID_AMOUNT = 10**18
"""Base units of the base token that a mid price is told from: rounding does not show."""


class MarketDesk:
    """Answers from the same reads, router and bounds that orders are executed with; stores nothing."""

    def __init__(
        self,
        pools: PoolReader,
        router: Router,
        *,
        rules: SignalRules,
        unit_price_micro_lamports: int,
        now_us: Callable[[], int],
    ) -> None:
        self._pools = pools
        self._router = router
        self._rules = rules
        self._unit_price = unit_price_micro_lamports
        self._now_us = now_us

    async def markets(self) -> Sequence[Document]:
        """Show every market with its pools, as read in this slot; TransientError(CHAIN_UNAVAILABLE)."""
        board = await self._pools.board()
        return [_market(board, market) for market in self._rules.markets.values()]

    async def quote(self, body: Mapping[str, object]) -> Document:
        """Show what would be signed now for a signal.

        Raises SignalError for what is no signal, RefusedError and TransientError for what an order would
        end or wait with.
        """
        signal = parse_signal(body, self._rules, self._now_us()).signal
        market = self._rules.markets[signal.market]
        board = await self._pools.board()
        route = self._router.best(board, market, intent_of(signal))
        limit = limit_of(signal, market, route.quote)
        return self._document(board, signal, market, route, limit)

    def _document(
        self, board: Board, signal: Signal, market: Market, route: Route, limit: Limit
    ) -> Document:
        quote = route.quote
        paid, received = tokens_of(market, quote.intent)
        units = fees.unit_limit(route.units)
        return {
            "market": market.name,
            "action": signal.action.value,
            "route": [
                {
                    "venue": quote.pool.venue,
                    "pool": str(quote.pool.address),
                    "token_in": paid.symbol,
                    "token_out": received.symbol,
                }
            ],
            "amount_in": amount_string(quote.amount_in, paid.decimals),
            "amount_out": amount_string(quote.amount_out, received.decimals),
            "average_price": decimal_string(
                _price(market, quote, quote.amount_in, quote.amount_out)
            ),
            "mid_price": _mid_price(board, market, quote.pool),
            "price_impact_bps": route.impact_bps,
            "fees": {
                "venue": amount_string(quote.venue_fee, paid.decimals),
                "network": sol_string(SIGNATURE_LAMPORTS),
                "priority": sol_string(fees.priority_fee(units, self._unit_price)),
            },
            "limit": _limit(market, quote, limit, paid, received),
            "slot": quote.slot,
        }


def _limit(market: Market, quote: Quote, limit: Limit, paid: Token, received: Token) -> Document:
    """Show the bound that is signed: the least received or the most paid, and the price that it means."""
    if limit.exact_in:
        worst = _price(market, quote, quote.amount_in, limit.bound)
        amount = amount_string(limit.bound, received.decimals)
        return {"amount_out_min": amount, "amount_in_max": None, "price": decimal_string(worst)}
    worst = _price(market, quote, limit.bound, quote.amount_out)
    amount = amount_string(limit.bound, paid.decimals)
    return {"amount_out_min": None, "amount_in_max": amount, "price": decimal_string(worst)}


def _price(market: Market, quote: Quote, amount_in: int, amount_out: int) -> Decimal:
    amounts = (amount_in, amount_out)
    base, other = amounts if quote.intent.base_to_quote else amounts[::-1]
    return average_price(base, other, market)


def _market(board: Board, market: Market) -> Document:
    prices = [_mid_price(board, market, ref) for ref in market.pools]
    return {
        "name": market.name,
        "base": _token(market.base),
        "quote": _token(market.quote),
        "lot_size": amount_string(1, market.base.decimals),
        "min_size": amount_string(market.base_size_min, market.base.decimals),
        "min_quote_size": amount_string(market.quote_size_min, market.quote.decimals),
        "mid_price": next((price for price in prices if price is not None), None),
        "pools": [_pool(board, market, ref) for ref in market.pools],
        "slot": board.slot(market.name),
    }


def _token(token: Token) -> Document:
    return {"symbol": token.symbol, "mint": str(token.mint), "decimals": token.decimals}


def _pool(board: Board, market: Market, ref: PoolRef) -> Document:
    """Show a pool; one that cannot be traded on now with the reason."""
    shown: Document = {"venue": ref.venue, "address": str(ref.address)}
    try:
        pool = board.pool(market.name, ref)
    except (RefusedError, TransientError) as error:
        return {**shown, "fee_bps": None, "mid_price": None, **_trouble(error)}
    bps = Decimal(pool.fee_millionths * BPS) / _MILLIONTHS
    shown |= {"fee_bps": decimal_string(bps), "mid_price": _mid_price(board, market, ref)}
    try:
        pool.require_open()
    except (RefusedError, TransientError) as error:
        return {**shown, **_trouble(error)}
    return {**shown, **_trouble(None)}


def _trouble(error: Synergy7Error | None) -> Document:
    code: ReasonCode | None = None if error is None else error.code
    return {
        "reason_code": None if code is None else code.value,
        "reason": None if error is None else error.what,
    }


def _mid_price(board: Board, market: Market, ref: PoolRef) -> str | None:
    """Say a pool's price between buying and selling, without fees; None when it tells none."""
    try:
        worth = board.pool(market.name, ref).worth(market.base.mint, _MID_AMOUNT)
    except (RefusedError, TransientError):
        return None
    return decimal_string(average_price(_MID_AMOUNT, worth, market))
