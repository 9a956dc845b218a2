"""The schemas of what is answered."""

from app.api.openapi.shapes import (
    Schema,
    array,
    closed,
    decimal,
    described,
    enum,
    nullable,
    order_id,
    ref,
    string,
    time,
    whole,
)
from app.domain.attempt import AttemptStatus, LaneStrategy
from app.domain.errors import ReasonCode
from app.domain.events import EventKind
from app.domain.order import OrderStatus
from app.domain.outcome import ReplyOutcome
from app.domain.signal import Action


def response_schemas() -> dict[str, Schema]:
    """Give every schema of an answer by name."""
    return {
        "Accepted": _accepted(),
        "Order": _order(),
        "Fill": _fill(),
        "Attempt": _attempt(),
        "Submission": _submission(),
        "ProgramError": _program_error(),
        "OrderList": closed(
            {"orders": array(ref("Order")), "next_cursor": nullable(string())},
        ),
        "Statistics": _statistics(),
        "StatisticsGroup": closed({"key": nullable(string()), **_totals()}),
        "Canceled": closed({"canceled": whole(), "requested": whole()}),
        "Event": _event(),
        "EventList": closed({"events": array(ref("Event")), "next_after": whole()}),
        "Method": _method(),
        "MethodList": closed({"methods": array(ref("Method"))}),
        "Trading": _trading(),
        "Status": _status(),
        "Problem": _problem(),
    }


def _accepted() -> Schema:
    return closed(
        {
            "order_id": order_id(),
            "client_order_id": nullable(string()),
            "status": enum(OrderStatus),
            "accepted_at": time(),
        }
    )


def _order() -> Schema:
    return closed(
        {
            "order_id": order_id(),
            "client_order_id": nullable(string()),
            "action": enum(Action),
            "market": string(),
            "size": nullable(decimal()),
            "quote_size": nullable(decimal()),
            "price": nullable(decimal()),
            "confidence": nullable(decimal()),
            "priority": whole(),
            "strategy": nullable(string()),
            "status": enum(OrderStatus),
            "reason_code": nullable(enum(ReasonCode)),
            "reason": nullable(string()),
            "program_error": nullable(ref("ProgramError")),
            "in_doubt_since": nullable(time()),
            "cancel_requested_at": nullable(time()),
            "landed_failed_at": nullable(time()),
            "accepted_at": time(),
            "filled_at": nullable(time()),
            "finalized_at": nullable(time()),
            "fill": nullable(ref("Fill")),
            "attempts": array(ref("Attempt")),
        }
    )


def _fill() -> Schema:
    fees = ("network", "priority", "tip")
    return closed(
        {
            "base_amount": nullable(decimal()),
            "quote_amount": nullable(decimal()),
            "average_price": nullable(decimal()),
            "slippage_bps": nullable(decimal()),
            "fees": closed({**{kind: decimal() for kind in fees}, "venue": nullable(decimal())}),
        }
    )


def _attempt() -> Schema:
    return closed(
        {
            "number": {"type": "integer", "minimum": 1},
            "signature": string(),
            "status": enum(AttemptStatus),
            "last_valid_block_height": whole(),
            "landed_slot": nullable(whole()),
            "error": nullable(ref("ProgramError")),
            "plan": closed({"strategy": enum(LaneStrategy), "methods": array(string())}),
            "submissions": array(ref("Submission")),
        }
    )


def _submission() -> Schema:
    return closed(
        {
            "method": string(),
            "outcome": enum(ReplyOutcome),
            "reason": string(),
            "sent_at": time(),
            "latency_ms": {"type": "number", "minimum": 0},
        }
    )


def _program_error() -> Schema:
    """Describe a decoded error; `raw` is the value as the chain gave it."""
    return closed({"name": string(), "message": string(), "raw": {}})


def _totals() -> dict[str, Schema]:
    volume = closed(
        {
            "market": string(),
            "action": enum(Action),
            "base_amount": decimal(),
            "quote_amount": decimal(),
        }
    )
    return {
        "orders": whole(),
        "average_ms": nullable(whole()),
        "fees": closed({kind: decimal() for kind in ("network", "priority", "tip")}),
        "volumes": array(volume),
    }


def _statistics() -> Schema:
    groups = ("status", "market", "strategy", "method", "reason")
    return closed(
        {
            **_totals(),
            "success_rate": nullable(decimal()),
            **{f"by_{name}": array(ref("StatisticsGroup")) for name in groups},
        }
    )


def _event() -> Schema:
    return closed(
        {
            "position": {"type": "integer", "minimum": 1},
            "order_id": described(
                nullable(string()), "Null: it tells of the system, not of an order."
            ),
            "seq": whole(),
            "at": time(),
            "kind": enum(EventKind),
            "data": {"type": "object"},
            "hash": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        }
    )


def _method() -> Schema:
    wait = nullable({"type": "number", "minimum": 0})
    properties = {
        "name": string(),
        "breaker": string(),
        "enabled": {"type": "boolean"},
        "wait_seconds": described(
            wait, "Until a push would be admitted; null: not before something is switched."
        ),
    }
    return _open(properties)


def _trading() -> Schema:
    return closed(
        {
            "state": {"type": "string", "enum": ["active", "halted"]},
            "reason": nullable(string()),
            "since": nullable(time()),
            "reconciling": {"type": "boolean"},
            "blocks_left": described(
                nullable(whole()), "To be finalized before the chain is read; null: not known."
            ),
        }
    )


def _status() -> Schema:
    counts = ("pending", "active", "completed", "in_doubt")
    chain = {
        "network": string(),
        "rpc_url": string(),
        "genesis_hash": nullable(string()),
        "slot": nullable(whole()),
        "block_height": nullable(whole()),
        "endpoints": array(_endpoint()),
    }
    wallet = {"name": string(), "address": string(), "balance_lamports": nullable(whole())}
    process = {
        "name": string(),
        "started_at": time(),
        "heartbeat_age_seconds": {"type": "number", "minimum": 0},
    }
    metrics = {
        "database": {"type": "string", "enum": ["available", "unavailable"]},
        "why": nullable(string()),
        "position": whole(),
    }
    properties = {
        "network": string(),
        "version": string(),
        "uptime_seconds": {"type": "number", "minimum": 0},
        "trading": ref("Trading"),
        "chain": _open(chain),
        "queue": _open({name: whole() for name in counts}),
        "workers": {},
        "methods": array(ref("Method")),
        "wallets": array(_open(wallet)),
        "processes": array(_open(process)),
        "metrics": _open(metrics),
    }
    return _open(properties)


def _endpoint() -> Schema:
    """Describe a node that the chain is read from; what it ails from is told by RPC method."""
    ailment = closed({"why": string(), "retry_after_seconds": {"type": "number"}})
    return closed(
        {
            "endpoint": string(),
            "latency_ms": nullable({"type": "number", "minimum": 0}),
            "ailing": {"type": "object", "additionalProperties": ailment},
        }
    )


def _open(properties: dict[str, Schema]) -> Schema:
    """Describe an object with at least these properties."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def _problem() -> Schema:
    return closed(
        {
            "type": {"type": "string", "format": "uri"},
            "title": string(),
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "code": enum(ReasonCode),
            "detail": string(),
            "retryable": {"type": "boolean"},
            "field": string(),
            "order_id": order_id(),
            "reasons": array(string()),
        },
        optional=("field", "order_id", "reasons"),
    )
