"""The verifier's own reading of the chain, held against the Solana library it does without."""

import base64
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from tests import chain_oracle as chain
from tests.verifier import priority_lamports, verify

SEEDS = st.binary(min_size=32, max_size=32)
KEYS = SEEDS.map(Pubkey.from_bytes)
METAS = st.builds(AccountMeta, KEYS, st.just(value=False), st.booleans())
INSTRUCTIONS = st.builds(Instruction, KEYS, st.binary(max_size=300), st.lists(METAS, max_size=5))
ORDER = "0199c0de-0000-7000-8000-000000000001"


@given(st.binary(max_size=64))
def test_base58_is_the_librarys(data: bytes) -> None:
    """32-byte keys, leading zeros included, are written as the library writes them."""
    key = data.rjust(32, b"\0")[:32]
    assert chain.base58(key) == str(Pubkey.from_bytes(key))


@given(SEEDS, st.lists(INSTRUCTIONS, max_size=4), st.booleans())
def test_bytes_are_read_as_the_library_writes_them(
    seed: bytes, instructions: list[Instruction], versioned: bool
) -> None:
    """Signatures, keys and instructions of both kinds of messages come out as they went in."""
    payer = Keypair.from_seed(seed)
    message = (
        MessageV0.try_compile(payer.pubkey(), instructions, [], Hash.default())
        if versioned
        else Message.new_with_blockhash(instructions, payer.pubkey(), Hash.default())
    )
    written = VersionedTransaction(message, [payer])
    read = chain.parse_transaction(bytes(written))
    assert read.signatures == tuple(map(str, written.signatures))
    assert read.keys == tuple(map(str, message.account_keys))
    wanted = [
        (str(each.program_id), [str(meta.pubkey) for meta in each.accounts], each.data)
        for each in instructions
    ]
    assert [(each.program, [*each.accounts], each.data) for each in read.instructions] == wanted


def test_a_cut_transaction_is_refused() -> None:
    """Bytes that end early or go on are no transaction."""
    payer = Keypair()
    message = Message.new_with_blockhash([], payer.pubkey(), Hash.default())
    whole = bytes(VersionedTransaction(message, [payer]))
    for wrong in (whole[:-1], whole + b"\0"):
        with pytest.raises(AssertionError):
            chain.parse_transaction(wrong)


def test_the_priority_fee_is_rounded_up() -> None:
    """Units times price, in millionths of a lamport, rounded up; no price, no fee."""

    def budget(*data: bytes) -> chain.Bytes:
        instructions = tuple(chain.Instruction(chain.COMPUTE_BUDGET, (), each) for each in data)
        return chain.Bytes((), (), instructions)

    limit, price = b"\x02" + struct.pack("<I", 50_001), b"\x03" + struct.pack("<Q", 1_000)
    assert priority_lamports(budget(limit, price)) == 51
    assert priority_lamports(budget(limit)) == 0


@pytest.mark.parametrize(
    ("memo", "orders"),
    [
        (f"[70] synergy7:{ORDER}/1/0123456789abcdef", [ORDER]),
        (f"[5] hello; [70] synergy7:{ORDER}/2/0123456789abcdef", [ORDER]),
        ("[9] airdrop 1", []),
        ("", []),
    ],
)
def test_memos_name_their_orders(memo: str, orders: list[str]) -> None:
    """Our memos are told from others, alone and beside them."""
    assert chain.orders_in_memo(memo) == orders


def test_a_swap_event_is_read_from_the_log() -> None:
    """The line of a swap is found among others and its figures are read in their order."""
    pool = Pubkey.new_unique()
    head = chain.discriminator("event", "SwapEvent") + bytes(pool)
    data = head + struct.pack("<6QB", 10, 20, 3, 4, 0, 0, 1)
    logs = (
        "Program log: hi",
        "Program data: AAAA",
        f"Program data: {base64.b64encode(data).decode()}",
    )
    found = chain.Landed(1, None, 5_000, chain.Bytes((), (), ()), {}, {}, logs)
    assert chain.swap_events(found) == [chain.SwapEvent(str(pool), 10, 20, 3, 4, exact_in=True)]


def test_an_unfilled_order_without_attempts_agrees() -> None:
    """Nothing executed and nothing said to be: no difference, and the chain need not be asked."""
    order = json.loads('{"status": "failed", "attempts": []}')
    assert verify("http://127.0.0.1:9", order, "wallet") == []
    assert verify("http://127.0.0.1:9", {**order, "status": "filled"}, "wallet") != []
