"""How long anything may wait, and how much: every wait on a database has a limit."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of one database's writer and readers."""

    waiting_units_max: int = 20_000
    """Units that may wait for the writer; beyond it the database is busy."""
    write_seconds: float = 15.0
    """Longest wait for a unit; then its outcome counts as unknown."""
    read_seconds: float = 10.0
    """Longest read; then the database is busy."""
    pool_seconds: float = 2.0
    """Longest wait for a free connection; then the database is busy."""
    connect_seconds: float = 5.0
    """Longest wait for a new connection to PostgreSQL."""
    lock_ms: int = 5_000
    """Longest wait for a lock that another program or transaction holds."""
    statement_ms: int = 10_000
    """Longest statement on PostgreSQL."""
    idle_ms: int = 4_000
    """Longest pause within a transaction on PostgreSQL: a process that is stopped in one keeps its locks
    not much longer than its lease."""
