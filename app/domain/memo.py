"""The memo that every transaction carries: it tells orders and attempts apart on the chain."""

import hashlib
import re
from dataclasses import dataclass

PREFIX = "synergy7"
CLIENT_HASH_DIGITS = 16
_MEMO = re.compile(
    rf"{PREFIX}:([\w-]+)/([1-9]\d{{0,8}})/([0-9a-f]{{{CLIENT_HASH_DIGITS}}})", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Memo:
    """The parts of a memo: which attempt of which order, and whose key it was."""

    order_id: str
    number: int
    client_hash: str

    def text(self) -> str:
        """Write the memo: `synergy7:<order_id>/<attempt number>/<client hash>`."""
        return f"{PREFIX}:{self.order_id}/{self.number}/{self.client_hash}"


def client_hash(account: str, client_key: str) -> str:
    """Give the first 16 hex digits of SHA-256 over the account and the client's key."""
    return hashlib.sha256((account + client_key).encode()).hexdigest()[:CLIENT_HASH_DIGITS]


def parse_memo(text: str) -> Memo | None:
    """Read a memo exactly as we write it; None for any other text, which anyone may write."""
    match = _MEMO.fullmatch(text)
    return Memo(match[1], int(match[2]), match[3]) if match else None
