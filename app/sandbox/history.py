"""The details of final transactions, on disk: memory holds only where they lie.

The file is rebuilt from the ledger at every start, so it is neither flushed nor checked.
"""

import json
import os
from base64 import b64decode, b64encode
from dataclasses import dataclass
from pathlib import Path

from app.sandbox.chain import Landed
from app.sandbox.render import Json, meta_json
from app.sandbox.transactions import SignedTransaction, parse_transaction

HISTORY_FILE = "history.jsonl"
_LINE_BYTES_GUESS = 8_192


@dataclass(frozen=True, slots=True)
class Details:
    """A landed transaction and its `meta` as getTransaction shows it."""

    transaction: SignedTransaction
    meta: Json


class History:
    """An append-only file of details."""

    def __init__(self, folder: Path) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        self._fd = os.open(folder / HISTORY_FILE, flags, 0o600)
        self._size = 0

    def store(self, landed: Landed) -> None:
        """Move the details of a final transaction from memory to the file."""
        transaction, outcome = landed.transaction, landed.outcome
        if transaction is None or outcome is None:
            return
        entry = {"raw": b64encode(transaction.raw).decode(), "meta": meta_json(outcome)}
        line = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
        os.pwrite(self._fd, line, self._size)
        landed.stored_at = self._size
        landed.transaction = landed.outcome = None
        self._size += len(line)

    def details(self, landed: Landed) -> Details:
        """Give a transaction's details, wherever they are."""
        if landed.transaction is not None and landed.outcome is not None:
            return Details(landed.transaction, meta_json(landed.outcome))
        entry = json.loads(self._line(landed.stored_at))
        return Details(parse_transaction(b64decode(entry["raw"])), entry["meta"])

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def _line(self, offset: int) -> bytes:
        found = b""
        while b"\n" not in found:
            found += os.pread(self._fd, _LINE_BYTES_GUESS, offset + len(found))
        return found.partition(b"\n")[0]
