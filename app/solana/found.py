"""One finalized transaction: its bytes prove who signed it, the rest is what endpoints agree on."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from solders.transaction import SanitizeError, VersionedTransaction

from app.engine.recovery_port import Found
from app.solana import decode
from app.solana.json_rpc import JsonRpcClient

OPTIONS: Final[Mapping[str, object]] = {
    "commitment": "finalized",
    "encoding": "base64",
    "maxSupportedTransactionVersion": 0,
}
"""How getTransaction is asked, so that it answers with bytes."""


def read_found(result: object, signature: str) -> Found:
    """Read getTransaction in base64; raises ValueError unless its bytes bear all their signatures.

    The bytes name the accounts that its balances are about.
    """
    document = decode.mapping(result)
    raw, transaction = _signed(document, signature)
    keys = [str(key) for key in transaction.message.account_keys]
    shown = {**document, "transaction": {"message": {"accountKeys": keys}}}
    landed = decode.transaction(shown, signature)
    meta = decode.mapping(document.get("meta"))
    unix_time = decode.unix_time(document.get("blockTime"))
    return Found(raw, landed, _mints(meta, landed.account_keys), unix_time)


def read_signers(result: object, signature: str) -> list[str]:
    """Name who signed what getTransaction gives in base64; raises ValueError like `read_found`."""
    _, transaction = _signed(decode.mapping(result), signature)
    message = transaction.message
    return [str(key) for key in message.account_keys[: message.header.num_required_signatures]]


def _signed(document: Mapping[str, object], signature: str) -> tuple[bytes, VersionedTransaction]:
    encoded = decode.text(decode.sequence(document.get("transaction"))[0])
    try:
        raw = base64.b64decode(encoded, validate=True)
        transaction = VersionedTransaction.from_bytes(raw)
        transaction.sanitize()
    except (binascii.Error, SanitizeError) as error:
        raise ValueError("no transaction") from error
    if str(transaction.signatures[0]) != signature or bytes(transaction) != raw:
        raise ValueError("another transaction")
    if not all(transaction.verify_with_results()):
        raise ValueError("not what was signed")
    return raw, transaction


def _mints(meta: Mapping[str, object], keys: Sequence[str]) -> Mapping[str, str]:
    rows = [
        decode.mapping(row)
        for side in ("preTokenBalances", "postTokenBalances")
        for row in decode.sequence(meta.get(side) or [])
    ]
    return {
        keys[decode.integer(row.get("accountIndex"))]: decode.text(row.get("mint")) for row in rows
    }


def agreed(told: Sequence[tuple[JsonRpcClient, Found]], needed: int) -> Found:
    """Give what as many endpoints as `needed` tell alike; raises ValueError when it is not one thing.

    Logs are left out: nodes cut them as they are configured. So are the words of an error.
    """
    tellers: list[tuple[Found, set[str]]] = []
    for client, found in told:
        plain = _plain(found)
        same = next((who for known, who in tellers if _plain(known) == plain), None)
        if same is None:
            same = set()
            tellers.append((found, same))
        same.add(client.endpoint)
    firm = [found for found, who in tellers if len(who) >= needed]
    if len(firm) != 1:
        who = " / ".join(", ".join(sorted(some)) for _, some in tellers)
        raise ValueError(f"endpoints tell different things of one transaction: {who}")
    return firm[0]


def _plain(found: Found) -> Found:
    landed = found.landed
    return replace(found, landed=replace(landed, error=landed.error is not None, logs=()))
