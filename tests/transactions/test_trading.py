"""The engine's door: quotes within their bounds, checked simulations, signatures by the right wallet."""

import asyncio
import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

import pytest
from solders.account import Account as SvmAccount
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from app.domain.errors import ReasonCode, RefusedError, TransientError
from app.domain.market import PoolRef
from app.domain.order import Order
from app.domain.quote import Limit
from app.domain.signal import Action
from app.engine.ports import Draft, Quoted, Signer, Simulation, TipNeeds, Trading
from app.sandbox.layouts import encode_token_account
from app.transactions.guard import decompile
from app.transactions.tokens import (
    ATA_PROGRAM,
    MEMO_PROGRAM,
    SYSTEM_PROGRAM,
    TOKEN_PROGRAM,
    associated_address,
)
from app.transactions.trading import TransactionTrading
from app.transactions.venues.base import ANCHOR_EVENT_LINE
from app.transactions.venues.raydium_amm_v4 import RaydiumAmmV4
from app.transactions.venues.raydium_cpmm import PROGRAM
from tests.transactions.kit import (
    GENESIS,
    WALLET,
    Desk,
    HeldChain,
    ManualClock,
    ProbedChain,
    desk,
    lite_chain,
    markets,
    open_trading,
    order,
)

pytestmark = pytest.mark.anyio
BUDGET = "ComputeBudget111111111111111111111111111111"
USDC = markets()["SOL-USDC"].quote
BONK_SALE = order("BONK-USDC", Action.SELL, size=10**9)


async def drafted(on: Desk, wanted: Order, needs: Sequence[TipNeeds] = ()) -> Draft:
    """Draft an order's first attempt."""
    return await on.trading.draft(wanted, 1, await on.trading.quote(wanted), needs)


async def refused(on: Desk, wanted: Order) -> RefusedError:
    """Give the error that a draft is refused with."""
    with pytest.raises(RefusedError) as caught:
        await drafted(on, wanted)
    return caught.value


def put(on: Desk, mint: Pubkey, data: bytes | None) -> None:
    """Replace the wallet's account of a mint."""
    address = associated_address(WALLET.pubkey(), mint, TOKEN_PROGRAM)
    account = SvmAccount(2_039_280, data, TOKEN_PROGRAM) if data else SvmAccount(0, b"", mint)
    on.chain.svm.set_account(address, account)


async def test_it_is_the_engines_trading_port() -> None:
    """What the engine asks for is what is offered."""
    port: Trading = desk().trading
    assert isinstance(port, TransactionTrading)


# ------------------------------------------------------------------------------------- quotes


async def test_a_quote_comes_with_the_tighter_bound() -> None:
    """Slippage bounds the quote; a price may bound it more."""
    on = desk()
    loose = await on.trading.quote(order(max_slippage_bps=100))
    assert loose.limit == Limit(True, -(-loose.quote.amount_out * 9_900 // 10_000))
    tight = await on.trading.quote(order(max_slippage_bps=100, price=Decimal(185)))
    assert tight.limit.bound == 1_831_500
    assert loose.quote.slot == 1_000
    assert loose.quote.pool == markets()["SOL-USDC"].pools[0]


async def test_a_market_outside_the_price_is_refused() -> None:
    """A signal is no resting order."""
    with pytest.raises(RefusedError) as caught:
        await desk().trading.quote(order(price=Decimal(250)))
    assert caught.value.code is ReasonCode.PRICE_LIMIT


async def test_an_amount_that_buys_nothing_is_refused() -> None:
    """One lamport's worth rounds to nothing."""
    with pytest.raises(RefusedError) as caught:
        await desk().trading.quote(order(size=1))
    assert caught.value.code is ReasonCode.SIZE_TOO_SMALL


async def test_a_market_that_was_taken_out_is_refused() -> None:
    """An order of a market that is not configured any more ends, and says why."""
    with pytest.raises(RefusedError) as caught:
        await desk().trading.quote(order("OLD-USDC"))
    assert caught.value.code is ReasonCode.UNKNOWN_MARKET


def second_pool(on: Desk) -> PoolRef:
    """Open a copy of the SOL-USDC pool that asks no fee of its own: a better price."""
    found = on.chain.account(str(GENESIS.markets[0].pool))
    assert found is not None
    config, address = Pubkey.from_bytes(bytes([21] * 32)), Pubkey.from_bytes(bytes([22] * 32))
    tier = on.chain.account(str(Pubkey.from_bytes(found.data[8:40])))
    assert tier is not None
    cheaper = tier.data[:12] + (1).to_bytes(8, "little") + tier.data[20:]
    data = found.data[:8] + bytes(config) + found.data[40:]
    for key, content in ((config, cheaper), (address, data)):
        on.chain.svm.set_account(key, SvmAccount(10**8, content, PROGRAM))
    return PoolRef("raydium_cpmm", address)


@pytest.mark.parametrize("wanted", [order(), order("SOL-USDC", Action.BUY)], ids=["in", "out"])
async def test_the_best_of_several_pools_is_taken(wanted: Order) -> None:
    """More received for the same, or less paid for the same."""
    on = desk()
    better = second_pool(on)
    market = markets()["SOL-USDC"]
    for pools in ((*market.pools, better), (better, *market.pools)):
        on.trading = on.with_markets({market.name: replace(market, pools=pools)})
        assert (await on.trading.quote(wanted)).quote.pool == better


async def test_a_broken_pool_leaves_the_others() -> None:
    """One pool that is not there does not stop a market that has another."""
    on, market = desk(), markets()["SOL-USDC"]
    nowhere = PoolRef("raydium_cpmm", Pubkey.from_bytes(bytes([23] * 32)))
    both = replace(market, pools=(nowhere, *market.pools))
    on.trading = on.with_markets({market.name: both})
    assert (await on.trading.quote(order())).quote.pool == market.pools[0]


async def test_a_pool_that_opens_later_makes_the_order_wait() -> None:
    """With one pool broken and one not open yet, waiting is what helps."""
    on, market = desk(), markets()["SOL-USDC"]
    opening = second_pool(on)
    found = on.chain.account(str(opening.address))
    assert found is not None
    data = found.data[:373] + (2**40).to_bytes(8, "little") + found.data[381:]
    on.chain.svm.set_account(opening.address, SvmAccount(10**8, data, PROGRAM))
    nowhere = PoolRef("raydium_cpmm", Pubkey.from_bytes(bytes([23] * 32)))
    on.trading = on.with_markets({market.name: replace(market, pools=(nowhere, opening))})
    with pytest.raises(TransientError) as caught:
        await on.trading.quote(order())
    assert caught.value.code is ReasonCode.MARKET_CLOSED


# -------------------------------------------------------------------------------- verification


async def test_verification_passes_on_what_is_configured_right() -> None:
    """The sandbox's own markets are what they say."""
    await desk().trading.verify()


async def test_verification_names_the_market_that_is_wrong() -> None:
    """A pool that is none: the error names its market."""
    on, market = desk(), markets()["RAY-SOL"]
    nowhere = PoolRef("raydium_cpmm", Pubkey.from_bytes(bytes([23] * 32)))
    on.trading = on.with_markets({market.name: replace(market, pools=(nowhere,))})
    with pytest.raises(RefusedError, match="market RAY-SOL") as caught:
        await on.trading.verify()
    assert caught.value.code is ReasonCode.POOL_INVALID


async def test_an_unknown_venue_is_an_error_at_the_start() -> None:
    """A market whose pool is of no known venue is refused by name."""
    market = markets()["SOL-USDC"]
    odd = replace(market, pools=(PoolRef("nowhere", market.pools[0].address),))
    with pytest.raises(ValueError, match=r"SOL-USDC.*nowhere.*raydium_cpmm"):
        open_trading(lite_chain(), ManualClock(), markets={"SOL-USDC": odd})


# -------------------------------------------------------------------------------------- drafts


async def test_a_draft_cannot_be_executed() -> None:
    """Its signature is zeros and it names no blockhash; it asks for all units and bids nothing."""
    transaction = VersionedTransaction.from_bytes((await drafted(desk(), order())).raw)
    assert bytes(transaction.signatures[0]) == bytes(64)
    assert bytes(transaction.message.recent_blockhash) == bytes(32)
    assert isinstance(transaction.message, MessageV0)
    budget = [bytes(each.data) for each in decompile(transaction.message)[:2]]
    assert budget == [b"\2" + (1_400_000).to_bytes(4, "little"), b"\3" + bytes(8)]


SELL_SOL = [SYSTEM_PROGRAM, TOKEN_PROGRAM, PROGRAM, TOKEN_PROGRAM, MEMO_PROGRAM]
LAYOUTS = [
    (order(), False, SELL_SOL),
    (order(), True, [*SELL_SOL[:2], ATA_PROGRAM, *SELL_SOL[2:]]),
    (order("SOL-USDC", Action.BUY), False, SELL_SOL),
    (BONK_SALE, False, [PROGRAM, MEMO_PROGRAM]),
    (BONK_SALE, True, [ATA_PROGRAM, PROGRAM, MEMO_PROGRAM]),
]


@pytest.mark.parametrize(("wanted", "without_usdc", "programs"), LAYOUTS)
async def test_a_transaction_holds_only_what_its_swap_needs(
    wanted: Order, without_usdc: bool, programs: list[Pubkey]
) -> None:
    """A temporary account where SOL is traded, a new account where one is missing, and the memo."""
    on = desk()
    if without_usdc:
        put(on, USDC.mint, None)
    message = VersionedTransaction.from_bytes((await drafted(on, wanted)).raw).message
    assert isinstance(message, MessageV0)
    found = [each.program_id for each in decompile(message)]
    assert [str(each) for each in found[:2]] == [BUDGET, BUDGET]
    assert found[2:] == programs


async def test_each_attempt_has_a_seed_of_its_own() -> None:
    """Two attempts of one order use two temporary accounts, and remember which."""
    on, wanted = desk(), order()
    first, second = [await on.signed(wanted) for _ in range(2)]
    assert first.seed
    assert second.seed
    assert first.seed != second.seed
    assert (await on.signed(BONK_SALE)).seed is None


async def test_paying_from_an_account_that_is_not_there_is_refused() -> None:
    """Without any account of the token the wallet holds none: INSUFFICIENT_FUNDS."""
    on = desk()
    put(on, USDC.mint, None)
    error = await refused(on, order("SOL-USDC", Action.BUY))
    assert error.code is ReasonCode.INSUFFICIENT_FUNDS
    assert "USDC" in error.what


@pytest.mark.parametrize("action", list(Action))
async def test_an_account_of_another_owner_is_not_used(action: Action) -> None:
    """An account whose owner was changed is neither paid from nor, above all, paid into."""
    on = desk()
    put(on, USDC.mint, encode_token_account(USDC.mint, GENESIS.wallets["keeper"].pubkey(), 9))
    error = await refused(on, order("SOL-USDC", action))
    assert error.code is ReasonCode.PROGRAM_ERROR


async def test_a_transaction_that_is_too_large_is_refused() -> None:
    """More bytes than the network carries: refused before anything is signed."""
    on, wanted = desk(), replace(order(), order_id="x" * 600)
    error = await refused(on, wanted)
    assert "1232" in error.what


async def test_drafting_reads_nothing_again() -> None:
    """Quote, draft and balances of one slot share one read; a draft takes what was read last."""
    on, wanted = desk(), order()
    quoted = await on.trading.quote(wanted)
    reads = len(on.chain.reads)
    await on.trading.balances("main")
    on.clock.seconds = 100
    await on.trading.draft(wanted, 1, quoted, [])
    assert len(on.chain.reads) == reads


# --------------------------------------------------------------------------- check and signature


async def test_a_simulation_without_the_swaps_event_is_a_mismatch() -> None:
    """Success without a swap is no success; only a full log is excused."""
    on = desk()
    draft = await drafted(on, order())
    silent = on.trading.check(draft, Simulation(None, (), 10_000, 1))
    assert silent is not None
    assert (silent.code, silent.retryable) == ("SIMULATION_MISMATCH", False)
    assert on.trading.check(draft, Simulation(None, ("Log truncated",), 10_000, 1)) is None


@pytest.mark.parametrize("action", list(Action))
async def test_simulated_amounts_may_differ_from_the_quote_but_not_from_the_bound(
    action: Action,
) -> None:
    """The pool may have moved since; what would be signed decides."""
    on, wanted = desk(), order("SOL-USDC", action)
    quoted = await on.trading.quote(wanted)
    draft = await on.trading.draft(wanted, 1, quoted, [])
    simulation = await on.chain.simulate(draft.raw, draft.slot)
    assert on.trading.check(draft, simulation) is None
    sell = action is Action.SELL
    exact = quoted.quote.amount_out if sell else quoted.quote.amount_in
    other = 1 if sell else -1
    for bound, fine in ((exact, True), (exact + other, False)):
        within = Quoted(quoted.quote, Limit(sell, bound))
        strict = await on.trading.draft(wanted, 1, within, [])
        found = on.trading.check(strict, simulation)
        assert (found is None) is fine
    moved = replace(quoted.quote, intent=replace(quoted.quote.intent, amount=9))
    other_draft = await on.trading.draft(wanted, 1, Quoted(moved, quoted.limit), [])
    assert on.trading.check(other_draft, simulation) is not None


async def test_a_program_that_does_otherwise_than_quoted_is_not_signed() -> None:
    """From the very state that its event tells, another amount means another program: a mismatch."""
    on, wanted = desk(), order(max_slippage_bps=5_000)
    draft = await drafted(on, wanted)
    simulation = await on.chain.simulate(draft.raw, draft.slot)
    assert on.trading.check(draft, simulation) is None
    (line,) = [each for each in simulation.logs if each.startswith(ANCHOR_EVENT_LINE)]
    event = bytearray(base64.b64decode(line.removeprefix(ANCHOR_EVENT_LINE)))
    for at in (64, 48):
        told = bytearray(event)  # a unit less given out; or reserves that would have given another
        told[at : at + 8] = (int.from_bytes(told[at : at + 8], "little") * 9 // 10).to_bytes(
            8, "little"
        )
        text = ANCHOR_EVENT_LINE + base64.b64encode(told).decode()
        logs = tuple(text if each == line else each for each in simulation.logs)
        found = on.trading.check(draft, replace(simulation, logs=logs))
        assert found is not None
        assert (found.code, found.retryable) == (ReasonCode.SIMULATION_MISMATCH, True)


async def test_a_pool_that_only_moved_is_left_to_the_bound() -> None:
    """Another order traded in between: the event's reserves quote what was simulated."""
    on, wanted = desk(), order(max_slippage_bps=5_000)
    draft = await drafted(on, wanted)
    on.chain.land((await on.signed(order("SOL-USDC", Action.BUY, size=10**12))).raw)
    simulation = await on.chain.simulate(draft.raw, draft.slot)
    assert simulation.error is None
    assert on.trading.check(draft, simulation) is None


async def test_the_form_of_a_programs_swaps_is_found_out_at_the_start() -> None:
    """A chain without the short form of AMM v4's swaps gets the long one."""
    on, market = desk(), markets()["SOL-USDC"]
    other = PoolRef("raydium_amm_v4", Pubkey.from_bytes(bytes([24] * 32)))
    for error, short in (("InvalidInstructionData", False), ("NotEnoughAccountKeys", True)):
        chain = ProbedChain(on.chain.svm, error={"InstructionError": [0, error]})
        trading = open_trading(
            chain, on.clock, markets={market.name: replace(market, pools=(other,))}
        )
        with pytest.raises(RefusedError, match="is no pool of program"):
            await trading.verify()
        assert len(chain.simulated) == 1
        venue = trading.venues["raydium_amm_v4"]
        assert isinstance(venue, RaydiumAmmV4)
        assert venue.short is short


async def test_a_draft_of_another_builder_is_a_defect() -> None:
    """Only its own drafts are checked and signed."""
    with pytest.raises(TypeError, match="another builder"):
        desk().trading.check(Draft(b"", 1, object()), Simulation(None, (), 0, 1))


async def test_the_signed_transaction_is_complete() -> None:
    """The signature verifies, the blockhash and its height are those given, the size fits."""
    on = desk()
    signed = await on.signed(order())
    transaction = VersionedTransaction.from_bytes(signed.raw)
    assert transaction.verify_with_results() == [True]
    assert str(transaction.signatures[0]) == signed.signature
    assert str(transaction.message.recent_blockhash) == signed.blockhash.blockhash
    assert signed.blockhash.last_valid_block_height == 150
    assert len(signed.raw) <= 1_232


@dataclass
class FalseSigner:
    """Answers for a wallet with another's signature."""

    address: str
    keypair: Keypair

    async def sign(self, message: bytes) -> bytes:
        return bytes(self.keypair.sign_message(message))


class HalfSigner(FalseSigner):
    """Answers with something that is no signature at all."""

    async def sign(self, message: bytes) -> bytes:
        return bytes(32)


@pytest.mark.parametrize("kind", [FalseSigner, HalfSigner])
async def test_a_wrong_signature_is_not_let_through(kind: type[FalseSigner]) -> None:
    """A signer that signs with another key, or not at all, is found out before anything is stored."""
    on = desk()
    false = kind(str(WALLET.pubkey()), Keypair())
    on.trading = open_trading(on.chain, on.clock, signers={"main": false})
    with pytest.raises(RefusedError, match="wrong signature"):
        await on.signed(order())


class SilentSigner(FalseSigner):
    """Never answers."""

    async def sign(self, message: bytes) -> bytes:
        await asyncio.Event().wait()
        raise AssertionError


async def test_a_signer_that_does_not_answer_makes_the_order_back_off() -> None:
    """A key that is kept elsewhere may hang; the order does not."""
    on = desk()
    silent: Signer = SilentSigner(str(WALLET.pubkey()), WALLET)
    signers = {"main": silent}
    on.trading = open_trading(on.chain, on.clock, signers=signers, sign_seconds_max=0)
    with pytest.raises(TransientError, match="did not answer"):
        await on.signed(order())


async def test_an_order_of_a_wallet_that_is_not_configured_waits() -> None:
    """A restart with the right key heals it, so the order is not failed."""
    on, wanted = desk(), replace(order(), wallet="other")
    with pytest.raises(TransientError, match="other"):
        await drafted(on, wanted)
    with pytest.raises(TransientError, match="other"):
        await on.trading.balances("other")


async def test_closing_stops_what_is_under_way() -> None:
    """A read that hangs is let go; the order that waited for it is cancelled."""
    chain = HeldChain(lite_chain().svm)
    trading = open_trading(chain, ManualClock())
    waiting = asyncio.create_task(trading.quote(order()))
    await chain.asked.wait()
    await trading.aclose()
    with pytest.raises(asyncio.CancelledError):
        await waiting
