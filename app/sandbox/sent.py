"""What a send was made of, for the journal, also when trouble kept it from being looked at."""

from app.sandbox.bundle_checks import ENCODINGS, bundle_names
from app.sandbox.rpc import Asked
from app.sandbox.transactions import InvalidTransaction, decode_transaction

SENDS = ("sendTransaction", "sendBundle")


def names_of(asked: Asked, *, as_bundle: bool) -> dict[str, object]:
    """Name the transactions of a send; empty for other calls and for what cannot be decoded.

    `as_bundle` is said of endpoints that take a single transaction for a bundle as well.
    """
    params = asked.document.get("params") if isinstance(asked.document, dict) else None
    if asked.rpc_method not in SENDS or not isinstance(params, list) or not params:
        return {}
    first, *others = params
    texts = first if isinstance(first, list) else [first]
    encodings = [each.get("encoding") for each in others if isinstance(each, dict)]
    encoding = next((each for each in encodings if each in ENCODINGS), ENCODINGS[0])
    try:
        decoded = [decode_transaction(str(text), encoding) for text in texts]
    except InvalidTransaction:
        return {}
    if not decoded:
        return {}
    if as_bundle or asked.rpc_method == "sendBundle":
        return {**bundle_names(decoded), "bundle_only": asked.bundle_only}
    return decoded[0].names()
