"""Swaps whose bytes do not say their direction: the record of the transaction does."""

import base64
import struct
from dataclasses import dataclass, replace
from typing import Any

import pytest
from solders.account import Account as SvmAccount
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from app.domain.attempt import Signed
from app.domain.errors import TransientError
from app.domain.market import PoolRef
from app.domain.order import Order
from app.domain.signal import Action, SignalRules
from app.engine.ports import LandedTransaction, Simulation
from app.engine.recovery_port import Found, Mention
from app.transactions.fills import read_fill
from app.transactions.recovered import read_recovered
from app.transactions.tokens import TOKEN_PROGRAM, associated_address
from app.transactions.venues import known_venues
from app.transactions.venues.raydium_amm_v4 import AUTHORITY, PROGRAM
from tests.transactions.kit import (
    UNIX_TIME,
    WALLET,
    Desk,
    ProbedChain,
    desk,
    markets,
    open_trading,
    order,
    stored,
)

pytestmark = pytest.mark.anyio
POOL, COIN_VAULT, PC_VAULT = (Pubkey.from_bytes(bytes([each] * 32)) for each in (41, 42, 43))
MARKET = markets()["SOL-USDC"]
COIN, PC = MARKET.base.mint, MARKET.quote.mint
VENUE = "raydium_amm_v4"
ON_AMM = replace(MARKET, pools=(PoolRef(VENUE, POOL),))
RESERVES = (1_000 * 10**9, 180_000 * 10**6)
HEIGHT = 1_234


def open_pool(on: Desk) -> None:
    """Put an AMM v4 pool of SOL and USDC into the chain, and trade on it."""
    data = bytearray(752)
    struct.pack_into("<QQ", data, 0, 6, 254)
    struct.pack_into("<QQ", data, 176, 25, 10_000)
    for at, key in ((336, COIN_VAULT), (368, PC_VAULT), (400, COIN), (432, PC)):
        data[at : at + 32] = bytes(key)
    on.chain.svm.set_account(POOL, SvmAccount(10**9, bytes(data), PROGRAM))
    pairs = zip((COIN_VAULT, PC_VAULT), (COIN, PC), RESERVES, strict=True)
    for vault, mint, amount in pairs:
        held = bytes(mint) + bytes(AUTHORITY) + struct.pack("<Q", amount) + bytes(36) + b"\1"
        account = SvmAccount(10**9 + amount, held.ljust(165, b"\0"), TOKEN_PROGRAM)
        on.chain.svm.set_account(vault, account)
    on.trading = on.with_markets({"SOL-USDC": ON_AMM})
    assert on.trading.venues[VENUE].learn({"InstructionError": [0, "NotEnoughAccountKeys"]})


@dataclass(frozen=True)
class Swapped:
    """An order signed on AMM v4, and the record that a node would have of it."""

    wanted: Order
    signed: Signed
    landed: LandedTransaction

    @classmethod
    async def of(cls, action: Action, *, failed: bool = False) -> "Swapped":
        """Sign an order and write the record: the vaults move as quoted, or not at all."""
        on, wanted = desk(), order("SOL-USDC", action)
        open_pool(on)
        quoted = await on.trading.quote(wanted)
        quote = quoted.quote
        draft = await on.trading.draft(wanted, 1, quoted, [])
        lines = (
            f"Program {PROGRAM} invoke [1]",
            f"Program log: ray_log: {ray_log(action, quote.amount_in, quote.amount_out)}",
            f"Program {PROGRAM} success",
        )
        simulation = Simulation(None, lines, 40_000, 1)
        assert on.trading.check(draft, simulation) is None
        blockhash = await on.chain.blockhash(30)
        assert blockhash is not None
        signed = await on.trading.sign(draft, simulation, blockhash)
        message = VersionedTransaction.from_bytes(signed.raw).message
        assert isinstance(message, MessageV0)
        keys = tuple(map(str, message.account_keys))
        sold = action is Action.SELL
        moved = {
            COIN_VAULT: quote.amount_in if sold else -quote.amount_out,
            PC_VAULT: -quote.amount_out if sold else quote.amount_in,
        }
        before = dict(zip((COIN_VAULT, PC_VAULT), RESERVES, strict=True))
        return cls(
            wanted,
            signed,
            LandedTransaction(
                signature=signed.signature,
                slot=9,
                error={"InstructionError": [4, {"Custom": 30}]} if failed else None,
                fee_lamports=5_000 + signed.priority_fee_lamports,
                logs=() if failed else lines,
                account_keys=keys,
                lamports_before=(0,) * len(keys),
                lamports_after=(0,) * len(keys),
                tokens_before={keys.index(str(key)): held for key, held in before.items()},
                tokens_after={
                    keys.index(str(key)): held + (0 if failed else moved[key])
                    for key, held in before.items()
                },
            ),
        )


def ray_log(action: Action, amount_in: int, amount_out: int) -> str:
    """Write the program's log of a sale of an exact size, or of a purchase of one."""
    sold = action is Action.SELL
    amounts = (amount_in, 1) if sold else (amount_in + 1, amount_out)
    other = amount_out if sold else amount_in
    raw = struct.pack("<B7Q", 3 if sold else 4, *amounts, 2 if sold else 1, 0, *RESERVES, other)
    return base64.b64encode(raw).decode()


@pytest.mark.parametrize("action", list(Action))
async def test_a_fill_is_the_same_from_log_and_balances(action: Action) -> None:
    """Whichever of the two vaults took, the other gave: each source alone tells the same amounts."""
    swap = await Swapped.of(action)
    quote = swap.signed.quote
    sold = action is Action.SELL
    both = read_fill(stored(swap.signed), swap.landed, known_venues())
    amounts = (quote.amount_in, quote.amount_out)
    assert (both.base_amount, both.quote_amount) == (amounts if sold else amounts[::-1])
    for alone in (
        replace(swap.landed, logs=()),
        replace(swap.landed, tokens_before={}, tokens_after={}),
    ):
        assert read_fill(stored(swap.signed), alone, known_venues()) == both


@pytest.mark.parametrize("failed", [True, False])
@pytest.mark.parametrize("action", list(Action))
async def test_a_recovered_order_has_its_direction(action: Action, failed: bool) -> None:
    """By the address of the wallet's account, even when the swap failed before that was created."""
    swap = await Swapped.of(action, failed=failed)
    mints = {str(COIN_VAULT): str(COIN), str(PC_VAULT): str(PC)}
    message = VersionedTransaction.from_bytes(swap.signed.raw).message
    assert associated_address(WALLET.pubkey(), PC, TOKEN_PROGRAM) in message.account_keys
    told = read_recovered(
        Found(swap.signed.raw, swap.landed, mints, UNIX_TIME),
        Mention(swap.signed.signature, 9, failed=failed, memo=None, unix_time=UNIX_TIME),
        HEIGHT,
        wallet=str(WALLET.pubkey()),
        markets={"SOL-USDC": ON_AMM},
        venues=known_venues(),
    )
    assert told is not None
    assert (told.market, told.action) == ("SOL-USDC", action)
    assert told.signed.quote.pool.venue == VENUE
    assert told.size == swap.wanted.signal.size


async def test_a_form_that_cannot_be_told_leaves_the_other_pools() -> None:
    """An absent wallet hides what the program takes: its pools wait, the rest trades; later it is told."""
    on = desk()
    open_pool(on)
    both = {"SOL-USDC": replace(ON_AMM, pools=(*ON_AMM.pools, *MARKET.pools))}
    chain = ProbedChain(on.chain.svm, error="AccountNotFound")
    trading = open_trading(chain, on.clock, markets=both)
    await trading.verify()
    assert (await trading.quote(order())).quote.pool == MARKET.pools[0]
    with pytest.raises(TransientError, match="cannot be told"):
        await trading.probe()
    shown: Any = await trading.desk(SignalRules(markets=both, methods=())).markets()
    assert shown[0]["pools"][0]["reason_code"] == "CHAIN_UNAVAILABLE"
    chain.error = {"InstructionError": [0, "NotEnoughAccountKeys"]}
    probed = len(chain.simulated) + 1
    for _ in range(3):
        await trading.quote(order())
    assert len(chain.simulated) == probed
    alone = replace(both["SOL-USDC"], pools=ON_AMM.pools)
    later = open_trading(chain, on.clock, markets={"SOL-USDC": alone})
    assert (await later.quote(order())).quote.pool == ON_AMM.pools[0]
