"""The one JSON-RPC client: every answer is a value, nothing that can fail raises.

Failures that happen before any byte can have left (`NeverSent`) are kept apart from those after which
nobody knows (`NoReply`); neither the URL nor an exception's text is ever kept, keys live in URLs.
"""

import asyncio
import itertools
import json
import re
import ssl
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, Protocol
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import certifi

BODY_BYTES_MAX: Final = 8 * 1024 * 1024
"""Largest answer read; getMultipleAccounts of a hundred accounts stays far below."""
MESSAGE_LENGTH_MAX: Final = 500
_CONNECT_SECONDS: Final = 1.0
_NEVER_SENT: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientConnectorCertificateError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
    aiohttp.NonHttpUrlClientError,
)
"""No connection was made, or none was free: nothing was written to any."""
_RETRY_AFTER: Final = re.compile(
    r"retry after\s+(\d{1,9}(?:\.\d{1,9})?)\s*(ms|s)\b", re.IGNORECASE | re.ASCII
)

_SECONDS: Final = re.compile(r"\d{1,9}(\.\d{1,9})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Result:
    """A JSON-RPC result; `headers` in lower case."""

    value: object
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RpcError:
    """An error answer, enveloped or not; `code` is None when the body was no JSON-RPC error."""

    http: int
    code: int | None
    message: str
    data: object = None
    retry_after_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Garbled:
    """An answer that means nothing, with a status that says success."""

    http: int


@dataclass(frozen=True, slots=True)
class NeverSent:
    """Provably no byte of the request reached anybody."""

    why: str


@dataclass(frozen=True, slots=True)
class NoReply:
    """The request may have been received; nobody answered in time or whole."""

    why: str


Answer = Result | RpcError | Garbled | NeverSent | NoReply


@dataclass(frozen=True, slots=True)
class Raw:
    """An HTTP answer as it came; `headers` in lower case, a `body` beyond its bound cut off behind it."""

    http: int
    headers: Mapping[str, str]
    body: bytes


Exchanged = Raw | NeverSent | NoReply


class Observer(Protocol):
    """Who counts the requests. Never raises."""

    def rpc(self, endpoint: str, rpc_method: str, outcome: str, seconds: float) -> None:
        """A request ended."""
        ...


class JsonRpcClient:
    """A client of one endpoint, with connections kept alive."""

    def __init__(
        self,
        url: str,
        *,
        timeout_seconds: float,
        observer: Observer,
        headers: Mapping[str, str] | None = None,
        connections_max: int = 64,
    ) -> None:
        """Make a client; `timeout_seconds` bounds a whole call unless the call says otherwise."""
        self.endpoint = endpoint_label(url)
        self._url = url
        self._timeout_seconds = timeout_seconds
        self._observer = observer
        self._ids = itertools.count(1)
        self._headers = dict(headers or {})
        self._connections_max = connections_max
        self._http: aiohttp.ClientSession | None = None
        self._closed = False

    def __repr__(self) -> str:
        """Name the host only: keys live in paths and queries."""
        return f"JsonRpcClient({self.endpoint})"

    async def close(self) -> None:
        """Close the connections."""
        self._closed = True
        if self._http is not None:
            await self._http.close()

    async def call(
        self,
        method: str,
        params: Sequence[object] | Mapping[str, object],
        *,
        path: str = "",
        timeout_seconds: float | None = None,
    ) -> Answer:
        """Ask once, `path` as for `exchange`; never retries, never raises but CancelledError."""
        request = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}
        body = json.dumps(request, separators=(",", ":")).encode()
        post = self._send("POST", body, path, "application/json", BODY_BYTES_MAX)
        raw, seconds = await _within(self._seconds(timeout_seconds), post)
        answer = read_answer(raw.http, raw.headers, raw.body) if isinstance(raw, Raw) else raw
        self._observer.rpc(self.endpoint, method, outcome_label(answer), seconds)
        return answer

    async def exchange(
        self,
        label: str,
        body: bytes | None,
        *,
        http_method: str = "POST",
        path: str = "",
        content_type: str = "application/json",
        timeout_seconds: float | None = None,
        body_bytes_max: int = BODY_BYTES_MAX,
    ) -> Exchanged:
        """Make one HTTP request, for what is no JSON-RPC; counted under `label`.

        `path` is put behind the URL's path and before its query; a query of its own (`/send?method=x`,
        `?only=true`) goes behind the URL's. Follows no redirection, never raises but CancelledError. A
        POST leaves once at most; a GET may be repeated on a connection that was closed meanwhile.
        """
        send = self._send(http_method, body, path, content_type, body_bytes_max)
        raw, seconds = await _within(self._seconds(timeout_seconds), send)
        self._observer.rpc(self.endpoint, label, _exchange_label(raw), seconds)
        return raw

    def _seconds(self, asked: float | None) -> float:
        return self._timeout_seconds if asked is None else asked

    async def _send(
        self, http_method: str, body: bytes | None, path: str, content_type: str, bytes_max: int
    ) -> Exchanged:
        if self._closed:
            return NeverSent("closed")
        http = self._http = self._http or self._open()
        url = _beneath(self._url, path) if path else self._url
        headers = {} if body is None else {"content-type": content_type}
        try:
            async with http.request(
                http_method, url, data=body, headers=headers, allow_redirects=False
            ) as response:
                content = await _read_bounded(response, bytes_max)
        except _NEVER_SENT as error:
            return NeverSent(type(error).__name__)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return NoReply(type(error).__name__)
        told = {name.lower(): value for name, value in response.headers.items()}
        return Raw(response.status, told, content)

    def _open(self) -> aiohttp.ClientSession:
        """Make the session, in the loop that uses it. A POST is never sent twice by it."""
        tls = _tls() if self._url.startswith("https:") else True
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections_max, ssl=tls),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
            trust_env=False,
        )


def _tls() -> ssl.SSLContext:
    """Trust the roots that come with the service, the same on every machine."""
    return ssl.create_default_context(cafile=certifi.where())


async def _within(seconds: float, sending: Awaitable[Exchanged]) -> tuple[Exchanged, float]:
    """Wait so long for an answer; gives with it how long it took."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    try:
        async with asyncio.timeout(seconds):
            raw = await sending
    except TimeoutError:
        raw = NoReply("timeout")
    return raw, loop.time() - started


def _beneath(url: str, path: str) -> str:
    """Put a path, with or without a query, behind a URL's path and before its query."""
    base, added = urlsplit(url), urlsplit(path)
    whole = base.path.rstrip("/") + added.path if added.path else base.path
    query = "&".join(each for each in (base.query, added.query) if each)
    return urlunsplit(base._replace(path=whole, query=query))


async def _read_bounded(response: aiohttp.ClientResponse, bytes_max: int) -> bytes:
    """Read a body until it is beyond the bound: then it means nothing anyway."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > bytes_max:
            break
    return bytes(body)


def read_answer(http: int, headers: Mapping[str, str], body: bytes) -> Answer:
    """Read an HTTP answer as JSON-RPC, tolerating what vendors are known to send."""
    if len(body) > BODY_BYTES_MAX:
        return Garbled(http)
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if isinstance(document, list) and len(document) == 1:
        document = document[0]
    if isinstance(document, dict):
        error = _error_of(document)
        if error is not None:
            return _rpc_error(http, error, headers)
        if http < HTTPStatus.MULTIPLE_CHOICES and "result" in document:
            return Result(document["result"], headers)
    if http >= HTTPStatus.BAD_REQUEST:
        message = body[:MESSAGE_LENGTH_MAX].decode(errors="replace")
        return RpcError(http, None, message, None, _retry_after(headers, message))
    return Garbled(http)


def _error_of(document: Mapping[str, object]) -> Mapping[str, object] | None:
    error = document.get("error")
    if isinstance(error, str):
        return {"message": error}
    if isinstance(error, dict):
        return error
    bare = "code" in document and "message" in document and "result" not in document
    return document if bare else None


def _rpc_error(http: int, error: Mapping[str, object], headers: Mapping[str, str]) -> RpcError:
    code = error.get("code")
    message = str(error.get("message", ""))[:MESSAGE_LENGTH_MAX]
    whole = code if isinstance(code, int) and not isinstance(code, bool) else None
    return RpcError(http, whole, message, error.get("data"), _retry_after(headers, message))


def _retry_after(headers: Mapping[str, str], message: str) -> float | None:
    found = _RETRY_AFTER.search(message)
    if found:
        return float(found[1]) / (1000 if found[2].lower() == "ms" else 1)
    header = headers.get("retry-after", "")
    return float(header) if _SECONDS.fullmatch(header) else None


def outcome_label(answer: Answer) -> str:
    """Give the bounded word under which an answer is counted."""
    return _OUTCOMES[type(answer)]


def _exchange_label(raw: Exchanged) -> str:
    if isinstance(raw, Raw):
        return "ok" if raw.http < HTTPStatus.MULTIPLE_CHOICES else "error"
    return _OUTCOMES[type(raw)]


_OUTCOMES: Final[Mapping[type, str]] = {
    Result: "ok",
    RpcError: "error",
    Garbled: "garbled",
    NeverSent: "not_sent",
    NoReply: "no_reply",
}


def endpoint_label(url: str) -> str:
    """Give host and port of a URL, without anything that may be a key."""
    parts = urlsplit(url)
    host = parts.hostname or "unknown"
    return f"{host}:{parts.port}" if parts.port else host
