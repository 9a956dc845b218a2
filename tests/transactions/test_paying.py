"""What an order pays for landing, from the methods' demands to the wallet's balance, on LiteSVM."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from solders.account import Account as SvmAccount
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from app.domain.attempt import AttemptStatus, Signed, StoredAttempt
from app.domain.errors import ReasonCode, RefusedError
from app.domain.market import Market, PoolRef
from app.domain.order import Order
from app.domain.signal import Action
from app.engine.ports import TipNeeds
from app.transactions.builder import TRANSACTION_BYTES_MAX
from app.transactions.fees import FeePolicy
from app.transactions.guard import decompile
from app.transactions.tokens import SYSTEM_PROGRAM, TOKEN_PROGRAM, associated_address
from app.transactions.venues.raydium_cpmm import PROGRAM
from tests.transactions.kit import (
    WALLET,
    Desk,
    ManualClock,
    desk,
    lite_chain,
    markets,
    open_trading,
    order,
    stored,
)

pytestmark = pytest.mark.anyio
SIGNATURE = 5_000
RENT = 2_039_280
JITO = (
    "96gYZGLnJYVFmbjzopPSU6QiEV5fGqZNyN9nmNhvrZU5",
    "HFqU5x63VTqvQss8hp11i4wVV8bD44PvwucfZ2bU7gRe",
)
SENDERS = tuple(str(Pubkey.from_bytes(bytes([n] * 32))) for n in (31, 32))
NEEDS = [
    TipNeeds(JITO, tip_lamports=10_000),
    TipNeeds(JITO, tip_lamports=25_000),
    TipNeeds(SENDERS[:1], tip_lamports=200_000, priority_fee_lamports_min=5_000),
    TipNeeds(SENDERS[1:], tip_lamports=1_000),
    TipNeeds(),
]
TIPS = 25_000 + 200_000 + 1_000
BONK_SALE = order("BONK-USDC", Action.SELL, size=10**9)


@dataclass
class Source:
    """Tells a going price, and keeps for which accounts it was asked."""

    price: int | None
    asked: list[tuple[str, ...]] = field(default_factory=list)

    async def unit_price(self, accounts: Sequence[str]) -> int | None:
        self.asked.append(tuple(accounts))
        return self.price


def opened(**options: object) -> Desk:
    """Open trading on a chain that has the payees: an account that is new must get its rent first."""
    on = desk(**options)  # type: ignore[arg-type]
    for each in (*JITO, *SENDERS):
        on.chain.svm.airdrop(Pubkey.from_string(each), 10**9)
    return on


def capped(**limits: object) -> Desk:
    """Open trading with limits on what is paid."""
    return opened(fee_policy=FeePolicy(**limits))  # type: ignore[arg-type]


def message_of(signed: Signed) -> MessageV0:
    """Read a signed transaction's message."""
    message = VersionedTransaction.from_bytes(signed.raw).message
    assert isinstance(message, MessageV0)
    return message


def unit_price_of(signed: Signed) -> int:
    """Read what a compute unit is bid."""
    return int.from_bytes(bytes(decompile(message_of(signed))[1].data)[1:], "little")


def without_usdc(on: Desk) -> None:
    """Take the wallet's USDC account away, so that a sale creates it."""
    mint = markets()["SOL-USDC"].quote.mint
    address = associated_address(WALLET.pubkey(), mint, TOKEN_PROGRAM)
    on.chain.svm.set_account(address, SvmAccount(0, b"", Pubkey.default()))


# ----------------------------------------------------------------------------------------- tips


async def test_every_groups_tip_lands_and_is_read_back() -> None:
    """Five methods, three tips: the largest of each group arrives, and the fill tells their sum."""
    on, wanted = opened(), order()
    without_usdc(on)
    wallet = WALLET.pubkey()
    before = on.chain.svm.get_balance(wallet)
    signed = await on.signed(wanted, NEEDS)
    landed = on.chain.land(signed.raw)
    assert landed.error is None
    got = [on.chain.svm.get_balance(Pubkey.from_string(each)) for each in (*JITO, *SENDERS)]
    arrived = [(lamports or 0) - 10**9 for lamports in got]
    assert sorted(arrived[:2]) == [0, 25_000]
    assert arrived[2:] == [200_000, 1_000]
    fill = on.trading.fill(wanted, stored(signed), landed)
    assert (signed.tip_lamports, fill.tip) == (TIPS, TIPS)
    after = on.chain.svm.get_balance(wallet)
    assert (before or 0) - (after or 0) == 10_000_000 + RENT + landed.fee_lamports + TIPS
    assert signed.spend.lamports == 10_000_000 + 2 * RENT + landed.fee_lamports + TIPS
    assert fill.priority_fee == signed.priority_fee_lamports >= 5_000


async def test_tips_come_last_to_accounts_that_stand_in_the_message() -> None:
    """No payee hides in a lookup table, each is writable, and the largest transaction still fits."""
    on = opened()
    without_usdc(on)
    signed = await on.signed(order(), NEEDS)
    message = message_of(signed)
    assert not message.address_table_lookups
    tips = decompile(message)[-3:]
    assert {each.program_id for each in tips} == {SYSTEM_PROGRAM}
    assert all(each.accounts[1].is_writable for each in tips)
    one = await on.signed(order(), NEEDS[:1])
    assert len(signed.raw) - len(one.raw) == 2 * 49
    assert len(signed.raw) <= TRANSACTION_BYTES_MAX


async def test_the_simulation_pays_the_tips_too() -> None:
    """A wallet that cannot pay them is told so before anything is signed."""
    on, wanted, left = opened(), order(), 900_000
    lamports = 10_000_000 + RENT + SIGNATURE + left
    on.chain.svm.set_account(WALLET.pubkey(), SvmAccount(lamports, b"", SYSTEM_PROGRAM))
    quoted = await on.trading.quote(wanted)
    for tip, code in ((left + RENT, None), (left + RENT + 1, ReasonCode.INSUFFICIENT_FUNDS)):
        needs = [TipNeeds(SENDERS[:1], tip_lamports=tip)]
        draft = await on.trading.draft(wanted, 1, quoted, needs)
        verdict = on.trading.check(draft, await on.chain.simulate(draft.raw, draft.slot))
        assert (None if verdict is None else verdict.code) is code


async def test_an_order_whose_methods_want_too_many_tips_is_refused() -> None:
    """It is refused as it is built."""
    on, wanted = desk(), order()
    quoted = await on.trading.quote(wanted)
    more = TipNeeds((str(Pubkey.from_bytes(bytes([33] * 32))),), tip_lamports=1)
    with pytest.raises(RefusedError) as caught:
        await on.trading.draft(wanted, 1, quoted, [*NEEDS, more])
    assert caught.value.code is ReasonCode.TIPS_TOO_MANY


# ------------------------------------------------------------------------------- the unit price


async def test_the_going_price_is_bid_within_its_limits() -> None:
    """What others bid, not below the configured price and not above its cap."""
    for going, bid in ((None, 20_000), (19_000, 20_000), (70_001, 70_001), (10**9, 900_000)):
        on = capped(
            unit_price_micro_lamports=20_000,
            unit_price_max_micro_lamports=900_000,
            price_source=Source(going),
        )
        signed = await on.signed(order())
        assert unit_price_of(signed) == bid
        landed = on.chain.land(signed.raw)
        assert landed.fee_lamports == SIGNATURE + signed.priority_fee_lamports


async def test_the_price_is_asked_for_what_others_write_too() -> None:
    """The pool, its vaults and its prices; never the wallet's accounts, where only we pay."""
    source = Source(70_000)
    on = capped(price_source=source)
    for action in Action:
        swap = next(
            each
            for each in decompile(message_of(await on.signed(order("SOL-USDC", action))))
            if each.program_id == PROGRAM
        )
        own = {swap.accounts[at].pubkey for at in (0, 4, 5)}
        written = {each.pubkey for each in swap.accounts if each.is_writable}
        assert set(source.asked[-1]) == set(map(str, written - own))
        assert len(source.asked[-1]) == 4
    assert len(source.asked) == 1
    await on.trading.aclose()


async def test_a_methods_fee_floor_is_reached_on_the_limit_that_is_signed() -> None:
    """The whole fee is known only with the compute limit: it comes to the floor, or just above."""
    on = desk()
    signed = await on.signed(order(), [TipNeeds(priority_fee_lamports_min=5_000)])
    assert 5_000 <= signed.priority_fee_lamports <= 5_002
    assert on.chain.land(signed.raw).fee_lamports == SIGNATURE + signed.priority_fee_lamports


async def test_a_method_that_demands_a_price_above_the_cap_is_refused() -> None:
    """Rather than to send what the method would turn down."""
    on = capped(unit_price_max_micro_lamports=900_000)
    with pytest.raises(RefusedError) as caught:
        await on.signed(order(), [TipNeeds(unit_price_min=5_000_000)])
    assert caught.value.code is ReasonCode.FEE_CAP_EXCEEDED


# ------------------------------------------------------------------------------ the order's cap


async def cost(wanted: Order, needs: Sequence[TipNeeds]) -> int:
    """Give what an attempt pays for landing when nothing caps it."""
    signed = await opened().signed(wanted, needs)
    return SIGNATURE + signed.priority_fee_lamports + signed.tip_lamports


async def refused(
    on: Desk, wanted: Order, needs: Sequence[TipNeeds], earlier: Sequence[StoredAttempt] = ()
) -> str:
    """Give the words with which an order is refused over its cap."""
    with pytest.raises(RefusedError) as caught:
        await on.signed(wanted, needs, earlier)
    assert caught.value.code is ReasonCode.FEE_CAP_EXCEEDED
    return caught.value.what


async def test_the_cap_in_lamports_holds_to_the_lamport() -> None:
    """Network fee, priority fee and all tips together; rents are none of it."""
    wanted = order()
    most = await cost(wanted, NEEDS)
    on = capped(fee_max_lamports=most)
    without_usdc(on)
    signed = await on.signed(wanted, NEEDS)
    assert SIGNATURE + signed.priority_fee_lamports + signed.tip_lamports == most
    words = await refused(capped(fee_max_lamports=most - 1), wanted, NEEDS)
    assert words == f"fees and tip of {most} lamports exceed the cap of {most - 1} lamports"


async def test_what_earlier_attempts_paid_in_vain_counts() -> None:
    """The cap is the order's: an attempt that landed and failed has used up some of it."""
    wanted = order()
    most = await cost(wanted, NEEDS)
    failed = replace(stored(await opened().signed(wanted, NEEDS)), status=AttemptStatus.FAILED)
    gone = replace(failed, status=AttemptStatus.EXPIRED)
    paid = SIGNATURE + failed.signed.priority_fee_lamports
    await capped(fee_max_lamports=most).signed(wanted, NEEDS, [gone])
    await capped(fee_max_lamports=most + paid).signed(wanted, NEEDS, [gone, failed])
    over = capped(fee_max_lamports=most + paid - 1)
    assert str(most + paid) in await refused(over, wanted, NEEDS, [gone, failed])


# the order, and its value in lamports by the pools' reserves
VALUED = {
    "SOL sold": (order(), 10_000_000),
    "SOL bought": (order("SOL-USDC", Action.BUY), 10_000_000),
    "SOL spent": (order("RAY-SOL", Action.BUY, quote_size=20_000_000), 20_000_000),
    "another token, by the price of USDC": (
        order("BONK-USDC", Action.BUY, quote_size=1_850_000),
        10_000_000,
    ),
}


@pytest.mark.parametrize(("wanted", "value"), VALUED.values(), ids=VALUED)
async def test_the_cap_in_basis_points_is_of_the_orders_value(wanted: Order, value: int) -> None:
    """The SOL that is traded, or what the quote token is worth in SOL at the mid price."""
    most = await cost(wanted, [])
    allowing = -(-most * 10_000 // value)
    await capped(fee_max_bps=allowing).signed(wanted)
    cap = value * (allowing - 1) // 10_000
    assert f"exceed the cap of {cap} lamports" in await refused(
        capped(fee_max_bps=allowing - 1), wanted, []
    )


UNTOLD = "the order's value in SOL cannot be told, so fees.max_order_bps cannot be kept"
NOWHERE = PoolRef("raydium_cpmm", Pubkey.from_bytes(bytes([23] * 32)))


def with_pools(name: str, *pools: PoolRef) -> dict[str, Market]:
    """List the markets, one of them on other pools."""
    named = markets()
    return {**named, name: replace(named[name], pools=pools)}


def bonk_for_sol(on: Desk) -> PoolRef:
    """Open a pool of BONK and SOL: a copy of RAY's with the other mint, of 12 lamports a unit."""
    named = markets()
    ray, bonk = bytes(named["RAY-SOL"].base.mint), bytes(named["BONK-USDC"].base.mint)
    pool = on.chain.account(str(named["RAY-SOL"].pools[0].address))
    assert pool is not None
    at = 72 if pool.data[168:200] == ray else 104
    old = Pubkey.from_bytes(pool.data[at : at + 32])
    vault, address = (Pubkey.from_bytes(bytes([n] * 32)) for n in (24, 25))
    found = on.chain.account(str(old))
    assert found is not None
    held = SvmAccount(10**9, found.data.replace(ray, bonk), TOKEN_PROGRAM)
    data = pool.data.replace(ray, bonk).replace(bytes(old), bytes(vault))
    on.chain.svm.set_account(vault, held)
    on.chain.svm.set_account(address, SvmAccount(10**9, data, PROGRAM))
    return PoolRef("raydium_cpmm", address)


async def test_the_base_token_tells_the_value_where_the_quote_token_does_not() -> None:
    """BONK is traded for SOL here, and USDC is not."""
    on, named = opened(), markets()
    bonk_usdc, ray_sol = named["BONK-USDC"], named["RAY-SOL"]
    pools = (bonk_for_sol(on),)
    bonk_sol = replace(ray_sol, name="BONK-SOL", base=bonk_usdc.base, pools=pools)
    listed = {each.name: each for each in (bonk_usdc, bonk_sol)}
    limits = FeePolicy(fee_max_bps=1)
    on.trading = open_trading(on.chain, on.clock, markets=listed, fee_policy=limits)
    await on.signed(BONK_SALE, NEEDS)
    words = await refused(on, BONK_SALE, [TipNeeds(JITO, tip_lamports=1_200_000)])
    assert words.endswith("exceed the cap of 1200000 lamports")


@pytest.mark.parametrize("listed", [["BONK-USDC"], ["RAY-SOL", "BONK-USDC"]], ids=str)
def test_a_cap_on_the_value_needs_markets_that_tell_it(listed: list[str]) -> None:
    """A market without any path to SOL is an error at the start, which names it and what helps."""
    chosen = {name: markets()[name] for name in listed}
    capped_in_lamports = FeePolicy(fee_max_lamports=10**7)
    open_trading(lite_chain(), ManualClock(), markets=chosen, fee_policy=capped_in_lamports)
    limits = FeePolicy(fee_max_bps=30)
    with pytest.raises(ValueError, match=r"fees.max_order_bps.*BONK-USDC.*BONK or USDC.*to 0"):
        open_trading(lite_chain(), ManualClock(), markets=chosen, fee_policy=limits)


async def test_a_broken_pool_does_not_hide_the_value() -> None:
    """The next pool that pairs the token with SOL tells it; when none does, the order is refused."""
    broken = with_pools("SOL-USDC", NOWHERE, *markets()["SOL-USDC"].pools)
    tight, loose = FeePolicy(fee_max_bps=1), FeePolicy(fee_max_bps=10_000)
    assert "exceed" in await refused(desk(markets=broken, fee_policy=tight), BONK_SALE, [])
    await desk(markets=broken, fee_policy=loose).signed(BONK_SALE)
    alone = with_pools("SOL-USDC", NOWHERE)
    assert await refused(desk(markets=alone, fee_policy=loose), BONK_SALE, []) == UNTOLD
    await desk(markets=alone).signed(BONK_SALE)


@pytest.mark.parametrize("side", [0, 1])
async def test_an_emptied_pool_tells_no_value(side: int) -> None:
    """Other markets trade on; only a cap on the value, which nobody tells now, refuses their orders."""
    loose = FeePolicy(fee_max_bps=10_000)
    on, off = desk(fee_policy=loose), desk()
    for each in (on, off):
        empty_vault(each, side)
    assert await refused(on, BONK_SALE, []) == UNTOLD
    await off.signed(BONK_SALE)


def empty_vault(on: Desk, side: int) -> None:
    """Take everything out of one of the SOL-USDC pool's vaults (at bytes 72 and 104 of the pool)."""
    pool = on.chain.account(str(markets()["SOL-USDC"].pools[0].address))
    assert pool is not None
    vault = Pubkey.from_bytes(pool.data[72 + 32 * side : 104 + 32 * side])
    found = on.chain.account(str(vault))
    assert found is not None
    data = found.data[:64] + bytes(8) + found.data[72:]
    emptied = SvmAccount(found.lamports, data, Pubkey.from_string(found.owner))
    on.chain.svm.set_account(vault, emptied)


@dataclass
class CountingSigner:
    """Signs for the test wallet and counts how often."""

    address: str
    used: int = 0

    async def sign(self, message: bytes) -> bytes:
        self.used += 1
        return bytes(WALLET.sign_message(message))


async def test_nothing_is_signed_beyond_the_cap() -> None:
    """The key is not used for an order that is refused."""
    signer = CountingSigner(str(WALLET.pubkey()))
    on = desk(signers={"main": signer}, fee_policy=FeePolicy(fee_max_lamports=1))
    await refused(on, order(), [])
    assert signer.used == 0
    on = desk(signers={"main": signer})
    await on.signed(order())
    assert signer.used == 1
