"""One process for each SQLite file, kept out by a lock on a file beside it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.domain.errors import StartupError

UNFINISHED = ".restoring"
"""Ends the name of a file that is beside a database while another one takes its place."""


@contextmanager
def file_lock(database: Path, *, unfinished_too: bool = False) -> Iterator[None]:
    """Hold `<database>.lock`; raises StartupError(DATABASE_LOCKED) while another process does.

    A database whose restore did not come to its end is refused: RESTORE_UNFINISHED.

    The file stays: removing it would let two processes lock two files of one name. The kernel lets the
    lock go with the process, however that ends.
    """
    real = database.resolve()  # another name of the same file is the same database
    path = real.with_name(f"{real.name}.lock")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        what = f"{path} cannot be made ({error.strerror})"
        raise StartupError("DATABASE_UNREACHABLE", what, "look at its folder") from error
    try:
        _take(descriptor, database)
        if not unfinished_too and real.with_name(real.name + UNFINISHED).exists():
            what = f"a restore of {database} did not come to its end"
            raise StartupError("RESTORE_UNFINISHED", what, "run synergy7 restore again")
        _sign(descriptor, path)
        yield
    finally:
        os.close(descriptor)


def _sign(descriptor: int, path: Path) -> None:
    """Say who holds it."""
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except OSError as error:
        what = f"{path} cannot be written ({error.strerror})"
        raise StartupError("DATABASE_UNREACHABLE", what, "look at its disk") from error


def _take(descriptor: int, database: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
        what = f"{database} is in use by process {holder}"
        todo = "stop that process, or name another database"
        raise StartupError("DATABASE_LOCKED", what, todo) from error
