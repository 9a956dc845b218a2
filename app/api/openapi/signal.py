"""The signal's schema: as strict as the reading of it, wherever a schema can be."""

from collections.abc import Sequence

from app.api.openapi.shapes import (
    NULL,
    Schema,
    closed,
    described,
    enum,
    nullable,
    one_of_names,
    ref,
    text,
)
from app.domain.signal import (
    NUMBER_DIGITS_MAX,
    PRICE_MAX,
    PRICE_MIN,
    PRIORITY_MAX,
    SLIPPAGE_BPS_MAX,
    VALID_FOR_SECONDS_MAX,
    Action,
)

# Decimal strings, each within the bounds that the number beside it has.
_ABOVE_ZERO = r"^([0-9]*[1-9][0-9]*(\.[0-9]+)?|[0-9]+\.[0-9]*[1-9][0-9]*)$"
_PRICE = r"^0*([1-9][0-9]{0,14}(\.[0-9]+)?|10{15}(\.0+)?|0\.[0-9]{0,29}[1-9][0-9]*)$"
_SHARE = r"^0*(0(\.[0-9]+)?|1(\.0+)?)$"
_DAY_SECONDS = (
    r"^0*(([1-9][0-9]{0,3}|[1-7][0-9]{4}|8[0-5][0-9]{3}|86[0-3][0-9]{2})(\.[0-9]+)?"
    r"|86400(\.0+)?|0\.0{0,2}[1-9][0-9]*)$"
)
_NO_NUL = r"^[^\u0000]*$"


def signal_schemas(markets: Sequence[str] | None, methods: Sequence[str] | None) -> Schema:
    """Give the schemas of a posted signal."""
    fields = _fields(markets, methods)
    size = described(
        _exact(_ABOVE_ZERO, {"exclusiveMinimum": 0}),
        "In the base token, with at most its decimals and at least the market's minimum. SELL sells "
        "exactly this, BUY buys exactly this.",
    )
    quote_size = described(
        _exact(_ABOVE_ZERO, {"exclusiveMinimum": 0}),
        "Instead of `size`, in the quote token: BUY spends exactly this, SELL raises exactly this.",
    )
    required = ("action", "market")
    optional = [name for name in fields if name not in required]
    return {
        "Signal": {
            "oneOf": [ref("SignalBySize"), ref("SignalByQuoteSize")],
            "description": "What a bot wants done. Null is the same as left out.",
        },
        "SignalBySize": closed(
            {**fields, "size": size, "quote_size": NULL}, optional=[*optional, "quote_size"]
        ),
        "SignalByQuoteSize": closed(
            {**fields, "quote_size": quote_size, "size": NULL}, optional=[*optional, "size"]
        ),
        "MetadataValue": _metadata_value(),
    }


def _fields(markets: Sequence[str] | None, methods: Sequence[str] | None) -> dict[str, Schema]:
    return {
        "action": enum(Action),
        "market": described(one_of_names(markets), "BASE-QUOTE, one of the configured markets."),
        "price": described(
            nullable(_exact(_PRICE, {"minimum": float(PRICE_MIN), "maximum": int(PRICE_MAX)})),
            "Quote per base. With `max_slippage_bps` it bounds what is signed; a market outside the "
            "bound ends the order at once.",
        ),
        "confidence": nullable(_exact(_SHARE, {"minimum": 0, "maximum": 1})),
        "client_order_id": described(
            nullable(text()), "Your own id: the same signal with it again is the same order."
        ),
        "priority": described(
            nullable({"type": "integer", "minimum": 0, "maximum": PRIORITY_MAX}),
            "9 is executed first. By default 9 x confidence, rounded, or 5.",
        ),
        "valid_for": described(
            nullable(_exact(_DAY_SECONDS, {"minimum": 0.001, "maximum": VALID_FOR_SECONDS_MAX})),
            "Seconds from `signal_time` (else from acceptance) after which nothing is signed.",
        ),
        "signal_time": described(
            nullable({"type": "string", "format": "date-time"}),
            "When the signal was made, with an offset; at most 30 s ahead.",
        ),
        "strategy": nullable(text()),
        "methods": described(_methods(methods), "The ordered and complete list for this order."),
        "allow_public_fallback": {"type": ["boolean", "null"]},
        "max_slippage_bps": nullable(
            {"type": "integer", "minimum": 0, "maximum": SLIPPAGE_BPS_MAX}
        ),
        "metadata": described(
            nullable(_metadata_object()), "Kept with the order: 4,096 bytes, 8 levels at most."
        ),
    }


def _exact(pattern: str, bounds: Schema) -> Schema:
    """Describe a number that is read exactly: a JSON number or a decimal string."""
    plain = {"type": "string", "pattern": pattern, "maxLength": NUMBER_DIGITS_MAX}
    return {"anyOf": [{"type": "number", **bounds}, plain]}


def _methods(methods: Sequence[str] | None) -> Schema:
    return {
        "type": ["array", "null"],
        "items": one_of_names(methods),
        "minItems": 1,
        "uniqueItems": True,
    }


def _metadata_object() -> Schema:
    return {
        "type": "object",
        "propertyNames": {"pattern": _NO_NUL},
        "additionalProperties": ref("MetadataValue"),
    }


def _metadata_value() -> Schema:
    return {
        "anyOf": [
            {"type": "string", "pattern": _NO_NUL},
            {"type": ["number", "boolean", "null"]},
            {"type": "array", "items": ref("MetadataValue")},
            _metadata_object(),
        ]
    }
