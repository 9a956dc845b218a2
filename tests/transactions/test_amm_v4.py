"""The AMM v4 venue reads pools strictly, prices by the formula, and takes the form that is deployed."""

import base64
import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from solders.pubkey import Pubkey

from app.domain.errors import ReasonCode, RefusedError, Synergy7Error, TransientError
from app.engine.ports import Account
from app.sandbox.layouts import encode_mint
from app.transactions import logs
from app.transactions.tokens import TOKEN_2022_PROGRAM, TOKEN_PROGRAM
from app.transactions.venues import known_venues
from app.transactions.venues.base import Moment, Swap, UserAccounts
from app.transactions.venues.raydium_amm_v4 import AUTHORITY, PROGRAM, AmmV4Pool, RaydiumAmmV4
from tests.vectors.states import State

POOL, COIN_VAULT, PC_VAULT, COIN, PC, ORDERS, OWNER, SOURCE, DESTINATION = (
    Pubkey.from_bytes(bytes([each] * 32)) for each in range(1, 10)
)
USER = UserAccounts(OWNER, SOURCE, DESTINATION)
NOW = 1_790_000_000
STRANGE = bytes([77] * 32)


def pool_data(status: int = 6, fee: tuple[int, int] = (25, 10_000), opens: int = 0) -> bytes:
    """Write a pool's account: 5 coin and 7 pc are owed to its owner."""
    data = bytearray(752)
    struct.pack_into("<QQ", data, 0, status, 254)
    struct.pack_into("<QQQQ", data, 176, *fee, 5, 7)
    struct.pack_into("<Q", data, 224, opens)
    for at, key in ((336, COIN_VAULT), (368, PC_VAULT), (400, COIN), (432, PC), (496, ORDERS)):
        data[at : at + 32] = bytes(key)
    return bytes(data)


def token_account(mint: Pubkey, amount: int, owner: Pubkey = AUTHORITY) -> Account:
    """Write a token account."""
    data = bytes(mint) + bytes(owner) + struct.pack("<Q", amount) + bytes(36) + b"\1" + bytes(56)
    return Account(2_039_280, str(TOKEN_PROGRAM), data)


def mint(decimals: int, program: Pubkey = TOKEN_PROGRAM) -> Account:
    """Write a mint."""
    return Account(1_461_600, str(program), encode_mint(decimals, 0, None))


def state(data: bytes | None = None, coin: int = 1_000_005, pc: int = 4_000_007) -> State:
    """Give a pool of 1,000,000 coin and 4,000,000 pc."""
    accounts = {
        str(POOL): Account(1, str(PROGRAM), pool_data() if data is None else data),
        str(COIN_VAULT): token_account(COIN, coin),
        str(PC_VAULT): token_account(PC, pc),
        str(COIN): mint(9),
        str(PC): mint(6),
    }
    return State(RaydiumAmmV4(short=True), POOL, accounts, NOW, 0)


def decode(of: State) -> AmmV4Pool:
    """Decode a pool."""
    pool = of.decode()
    assert isinstance(pool, AmmV4Pool)
    return pool


PLAIN = decode(state())


def swap(amount: int, *, forward: bool = True, exact_in: bool = True) -> Swap:
    """Say a swap, coin for pc when forward."""
    mints = (COIN, PC) if forward else (PC, COIN)
    return Swap(*mints, exact_in, amount)


SPOILED = {
    "no pool": state().changed(POOL, None),
    "pool of another program": state().changed(POOL, Account(1, str(COIN), pool_data())),
    "pool of another length": state(pool_data() + b"\0"),
    "pool of another authority": state().patched(POOL, 8, b"\1"),
    "a fee of everything": state(pool_data(fee=(10_000, 10_000))),
    "a fee of nothing over nothing": state(pool_data(fee=(0, 0))),
    "pool with an order book": state(pool_data(status=1)),
    "no vault": state().changed(PC_VAULT, None),
    "vault of another mint": state().changed(PC_VAULT, token_account(COIN, 5_000)),
    "vault of another owner": state().changed(PC_VAULT, token_account(PC, 5_000, OWNER)),
    "frozen vault": state().patched(COIN_VAULT, 108, b"\2"),
    "no mint": state().changed(COIN, None),
    "a Token-2022 mint": state().changed(COIN, mint(9, TOKEN_2022_PROGRAM)),
}


@pytest.mark.parametrize("spoiled", SPOILED.values(), ids=SPOILED)
def test_a_pool_that_is_not_what_it_should_be_is_refused(spoiled: State) -> None:
    """Owner, length, authority, fee, vaults and mints must all fit: else POOL_INVALID."""
    with pytest.raises(RefusedError) as caught:
        spoiled.decode()
    assert caught.value.code is ReasonCode.POOL_INVALID


def test_reserves_leave_out_what_is_owed() -> None:
    """What belongs to the pool's owner moves no price; a pool that owes all it holds has no liquidity."""
    assert PLAIN.reserves == (1_000_000, 4_000_000)
    with pytest.raises(RefusedError) as caught:
        state(coin=5).decode()
    assert caught.value.code is ReasonCode.INSUFFICIENT_LIQUIDITY


def test_the_accounts_needed_are_those_that_decoding_reads() -> None:
    """Besides the pool and the mints, the vaults."""
    assert RaydiumAmmV4().accounts_needed(POOL, state().account(POOL)) == (COIN_VAULT, PC_VAULT)
    assert RaydiumAmmV4().accounts_needed(POOL, Account(1, str(COIN), b"")) == ()


def test_closed_pools_are_told_apart() -> None:
    """Switched off ends the order, a later opening only makes it wait, and at its time it is open."""
    for status in (2, 3, 5):
        with pytest.raises(RefusedError, match="switched off"):
            decode(state(pool_data(status=status))).quote(swap(1_000))
    with pytest.raises(TransientError, match="opens in 9 s"):
        decode(state(pool_data(status=7, opens=NOW + 9))).quote(swap(1_000))
    assert decode(state(pool_data(status=7, opens=NOW))).quote(swap(1_000)) == PLAIN.quote(
        swap(1_000)
    )


@given(st.integers(1, 2**62), st.integers(1, 2**62), st.integers(0, 9_999), st.integers(1, 2**62))
def test_quotes_follow_the_formula(coin: int, pc: int, rate: int, amount: int) -> None:
    """The product never falls, the fee is taken first and rounded up, and exact-out buys as much back."""
    pool = replace(PLAIN, reserves=(coin, pc), fee=(rate, 10_000))
    for forward in (True, False):
        into, out = (coin, pc) if forward else (pc, coin)
        try:
            found = pool.quote(swap(amount, forward=forward))
        except Synergy7Error:
            continue
        assert found.amount_in == amount
        assert -(-amount * rate // 10_000) == found.venue_fee
        net = amount - found.venue_fee
        assert (into + net) * (out - found.amount_out) >= into * out
        assert (into + net) * (out - found.amount_out - 1) < into * out
        back = pool.quote(swap(found.amount_out, forward=forward, exact_in=False))
        assert back.amount_out == found.amount_out
        assert back.amount_in <= amount + 1
        assert pool.quote(swap(back.amount_in, forward=forward)).amount_out >= found.amount_out


def test_wanting_all_that_a_pool_holds_is_refused() -> None:
    """The program would panic there; dust and strange mints have codes of their own."""
    for wanted in (4_000_000, 2**63):
        with pytest.raises(RefusedError) as caught:
            PLAIN.quote(swap(wanted, exact_in=False))
        assert caught.value.code is ReasonCode.INSUFFICIENT_LIQUIDITY
    with pytest.raises(RefusedError) as dust:
        PLAIN.quote(swap(1, forward=False))
    assert dust.value.code is ReasonCode.SIZE_TOO_SMALL
    with pytest.raises(RefusedError, match="other mints"):
        PLAIN.quote(Swap(COIN, OWNER, True, 5))


@pytest.mark.parametrize("short", [True, False])
@pytest.mark.parametrize("exact_in", [True, False])
def test_an_instruction_reads_back_as_it_was_built(short: bool, exact_in: bool) -> None:
    """In both forms; which vault takes is not in the bytes, and told so."""
    pool = replace(PLAIN, short=short)
    built = pool.build(swap(1_000, exact_in=exact_in), 3_900, USER)
    keys = [meta.pubkey for meta in built.accounts]
    terms = RaydiumAmmV4().terms(keys, bytes(built.data))
    assert terms is not None
    assert (terms.pool, terms.user) == (POOL, USER)
    assert (terms.exact_in, terms.amount, terms.bound) == (exact_in, 1_000, 3_900)
    assert {terms.vault_in, terms.vault_out} == {COIN_VAULT, PC_VAULT}
    assert not terms.directed
    assert len(keys) == (8 if short else 17)
    assert [meta.pubkey for meta in built.accounts if meta.is_signer] == [OWNER]
    assert bytes(built.data)[0] == {(True, True): 16, (True, False): 17, (False, True): 9}.get(
        (short, exact_in), 11
    )
    for wrong in (b"\1" + bytes(built.data)[1:], bytes(built.data)[:-1]):
        assert RaydiumAmmV4().terms(keys, wrong) is None
    assert RaydiumAmmV4().terms(keys[1:], bytes(built.data)) is None


def log(kind: int, first: int, second: int, other: int) -> bytes:
    """Write the program's own log."""
    return struct.pack("<B7Q", kind, first, second, 2, 0, 0, 0, other)


def test_a_fill_reads_back_from_the_log() -> None:
    """Exact-in tells what came out last, exact-out what was paid; any other log is none."""
    venue = RaydiumAmmV4()
    sold = venue.parse_fill(POOL, [b"", log(0, 1, 2, 3), log(3, 1_000, 3_900, 3_990)])
    assert sold is not None
    assert (sold.amount_in, sold.amount_out) == (1_000, 3_990)
    bought = venue.parse_fill(POOL, [log(4, 1_010, 4_000, 1_003)])
    assert bought is not None
    assert (bought.amount_in, bought.amount_out) == (1_003, 4_000)
    assert (bought.vault_in, bought.vault_out, bought.venue_fee) == (1_003, 4_000, None)
    assert venue.parse_fill(POOL, [log(3, 1, 2, 3)[:-1]]) is None


def test_the_program_logs_in_lines_of_its_own() -> None:
    """What it writes is found by its own prefix, base64 behind it."""
    venue = RaydiumAmmV4()
    line = f"{venue.event_line}{base64.b64encode(log(3, 1, 2, 3)).decode()}"
    frame = [f"Program {PROGRAM} invoke [1]", line, f"Program {PROGRAM} success"]
    assert list(logs.events(frame, str(PROGRAM), venue.event_line)) == [log(3, 1, 2, 3)]


@pytest.mark.parametrize(
    ("error", "tells", "short"),
    [
        ({"InstructionError": [0, "InvalidInstructionData"]}, True, False),
        ({"InstructionError": [0, "NotEnoughAccountKeys"]}, True, True),
        ({"InstructionError": [0, {"Custom": 29}]}, True, True),
        ("AccountNotFound", False, None),
        ({"InstructionError": "?"}, False, None),
        (None, False, None),
    ],
)
def test_the_probe_tells_which_form_is_deployed(
    error: object, tells: bool, short: bool | None
) -> None:
    """An older program does not know the short form; what is no answer of the program tells nothing."""
    venue = RaydiumAmmV4()
    assert bytes(venue.probe().data)[0] == 16
    assert venue.learn(error) is tells
    assert venue.short is short
    pool = venue.decode(POOL, state().accounts, Moment(1, 0, NOW))
    assert pool.short is short
    if short is None:
        with pytest.raises(TransientError, match="not known yet"):
            pool.quote(swap(1_000))


def test_worth_is_the_reserves_ratio_rounded_down() -> None:
    """Without the fee, and never said too high."""
    assert [PLAIN.worth(COIN, each) for each in (0, 1, 3)] == [0, 4, 12]
    assert [PLAIN.worth(PC, each) for each in (3, 4, 9)] == [0, 1, 2]
    assert known_venues()["raydium_amm_v4"].program == PROGRAM
