"""What a block engine refuses at once, in the words that public code has collected of Jito's."""

from collections.abc import Sequence

from app.sandbox.blocks import Bank
from app.sandbox.chain import Chain
from app.sandbox.errors import RpcError, invalid
from app.sandbox.params import Config
from app.sandbox.tips import TIP_LAMPORTS_MIN, TipRule
from app.sandbox.transactions import (
    InvalidTransaction,
    SignedTransaction,
    bundle_id_of,
    decode_transaction,
)

BUNDLE_TRANSACTIONS_MAX = 5
ENCODINGS = ("base58", "base64")

EMPTY = "bundle contains no transactions"
TOO_MANY = "bundle exceeds max transaction length"
UNSIGNED_OR_TWICE = (
    "bundles must not contain any duplicate transactions and every transaction must be signed"
)
NO_TIP_LOCK = "Bundles must write lock at least one tip account to be eligible for the auction"
NO_TIP_LOCK_HERE = "Transaction must write lock at least one tip account"
TIP_TOO_LOW = f"Bundles must tip at least {TIP_LAMPORTS_MIN} lamports"
PROCESSED = "bundle contains an already processed transaction"
EXPIRED = "bundle contains an expired blockhash"
UNKNOWN_HASH = "bundle contains an invalid blockhash"


def decode_bundle(texts: Sequence[str], config: Config) -> list[SignedTransaction]:
    """Decode what a client sent; raises RpcError."""
    if not texts:
        raise invalid(EMPTY)
    if len(texts) > BUNDLE_TRANSACTIONS_MAX:
        raise invalid(TOO_MANY)
    encoding = config.choice("encoding", "base58", ENCODINGS)
    return [_decode(index, text, encoding) for index, text in enumerate(texts)]


def bundle_names(transactions: Sequence[SignedTransaction]) -> dict[str, object]:
    """Say how a journal names a bundle: by its first transaction, and by its own id."""
    signatures = [each.signature for each in transactions]
    first = transactions[0].names()
    return {**first, "signatures": signatures, "bundle_id": bundle_id_of(signatures)}


def check_bundle(chain: Chain, tips: TipRule, transactions: Sequence[SignedTransaction]) -> None:
    """Refuse what could not land, or is not worth an auction; raises RpcError."""
    different = {each.signature for each in transactions}
    if len(different) < len(transactions) or not all(each.verifies() for each in transactions):
        raise invalid(UNSIGNED_OR_TWICE)
    if not any(tips.locks_one(each) for each in transactions):
        raise invalid(NO_TIP_LOCK)
    if tips.paid(transactions) < TIP_LAMPORTS_MIN:
        raise invalid(TIP_TOO_LOW)
    bank = chain.bank("processed")
    for each in transactions:
        _check_age(chain, bank, each)  # first, as a bank does it: an old one may yet have landed
    if any(each.signature in chain.landed for each in transactions):
        raise invalid(PROCESSED)


def _check_age(chain: Chain, bank: Bank, transaction: SignedTransaction) -> None:
    if not chain.accepts_hash(transaction.blockhash, bank):
        known = chain.hash_height(transaction.blockhash) is not None
        raise invalid(EXPIRED if known else UNKNOWN_HASH)


def _decode(index: int, text: str, encoding: str) -> SignedTransaction:
    try:
        return decode_transaction(text, encoding)
    except InvalidTransaction as error:
        raise undecodable(index) from error


def undecodable(index: int) -> RpcError:
    """Refuse what is no transaction, or is encoded otherwise than said."""
    return invalid(f"transaction #{index} could not be decoded")
