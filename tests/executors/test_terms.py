"""What a signed transaction offers, read from its bytes: against transactions made by another library."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.compute_budget import (
    request_heap_frame,
    set_compute_unit_limit,
    set_compute_unit_price,
)
from solders.instruction import AccountMeta, CompiledInstruction, Instruction
from solders.message import MessageHeader, MessageV0, MessageV1
from solders.pubkey import Pubkey
from solders.system_program import CreateAccountParams, create_account
from solders.transaction import VersionedTransaction

from app.executors.sender import lacks
from app.executors.sender_options import TipRule
from app.executors.terms import Terms, Transfer, read_terms
from tests.executors.sender_kit import BLOCKHASH, ELSEWHERE, WALLET, pay, sign, transaction

PAYEE = str(Pubkey.from_bytes(bytes([9] * 32)))
MINE = TipRule((PAYEE,), min_lamports=1_000, min_unit_price=20, min_priority_fee_lamports=5)
SYSTEM = Pubkey.default()


@pytest.mark.parametrize("legacy", [False, True])
def test_transfers_and_budget_are_read(legacy: bool) -> None:
    """Of both kinds of message; other instructions are passed over."""
    instructions = [
        set_compute_unit_limit(123_456),
        request_heap_frame(64 * 1024),
        set_compute_unit_price(7_000_001),
        pay(ELSEWHERE, 5),
        Instruction(Pubkey.from_string(ELSEWHERE), b"\x02\0\0\0" + bytes(8), []),
        pay(PAYEE, 2**64 - 1),
    ]
    transfers = (Transfer(ELSEWHERE, 5), Transfer(PAYEE, 2**64 - 1))
    assert read_terms(sign(instructions, legacy=legacy)) == Terms(transfers, 123_456, 7_000_001)


def test_nothing_set_is_nothing_offered() -> None:
    """No budget of its own means no priority fee to count on."""
    terms = read_terms(sign([pay(PAYEE, 1)]))
    assert terms == Terms((Transfer(PAYEE, 1),), 0, 0)
    assert terms.priority_fee_lamports == 0


@pytest.mark.parametrize(
    ("limit", "price", "lamports"),
    [(1, 1, 1), (200_000, 5_000_000, 1_000_000), (3, 333_334, 2), (10, 100_000, 1), (9, 0, 0)],
)
def test_the_priority_fee_is_on_the_whole_limit_and_rounded_up(
    limit: int, price: int, lamports: int
) -> None:
    """As the network charges it."""
    assert Terms((), limit, price).priority_fee_lamports == lamports


def test_a_payee_from_a_lookup_table_is_not_seen() -> None:
    """Senders want it among the static keys: the transfer would land, and the tip not count."""
    table = AddressLookupTableAccount(Pubkey.new_unique(), [Pubkey.from_string(PAYEE)])
    raw = sign([pay(PAYEE, 5_000), pay(ELSEWHERE, 1)], tables=[table])
    assert VersionedTransaction.from_bytes(raw).message.account_keys.count(table.key) == 0
    terms = read_terms(raw)
    assert terms is not None
    assert terms.transfers == (Transfer(ELSEWHERE, 1),)


def test_only_a_plain_transfer_is_one() -> None:
    """An account made with lamports in it pays nobody, a cut-off instruction does nothing."""
    made = CreateAccountParams(
        from_pubkey=WALLET.pubkey(),
        to_pubkey=WALLET.pubkey(),
        lamports=5_000,
        space=0,
        owner=Pubkey.from_string(PAYEE),
    )
    both = [
        AccountMeta(WALLET.pubkey(), is_signer=True, is_writable=True),
        AccountMeta(Pubkey.from_string(PAYEE), is_signer=False, is_writable=True),
    ]
    short = Instruction(SYSTEM, b"\x02\0\0\0" + bytes(7), both)
    alone = Instruction(SYSTEM, b"\x02\0\0\0" + bytes(8), both[:1])
    for instruction in (create_account(made), short, alone):
        assert read_terms(sign([instruction])) == Terms((), 0, 0)


def test_a_payee_that_cannot_be_written_is_none() -> None:
    """The network would refuse the transfer."""
    both = [
        AccountMeta(WALLET.pubkey(), is_signer=True, is_writable=True),
        AccountMeta(Pubkey.from_string(PAYEE), is_signer=False, is_writable=False),
    ]
    locked = Instruction(SYSTEM, bytes(pay(PAYEE, 5_000).data), both)
    assert read_terms(sign([locked])) == Terms((), 0, 0)


def test_a_program_from_nowhere_makes_bytes_unreadable() -> None:
    """An index beyond the keys: the network would refuse them."""
    message = MessageV0(
        MessageHeader(1, 0, 0), [WALLET.pubkey()], BLOCKHASH, [CompiledInstruction(7, b"", b"")], []
    )
    unsigned = VersionedTransaction.populate(message, [WALLET.sign_message(b"")])
    assert read_terms(bytes(unsigned)) is None


def test_a_kind_of_message_that_is_not_built_here_is_not_judged() -> None:
    """A newer one has its compute budget elsewhere."""
    newer = MessageV1.try_compile(WALLET.pubkey(), [pay(PAYEE, 5_000)], BLOCKHASH)
    assert read_terms(bytes(VersionedTransaction(newer, [WALLET]))) is None


@given(st.binary(max_size=300))
def test_no_bytes_make_it_fail(raw: bytes) -> None:
    """Noise is no transaction, or one that offers something."""
    terms = read_terms(raw)
    assert terms is None or terms.priority_fee_lamports >= 0


@given(st.data())
def test_no_spoiled_transaction_makes_it_fail(data: st.DataObject) -> None:
    """Nor do bytes that were once a transaction."""
    raw = bytearray(transaction((PAYEE, 1_000)))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    terms = read_terms(bytes(raw[: data.draw(st.integers(0, len(raw)))]))
    assert terms is None or terms.priority_fee_lamports >= 0


@pytest.mark.parametrize(
    ("raw", "lacking"),
    [
        (transaction((PAYEE, 1_000), units=250_000, price=20), None),
        (transaction((PAYEE, 999), units=250_000, price=20), "tip_missing"),
        (transaction((ELSEWHERE, 1_000), units=250_000, price=20), "tip_missing"),
        (transaction(units=250_000, price=20), "tip_missing"),
        (transaction((PAYEE, 1_000), units=1_400_000, price=19), "fee_too_low"),
        (transaction((PAYEE, 1_000), units=200_000, price=20), "fee_too_low"),
        (b"no transaction", "unreadable"),
    ],
)
def test_bytes_are_held_against_what_a_sender_wants(raw: bytes, lacking: str | None) -> None:
    """To the lamport: tip, unit price, priority fee."""
    assert lacks(raw, MINE) == lacking


def test_one_payment_must_make_the_tip() -> None:
    """Senders look for a single transfer of at least so much; two halves are none."""
    budget = [set_compute_unit_limit(250_000), set_compute_unit_price(20)]
    halves = [pay(PAYEE, 500), pay(PAYEE, 500)]
    assert lacks(sign([*budget, *halves]), MINE) == "tip_missing"
    assert lacks(sign([*budget, *halves, pay(PAYEE, 1_000)]), MINE) is None


def test_a_sender_that_wants_nothing_takes_anything() -> None:
    """The bytes are not even read."""
    assert lacks(b"", TipRule()) is None
    assert lacks(b"", replace(TipRule(), accounts=(PAYEE,))) is None
