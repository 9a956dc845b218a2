"""The operations of the document: what each path takes and may answer."""

from collections.abc import Sequence
from http import HTTPStatus

from app.api.openapi.markets import market_paths
from app.api.openapi.parts import json_body, operation, query
from app.api.openapi.shapes import (
    Schema,
    closed,
    described,
    enum,
    nullable,
    one_of_names,
    order_id,
    ref,
    string,
    text,
)
from app.api.parameters import CURSOR_PATTERN, INTEGER_MAX
from app.api.routes import events, orders
from app.domain.order import OrderStatus
from app.domain.resolution import AMOUNT_PATTERN, EVIDENCE_LENGTH_MAX, Resolution
from app.domain.signal import TEXT_LENGTH_MAX, Action

_PROBLEMS = (400, 404, 409, 413, 415, 422, 500, 503)
_ASCII_KEY = rf"^[!-~]([ -~]{{0,{TEXT_LENGTH_MAX - 2}}}[!-~])?$"
_LOCATION = {"Location": {"description": "Where the order is.", "schema": string()}}
_REPLAYED = {
    "Idempotency-Replayed": {
        "description": "true: this is the order of an earlier request.",
        "schema": {"type": "string", "enum": ["true"]},
    }
}

_SIGNALS = {
    "sell": {
        "summary": "Sell 0.01 SOL, for no less than 180 USDC a SOL less the slippage",
        "value": {
            "action": "SELL",
            "market": "SOL-USDC",
            "size": 0.01,
            "price": 180.0,
            "confidence": 0.8,
        },
    },
    "buy": {
        "summary": "Spend 5 USDC on SOL within 10 seconds, once",
        "value": {
            "action": "BUY",
            "market": "SOL-USDC",
            "quote_size": "5",
            "valid_for": 10,
            "strategy": "trend",
        },
    },
}


def responses() -> Schema:
    """Give the problem answers by status."""
    described_by = {status: HTTPStatus(status).phrase for status in _PROBLEMS}
    answers = {f"Problem{status}": _problem(text) for status, text in described_by.items()}
    retry = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    answers["Problem503"]["headers"] = retry
    return answers


def _problem(description: str) -> Schema:
    return {
        "description": description,
        "content": {"application/problem+json": {"schema": ref("Problem")}},
    }


def paths(markets: Sequence[str] | None, methods: Sequence[str] | None) -> Schema:
    """Give the paths with their operations."""
    return {
        "/signals": {"post": _post_signal()},
        "/orders": {"get": _list_orders(markets)},
        "/orders/statistics": {"get": _statistics(markets)},
        "/orders/cancel": {"post": _cancel_orders(markets)},
        "/orders/{order_id}": {"get": _get_order()},
        "/orders/{order_id}/cancel": {"post": _cancel_order()},
        "/orders/{order_id}/resolve": {"post": _resolve_order()},
        "/orders/{order_id}/events": {"get": _order_events()},
        "/events": {"get": _events()},
        **market_paths(markets),
        **_method_paths(methods),
        "/trading/halt": {"post": _halt()},
        "/trading/resume": {"post": _resume()},
        "/status": {"get": _status()},
        "/metrics": {"get": _metrics()},
        "/healthz": {"get": _health()},
        "/readyz": {"get": _readiness()},
    }


def _path_id() -> Schema:
    return {"name": "order_id", "in": "path", "required": True, "schema": order_id()}


def _post_signal() -> Schema:
    key = {
        "name": "Idempotency-Key",
        "in": "header",
        "schema": {"type": "string", "pattern": _ASCII_KEY},
        "description": "The same signal with it again is the same order; it lives as long as that.",
    }
    shown = operation(
        "postSignal",
        "signals",
        "Post a signal: answered once its order is durable",
        parameters=[key],
        answers={
            "202": {**json_body("Accepted", "A new order.", _LOCATION), **_order_links()},
            "200": {
                **json_body(
                    "Accepted", "The order of an earlier request.", {**_LOCATION, **_REPLAYED}
                ),
                **_order_links(),
            },
        },
        problems=(400, 409, 413, 415, 422, 500, 503),
    )
    content = {"schema": ref("Signal"), "examples": _SIGNALS}
    return {
        **shown,
        "requestBody": {"required": True, "content": {"application/json": content}},
    }


def _order_links() -> Schema:
    """Say where the id in an answer leads."""
    operations = {"order": "getOrder", "events": "getOrderEvents", "cancel": "cancelOrder"}
    place = {"order_id": "$response.body#/order_id"}
    return {
        "links": {
            name: {"operationId": target, "parameters": place}
            for name, target in operations.items()
        }
    }


def _filters(markets: Sequence[str] | None) -> list[Schema]:
    time = {"type": "string", "format": "date-time"}
    return [
        query("status", enum(OrderStatus), "Orders that stand so."),
        query("market", one_of_names(markets), "Orders of a configured market."),
        query("action", enum(Action), "Orders to buy, or to sell."),
        query("strategy", text(), "Orders of a strategy."),
        query("client_order_id", text(), "The order of a client's id."),
        query("from", time, "Accepted at or after this time."),
        query("to", time, "Accepted before this time."),
    ]


def _list_orders(markets: Sequence[str] | None) -> Schema:
    limit = query(
        "limit",
        {
            "type": "integer",
            "minimum": 1,
            "maximum": orders.LIMIT_MAX,
            "default": orders.LIMIT_DEFAULT,
        },
        "Orders on a page.",
    )
    opaque = {"type": "string", "pattern": f"^{CURSOR_PATTERN}$"}
    cursor = query("cursor", opaque, "`next_cursor` of the page before; valid under new orders.")
    return operation(
        "listOrders",
        "orders",
        "List orders, newest first",
        parameters=[*_filters(markets), limit, cursor],
        answers={"200": json_body("OrderList", "A page; `next_cursor` is null on the last.")},
        problems=(422, 500, 503),
    )


def _statistics(markets: Sequence[str] | None) -> Schema:
    return operation(
        "getStatistics",
        "orders",
        "Add orders up: counts, volumes, fees, times",
        parameters=_filters(markets),
        answers={"200": json_body("Statistics", "In all, and by group.")},
        problems=(422, 500, 503),
    )


def _get_order() -> Schema:
    wait = query(
        "wait",
        {"type": "integer", "minimum": 0, "maximum": orders.WAIT_SECONDS_MAX, "default": 0},
        "Seconds to wait for the order's end.",
    )
    return operation(
        "getOrder",
        "orders",
        "Show an order",
        parameters=[_path_id(), wait],
        answers={"200": json_body("Order", "The order, its attempts and their submissions.")},
        problems=(404, 422, 500, 503),
    )


def _cancel_order() -> Schema:
    return operation(
        "cancelOrder",
        "orders",
        "Cancel an order",
        parameters=[_path_id()],
        answers={
            "200": json_body("Order", "Canceled."),
            "202": json_body("Order", "Asked for: an attempt is alive, and decides."),
        },
        problems=(404, 409, 422, 500, 503),
    )


def _resolve_order() -> Schema:
    amount = nullable({"type": "string", "pattern": AMOUNT_PATTERN, "examples": ["0.01"]})
    word = {
        "as": described(enum(Resolution), "How it ended."),
        "evidence": described(
            {**text(), "maxLength": EVIDENCE_LENGTH_MAX},
            "How that is known; kept in the audit trail.",
        ),
        "base_amount": described(amount, "Traded; needed for filled when no endpoint shows it."),
        "quote_amount": described(amount, "As base_amount, of the quote token."),
    }
    content = {
        "schema": closed(word, optional=["base_amount", "quote_amount"]),
        "examples": {
            "expired": {"value": {"as": "expired", "evidence": "not in the wallet's history"}}
        },
    }
    shown = operation(
        "resolveOrder",
        "orders",
        "End an order in doubt as an operator says, unless the chain says otherwise",
        parameters=[_path_id()],
        answers={"200": json_body("Order", "Resolved; it is never signed again.")},
        problems=(400, 404, 409, 413, 415, 422, 500, 503),
    )
    return {
        **shown,
        "requestBody": {"required": True, "content": {"application/json": content}},
    }


def _cancel_orders(markets: Sequence[str] | None) -> Schema:
    return operation(
        "cancelOrders",
        "orders",
        "Cancel all unfinished orders, of a market or of a strategy or of both",
        parameters=[
            query("market", one_of_names(markets), "Orders of a configured market."),
            query("strategy", text(), "Orders of a strategy."),
        ],
        answers={
            "200": json_body("Canceled", "How many are canceled, and how many were asked to be.")
        },
        problems=(422, 500, 503),
    )


def _event_parameters() -> list[Schema]:
    position = {"type": "integer", "minimum": 0, "maximum": INTEGER_MAX}
    count = {
        "type": "integer",
        "minimum": 1,
        "maximum": events.LIMIT_MAX,
        "default": events.LIMIT_DEFAULT,
    }
    last = {
        "name": "Last-Event-ID",
        "in": "header",
        "schema": position,
        "description": "The position seen last, as readers of streams send it; before `after`.",
    }
    return [
        query("after", {**position, "default": 0}, "The position to go on from."),
        query("limit", count, "Events on a page."),
        last,
    ]


def _event_answers() -> Schema:
    answer = json_body("EventList", "A page, or a stream when text/event-stream is asked for.")
    stream = described(string(), "id: the event's position; event: its kind; data: an Event.")
    answer["content"]["text/event-stream"] = {"schema": stream}
    after = {"after": "$response.body#/next_after"}
    answer["links"] = {"next": {"operationId": "getEvents", "parameters": after}}
    return {"200": answer}


def _order_events() -> Schema:
    return operation(
        "getOrderEvents",
        "events",
        "Show what happened to an order",
        parameters=[_path_id(), *_event_parameters()],
        answers=_event_answers(),
        problems=(404, 422, 500, 503),
    )


def _events() -> Schema:
    return operation(
        "getEvents",
        "events",
        "Show what happened, in the order of the trail",
        parameters=_event_parameters(),
        answers=_event_answers(),
        problems=(422, 500, 503),
    )


_SWITCHES = {
    "reset": "Close a method's breaker and forget its back-offs",
    "disable": "Push nothing through a method until it is enabled again",
    "enable": "Take a method into use again",
}


def _method_paths(methods: Sequence[str] | None) -> Schema:
    named = one_of_names(methods)
    parameters = [{"name": "name", "in": "path", "required": True, "schema": named}]
    state = {"200": json_body("Method", "The method's state.")}

    def one_state(name: str, summary: str) -> Schema:
        problems = (404, 422, 500, 503)
        return operation(
            name, "methods", summary, parameters=parameters, answers=state, problems=problems
        )

    every = operation(
        "listMethods",
        "methods",
        "List the submission methods with their states",
        answers={"200": json_body("MethodList", "In the configured order.")},
        problems=(422, 500, 503),
    )
    switches = {
        f"/methods/{{name}}/{verb}": {"post": one_state(f"{verb}Method", summary)}
        for verb, summary in _SWITCHES.items()
    }
    one = one_state("getMethod", "Show a submission method's state")
    return {"/methods": {"get": every}, "/methods/{name}": {"get": one}, **switches}


def _halt() -> Schema:
    content = {
        "schema": closed({"reason": nullable(text())}, optional=["reason"]),
        "examples": {"why": {"value": {"reason": "the market has gone mad"}}},
    }
    shown = operation(
        "haltTrading",
        "trading",
        "Halt trading: nothing new is signed until it is resumed, in any process",
        answers={"200": json_body("Trading", "Halted; what is alive is followed to its end.")},
        problems=(400, 413, 415, 422, 500, 503),
    )
    return {
        **shown,
        "requestBody": {"required": False, "content": {"application/json": content}},
    }


def _resume() -> Schema:
    return operation(
        "resumeTrading",
        "trading",
        "Resume trading; refused while the database is being reconciled with the chain",
        answers={"200": json_body("Trading", "Active.")},
        problems=(409, 422, 500, 503),
    )


def _status() -> Schema:
    return operation(
        "getStatus",
        "system",
        "Show network, chain, queue, workers, methods and wallets",
        answers={"200": json_body("Status", "As it is now, from memory.")},
        problems=(422, 500, 503),
    )


def _metrics() -> Schema:
    answer = {"description": "Prometheus.", "content": {"text/plain": {"schema": string()}}}
    return operation(
        "getMetrics",
        "system",
        "Metrics in Prometheus' text format",
        answers={"200": answer},
        problems=(500, 503),
    )


def _flag(name: str, description: str) -> Schema:
    schema = {"type": "object", "properties": {name: {"const": True}}, "required": [name]}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _health() -> Schema:
    answers = {"200": _flag("alive", "The process answers.")}
    return operation("getHealth", "system", "Tell whether the process lives", answers=answers)


def _readiness() -> Schema:
    return operation(
        "getReadiness",
        "system",
        "Tell whether signals can be executed",
        answers={"200": _flag("ready", "They can.")},
        problems=(500, 503),
    )
