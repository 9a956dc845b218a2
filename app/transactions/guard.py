"""The last look before the key is used: the message holds what was built, and nothing else.

It reads the compiled bytes again and shares no step with the builder, so that a defect or a
tampered-with builder cannot spend more than the order allows.
"""

from typing import Final

from solders.compute_budget import ID as COMPUTE_BUDGET
from solders.instruction import AccountMeta, Instruction
from solders.message import MessageV0
from solders.pubkey import Pubkey

from app.domain.errors import ReasonCode, RefusedError
from app.transactions import fees
from app.transactions.builder import Construction
from app.transactions.tokens import (
    ATA_PROGRAM,
    MEMO_PROGRAM,
    SYSTEM_PROGRAM,
    TOKEN_ACCOUNT_BYTES,
    TOKEN_PROGRAM,
)

CREATE_WITH_SEED: Final = 3
TRANSFER: Final = 2
"""Tags of the System program's instructions (u32)."""
_TAG_BYTES = 4
_U64_BYTES = 8
_CLOSE_ACCOUNT = 9
_INITIALIZE_ACCOUNT_3 = 18


def decompile(message: MessageV0) -> list[Instruction]:
    """Read a message's instructions back; the message has no lookup tables."""
    keys = message.account_keys
    return [
        Instruction(
            keys[compiled.program_id_index],
            bytes(compiled.data),
            [
                AccountMeta(keys[at], message.is_signer(at), message.is_maybe_writable(at))
                for at in compiled.accounts
            ],
        )
        for compiled in message.instructions
    ]


def check_message(
    message: MessageV0, construction: Construction, *, limit: int, price: int
) -> None:
    """Compare a compiled message with what was built; RefusedError(INTERNAL_ERROR) at any difference."""
    _require(not message.address_table_lookups, "it has lookup tables")
    _require(message.header.num_required_signatures == 1, "it has other signers")
    _require(message.account_keys[0] == construction.payer, "somebody else pays")
    instructions = decompile(message)
    body = instructions[2:]
    budget = [_essence(each)[:2] for each in instructions[:2]]
    expected = [(COMPUTE_BUDGET, _unit_limit(limit)), (COMPUTE_BUDGET, _unit_price(price))]
    _require(budget == expected, "its compute budget is another")
    _require(price <= fees.UNIT_PRICE_MAX, "it bids more than is ever bid")
    _require(list(map(_essence, body)) == list(map(_essence, construction.body)), "it was changed")
    _check_swap(body, construction)
    _check_opened(body, construction)
    _check_tips(body, construction)
    _check_created(body, construction)
    _check_programs(body, construction)


def _unit_limit(limit: int) -> bytes:
    return b"\x02" + limit.to_bytes(4, "little")


def _unit_price(price: int) -> bytes:
    return b"\x03" + price.to_bytes(8, "little")


def _essence(instruction: Instruction) -> tuple[Pubkey, bytes, list[Pubkey]]:
    keys = [meta.pubkey for meta in instruction.accounts]
    return instruction.program_id, bytes(instruction.data), keys


def _check_swap(body: list[Instruction], construction: Construction) -> None:
    """Exactly one swap, of the quoted amount, within the bound, from and to the wallet's accounts."""
    venue, quoted = construction.venue, construction.quoted
    swaps = [each for each in body if each.program_id == venue.program]
    _require(len(swaps) == 1, "it does not hold one swap")
    terms = venue.terms([meta.pubkey for meta in swaps[0].accounts], bytes(swaps[0].data))
    intent, limit = quoted.quote.intent, quoted.limit
    _require(
        terms is not None
        and (terms.exact_in, terms.amount, terms.bound)
        == (intent.exact_in, intent.amount, limit.bound)
        and terms.pool == quoted.quote.pool.address
        and terms.user == construction.user,
        "its swap is not the quoted one",
    )


def _check_opened(body: list[Instruction], construction: Construction) -> None:
    """Lamports leave into one new account only: the swap's temporary one, as many as planned."""
    opened = [
        ([meta.pubkey for meta in each.accounts], bytes(each.data))
        for each in _of_system(body, CREATE_WITH_SEED)
    ]
    seed, payer, user = construction.seed, construction.payer, construction.user
    if seed is None:
        planned = []
    else:
        address = Pubkey.create_with_seed(payer, seed, TOKEN_PROGRAM)
        _require(address in (user.source, user.destination), "it opens an account in vain")
        planned = [([payer, address], _opening(payer, seed, construction.funding))]
    _require(opened == planned, "it opens another account than planned")


def _opening(payer: Pubkey, seed: str, lamports: int) -> bytes:
    """Write `CreateAccountWithSeed`: tag, base, seed with its length, lamports, space, owner."""
    head = CREATE_WITH_SEED.to_bytes(_TAG_BYTES, "little") + bytes(payer)
    words = (len(seed.encode()), lamports, TOKEN_ACCOUNT_BYTES)
    length, funding, space = (each.to_bytes(_U64_BYTES, "little") for each in words)
    return head + length + seed.encode() + funding + space + bytes(TOKEN_PROGRAM)


def _check_tips(body: list[Instruction], construction: Construction) -> None:
    """Every plain transfer is a planned tip: the payee, its lamports, once, from the wallet."""
    paid = [
        (*(meta.pubkey for meta in each.accounts), transfer_lamports(bytes(each.data)))
        for each in _of_system(body, TRANSFER)
    ]
    tips = construction.tips
    planned = [(construction.payer, Pubkey.from_string(tip.payee), tip.lamports) for tip in tips]
    _require(paid == planned, "it moves other lamports than planned")
    _require(len({tip.payee for tip in tips}) == len(tips) <= fees.TIPS_MAX, "it tips too often")
    _require(fees.total(tips) <= fees.TIP_LAMPORTS_MAX, "it tips more than is ever tipped")


def _check_created(body: list[Instruction], construction: Construction) -> None:
    """A token account is created only where one is planned: for the wallet, and received into."""
    made = [
        [meta.pubkey for meta in each.accounts[:3]]
        for each in body
        if each.program_id == ATA_PROGRAM
    ]
    payer = construction.payer
    planned = [[payer, construction.user.destination, payer]] if construction.created_rent else []
    _require(made == planned, "it creates other accounts than planned")


def _of_system(body: list[Instruction], tag: int) -> list[Instruction]:
    return [each for each in body if each.program_id == SYSTEM_PROGRAM and _tag(each) == tag]


def _tag(instruction: Instruction) -> int:
    return int.from_bytes(bytes(instruction.data)[:_TAG_BYTES], "little")


def transfer_lamports(data: bytes) -> int:
    """Give the lamports of a System transfer; 0 for any other System instruction."""
    if int.from_bytes(data[:_TAG_BYTES], "little") != TRANSFER:
        return 0
    return int.from_bytes(data[_TAG_BYTES : _TAG_BYTES + _U64_BYTES], "little")


def _check_programs(body: list[Instruction], construction: Construction) -> None:
    """No program but the known ones, and of the token program only opening and closing our account."""
    for each in body:
        if each.program_id == TOKEN_PROGRAM:
            _require(
                each.data[0] in (_INITIALIZE_ACCOUNT_3, _CLOSE_ACCOUNT), "it moves tokens elsewhere"
            )
            if each.data[0] == _CLOSE_ACCOUNT:
                _require(each.accounts[1].pubkey == construction.payer, "it pays SOL elsewhere")
            else:
                owner = bytes(each.data)[1:]
                _require(owner == bytes(construction.payer), "it opens another's account")
        elif each.program_id == SYSTEM_PROGRAM:
            known = _tag(each) in (CREATE_WITH_SEED, TRANSFER)
            _require(known, "it holds an unknown system instruction")
        else:
            programs = (ATA_PROGRAM, MEMO_PROGRAM, construction.venue.program)
            _require(each.program_id in programs, "it calls an unknown program")


def _require(condition: bool, what: str) -> None:  # noqa: FBT001 - an assertion's condition
    if not condition:
        message = f"the compiled transaction is not what was built: {what}"
        raise RefusedError(ReasonCode.INTERNAL_ERROR, message, todo="report this defect")
