"""Looks for commits in SQLite's log that were saved and cannot be read any more.

SQLite reads its log up to the first frame that is not right, and forgets the rest: after a crash that
is what was never committed. But each commit is synced before the next one is written. So where two
commits, one built upon the other, stand at or behind that frame, at least one that was answered for is
damaged. Layout: sqlite.org/fileformat2.html 4.1 to 4.3.
"""

import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CHECKED_BYTES_MAX: Final = 64 * 2**20
"""Longer logs are not looked through: it takes a second for each 20 MiB."""
_HEADER: Final = struct.Struct(">8I")
_FRAME: Final = struct.Struct(">6I")
_MAGIC: Final = {0x377F0682: "<", 0x377F0683: ">"}
"""The byte order of the checksums."""
_PAGE_BYTES: Final = 4_096
_WORD: Final = 0xFFFFFFFF

Sums = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Log:
    content: bytes
    order: str
    page: int
    salts: Sums
    sums: Sums
    sound: bool
    """Whether the header itself is right."""


@dataclass(frozen=True, slots=True)
class _Frame:
    commit: bool
    salts: Sums
    sums: Sums
    body: bytes
    """What its checksum is of."""


def lost_commits(log: Path, bytes_max: int = CHECKED_BYTES_MAX) -> int:
    """Count the saved commits that cannot be read (at least so many); 0 for a log as a crash leaves it.

    Also 0 for a log of more than `bytes_max`.
    """
    if not log.exists() or log.stat().st_size > bytes_max:
        return 0
    read = _read(log.read_bytes())
    if read is None:
        return 0
    longest = _longest_run(read, _unread(read))
    return longest - 1 if longest > 1 else 0


def _read(content: bytes) -> _Log | None:
    if len(content) < _HEADER.size + _FRAME.size + _PAGE_BYTES:
        return None
    magic, _, page, _, salt1, salt2, sum1, sum2 = _HEADER.unpack_from(content)
    order = _MAGIC.get(magic, "<" if sys.byteorder == "little" else ">")
    if magic in _MAGIC and _sums(content[:24], order, (0, 0)) == (sum1, sum2):
        return _Log(content, order, page, (salt1, salt2), (sum1, sum2), sound=True)
    _, _, salt1, salt2, _, _ = _FRAME.unpack_from(content, _HEADER.size)
    return _Log(content, order, _PAGE_BYTES, (salt1, salt2), (0, 0), sound=False)


def _frames(log: _Log) -> Iterator[_Frame]:
    size = _FRAME.size + log.page
    for at in range(_HEADER.size, len(log.content) - size + 1, size):
        _, commit, salt1, salt2, sum1, sum2 = _FRAME.unpack_from(log.content, at)
        body = log.content[at : at + 8] + log.content[at + _FRAME.size : at + size]
        yield _Frame(commit != 0, (salt1, salt2), (sum1, sum2), body)


def _sums(data: bytes, order: str, before: Sums) -> Sums:
    first, second = before
    for left, right in struct.iter_unpack(f"{order}II", data):
        first = (first + left + second) & _WORD
        second = (second + right + first) & _WORD
    return first, second


def _unread(log: _Log) -> Iterator[_Frame]:
    """Give the frames from the first one on that SQLite does not take."""
    frames = _frames(log)
    before = log.sums
    if log.sound:
        for frame in frames:
            if frame.salts != log.salts or _sums(frame.body, log.order, before) != frame.sums:
                yield frame
                break
            before = frame.sums
    yield from frames


def _longest_run(log: _Log, frames: Iterator[_Frame]) -> int:
    """Count the commits in the longest run of frames that continue one another."""
    longest = commits = 0
    before: Sums | None = None
    for frame in frames:
        if frame.salts != log.salts:
            commits, before = 0, None
            continue
        if before is None or _sums(frame.body, log.order, before) != frame.sums:
            commits = 0
        commits += frame.commit
        before = frame.sums
        longest = max(longest, commits)
    return longest
