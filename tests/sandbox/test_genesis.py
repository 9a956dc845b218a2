"""The first block adds up, is the same every time, and can be traded on."""

from collections import Counter

import pytest
from solders.clock import Clock
from solders.keypair import Keypair
from solders.litesvm import LiteSVM
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction
from solders.transaction_metadata import TransactionMetadata

from app.sandbox.genesis import Genesis, Market, build_genesis, own_program, pool_address
from app.sandbox.layouts import (
    BONK_MINT,
    CPMM_PROGRAM,
    RAY_MINT,
    SOL_MINT,
    TOKEN_PROGRAM,
    USDC_MINT,
    PoolState,
    Swap,
    associated_token_address,
    authority_address,
    program_address,
    rent_exempt,
    token_amount,
    trade_fee_rate,
)
from tests.sandbox.bench import NOW

WALLET = Keypair.from_seed(bytes(32))
POOLS = {
    "SOL-USDC": "7JuwJuNU88gurFnyWeiyGKbFmExMWcmRZntn9imEzdny",
    "BONK-USDC": "31fGRcaJddV3oTCSvgFc6WryuKXks6eE7GpPamaWnB61",
    "RAY-SOL": "4y81XN75NGct6iUYkBp2ixQKtXdrQxxMVgFbFF9w5n4u",
}


@pytest.fixture(scope="module")
def genesis() -> Genesis:
    """Build the first block once."""
    return build_genesis(wallet=WALLET, unix_time=NOW)


def data_of(genesis: Genesis, address: Pubkey) -> bytes:
    """Read an account of the first block."""
    (found,) = [account.data for account in genesis.accounts if account.address == address]
    return found


def tokens_of(genesis: Genesis, owner: Pubkey, mint: Pubkey) -> int:
    """Read what an owner's associated account holds."""
    return token_amount(data_of(genesis, associated_token_address(owner, mint)))


def test_the_same_seed_gives_the_same_block(genesis: Genesis) -> None:
    """Two builds are equal to the byte; another seed has another keeper and the same pools."""
    again = build_genesis(wallet=WALLET, unix_time=NOW)
    other = build_genesis(seed=8, wallet=WALLET, unix_time=NOW)
    assert (again.accounts, again.markets) == (genesis.accounts, genesis.markets)
    assert other.markets == genesis.markets
    assert other.wallets["keeper"].pubkey() != genesis.wallets["keeper"].pubkey()


def test_the_pools_stand_at_their_genuine_addresses(genesis: Genesis) -> None:
    """The addresses are those that Raydium's program derives: they may be configured as constants."""
    assert {market.name: str(market.pool) for market in genesis.markets} == POOLS
    assert pool_address(USDC_MINT, SOL_MINT) == pool_address(SOL_MINT, USDC_MINT)


def test_no_address_is_given_twice(genesis: Genesis) -> None:
    """Every account has an address of its own and is exempt from rent."""
    assert max(Counter(account.address for account in genesis.accounts).values()) == 1
    assert all(account.lamports >= rent_exempt(len(account.data)) for account in genesis.accounts)


@pytest.mark.parametrize(
    ("name", "base", "quote"),
    [
        ("SOL-USDC", 10_000 * 10**9, 1_850_000 * 10**6),
        ("BONK-USDC", 50_000_000_000 * 10**5, 1_000_000 * 10**6),
        ("RAY-SOL", 1_000_000 * 10**6, 12_000 * 10**9),
    ],
)
def test_a_pool_holds_what_it_should(genesis: Genesis, name: str, base: int, quote: int) -> None:
    """Vaults hold exactly the listed amounts; the pool's keys, mints and tier belong together."""
    (market,) = [each for each in genesis.markets if each.name == name]
    pool = PoolState.decode(data_of(genesis, market.pool))
    mints = (market.base_mint, market.quote_mint)
    assert sorted(mints, key=bytes) == list(pool.mints)
    held = {
        mint: token_amount(data_of(genesis, vault))
        for mint, vault in zip(pool.mints, pool.vaults, strict=True)
    }
    assert held == dict(zip(mints, (base, quote), strict=True))
    assert pool.observation == program_address(b"observation", bytes(market.pool))
    assert (pool.owed(0), pool.owed(1), pool.status) == (0, 0, 0)
    assert trade_fee_rate(data_of(genesis, pool.config)) == 2_500
    decimals = {market.base_mint: market.base_decimals, market.quote_mint: market.quote_decimals}
    assert pool.decimals == tuple(decimals[mint] for mint in pool.mints)


def test_supplies_are_what_is_held(genesis: Genesis) -> None:
    """Each mint's supply is the sum of its accounts; the native mint counts none, as on mainnet."""
    held: Counter[bytes] = Counter()
    mints = {a.address: a.data for a in genesis.accounts if len(a.data) == 82}
    for account in genesis.accounts:
        if len(account.data) == 165:
            held[account.data[:32]] += token_amount(account.data)
    for mint, data in mints.items():
        supply = int.from_bytes(data[36:44], "little")
        assert supply == (0 if mint == SOL_MINT else held[bytes(mint)])
        assert supply < 2**64
    assert len(mints) == 7


def test_wrapped_sol_is_backed(genesis: Genesis) -> None:
    """A wrapped SOL account holds its amount in lamports over its rent, and says so."""
    wrapped = [a for a in genesis.accounts if len(a.data) == 165 and a.data[:32] == bytes(SOL_MINT)]
    assert len(wrapped) == 3
    for account in wrapped:
        assert account.lamports == rent_exempt(165) + token_amount(account.data)
        assert account.data[109:121] == b"\1\0\0\0" + rent_exempt(165).to_bytes(8, "little")


def test_the_wallet_is_funded(genesis: Genesis) -> None:
    """The given wallet has 10,000 SOL, 1,000,000 USDC, 5,000,000,000 BONK and 1,000,000 RAY."""
    owner = WALLET.pubkey()
    (purse,) = [account for account in genesis.accounts if account.address == owner]
    assert purse.lamports == 10_000 * 10**9
    assert tokens_of(genesis, owner, USDC_MINT) == 1_000_000 * 10**6
    assert tokens_of(genesis, owner, BONK_MINT) == 5_000_000_000 * 10**5
    assert tokens_of(genesis, owner, RAY_MINT) == 1_000_000 * 10**6
    assert genesis.wallets["wallet"] == WALLET


def test_the_vaults_belong_to_the_authority_alone(genesis: Genesis) -> None:
    """No wallet owns a vault."""
    for market in genesis.markets:
        for vault in PoolState.decode(data_of(genesis, market.pool)).vaults:
            assert data_of(genesis, vault)[32:64] == bytes(authority_address()[0])


def trade(genesis: Genesis, market: Market, *, sells_base: bool) -> TransactionMetadata:
    """Let the keeper trade a millionth of a pool's reserve on a fresh chain."""
    genesis.install(svm := LiteSVM())
    svm.set_clock(Clock(1, 0, 0, 0, NOW))
    keeper = genesis.wallets["keeper"]
    pool = PoolState.decode(data_of(genesis, market.pool))
    side = pool.mints.index(market.base_mint if sells_base else market.quote_mint)
    swap = Swap(
        pool_address=market.pool,
        pool=pool,
        side=side,
        payer=keeper.pubkey(),
        source=associated_token_address(keeper.pubkey(), pool.mints[side]),
        destination=associated_token_address(keeper.pubkey(), pool.mints[1 - side]),
    )
    amount = token_amount(data_of(genesis, pool.vaults[side])) // 10**6
    instructions = [swap.exact_in(amount, 1)]
    message = MessageV0.try_compile(keeper.pubkey(), instructions, [], svm.latest_blockhash())
    result = svm.send_transaction(VersionedTransaction(message, [keeper]))
    assert isinstance(result, TransactionMetadata)
    return result


@pytest.mark.parametrize("sells_base", [True, False])
@pytest.mark.parametrize("name", list(POOLS))
def test_every_market_trades_both_ways(genesis: Genesis, name: str, sells_base: bool) -> None:
    """A real token program accepts the hand-written mints, vaults and accounts."""
    (market,) = [each for each in genesis.markets if each.name == name]
    logs = trade(genesis, market, sells_base=sells_base).logs()
    assert sum(line == f"Program {TOKEN_PROGRAM} success" for line in logs) == 2


def test_another_program_can_take_the_markets_place() -> None:
    """A program given as bytes is the one that runs at Raydium's address, on the same accounts."""
    ours = build_genesis(wallet=WALLET, unix_time=NOW)
    given = build_genesis(wallet=WALLET, unix_time=NOW, cpmm_program=own_program() + bytes(8))
    assert given.programs == {CPMM_PROGRAM: own_program() + bytes(8)}
    assert ours.programs == {CPMM_PROGRAM: own_program()}
    assert given.accounts == ours.accounts
    trade(given, given.markets[0], sells_base=True)
