"""What is shown before an order is posted is what would be signed for it."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from solders.account import Account as SvmAccount
from solders.pubkey import Pubkey

from app.domain.errors import ReasonCode, RefusedError, SignalError
from app.domain.market import PoolRef
from app.domain.signal import Action, SignalRules
from app.transactions.venues.raydium_cpmm import PROGRAM
from tests.transactions.kit import Desk, desk, markets, order

pytestmark = pytest.mark.anyio
Json = Mapping[str, Any]


def rules() -> SignalRules:
    """Give the rules that signals are read by."""
    return SignalRules(markets=markets(), methods=("rpc",))


async def quoted(on: Desk, **given: object) -> Json:
    """Ask for a quote."""
    return await on.trading.desk(rules()).quote({"market": "SOL-USDC", "action": "SELL", **given})


@pytest.mark.parametrize("action", list(Action))
async def test_a_quote_is_what_is_signed(action: Action) -> None:
    """Pool, amounts, bound: the same as of an order, in whole tokens."""
    on = desk()
    shown = await quoted(on, action=action.value, size="0.01", max_slippage_bps=100)
    signed = await on.signed(order("SOL-USDC", action, size=10**7, max_slippage_bps=100))
    sold = action is Action.SELL
    places = (9, 6) if sold else (6, 9)
    amounts = (signed.quote.amount_in, signed.quote.amount_out)
    told = (Decimal(shown["amount_in"]), Decimal(shown["amount_out"]))
    assert told == tuple(Decimal(a).scaleb(-p) for a, p in zip(amounts, places, strict=True))
    bound = Decimal(signed.limit.bound).scaleb(-6)
    key, other = (
        ("amount_out_min", "amount_in_max") if sold else ("amount_in_max", "amount_out_min")
    )
    assert (Decimal(shown["limit"][key]), shown["limit"][other]) == (bound, None)
    assert Decimal(shown["limit"]["price"]) == pytest.approx(bound * 100)
    (leg,) = shown["route"]
    assert (leg["venue"], leg["pool"]) == ("raydium_cpmm", str(signed.quote.pool.address))
    assert (leg["token_in"], leg["token_out"]) == (("SOL", "USDC") if sold else ("USDC", "SOL"))
    worse = Decimal(shown["mid_price"]) - Decimal(shown["average_price"])
    assert (worse > 0) is sold
    assert Decimal(shown["fees"]["venue"]) == Decimal(signed.quote.venue_fee).scaleb(-places[0])
    assert shown["fees"]["network"] == "0.000005"
    assert Decimal(shown["fees"]["priority"]) > 0
    assert shown["price_impact_bps"] == 0
    assert shown["slot"] == signed.quote.slot


async def test_a_large_quote_shows_its_impact() -> None:
    """How far it moves the price, fee aside."""
    shown = await quoted(desk(), size="500")
    assert shown["price_impact_bps"] > 10


async def test_what_is_no_signal_or_would_be_refused_is_refused_alike() -> None:
    """By the same codes as a posted signal, or an order."""
    on = desk()
    for given, code in (
        ({}, ReasonCode.SIZE_CONFLICT),
        ({"size": "0"}, ReasonCode.SIZE_NOT_POSITIVE),
        ({"size": "1", "market": "X-Y"}, ReasonCode.UNKNOWN_MARKET),
        ({"size": "1", "colour": "red"}, ReasonCode.UNKNOWN_FIELD),
    ):
        with pytest.raises(SignalError) as invalid:
            await quoted(on, **given)
        assert invalid.value.code is code
    with pytest.raises(RefusedError) as caught:
        await quoted(on, size="1", price="100000")
    assert caught.value.code is ReasonCode.PRICE_LIMIT


async def test_markets_show_pools_fees_and_prices() -> None:
    """Every market with its tokens, smallest step and mid price, quote per base."""
    shown = {each["name"]: each for each in await desk().trading.desk(rules()).markets()}
    assert set(shown) == set(markets())
    sol: Json = shown["SOL-USDC"]
    assert sol["base"] == {
        "symbol": "SOL",
        "mint": "So11111111111111111111111111111111111111112",
        "decimals": 9,
    }
    assert (sol["lot_size"], sol["min_size"]) == ("0.000000001", "0.000000001")
    assert 100 < Decimal(sol["mid_price"]) < 300
    (pool,) = sol["pools"]
    assert pool["fee_bps"] == "25"
    assert pool["mid_price"] == sol["mid_price"]
    assert (pool["reason_code"], pool["reason"]) == (None, None)


async def test_a_pool_that_cannot_be_traded_on_says_why() -> None:
    """The others of its market are shown all the same."""
    on, market = desk(), markets()["SOL-USDC"]
    nowhere = PoolRef("orca_whirlpool", Pubkey.from_bytes(bytes([23] * 32)))
    both = {"SOL-USDC": replace(market, pools=(nowhere, *market.pools))}
    trading = on.with_markets(both)
    shown: Json = (await trading.desk(replace(rules(), markets=both)).markets())[0]
    broken, fine = shown["pools"]
    assert broken["reason_code"] == "POOL_INVALID"
    assert "is no pool of program" in broken["reason"]
    assert (broken["fee_bps"], broken["mid_price"]) == (None, None)
    assert shown["mid_price"] == fine["mid_price"] is not None


async def test_a_closed_pool_is_shown_with_the_reason() -> None:
    """It can be read and has a price, and takes no swap: told before an order finds out."""
    on, market = desk(), markets()["SOL-USDC"]
    address = market.pools[0].address
    account = on.chain.account(str(address))
    assert account is not None
    data = account.data[:329] + bytes([4]) + account.data[330:]
    on.chain.svm.set_account(address, SvmAccount(account.lamports, data, PROGRAM))
    shown: Any = await on.trading.desk(rules()).markets()
    (pool,) = next(each for each in shown if each["name"] == "SOL-USDC")["pools"]
    assert pool["reason_code"] == "MARKET_CLOSED"
    assert pool["mid_price"] is not None
