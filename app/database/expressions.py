"""SQL that SQLAlchemy does not write by itself, for both databases."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import BigInteger, ColumnElement, func, literal_column, text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import TextClause
from sqlalchemy.sql.functions import FunctionElement

LOW_BITS: Final = 32
LOW_MASK: Final = 2**LOW_BITS - 1


class NowUs(FunctionElement[int]):
    """The database's clock, as UTC microseconds, read when the statement runs."""

    name = "now_us"
    type = BigInteger()
    inherit_cache = True


@compiles(NowUs, "sqlite")
def _now_sqlite(_element: NowUs, _compiler: SQLCompiler, **_options: object) -> str:
    # whole seconds, in integers: SQLite counts in long doubles otherwise, and those become NULL in a
    # process whose native code left the x87 registers in use (a Solana VM does). One process at most
    # judges leases on SQLite, so that no fraction of a second is missed.
    return "CAST(strftime('%s', 'now') AS INTEGER) * 1000000"


@compiles(NowUs, "postgresql")
def _now_postgresql(_element: NowUs, _compiler: SQLCompiler, **_options: object) -> str:
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)"


def constant(value: StrEnum) -> ColumnElement[str]:
    """Spell a status as a constant, so that partial indexes are matched (a parameter hides it)."""
    return literal_column(f"'{value.value}'")


def constants(values: Iterable[StrEnum]) -> TextClause:
    """Spell statuses as a list for `IN`."""
    return text("(" + ", ".join(f"'{value.value}'" for value in values) + ")")


def exact_sum(column: ColumnElement[Any], label: str) -> tuple[ColumnElement[Any], ...]:
    """Add up a column of 64-bit amounts without overflow: two columns, read by `summed`."""
    high = func.coalesce(func.sum(column.op(">>")(literal_column(str(LOW_BITS)))), 0)
    low = func.coalesce(func.sum(column.op("&")(literal_column(str(LOW_MASK)))), 0)
    return high.label(f"{label}_high"), low.label(f"{label}_low")


def summed(row: Any, label: str) -> int:  # noqa: ANN401 - a row of any shape
    """Read what `exact_sum` added up."""
    high, low = getattr(row, f"{label}_high"), getattr(row, f"{label}_low")
    return (int(high) << LOW_BITS) + int(low)
