"""Recovers the readable rows of a damaged SQLite orders database into a fresh one.

The damaged file is only read, in a copy. A table is read by ranges of rowids: a range that meets an
unreadable page is halved until what cannot be read is alone. What the indexes still know of a table
tells how much is missing. No value is guessed: a row that the service could not read is left out.
"""

import shutil
import sqlite3
import struct
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from sqlalchemy import BigInteger, Boolean, Column, Integer, LargeBinary, Table

from app.database import rows
from app.database.log_check import lost_commits
from app.database.migrate import migrate_file
from app.database.tables import (
    ATTEMPTS,
    CHECKPOINT,
    EVENTS,
    META,
    ORDER_KEYS,
    ORDERS,
    SUBMISSIONS,
)
from app.domain.errors import StartupError

TABLES: Final = (META, CHECKPOINT, ORDERS, ORDER_KEYS, ATTEMPTS, SUBMISSIONS, EVENTS)
"""Parents first. Processes are left out: none of them lives in the new file."""
PARENTS: Final[Mapping[str, tuple[str, str]]] = {
    "order_keys": ("orders", "order_id"),
    "attempts": ("orders", "order_id"),
    "submissions": ("attempts", "attempt_id"),
}
PROBES_MAX: Final = 200_000
"""Ranges of one table that may fail before the rest of it is given up."""
ROWID_MAX: Final = 2**40
"""Taken as the end of a table whose last row and indexes cannot be read."""
_HEADER: Final = struct.pack(
    # page size 4096, WAL twice, nothing reserved, fractions 64/32/32; then counter, size (0: as the
    # file's), no free pages, cookie, schema format 4, UTF-8 (sqlite.org/fileformat2.html 1.3)
    ">16sH6B9I40x",
    b"SQLite format 3\0",
    *(4096, 2, 2, 0, 64, 32, 32),
    *(1, 0, 0, 0, 1, 4, 0, 0, 1),
)
_FIXED_BYTES: Final = 24
"""Of these, what is the same in every database of ours."""

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class TableReport:
    """One table: rows recovered, rows known to be lost, and whether more may be lost than is known."""

    recovered: int
    lost: int
    more_may_be_lost: bool

    def __str__(self) -> str:
        """Say it in words."""
        least = "at least " if self.more_may_be_lost else ""
        return f"{self.recovered} recovered, {least}{self.lost} lost"


@dataclass(frozen=True, slots=True)
class SalvageReport:
    """What was recovered, table by table, and what the service must not trust for it."""

    tables: Mapping[str, TableReport]
    orphaned_signatures: tuple[str, ...]
    """Signatures of attempts whose order is lost: they are not in the new file, and may still land."""
    incomplete_orders: tuple[str, ...]
    """Orders that lack an attempt: the chain's memos must tell what became of it."""
    lost_commits: int = 0
    """Commits that lie behind a damaged place of the log, at least: their rows are in no table."""

    @property
    def complete(self) -> bool:
        """Tell whether nothing is known to be missing."""
        whole = all(not t.lost and not t.more_may_be_lost for t in self.tables.values())
        told = self.orphaned_signatures or self.incomplete_orders or self.lost_commits
        return whole and not told


def salvage(source: Path, target: Path) -> SalvageReport:
    """Make `target` from what can be read of `source`, which stays as it is; blocks.

    The new file's orders are to be held against the chain before anything is signed. Raises
    StartupError: DATABASE_EXISTS when there is a target, DATABASE_CORRUPT when nothing can be read,
    BACKUP_FAILED when the new file cannot be written.
    """
    if target.exists():
        raise StartupError("DATABASE_EXISTS", f"{target} is there already", "name a new file")
    if not source.is_file():
        raise StartupError("DATABASE_UNREACHABLE", f"{source} is no file", "name the damaged file")
    try:
        lost = lost_commits(source.with_name(f"{source.name}-wal"), sys.maxsize)
        migrate_file(target, "orders", target.parent)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            copy = _copied(source, Path(folder))
            with closing(_opened(copy, source)) as old, closing(sqlite3.connect(target)) as new:
                report = _Salvage(old, new).run()
        return replace(report, lost_commits=lost)
    except BaseException as error:
        for end in ("", "-journal", "-wal", "-shm"):
            target.with_name(target.name + end).unlink(missing_ok=True)
        if isinstance(error, (sqlite3.Error, OSError)):
            raise _unwritten(target, error) from error
        raise


def _copied(source: Path, folder: Path) -> Path:
    """Copy a database and its log; a header that is damaged is made anew in the copy."""
    copy = folder / "damaged.db"
    shutil.copyfile(source, copy)
    log = source.with_name(f"{source.name}-wal")
    if log.exists():
        shutil.copyfile(log, folder / "damaged.db-wal")
    with copy.open("r+b") as file:
        if file.read(_FIXED_BYTES) != _HEADER[:_FIXED_BYTES]:
            file.seek(0)
            file.write(_HEADER)
    return copy


def _opened(copy: Path, source: Path) -> sqlite3.Connection:
    """Open a copy, tolerant of a schema in parts; raises StartupError when it has none at all."""
    conn = sqlite3.connect(copy, isolation_level=None)
    conn.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    try:
        conn.execute("PRAGMA writable_schema=ON")
        conn.execute("PRAGMA cell_size_check=ON")
        names = {name for (name,) in conn.execute("SELECT name FROM sqlite_master")}
    except sqlite3.DatabaseError as error:
        conn.close()
        raise _hopeless(source, str(error)) from error
    if ORDERS.name not in names:
        conn.close()
        raise _hopeless(source, "it has no table of orders")
    return conn


def _unwritten(target: Path, error: Exception) -> StartupError:
    what = f"{target} cannot be written ({getattr(error, 'strerror', error)})"
    return StartupError("BACKUP_FAILED", what, "look at the folder and its disk")


def _hopeless(source: Path, why: str) -> StartupError:
    what = f"nothing can be recovered from {source} ({why})"
    return StartupError("DATABASE_CORRUPT", what, "restore a backup")


class _Salvage:
    """The transfer from one open database to another."""

    def __init__(self, old: sqlite3.Connection, new: sqlite3.Connection) -> None:
        self._old = old
        self._new = new
        self._kept: dict[str, set[str]] = {"orders": set(), "attempts": set()}
        self._orphans: list[str] = []

    def run(self) -> SalvageReport:
        self._new.execute("PRAGMA foreign_keys=ON")
        with self._new:
            reports = {table.name: self._transfer(table) for table in TABLES}
            incomplete = self._counted_anew()
        return SalvageReport(reports, tuple(self._orphans), incomplete)

    def _transfer(self, table: Table) -> TableReport:
        columns = [column.name for column in table.columns]
        there = [name for _, name, *_ in self._asked(f"PRAGMA table_info({table.name})")]
        names = [name for name in columns if name in there]
        if not names:
            return TableReport(0, 0, more_may_be_lost=True)
        reader = _TableReader(self._old, table.name, names)
        places = ", ".join("?" for _ in names)
        insert = f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({places})"  # noqa: S608 - our names
        recovered = 0
        for row in reader.rows():
            recovered += self._inserted(table, insert, dict(zip(names, row, strict=True)))
        lost = max(reader.known - recovered, reader.seen - recovered)
        return TableReport(recovered, lost, more_may_be_lost=not reader.sure)

    def _asked(self, statement: str) -> Sequence[Row]:
        try:
            return self._old.execute(statement).fetchall()
        except sqlite3.DatabaseError:
            return []

    def _inserted(self, table: Table, insert: str, values: dict[str, Any]) -> bool:
        """Put a row in, unless it is damaged or what it belongs to is lost."""
        if not _sound(table, values):
            return False
        parent = PARENTS.get(table.name)
        if parent is not None and values[parent[1]] not in self._kept[parent[0]]:
            if table is ATTEMPTS:
                self._orphans.append(values["signature"])
            return False
        try:
            self._new.execute(insert, tuple(values.values()))
        except (sqlite3.IntegrityError, UnicodeEncodeError):
            return False
        if table.name in self._kept:
            self._kept[table.name].add(values[table.primary_key.columns[0].name])
        return True

    def _counted_anew(self) -> tuple[str, ...]:
        """Let orders count the attempts that are there: each write to an order matches the number."""
        count = "(SELECT count(*) FROM attempts a WHERE a.order_id = orders.order_id)"
        ids = self._new.execute(f"SELECT order_id FROM orders WHERE attempt_count <> {count}")  # noqa: S608
        lacking = tuple(order_id for (order_id,) in ids)
        self._new.execute(f"UPDATE orders SET attempt_count = {count}")  # noqa: S608 - as above
        return lacking


class _TableReader:
    """Reads a table around what cannot be read."""

    def __init__(self, conn: sqlite3.Connection, table: str, columns: Sequence[str]) -> None:
        self._conn = conn
        self._table = table
        self._columns = columns
        self._probes = 0
        self._failed = False
        self._rowids, self._index_whole = self._indexed()
        self.seen = 0

    @property
    def known(self) -> int:
        """How many rows the indexes know of."""
        return len(self._rowids)

    @property
    def sure(self) -> bool:
        """Tell whether no row can be missing unnoticed."""
        return not self._failed or self._index_whole

    def rows(self) -> Iterator[Row]:
        """Give every row that can be read, once, in the order of rowids."""
        waiting = [self._bounds()]
        select = ", ".join(self._columns)
        query = (
            f"SELECT rowid, {select} FROM {self._table} NOT INDEXED"  # noqa: S608 - our names
            " WHERE rowid BETWEEN ? AND ? ORDER BY rowid"
        )
        while waiting:
            low, high = waiting.pop()
            last = low - 1
            try:
                for row in self._conn.execute(query, (low, high)):
                    last = row[0]
                    self.seen += 1
                    yield row[1:]
            except sqlite3.DatabaseError:
                waiting += self._halves(last + 1, high)

    def _halves(self, low: int, high: int) -> list[tuple[int, int]]:
        self._failed = True
        self._probes += 1
        if low >= high or self._probes > PROBES_MAX:
            return []
        middle = (low + high) // 2
        return [(middle + 1, high), (low, middle)]

    def _bounds(self) -> tuple[int, int]:
        ends: list[int] = []
        for end in ("min", "max"):
            try:
                (found,) = self._conn.execute(
                    f"SELECT {end}(rowid) FROM {self._table} NOT INDEXED"  # noqa: S608 - our names
                ).fetchone()
                ends.append(found or 0)
            except sqlite3.DatabaseError:
                self._failed = True
                ends.append((0 if end == "min" else ROWID_MAX) if not self._rowids else 0)
        return min(ends[0], *self._rowids, ends[0]), max(ends[1], *self._rowids, ends[1])

    def _indexed(self) -> tuple[set[int], bool]:
        """Collect the rowids that whole-table indexes know; True when one of them was read to its end."""
        found: set[int] = set()
        whole = False
        try:
            indexes = self._conn.execute(f"PRAGMA index_list({self._table})").fetchall()
        except sqlite3.DatabaseError:
            return found, False
        for _, name, _, _, partial in indexes:
            if not partial:
                whole |= self._walk(name, found)
        return found, whole

    def _walk(self, index: str, found: set[int]) -> bool:
        query = f'SELECT rowid FROM {self._table} INDEXED BY "{index}"'  # noqa: S608 - our names
        try:
            found.update(rowid for (rowid,) in self._conn.execute(query))
        except sqlite3.DatabaseError:
            return False
        return True


# ---------------------------------------------------------------- which rows are sound


def _sound(table: Table, values: Mapping[str, Any]) -> bool:
    """Tell whether the service could read a row: its types, and what they spell."""
    if not all(_fits(table.columns[name], value) for name, value in values.items()):
        return False
    missing = {column.name: None for column in table.columns}
    row: Any = SimpleNamespace(**{**missing, **values})
    try:
        if table is ORDERS:
            rows.order_of(row)
        elif table is ATTEMPTS:
            rows.attempt_of(row, ())
        elif table is SUBMISSIONS:
            rows.submission_of(row)
        elif table is EVENTS:
            rows.event_of(row)
    except Exception:  # noqa: BLE001 - whatever a damaged value breaks, the row is not readable
        return False
    return True


def _fits(column: Column[Any], value: object) -> bool:
    if value is None:
        return bool(column.nullable)
    if isinstance(column.type, (Integer, BigInteger, Boolean)):
        return isinstance(value, int)
    return isinstance(value, bytes if isinstance(column.type, LargeBinary) else str)
