"""The details of final transactions, on disk: memory holds only where they lie.

A record is two lengths and a CRC32, a head (JSON: what the chain indexes) and details (JSON, deflated). The
file follows from the ledger; up to the last snapshot it is kept, what comes after is made again.
"""

import json
import os
import struct
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solders.pubkey import Pubkey

from app.sandbox.blocks import Landed
from app.sandbox.render import Json, meta_json
from app.sandbox.transactions import SignedTransaction, parse_transaction

HISTORY_FILE = "history.bin"
_LENGTHS = struct.Struct("<III")  # of the head, of the details; the CRC32 of the head
_QUICK = 1  # deflate's level: four fifths off for little time


@dataclass(frozen=True, slots=True)
class Details:
    """A landed transaction and its `meta` as getTransaction shows it."""

    transaction: SignedTransaction
    meta: Json


class History:
    """An append-only file of details."""

    def __init__(self, folder: Path) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._path = folder / HISTORY_FILE
        self._fd = os.open(self._path, flags, 0o600)
        self.size = 0

    def read(self, size: int) -> Iterator[tuple[Landed, list[Pubkey]]]:
        """Read what is indexed of the first `size` bytes; raises ValueError when they are not."""
        if os.fstat(self._fd).st_size < size:
            raise ValueError("the history is too short")
        with self._path.open("rb") as file:
            while self.size < size:
                head_size, details_size, crc = _LENGTHS.unpack(file.read(_LENGTHS.size))
                head = file.read(head_size)
                if zlib.crc32(head) != crc:
                    raise ValueError("the history is damaged")
                yield _landed(json.loads(head), self.size)
                file.seek(details_size, os.SEEK_CUR)
                self.size += _LENGTHS.size + head_size + details_size

    def restart(self, size: int) -> None:
        """Keep the first `size` bytes, and write on from there."""
        self.size = size
        os.ftruncate(self._fd, size)

    def store(self, landed: Landed) -> None:
        """Move the details of a final transaction from memory to the file."""
        transaction, outcome = landed.transaction, landed.outcome
        if transaction is None or outcome is None:
            return
        head = _json([*_indexed(landed), list(map(str, outcome.keys.every))])
        shown = {"raw": b64encode(transaction.raw).decode(), "meta": meta_json(outcome)}
        details = zlib.compress(_json(shown), _QUICK)
        record = _LENGTHS.pack(len(head), len(details), zlib.crc32(head)) + head + details
        os.pwrite(self._fd, record, self.size)
        landed.stored_at = self.size
        landed.transaction = landed.outcome = None
        self.size += len(record)

    def details(self, landed: Landed) -> Details:
        """Give a transaction's details, wherever they are."""
        if landed.transaction is not None and landed.outcome is not None:
            return Details(landed.transaction, meta_json(landed.outcome))
        begin = landed.stored_at + _LENGTHS.size
        head_size, size, _ = _LENGTHS.unpack(os.pread(self._fd, _LENGTHS.size, landed.stored_at))
        found = json.loads(zlib.decompress(os.pread(self._fd, size, begin + head_size)))
        return Details(parse_transaction(b64decode(found["raw"])), found["meta"])

    def sync(self) -> None:
        """Flush to the disk."""
        os.fsync(self._fd)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def _indexed(landed: Landed) -> list[object]:
    place = [landed.number, landed.signature, landed.slot, landed.height]
    seen = [landed.unix_time, landed.index, landed.err, landed.memo]
    return [*place, *seen, landed.bundle_id, landed.unit_price, landed.units]


def _landed(head: list[Any], stored_at: int) -> tuple[Landed, list[Pubkey]]:
    *seen, keys = head
    fields = (*seen, None, None, stored_at)  # as they stand in the class
    return Landed(*fields), [Pubkey.from_string(key) for key in keys]


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
