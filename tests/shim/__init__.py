"""Stands between a process and its disk and clock: faults, clock jumps, and a journal of its writes.

`shim.c` is loaded into a process by LD_PRELOAD; a `Control` steers it while it runs.
"""

import hashlib
import mmap
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from enum import IntFlag
from pathlib import Path
from typing import Final, Self

from tests.needs import skip_or_fail

SOURCE: Final = Path(__file__).with_name("shim.c")
PAGE: Final = 4_096


class Calls(IntFlag):
    """Which calls are given an errno; ALL means every one of them."""

    ALL = 0
    WRITE = 1
    SYNC = 2
    SIZE = 4


class Control:
    """A mapped page that a running process reads at each call; the numbers are in native order."""

    def __init__(self, path: Path) -> None:
        """Map a file made by `create`."""
        self.path = path
        with path.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), PAGE)

    @classmethod
    def create(cls, path: Path) -> Self:
        """Make a control that changes nothing yet."""
        path.write_bytes(bytes(PAGE))
        return cls(path)

    def set_clock_offset(self, us: int) -> None:
        """Move the process's wall clock by so many microseconds; its monotonic clock stays."""
        struct.pack_into("=q", self._page, 0, us)

    def set_errno(self, number: int, calls: Calls = Calls.ALL, times: int = 0) -> None:
        """Let these calls on the watched files fail so, `times` times (0: until set anew); 0 heals."""
        struct.pack_into("=i", self._page, 8, 0)
        struct.pack_into("=q", self._page, 24, times)
        struct.pack_into("=i", self._page, 12, calls)
        struct.pack_into("=i", self._page, 8, number)

    def failed(self) -> int:
        """Give how many calls have failed so."""
        return int(struct.unpack_from("=q", self._page, 16)[0])


def build() -> Path | None:
    """Compile the library, once for each text of it; None where there is no compiler or no Linux."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        return None
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"synergy7-shim-{os.getuid()}"
    library = folder / f"shim-{digest}.so"
    if not library.exists():
        folder.mkdir(mode=0o700, exist_ok=True)
        fresh = library.with_suffix(f".{os.getpid()}")
        flags = ("-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror")
        subprocess.run([compiler, *flags, "-o", str(fresh), str(SOURCE), "-ldl"], check=True)
        fresh.replace(library)  # at once: other test processes build it too
    return library


def built() -> Path:
    """Give the library, or leave the test: skipped, or failed where everything must be there."""
    return build() or skip_or_fail("the disk shim needs Linux and a C compiler (cc or gcc)")


def environment(
    so: Path, control: Control, prefix: Path | str, journal: Path | None = None
) -> dict[str, str]:
    """Give what to add to a process's environment; its child processes get it too.

    Watched are the files whose real absolute path begins with `prefix`: a folder's with its final
    slash, or several files of one stem.
    """
    folder, _, stem = str(prefix).rpartition("/")
    added = {
        "LD_PRELOAD": str(so),
        "S7_SHIM_CONTROL": str(control.path.resolve()),
        "S7_SHIM_PREFIX": f"{Path(folder or '/').resolve()}/{stem}",
    }
    return added if journal is None else {**added, "S7_SHIM_JOURNAL": str(journal.resolve())}
