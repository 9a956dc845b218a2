"""The durable record of everything that changed the chain: one line each, appended and replayed.

A line is `CRC32 JSON`. The first holds what the chain was made from; then `tx` (the bytes, base64),
`bundle` (several of them), `close`, `pass` and `fork` in the order they happened. Written to the
operating system before anything is answered, so a killed process loses nothing; flushed to the disk
once a block.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from zlib import crc32

LEDGER_FILE = "ledger.jsonl"
LOCK_FILE = "lock"
_PIECE_BYTES = 1 << 20


class LedgerError(Exception):
    """The ledger cannot be used; the text is `CODE: what; what to do`."""


class LedgerBroken(Exception):
    """The ledger can no longer be written: what memory holds is ahead of it, so the process ends."""


@dataclass(frozen=True, slots=True)
class Position:
    """A place between two lines: the bytes before it and their CRC32."""

    size: int
    crc: int

    def after(self, line: bytes) -> "Position":
        """Give the place behind one more line."""
        return Position(self.size + len(line), crc32(line, self.crc))


class LedgerLock:
    """Keeps a second process off a ledger for as long as this one lives."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._fd)
            raise LedgerError(
                f"LEDGER_LOCKED: another sandbox uses {folder}; stop it or name another --ledger"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


class Ledger:
    """An append-only file of entries."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LEDGER_FILE
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._unsynced = 0
        self.position = Position(0, 0)

    def read(self, start: "Position | None" = None) -> Iterator[dict[str, object]]:
        """Read the entries from a position on.

        A torn last line is cut off; any other damage raises LedgerError.
        """
        self.position = start or Position(0, 0)
        with self._path.open("rb") as lines:
            lines.seek(self.position.size)
            for line in lines:
                entry = decode_line(line)
                if entry is None:
                    self._cut(at_end=not lines.read(1))
                    return
                self.position = self.position.after(line)
                yield entry

    def holds(self, position: "Position") -> bool:
        """Whether the file begins with the very bytes that a position stands behind."""
        found, left = 0, position.size
        with self._path.open("rb") as file:
            while left and (piece := file.read(min(left, _PIECE_BYTES))):
                found, left = crc32(piece, found), left - len(piece)
        return not left and found == position.crc

    def append(
        self, entry: dict[str, object], write: Callable[[int, bytes], int] = os.write
    ) -> None:
        """Write an entry; when this returns, a killed process does not lose it.

        Raises LedgerBroken.
        """
        line = encode_line(entry)
        try:
            written = write(self._fd, line)
        except OSError as error:
            raise unwritable(self._path, str(error)) from error
        if written != len(line):
            raise unwritable(self._path, f"{written} of {len(line)} bytes written")
        self.position = self.position.after(line)
        self._unsynced += 1

    def needs_sync(self) -> bool:
        """Whether something was written since the last flush."""
        return self._unsynced > 0

    def sync(self) -> None:
        """Flush to the disk (blocks for milliseconds; may run in a thread)."""
        self._unsynced = 0
        os.fsync(self._fd)

    def close(self) -> None:
        """Flush and close."""
        self.sync()
        os.close(self._fd)

    def _cut(self, *, at_end: bool) -> None:
        if not at_end:
            raise LedgerError(
                f"LEDGER_CORRUPT: {self._path} is damaged at byte {self.position.size}; "
                "restore the file, or remove the folder for a new chain"
            )
        os.ftruncate(self._fd, self.position.size)


def unwritable(path: Path, why: str) -> LedgerBroken:
    """Say that the disk takes no more."""
    return LedgerBroken(f"LEDGER_UNWRITABLE: {path}: {why}; free space and start again")


def encode_line(entry: dict[str, object]) -> bytes:
    """Write an entry as a line."""
    text = json.dumps(entry, separators=(",", ":")).encode()
    return b"%08x %s\n" % (crc32(text), text)


def decode_line(line: bytes) -> dict[str, object] | None:
    """Read a line; None when it is damaged."""
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or checksum != b"%08x" % crc32(text):
        return None
    entry = json.loads(text)
    return entry if isinstance(entry, dict) else None
