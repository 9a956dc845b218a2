"""The OpenAPI document of the interface, written by hand: what it says is tested against what is done."""

from collections.abc import Sequence
from typing import Final

from app.api.openapi.answers import response_schemas
from app.api.openapi.markets import market_schemas
from app.api.openapi.operations import paths, responses
from app.api.openapi.shapes import Schema
from app.api.openapi.signal import signal_schemas

INTERFACE_VERSION: Final = "1.0.0"
"""The version of the interface, not of the service."""
_DESCRIPTION: Final = """\
Takes trading signals in and executes them on Solana, each at most once.

Amounts are decimal strings of whole tokens, never floats; times are RFC 3339 in UTC; every refusal is an
RFC 9457 problem with a stable `code`, and `retryable` says whether the same request may succeed later."""


def openapi_document(
    markets: Sequence[str] | None = None, methods: Sequence[str] | None = None
) -> Schema:
    """Give the document: with the configured markets and methods, or for any."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Synergy7 Execution",
            "version": INTERFACE_VERSION,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": [
            {"name": "signals", "description": "In: signals."},
            {"name": "orders", "description": "Out: orders, and their cancellation."},
            {"name": "events", "description": "The audit trail."},
            {"name": "markets", "description": "What can be traded, and at what price."},
            {"name": "methods", "description": "The submission methods, and their switches."},
            {"name": "trading", "description": "Trading as a whole: halted and resumed."},
            {"name": "system", "description": "What the system says about itself."},
        ],
        "paths": paths(markets, methods),
        "components": {
            "schemas": {
                **signal_schemas(markets, methods),
                **response_schemas(),
                **market_schemas(),
            },
            "responses": responses(),
        },
    }
