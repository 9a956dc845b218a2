"""From an order to the wallet's balances: quoted, built, simulated, signed and executed on LiteSVM."""

import json
from dataclasses import replace

import pytest
from solders.account import Account as SvmAccount
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from app.domain.market import WSOL_MINT, Market, PoolRef, Token
from app.domain.memo import client_hash
from app.domain.order import Order
from app.domain.signal import Action
from app.engine.ports import TipNeeds
from app.transactions.builder import TRANSACTION_BYTES_MAX, Construction
from app.transactions.guard import decompile
from app.transactions.tokens import (
    MEMO_PROGRAM,
    TOKEN_PROGRAM,
    associated_address,
    temporary_address,
)
from app.transactions.venues.raydium_cpmm import PROGRAM
from tests.transactions.kit import WALLET, Desk, desk, markets, order, stored
from tests.transactions.states import load_state, onchain
from tests.vectors.states import State

RENT = 2_039_280
LONGER_SEED = 27
SEED = "00112233445566778899aabbccddeeff"
SIZES = {"SOL-USDC": 10_000_000, "BONK-USDC": 5 * 10**9, "RAY-SOL": 3_000_000}
TIP = TipNeeds(
    payees=("96gYZGLnJYVFmbjzopPSU6QiEV5fGqZNyN9nmNhvrZU5",),
    tip_lamports=10_000,
    unit_price_min=70_000,
)


def lamports(on: Desk) -> int:
    """Read the wallet's SOL."""
    found = on.chain.account(str(WALLET.pubkey()))
    return 0 if found is None else found.lamports


def held(on: Desk, token: Token) -> int:
    """Read the wallet's associated account of a token."""
    address = associated_address(WALLET.pubkey(), token.mint, TOKEN_PROGRAM)
    found = on.chain.account(str(address))
    return 0 if found is None else int.from_bytes(found.data[64:72], "little")


def remove(on: Desk, token: Token) -> None:
    """Take the wallet's account of a token away."""
    address = associated_address(WALLET.pubkey(), token.mint, TOKEN_PROGRAM)
    on.chain.svm.set_account(address, SvmAccount(0, b"", Pubkey.default()))


def expected(market: Market, wanted: Order, base: int, quote: int, fee: int) -> dict[str, int]:
    """Say what must change: lamports for SOL and the fee, tokens for the rest."""
    sign = -1 if wanted.signal.action is Action.SELL else 1
    changes = {"lamports": -fee}
    for token, change in ((market.base, sign * base), (market.quote, -sign * quote)):
        if token.is_sol:
            changes["lamports"] += change
        else:
            changes[token.symbol] = change
    return changes


def measure(on: Desk, market: Market) -> dict[str, int]:
    """Read what the wallet has of what a market trades."""
    paid = [token for token in (market.base, market.quote) if not token.is_sol]
    return {"lamports": lamports(on), **{each.symbol: held(on, each) for each in paid}}


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["size", "quote_size"])
@pytest.mark.parametrize("action", list(Action))
@pytest.mark.parametrize("name", list(SIZES))
async def test_an_order_changes_the_wallet_by_exactly_what_was_quoted(
    name: str, action: Action, kind: str
) -> None:
    """On every market, both sides, either fixed amount: tokens, SOL and fee to the unit, no leftovers."""
    on, market = desk(lambda: SEED), markets()[name]
    wanted = order(name, action, **{kind: SIZES[name]})
    before = measure(on, market)
    signed = await on.signed(wanted)
    landed = on.chain.land(signed.raw)
    assert landed.error is None
    fill = on.trading.fill(wanted, stored(signed), landed)
    amounts = (signed.quote.amount_in, signed.quote.amount_out)
    assert (fill.base_amount, fill.quote_amount) == (
        amounts if action is Action.SELL else amounts[::-1]
    )
    fee = 5_000 + signed.priority_fee_lamports
    assert landed.fee_lamports == fee == fill.network_fee + fill.priority_fee
    after = measure(on, market)
    changes = {key: after[key] - before[key] for key in before}
    assert changes == expected(market, wanted, fill.base_amount, fill.quote_amount, fee)
    assert on.chain.account(str(temporary_address(WALLET.pubkey(), SEED))) is None
    assert fill.venue_fee == signed.quote.venue_fee
    assert fill.tip == 0


@pytest.mark.anyio
async def test_a_first_sale_pays_the_rent_of_the_new_token_account() -> None:
    """Without a USDC account the sale costs 2,039,280 lamports more, and its spend said so."""
    on, usdc = desk(), markets()["SOL-USDC"].quote
    remove(on, usdc)
    before = lamports(on)
    signed = await on.signed(order())
    landed = on.chain.land(signed.raw)
    fee = 5_000 + signed.priority_fee_lamports
    assert landed.error is None
    assert lamports(on) - before == -10_000_000 - fee - RENT
    assert held(on, usdc) == signed.quote.amount_out
    # the temporary account's rent comes back, yet the wallet must have it
    assert signed.spend.lamports == 10_000_000 + RENT + RENT + fee
    assert signed.spend.mint == ""


@pytest.mark.anyio
async def test_dust_at_the_address_of_a_token_account_stops_nothing() -> None:
    """Somebody's lamports where the account will be: it is created all the same."""
    on, usdc = desk(), markets()["SOL-USDC"].quote
    address = associated_address(WALLET.pubkey(), usdc.mint, TOKEN_PROGRAM)
    on.chain.svm.set_account(address, SvmAccount(1_000_000, b"", Pubkey.default()))
    signed = await on.signed(order())
    assert on.chain.land(signed.raw).error is None
    assert held(on, usdc) == signed.quote.amount_out


@pytest.mark.anyio
async def test_a_tip_is_paid_last_and_read_back() -> None:
    """A method's demands are met: its tip to one of its payees, its floor of the unit price."""
    on = desk()
    wanted = order()
    payee = Pubkey.from_string(TIP.payees[0])
    on.chain.svm.airdrop(payee, 10**9)
    before = lamports(on)
    signed = await on.signed(wanted, [TipNeeds(), TIP])
    landed = on.chain.land(signed.raw)
    fill = on.trading.fill(wanted, stored(signed), landed)
    assert (signed.tip_lamports, fill.tip) == (10_000, 10_000)
    assert on.chain.svm.get_balance(payee) == 10**9 + 10_000
    assert lamports(on) - before == -10_000_000 - landed.fee_lamports - 10_000
    message = VersionedTransaction.from_bytes(signed.raw).message
    assert isinstance(message, MessageV0)
    last = decompile(message)[-1]
    assert last.accounts[1].pubkey == payee
    price = decompile(message)[1]
    assert bytes(price.data) == b"\x03" + (70_000).to_bytes(8, "little")


@pytest.mark.anyio
async def test_every_transaction_carries_the_memo_of_its_attempt() -> None:
    """The memo names order, attempt and client key, and asks nobody else to sign."""
    on, wanted = desk(), order(client_order_id="mine")
    message = VersionedTransaction.from_bytes((await on.signed(wanted)).raw).message
    assert isinstance(message, MessageV0)
    memo = next(each for each in decompile(message) if each.program_id == MEMO_PROGRAM)
    digits = client_hash("default", "mine")
    assert bytes(memo.data).decode() == f"synergy7:{wanted.order_id}/1/{digits}"
    assert not memo.accounts
    assert message.header.num_required_signatures == 1


@pytest.mark.anyio
async def test_a_price_that_moved_beyond_the_bound_fails_as_slippage() -> None:
    """The bound is enforced on the chain, and the failure is read as slippage, worth a new quote."""
    on = desk()
    signed = await on.signed(order(max_slippage_bps=1))
    rival = await on.signed(order(size=50 * 10**9, client_order_id="rival"))
    assert on.chain.land(rival.raw).error is None
    landed = on.chain.land(signed.raw)
    explained = on.trading.explain(landed.error, landed.logs)
    assert explained.code == "SLIPPAGE_EXCEEDED"
    assert explained.error.name == "ExceededSlippage"
    assert explained.retryable


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("action", "size"), [(Action.SELL, 20_000 * 10**9), (Action.BUY, 8_000 * 10**9)]
)
async def test_a_wallet_that_holds_too_little_is_told_by_the_simulation(
    action: Action, size: int
) -> None:
    """Too little SOL, or too little of a token: INSUFFICIENT_FUNDS, and no new quote helps."""
    on = desk()
    wanted = order("SOL-USDC", action, size=size)
    quoted = await on.trading.quote(wanted)
    draft = await on.trading.draft(wanted, 1, quoted, [])
    simulation = await on.chain.simulate(draft.raw, draft.slot)
    explained = on.trading.check(draft, simulation)
    assert explained is not None
    assert (explained.code, explained.retryable) == ("INSUFFICIENT_FUNDS", False)


def install(on: Desk, state: State, venue: str = "raydium_cpmm") -> Market:
    """Put a recorded SOL-USDC pool into the chain; give its market."""
    for address, account in state.accounts.items():
        assert account is not None
        owner = Pubkey.from_string(account.owner)
        lite = SvmAccount(account.lamports, account.data, owner)
        on.chain.svm.set_account(Pubkey.from_string(address), lite)
    market = markets()["SOL-USDC"]
    return replace(market, pools=(PoolRef(venue, state.pool),))


@pytest.mark.anyio
async def test_whole_transactions_do_what_was_recorded_on_mainnets_program() -> None:
    """The recorded wrap, swap and unwrap of 0.01 SOL, both ways: the same tokens and lamports."""
    folder = onchain()
    flows = json.loads((folder / "flows.json").read_text())["flows"]
    recorded = {each["flow"]: each for each in flows}
    for flow, action, sizes in (
        ("SELL cpmm seed account", Action.SELL, {"size": 10_000_000}),
        ("BUY cpmm seed account", Action.BUY, {"quote_size": 402_815}),
    ):
        seen = recorded[flow]
        on = desk()
        market = install(on, load_state("cp_sol_usdc_2026", folder))
        on.trading = on.with_markets({"SOL-USDC": market})
        if seen["usdc_ata_rent"]:
            remove(on, market.quote)
        before = measure(on, market)
        signed = await on.signed(order("SOL-USDC", action, **sizes))
        landed = on.chain.land(signed.raw)
        assert landed.error is None
        after = measure(on, market)
        assert signed.quote.amount_out == seen["local_quote_out"]
        assert after["USDC"] - before["USDC"] == seen["usdc_delta"]
        moved = after["lamports"] - before["lamports"] + landed.fee_lamports
        assert moved == seen["lamports_delta"] + seen["fee_lamports"]
        memo_bytes = len(signed.raw) - seen["tx_bytes"]
        assert 0 < memo_bytes < 130


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("recorded", "venue", "name", "error", "more"),
    [
        ("whirlpool_swap_v2", "orca_whirlpool", "wp_sol_usdc_2022", None, 39),
        ("ammv4", "raydium_amm_v4", "a4_sol_usdc_2026", "InvalidInstructionData", 0),
    ],
)
@pytest.mark.parametrize("side", ["SELL", "BUY"])
async def test_built_transactions_are_those_recorded_on_mainnets_programs(
    recorded: str, venue: str, name: str, error: str | None, more: int, side: str
) -> None:
    """Without the program itself: quote, rents, deltas, and the size to the byte but for what is ours alone.

    That is the memo, the spare tick array, and a seed of 32 characters rather than 5.
    """
    folder = onchain()
    flows = json.loads((folder / "flows.json").read_text())["flows"]
    (seen,) = (each for each in flows if each["flow"] == f"{side} {recorded} seed account")
    on = desk(seed_source=lambda: SEED)
    market = install(on, load_state(name, folder), venue)
    on.trading = on.with_markets({"SOL-USDC": market})
    if error is not None:
        assert on.trading.venues[venue].learn({"InstructionError": [0, error]})
    if seen["usdc_ata_rent"]:
        remove(on, market.quote)
    sizes = {"size": seen["amount_in"]} if side == "SELL" else {"quote_size": seen["amount_in"]}
    wanted = order("SOL-USDC", Action(side), **sizes)
    quoted = await on.trading.quote(wanted)
    assert quoted.quote.amount_out == seen["local_quote_out"]
    draft = await on.trading.draft(wanted, 1, quoted, [])
    message = VersionedTransaction.from_bytes(draft.raw).message
    assert isinstance(message, MessageV0)
    built = decompile(message)
    text = next(bytes(each.data) for each in built if each.program_id == MEMO_PROGRAM)
    memo_bytes = 1 + 1 + 1 + len(text) + (0 if venue == "orca_whirlpool" else 32)
    assert len(draft.raw) - memo_bytes - more - LONGER_SEED == seen["tx_bytes"]
    construction = draft.context
    assert isinstance(construction, Construction)
    assert construction.created_rent == seen["usdc_ata_rent"]
    lamports_moved = (
        -seen["amount_in"] - construction.created_rent
        if side == "SELL"
        else quoted.quote.amount_out
    )
    assert lamports_moved - seen["fee_lamports"] == seen["lamports_delta"]


def test_the_recorded_program_is_the_one_that_is_called() -> None:
    """The venue calls Raydium's own address, and wraps SOL by the native mint."""
    assert str(PROGRAM) == "CPMMoo8L3F4NbTegBCKVNunggL7H1ZpdTHKxQB5qKP1C"
    assert str(WSOL_MINT) == "So11111111111111111111111111111111111111112"


@pytest.mark.anyio
async def test_the_largest_transaction_that_there_may_be_is_carried() -> None:
    """A first sale of SOL for a Token-2022 mint on a Whirlpool, three tips, the hundredth attempt."""
    on = desk()
    state = load_state("wp_token2022_fee_epoch0")
    state = state.patched(state.pool, 101, bytes(WSOL_MINT))
    there = {key: each for key, each in state.complete().items() if each is not None}
    market = install(on, replace(state, accounts=there), "orca_whirlpool")
    base, quote = (
        Token(f"T{places}", mint, places) for mint, places in state.decode().decimals.items()
    )
    on.trading = on.with_markets({market.name: replace(market, base=base, quote=quote)})
    payees = [str(Pubkey.from_bytes(bytes([each] * 32))) for each in (61, 62, 63)]
    needs = [TipNeeds((payee,), 10_000, 0) for payee in payees]
    wanted = order(market.name, Action.SELL, size=10**6)
    draft = await on.trading.draft(wanted, 100, await on.trading.quote(wanted), needs)
    assert len(draft.raw) == TRANSACTION_BYTES_MAX
