"""Query parameters, cursors and ids, read strictly: what is not understood is a problem, never ignored."""

import re
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar
from urllib.parse import parse_qsl

from app.api.problems import Problem
from app.domain.errors import ReasonCode
from app.domain.signal import TEXT_LENGTH_MAX, is_key_text, parse_time

QUERY_FIELDS_MAX: Final = 32
INTEGER_MAX: Final = 2**63 - 1
_INTEGER = re.compile(r"[0-9]{1,19}", re.ASCII)
_ORDER_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
CURSOR_PATTERN: Final = "[0-7][0-9a-f]{47}"
_CURSOR = re.compile(CURSOR_PATTERN)
_TIME_DIGITS = 16

E = TypeVar("E", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Query:
    """The parameters of a request by name, each given once; empty values are no values of anything."""

    values: Mapping[str, str]

    def text(self, name: str) -> str | None:
        """Give a text of 1 to 128 printable characters."""
        value = self.values.get(name)
        if value is not None and not is_key_text(value):
            raise invalid(name, f"is not a text of 1 to {TEXT_LENGTH_MAX} printable characters")
        return value

    def choice(self, name: str, kind: type[E]) -> E | None:
        """Give a member of an enumeration."""
        value = self.values.get(name)
        if value is None:
            return None
        known = [member.value for member in kind]
        if value not in known:
            raise invalid(name, f"is not one of {', '.join(known)}")
        return kind(value)

    def market(self, name: str, markets: Collection[str]) -> str | None:
        """Give the name of a configured market."""
        value = self.values.get(name)
        if value is not None and value not in markets:
            what = f"{name} is not configured; use one of: {', '.join(sorted(markets))}"
            raise Problem(ReasonCode.UNKNOWN_MARKET, what, field=name)
        return value

    def integer(self, name: str, low: int, high: int, default: int) -> int:
        """Give a whole number from `low` to `high`."""
        value = self.values.get(name)
        if value is None:
            return default
        number = parse_integer(value)
        if number is None or not low <= number <= high:
            raise invalid(name, f"is not a whole number from {low} to {high}")
        return number

    def time_us(self, name: str) -> int | None:
        """Give an RFC 3339 time as UTC microseconds."""
        value = self.values.get(name)
        moment = None if value is None else parse_time(value)
        if value is not None and moment is None:
            raise invalid(name, "is not a time with an offset, like 2026-01-31T12:00:00Z")
        return moment

    def cursor(self, name: str) -> tuple[int, str] | None:
        """Give the place in a list that a cursor of ours stands for."""
        value = self.values.get(name)
        return None if value is None else read_cursor(value)


def invalid(name: str, what: str) -> Problem:
    """Give the problem of a parameter or header."""
    return Problem(ReasonCode.INVALID_PARAMETER, f"{name} {what}", field=name)


def read_query(raw: bytes, allowed: Collection[str]) -> Query:
    """Read a query string; raises Problem for a parameter that is not allowed, or given twice."""
    if not raw:
        return Query({})
    try:
        pairs = parse_qsl(
            raw.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=False,
            errors="strict",
            max_num_fields=QUERY_FIELDS_MAX,
        )
    except ValueError:
        what = f"the query is not UTF-8, or has more than {QUERY_FIELDS_MAX} parameters"
        raise Problem(ReasonCode.INVALID_PARAMETER, what) from None
    values = dict(pairs)
    if any(name not in allowed for name in values):
        known = f"use only: {', '.join(allowed)}" if allowed else "this path takes none"
        raise Problem(ReasonCode.INVALID_PARAMETER, f"a parameter is not known; {known}")
    if len(values) != len(pairs):
        raise Problem(ReasonCode.INVALID_PARAMETER, "a parameter is given twice")
    return Query(values)


def parse_integer(text: str) -> int | None:
    """Read a whole number of plain digits that fits 64 bits; None when it is none."""
    number = int(text) if _INTEGER.fullmatch(text) else None
    return None if number is None or number > INTEGER_MAX else number


def is_order_id(text: str) -> bool:
    """Tell whether a text can be an order's id: a UUID in lower case."""
    return _ORDER_ID.fullmatch(text) is not None


def write_cursor(accepted_at_us: int, order_id: str) -> str:
    """Give the cursor that continues after an order, opaque to clients: time and id in hex."""
    return f"{accepted_at_us:016x}{order_id.replace('-', '')}"


def read_cursor(text: str) -> tuple[int, str]:
    """Give the place that a cursor stands for; raises Problem for what `write_cursor` cannot write."""
    if not _CURSOR.fullmatch(text):
        what = "the cursor is none that this service gives out; start without one"
        raise Problem(ReasonCode.INVALID_CURSOR, what, field="cursor")
    return int(text[:_TIME_DIGITS], 16), str(uuid.UUID(hex=text[_TIME_DIGITS:]))
