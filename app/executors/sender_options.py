"""What a sender is, as plain checked values: where it is, how it is asked, how it answers, what it wants.

A sender's section of the configuration has the same keys; `sender_section` reads one over its preset.
"""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import field
from enum import StrEnum
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass
from solders.pubkey import Pubkey

from app.engine.ports import Privacy

TX_B64: Final = "$TX_B64"
"""Stands for the transaction in base64 in a `json_template`."""
SIGNATURE: Final = "$SIGNATURE"
"""Stands for the transaction's own signature in what counts as success."""
KEEPALIVE_SECONDS_MAX: Final = 14
"""A connection idle for 15 s is closed by the HTTP client: a slower ping would keep nothing alive."""
TIP_LAMPORTS_MAX: Final = 100_000_000
UNIT_PRICE_MAX: Final = 50_000_000
"""What is never paid, whoever asks: 0.1 SOL of tip, 50 lamports for a compute unit."""

_STRICT: Final = ConfigDict(extra="forbid", hide_input_in_errors=True)


def _listed(value: object) -> object:
    """Read a list as the environment has it: names with commas between."""
    if not isinstance(value, str):
        return value
    return [part.strip() for part in value.split(",") if part.strip()]


def _text(value: object) -> object:
    """Read a text that the file or the environment took for a number or a yes: `12345`, `true`."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else value


def _address(text: str) -> str:
    Pubkey.from_string(text)  # raises ValueError for what is no 32 bytes in base58
    return text


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.fragment:
        raise ValueError("it is no http(s) URL")
    return text


Listed = BeforeValidator(_listed)
Url = Annotated[str, BeforeValidator(lambda text: _url(str(text)))]
Path = Annotated[str, Field(pattern=r"^(/[!-\"$-~]*)?$")]
"""What goes behind a URL, with a query of its own if need be: empty, or from a slash on."""
Visible = Annotated[str, BeforeValidator(_text), Field(pattern=r"^[ -~]*$")]
"""Text of a query."""
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
HeaderText = Annotated[
    str, BeforeValidator(_text), Field(pattern=r"^[!-~]([ -~]*[!-~])?$", max_length=4096)
]
"""Text that a header carries as it is: without blanks at its ends or line ends."""
Word = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Lamports = Annotated[int, Field(ge=0, le=TIP_LAMPORTS_MAX)]


class Body(StrEnum):
    """How the transaction is written into the request."""

    JSONRPC = "jsonrpc"
    JSON = "json"
    TEXT_B64 = "text_b64"
    RAW = "raw"


CONTENT_TYPES: Final[Mapping[Body, str]] = {
    Body.JSONRPC: "application/json",
    Body.JSON: "application/json",
    Body.TEXT_B64: "text/plain",
    Body.RAW: "application/octet-stream",
}


@dataclass(frozen=True, slots=True, config=_STRICT)
class KeyPlace:
    """Where the credential goes: a query parameter or header of this name, or a last part of the path."""

    where: Literal["query", "header", "path"]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{0,64}$")] = ""
    required: bool = True


@dataclass(frozen=True, slots=True, config=_STRICT)
class Success:
    """What counts as an acknowledgement besides our own signature, which always does.

    `json_path`: the value at the dotted `path` is `value`; `text`: the whole body is `value`;
    `empty_2xx`: there is no body; `jsonrpc_signature`: nothing besides.
    """

    kind: Literal["jsonrpc_signature", "json_path", "empty_2xx", "text"] = "jsonrpc_signature"
    path: str = ""
    value: Any = SIGNATURE


@dataclass(frozen=True, slots=True, config=_STRICT)
class ErrorRule:
    """What an answer that acknowledges nothing means, where the usual reading is wrong."""

    outcome: Literal["rejected", "already", "unknown"]
    reason: Word
    http: int | None = None
    code: int | None = None
    message: re.Pattern[str] | None = None
    """Searched for in the error's message, else in the whole body."""


@dataclass(frozen=True, slots=True, config=_STRICT)
class RetryAfter:
    """Where a sender says when to come back: a header in seconds, or a message in milliseconds."""

    header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")] = "retry-after"
    message_regex: re.Pattern[str] | None = None
    """Its first group has the milliseconds; `Retry after 5 ms` and `5 s` are understood anyway."""


@dataclass(frozen=True, slots=True, config=_STRICT)
class KeepAlive:
    """A request that keeps a connection open, so that a push need not make one."""

    path: Path
    http_method: Literal["GET", "POST"] = "GET"
    rpc_method: str | None = None
    """Asked as JSON-RPC when given, without parameters."""
    every_s: Annotated[float, Field(gt=0, le=KEEPALIVE_SECONDS_MAX, allow_inf_nan=False)] = 10


@dataclass(frozen=True, slots=True, config=_STRICT)
class TipRule:
    """What the transaction must carry; one that does not is never sent."""

    accounts: Annotated[tuple[Annotated[str, BeforeValidator(_address)], ...], Listed] = ()
    min_lamports: Lamports = 0
    """The least the sender takes."""
    lamports: Lamports = 0
    """What is paid, when that is more."""
    min_unit_price: Annotated[int, Field(ge=0, le=UNIT_PRICE_MAX)] = 0
    """Micro-lamports for each compute unit."""
    min_priority_fee_lamports: Lamports = 0


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class SenderOptions:
    """One sender; each URL is a target of its own with its own pace. What may hold a key is never shown."""

    urls: Annotated[tuple[Url, ...], Listed, Field(min_length=1)] = field(repr=False)
    path: Path = field(default="", repr=False)
    """Where transactions are sent to, behind each URL."""
    query: Mapping[str, Visible] = field(default_factory=dict, repr=False)
    """Parameters of the sending."""
    headers: Mapping[HeaderName, HeaderText] = field(default_factory=dict, repr=False)
    api_key: Annotated[str, BeforeValidator(_text), Field(pattern=r"^[!-~]+$")] = field(
        default="", repr=False
    )
    key: KeyPlace | None = None
    body: Body = Body.JSONRPC
    json_template: Mapping[str, Any] = field(default_factory=dict, repr=False)
    rpc_method: Annotated[str, Field(min_length=1)] = "sendTransaction"
    rpc_options: Mapping[str, Any] = field(
        default_factory=lambda: {"encoding": "base64"}, repr=False
    )
    rpc_extra_params: Sequence[Any] = field(default=(), repr=False)
    success: Success = Success()
    error_rules: tuple[ErrorRule, ...] = ()
    retry_after: RetryAfter = RetryAfter()
    rps: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Pushes a second to each URL; None: no pace of our own."""
    keepalive: KeepAlive | None = field(default=None, repr=False)
    tip: TipRule = TipRule()
    retries_internally: bool = False
    """The sender goes on by itself until the transaction has landed or expired: told in its state."""
    privacy: Privacy = Privacy.PUBLIC

    @property
    def sending_path(self) -> str:
        """Path and query of a push, behind the URL."""
        joint = "&" if "?" in self.path else "?"
        return self.path + (joint + urlencode(self.query) if self.query else "")

    @property
    def content_type(self) -> str:
        """What the body of a push is."""
        return CONTENT_TYPES[self.body]

    @property
    def label(self) -> str:
        """The word under which pushes are counted."""
        return self.rpc_method if self.body is Body.JSONRPC else "send"

    def keyed(self, url: str) -> str:
        """Give a URL with the credential, when that is part of it."""
        if self.key is None or not self.api_key or self.key.where == "header":
            return url
        parts = urlsplit(url)
        if self.key.where == "path":
            path = f"{parts.path.rstrip('/')}/{quote(self.api_key, safe='')}"
            return urlunsplit(parts._replace(path=path))
        query = "&".join(filter(None, (parts.query, urlencode({self.key.name: self.api_key}))))
        return urlunsplit(parts._replace(query=query))

    @property
    def all_headers(self) -> Mapping[str, str]:
        """The headers of every request, with the credential when that is one of them."""
        if self.key is None or not self.api_key or self.key.where != "header":
            return self.headers
        return {**self.headers, self.key.name: self.api_key}

    def request(self, raw: bytes) -> bytes:
        """Write the body of a push; raises TypeError for a template that is no JSON."""
        if self.body is Body.RAW:
            return raw
        encoded = base64.b64encode(raw).decode()
        if self.body is Body.TEXT_B64:
            return encoded.encode()
        return json.dumps(self._document(encoded), separators=(",", ":")).encode()

    def _document(self, encoded: str) -> object:
        if self.body is Body.JSON:
            return _filled(self.json_template, encoded)
        params = [encoded, self.rpc_options, *self.rpc_extra_params]
        return {"jsonrpc": "2.0", "id": 1, "method": self.rpc_method, "params": params}


def _filled(template: object, encoded: str) -> object:
    """Put the transaction into a template, wherever its placeholder stands."""
    if isinstance(template, Mapping):
        return {name: _filled(value, encoded) for name, value in template.items()}
    if isinstance(template, Sequence) and not isinstance(template, str):
        return [_filled(value, encoded) for value in template]
    return encoded if template == TX_B64 else template
