"""Nothing is signed but what was built: every tampered message is refused before the key is used."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from solders.account import Account as SvmAccount
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.message import MessageAddressTableLookup, MessageV0
from solders.pubkey import Pubkey
from solders.system_program import (
    AllocateParams,
    allocate,
    decode_create_account_with_seed,
    decode_transfer,
)

from app.domain.errors import ReasonCode, RefusedError
from app.domain.quote import Limit
from app.engine.ports import Quoted, TipNeeds
from app.transactions import fees
from app.transactions.builder import Construction, compile_message
from app.transactions.fees import Tip
from app.transactions.guard import check_message
from app.transactions.tokens import (
    ATA_PROGRAM,
    SYSTEM_PROGRAM,
    TOKEN_PROGRAM,
    associated_address,
    pay,
)
from app.transactions.venues.raydium_cpmm import PROGRAM
from tests.transactions.kit import WALLET, desk, markets, order

THIEF = Pubkey.from_bytes(bytes([13] * 32))
PAYEE = "96gYZGLnJYVFmbjzopPSU6QiEV5fGqZNyN9nmNhvrZU5"
SENDER = str(Pubkey.from_bytes(bytes([31] * 32)))
LIMIT, PRICE = 50_000, 70_000
pytestmark = pytest.mark.anyio


async def constructed() -> Construction:
    """Build a first sale with two tips: it opens a temporary account and creates another."""
    on, wanted = desk(), order()
    usdc = associated_address(WALLET.pubkey(), markets()["SOL-USDC"].quote.mint, TOKEN_PROGRAM)
    on.chain.svm.set_account(usdc, SvmAccount(0, b"", Pubkey.default()))
    quoted = await on.trading.quote(wanted)
    needs = [TipNeeds((PAYEE,), tip_lamports=10_000), TipNeeds((SENDER,), tip_lamports=30_000)]
    context = (await on.trading.draft(wanted, 1, quoted, needs)).context
    assert isinstance(context, Construction)
    return context


@cache
def first_sale() -> Construction:
    """Build it once for many examples."""
    return asyncio.run(constructed())


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


def last_replaced(built: Construction, *new: Instruction) -> Construction:
    """Put other instructions in the place of the last tip."""
    return replace(built, body=(*built.body[:-1], *new))


def with_more(built: Construction, *more: Instruction) -> Construction:
    """Append instructions."""
    return replace(built, body=(*built.body, *more))


TAMPERED: dict[str, Callable[[Construction], Construction]] = {
    "an added transfer": lambda b: with_more(b, pay(b.payer, THIEF, 1)),
    "a removed instruction": lambda b: replace(b, body=b.body[:-1]),
    "a larger tip": lambda b: with_data(
        b, SYSTEM_PROGRAM, bytes(b.body[at(b.body, SYSTEM_PROGRAM)].data)[:-1] + b"\1"
    ),
    "another payee": lambda b: last_replaced(b, pay(b.payer, THIEF, 30_000)),
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


def payee(built: Construction) -> Pubkey:
    """Give the last tip's payee."""
    return Pubkey.from_string(built.tips[-1].payee)


def with_tips(built: Construction, *tips: Tip) -> Construction:
    """Plan and pay more tips."""
    more = [pay(built.payer, Pubkey.from_string(tip.payee), tip.lamports) for tip in tips]
    return replace(with_more(built, *more), tips=(*built.tips, *tips))


def with_opened(built: Construction, accounts: list[AccountMeta], data: bytes) -> Construction:
    """Open the temporary account otherwise."""
    return replace(built, body=(Instruction(SYSTEM_PROGRAM, data, accounts), *built.body[1:]))


def replace_key(built: Construction, key: Pubkey) -> list[AccountMeta]:
    """Put another account in the place of the temporary one."""
    payer, opened, *rest = built.body[0].accounts
    return [payer, AccountMeta(key, opened.is_signer, opened.is_writable), *rest]


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
    "a tip to a stranger": (
        lambda b: last_replaced(b, pay(b.payer, THIEF, b.tips[-1].lamports)),
        "other lamports",
    ),
    "a tip too few": (last_replaced, "other lamports"),
    "a tip twice": (lambda b: with_more(b, b.body[-1]), "other lamports"),
    "a tip in two parts": (
        lambda b: last_replaced(
            b, *(pay(b.payer, payee(b), b.tips[-1].lamports - each) for each in (1, 29_999))
        ),
        "other lamports",
    ),
    "one tip larger and another smaller": (
        lambda b: replace(
            b,
            body=(
                *b.body[:-2],
                *(pay(b.payer, key, 20_000) for key in map(Pubkey.from_string, (PAYEE, SENDER))),
            ),
        ),
        "other lamports",
    ),
    "a tip out of another purse": (
        lambda b: last_replaced(b, pay(THIEF, payee(b), b.tips[-1].lamports)),
        "other signers",
    ),
    "more tips than are ever paid": (
        lambda b: with_tips(b, *(Tip(str(Pubkey.from_bytes(bytes([n] * 32))), 1) for n in (1, 2))),
        "too often",
    ),
    "two tips to one payee": (lambda b: with_tips(b, b.tips[-1]), "too often"),
    "larger tips than are ever paid": (
        lambda b: with_tips(b, Tip(str(THIEF), 99_960_001)),
        "more than is ever tipped",
    ),
    "another funding": (lambda b: replace(b, funding=b.funding + 1), "opens another account"),
    "a funded stranger": (
        lambda b: with_opened(b, replace_key(b, THIEF), bytes(b.body[0].data)),
        "opens another account",
    ),
    "a temporary account of another program": (
        lambda b: with_opened(b, list(b.body[0].accounts), bytes(b.body[0].data)[:-32] + bytes(32)),
        "opens another account",
    ),
    "a temporary account cut short": (
        lambda b: with_opened(b, list(b.body[0].accounts), bytes(b.body[0].data)[:-1]),
        "opens another account",
    ),
    "a temporary account that the swap does not use": (
        lambda b: replace(b, seed="0" * 32),
        "in vain",
    ),
    "a temporary account that was not planned": (
        lambda b: replace(b, seed=None),
        "opens another account",
    ),
    "a temporary account of another owner": (
        lambda b: with_data(b, TOKEN_PROGRAM, b"\x12" + bytes(THIEF)),
        "another's account",
    ),
    "a second token account": (
        lambda b: with_more(b, b.body[at(b.body, ATA_PROGRAM)]),
        "other accounts",
    ),
    "a token account that was not planned": (
        lambda b: replace(b, created_rent=0),
        "other accounts",
    ),
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


async def test_a_bid_above_the_ceiling_is_refused() -> None:
    """Even when builder and signature agree on it."""
    built = await constructed()
    over = fees.UNIT_PRICE_MAX + 1
    message = compile_message(built, limit=LIMIT, price=over, blockhash=Hash.default())
    with pytest.raises(RefusedError, match="more than is ever bid"):
        check_message(message, built, limit=LIMIT, price=over)


Spoil = Callable[[list[Instruction]], list[Instruction]]


def added(payee: str, lamports: int, place: int) -> Spoil:
    """Pay somebody."""
    payment = pay(WALLET.pubkey(), Pubkey.from_string(payee), lamports)
    return lambda body: [*body[:place], payment, *body[place:]]


def repeated(place: int, times: int) -> Spoil:
    """Leave an instruction out, or hold it more than once."""
    return lambda body: [*body[:place], *body[place : place + 1] * times, *body[place + 1 :]]


def altered(place: int, at: int, byte: int) -> Spoil:
    """Change one byte of an instruction's data."""

    def spoil(body: list[Instruction]) -> list[Instruction]:
        old = body[place % len(body)]
        data = bytearray(bytes(old.data))
        data[at % len(data)] = byte
        new = Instruction(old.program_id, bytes(data), old.accounts)
        return [*body[: place % len(body)], new, *body[place % len(body) + 1 :]]

    return spoil


PLACE = st.integers(0, 8)
SPOILS = st.lists(
    st.one_of(
        st.builds(
            added,
            st.sampled_from([PAYEE, SENDER, str(THIEF)]),
            st.sampled_from([0, 1, 10_000, 20_000, 30_000]),
            PLACE,
        ),
        st.builds(repeated, PLACE, st.sampled_from([0, 2])),
        st.builds(altered, PLACE, st.integers(0, 200), st.integers(0, 255)),
    ),
    max_size=3,
)


def paid(body: Sequence[Instruction], payer: Pubkey) -> tuple[dict[str, int], int]:
    """Add up what a body gives away by payee, and puts into new accounts, by solders' own reading."""
    tips: dict[str, int] = {}
    funding = 0
    for each in body:
        if each.program_id != SYSTEM_PROGRAM:
            continue
        if bytes(each.data)[0] == 2:
            found = decode_transfer(each)
            assert found["from_pubkey"] == payer
            payee = str(found["to_pubkey"])
            tips[payee] = tips.get(payee, 0) + found["lamports"]
        else:
            funding += decode_create_account_with_seed(each)["lamports"]
    return tips, funding


@given(spoils=SPOILS)
@example(spoils=[])
def test_what_passes_never_pays_more_than_planned(spoils: list[Spoil]) -> None:
    """Whatever becomes of the body: what is let through pays the planned payees the planned lamports."""
    built = first_sale()
    body = list(built.body)
    for spoil in spoils:
        body = spoil(body) or list(built.body)
    spoilt = replace(built, body=tuple(body))
    try:
        check_message(compiled(spoilt), spoilt, limit=LIMIT, price=PRICE)
    except RefusedError:
        assert spoils
        return
    tips, funding = paid(spoilt.body, spoilt.payer)
    assert tips == {PAYEE: 10_000, SENDER: 30_000}
    assert funding == spoilt.funding
    assert sum(each.program_id == ATA_PROGRAM for each in spoilt.body) == 1
