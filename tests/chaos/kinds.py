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
ALL_CALLS: Final[Sequence[Target]] = ((None, None),)
ALL_SENDS: Final[Sequence[Target]] = ((None, "sendTransaction"), (None, "sendBundle"))
BUNDLES: Final[Sequence[Target]] = (
    ("jito", "sendBundle"),
    ("jito", "sendTransaction"),
    ("quicknode", "sendBundle"),
)
HISTORY: Final[Sequence[Target]] = (("rpc", "getSignatureStatuses"), ("rpc", "getTransaction"))
"""Lies about what has landed come from one of two endpoints only: proofs assume one honest witness."""
NODES: Final[Sequence[Target]] = (("rpc", None), ("quicknode", None))
FEES: Final[Sequence[Target]] = (
    (None, "getRecentPrioritizationFees"),
    (None, "qn_estimatePriorityFees"),
    ("jito", "tip_floor"),
)

SERVING: Final = frozenset(
    {
        "getEpochInfo",
        "getInflightBundleStatuses",
        "getLatestBlockhash",
        "getMultipleAccounts",
        "getRecentPrioritizationFees",
        "getSignatureStatuses",
        "getTransaction",
        "isBlockhashValid",
        "minimumLedgerSlot",
        "qn_estimatePriorityFees",
        "sendBundle",
        "sendTransaction",
        "signatureSubscribe",
        "simulateTransaction",
        "tip_floor",
    }
)
"""Methods whose answers orders are made of, priced, pushed or judged by. Others only tell who a node is
and how far back it knows: a fault that meets these has hit nobody's order."""

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
    most: float = 0.08
    """How likely it meets a request at most, however few there are: the service must have its chances."""


REQUESTS: Final[Mapping[str, RequestKind]] = {
    "drop": RequestKind(300, ANYTHING),
    "delay": RequestKind(
        2_700, ANYTHING, lambda rng: {"seconds": rng.uniform(0.005, 0.15)}, most=0.5
    ),
    "hang": RequestKind(100, ANYTHING, lambda rng: {"seconds": rng.uniform(1, 4)}),
    "http_429": RequestKind(110, ANYTHING, lambda rng: {"retry_after": rng.choice([0.2, 0.5, 1])}),
    "http_5xx": RequestKind(250, ANYTHING, lambda rng: {"status": rng.choice([500, 502, 503])}),
    "http_5xx_after": RequestKind(220, ANYTHING),
    "answer": RequestKind(130, ANYTHING, lambda rng: dict(rng.choice(SAID))),
    "land_then_timeout": RequestKind(
        160, SENDS, lambda rng: {"seconds": rng.uniform(2, 4)}, most=0.12
    ),
    "garbled": RequestKind(250, ANYTHING),
    "accept_then_drop": RequestKind(250, SENDS, most=0.2),
    "duplicate": RequestKind(1_200, ALL_SENDS, most=0.5),
    "wrong_signature": RequestKind(170, SENDS, most=0.15),
    "lag": RequestKind(1_000, NODES, lambda rng: {"slots": rng.randint(1, 12)}, most=0.3),
    "null_status": RequestKind(330, HISTORY, most=0.3),
    "pruned": RequestKind(330, HISTORY, most=0.3),
    "bundle_failed": RequestKind(150, BUNDLES, most=0.25),
    "bundle_invalid": RequestKind(180, BUNDLES, most=0.25),
    "failed_then_landed": RequestKind(
        150, BUNDLES, lambda rng: {"slots": rng.randint(1, 8)}, most=0.25
    ),
    "hijack": RequestKind(120, (("quicknode", "sendTransaction"),), most=0.4),
    "no_addon": RequestKind(
        250,
        (
            ("quicknode", "sendBundle"),
            ("quicknode", "sendBundle"),
            ("quicknode", "qn_estimatePriorityFees"),
        ),
        most=0.5,
    ),
    "fee_spike": RequestKind(300, FEES, lambda rng: {"times": rng.choice([3, 20, 100])}, most=0.9),
    "ws_silent": RequestKind(150, (("rpc", "signatureSubscribe"),), most=0.5),
}
"""What the sandbox's rules do to requests."""

CHAIN: Final[Mapping[str, Callable[[Random], Fields]]] = {
    "fork": lambda rng: {"blocks": rng.choice([0] * 7 + [1])},
    "unbundle": lambda rng: {"blocks": rng.choice([0] * 3 + [1])},
    "skipped_block": lambda rng: {"slots": rng.randint(1, 6)},
    "ws_close": _plain,
    "down": lambda rng: {
        "endpoint": rng.choice(["rpc", "jito", "quicknode"]),
        "seconds": rng.uniform(0.3, 1.5),
    },
}
"""What befalls the chain and its endpoints at once; few forks reach back to what was confirmed, since a
fill that is undone is none."""

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
