"""What a disk holds after its power is lost: the shim's journal, cut back to what was synced."""

import random
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Final

HEADER: Final = struct.Struct("=IHHqq")
MAGIC: Final = 0x53375348
SECTOR: Final = 512
"""What a disk writes whole, in bytes."""


class Kind(IntEnum):
    """What was done to a file."""

    WRITE = 1
    TRUNCATE = 2
    CREATE = 3
    UNLINK = 4
    RENAME = 5
    SYNC = 6
    SYNC_DIRECTORY = 7
    SYNC_FAILED = 8


@dataclass(frozen=True, slots=True)
class Record:
    """One call that succeeded (or a sync that failed): `offset` is the new size for TRUNCATE."""

    kind: Kind
    path: str
    offset: int
    data: bytes


def read_journal(path: Path) -> Iterator[Record]:
    """Read the records, oldest first; one that a kill has cut off is left out."""
    content = path.read_bytes() if path.exists() else b""
    at = 0
    while at + HEADER.size <= len(content):
        magic, kind, path_length, offset, length = HEADER.unpack_from(content, at)
        assert magic == MAGIC, f"no record at {at}"
        body = at + HEADER.size
        carried = length if kind in {Kind.WRITE, Kind.RENAME} else 0
        at = body + path_length + carried
        if at > len(content):
            return
        name = content[body : body + path_length].decode()
        yield Record(Kind(kind), name, offset, content[body + path_length : at])


@dataclass(slots=True)
class _File:
    """A file's bytes on the disk, and what was done to it since: in the page cache only."""

    disk: bytearray = field(default_factory=bytearray)
    pending: list[Record] = field(default_factory=list)

    def sync(self) -> None:
        for record in self.pending:
            _apply(self.disk, record, lambda: True)
        self.pending.clear()


def _apply(content: bytearray, record: Record, kept: Callable[[], bool]) -> None:
    """Do what was done, as far as it was kept: a write sector by sector."""
    if record.kind is Kind.TRUNCATE:
        if kept():
            _resize(content, record.offset)
        return
    start, end = record.offset, record.offset + len(record.data)
    while start < end:
        stop = min(end, (start // SECTOR + 1) * SECTOR)
        if kept():
            if len(content) < stop:
                _resize(content, stop)
            content[start:stop] = record.data[start - record.offset : stop - record.offset]
        start = stop


def _resize(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))


class Disk:
    """A folder of a process that the shim watched, as a power cut would leave it.

    The disk is taken at its worst: a write counts when a sync of its file has succeeded after it, a
    name (made, removed, changed) when a sync of its folder has. After a sync that failed, the writes
    before it are never written by a later one: the kernel takes their pages for clean.
    """

    def __init__(self, before: Mapping[str, bytes]) -> None:
        """Begin with files (by absolute path) that are safely on the disk."""
        self._files = {path: _File(bytearray(content)) for path, content in before.items()}
        self._names = dict(self._files)
        """The folder as a process sees it; `_files` is the folder on the disk."""

    def play(self, records: Iterator[Record]) -> None:
        """Do what was recorded."""
        for record in records:
            self._play(record)

    def _play(self, record: Record) -> None:  # noqa: C901 - one arm for each kind
        path = record.path
        match record.kind:
            case Kind.CREATE:
                self._names[path] = _File()
            case Kind.WRITE | Kind.TRUNCATE:
                self._names.setdefault(path, _File()).pending.append(record)
            case Kind.UNLINK:
                self._names.pop(path, None)
            case Kind.RENAME:
                if path in self._names:
                    self._names[record.data.decode()] = self._names.pop(path)
            case Kind.SYNC:
                if path in self._names:
                    self._names[path].sync()
            case Kind.SYNC_FAILED:
                if path in self._names:
                    self._names[path].pending.clear()
            case Kind.SYNC_DIRECTORY:
                self._sync_names(path)

    def _sync_names(self, folder: str) -> None:
        inside = f"{folder.rstrip('/')}/"
        for path in [each for each in self._files if each.startswith(inside)]:
            del self._files[path]
        fresh = {path: file for path, file in self._names.items() if path.startswith(inside)}
        self._files.update(fresh)

    def after_power_loss(self, dice: random.Random | None = None) -> dict[str, bytes]:
        """Give the files that are left: what was not synced is lost, or with `dice` lost in part."""
        names = self._files
        if dice is not None and dice.random() < 1 / 2:
            names = self._names  # the kernel had written the folder by itself
        left: dict[str, bytes] = {}
        for path, file in names.items():
            content = bytearray(file.disk)
            if dice is not None:
                share = dice.random()
                for record in file.pending:
                    _apply(content, record, lambda: dice.random() < share)  # noqa: B023 - used at once
            left[path] = bytes(content)
        return left


def put_back(files: Mapping[str, bytes], folder: Path) -> None:
    """Make a folder hold these files alone; SQLite's shared memory is not one of them."""
    for each in folder.iterdir():
        each.unlink()
    for path, content in files.items():
        if not path.endswith("-shm"):
            (folder / Path(path).name).write_bytes(content)
