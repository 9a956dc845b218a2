"""The settings that measurements run under, as variables of the environment."""

from collections.abc import Mapping
from typing import Final

Env = Mapping[str, str]

SLOTS: Final = "SYNERGY7_EXECUTION__MAX_CONCURRENT_EXECUTIONS"
SLOT_MS: Final = "SYNERGY7_SANDBOX__SLOT_MS"
BLOCK_ENGINE: Final = "SYNERGY7_METHODS__BLOCK_ENGINE__URLS"

WIDE: Final[Env] = {SLOTS: "256", SLOT_MS: "50"}
STEADY: Final[Env] = {SLOTS: "256", SLOT_MS: "400"}

RPC_ALONE: Final[Env] = {"SYNERGY7_METHODS__ORDER": "rpc"}
"""One method without tip or pace: figures that compare over time."""
FIRST_METHOD: Final = "bundle"
ALL: Final[Env] = {
    "SYNERGY7_METHODS__ORDER": f"{FIRST_METHOD},jito,quicknode,rpc",
    "SYNERGY7_METHODS__BLOCK_ENGINE__REQUESTS_PER_SECOND": "0",
}
"""The shipped methods; without Jito's one request a second, which would leave `bundle` hardly an order."""
RACE: Final[Env] = {**ALL, "SYNERGY7_EXECUTION__STRATEGY": "race"}
