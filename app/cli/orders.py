"""`synergy7 orders`: the orders of the running service, as tables or as JSON."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from app.cli.client import Client

PIPE_WIDTH = 220
"""Columns where no terminal says how many: tables are not cut when piped."""
ANY_HOST = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - what is bound, not a binding
STYLES = {
    "filled": "green",
    "failed": "red",
    "rejected": "red",
    "expired": "yellow",
    "canceled": "yellow",
}

Json = dict[str, Any]


def console() -> Console:
    """Give the console for stdout; off a terminal it is wide and plain."""
    out = Console(highlight=False)
    return out if out.is_terminal else Console(highlight=False, width=PIPE_WIDTH)


def connect(url: str | None) -> Client:
    """Connect to the named service, or to the one that the settings describe."""
    return Client(url or _configured_url())


def _configured_url() -> str:
    from app.settings import load_settings

    server = load_settings().server
    return f"http://{ANY_HOST.get(server.host, server.host)}:{server.port}"


def list_orders(url: str | None, query: Mapping[str, object], *, as_json: bool) -> int:
    """Print a page of orders, newest first."""
    page = connect(url).document("GET", "/orders", query=query)
    print_document(page, _orders_table, as_json=as_json)
    return 0


def show_order(url: str | None, order_id: str, *, as_json: bool) -> int:
    """Print one order."""
    document = connect(url).document("GET", f"/orders/{order_id}")
    print_document(document, _order_tables, as_json=as_json)
    return 0


def cancel_order(url: str | None, order_id: str, *, as_json: bool) -> int:
    """Cancel one order and print what became of it."""
    document = connect(url).document("POST", f"/orders/{order_id}/cancel")
    print_document(document, _cancel_lines, as_json=as_json)
    return 0


def resolve_order(
    url: str | None, order_id: str, word: Mapping[str, object], *, as_json: bool
) -> int:
    """Resolve an order in doubt and print how it ended."""
    document = connect(url).document("POST", f"/orders/{order_id}/resolve", body=word)
    print_document(document, _resolve_lines, as_json=as_json)
    return 0


def cancel_many(url: str | None, query: Mapping[str, object], *, as_json: bool) -> int:
    """Cancel every open order that the query names and print how many."""
    document = connect(url).document("POST", "/orders/cancel", query=query)
    print_document(document, _cancel_many_lines, as_json=as_json)
    return 0


def print_document(
    document: Json, view: Callable[[Json], Iterable[object]], *, as_json: bool
) -> None:
    """Print the service's document as it is, or the parts that a view makes of it."""
    out = console()
    if as_json:
        out.out(json.dumps(document, indent=2), highlight=False)
        return
    for part in view(document):
        out.print(part, soft_wrap=isinstance(part, str))


def status_text(document: Json) -> str:
    """Colour a status; an order in doubt and a reason are shown with it."""
    status = str(document["status"])
    style = STYLES.get(status, "cyan")
    doubt = " (in doubt)" if document.get("in_doubt_since") else ""
    return f"[{style}]{status}{doubt}[/]"


def size_text(document: Json) -> str:
    """Say how much was asked for: the base size, or the quote size with its token."""
    base, _, quote = str(document["market"]).partition("-")
    if document.get("size") is not None:
        return f"{document['size']} {base}"
    return f"{document['quote_size']} {quote}"


def price_text(value: object) -> str:
    """Shorten a price to what a person reads; the full figure stands in the JSON."""
    text = "" if value is None else str(value)
    whole, dot, places = text.partition(".")
    shown = places if whole.strip("-0") == "" else places[:6]
    return (whole + dot + shown[:12]).rstrip("0").rstrip(".") if dot else whole


def _orders_table(page: Json) -> Iterable[object]:
    table = Table(box=None, pad_edge=False)
    for name in ("order", "accepted", "action", "size", "market", "status", "reason"):
        table.add_column(name, no_wrap=True)
    table.add_column("average price", justify="right", no_wrap=True)
    for order in page["orders"]:
        table.add_row(
            str(order["order_id"]),
            str(order["accepted_at"]),
            str(order["action"]),
            size_text(order),
            str(order["market"]),
            status_text(order),
            str(order["reason_code"] or ""),
            price_text((order["fill"] or {}).get("average_price")),
        )
    yield table
    if page["next_cursor"]:
        yield "[dim]there are more: raise --limit, or narrow with --status, --market[/]"


def _order_tables(order: Json) -> Iterable[object]:
    facts = Table(box=None, pad_edge=False, show_header=False)
    for key, value in _facts(order):
        if value not in (None, ""):
            facts.add_row(f"[dim]{key}[/]", str(value))
    yield facts
    if order["attempts"]:
        yield ""
        yield _attempts_table(order)


def _facts(order: Json) -> Iterable[tuple[str, object]]:
    yield "order", order["order_id"]
    yield "signal", f"{order['action']} {size_text(order)} on {order['market']}"
    yield "status", status_text(order)
    fill = order["fill"]
    if fill:
        base, _, quote = str(order["market"]).partition("-")
        yield "fill", f"{fill['base_amount']} {base} for {fill['quote_amount']} {quote}"
        yield "average price", fill["average_price"]
        yield "slippage", None if fill["slippage_bps"] is None else f"{fill['slippage_bps']} bps"
        yield from ((f"fee: {kind}", amount) for kind, amount in fill["fees"].items())
    shown = {"action", "size", "quote_size", "market", "status", "fill", "attempts", "order_id"}
    yield from ((key, value) for key, value in order.items() if key not in shown)


def _attempts_table(order: Json) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("attempt", "status", "slot", "method", "outcome", "latency", "signature"):
        table.add_column(name, no_wrap=name != "signature", overflow="fold")
    for attempt in order["attempts"]:
        own = (str(attempt["number"]), str(attempt["status"]), str(attempt["landed_slot"] or ""))
        pushes = attempt["submissions"] or [None]
        for index, push in enumerate(pushes):
            lead = own if index == 0 else ("", "", "")
            signature = str(attempt["signature"]) if index == 0 else ""
            table.add_row(*lead, *_push_cells(push), signature)
    return table


def _push_cells(push: Json | None) -> tuple[str, str, str]:
    if push is None:
        return "", "", ""
    reason = f" ({push['reason']})" if push["reason"] not in (None, "", "ok") else ""
    return str(push["method"]), f"{push['outcome']}{reason}", f"{push['latency_ms']} ms"


def _cancel_lines(order: Json) -> Iterable[object]:
    status = str(order["status"])
    if status == "canceled":
        yield f"canceled: {order['order_id']}"
    else:
        yield f"cancellation requested: {order['order_id']} is {status}; it ends canceled or filled"


def _resolve_lines(order: Json) -> Iterable[object]:
    yield f"resolved: {order['order_id']} is {order['status']}"


def _cancel_many_lines(document: Json) -> Iterable[object]:
    yield ", ".join(
        f"{key}: {len(value) if isinstance(value, list) else value}"
        for key, value in document.items()
    )
