"""The keeper takes every pool along the path that its seed makes."""

from collections.abc import Callable
from itertools import islice, pairwise

import pytest
from solders.clock import Clock
from solders.hash import Hash
from solders.keypair import Keypair
from solders.litesvm import LiteSVM
from solders.pubkey import Pubkey
from solders.transaction_metadata import FailedTransactionMetadata, TransactionMetadata

from app.sandbox.genesis import Genesis, Market, build_genesis
from app.sandbox.keeper import LEVEL_MAX_PPM, LEVEL_MIN_PPM, Keeper, price_path
from app.sandbox.layouts import PoolState, token_amount
from tests.sandbox.bench import NOW


class Chain:
    """A virtual machine that starts from a first block."""

    def __init__(self) -> None:
        self.genesis: Genesis = build_genesis(wallet=Keypair.from_seed(bytes(32)), unix_time=NOW)
        self.svm = LiteSVM()
        self.genesis.install(self.svm)
        self.svm.set_clock(Clock(1, 0, 0, 0, NOW))

    def read(self, address: Pubkey) -> bytes:
        account = self.svm.get_account(address)
        assert account is not None
        return bytes(account.data)

    def step(self, keeper: Keeper) -> list[TransactionMetadata | FailedTransactionMetadata]:
        """Let the keeper take a step and run what it signs."""
        self.svm.expire_blockhash()
        made = keeper.next_transactions(self.read, self.svm.latest_blockhash())
        return [self.svm.send_transaction(each) for each in made]

    def level(self, market: Market) -> float:
        """Say where a market stands, in millionths of its first price."""
        first = {account.address: account.data for account in self.genesis.accounts}
        return price(market, self.read) * 1_000_000 / price(market, first.__getitem__)


def price(market: Market, read: Callable[[Pubkey], bytes]) -> float:
    """Divide a pool's own reserves."""
    pool = PoolState.decode(read(market.pool))
    free = [token_amount(read(vault)) - pool.owed(i) for i, vault in enumerate(pool.vaults)]
    base = pool.mints.index(market.base_mint)
    return free[1 - base] / free[base]


@pytest.fixture
def chain() -> Chain:
    """Start a chain."""
    return Chain()


def test_the_pools_follow_the_path(chain: Chain) -> None:
    """After each of 40 steps each pool is within 0.1 bps of where its path leads."""
    keeper = Keeper(chain.genesis, seed=3, volatility_bps=40)
    paths = [price_path(3, market.name, 40) for market in chain.genesis.markets]
    for _ in range(40):
        assert all(isinstance(each, TransactionMetadata) for each in chain.step(keeper))
        for market, path in zip(chain.genesis.markets, paths, strict=True):
            assert abs(chain.level(market) - next(path)) < 10


def test_a_strangers_trade_is_traded_away(chain: Chain) -> None:
    """A pool that somebody pushed off its path is back on it a step later."""
    market = chain.genesis.markets[0]
    pusher = Keeper(chain.genesis, seed=99, volatility_bps=1_000)
    chain.step(pusher)
    assert abs(chain.level(market) - 1_000_000) > 1_000
    chain.step(Keeper(chain.genesis, seed=3, volatility_bps=5))
    assert abs(chain.level(market) - next(price_path(3, market.name, 5))) < 100


def test_the_same_seed_signs_the_same_transactions(chain: Chain) -> None:
    """Seed, step and accounts decide the bytes; another seed decides otherwise."""

    def first(seed: int) -> list[bytes]:
        keeper = Keeper(chain.genesis, seed, volatility_bps=30)
        return [bytes(tx) for tx in keeper.next_transactions(chain.read, Hash.default())]

    assert first(1) == first(1)
    assert first(1) != first(2)
    assert len(first(1)) == len(chain.genesis.markets)


def test_a_keeper_goes_on_where_another_stopped(chain: Chain) -> None:
    """With `first_step` a new keeper takes the step that the old one would have taken."""
    old = Keeper(chain.genesis, seed=3, volatility_bps=40)
    for _ in range(5):
        chain.step(old)
    new = Keeper(chain.genesis, seed=3, volatility_bps=40, first_step=5)
    made = [keeper.next_transactions(chain.read, Hash.default()) for keeper in (old, new)]
    assert made[0] == made[1]


def test_a_still_market_needs_no_trade(chain: Chain) -> None:
    """Without volatility the pools stay where they are and nothing is signed."""
    assert chain.step(Keeper(chain.genesis, seed=3, volatility_bps=0)) == []


def test_a_path_moves_within_its_bounds() -> None:
    """A step is no greater than the volatility and the pull back; levels stay in sight."""
    levels = [1_000_000, *islice(price_path(5, "SOL-USDC", 1_000), 3_000)]
    assert len(set(levels)) > 2_000
    assert all(LEVEL_MIN_PPM <= level <= LEVEL_MAX_PPM for level in levels)
    for before, after in pairwise(levels):
        assert abs(after - before) <= before // 10 + abs(before - 1_000_000) // 50 + 2_000


def test_markets_move_apart() -> None:
    """Each market has a path of its own."""
    assert list(islice(price_path(5, "SOL-USDC", 50), 9)) != list(
        islice(price_path(5, "RAY-SOL", 50), 9)
    )


@pytest.mark.parametrize("volatility_bps", [-1, 1_001])
def test_a_volatility_out_of_bounds_is_refused(chain: Chain, volatility_bps: int) -> None:
    """The keeper says so when it is made."""
    with pytest.raises(ValueError, match="volatility_bps"):
        Keeper(chain.genesis, seed=3, volatility_bps=volatility_bps)
