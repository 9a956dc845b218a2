"""Mints, token accounts, addresses and instructions are those of the token programs."""

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from solders.account import Account as SvmAccount
from solders.keypair import Keypair
from solders.litesvm import LiteSVM
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction
from solders.transaction_metadata import TransactionMetadata

from app.domain.errors import ReasonCode, RefusedError
from app.engine.ports import Account
from app.sandbox.layouts import encode_mint, encode_token_account
from app.transactions.tokens import (
    NO_FEE,
    TOKEN_2022_PROGRAM,
    TOKEN_PROGRAM,
    TransferFee,
    associated_address,
    create_associated,
    decode_mint,
    decode_token_account,
    random_seed,
    temporary_address,
)

MINT = Pubkey.from_bytes(bytes([7] * 32))
OWNER = Pubkey.from_bytes(bytes([8] * 32))
PLAIN = encode_mint(6, 0, None)
SPL, T22 = str(TOKEN_PROGRAM), str(TOKEN_2022_PROGRAM)


def extended(*records: tuple[int, bytes]) -> bytes:
    """Write a Token-2022 mint with extension records."""
    written = b"".join(struct.pack("<HH", kind, len(data)) + data for kind, data in records)
    return PLAIN.ljust(165, b"\0") + b"\1" + written


def fee_record(older: tuple[int, int, int], newer: tuple[int, int, int]) -> tuple[int, bytes]:
    """Write a transfer fee: (epoch, maximum, bps) twice."""
    return 1, bytes(72) + struct.pack("<QQHQQH", *older, *newer)


FEES = fee_record((0, 5_000, 100), (10, 9_000, 250))


@pytest.mark.parametrize(
    ("epoch", "fee"),
    [(0, TransferFee(100, 5_000)), (9, TransferFee(100, 5_000)), (10, TransferFee(250, 9_000))],
)
def test_the_transfer_fee_in_force_depends_on_the_epoch(epoch: int, fee: TransferFee) -> None:
    """The newer fee rules from its epoch on, the older one before."""
    mint = decode_mint(MINT, Account(1, T22, extended(FEES)), epoch)
    assert mint.fee == fee


def test_a_plain_mint_of_either_program_takes_no_fee() -> None:
    """82 bytes, or harmless extensions: no fee, and the program is the account's owner."""
    for owner, data in ((SPL, PLAIN), (T22, PLAIN), (T22, extended((18, bytes(64)), (0, b"")))):
        mint = decode_mint(MINT, Account(1, owner, data), 0)
        assert (mint.fee, str(mint.program), mint.decimals) == (NO_FEE, owner, 6)


BAD_MINTS = [
    None,
    Account(1, str(OWNER), PLAIN),
    Account(1, SPL, PLAIN[:81]),
    Account(1, SPL, extended()),
    Account(1, SPL, PLAIN[:45] + b"\0" + PLAIN[46:]),
    Account(1, T22, PLAIN.ljust(165, b"\0") + b"\2"),
    Account(1, T22, extended((14, bytes(64)))),
    Account(1, T22, extended((9, b""))),
    Account(1, T22, extended((99, b""))),
    Account(1, T22, extended((1, bytes(20)))),
]


@pytest.mark.parametrize("account", BAD_MINTS)
def test_a_mint_that_cannot_be_traded_is_refused(account: Account | None) -> None:
    """No mint, an account of another kind, a transfer hook or an unknown extension: POOL_INVALID."""
    with pytest.raises(RefusedError) as caught:
        decode_mint(MINT, account, 0)
    assert caught.value.code is ReasonCode.POOL_INVALID


@pytest.mark.parametrize(
    "account", [None, Account(1, str(OWNER), bytes(165)), Account(1, SPL, bytes(164))]
)
def test_what_is_no_token_account_is_refused(account: Account | None) -> None:
    """Absent, of another program or too short: POOL_INVALID, naming what it should have been."""
    with pytest.raises(RefusedError, match="the vault") as caught:
        decode_token_account(account, "the vault")
    assert caught.value.code is ReasonCode.POOL_INVALID


def test_a_frozen_token_account_is_not_usable() -> None:
    """State 1 is usable, state 2 is frozen."""
    data = encode_token_account(MINT, OWNER, 5)
    frozen = data[:108] + b"\2" + data[109:]
    assert decode_token_account(Account(1, SPL, data), "it").usable
    assert not decode_token_account(Account(1, SPL, frozen), "it").usable


@example(net=7, bps=10_000, maximum=5)
@given(net=st.integers(1, 2**63), bps=st.integers(0, 10_000), maximum=st.integers(0, 2**40))
def test_a_fee_on_top_leaves_what_was_wanted(net: int, bps: int, maximum: int) -> None:
    """Sending the wanted amount and its fee, what arrives is the wanted amount."""
    fee = TransferFee(bps, maximum)
    sent = net + fee.on_top(net)
    if bps < 10_000:
        assert sent - fee.of(sent) == net
    else:
        assert sent == net + maximum


def test_seeds_are_of_the_longest_kind_and_never_the_same() -> None:
    """32 hex digits from the system's randomness: the most that a seed may have."""
    seeds = {random_seed() for _ in range(100)}
    assert len(seeds) == 100
    assert all(len(seed) == 32 for seed in seeds)
    assert len({temporary_address(OWNER, seed) for seed in seeds}) == 100


@pytest.mark.parametrize(
    ("program", "data"),
    [
        (TOKEN_PROGRAM, PLAIN),
        (TOKEN_2022_PROGRAM, PLAIN),
        (TOKEN_2022_PROGRAM, extended((3, bytes(32)))),
        (TOKEN_2022_PROGRAM, extended(FEES)),
    ],
)
def test_a_new_associated_account_costs_the_rent_that_is_told(program: Pubkey, data: bytes) -> None:
    """The real programs create the account where it was derived, for the rent that was said."""
    svm, payer = LiteSVM(), Keypair()
    svm.airdrop(payer.pubkey(), 10**9)
    svm.set_account(MINT, SvmAccount(10**8, data, program))
    mint = decode_mint(MINT, Account(10**8, str(program), data), 0)
    create = create_associated(payer.pubkey(), mint)
    for cost in (mint.account_rent + 5_000, 5_000):  # the second time there is nothing to create
        before = svm.get_balance(payer.pubkey())
        message = MessageV0.try_compile(payer.pubkey(), [create], [], svm.latest_blockhash())
        result = svm.send_transaction(VersionedTransaction(message, [payer]))
        assert isinstance(result, TransactionMetadata), result
        assert before is not None
        assert svm.get_balance(payer.pubkey()) == before - cost
        svm.expire_blockhash()
    address = associated_address(payer.pubkey(), MINT, program)
    assert svm.get_account(address) is not None
