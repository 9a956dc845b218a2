"""Pools and balances are read once a slot for everybody, and a failing read harms nobody for long."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from solders.account import Account as SvmAccount
from solders.pubkey import Pubkey

from app.domain.errors import ReasonCode, RefusedError, TransientError
from app.domain.market import Market, PoolRef, Token
from app.engine.ports import Account
from app.sandbox.layouts import encode_token_account
from app.transactions.pools import ACCOUNTS_MAX, CLOCK_SYSVAR, PoolReader
from app.transactions.tokens import TOKEN_PROGRAM, associated_address
from app.transactions.venues import known_venues
from tests.transactions.kit import (
    GENESIS,
    UNIX_TIME,
    WALLET,
    HeldChain,
    LiteChain,
    ManualClock,
    lite_chain,
    markets,
)

ADDRESS = str(WALLET.pubkey())
pytestmark = pytest.mark.anyio


def reader(
    chain: LiteChain,
    clock: ManualClock,
    listed: dict[str, Market] | None = None,
    wallets: Sequence[str] = (ADDRESS,),
) -> PoolReader:
    """Make a reader of the sandbox's markets."""
    return PoolReader(
        chain=chain,
        wallets=wallets,
        markets=markets() if listed is None else listed,
        venues=known_venues(),
        slot_seconds=0.4,
        monotonic=clock.monotonic,
    )


async def test_one_read_serves_a_slot() -> None:
    """After the first, which learns the accounts, each slot costs one call for all markets together."""
    chain, clock = lite_chain(), ManualClock()
    pools = reader(chain, clock)
    first = await pools.board()
    assert len(chain.reads) == 2
    clock.seconds = 0.39
    assert await pools.board() is first
    clock.seconds = 0.41
    assert await pools.board() is not first
    assert len(chain.reads) == 3
    assert set(chain.reads[2]) >= {str(each.pool) for each in GENESIS.markets}
    assert await pools.latest() is await pools.board()
    assert len(chain.reads) == 3


async def test_what_was_read_before_a_trade_of_ours_counts_no_more() -> None:
    """It knows neither the price that the trade left nor the money that it brought."""
    chain, clock = lite_chain(), ManualClock()
    pools = reader(chain, clock)
    first = await pools.board()
    pools.landed(first.oldest_slot)
    assert await pools.board() is first
    pools.landed(first.oldest_slot + 1)
    chain.slot += 1
    second = await pools.board()
    assert second is not first
    assert await pools.board() is second


async def test_a_read_counts_from_when_it_was_asked_for() -> None:
    """State that took long to arrive is that much older."""
    chain, clock = HeldChain(lite_chain().svm), ManualClock()
    pools = reader(chain, clock)
    waiting = asyncio.create_task(pools.board())
    await chain.asked.wait()
    clock.seconds = 1.0
    chain.gate.set()
    first = await waiting
    assert await pools.board() is not first


async def test_orders_that_ask_together_share_a_read() -> None:
    """A hundred askers, one read; what each gets is the same board."""
    chain, clock = HeldChain(lite_chain().svm), ManualClock()
    pools = reader(chain, clock)
    waiting = [asyncio.create_task(pools.board()) for _ in range(100)]
    await chain.asked.wait()
    chain.gate.set()
    boards = await asyncio.gather(*waiting)
    assert len({id(each) for each in boards}) == 1
    assert len(chain.reads) == 2


async def test_a_cancelled_order_leaves_the_read_to_the_others() -> None:
    """The one who asked first is cancelled; the read goes on and serves the second."""
    chain, clock = HeldChain(lite_chain().svm), ManualClock()
    pools = reader(chain, clock)
    first, second = (asyncio.create_task(pools.board()) for _ in range(2))
    await chain.asked.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    chain.gate.set()
    assert (await second).slot("SOL-USDC") == 1_000


async def test_a_failed_read_is_not_kept() -> None:
    """All who wait are told; the next to ask tries again."""
    chain, clock = HeldChain(lite_chain().svm), ManualClock()
    chain.gate.set()
    chain.trouble = TransientError(ReasonCode.CHAIN_UNAVAILABLE, "no answer")
    pools = reader(chain, clock)
    results = await asyncio.gather(pools.board(), pools.board(), return_exceptions=True)
    assert [type(each) for each in results] == [TransientError, TransientError]
    chain.trouble = None
    assert (await pools.board()).slot("SOL-USDC") == 1_000


async def test_a_read_that_fails_after_all_were_cancelled_is_quiet() -> None:
    """Nobody waits any more: the failure is no unhandled one."""
    chain, clock = HeldChain(lite_chain().svm), ManualClock()
    chain.trouble = TransientError(ReasonCode.CHAIN_UNAVAILABLE, "no answer")
    pools = reader(chain, clock)
    only = asyncio.create_task(pools.board())
    await chain.asked.wait()
    only.cancel()
    with pytest.raises(asyncio.CancelledError):
        await only
    chain.gate.set()
    chain.trouble = None
    assert (await pools.board()).slot("SOL-USDC") == 1_000


async def test_a_read_that_hangs_ends_in_time() -> None:
    """A node that never answers makes the order back off; it does not hold it for ever."""
    chain, clock = HeldChain(lite_chain().svm), ManualClock()
    pools = PoolReader(
        chain=chain,
        wallets=[ADDRESS],
        markets=markets(),
        venues=known_venues(),
        slot_seconds=0.4,
        monotonic=clock.monotonic,
        read_seconds_max=0,
    )
    with pytest.raises(TransientError, match="within 0 s") as caught:
        await pools.board()
    assert caught.value.code is ReasonCode.CHAIN_UNAVAILABLE


async def test_closing_stops_a_read_under_way() -> None:
    """Nothing is left running, and closing twice or before any read is fine."""
    chain, clock = HeldChain(lite_chain().svm), ManualClock()
    pools = reader(chain, clock)
    await pools.aclose()
    waiting = asyncio.create_task(pools.board())
    await chain.asked.wait()
    await pools.aclose()
    await pools.aclose()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_many_markets_are_read_in_batches() -> None:
    """No call asks for more than 100 accounts, and a market's accounts stay in one call."""
    chain, clock = lite_chain(), ManualClock()
    plain = markets()["BONK-USDC"]
    listed = {
        f"M{n}": replace(
            plain, name=f"M{n}", base=_token(n), pools=(PoolRef("raydium_cpmm", _key(n)),)
        )
        for n in range(60)
    }
    board = await reader(chain, clock, listed).board()
    assert len(chain.reads) > 1
    assert max(map(len, chain.reads)) <= ACCOUNTS_MAX
    for name, market in listed.items():
        wanted = {str(market.pools[0].address), str(market.base.mint), CLOCK_SYSVAR, ADDRESS}
        assert any(wanted <= set(read) for read in chain.reads), name
    assert board.slot("M59") == 1_000
    with pytest.raises(RefusedError):
        board.pool("M7", listed["M7"].pools[0])
    assert set(board.balances(ADDRESS).tokens) == {str(plain.quote.mint)}


def _key(n: int) -> Pubkey:
    return Pubkey.from_bytes(bytes([n, 1] * 16))


def _token(n: int) -> Token:
    return Token(f"T{n}", Pubkey.from_bytes(bytes([n, 2] * 16)), 6)


async def test_balances_are_of_lamports_and_of_every_traded_token() -> None:
    """SOL counts as lamports; each other token by its associated account."""
    pools = reader(lite_chain(), ManualClock())
    balances = (await pools.board()).balances(ADDRESS)
    held = {str(mint): amount for mint, amount in balances.tokens.items()}
    named = {
        token.symbol: held[str(token.mint)]
        for market in markets().values()
        for token in (market.base, market.quote)
        if not token.is_sol
    }
    assert named == {"USDC": 10**12, "BONK": 5 * 10**14, "RAY": 10**12}
    assert balances.lamports == 10_000 * 10**9
    assert balances.slot == 1_000


async def test_a_wallet_without_anything_has_nothing() -> None:
    """No account at all: no lamports, no tokens."""
    nobody = str(_key(99))
    pools = reader(lite_chain(), ManualClock(), wallets=(nobody,))
    balances = (await pools.board()).balances(nobody)
    assert balances.lamports == 0
    assert set(balances.tokens.values()) == {0}


async def test_tokens_that_cannot_be_moved_do_not_count() -> None:
    """A frozen account, or one whose owner was changed, holds nothing to trade with."""
    usdc = markets()["SOL-USDC"].quote
    address = associated_address(WALLET.pubkey(), usdc.mint, TOKEN_PROGRAM)
    mine = encode_token_account(usdc.mint, WALLET.pubkey(), 500)
    frozen = mine[:108] + b"\2" + mine[109:]
    sold = encode_token_account(usdc.mint, _key(3), 500)
    for data, amount in ((mine, 500), (frozen, 0), (sold, 0)):
        chain = lite_chain()
        chain.svm.set_account(address, SvmAccount(2_039_280, data, TOKEN_PROGRAM))
        balances = (await reader(chain, ManualClock()).board()).balances(ADDRESS)
        assert balances.tokens[str(usdc.mint)] == amount


async def test_the_moment_is_the_chains_own() -> None:
    """Epoch and time come from the bank that was read, not from this machine's clock."""
    board = await reader(lite_chain(), ManualClock()).board()
    pool = board.pool("SOL-USDC", markets()["SOL-USDC"].pools[0])
    assert getattr(pool, "unix_time", None) == UNIX_TIME


async def test_a_pool_that_names_other_accounts_each_time_is_refused() -> None:
    """The reads end: what could not be read together is not traded on."""

    class Shifty(LiteChain):
        def account(self, address: str) -> Account | None:
            found = super().account(address)
            if found is None or address != str(ref.address):
                return found
            vault = bytes([len(self.reads)] * 32)
            return replace(found, data=found.data[:72] + vault + found.data[104:])

    ref = markets()["SOL-USDC"].pools[0]
    chain = Shifty(lite_chain().svm)
    board = await reader(chain, ManualClock()).board()
    assert len(chain.reads) == 3
    with pytest.raises(RefusedError) as caught:
        board.pool("SOL-USDC", ref)
    assert caught.value.code is ReasonCode.POOL_INVALID


async def test_a_node_without_the_time_is_unavailable() -> None:
    """Without the clock's account nothing can be judged."""

    class Timeless(LiteChain):
        def account(self, address: str) -> Account | None:
            return None if address == CLOCK_SYSVAR else super().account(address)

    with pytest.raises(TransientError, match="time"):
        await reader(Timeless(lite_chain().svm), ManualClock()).board()


async def test_a_pool_of_other_tokens_or_decimals_is_refused() -> None:
    """A market that names the wrong pool, or decimals that the mint has not, trades nothing."""
    listed = markets()
    sol = listed["SOL-USDC"]
    wrong = {
        "SOL-USDC": replace(sol, pools=listed["RAY-SOL"].pools),
        "BONK-USDC": replace(
            listed["BONK-USDC"], base=replace(listed["BONK-USDC"].base, decimals=6)
        ),
        "RAY-SOL": listed["RAY-SOL"],
    }
    board = await reader(lite_chain(), ManualClock(), wrong).board()
    for name in ("SOL-USDC", "BONK-USDC"):
        with pytest.raises(RefusedError, match=name) as caught:
            board.pool(name, wrong[name].pools[0])
        assert caught.value.code is ReasonCode.POOL_INVALID
    right = board.pool("RAY-SOL", wrong["RAY-SOL"].pools[0])
    assert board.pool("RAY-SOL", wrong["RAY-SOL"].pools[0]) is right


async def test_tokens_are_worth_what_a_market_with_sol_says() -> None:
    """Either side of such a market; SOL is itself; what no market pairs with SOL has no price."""
    tokens = {
        token.symbol: token for each in markets().values() for token in (each.base, each.quote)
    }
    board = await reader(lite_chain(), ManualClock()).board()
    assert board.worth(tokens["SOL"], 7) == 7
    assert board.worth(tokens["USDC"], 1_850_001) == 10_000_005
    assert board.worth(tokens["RAY"], 1_000_000) == 12_000_000
    assert board.worth(tokens["BONK"], 10**9) is None
