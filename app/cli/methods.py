"""`synergy7 methods`: the submission methods of the running service, as a table or as JSON."""

from collections.abc import Iterable
from urllib.parse import quote

from rich.table import Table

from app.cli.orders import Json, connect, print_document

BREAKER_STYLES = {"closed": "green", "half-open": "yellow", "open": "red"}


def list_methods(url: str | None, *, as_json: bool) -> int:
    """Print every method in the configured order."""
    document = connect(url).document("GET", "/methods")
    print_document(document, lambda listed: [_table(listed["methods"])], as_json=as_json)
    return 0


def switch_method(url: str | None, name: str, verb: str, *, as_json: bool) -> int:
    """Reset, disable or enable a method and print its state."""
    state = connect(url).document("POST", f"/methods/{quote(name, safe='')}/{verb}")
    print_document(state, lambda switched: [_table([switched])], as_json=as_json)
    return 0


def _table(states: Iterable[Json]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("method", "in use", "breaker", "takes a push", "privacy", "endpoints"):
        table.add_column(name, no_wrap=True)
    for state in states:
        breaker = str(state["breaker"])
        table.add_row(
            str(state["name"]),
            "enabled" if state["enabled"] else "[red]disabled[/]",
            f"[{BREAKER_STYLES.get(breaker, 'cyan')}]{breaker}[/]",
            _when(state["wait_seconds"]),
            str(state.get("privacy", "")),
            ", ".join(map(str, state.get("endpoints", ()))),
        )
    return table


def _when(wait_seconds: float | None) -> str:
    if wait_seconds is None:
        return "no"
    return f"in {wait_seconds:.1f} s" if wait_seconds else "now"
