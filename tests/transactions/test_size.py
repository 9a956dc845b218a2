"""The largest transaction of every market fits into what the network carries."""

import pytest
from solders.account import Account as SvmAccount
from solders.pubkey import Pubkey

from app.domain.order import Order
from app.domain.signal import Action
from app.engine.ports import TipNeeds
from app.transactions.builder import TRANSACTION_BYTES_MAX
from app.transactions.fees import TIPS_MAX
from app.transactions.tokens import TOKEN_2022_PROGRAM, TOKEN_PROGRAM, associated_address
from app.transactions.venues.raydium_cpmm import PROGRAM
from tests.transactions.kit import WALLET, Desk, desk, markets, order

pytestmark = pytest.mark.anyio

PAYEES = [str(Pubkey.from_bytes(bytes([31 + number] * 32))) for number in range(TIPS_MAX)]
NEEDS = [TipNeeds((payee,), tip_lamports=1_000_000) for payee in PAYEES]
ATTEMPT = 101
"""The last one with the most retries that can be configured."""
MINTS_AT, PROGRAMS_AT, VAULTS_AT = 168, 232, 72
"""Where a pool's account names them: of token 0, and 32 bytes on of token 1."""


def put(on: Desk, address: Pubkey, data: bytes, owner: Pubkey) -> None:
    """Replace an account's content and owner."""
    on.chain.svm.set_account(address, SvmAccount(10**9, data, owner))


def without(on: Desk, mint: Pubkey) -> None:
    """Take the wallet's account of a mint away, so that it has to be created."""
    address = associated_address(WALLET.pubkey(), mint, TOKEN_PROGRAM)
    on.chain.svm.set_account(address, SvmAccount(0, b"", Pubkey.default()))


def with_newer_token(on: Desk, pool: Pubkey, mint: Pubkey) -> None:
    """Make a pool's mint one of Token-2022, which is one more program in the message."""
    found = on.chain.account(str(pool))
    assert found is not None
    data = found.data
    at = 0 if data[MINTS_AT : MINTS_AT + 32] == bytes(mint) else 32
    vault = Pubkey.from_bytes(data[VAULTS_AT + at :][:32])
    programs = PROGRAMS_AT + at
    put(on, pool, data[:programs] + bytes(TOKEN_2022_PROGRAM) + data[programs + 32 :], PROGRAM)
    for each in (vault, mint):
        account = on.chain.account(str(each))
        assert account is not None
        put(on, each, account.data, TOKEN_2022_PROGRAM)


def largest(name: str, action: Action) -> tuple[Desk, Order]:
    """Open a chain on which what is received has no account yet, and give an order for it."""
    on, market = desk(), markets()[name]
    received = market.quote if action is Action.SELL else market.base
    if not received.is_sol:
        without(on, received.mint)
    return on, order(name, action, size=10_000_000)


async def drafted(on: Desk, wanted: Order) -> bytes:
    """Give the bytes that the signed transaction will have, but for their values."""
    quoted = await on.trading.quote(wanted)
    return (await on.trading.draft(wanted, ATTEMPT, quoted, NEEDS)).raw


@pytest.mark.parametrize("action", list(Action))
@pytest.mark.parametrize("name", list(markets()))
async def test_every_market_has_room_for_three_tips(name: str, action: Action) -> None:
    """Temporary account, new token account, memo and all tips: it fits, and it would execute."""
    on, wanted = largest(name, action)
    for payee in PAYEES:
        on.chain.svm.airdrop(Pubkey.from_string(payee), 10**9)
    assert len(await drafted(on, wanted)) <= TRANSACTION_BYTES_MAX
    signed = await on.signed(wanted, NEEDS)
    assert signed.tip_lamports == 3_000_000
    assert on.chain.land(signed.raw).error is None


async def test_a_token_of_the_newer_program_fits_too() -> None:
    """The largest that the venue builds: both token programs, a wrapped-SOL account, a new account."""
    on, wanted = largest("SOL-USDC", Action.SELL)
    plain = len(await drafted(on, wanted))
    market = markets()["SOL-USDC"]
    with_newer_token(on, market.pools[0].address, market.quote.mint)
    on.clock.seconds += 10
    assert len(await drafted(on, wanted)) == plain + 32 <= TRANSACTION_BYTES_MAX
