"""The little of HTTP that the sandbox needs, on bare ASGI."""

import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

JSON_TYPE = (b"content-type", b"application/json")
TEXT_TYPE = (b"content-type", b"text/plain")
BODY_BYTES_MAX = 50 * 1_024  # Agave's limit


class Dropped(Exception):
    """The connection is to be closed without an answer."""


class BodyTooLarge(Exception):
    """The request's body is over the limit."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request that was read whole. `client` is its IP address, header names are lower case."""

    method: str
    path: str
    query: str
    body: bytes
    port: int
    client: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Response:
    """An answer."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = (JSON_TYPE,)


Handler = Callable[[Request], Awaitable[Response]]


def json_response(
    document: object, status: int = 200, headers: tuple[tuple[bytes, bytes], ...] = ()
) -> Response:
    """Answer with a JSON document."""
    body = json.dumps(document, separators=(",", ":")).encode()
    return Response(status, body, (JSON_TYPE, *headers))


def text_response(text: str, status: int) -> Response:
    """Answer with a text."""
    return Response(status, text.encode(), (TEXT_TYPE,))


async def read_request(scope: Scope, receive: Receive) -> Request:
    """Read a request; raises BodyTooLarge, and Dropped when the client is gone."""
    body = b""
    headers = scope.get("headers", ())  # their names come in lower case
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Dropped
        body += message.get("body", b"")
        if len(body) > BODY_BYTES_MAX:
            raise BodyTooLarge
        if not message.get("more_body", False):
            break
    return Request(
        method=scope["method"],
        path=scope["path"],
        query=scope.get("query_string", b"").decode("latin-1"),
        body=body,
        port=server_port(scope),
        client=str((scope.get("client") or [""])[0]),
        headers={key.decode("latin-1"): value.decode("latin-1") for key, value in headers},
    )


def server_port(scope: Scope) -> int:
    """Give the port a client came in on; 0 where there is none."""
    server = scope.get("server")
    return int(server[1] or 0) if server else 0


async def send_response(send: Send, response: Response) -> None:
    """Send an answer."""
    length = (b"content-length", str(len(response.body)).encode())
    headers = [*response.headers, length]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})
