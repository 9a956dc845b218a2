"""The senders that are ready for use, each as its section of the configuration would be written.

Shapes, floors and paces as the vendors' pages and public clients have them; where those differ the
dearer floor and the slower pace stand here. All of it can be set otherwise.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from app.executors.sender_options import TX_B64
from app.executors.tip_accounts import TIP_ACCOUNTS

_TIP_LAMPORTS: Final = 1_000_000
_BASE64: Final = {"encoding": "base64"}


@dataclass(frozen=True, slots=True)
class Preset:
    """A sender's regions by name, those used when none is named, and the rest of its section."""

    regions: Mapping[str, str]
    usual: tuple[str, ...]
    section: Mapping[str, object]


def _regions(template: str, *names: str) -> Mapping[str, str]:
    return {name: template.format(name) for name in names}


_HELIUS_REGIONS: Final = {
    "global": "https://sender.helius-rpc.com",
    **_regions("http://{}-sender.helius-rpc.com", "slc", "ewr", "lon", "fra", "ams", "sg", "tyo"),
}  # the regional ones speak plain HTTP only
_HELIUS: Final[Mapping[str, object]] = {
    "path": "/fast",
    "key": {"where": "query", "name": "api-key", "required": False},
    "rpc_options": {**_BASE64, "skipPreflight": True, "maxRetries": 0},
    "error_rules": [
        {"http": 503, "outcome": "unknown", "reason": "upstream"},
        {"http": 504, "outcome": "unknown", "reason": "upstream"},
    ],
    "rps": 15,
    "keepalive": {"path": "/ping"},
    "tip": {
        "accounts": TIP_ACCOUNTS["helius"],
        "min_lamports": _TIP_LAMPORTS,
        "min_unit_price": 1,
        "min_priority_fee_lamports": 5_000,
    },
}
_HELIUS_SWQOS: Final[Mapping[str, object]] = {
    **_HELIUS,
    "query": {"swqos_only": "true"},
    "tip": {"accounts": TIP_ACCOUNTS["helius"], "min_lamports": 5_000, "min_unit_price": 1},
}
_NOZOMI: Final[Mapping[str, object]] = {
    "path": "/",
    "key": {"where": "query", "name": "c"},
    "rpc_options": _BASE64,
    "keepalive": {"path": "/ping"},
    "tip": {
        "accounts": TIP_ACCOUNTS["nozomi"],
        "min_lamports": _TIP_LAMPORTS,
        "min_unit_price": 1_000_000,
    },
    "retries_internally": True,
}
_ASTRALANE: Final[Mapping[str, object]] = {
    "path": "/iris",
    "key": {"where": "query", "name": "api-key"},
    "rpc_options": {**_BASE64, "skipPreflight": True},
    "rps": 5,
    "keepalive": {"path": "/iris", "http_method": "POST", "rpc_method": "getHealth"},
    "tip": {"accounts": TIP_ACCOUNTS["astralane"], "min_lamports": _TIP_LAMPORTS},
}
_ZERO_SLOT: Final[Mapping[str, object]] = {
    "path": "/",
    "key": {"where": "query", "name": "api-key"},
    "rpc_options": _BASE64,
    "rps": 5,
    "keepalive": {"path": "/health"},
    "tip": {"accounts": TIP_ACCOUNTS["0slot"], "min_lamports": _TIP_LAMPORTS},
}
_NEXTBLOCK: Final[Mapping[str, object]] = {
    "path": "/api/v2/submit",
    "key": {"where": "header", "name": "Authorization"},
    "body": "json",
    "json_template": {
        "transaction": {"content": TX_B64},
        "frontRunningProtection": False,
        "skipPreFlight": True,
        "disableRetries": True,
    },
    "success": {"kind": "json_path", "path": "signature"},
    "tip": {"accounts": TIP_ACCOUNTS["nextblock"], "min_lamports": _TIP_LAMPORTS},
}
_BLOXROUTE: Final[Mapping[str, object]] = {
    "path": "/api/v2/submit",
    "key": {"where": "header", "name": "Authorization"},
    "body": "json",
    "json_template": {
        "transaction": {"content": TX_B64},
        "skipPreFlight": True,
        "frontRunningProtection": False,
        "useStakedRPCs": True,
        "fastBestEffort": False,
        "revertProtection": False,
        "submitProtection": "SP_LOW",
    },
    "success": {"kind": "json_path", "path": "signature"},
    "error_rules": [  # gRPC's own codes, whatever the status they come with
        {"code": 7, "outcome": "rejected", "reason": "auth_or_config"},
        {"code": 8, "outcome": "rejected", "reason": "rate_limited"},
        {"code": 16, "outcome": "rejected", "reason": "auth_or_config"},
    ],
    "tip": {"accounts": TIP_ACCOUNTS["bloxroute"], "min_lamports": _TIP_LAMPORTS},
}
_TRITON: Final[Mapping[str, object]] = {
    "key": {"where": "path", "required": False},
    "rpc_options": {**_BASE64, "skipPreflight": True, "maxRetries": 0},
}

PRESETS: Final[Mapping[str, Preset]] = {
    "helius": Preset(_HELIUS_REGIONS, ("global",), _HELIUS),
    "helius_swqos": Preset(_HELIUS_REGIONS, ("global",), _HELIUS_SWQOS),
    "nozomi": Preset(
        {
            "global": "https://nozomi.temporal.xyz",
            "edge": "https://edge.nozomi.temporal.xyz",
            **_regions(
                "https://{}.nozomi.temporal.xyz",
                "pit1", "ewr1", "ash1", "lax1", "fra2", "ams1", "lon1", "tyo1", "sgp1",
            ),
        },
        ("global",),
        _NOZOMI,
    ),
    "astralane": Preset(
        {
            "global": "https://edge.astralane.io",
            **_regions(
                "https://{}.gateway.astralane.io",
                "fr", "fr2", "la", "jp", "ny", "ams", "ams2", "lim", "sg", "lit",
            ),
        },
        ("global",),
        _ASTRALANE,
    ),
    "0slot": Preset(_regions("https://{}.0slot.trade", "ny", "de", "ams", "jp", "la"), (), _ZERO_SLOT),
    "nextblock": Preset(
        _regions(
            "https://{}.nextblock.io",
            "frankfurt", "amsterdam", "london", "singapore", "tokyo", "ny", "slc", "dublin", "vilnius",
        ),
        (),
        _NEXTBLOCK,
    ),
    "bloxroute": Preset(
        _regions(
            "https://{}.solana.dex.blxrbdn.com", "ny", "uk", "germany", "amsterdam", "tokyo", "la"
        ),
        (),
        _BLOXROUTE,
    ),
    "triton": Preset({}, (), _TRITON),
}  # fmt: skip
