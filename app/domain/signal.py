"""The signal: what a bot posts, read strictly into exact values."""

import hashlib
import json
import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from types import MappingProxyType

from app.domain.errors import ReasonCode, SignalError
from app.domain.market import Market, Markets
from app.domain.money import BASE_UNITS_MAX, amount_string, decimal_string, to_base_units

PRIORITY_MAX = 9
PRIORITY_DEFAULT = 5
SLIPPAGE_BPS_MAX = 9_999
TEXT_LENGTH_MAX = 128
"""Characters in client_order_id, strategy and idempotency keys."""
METADATA_BYTES_MAX = 4_096
"""As compact JSON in UTF-8."""
METADATA_DEPTH_MAX = 8
"""Objects and lists within each other."""
VALID_FOR_SECONDS_MAX = 86_400
AHEAD_SECONDS_MAX = 30
"""How far `signal_time` may lie ahead of the service's clock (clock skew of a bot)."""
PRICE_MAX = Decimal("1E+15")
PRICE_MIN = Decimal("1E-30")
NUMBER_DIGITS_MAX = 60
"""Digits, and zeros before them, that a posted number may have: hostile exponents cost nothing."""
US = 1_000_000
"""Microseconds in a second; every time inside is UTC microseconds since 1970."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE
)
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
"""NUL, which PostgreSQL keeps in no text, and lone surrogates, which UTF-8 cannot write."""
UNPRINTABLE = (
    r"\u0000-\u001f\u007f-\u00a0\u00ad\u1680\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff"
    r"\ufff9-\ufffb"
)
"""What no key or label holds, as a regular expression's class: controls, invisible characters and
spaces other than the common one. A list of its own, since `str.isprintable` differs from one version
of Python to the next."""
_UNPRINTABLE = re.compile(rf"[{UNPRINTABLE}\ud800-\udfff]")


class Action(StrEnum):
    """What to do with the base token."""

    BUY = "BUY"
    SELL = "SELL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """A valid signal with the defaults applied; exactly one of the sizes is set (base units)."""

    action: Action
    market: str
    size: int | None = None
    quote_size: int | None = None
    price: Decimal | None = None
    confidence: Decimal | None = None
    client_order_id: str | None = None
    priority: int = PRIORITY_DEFAULT
    valid_for_us: int | None = None
    signal_time_us: int | None = None
    strategy: str | None = None
    methods: tuple[str, ...] | None = None
    allow_public_fallback: bool = True
    max_slippage_bps: int = 50
    metadata: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        """Refuse, with ValueError, what no swap can be made of."""
        if (self.size is None) == (self.quote_size is None):
            raise ValueError("a signal has either size or quote_size")


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalRules:
    """What a signal is judged against: the configured markets and methods, and the defaults."""

    markets: Markets
    methods: Collection[str]
    max_slippage_bps: int = 50
    allow_public_fallback: bool = True


@dataclass(frozen=True, slots=True)
class ParsedSignal:
    """A signal and the fingerprint of what was explicitly posted (defaults left out), in hex."""

    signal: Signal
    fingerprint: str


def parse_signal(body: object, rules: SignalRules, now_us: int) -> ParsedSignal:
    """Read a decoded JSON object (numbers as int or Decimal) as a signal.

    Raises SignalError with the code and the field, never echoing the value.
    """
    if not isinstance(body, Mapping):
        raise SignalError(ReasonCode.BODY_NOT_OBJECT, "the body is not a JSON object")
    if any(key not in _READERS for key in body):
        known = ", ".join(_READERS)
        raise SignalError(
            ReasonCode.UNKNOWN_FIELD, "a field is not known", todo=f"use only: {known}"
        )
    given = {key: value for key, value in body.items() if value is not None}
    for key in ("action", "market"):
        if key not in given:
            raise _error(ReasonCode.MISSING_FIELD, key, "is missing")
    reading = _Reading(rules, now_us, _market(given["market"], rules))
    values = {key: _READERS[key](reading, key, value) for key, value in given.items()}
    if ("size" in values) == ("quote_size" in values):
        raise _error(ReasonCode.SIZE_CONFLICT, "size", "or quote_size: give exactly one")
    return ParsedSignal(_with_defaults(values, rules), fingerprint(values))


def fingerprint(values: Mapping[str, object]) -> str:
    """Hash the explicit values of a signal, in hex: equal for equal meaning (0.10 and 0.1)."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Decimal | Mapping[str, object]) -> object:
    """Say what JSON has no word for in its words."""
    return decimal_string(value) if isinstance(value, Decimal) else dict(value)


def _with_defaults(values: Mapping[str, object], rules: SignalRules) -> Signal:
    defaults: dict[str, object] = {
        "max_slippage_bps": rules.max_slippage_bps,
        "allow_public_fallback": rules.allow_public_fallback,
    }
    confidence = values.get("confidence")
    if isinstance(confidence, Decimal):
        defaults["priority"] = priority_of(confidence)
    renamed = {_RENAMED.get(key, key): value for key, value in values.items()}
    return Signal(**{**defaults, **renamed})  # type: ignore[arg-type]


def priority_of(confidence: Decimal) -> int:
    """Give the priority of a signal that names none: 9 x confidence, halves rounded up."""
    numerator, denominator = confidence.as_integer_ratio()
    return (2 * PRIORITY_MAX * numerator + denominator) // (2 * denominator)


@dataclass(frozen=True, slots=True)
class _Reading:
    rules: SignalRules
    now_us: int
    market: Market


def _error(code: ReasonCode, key: str, what: str, todo: str = "") -> SignalError:
    return SignalError(code, f"{key} {what}", todo=todo, field=key)


def _market(value: object, rules: SignalRules) -> Market:
    market = rules.markets.get(value) if isinstance(value, str) else None
    if market is None:
        known = ", ".join(sorted(rules.markets))
        raise _error(
            ReasonCode.UNKNOWN_MARKET, "market", "is not configured", f"use one of: {known}"
        )
    return market


def _read_market(reading: _Reading, _key: str, _value: object) -> str:
    return reading.market.name


def _action(_reading: _Reading, key: str, value: object) -> Action:
    if not isinstance(value, str) or value not in Action.__members__:
        raise _error(ReasonCode.UNKNOWN_ACTION, key, "is not known", "use BUY or SELL")
    return Action(value)


def _decimal(key: str, value: object) -> Decimal:
    """Read a JSON number, or a string of plain digits, of bounded length.

    Refuses bool, NaN and infinities. Zero comes back without its exponent, which has no bound.
    """
    if isinstance(value, str) and not _is_plain_decimal(value):
        raise _error(ReasonCode.INVALID_NUMBER, key, "is no decimal number", 'write 0.1 or "0.1"')
    if isinstance(value, bool) or not isinstance(value, (int, str, Decimal)):
        raise _error(ReasonCode.INVALID_FIELD, key, "is not a number", 'write 0.1 or "0.1"')
    if isinstance(value, int) and value.bit_length() > 4 * NUMBER_DIGITS_MAX:
        raise _error(ReasonCode.INVALID_NUMBER, key, "has too many digits")
    number = Decimal(value)
    if not number.is_finite():
        raise _error(ReasonCode.INVALID_NUMBER, key, "is not a finite number")
    if len(number.as_tuple().digits) > NUMBER_DIGITS_MAX:
        raise _error(ReasonCode.INVALID_NUMBER, key, "has too many digits")
    return number or Decimal(0)


def _is_plain_decimal(text: str) -> bool:
    whole, dot, places = text.removeprefix("-").partition(".")
    return (
        len(text) <= NUMBER_DIGITS_MAX
        and text.isascii()
        and whole.isdigit()
        and (places.isdigit() or not dot)
    )


def _size(reading: _Reading, key: str, value: object) -> int:
    number = _decimal(key, value)
    base = key == "size"
    token = reading.market.base if base else reading.market.quote
    least = reading.market.base_size_min if base else reading.market.quote_size_min
    if number <= 0:
        raise _error(ReasonCode.SIZE_NOT_POSITIVE, key, "is not above zero")
    if number > BASE_UNITS_MAX:  # in whole tokens: bounds the exponent before it is scaled
        raise _error(ReasonCode.SIZE_TOO_LARGE, key, "is too large to be expressed")
    amount = to_base_units(number, token.decimals)
    if amount is None:
        what = f"has more than the {token.decimals} decimals that {token.symbol} has"
        raise _error(ReasonCode.SIZE_TOO_PRECISE, key, what)
    if amount > BASE_UNITS_MAX:
        raise _error(ReasonCode.SIZE_TOO_LARGE, key, "is too large to be expressed")
    if amount < least:
        todo = f"post at least {amount_string(least, token.decimals)} {token.symbol}"
        raise _error(ReasonCode.SIZE_TOO_SMALL, key, "is below the market's minimum", todo)
    return amount


def _price(_reading: _Reading, key: str, value: object) -> Decimal:
    number = _decimal(key, value)
    if not PRICE_MIN <= number <= PRICE_MAX:
        raise _error(ReasonCode.PRICE_INVALID, key, "is not above zero or beyond any price")
    return number


def _confidence(_reading: _Reading, key: str, value: object) -> Decimal:
    number = _decimal(key, value)
    if not 0 <= number <= 1:
        raise _error(ReasonCode.INVALID_FIELD, key, "is not between 0 and 1")
    if number.adjusted() < -NUMBER_DIGITS_MAX:
        raise _error(ReasonCode.INVALID_NUMBER, key, "has too many digits")
    return number


def _text(_reading: _Reading, key: str, value: object) -> str:
    if not isinstance(value, str) or not is_key_text(value):
        what = f"is not a text of 1 to {TEXT_LENGTH_MAX} printable characters"
        raise _error(ReasonCode.INVALID_FIELD, key, what)
    return value


def is_key_text(value: str) -> bool:
    """Tell whether a text may serve as a key or label: 1 to 128 printable characters."""
    return 0 < len(value) <= TEXT_LENGTH_MAX and not _UNPRINTABLE.search(value)


def _integer(key: str, value: object, low: int, high: int) -> int:
    """Read a whole number within bounds; 5.0 is one, as in JSON Schema."""
    if isinstance(value, Decimal) and value.is_finite() and low <= value <= high:
        value = int(value) if value == int(value) else value
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise _error(ReasonCode.INVALID_FIELD, key, f"is not a whole number from {low} to {high}")
    return value


def _priority(_reading: _Reading, key: str, value: object) -> int:
    return _integer(key, value, 0, PRIORITY_MAX)


def _slippage(_reading: _Reading, key: str, value: object) -> int:
    return _integer(key, value, 0, SLIPPAGE_BPS_MAX)


def _valid_for(_reading: _Reading, key: str, value: object) -> int:
    number = _decimal(key, value)
    if not Decimal("0.001") <= number <= VALID_FOR_SECONDS_MAX:
        what = f"is not from 0.001 to {VALID_FOR_SECONDS_MAX} seconds"
        raise _error(ReasonCode.INVALID_FIELD, key, what)
    return math.floor(Fraction(number) * US)


def _signal_time(reading: _Reading, key: str, value: object) -> int:
    moment = parse_time(value) if isinstance(value, str) else None
    if moment is None:
        todo = "write RFC 3339, e.g. 2026-01-31T12:00:00Z"
        raise _error(ReasonCode.INVALID_FIELD, key, "is not a time with an offset", todo)
    if moment > reading.now_us + AHEAD_SECONDS_MAX * US:
        what = f"lies more than {AHEAD_SECONDS_MAX} s ahead"
        raise _error(ReasonCode.SIGNAL_TIME_AHEAD, key, what, "set the clock of the sender")
    return moment


def parse_time(text: str) -> int | None:
    """Read an RFC 3339 time with an offset as UTC microseconds, rounded down; None for another text.

    A leap second (:60) is none that can be told apart, and refused.
    """
    if not _RFC_3339.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _methods(reading: _Reading, key: str, value: object) -> tuple[str, ...]:
    names = value if isinstance(value, (list, tuple)) else ()
    if any(not isinstance(name, str) or name not in reading.rules.methods for name in names):
        known = ", ".join(sorted(reading.rules.methods))
        raise _error(
            ReasonCode.UNKNOWN_METHOD, key, "names a method that is not configured", f"use: {known}"
        )
    if not names or len(set(names)) != len(names):
        raise _error(ReasonCode.INVALID_FIELD, key, "is not a list of different method names")
    return tuple(names)


def _flag(_reading: _Reading, key: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise _error(ReasonCode.INVALID_FIELD, key, "is not true or false")
    return value


def _metadata(_reading: _Reading, key: str, value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping) or not _fits(value, METADATA_DEPTH_MAX):
        what = f"is not an object of storable values in at most {METADATA_DEPTH_MAX} levels"
        raise _error(ReasonCode.INVALID_FIELD, key, what)
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_plain)
    if len(text.encode()) > METADATA_BYTES_MAX:
        what = f"is larger than {METADATA_BYTES_MAX} bytes as JSON"
        raise _error(ReasonCode.INVALID_FIELD, key, what)
    return MappingProxyType(json.loads(text))


def _fits(value: object, levels: int) -> bool:
    """Tell whether metadata may hold a value, with `levels` more objects and lists in it."""
    match value:
        case str():
            return not _UNSTORABLE.search(value)
        case int():
            return value.bit_length() <= 4 * NUMBER_DIGITS_MAX
        case Decimal():
            return value.is_finite() and _digits(value) <= NUMBER_DIGITS_MAX
        case list():
            return levels > 0 and all(_fits(item, levels - 1) for item in value)
        case Mapping():
            pairs = value.items()
            return levels > 0 and all(
                isinstance(name, str) and _fits(name, 0) and _fits(item, levels - 1)
                for name, item in pairs
            )
        case _:
            return value is None


def _digits(number: Decimal) -> int:
    """Count the digits of a finite number as it is written out, from the first to the last."""
    _, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)
    return max(len(digits), len(digits) + exponent, -exponent)


_READERS: Mapping[str, Callable[[_Reading, str, object], object]] = MappingProxyType(
    {
        "action": _action,
        "market": _read_market,
        "size": _size,
        "quote_size": _size,
        "price": _price,
        "confidence": _confidence,
        "client_order_id": _text,
        "priority": _priority,
        "valid_for": _valid_for,
        "signal_time": _signal_time,
        "strategy": _text,
        "methods": _methods,
        "allow_public_fallback": _flag,
        "max_slippage_bps": _slippage,
        "metadata": _metadata,
    }
)
_RENAMED = {"valid_for": "valid_for_us", "signal_time": "signal_time_us"}
