"""The Whirlpool venue reads pools strictly, prices soundly on any pool, and writes what it can read."""

import struct
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from solders.pubkey import Pubkey

from app.domain.errors import ReasonCode, RefusedError, Synergy7Error, TransientError
from app.engine.ports import Account
from app.transactions.tokens import TransferFee
from app.transactions.venues.base import Moment, Swap, UserAccounts
from app.transactions.venues.orca_whirlpool import CROSSINGS_MAX, OrcaWhirlpool, Whirlpool
from app.transactions.venues.whirlpool_accounts import PROGRAM, array_address, oracle_address
from app.transactions.venues.whirlpool_math import (
    SQRT_PRICE_MAX,
    SQRT_PRICE_MIN,
    TICK_MAX,
    TICK_MIN,
    SwapRefused,
    sqrt_price_of,
    tick_of,
)
from app.transactions.venues.whirlpool_swap import TickArray, array_starts
from tests.transactions.states import load_state
from tests.transactions.whirlpools import PLAIN, POOLS, U64, made, swap
from tests.vectors.states import State

VENUE = OrcaWhirlpool()
STATE = load_state("wp_sol_usdc_ts4_dynamic")
HOT = load_state("wp_adaptive_hot")
ARRAY = array_address(STATE.pool, min(PLAIN.arrays))
THERE = next(
    key
    for key in (array_address(STATE.pool, start) for start in PLAIN.arrays)
    if STATE.accounts.get(str(key)) is not None
)
STRANGE = bytes([9] * 32)
USER = UserAccounts(*(Pubkey.from_bytes(bytes([each] * 32)) for each in (1, 2, 3)))

SPOILED = {
    "no pool": STATE.changed(STATE.pool, None),
    "pool of another program": STATE.changed(STATE.pool, Account(1, str(ARRAY), bytes(653))),
    "pool of another kind": STATE.patched(STATE.pool, 0, b"\0"),
    "pool of another length": STATE.patched(STATE.pool, 653, b"\0"),
    "no spacing": STATE.patched(STATE.pool, 41, bytes(4)),
    "a price below any": STATE.patched(STATE.pool, 65, bytes(16)),
    "a tick above any": STATE.patched(STATE.pool, 81, struct.pack("<i", TICK_MAX + 1)),
    "no mint": STATE.changed(PLAIN.account.mints[1], None),
    "array of another program": STATE.changed(THERE, Account(1, str(ARRAY), bytes(148))),
    "array of another kind": STATE.patched(THERE, 0, b"\0"),
    "array of another start": STATE.patched(THERE, 8, b"\7"),
    "array of another pool": STATE.patched(THERE, 12, STRANGE),
    "array cut short": STATE.changed(
        THERE, replace(STATE.account(THERE), data=STATE.account(THERE).data[:150])
    ),
    "array too long": STATE.patched(THERE, len(STATE.account(THERE).data), bytes(10_100)),
    "no oracle of an adaptive fee": HOT.changed(oracle_address(HOT.pool), None),
    "oracle of another kind": HOT.patched(oracle_address(HOT.pool), 0, b"\0"),
    "oracle of another pool": HOT.patched(oracle_address(HOT.pool), 8, STRANGE),
    "oracle without groups": HOT.patched(oracle_address(HOT.pool), 62, bytes(2)),
}


@pytest.mark.parametrize("state", SPOILED.values(), ids=SPOILED)
def test_a_pool_that_is_not_what_it_should_be_is_refused(state: State) -> None:
    """Owner, kind, length, ranges, mints, tick arrays and oracle must all fit: else POOL_INVALID."""
    with pytest.raises(RefusedError) as caught:
        state.decode()
    assert caught.value.code is ReasonCode.POOL_INVALID


def test_an_array_that_was_not_read_is_not_taken_for_an_empty_one() -> None:
    """The price moved between two reads: the order waits; an array that is truly absent is empty."""
    accounts = dict(STATE.complete())
    gone = dict(accounts)
    del gone[str(ARRAY)]
    moment = Moment(1, STATE.epoch, STATE.unix_time)
    with pytest.raises(TransientError, match="moved while it was read"):
        VENUE.decode(STATE.pool, gone, moment)
    for absent in (None, Account(5, str(Pubkey.default()), b"")):
        pool = VENUE.decode(STATE.pool, {**accounts, str(THERE): absent}, moment)
        assert any(not array.nets for array in pool.arrays.values())


def test_addresses_are_those_of_the_chain() -> None:
    """Tick arrays and the oracle of a well-known pool."""
    pool = Pubkey.from_string("HJPjoWUrhoZzkNfRpHuieeFk9WcZWjwy6PBjZ81ngndJ")
    known = {
        -11264: "81T5kNuPRkyVzhwbe2RpKR7wmQpGJ7RBkGPdTqyfa5vq",
        -5632: "9K1HWrGKZKfjTnKfF621BmEQdai4FcUz9tsoF41jwz5B",
        0: "JCpxMSDRDPBMqjoX7LkhMwro2y6r85Q8E6p5zNdBZyWa",
    }
    assert {start: str(array_address(pool, start)) for start in known} == known
    assert str(oracle_address(pool)) == "4GkRbcYg1VKsZropgai4dMf2Nj2PkXNLf43knFpavrSi"


def test_the_prices_of_the_outermost_ticks_are_the_programs_bounds() -> None:
    """The factors are computed; their products must end where the program's constants do."""
    assert (sqrt_price_of(TICK_MIN), sqrt_price_of(TICK_MAX)) == (SQRT_PRICE_MIN, SQRT_PRICE_MAX)
    assert sqrt_price_of(0) == 2**64


@given(st.integers(TICK_MIN, TICK_MAX - 1), st.data())
def test_the_tick_of_a_price_is_the_greatest_below_it(tick: int, data: st.DataObject) -> None:
    """At a tick's price, right below the next one's, and anywhere between."""
    low, high = sqrt_price_of(tick), sqrt_price_of(tick + 1)
    assert low < high
    for price in (low, high - 1, data.draw(st.integers(low, high - 1))):
        assert tick_of(price) == tick


@pytest.mark.parametrize(
    ("tick", "a_to_b", "starts"),
    [
        (0, True, (0, -352, -704)),
        (-1, True, (-352, -704, -1056)),
        (347, False, (0, 352, 704)),
        (348, False, (352, 704, 1056)),
        (-443_500, True, (-443_520, -443_872)),
        (443_600, False, (443_520,)),
    ],
)
def test_a_swap_goes_through_the_arrays_from_its_price_on(
    tick: int, a_to_b: bool, starts: tuple[int, ...]
) -> None:
    """Floor division below zero, one array up from the last tick, and none where there are no ticks."""
    assert array_starts(tick, 4, a_to_b=a_to_b) == starts


@given(st.sampled_from(sorted(POOLS)), st.booleans(), st.booleans(), st.integers(1, 2**63 - 1))
def test_an_instruction_reads_back_as_it_was_built(
    name: str, a_to_b: bool, exact_in: bool, amount: int
) -> None:
    """Sides, amounts and bound, whichever way; never more than three arrays and one behind."""
    pool = POOLS[name]
    built = pool.build(swap(pool, amount, a_to_b=a_to_b, exact_in=exact_in), 7, USER)
    keys = [meta.pubkey for meta in built.accounts]
    terms = VENUE.terms(keys, bytes(built.data))
    assert terms is not None
    assert (terms.pool, terms.user, terms.exact_in) == (pool.address, USER, exact_in)
    assert (terms.amount, terms.bound) == (amount, 7)
    vaults = pool.account.vaults if a_to_b else pool.account.vaults[::-1]
    assert (terms.vault_in, terms.vault_out) == vaults
    assert [meta.pubkey for meta in built.accounts if meta.is_signer] == [USER.owner]
    assert 15 <= len(keys) <= 16


def test_only_a_whole_swap_without_a_price_limit_is_read_back() -> None:
    """An explicit price limit may fill in part; another tag, length or account is another instruction."""
    built = PLAIN.build(swap(PLAIN, 5, a_to_b=True, exact_in=True), 1, USER)
    keys, data = [meta.pubkey for meta in built.accounts], bytes(built.data)
    assert VENUE.terms(keys, data) is not None
    for wrong in (b"\0" + data[1:], data[:24] + b"\1" + data[25:], data[:-1], data + b"\0"):
        assert VENUE.terms(keys, wrong) is None
    assert VENUE.terms(keys[:-1], data) is None
    assert VENUE.terms(keys, data[:42] + b"\0") is None


def test_the_array_behind_the_price_is_passed_too() -> None:
    """Should the price move back into it before the swap runs, the program finds it."""
    for a_to_b in (True, False):
        starts = array_starts(PLAIN.account.tick, PLAIN.account.spacing, a_to_b=a_to_b)
        span = abs(starts[1] - starts[0])
        behind = starts[0] + (span if a_to_b else -span)
        assert behind in PLAIN.arrays
        built = PLAIN.build(swap(PLAIN, 5, a_to_b=a_to_b, exact_in=True), 1, USER)
        assert built.accounts[-1].pubkey == array_address(PLAIN.address, behind)


def event(pool: Pubkey, *amounts: int) -> bytes:
    """Write the program's event: input, output, their transfer fees, the pool's and the protocol's fee."""
    return (
        bytes.fromhex("e1ca49af932ba096") + bytes(pool) + bytes(33) + struct.pack("<6Q", *amounts)
    )


def test_a_fill_reads_back_from_the_event() -> None:
    """Transfer fees are the wallet's loss: the input is told with it, the output before it."""
    mine = event(PLAIN.address, 1_000, 500, 10, 5, 3, 2)
    other = event(USER.owner, 1, 2, 3, 4, 5, 6)
    report = VENUE.parse_fill(PLAIN.address, [b"", mine[:-1], other, mine])
    assert report is not None
    assert (report.amount_in, report.amount_out) == (1_000, 495)
    assert (report.vault_in, report.vault_out, report.venue_fee) == (990, 500, 5)
    assert VENUE.parse_fill(PLAIN.address, [other]) is None


def priced(pool: Whirlpool, wanted: Swap) -> tuple[int, int] | None:
    """Price a swap; None when it is refused."""
    try:
        quoted = pool.quote(wanted)
    except Synergy7Error:
        return None
    return quoted.amount_in, quoted.amount_out


@given(made(), st.booleans(), st.integers(1, 10**14), st.integers(1, 10**14))
def test_more_paid_never_gives_less_and_never_beats_the_price(
    pool: Whirlpool, a_to_b: bool, less: int, more: int
) -> None:
    """Monotone; and never better than the present price without a fee."""
    less, more = sorted((less, more))
    small, large = (
        priced(pool, swap(pool, amount, a_to_b=a_to_b, exact_in=True)) for amount in (less, more)
    )
    square = pool.account.sqrt_price**2
    for found in (small, large):
        if found is not None:
            paid, received = found
            best = paid * square >> 128 if a_to_b else (paid << 128) // square
            assert received <= best
    if small is not None and large is not None:
        assert small[1] <= large[1]


@given(made(), st.booleans(), st.integers(1, 10**14))
def test_what_comes_out_costs_no_more_than_what_was_paid_for_it(
    pool: Whirlpool, a_to_b: bool, amount: int
) -> None:
    """Exact-in and exact-out agree: the same output is never dearer, and its price buys it again."""
    found = priced(pool, swap(pool, amount, a_to_b=a_to_b, exact_in=True))
    assume(found is not None)
    assert found is not None
    back = priced(pool, swap(pool, found[1], a_to_b=a_to_b, exact_in=False))
    assert back is not None
    assert back[1] == found[1]
    again = priced(pool, swap(pool, back[0], a_to_b=a_to_b, exact_in=True))
    assert again is not None
    assert again[1] >= found[1]
    if pool.oracle is None:
        assert back[0] <= amount + 1


@given(st.binary(max_size=700), st.binary(max_size=300), st.booleans())
def test_bytes_of_any_kind_crash_nothing(raw: bytes, more: bytes, tagged: bool) -> None:
    """Whatever an account holds, it decodes to a pool or is refused by a code."""
    head = STATE.account(STATE.pool).data[:8] if tagged else b""
    data = (head + raw).ljust(653, b"\0")[:653]
    state = STATE.changed(STATE.pool, Account(1, str(PROGRAM), data))
    state = state.changed(THERE, Account(1, str(PROGRAM), STATE.account(THERE).data[:60] + more))
    try:
        pool = state.decode()
    except Synergy7Error:
        return
    assert isinstance(pool, Whirlpool)
    for a_to_b in (True, False):
        priced(pool, swap(pool, 10**6, a_to_b=a_to_b, exact_in=True))


def test_a_swap_that_would_cross_too_many_ticks_is_refused() -> None:
    """Each crossing costs compute; what could not run is no quote, though the program's sums allow it."""
    spacing = PLAIN.account.spacing
    starts = array_starts(PLAIN.account.tick, spacing, a_to_b=True)
    full = {start: TickArray(start, dict.fromkeys(range(88), 0)) for start in starts}
    pool = replace(PLAIN, arrays={**PLAIN.arrays, **full})
    tick = pool.account.tick - spacing * (CROSSINGS_MAX + 2)
    low, high = sqrt_price_of(tick), pool.account.sqrt_price
    enough = (pool.account.liquidity * (high - low) << 64) // (high * low) * 11 // 10
    wanted = swap(pool, enough, a_to_b=True, exact_in=True)
    assert pool.outcome(wanted).trade.crossed > CROSSINGS_MAX
    with pytest.raises(RefusedError) as caught:
        pool.quote(wanted)
    assert caught.value.code is ReasonCode.INSUFFICIENT_LIQUIDITY


def test_a_transfer_fee_is_no_price_impact() -> None:
    """What moves the price is free of every fee: of the pool, and of both mints."""
    fee = TransferFee(500, 2**60)
    taxed = replace(
        PLAIN, mints=(replace(PLAIN.mints[0], fee=fee), replace(PLAIN.mints[1], fee=fee))
    )
    for exact_in in (True, False):
        found = taxed.quote(swap(taxed, 10**9, a_to_b=True, exact_in=exact_in))
        assert found.moved_in < found.amount_in * 96 // 100
        assert found.moved_out > found.amount_out * 104 // 100
        first = taxed.account.mints[0]
        assert abs(taxed.worth(first, found.moved_in) - found.moved_out) * 10_000 < found.moved_out


def test_a_swap_of_too_many_steps_is_given_up_on_the_way() -> None:
    """An adaptive fee makes a step of every group: the quote stops where it could not run any more."""
    hot = POOLS["wp_adaptive_hot"]
    assert hot.oracle is not None
    tight = replace(hot.oracle.constants, group_size=1, accumulator_max=2**31)
    pool = replace(hot, oracle=replace(hot.oracle, constants=tight))
    wanted = swap(pool, 10**13, a_to_b=True, exact_in=True)
    with pytest.raises(SwapRefused) as caught:
        pool.outcome(wanted, steps_max=50)
    assert caught.value.code == 6038
    with pytest.raises(RefusedError) as refused:
        pool.quote(wanted)
    assert refused.value.code is ReasonCode.INSUFFICIENT_LIQUIDITY


def test_a_pool_without_liquidity_at_its_price_is_not_open() -> None:
    """Its price is nobody's offer."""
    empty = replace(PLAIN, account=replace(PLAIN.account, liquidity=0))
    with pytest.raises(RefusedError, match="no liquidity"):
        empty.require_open()
    PLAIN.require_open()


def test_refusals_say_whether_waiting_helps() -> None:
    """A pool that opens later waits; too large a swap ends; dust is told as too small."""
    later = load_state("wp_adaptive_not_open").decode()
    assert isinstance(later, Whirlpool)
    with pytest.raises(TransientError) as waits:
        later.quote(swap(later, 10**6, a_to_b=True, exact_in=True))
    assert waits.value.code is ReasonCode.MARKET_CLOSED
    with pytest.raises(RefusedError) as large:
        PLAIN.quote(swap(PLAIN, U64, a_to_b=True, exact_in=True))
    assert large.value.code is ReasonCode.INSUFFICIENT_LIQUIDITY
    with pytest.raises(RefusedError) as dust:
        PLAIN.quote(swap(PLAIN, 1, a_to_b=True, exact_in=True))
    assert dust.value.code is ReasonCode.SIZE_TOO_SMALL
    with pytest.raises(RefusedError, match="other mints"):
        PLAIN.quote(Swap(USER.owner, PLAIN.account.mints[0], True, 5))


def test_a_pool_whose_clock_is_ahead_waits() -> None:
    """The chain's clock may lag the last swap's block; the program refuses until it has caught up."""
    early = replace(PLAIN, account=replace(PLAIN.account, rewarded_at=PLAIN.unix_time + 1))
    with pytest.raises(TransientError):
        early.quote(swap(PLAIN, 10**6, a_to_b=True, exact_in=True))


@given(st.integers(1, 10**12), st.booleans(), st.integers(0, 9_999), st.integers(0, 10**9))
def test_transfer_fees_are_the_traders(amount: int, a_to_b: bool, bps: int, most: int) -> None:
    """What arrives of a payment is what the pool trades; what leaves it arrives less the fee."""
    fee = TransferFee(bps, most)
    taxed = replace(PLAIN, mints=(replace(PLAIN.mints[0], fee=fee), PLAIN.mints[1]))
    wanted = swap(taxed, amount, a_to_b=a_to_b, exact_in=True)
    found = priced(taxed, wanted)
    if a_to_b:
        arrived = amount - fee.of(amount)
        plain = priced(PLAIN, swap(PLAIN, arrived, a_to_b=True, exact_in=True)) if arrived else None
        assert (found and found[1]) == (plain and plain[1])
    else:
        plain = priced(PLAIN, wanted)
        after = 0 if plain is None else plain[1] - fee.of(plain[1])
        assert (found[1] if found else 0) == after


def test_worth_is_the_pools_price_rounded_down() -> None:
    """Without fees, and never said too high."""
    pool = replace(PLAIN, account=replace(PLAIN.account, sqrt_price=3 << 63))  # 2.25 B for an A
    first, second = pool.account.mints
    assert [pool.worth(first, each) for each in (0, 1, 10)] == [0, 2, 22]
    assert [pool.worth(second, each) for each in (0, 2, 9)] == [0, 0, 4]


def test_an_explicit_price_limit_is_refused_on_the_wrong_side() -> None:
    """The program's own codes, of limits the service never sets."""
    price = PLAIN.account.sqrt_price
    wanted = swap(PLAIN, 10**9, a_to_b=True, exact_in=True)
    for limit, code in ((price, 6034), (1, 6011), (SQRT_PRICE_MAX + 1, 6011)):
        with pytest.raises(SwapRefused) as caught:
            PLAIN.outcome(wanted, limit)
        assert caught.value.code == code
