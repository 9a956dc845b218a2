"""Points at which a service can be killed, and the list of all that its code says there are."""

import ast
import json
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import app
from tests.crash import steps

APP = Path(app.__file__).resolve().parent
RPC_METHOD = re.compile(
    r"(get|send|simulate)[A-Z]\w+|minimumLedgerSlot|qn_\w+|tip_floor|sandbox-info|is[A-Z]\w+"
)
"""What a JSON-RPC method looks like, and the labels of the two requests that are none."""
SENDS = ("sendTransaction", "sendBundle")
ASKING = frozenset({"call", "read", "exchange", "_ask", "ask"})
"""Functions whose first arguments name what is asked of an endpoint."""


FORWARDERS = frozenset({"SqlRecovery._write"})
"""Functions that write what their callers give them: the callers are the writers."""
POSTGRES = "postgresql"
UNREACHED = {
    "commit: MetricsDatabase.clear *": "only the command that rebuilds the metrics empties them",
    "step: _fresh: *": "as above",
    "step: MetricsKeeper._opened: await asyncio.wait*": "an end that comes just then",
    "commit: mark_database *": "only the commands that reconcile and restore mark a database",
    "commit: SqlRecovery.contradict *": "the chain has what an end denies: never, if all is well",
    "commit: SqlRecovery.recover_fill *": "only a salvaged database has a fill without its attempt",
    "step: verify: *": "only the command that verifies reads a database so",
    "step: open_for_reading: *": "as above",
    "step: open_inspection: *": "as above",
    "request: getTipAccounts *": "only the doctor asks for them, in a process of its own",
    "step: _work: *": "no act has a process without HTTP: it opens and closes what `serve` does",
}
"""Points that no act comes by, with the reason."""
NOT_ON_SQLITE = {
    "step: open_database: await _refuse_forgetful*": "only a server can forget what it committed",
    "step: closing open_database: pulse.aclose*": "one connection writes on a file",
    "step: closing open_database: engine.dispose*": "the thread that writes a file closes it",
}


class Point(NamedTuple):
    """A place in the life of a process: what is done there, and whether it is still to be done."""

    place: str
    label: str
    when: str

    def __str__(self) -> str:
        return f"{self.place}: {self.label} ({self.when})"


def both(place: str, label: str) -> Iterator[Point]:
    """Give the points before and after something."""
    yield Point(place, label, "before")
    yield Point(place, label, "after")


def unreachable(point: Point, kind: str) -> str | None:
    """Give the reason for which no act comes by a point on this kind of database, if there is one."""
    reasons = UNREACHED if kind == POSTGRES else {**UNREACHED, **NOT_ON_SQLITE}
    text = str(point)
    return next((why for pattern, why in reasons.items() if fnmatchcase(text, pattern)), None)


def modules(*folders: str) -> Iterator[tuple[Path, ast.Module]]:
    """Read the product's modules in these folders."""
    for folder in folders:
        for path in sorted((APP / folder).rglob("*.py")):
            yield path, steps.tree_of(path)


def functions(tree: ast.AST, outer: str = "") -> Iterator[tuple[str, ast.AST]]:
    """Give every function that stands in a module or a class, by qualified name."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{outer}{node.name}", node
        elif isinstance(node, ast.ClassDef):
            yield from functions(node, f"{outer}{node.name}.")


# ------------------------------------------------------------------------------ what must exist


def event_kinds() -> list[str]:
    """Give the kinds of event with which a held order is written."""
    from app.domain.events import EventKind  # noqa: PLC0415 - the process that forks needs none

    names = {
        ast.unparse(keyword.value).removeprefix("EventKind.")
        for _, tree in modules("domain")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Change"
        for keyword in node.keywords
        if keyword.arg == "kind"
    }
    return sorted(EventKind[name].value for name in names)


def writers() -> Iterator[str]:
    """Name the functions that commit a unit of work: `….write(unit)` on a database."""
    for _, tree in modules("database"):
        for name, function in functions(tree):
            if name not in FORWARDERS and any(is_write(node) for node in ast.walk(function)):
                yield name


def is_write(node: ast.AST) -> bool:
    """Tell whether this is the write of a unit of work, as the writers do it."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        return False
    return (
        re.fullmatch(r"(\w+\._?)?database\.write(_at_once)?|self\._write", ast.unparse(node.func))
        is not None
    )


def commits() -> Iterator[Point]:
    """Give the points around every commit."""
    for name in writers():
        kinds = event_kinds() if name == "SqlStore.record" else [""]
        for kind in kinds:
            yield from both("commit", f"{name} {kind}".rstrip())
    for section in ("orders", "metrics"):
        yield from both("migration", section)


def rpc_methods() -> set[str]:
    """Name what is asked of endpoints anywhere."""
    asked: set[str] = set()
    for _, tree in modules("solana", "executors", "bootstrap"):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                if name in ASKING:
                    asked |= {text for each in node.args[:3] for text in _named(each)}
    return asked


def _named(node: ast.AST) -> Iterator[str]:
    text = node.value if isinstance(node, ast.Constant) else None
    if isinstance(text, str) and RPC_METHOD.fullmatch(text):
        yield text


def requests(methods: tuple[str, ...]) -> Iterator[Point]:
    """Give the points around every outgoing request, those of pushes for each method."""
    for name in sorted(rpc_methods() - set(SENDS)):
        yield from both("request", name)
    for method in methods:
        send = "sendBundle" if method == "bundle" else "sendTransaction"
        yield from both("request", f"{send} via {method}")


def transitions() -> Iterator[Point]:
    """Give the points at which an order's new state is taken into memory."""
    for kind in (*event_kinds(), "order.executing", "attempt.signed", "reload"):
        yield Point("memory", kind, "after")


def answers() -> Iterator[Point]:
    """Give the points around every answer to a request that changes something."""
    from app.api.app import PATHS  # noqa: PLC0415 - the process that forks needs none

    for path, handlers in PATHS.items():
        if "POST" in handlers:
            yield from both("answer", f"POST {path}")


def websocket() -> Iterator[Point]:
    """Give the points around what goes over the websocket."""
    for label in ("connect", "signatureSubscribe", "message"):
        yield from both("websocket", label)


def every_point(methods: tuple[str, ...]) -> list[Point]:
    """Give every point that the code says there is."""
    return [
        *commits(),
        *requests(methods),
        *websocket(),
        *transitions(),
        *answers(),
        *(Point("step", label, when) for label, when in steps.every_step()),
    ]


def read_log(path: Path) -> list[Point]:
    """Read what a process has reached, in its order."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines()
    return [Point(*json.loads(line)) for line in lines]
