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
from app.transactions.builder import Construction
from app.transactions.tokens import ATA_PROGRAM, MEMO_PROGRAM, SYSTEM_PROGRAM, TOKEN_PROGRAM

CREATE_WITH_SEED: Final = 3
TRANSFER: Final = 2
"""Tags of the System program's instructions (u32)."""
_TAG_BYTES = 4
_LAMPORTS_BYTES = 8
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
    _require(list(map(_essence, body)) == list(map(_essence, construction.body)), "it was changed")
    _check_swap(body, construction)
    _check_outflow(body, construction)
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


def _check_outflow(body: list[Instruction], construction: Construction) -> None:
    """Lamports leave only into the temporary account and to the tip's payee, as planned."""
    tip = construction.tip
    planned = construction.funding + (tip.lamports if tip else 0)
    flows = [_outflow(each) for each in body if each.program_id == SYSTEM_PROGRAM]
    _require(sum(flows) == planned, "it moves other lamports than planned")


def _outflow(instruction: Instruction) -> int:
    data = bytes(instruction.data)
    tag = int.from_bytes(data[:_TAG_BYTES], "little")
    if tag == TRANSFER:
        return transfer_lamports(data)
    _require(tag == CREATE_WITH_SEED, "it holds an unknown system instruction")
    base, seed_bytes = _TAG_BYTES + 32, _LAMPORTS_BYTES
    length = int.from_bytes(data[base : base + seed_bytes], "little")
    at = base + seed_bytes + length
    return int.from_bytes(data[at : at + _LAMPORTS_BYTES], "little")


def transfer_lamports(data: bytes) -> int:
    """Give the lamports of a System transfer; 0 for any other System instruction."""
    if int.from_bytes(data[:_TAG_BYTES], "little") != TRANSFER:
        return 0
    return int.from_bytes(data[_TAG_BYTES : _TAG_BYTES + _LAMPORTS_BYTES], "little")


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
            known = (SYSTEM_PROGRAM, ATA_PROGRAM, MEMO_PROGRAM, construction.venue.program)
            _require(each.program_id in known, "it calls an unknown program")


def _require(condition: bool, what: str) -> None:  # noqa: FBT001 - an assertion's condition
    if not condition:
        message = f"the compiled transaction is not what was built: {what}"
        raise RefusedError(ReasonCode.INTERNAL_ERROR, message, todo="report this defect")
