"""Every kind of fault by name: how often requests are to meet it, and by which rules of the sandbox."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

Fields = dict[str, Any]
Target = tuple[str | None, str | None]
"""Endpoint and RPC method that a rule is for; None: any."""

SENDS: Final[Sequence[Target]] = (
    ("rpc", "sendTransaction"),
    ("quicknode", "sendTransaction"),
    ("jito", "sendTransaction"),
    ("jito", "sendBundle"),
)
ANYTHING: Final[Sequence[Target]] = (
    ("rpc", None),
    ("rpc", None),
    ("quicknode", None),
    ("jito", None),
    (None, "sendTransaction"),
    (None, "sendBundle"),
)
BUNDLES: Final[Sequence[Target]] = (("jito", "sendBundle"), ("jito", "sendTransaction"))
HISTORY: Final[Sequence[Target]] = (("rpc", "getSignatureStatuses"), ("rpc", "getTransaction"))
"""Lies about what has landed come from one of two endpoints only: proofs assume one honest witness."""
VIEWS: Final[Sequence[Target]] = (
    ("rpc", "getSignatureStatuses"),
    ("rpc", "getLatestBlockhash"),
    ("rpc", "getTransaction"),
    ("quicknode", "getSignatureStatuses"),
)
FEES: Final[Sequence[Target]] = (
    (None, "getRecentPrioritizationFees"),
    (None, "qn_estimatePriorityFees"),
    ("jito", "tip_floor"),
)

SAID: Final[Sequence[Fields]] = (
    {
        "body": {
            "jsonrpc": "2.0",
            "id": 1,
            "error": {"code": -32005, "message": "Node is unhealthy"},
        }
    },
    {"body": {"jsonrpc": "2.0", "id": 1, "error": {"code": -32603, "message": "Internal error"}}},
    {"body": {"jsonrpc": "2.0", "id": 1, "error": {"code": -32601, "message": "Method not found"}}},
    {"status": 502, "body": "<html>bad gateway</html>"},
    {"body": "<html>maintenance</html>"},
    {"body": {"jsonrpc": "2.0", "id": 1}},
    {"status": 400, "body": {"jsonrpc": "2.0", "id": 1, "error": {"code": -32602}}},
)
"""Answers that providers have given instead of doing the call; none of them tells of a landing."""


def _plain(_rng: Random) -> Fields:
    return {}


@dataclass(frozen=True)
class RequestKind:
    """A fault that befalls requests: its pace, whom it may befall, and what else the rule says."""

    per_minute: int
    targets: Sequence[Target]
    fields: Callable[[Random], Fields] = _plain


REQUESTS: Final[Mapping[str, RequestKind]] = {
    "drop": RequestKind(330, ANYTHING),
    "delay": RequestKind(1_500, ANYTHING, lambda rng: {"seconds": rng.uniform(0.005, 0.15)}),
    "hang": RequestKind(75, ANYTHING, lambda rng: {"seconds": rng.uniform(1, 4)}),
    "http_429": RequestKind(100, ANYTHING, lambda rng: {"retry_after": rng.choice([0.2, 0.5, 1])}),
    "http_5xx": RequestKind(330, ANYTHING, lambda rng: {"status": rng.choice([500, 502, 503])}),
    "http_5xx_after": RequestKind(260, ANYTHING),
    "answer": RequestKind(160, ANYTHING, lambda rng: dict(rng.choice(SAID))),
    "land_then_timeout": RequestKind(90, SENDS, lambda rng: {"seconds": rng.uniform(2, 4)}),
    "garbled": RequestKind(330, ANYTHING),
    "accept_then_drop": RequestKind(260, SENDS),
    "duplicate": RequestKind(700, SENDS),
    "wrong_signature": RequestKind(130, SENDS),
    "lag": RequestKind(700, VIEWS, lambda rng: {"slots": rng.randint(1, 12)}),
    "null_status": RequestKind(330, HISTORY),
    "pruned": RequestKind(330, HISTORY),
    "bundle_failed": RequestKind(100, BUNDLES),
    "bundle_invalid": RequestKind(100, BUNDLES),
    "failed_then_landed": RequestKind(100, BUNDLES, lambda rng: {"slots": rng.randint(1, 8)}),
    "hijack": RequestKind(90, (("quicknode", "sendTransaction"),)),
    "no_addon": RequestKind(75, (("quicknode", "qn_estimatePriorityFees"),)),
    "fee_spike": RequestKind(75, FEES, lambda rng: {"times": rng.choice([3, 20, 100])}),
    "ws_silent": RequestKind(160, (("rpc", "signatureSubscribe"),)),
}
"""What the sandbox's rules do to requests."""

CHAIN: Final[Mapping[str, Callable[[Random], Fields]]] = {
    "fork": lambda rng: {"blocks": rng.choice([0, 1, 1, 2])},
    "unbundle": lambda rng: {"blocks": rng.choice([0, 1, 1])},
    "skipped_block": lambda rng: {"slots": rng.randint(1, 6)},
    "ws_close": _plain,
    "down": lambda rng: {
        "endpoint": rng.choice(["rpc", "jito", "quicknode"]),
        "seconds": rng.uniform(0.3, 1.5),
    },
}
"""What befalls the chain and its endpoints at once."""

EVERYWHERE: Final = (
    "sigkill_service",
    "sigkill_sandbox",
    "sigstop",
    "clock_jump",
    "full_disk",
    "locked_database",
)
"""What befalls processes on either database."""
ON_POSTGRES: Final = ("postgres_restart",)

ALL: Final = (*REQUESTS, *CHAIN, *EVERYWHERE, *ON_POSTGRES)
"""Every kind; a run in which one of them has no count fails."""
