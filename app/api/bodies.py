"""Reading a body: bounded, strict JSON with exact numbers."""

import asyncio
import json
from decimal import Decimal, InvalidOperation
from typing import Final

from starlette.types import Receive

from app.api.problems import Problem
from app.domain.errors import ReasonCode

BODY_BYTES_MAX: Final = 1 << 20
DROPPED_BYTES_MAX: Final = 32 << 20
"""How much of a body that is too large is read and dropped, so that a plain client sees the answer."""
BODY_SECONDS_MAX: Final = 30
"""How long a body may take to arrive."""
NUMBER_LENGTH_MAX: Final = 128
"""Characters of a JSON number, and the powers of ten it may reach either way: hostile ones cost time."""
_CLOSE = ((b"connection", b"close"),)


async def read_body(receive: Receive, declared: int | None) -> bytes:
    """Read the whole body; `declared` is its Content-Length. Raises Problem when it is too large."""
    message = await receive()
    body: bytes = message.get("body", b"")
    if message["type"] != "http.request":
        raise Problem(ReasonCode.BAD_REQUEST, "the connection ended before the body")
    if not message.get("more_body", False):
        return _bounded(body)
    try:
        async with asyncio.timeout(BODY_SECONDS_MAX):
            return await _read_rest(receive, body, declared or 0)
    except TimeoutError:
        what = f"the body did not arrive within {BODY_SECONDS_MAX} s"
        raise Problem(ReasonCode.BAD_REQUEST, what, headers=_CLOSE) from None


async def _read_rest(receive: Receive, first: bytes, declared: int) -> bytes:
    chunks, size = [first], len(first)
    while size <= DROPPED_BYTES_MAX and declared <= DROPPED_BYTES_MAX:
        message = await receive()
        if message["type"] != "http.request":
            raise Problem(ReasonCode.BAD_REQUEST, "the connection ended before the body")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size <= BODY_BYTES_MAX:
            chunks.append(chunk)
        if not message.get("more_body", False):
            break
    if size > BODY_BYTES_MAX or declared > BODY_BYTES_MAX:
        raise _too_large()
    return b"".join(chunks)


def _bounded(body: bytes) -> bytes:
    if len(body) > BODY_BYTES_MAX:
        raise _too_large()
    return body


def _too_large() -> Problem:
    what = f"the body has more than {BODY_BYTES_MAX} bytes"
    return Problem(ReasonCode.BODY_TOO_LARGE, what, headers=_CLOSE)


def parse_json(body: bytes) -> object:
    """Decode a JSON document: numbers as int or Decimal, exactly.

    Raises Problem for what is no JSON (RFC 8259, without NaN and infinities), for an object that names a
    key twice, for nesting beyond the decoder's depth, and for numbers too long to be meant.
    """
    try:
        document: object = _DECODER.decode(body.decode())
        return document
    except Problem:
        raise
    except UnicodeDecodeError:
        raise Problem(ReasonCode.MALFORMED_JSON, "the body is not UTF-8") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Problem(ReasonCode.MALFORMED_JSON, f"the body is no JSON at {where}") from None
    except RecursionError:
        raise Problem(ReasonCode.MALFORMED_JSON, "the body is nested too deeply") from None


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Problem(ReasonCode.MALFORMED_JSON, "an object names a key twice")
    return members


def _integer(text: str) -> int:
    if len(text) > NUMBER_LENGTH_MAX:
        raise _number("a number is too long")
    return int(text)


def _decimal(text: str) -> Decimal:
    if len(text) > NUMBER_LENGTH_MAX:
        raise _number("a number is too long")
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise _number("a number's exponent is too large") from None
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or abs(exponent) > NUMBER_LENGTH_MAX:
        raise _number("a number's exponent is too large")
    return number


def _constant(_name: str) -> object:
    raise _number("a number is not finite")


def _number(what: str) -> Problem:
    return Problem(ReasonCode.INVALID_NUMBER, what)


_DECODER = json.JSONDecoder(
    parse_float=_decimal,
    parse_int=_integer,
    parse_constant=_constant,
    object_pairs_hook=_object,
)
