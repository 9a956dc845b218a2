"""Markets out of the settings: exact, and every mistake named."""

import pytest

from app.bootstrap.markets import build_markets
from app.domain.errors import StartupError
from app.settings import Settings, load_settings
from app.transactions.venues import known_venues
from tests.harness import ROOT

TOKENS = {
    "SOL": {"mint": "So11111111111111111111111111111111111111112", "decimals": 9},
    "USDC": {"mint": "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v", "decimals": 6},
}
POOL = {"venue": "raydium_cpmm", "address": "7JuwJuNU88gurFnyWeiyGKbFmExMWcmRZntn9imEzdny"}


def settings(
    name: str = "SOL-USDC",
    tokens: dict[str, object] | None = None,
    **market: object,
) -> Settings:
    """Configure one market."""
    entry = {"pools": [POOL], **market}
    return Settings.model_validate(
        {"tokens": {**TOKENS, **(tokens or {})}, "markets": {name: entry}}
    )


def test_the_shipped_markets_are_made() -> None:
    """Sizes come out in base units, exactly."""
    markets = build_markets(load_settings())
    sol = markets["SOL-USDC"]
    assert (sol.base.symbol, sol.quote.symbol) == ("SOL", "USDC")
    assert (sol.base_size_min, sol.quote_size_min) == (10_000, 1_000)
    assert str(sol.pools[0].address) == POOL["address"]


def test_a_market_without_smallest_sizes_takes_one_unit() -> None:
    """Less cannot be expressed."""
    (market,) = build_markets(settings()).values()
    assert (market.base_size_min, market.quote_size_min) == (1, 1)


def test_no_market_at_all() -> None:
    """A service that can trade nothing does not start."""
    with pytest.raises(StartupError, match=r"^NO_MARKETS: "):
        build_markets(Settings())


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (settings("SOLUSDC"), "markets.SOLUSDC: the token "),
        (settings("SOL-DOGE"), "markets.SOL-DOGE: the token 'DOGE' "),
        (settings("DOGE-SOL"), "markets.DOGE-SOL: the token 'DOGE' "),
        (settings(min_quote_size="0.0000001"), "markets.SOL-USDC.min_quote_size has more decimals"),
        (settings(pools=[{**POOL, "address": "0OIl"}]), "markets.SOL-USDC.pools is no Solana addr"),
        (settings(tokens={"SOL": {"mint": "sol", "decimals": 9}}), "tokens.SOL.mint is no Solana"),
    ],
)
def test_a_mistake_is_told_by_its_key(given: Settings, named: str) -> None:
    """The line names the key at fault."""
    with pytest.raises(StartupError) as refused:
        build_markets(given)
    assert str(refused.value).startswith(f"CONFIG_INVALID: {named}")


def test_the_mainnet_example_is_whole_but_for_keys_and_endpoints() -> None:
    """Its markets can be made: known venues, real addresses; no secret and no endpoint is in it."""
    example = load_settings(ROOT / "docs" / "examples" / "config.mainnet.yaml")
    markets = build_markets(example)
    assert example.network == "mainnet"
    assert {ref.venue for ref in markets["SOL-USDC"].pools} == {"orca_whirlpool", "raydium_amm_v4"}
    assert {ref.venue for each in markets.values() for ref in each.pools} <= set(known_venues())
    assert example.solana.rpc_urls == ()
    assert (example.wallet.keypair_file, example.wallet.secret_key) == (None, None)
