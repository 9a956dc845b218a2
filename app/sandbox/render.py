"""Accounts and transactions in the JSON shapes of Agave's RPC (`transaction-status` crate)."""

from base64 import b64encode
from collections.abc import Sequence

from solders.account import Account
from solders.instruction import CompiledInstruction
from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.transaction_metadata import InnerInstruction, TransactionMetadata
from solders.transaction_status import TransactionReturnData

from app.sandbox.base58 import encode_base58
from app.sandbox.machine import Execution, TokenBalance
from app.sandbox.tokens import PROGRAM_LABELS, TokenAccount, ui_amount
from app.sandbox.transactions import LoadedKeys, SignedTransaction

RENT_EXEMPT_EPOCH = 2**64 - 1
TOP_LEVEL = 1  # the stack height of a transaction's own instructions
_BASE58_BYTES_MAX = 128

Json = dict[str, object]


class Unencodable(Exception):
    """The account does not fit the encoding asked for; the text is Agave's."""


def account_json(
    account: Account, encoding: str, window: tuple[int, int] | None, parsed: Json | None = None
) -> Json:
    """Show an account; `window` is (offset, length) of the data, `parsed` replaces the data."""
    return {
        "lamports": account.lamports,
        "data": parsed or _account_data(account.data, encoding, window),
        "owner": str(account.owner),
        "executable": account.executable,
        "rentEpoch": RENT_EXEMPT_EPOCH,
        "space": len(account.data),
    }


def _account_data(data: bytes, encoding: str, window: tuple[int, int] | None) -> object:
    if window is not None:
        offset, length = window
        data = data[offset : offset + length]
    if encoding in {"base64", "jsonParsed"}:
        return [b64encode(data).decode(), "base64"]
    if len(data) > _BASE58_BYTES_MAX:
        raise Unencodable(
            f"Encoded binary (base 58) data should be less than {_BASE58_BYTES_MAX} bytes, "
            "please use Base64 encoding."
        )
    text = encode_base58(data)
    return text if encoding == "binary" else [text, "base58"]


def parsed_token_account(holding: TokenAccount, decimals: int, size: int) -> Json:
    """Show a token account parsed; `size` in bytes."""
    info: Json = {
        "isNative": holding.native_reserve is not None,
        "mint": str(holding.mint),
        "owner": str(holding.owner),
        "state": holding.state,
        "tokenAmount": ui_amount(holding.amount, decimals),
    }
    if holding.native_reserve is not None:
        info["rentExemptReserve"] = ui_amount(holding.native_reserve, decimals)
    program = PROGRAM_LABELS[holding.program]
    return {"parsed": {"info": info, "type": "account"}, "program": program, "space": size}


def meta_json(outcome: Execution) -> Json:
    """Show what a landed transaction did."""
    meta, keys, err = outcome.meta, outcome.keys, outcome.err
    shown: Json = {
        "err": err,
        "status": {"Ok": None} if err is None else {"Err": err},
        "fee": meta.fee(),
        "preBalances": outcome.pre_balances,
        "postBalances": outcome.post_balances,
        "innerInstructions": inner_json(meta.inner_instructions()),
        "logMessages": meta.logs(),
        "preTokenBalances": _token_balances(outcome.pre_tokens),
        "postTokenBalances": _token_balances(outcome.post_tokens),
        "rewards": [],
        "loadedAddresses": _loaded(keys),
        "computeUnitsConsumed": meta.compute_units_consumed(),
    }
    returned = return_data_json(meta)
    return shown if returned is None else {**shown, "returnData": returned}


def return_data_json(meta: TransactionMetadata) -> Json | None:
    """Show what the last program returned; None when it returned nothing."""
    returned: TransactionReturnData = meta.return_data()
    if not returned.data:
        return None
    data = b64encode(bytes(returned.data)).decode()
    return {"programId": str(returned.program_id), "data": [data, "base64"]}


def inner_json(inner: Sequence[Sequence[InnerInstruction]]) -> list[Json]:
    """Show the instructions that programs called, by the top-level instruction they came from."""
    return [
        {
            "index": index,
            "instructions": [
                _instruction(each.instruction(), each.stack_height()) for each in group
            ],
        }
        for index, group in enumerate(inner)
        if group
    ]


def transaction_json(transaction: SignedTransaction, encoding: str) -> object:
    """Show a transaction in `json`, `jsonParsed` (accounts named, data raw) or its bytes."""
    if encoding == "base64":
        return [b64encode(transaction.raw).decode(), "base64"]
    if encoding in {"base58", "binary"}:
        text = encode_base58(transaction.raw)
        return text if encoding == "binary" else [text, "base58"]
    return {
        "signatures": [str(signature) for signature in transaction.parsed.signatures],
        "message": _message(transaction.message),
    }


def _message(message: Message | MessageV0) -> Json:
    header = message.header
    shown: Json = {
        "header": {
            "numRequiredSignatures": header.num_required_signatures,
            "numReadonlySignedAccounts": header.num_readonly_signed_accounts,
            "numReadonlyUnsignedAccounts": header.num_readonly_unsigned_accounts,
        },
        "accountKeys": [str(key) for key in message.account_keys],
        "recentBlockhash": str(message.recent_blockhash),
        "instructions": [_instruction(each, TOP_LEVEL) for each in message.instructions],
    }
    if isinstance(message, MessageV0):
        shown["addressTableLookups"] = [
            {
                "accountKey": str(lookup.account_key),
                "writableIndexes": list(lookup.writable_indexes),
                "readonlyIndexes": list(lookup.readonly_indexes),
            }
            for lookup in message.address_table_lookups
        ]
    return shown


def _instruction(instruction: CompiledInstruction, height: int | None) -> Json:
    return {
        "programIdIndex": instruction.program_id_index,
        "accounts": list(instruction.accounts),
        "data": encode_base58(bytes(instruction.data)),
        "stackHeight": height,
    }


def _token_balances(balances: list[TokenBalance]) -> list[Json]:
    return [
        {
            "accountIndex": each.index,
            "mint": str(each.holding.mint),
            "uiTokenAmount": ui_amount(each.holding.amount, each.decimals),
            "owner": str(each.holding.owner),
            "programId": str(each.holding.program),
        }
        for each in balances
    ]


def _loaded(keys: LoadedKeys) -> Json:
    return {"writable": _texts(keys.writable), "readonly": _texts(keys.readonly)}


def _texts(keys: list[Pubkey]) -> list[str]:
    return [str(key) for key in keys]
