"""What providers answer, byte for byte: their documents' and their users' literal bodies.

`$ACK` is what an acknowledgement repeats, the signature or the bundle's id; `$BUNDLE` the bundle's id.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from tests.methods.faults import Fault


class Dialect(StrEnum):
    """Who answers, and in which way."""

    BUNDLE = "a block engine's sendBundle"
    JITO = "a block engine's sendTransaction"
    QUICKNODE = "QuickNode's sendTransaction"
    LIL_JIT = "QuickNode's sendBundle"
    NODE = "a node's sendTransaction"
    HELIUS = "Helius Sender"


@dataclass(frozen=True)
class Literal:
    """An HTTP answer: status, body, headers."""

    http: int
    body: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def filled(self, ack: str, bundle_id: str) -> "Literal":
        """Put in what is acknowledged."""

        def put(text: str) -> str:
            return text.replace("$ACK", ack).replace("$BUNDLE", bundle_id)

        return Literal(
            self.http, put(self.body), {name: put(value) for name, value in self.headers.items()}
        )


def _error(http: int, code: int, message: str, data: object = None, **headers: str) -> Literal:
    error = {"code": code, "message": message, "data": data}
    body = json.dumps({"jsonrpc": "2.0", "error": error, "id": 1})
    return Literal(http, body, {name.replace("_", "-"): value for name, value in headers.items()})


def _simulated(err: str, message: str) -> Literal:
    data = {"err": err, "logs": [], "unitsConsumed": 0, "accounts": None, "returnData": None}
    return _error(200, -32002, f"Transaction simulation failed: {message}", data)


ACK: Final = '{"jsonrpc":"2.0","result":"$ACK","id":1}'
OTHER: Final = (
    "5VERv8NMvzbJMEkV8xnrLkEaWRtSz9CosKDYjCJjBRnbJLgp8uirBgmQpjKhoR4tjF3ZpRzrFmBV6UjKdiSZkQUW"
)
"""Somebody else's signature."""
OTHER_BUNDLE: Final = "2" * 64

_GARBLED: Final = (
    Literal(200, "<html><body>welcome</body></html>"),
    Literal(200, '{"jsonrpc":"2.0","result":"$AC'),
    Literal(200, ""),
    Literal(200, '{"jsonrpc":"2.0","id":1}'),
)
_BROKEN_BEFORE: Final = (
    Literal(502, "<html>502 Bad Gateway</html>"),
    Literal(503, ""),
    Literal(503, "", {"retry-after": "1"}),
)
_BROKEN_AFTER: Final = (
    _error(500, -32603, "Internal error"),
    Literal(504, "upstream request timeout"),
    Literal(500, "oops"),
)
_LOCKED_OUT: Final = (Literal(401, "Unauthorized"), Literal(403, "<html>forbidden</html>"))
_ALREADY: Final = _simulated("AlreadyProcessed", "This transaction has already been processed")
_STALE: Final = _simulated("BlockhashNotFound", "Blockhash not found")

_ANY: Final[Mapping[Fault, Sequence[Literal]]] = {
    Fault.BROKEN_BEFORE: _BROKEN_BEFORE,
    Fault.BROKEN_AFTER: _BROKEN_AFTER,
    Fault.GARBLED: _GARBLED,
    Fault.LOCKED_OUT: _LOCKED_OUT,
}
_JITO_LIMIT: Final = "Rate limit exceeded. Limit: 1 per second for txn requests"
_ENGINE: Final[Mapping[Fault, Sequence[Literal]]] = {
    **_ANY,
    Fault.LIMITED_FOR: (
        _error(429, -32097, f"{_JITO_LIMIT}. Back-off triggered: Retry after 1606ms"),
        _error(429, -32097, _JITO_LIMIT, retry_after="1"),
    ),
    Fault.LIMITED: (
        Literal(
            429,
            '{"jsonrpc":"2.0","error":{"code":-32097,"message":"Network congested. Endpoint is'
            ' globally rate limited.","data":null},"id":null}',
        ),
        _error(200, -32603, "Resource has been exhausted (e.g. check quota)."),
    ),
    Fault.ALREADY: (_error(400, -32602, "bundle contains an already processed transaction"),),
    Fault.STALE: (
        _error(400, -32602, "bundle contains an expired blockhash"),
        _error(400, -32602, "bundle contains an invalid blockhash"),
    ),
    Fault.TIP: (
        _error(
            400,
            -32602,
            "Bundles must write lock at least one tip account to be eligible for the auction",
        ),
        _error(400, -32602, "bundle must tip at least 1000 lamports"),
    ),
    Fault.LOCKED_OUT: (
        *_LOCKED_OUT,
        _error(200, -32000, "The supplied pubkey is not authorized to generate a token"),
    ),
}
_NODE: Final[Mapping[Fault, Sequence[Literal]]] = {
    **_ANY,
    Fault.LIMITED_FOR: (
        _error(429, 429, "Connection rate limits exceeded", retry_after="2"),
        Literal(429, "", {"retry-after": "1.5"}),
    ),
    Fault.LIMITED: (
        _error(429, -32429, "max usage reached"),
        _error(200, -32005, "Too many requests"),
    ),
    Fault.WRONG: (Literal(200, f'{{"jsonrpc":"2.0","result":"{OTHER}","id":1}}'),),
    Fault.ALREADY: (_ALREADY,),
    Fault.STALE: (_STALE,),
    # A vendor's node may hand the bytes to Jito, and then speaks with its tongue.
    Fault.TIP: (_error(200, -32004, "Transaction must write lock at least one tip account"),),
}
_ADD_ON: Final[Mapping[Fault, Sequence[Literal]]] = {
    Fault.LIMITED_FOR: (
        Literal(
            429,
            '{"jsonrpc":"2.0","error":{"code":429,"message":"The requests per second (RPS) of your'
            ' requests are higher than your plan allows."},"id":1}',
            {"retry-after": "1"},
        ),
    ),
    Fault.LIMITED: (
        Literal(
            429,
            '{"code":-32007,"message":"50/second request limit reached - reduce calls per second'
            ' or upgrade your account at quicknode.com"}',
        ),
        _error(200, -32007, "50/second request limit reached - reduce calls per second"),
    ),
    Fault.LOCKED_OUT: _LOCKED_OUT,
    Fault.TIP: (
        Literal(
            200, '{"code":-32004,"message":"Transaction must write lock at least one tip account"}'
        ),
        _error(200, -32004, "Transaction must write lock at least one tip account"),
    ),
}
_WRONG_BUNDLE: Final = (Literal(200, f'{{"jsonrpc":"2.0","result":"{OTHER_BUNDLE}","id":1}}'),)

BODIES: Final[Mapping[Dialect, Mapping[Fault, Sequence[Literal]]]] = {
    Dialect.BUNDLE: {**_ENGINE, Fault.NONE: (Literal(200, ACK),), Fault.WRONG: _WRONG_BUNDLE},
    Dialect.JITO: {
        **_ENGINE,
        Fault.NONE: (Literal(200, ACK, {"x-bundle-id": "$BUNDLE"}),),
        Fault.WRONG: _NODE[Fault.WRONG],
        Fault.ALREADY: (*_ENGINE[Fault.ALREADY], _ALREADY),
    },
    Dialect.QUICKNODE: {**_NODE, **_ADD_ON, Fault.NONE: (Literal(200, ACK),)},
    Dialect.LIL_JIT: {
        **_ENGINE,
        **_ADD_ON,
        Fault.NONE: (Literal(200, ACK),),
        Fault.WRONG: _WRONG_BUNDLE,
    },
    Dialect.NODE: {**_NODE, Fault.NONE: (Literal(200, ACK),)},
    Dialect.HELIUS: {
        **_NODE,
        Fault.NONE: (Literal(200, ACK),),
        Fault.LIMITED_FOR: (_error(429, -32005, "Too many requests", retry_after="1"),),
        Fault.LIMITED: (_error(429, -32005, "Too many requests"),),
        Fault.BROKEN_BEFORE: (_error(503, -32002, "Service unavailable"),),
        Fault.BROKEN_AFTER: (
            _error(504, -32003, "Gateway timeout"),
            _error(500, -32603, "Internal error"),
        ),
        Fault.TIP: (_error(400, -32602, "transaction must tip at least 1000000 lamports"),),
    },
}
"""For every fault whose answer is words of the provider's own; `NONE` is its acknowledgement."""


def statuses(told: Mapping[str, str]) -> str:
    """Write a block engine's answer to getInflightBundleStatuses."""
    value = [
        {
            "bundle_id": bundle_id,
            "status": status,
            "landed_slot": 280999028 if status == "Landed" else None,
        }
        for bundle_id, status in told.items()
    ]
    document = {"context": {"slot": 280999028}, "value": value}
    return json.dumps({"jsonrpc": "2.0", "result": document, "id": 1})
