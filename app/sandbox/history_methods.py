"""What the node says of transactions that landed."""

from collections.abc import Iterator, Mapping
from itertools import islice
from types import MappingProxyType

from solders.pubkey import Pubkey

from app.sandbox.blocks import Commitment, Landed
from app.sandbox.call import Call, Horizon, Method, in_context
from app.sandbox.chain import STATUS_SLOTS
from app.sandbox.errors import UNSUPPORTED_VERSION, RpcError, invalid
from app.sandbox.params import Config, as_signature
from app.sandbox.render import Json, transaction_json

STATUSES_MAX = 256
HISTORY_MAX = 1_000
ENCODINGS = ("json", "jsonParsed", "base58", "base64", "binary")
NEWEST = 2**63  # above every number a landed transaction can have


def get_signature_statuses(call: Call) -> object:
    """Give what became of signatures, from the processed bank; null for what is not known."""
    texts, config = call.params.texts(0), call.params.config(1)
    if len(texts) > STATUSES_MAX:
        raise invalid(f"Too many inputs provided; max {STATUSES_MAX}")
    history = config.flag("searchTransactionHistory")
    signatures = [as_signature(text) for text in texts]
    bank = call.node.chain.bank("processed", call.view.behind)
    final = call.node.chain.bank("finalized", call.view.behind)
    oldest = 0 if history else final.slot - STATUS_SLOTS
    horizon = call.horizon()
    found = [_find(call, each) for each in signatures]
    shown = [_status(each, horizon) if each and each.slot >= oldest else None for each in found]
    return in_context(bank, shown)


def _find(call: Call, signature: str) -> Landed | None:
    return None if call.view.hides_statuses else call.node.chain.landed.get(signature)


def _status(landed: Landed, horizon: Horizon) -> Json | None:
    level = horizon.level(landed)
    if level is None:
        return None
    depth = horizon.processed - landed.height
    return {
        "slot": landed.slot,
        "confirmations": None if level == "finalized" else depth,
        "err": landed.err,
        "status": {"Ok": None} if landed.err is None else {"Err": landed.err},
        "confirmationStatus": level,
    }


def get_transaction(call: Call) -> object:
    """Show a confirmed transaction with what it did, or null."""
    signature, config = as_signature(call.params.text(0)), _encoding_or_config(call)
    commitment = config.settled()
    encoding = config.choice("encoding", "json", ENCODINGS)
    supported = config.number("maxSupportedTransactionVersion")
    landed = _find(call, signature)
    if landed is None or not call.horizon().sees(landed, commitment):
        return None
    details = call.node.history.details(landed)
    if details.transaction.is_versioned and supported is None:
        raise RpcError(
            UNSUPPORTED_VERSION,
            "Transaction version (0) is not supported by the requesting client. Please try the "
            "request again with the following configuration parameter: "
            '"maxSupportedTransactionVersion": 0',
        )
    shown: Json = {
        "slot": landed.slot,
        "transaction": transaction_json(details.transaction, encoding),
        "meta": details.meta,
        "blockTime": landed.unix_time,
        "transactionIndex": landed.index,
    }
    if supported is not None:
        shown["version"] = 0 if details.transaction.is_versioned else "legacy"
    return shown


def _encoding_or_config(call: Call) -> Config:
    """Read the second parameter, which older clients send as a bare encoding."""
    if len(call.params) > 1 and isinstance(call.params.raw(1), str):
        return Config({"encoding": call.params.text(1)})
    return call.params.config(1)


def get_signatures_for_address(call: Call) -> object:
    """List the transactions that name an address, newest first."""
    address, config = call.params.pubkey(0), call.params.config(1)
    limit = config.number("limit")
    limit = HISTORY_MAX if limit is None else limit
    if not 1 <= limit <= HISTORY_MAX:
        raise invalid(f"Invalid limit; max {HISTORY_MAX}")
    commitment = config.settled()
    call.bank_at(commitment, config)
    below, above = _position(call, config, "before", NEWEST), _position(call, config, "until", 0)
    if below is None:
        return []
    found = _between(call, address, below, above or 0, commitment)
    horizon = call.horizon()
    return [_listed(each, horizon) for each in islice(found, limit)]


def _position(call: Call, config: Config, key: str, default: int) -> int | None:
    text = config.text(key)
    if text is None:
        return default
    landed = call.node.chain.landed.get(as_signature(text))
    return landed.number if landed else None


def _between(
    call: Call, address: Pubkey, below: int, above: int, commitment: Commitment
) -> Iterator[Landed]:
    horizon = call.horizon()
    for landed in call.node.chain.history_of(address, below):
        if landed.number <= above:
            return
        if horizon.sees(landed, commitment):
            yield landed


def _listed(landed: Landed, horizon: Horizon) -> Json:
    return {
        "signature": landed.signature,
        "slot": landed.slot,
        "err": landed.err,
        "memo": landed.memo,
        "blockTime": landed.unix_time,
        "confirmationStatus": horizon.level(landed),
        "transactionIndex": landed.index,
    }


HISTORY_METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "getSignatureStatuses": get_signature_statuses,
        "getSignaturesForAddress": get_signatures_for_address,
        "getTransaction": get_transaction,
    }
)
