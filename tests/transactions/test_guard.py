"""Nothing is signed but what was built: every tampered message is refused before the key is used."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.message import MessageAddressTableLookup, MessageV0
from solders.pubkey import Pubkey
from solders.system_program import AllocateParams, allocate

from app.domain.errors import ReasonCode, RefusedError
from app.domain.quote import Limit
from app.engine.ports import Quoted, TipNeeds
from app.transactions.builder import Construction, compile_message
from app.transactions.guard import check_message
from app.transactions.tokens import SYSTEM_PROGRAM, TOKEN_PROGRAM, pay
from app.transactions.venues.raydium_cpmm import PROGRAM
from tests.transactions.kit import desk, order

THIEF = Pubkey.from_bytes(bytes([13] * 32))
PAYEE = "96gYZGLnJYVFmbjzopPSU6QiEV5fGqZNyN9nmNhvrZU5"
LIMIT, PRICE = 50_000, 70_000
pytestmark = pytest.mark.anyio


async def constructed() -> Construction:
    """Build a sale with a tip."""
    on, wanted = desk(), order()
    quoted = await on.trading.quote(wanted)
    tip = TipNeeds((PAYEE,), tip_lamports=10_000)
    context = (await on.trading.draft(wanted, 1, quoted, [tip])).context
    assert isinstance(context, Construction)
    return context


def compiled(construction: Construction) -> MessageV0:
    """Compile with the limit and price of these tests."""
    return compile_message(construction, limit=LIMIT, price=PRICE, blockhash=Hash.default())


def refusal(message: MessageV0, construction: Construction) -> str:
    """Give the words with which a message is refused."""
    with pytest.raises(RefusedError) as caught:
        check_message(message, construction, limit=LIMIT, price=PRICE)
    assert caught.value.code is ReasonCode.INTERNAL_ERROR
    return caught.value.what


async def test_what_was_built_passes() -> None:
    """The honest message raises nothing."""
    built = await constructed()
    check_message(compiled(built), built, limit=LIMIT, price=PRICE)


def at(body: tuple[Instruction, ...], program: Pubkey) -> int:
    """Find the first instruction of a program."""
    return next(n for n, each in enumerate(body) if each.program_id == program)


def with_data(built: Construction, program: Pubkey, data: bytes) -> Construction:
    """Replace the data of the first instruction of a program."""
    place = at(built.body, program)
    old = built.body[place]
    new = Instruction(program, data, old.accounts)
    return replace(built, body=(*built.body[:place], new, *built.body[place + 1 :]))


def with_more(built: Construction, *more: Instruction) -> Construction:
    """Append instructions."""
    return replace(built, body=(*built.body, *more))


TAMPERED: dict[str, Callable[[Construction], Construction]] = {
    "an added transfer": lambda b: with_more(b, pay(b.payer, THIEF, 1)),
    "a removed instruction": lambda b: replace(b, body=b.body[:-1]),
    "a larger tip": lambda b: with_data(
        b, SYSTEM_PROGRAM, bytes(b.body[at(b.body, SYSTEM_PROGRAM)].data)[:-1] + b"\1"
    ),
    "another order": lambda b: replace(b, body=tuple(reversed(b.body))),
}


@pytest.mark.parametrize("tamper", TAMPERED.values(), ids=TAMPERED)
async def test_a_message_that_differs_from_what_was_built_is_refused(
    tamper: Callable[[Construction], Construction],
) -> None:
    """Anything added, removed, changed or reordered after building shows."""
    built = await constructed()
    assert "changed" in refusal(compiled(tamper(built)), built)


async def test_another_compute_budget_is_refused() -> None:
    """The limit and the price are those that the fee was computed from."""
    built = await constructed()
    dearer = compile_message(built, limit=LIMIT, price=PRICE + 1, blockhash=Hash.default())
    assert "compute budget" in refusal(dearer, built)


async def test_another_payer_or_signer_is_refused() -> None:
    """Only the wallet pays and only the wallet signs."""
    built = await constructed()
    assert "signers" in refusal(compiled(replace(built, payer=THIEF)), built)
    signer = Instruction(PROGRAM, b"", [AccountMeta(THIEF, is_signer=True, is_writable=False)])
    assert "signers" in refusal(compiled(with_more(built, signer)), built)
    alone = replace(built, payer=THIEF, body=())
    assert "pays" in refusal(compiled(alone), built)


async def test_a_lookup_table_is_refused() -> None:
    """Every account stands in the message itself."""
    built = await constructed()
    old = compiled(built)
    table = MessageAddressTableLookup(THIEF, b"\1", b"")
    new = MessageV0(old.header, old.account_keys, old.recent_blockhash, old.instructions, [table])
    assert "lookup tables" in refusal(new, built)


MISBUILT: dict[str, tuple[Callable[[Construction], Construction], str]] = {
    "a swap too many": (lambda b: with_more(b, b.body[at(b.body, PROGRAM)]), "one swap"),
    "no swap": (
        lambda b: replace(b, body=tuple(e for e in b.body if e.program_id != PROGRAM)),
        "one swap",
    ),
    "another instruction of the venue": (
        lambda b: with_data(b, PROGRAM, bytes(24)),
        "not the quoted one",
    ),
    "another bound": (
        lambda b: replace(b, quoted=Quoted(b.quoted.quote, Limit(True, b.quoted.limit.bound + 1))),
        "not the quoted one",
    ),
    "another destination": (
        lambda b: replace(b, user=replace(b.user, destination=THIEF)),
        "not the quoted one",
    ),
    "a transfer to a stranger": (lambda b: with_more(b, pay(b.payer, THIEF, 1)), "other lamports"),
    "another funding": (lambda b: replace(b, funding=b.funding + 1), "other lamports"),
    "an unknown system instruction": (
        lambda b: with_more(b, allocate(AllocateParams(pubkey=b.payer, space=1))),
        "system instruction",
    ),
    "a token transfer": (
        lambda b: with_more(
            b, Instruction(TOKEN_PROGRAM, b"\3" + bytes(8), [AccountMeta(b.payer, True, True)])
        ),
        "tokens elsewhere",
    ),
    "a close to a stranger": (
        lambda b: with_more(
            b,
            Instruction(
                TOKEN_PROGRAM, b"\x09", [AccountMeta(each, False, True) for each in (THIEF, THIEF)]
            ),
        ),
        "SOL elsewhere",
    ),
    "an unknown program": (lambda b: with_more(b, Instruction(THIEF, b"", [])), "unknown program"),
}


@pytest.mark.parametrize(("spoil", "words"), MISBUILT.values(), ids=MISBUILT)
async def test_a_wrong_construction_is_refused_too(
    spoil: Callable[[Construction], Construction], words: str
) -> None:
    """Even when message and construction agree, what they say must fit the quote and the plan."""
    spoilt = spoil(await constructed())
    assert words in refusal(compiled(spoilt), spoilt)
