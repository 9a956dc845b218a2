"""Answers as plain values, written straight to the server: no response classes in between."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from starlette.types import Send

Header = tuple[bytes, bytes]

JSON_TYPE: Final = b"application/json"
_COMMON: Final[tuple[Header, ...]] = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer."""

    status: int
    body: bytes
    content_type: bytes = JSON_TYPE
    headers: tuple[Header, ...] = ()

    async def send(self, send: Send, *, head: bool) -> None:
        """Send it; without the body when it answers a HEAD request."""
        headers = [
            (b"content-type", self.content_type),
            (b"content-length", str(len(self.body)).encode()),
            *_COMMON,
            *self.headers,
        ]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if head else self.body})


def json_answer(document: object, status: int = 200, headers: tuple[Header, ...] = ()) -> Answer:
    """Answer with a document as JSON."""
    return Answer(status, to_json(document), JSON_TYPE, headers)


def to_json(document: object) -> bytes:
    """Write a document as JSON, read-only mappings in it as objects."""
    return _ENCODER.encode(document).encode()


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no place in a document")


_ENCODER = json.JSONEncoder(
    separators=(",", ":"), default=_plain, check_circular=False, allow_nan=False
)
