"""The CPMM venue reads pools strictly and prices like the formula, whatever the pool."""

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from solders.pubkey import Pubkey

from app.domain.errors import ReasonCode, RefusedError, Synergy7Error
from app.engine.ports import Account
from app.transactions.tokens import TransferFee
from app.transactions.venues.base import Moment, Swap, UserAccounts
from app.transactions.venues.raydium_cpmm import CpmmPool, RaydiumCpmm, _CreatorFee
from tests.sandbox import formula
from tests.transactions.states import cpmm, load_state, swap
from tests.vectors.states import State

DEEP = load_state("cp_deep")
POOL = cpmm(DEEP)
AMOUNT = st.integers(1, 2**62)
RATE = st.integers(1, 400_000)


def code_of(state: State) -> ReasonCode:
    """Give the code under which a state is refused."""
    with pytest.raises(RefusedError) as caught:
        state.decode()
    return caught.value.code


VAULT0, VAULT1 = POOL.keys.vaults
MINT0, MINT1 = POOL.keys.mints
STRANGE = bytes([9] * 32)
SPOILED = {
    "no pool": DEEP.changed(DEEP.pool, None),
    "pool of another program": DEEP.changed(DEEP.pool, Account(1, str(MINT0), bytes(637))),
    "pool of another kind": DEEP.patched(DEEP.pool, 0, b"\0"),
    "pool of another length": DEEP.patched(DEEP.pool, 637, b"\0"),
    "pool that names another fee tier": DEEP.patched(DEEP.pool, 8, STRANGE),
    "no fee tier": DEEP.changed(POOL.keys.config, None),
    "fee tier of another program": DEEP.changed(
        POOL.keys.config, Account(1, str(MINT0), bytes(236))
    ),
    "fee tier of another kind": DEEP.patched(POOL.keys.config, 0, b"\0"),
    "fee tier of another length": DEEP.patched(POOL.keys.config, 236, b"\0"),
    "a fee of everything": DEEP.patched(POOL.keys.config, 12, (10**6).to_bytes(8, "little")),
    "creator's fee on an unknown side": DEEP.patched(DEEP.pool, 389, b"\3"),
    "no vault": DEEP.changed(VAULT0, None),
    "vault of another mint": DEEP.patched(VAULT0, 0, STRANGE),
    "vault of another owner": DEEP.patched(VAULT1, 32, STRANGE),
    "frozen vault": DEEP.patched(VAULT1, 108, b"\2"),
    "no mint": DEEP.changed(MINT1, None),
    "another token program": DEEP.patched(DEEP.pool, 232, STRANGE),
}


@pytest.mark.parametrize("state", SPOILED.values(), ids=SPOILED)
def test_a_pool_that_is_not_what_it_should_be_is_refused(state: State) -> None:
    """Owner, kind, length, fee tier, vaults and mints must all fit: else POOL_INVALID."""
    assert code_of(state) is ReasonCode.POOL_INVALID


def test_a_pool_that_owes_all_it_holds_is_refused() -> None:
    """Without anything beyond the fees owed there is no liquidity."""
    empty = DEEP.patched(VAULT0, 64, (111_222_333 + 7_777).to_bytes(8, "little"))
    assert code_of(empty) is ReasonCode.INSUFFICIENT_LIQUIDITY


def test_reserves_leave_out_the_fees_owed() -> None:
    """A vault's balance less what is owed to protocol, fund and creator is what prices follow."""
    account = DEEP.accounts[str(VAULT0)]
    assert account is not None
    balance = int.from_bytes(account.data[64:72], "little")
    assert POOL.reserves[0] == balance - 111_222_333 - 7_777


def test_the_accounts_needed_are_those_that_decoding_reads() -> None:
    """With the pool, the mints and the accounts named, nothing is missing."""
    account = DEEP.accounts[str(DEEP.pool)]
    assert account is not None
    needed = {DEEP.pool, MINT0, MINT1, *RaydiumCpmm().accounts_needed(DEEP.pool, account)}
    kept = {str(key): DEEP.complete()[str(key)] for key in needed}
    assert RaydiumCpmm().decode(DEEP.pool, kept, Moment(1, DEEP.epoch, DEEP.unix_time)) == POOL
    assert RaydiumCpmm().accounts_needed(DEEP.pool, Account(1, str(MINT0), b"")) == ()


@pytest.mark.parametrize(
    ("side", "amount", "worth"), [(0, 10, 25), (0, 1, 2), (1, 5, 2), (1, 2, 0), (1, 0, 0)]
)
def test_worth_is_the_reserves_ratio_rounded_down(side: int, amount: int, worth: int) -> None:
    """Neither fees nor the depth of the pool are in it, and it is never said too high."""
    pool = replace(POOL, reserves=(200, 500), trade_rate=400_000)
    assert pool.worth((MINT0, MINT1)[side], amount) == worth


def test_a_pool_of_other_mints_is_not_traded_on() -> None:
    """A swap that names a mint the pool does not hold is refused."""
    for mints in ((MINT0, MINT0), (MINT0, Pubkey.from_bytes(STRANGE))):
        with pytest.raises(RefusedError, match="other mints"):
            POOL.quote(Swap(*mints, True, 10**6))


def test_wanting_all_that_a_pool_holds_is_refused() -> None:
    """Exact-out at or beyond the reserve: INSUFFICIENT_LIQUIDITY."""
    for wanted in (POOL.reserves[1], 2**63 - 1):
        with pytest.raises(RefusedError) as caught:
            POOL.quote(swap(POOL, zero_for_one=True, exact_in=False, amount=wanted))
        assert caught.value.code is ReasonCode.INSUFFICIENT_LIQUIDITY


@st.composite
def pools(draw: st.DrawFn) -> CpmmPool:
    """Make a pool of any reserves, rates and creator's side."""
    creator = _CreatorFee(draw(st.just(0) | RATE), draw(st.sampled_from((0, 1, 2))))
    reserves = (draw(AMOUNT), draw(AMOUNT))
    return replace(POOL, reserves=reserves, trade_rate=draw(RATE), creator=creator)


def rates_of(pool: CpmmPool, side: int) -> formula.Rates:
    """Say a pool's rates as the other formula wants them."""
    on_input = pool.creator.side in (0, side + 1)
    return formula.Rates(pool.trade_rate, 0, 0, pool.creator.rate, on_input)


@given(pool=pools(), zero_for_one=st.booleans(), exact_in=st.booleans(), amount=AMOUNT)
def test_quotes_equal_an_independent_formula(
    pool: CpmmPool, zero_for_one: bool, exact_in: bool, amount: int
) -> None:
    """Two writings of the constant product agree on every amount and on every refusal."""
    side = 0 if zero_for_one else 1
    reserves = (pool.reserves[side], pool.reserves[1 - side])
    rates = rates_of(pool, side)
    other = (formula.exact_in if exact_in else formula.exact_out)(*reserves, amount, rates)
    wanted = swap(pool, zero_for_one=zero_for_one, exact_in=exact_in, amount=amount)
    if isinstance(other, formula.Fill):
        priced = pool.quote(wanted)
        assert (priced.amount_in, priced.amount_out) == (other.amount_in, other.amount_out)
        on_input = other.creator_fee if rates.creator_on_input else 0
        assert priced.venue_fee == other.trade_fee + on_input
    else:
        assume(max(amount, *reserves) < 2**40)  # beyond, the program's 64 bits end
        with pytest.raises(Synergy7Error):
            pool.quote(wanted)


@given(pool=pools(), zero_for_one=st.booleans(), amount=st.integers(1, 2**40))
def test_what_exact_out_costs_buys_at_least_that_much(
    pool: CpmmPool, zero_for_one: bool, amount: int
) -> None:
    """Paying the price of an exact-out quote as exact-in never gives less than was wanted."""
    assume(amount < pool.reserves[1 if zero_for_one else 0] // 2)
    cost = pool.quote(
        swap(pool, zero_for_one=zero_for_one, exact_in=False, amount=amount)
    ).amount_in
    got = pool.quote(swap(pool, zero_for_one=zero_for_one, exact_in=True, amount=cost))
    assert got.amount_out >= amount


@given(
    pool=pools(),
    amount=st.integers(1, 2**40),
    fees=st.tuples(st.integers(0, 9_999), st.integers(0, 9_999), st.integers(0, 2**30)),
)
def test_transfer_fees_are_paid_on_both_sides(
    pool: CpmmPool, amount: int, fees: tuple[int, int, int]
) -> None:
    """With fees on both mints, exact-out still costs enough that exact-in gives what was wanted."""
    in_bps, out_bps, maximum = fees
    mints = (
        replace(pool.mints[0], fee=TransferFee(in_bps, maximum)),
        replace(pool.mints[1], fee=TransferFee(out_bps, maximum)),
    )
    taxed = replace(pool, mints=mints)
    assume((amount + maximum) * 2 < pool.reserves[1])
    cost = taxed.quote(swap(taxed, zero_for_one=True, exact_in=False, amount=amount)).amount_in
    got = taxed.quote(swap(taxed, zero_for_one=True, exact_in=True, amount=cost))
    assert got.amount_out >= amount


@pytest.mark.parametrize("exact_in", [True, False])
@pytest.mark.parametrize("zero_for_one", [True, False])
def test_an_instruction_reads_back_as_it_was_built(exact_in: bool, zero_for_one: bool) -> None:
    """Pool, accounts, vaults, amount and bound survive the bytes."""
    user = UserAccounts(*(Pubkey.from_bytes(bytes([each] * 32)) for each in (1, 2, 3)))
    wanted = swap(POOL, zero_for_one=zero_for_one, exact_in=exact_in, amount=77)
    built = POOL.build(wanted, 88, user)
    keys = [meta.pubkey for meta in built.accounts]
    terms = RaydiumCpmm().terms(keys, bytes(built.data))
    assert terms is not None
    assert (terms.exact_in, terms.amount, terms.bound) == (exact_in, 77, 88)
    assert (terms.pool, terms.user) == (DEEP.pool, user)
    vaults = (VAULT0, VAULT1) if zero_for_one else (VAULT1, VAULT0)
    assert (terms.vault_in, terms.vault_out) == vaults
    assert RaydiumCpmm().terms(keys[:-1], bytes(built.data)) is None
    assert RaydiumCpmm().terms(keys, bytes(built.data)[:-1]) is None
    assert RaydiumCpmm().terms(keys, bytes(8) + bytes(built.data)[8:]) is None


def event(pool: Pubkey, *amounts: int, tail: bytes = b"") -> bytes:
    """Write a swap event: reserves, amounts, transfer fees."""
    numbers = b"".join(each.to_bytes(8, "little") for each in amounts)
    return bytes.fromhex("40c6cde8260871e2") + bytes(pool) + numbers + b"\1" + tail


def fee_tail(trade: int, creator: int, on_input: int) -> bytes:
    """Write what newer builds add: mints, fees, and which side the creator's fee is on."""
    return (
        bytes(64) + trade.to_bytes(8, "little") + creator.to_bytes(8, "little") + bytes([on_input])
    )


def test_an_event_tells_what_the_trader_paid_and_received() -> None:
    """Transfer fees come on top of what reached the vault, and off what left it."""
    told = event(DEEP.pool, 1_000, 2_000, 100, 50, 3, 4, tail=fee_tail(7, 2, 1))
    report = RaydiumCpmm().parse_fill(DEEP.pool, [told])
    assert report is not None
    assert (report.amount_in, report.amount_out) == (103, 46)
    assert (report.vault_in, report.vault_out) == (100, 50)
    assert report.venue_fee == 9


def test_a_creators_fee_on_the_output_is_no_fee_in_the_input_token() -> None:
    """The fee that is told is in the input token alone; older builds do not tell it."""
    newer = event(DEEP.pool, 1, 2, 3, 4, 0, 0, tail=fee_tail(7, 2, 0))
    older = event(DEEP.pool, 1, 2, 3, 4, 0, 0)
    for told, fee in ((newer, 7), (older, None)):
        report = RaydiumCpmm().parse_fill(DEEP.pool, [told])
        assert report is not None
        assert report.venue_fee == fee


def test_events_of_other_pools_and_kinds_are_passed_over() -> None:
    """Only a whole swap event of the pool itself counts."""
    mine = event(DEEP.pool, 1, 2, 3, 4, 0, 0)
    others = [b"", mine[:80], b"\0" + mine[1:], event(MINT0, 1, 2, 3, 4, 0, 0)]
    assert RaydiumCpmm().parse_fill(DEEP.pool, others) is None
    assert RaydiumCpmm().parse_fill(DEEP.pool, [*others, mine]) is not None


def test_the_transfer_fee_is_that_of_the_chains_epoch() -> None:
    """A recorded pool with a fee-bearing mint: another epoch, another fee, another price."""
    state = load_state("cp_token2022_epoch0")
    first, later = cpmm(state, 0), cpmm(state, 10_000)
    wanted = swap(first, zero_for_one=True, exact_in=True, amount=10**6)
    assert first.quote(wanted).amount_out != later.quote(wanted).amount_out
