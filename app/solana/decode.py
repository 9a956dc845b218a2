"""Strict reading of JSON-RPC results: a shape that is not as documented raises ValueError."""

import base64
from collections.abc import Mapping
from typing import Final

from solders.pubkey import Pubkey

from app.domain.attempt import Blockhash
from app.domain.outcome import Absent, Commitment, Heights, Seen
from app.engine.ports import Account, LandedTransaction, Simulation, Snapshot


def mapping(value: object) -> Mapping[str, object]:
    """Take a JSON object."""
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004 - one error class for every wrong shape
    return value


def sequence(value: object) -> list[object]:
    """Take a JSON array."""
    if not isinstance(value, list):
        raise ValueError("not an array")  # noqa: TRY004
    return value


INTEGER_MAX: Final = 2**63 - 1
"""What the databases can keep; slots, heights and lamports never come near it."""
U64_MAX: Final = 2**64 - 1
"""Anybody can mint so much of a token of their own, and offer such a price for no compute units."""
UNIX_TIME_MAX: Final = 253_402_300_799
"""The end of the year 9999, which is the last that can be written."""


def integer(value: object, most: int = INTEGER_MAX) -> int:
    """Take a whole number that is not negative, and that can be stored."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise ValueError("not a whole number")
    return value


def unix_time(value: object) -> int | None:
    """Take a time in seconds, or none."""
    if value is None:
        return None
    if integer(value) > UNIX_TIME_MAX:
        raise ValueError("not a time")
    return integer(value)


def text(value: object) -> str:
    """Take a string."""
    if not isinstance(value, str):
        raise ValueError("not a string")  # noqa: TRY004
    return value


def _error(value: Mapping[str, object]) -> object | None:
    """Give the `err` value; an answer without one tells nothing, least of all a success."""
    if "err" not in value:
        raise ValueError("no err")
    return value["err"]


def context_slot(result: Mapping[str, object]) -> int:
    """Give the slot of the bank that answered."""
    return integer(mapping(result.get("context")).get("slot"))


def blockhash(result: object) -> Blockhash:
    """Read getLatestBlockhash."""
    document = mapping(result)
    value = mapping(document.get("value"))
    return Blockhash(
        blockhash=text(value.get("blockhash")),
        last_valid_block_height=integer(value.get("lastValidBlockHeight")),
        slot=context_slot(document),
    )


def heights(result: object) -> Heights:
    """Read getEpochInfo: slot and height of the same bank."""
    document = mapping(result)
    return Heights(integer(document.get("absoluteSlot")), integer(document.get("blockHeight")))


def validity(result: object) -> tuple[bool, int]:
    """Read isBlockhashValid: the answer, and the slot of the bank that gave it."""
    document = mapping(result)
    value = document.get("value")
    if not isinstance(value, bool):
        raise ValueError("neither true nor false")  # noqa: TRY004
    return value, context_slot(document)


def statuses(result: object, count: int) -> list[Seen | Absent]:
    """Read getSignatureStatuses, one status for each signature asked."""
    document = mapping(result)
    values = sequence(document.get("value"))
    if len(values) != count:
        raise ValueError("not as many statuses as signatures")
    slot = context_slot(document)
    return [Absent(slot) if value is None else _seen(mapping(value), slot) for value in values]


def _seen(value: Mapping[str, object], slot: int) -> Seen:
    level = value.get("confirmationStatus")
    if level is None:  # nodes older than the field: confirmations null means rooted
        level = "finalized" if value.get("confirmations") is None else "processed"
    return Seen(
        slot=integer(value.get("slot")),
        commitment=Commitment(text(level)),
        error=_error(value),
        context_slot=slot,
    )


def snapshot(result: object, addresses: list[str]) -> Snapshot:
    """Read getMultipleAccounts with base64 data."""
    document = mapping(result)
    values = sequence(document.get("value"))
    if len(values) != len(addresses):
        raise ValueError("not as many accounts as addresses")
    accounts = {
        address: None if value is None else _account(mapping(value))
        for address, value in zip(addresses, values, strict=True)
    }
    return Snapshot(context_slot(document), accounts)


def _account(value: Mapping[str, object]) -> Account:
    data = sequence(value.get("data"))
    if not data:
        raise ValueError("an account without data")
    raw = base64.b64decode(text(data[0]), validate=True)
    owner = text(value.get("owner"))
    Pubkey.from_string(owner)  # ValueError for what is no address: who reads further relies on it
    return Account(integer(value.get("lamports")), owner, raw)


def recent_fees(result: object) -> list[int]:
    """Read getRecentPrioritizationFees: micro-lamports for each compute unit, one figure a slot."""
    rows = [mapping(row) for row in sequence(result)]
    return [_fee(row) for row in rows]


def _fee(row: Mapping[str, object]) -> int:
    integer(row.get("slot"))
    return integer(row.get("prioritizationFee"), U64_MAX)


def simulation(result: object) -> Simulation:
    """Read simulateTransaction."""
    document = mapping(result)
    value = mapping(document.get("value"))
    return Simulation(
        error=_error(value),
        logs=_logs(value.get("logs")),
        units=integer(value.get("unitsConsumed") or 0),
        slot=context_slot(document),
    )


def _logs(value: object) -> tuple[str, ...]:
    return () if value is None else tuple(text(line) for line in sequence(value))


def transaction(result: object, signature: str) -> LandedTransaction:
    """Read getTransaction with json encoding; account keys include those of lookup tables."""
    document = mapping(result)
    meta = mapping(document.get("meta"))
    message = mapping(mapping(document.get("transaction")).get("message"))
    before = [integer(n) for n in sequence(meta.get("preBalances"))]
    after = [integer(n) for n in sequence(meta.get("postBalances"))]
    keys = [text(key) for key in sequence(message.get("accountKeys"))]
    loaded = mapping(meta.get("loadedAddresses") or {})
    for side in ("writable", "readonly"):
        keys += [text(key) for key in sequence(loaded.get(side) or [])]
    if not len(keys) == len(before) == len(after):
        raise ValueError("not as many balances as accounts")
    return LandedTransaction(
        signature=signature,
        slot=integer(document.get("slot")),
        error=_error(meta),
        fee_lamports=integer(meta.get("fee")),
        logs=_logs(meta.get("logMessages")),
        account_keys=tuple(keys),
        lamports_before=tuple(before),
        lamports_after=tuple(after),
        tokens_before=_tokens(meta.get("preTokenBalances")),
        tokens_after=_tokens(meta.get("postTokenBalances")),
    )


def _tokens(value: object) -> dict[int, int]:
    rows = [mapping(row) for row in sequence(value or [])]
    return {
        integer(row.get("accountIndex")): integer(
            int(text(mapping(row.get("uiTokenAmount")).get("amount"))), U64_MAX
        )
        for row in rows
    }
