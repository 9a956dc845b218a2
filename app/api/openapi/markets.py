"""Markets and quotes: their operations, and the schemas of what is answered."""

from collections.abc import Sequence

from app.api.openapi.parts import json_body, operation, query
from app.api.openapi.shapes import (
    Schema,
    array,
    closed,
    decimal,
    described,
    enum,
    nullable,
    one_of_names,
    ref,
    string,
    whole,
)
from app.domain.errors import ReasonCode
from app.domain.signal import SLIPPAGE_BPS_MAX, Action


def market_paths(markets: Sequence[str] | None) -> Schema:
    """Give the paths about markets."""
    return {"/markets": {"get": _list_markets()}, "/quote": {"get": _get_quote(markets)}}


def _list_markets() -> Schema:
    return operation(
        "listMarkets",
        "markets",
        "List the markets with their pools, fees and prices",
        answers={"200": json_body("MarketList", "As configured, prices as read in this slot.")},
        problems=(422, 500, 503),
    )


def _get_quote(markets: Sequence[str] | None) -> Schema:
    slippage = {"type": "integer", "minimum": 0, "maximum": SLIPPAGE_BPS_MAX}
    one = "Give exactly one of the sizes."
    parameters = [
        {**query("market", one_of_names(markets), "Which."), "required": True},
        {**query("action", enum(Action), "What to do with the base token."), "required": True},
        query("size", decimal(), f"In the base token. {one}"),
        query("quote_size", decimal(), f"In the quote token. {one}"),
        query("price", decimal(), "As a signal's: bounds the price."),
        query("max_slippage_bps", slippage, "As a signal's; the configured one without it."),
    ]
    return operation(
        "getQuote",
        "markets",
        "Show what would be signed now for a signal; nothing is stored",
        parameters=parameters,
        answers={"200": json_body("Quote", "Exact for the state read in this slot.")},
        problems=(400, 422, 500, 503),
    )


def market_schemas() -> dict[str, Schema]:
    """Give the schemas of the answers by name."""
    return {
        "Token": closed({"symbol": string(), "mint": string(), "decimals": whole()}),
        "MarketPool": closed(
            {
                "venue": string(),
                "address": string(),
                "fee_bps": nullable(
                    described(decimal(), "Of what is paid; the least if adaptive.")
                ),
                "mid_price": nullable(decimal()),
                "reason_code": nullable(enum(ReasonCode)),
                "reason": nullable(described(string(), "Why it cannot be traded on now.")),
            }
        ),
        "Market": closed(
            {
                "name": string(),
                "base": ref("Token"),
                "quote": ref("Token"),
                "lot_size": described(decimal(), "The smallest step of a size."),
                "min_size": decimal(),
                "min_quote_size": decimal(),
                "mid_price": nullable(described(decimal(), "Of the first pool that tells one.")),
                "pools": array(ref("MarketPool")),
                "slot": whole(),
            }
        ),
        "MarketList": closed({"markets": array(ref("Market"))}),
        "Quote": _quote(),
    }


def _quote() -> Schema:
    leg = {"venue": string(), "pool": string(), "token_in": string(), "token_out": string()}
    fees = {
        "venue": described(decimal(), "In the token that is paid."),
        "network": described(decimal(), "In SOL."),
        "priority": described(decimal(), "In SOL, at the least bid; tips of methods come on top."),
    }
    limit = {
        "amount_out_min": nullable(decimal()),
        "amount_in_max": nullable(decimal()),
        "price": described(decimal(), "The worst price that the bound lets through."),
    }
    return closed(
        {
            "market": string(),
            "action": enum(Action),
            "route": array(closed(leg)),
            "amount_in": decimal(),
            "amount_out": decimal(),
            "average_price": decimal(),
            "mid_price": nullable(decimal()),
            "price_impact_bps": whole(),
            "fees": closed(fees),
            "limit": closed(limit),
            "slot": whole(),
        }
    )
