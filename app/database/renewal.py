"""Makes sure that SQLite's log is on the disk, and not only in the kernel's memory.

After a sync that failed the kernel may take the pages for written: the next sync succeeds and saves
nothing. SQLite itself writes what a failed commit had written anew, from the same place in its log. But
when the log is read back (by the next process, or once all connections were closed), that commit is
found in memory, taken for good, and built upon; after a power loss the log ends where it is missing.
So whoever connects to write first writes the log's bytes once more, under SQLite's write lock.
"""

import os
import sqlite3
from pathlib import Path
from typing import Final

CHUNK_BYTES: Final = 2**20


def renew_log(connection: sqlite3.Connection, database: Path) -> None:
    """Write a log's own bytes again and sync them; raises sqlite3.Error or OSError.

    The log is never locked by SQLite through its own file, so that opening it here releases no lock.
    """
    real = database.resolve()
    log = real.with_name(f"{real.name}-wal")
    connection.execute("BEGIN IMMEDIATE")
    try:
        if log.exists() and log.stat().st_size:
            _rewrite(log)
    finally:
        connection.execute("ROLLBACK")


def _rewrite(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        at = 0
        while chunk := os.pread(descriptor, CHUNK_BYTES, at):
            at += os.pwrite(descriptor, chunk, at)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
