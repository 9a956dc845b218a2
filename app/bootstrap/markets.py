"""Markets out of the settings."""

from collections.abc import Mapping
from decimal import Decimal

from solders.pubkey import Pubkey

from app.domain.errors import StartupError
from app.domain.market import Market, PoolRef, Token
from app.domain.money import to_base_units
from app.settings import MarketEntry, Settings

TODO = "see docs/configuration.md"


def build_markets(settings: Settings) -> Mapping[str, Market]:
    """Make the configured markets; raises StartupError naming the key at fault."""
    if not settings.markets:
        raise StartupError("NO_MARKETS", "no market is configured", "set markets in config.yaml")
    tokens = {
        symbol: Token(symbol, _address(entry.mint, f"tokens.{symbol}.mint"), entry.decimals)
        for symbol, entry in settings.tokens.items()
    }
    return {name: _market(name, entry, tokens) for name, entry in settings.markets.items()}


def _market(name: str, entry: MarketEntry, tokens: Mapping[str, Token]) -> Market:
    base, dash, quote = name.partition("-")
    for symbol in (base, quote):
        if not dash or symbol not in tokens:
            what = f"markets.{name}: the token {symbol!r} is not under tokens"
            raise StartupError("CONFIG_INVALID", what, TODO)
    return Market(
        name=name,
        base=tokens[base],
        quote=tokens[quote],
        pools=tuple(
            PoolRef(pool.venue, _address(pool.address, f"markets.{name}.pools"))
            for pool in entry.pools
        ),
        base_size_min=_least(entry.min_size, tokens[base], f"markets.{name}.min_size"),
        quote_size_min=_least(
            entry.min_quote_size, tokens[quote], f"markets.{name}.min_quote_size"
        ),
        impact_bps_max=entry.max_price_impact_bps or None,
        mid_gap_bps_max=entry.max_mid_gap_bps or None,
    )


def _least(size: Decimal, token: Token, key: str) -> int:
    amount = to_base_units(size, token.decimals)
    if amount is None:
        what = f"{key} has more decimals than {token.symbol}"
        raise StartupError("CONFIG_INVALID", what, TODO)
    return max(amount, 1)


def _address(text: str, key: str) -> Pubkey:
    try:
        return Pubkey.from_string(text)
    except ValueError:
        raise StartupError("CONFIG_INVALID", f"{key} is no Solana address", TODO) from None
