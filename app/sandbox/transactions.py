"""Signed transactions as the node reads them: bytes, keys, memo and compute price."""

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import SanitizeError, VersionedTransaction

from app.sandbox.base58 import decode_base58

PACKET_BYTES = 1_232  # the network's packet: no transaction is longer
COMPUTE_BUDGET = Pubkey.from_string("ComputeBudget111111111111111111111111111111")
MEMO_PROGRAMS = frozenset(
    {
        Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr"),
        Pubkey.from_string("Memo1UhkJRfHyvLMcVucJwxXeuD728EqVDDwQDxFMNo"),
    }
)
_SET_PRICE = 3  # ComputeBudgetInstruction::SetComputeUnitPrice, then a little-endian u64
_TYPE_NAME = "solana_transaction::versioned::VersionedTransaction"
_ENCODED_LENGTH_MAX = {"base64": 1_644, "base58": 1_683}


class InvalidTransaction(Exception):
    """These bytes are no transaction; the text is Agave's."""


class UnusableTable(Exception):
    """An address lookup table cannot be resolved; the text is the transaction error's name."""


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """A decoded transaction with what is asked of it again and again."""

    raw: bytes
    parsed: VersionedTransaction
    message: Message | MessageV0
    signature: str
    blockhash: str

    @property
    def digest(self) -> str:
        """The SHA-256 of the bytes, in hex."""
        return sha256(self.raw).hexdigest()

    def names(self) -> dict[str, object]:
        """Say how a journal names it."""
        return {
            "sha256": self.digest,
            "signature": self.signature,
            "signatures": [self.signature],
        }

    @property
    def is_versioned(self) -> bool:
        """Whether it is of version 0 rather than legacy."""
        return isinstance(self.message, MessageV0)

    def verifies(self) -> bool:
        """Check every signature."""
        return all(self.parsed.verify_with_results())


@dataclass(frozen=True, slots=True)
class LoadedKeys:
    """Every account key of a transaction, those from lookup tables last."""

    static: list[Pubkey]
    writable: list[Pubkey]
    readonly: list[Pubkey]

    @property
    def every(self) -> list[Pubkey]:
        """All keys in the order that instructions index them."""
        if not self.writable and not self.readonly:
            return self.static
        return [*self.static, *self.writable, *self.readonly]


def decode_transaction(text: str, encoding: str) -> SignedTransaction:
    """Decode what a client sent as `base64` or `base58`.

    Raises InvalidTransaction in Agave's words.
    """
    limit = _ENCODED_LENGTH_MAX[encoding]
    if len(text) > limit:
        raise InvalidTransaction(
            f"{encoding} encoded {_TYPE_NAME} too large: "
            f"{len(text)} bytes (max: encoded/raw {limit}/{PACKET_BYTES})"
        )
    try:
        raw = b64decode(text, validate=True) if encoding == "base64" else decode_base58(text)
    except (Base64Error, ValueError) as error:
        raise InvalidTransaction(f"invalid {encoding} encoding: {error}") from error
    if len(raw) > PACKET_BYTES:
        raise InvalidTransaction(
            f"decoded {_TYPE_NAME} too large: {len(raw)} bytes (max: {PACKET_BYTES} bytes)"
        )
    return parse_transaction(raw)


def parse_transaction(raw: bytes) -> SignedTransaction:
    """Parse and sanitize the wire format; raises InvalidTransaction in Agave's words."""
    try:
        parsed = VersionedTransaction.from_bytes(raw)
    except ValueError as error:
        raise InvalidTransaction(
            f"failed to deserialize {_TYPE_NAME}: io error: failed to fill whole buffer"
        ) from error
    message = parsed.message
    if not isinstance(message, Message | MessageV0):
        raise InvalidTransaction("invalid transaction: Transaction version is unsupported")
    try:
        parsed.sanitize()
    except SanitizeError as error:
        raise InvalidTransaction(
            "invalid transaction: Transaction failed to sanitize accounts offsets correctly"
        ) from error
    signature, blockhash = str(parsed.signatures[0]), str(message.recent_blockhash)
    return SignedTransaction(bytes(parsed), parsed, message, signature, blockhash)


def bundle_id_of(signatures: Sequence[str]) -> str:
    """Name a bundle as Jito does: hex SHA-256 of its base58 signatures, joined by commas.

    Source: `derive_bundle_id` of jito-solana's `bundle` crate.
    """
    return sha256(",".join(signatures).encode()).hexdigest()


def other_signature(transaction: SignedTransaction) -> str:
    """Make a well-formed signature of something else."""
    return str(Signature(sha256(transaction.raw).digest() * 2))


def other_bundle_id(bundle_id: str) -> str:
    """Make a well-formed bundle id of something else."""
    return sha256(bundle_id.encode()).hexdigest()


def memo_of(message: Message | MessageV0) -> str | None:
    """Join the memos as Agave prints them: `[5] hello; [2] hi`."""
    keys = message.account_keys
    memos = [
        f"[{len(instruction.data)}] {_readable(instruction.data)}"
        for instruction in message.instructions
        if _program(keys, instruction.program_id_index) in MEMO_PROGRAMS
    ]
    return "; ".join(memos) or None


def compute_price_of(message: Message | MessageV0) -> int:
    """Read the price of a compute unit in micro-lamports; 0 when none is set."""
    keys = message.account_keys
    for instruction in message.instructions:
        data = instruction.data
        if data[:1] == bytes([_SET_PRICE]) and (
            _program(keys, instruction.program_id_index) == COMPUTE_BUDGET
        ):
            return int.from_bytes(data[1:9], "little")
    return 0


def _program(keys: list[Pubkey], index: int) -> Pubkey | None:
    return keys[index] if index < len(keys) else None


def _readable(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "(unparseable)"
