"""What the points are held against: all that looks like a request, a write or a method in the code."""

import ast
import importlib
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

from tests.crash.points import APP, ASKING, RPC_METHOD, functions, is_write, modules, rpc_methods

ASKS_BY_NAME = frozenset({"call", "exchange"})
WRITES = re.compile(r"_?(write|commit|begin)(_\w+)?")
STATEMENT = re.compile(r"(BEGIN|COMMIT|END|(RELEASE |ROLLBACK TO )?SAVEPOINT)( \w+)?")
METHODS_MADE = "built_in"
"""The table of submission methods, in `app/bootstrap/methods.py`."""

NO_REQUESTS: Mapping[str, str] = {
    "api/openapi/operations.py: *": "names of the service's own operations",
    "api/openapi/markets.py: *": "as above",
    "bootstrap/doctor.py: *": "asked by a person, in a process of its own that stores and sends nothing",
    "executors/guarded.py: *": "what a method of another package is asked within the process",
    "executors/sender_presets.py: getHealth": "keeps a generic sender's line open; it changes nothing",
    "executors/sender.py: keepalive": "as above",
    "executors/sender.py: target.client.call(keepalive.rpc_method)": "as above",
    "executors/sender.py: client.exchange(options.label)": "a generic sender pushes through the same"
    " seam, between the same two points, as the methods that the acts have",
    "executors/gate.py: self._breaker.call(outcome)": "a breaker within the process",
    "solana/endpoints.py: client.call(method)": "asks what its callers name",
    "solana/asking.py: client.call(method)": "as above",
}
"""What looks like a request by its name or its call, and is no point of its own."""
NO_COMMITS: Mapping[str, str] = {
    "database/groups.py: conn.*": "where every commit is made; the hooks are around it",
    "database/groups.py: *SAVEPOINT unit": "parts of a unit of work's transaction",
    "database/engine.py: BEGIN*": "how SQLAlchemy is told to begin one",
    "database/renewal.py: BEGIN IMMEDIATE": "takes the lock and rolls back: it stores nothing",
    "database/migrate.py: conn.begin": "a migration has its own points",
    "database/migration_env.py: *.begin": "only the alembic command comes by here",
    "database/backup.py: engine.begin": "only the commands that restore mark a copy",
    "database/salvage.py: file.write": "only the command that salvages writes a file",
    "database/sql_recovery.py: recovery.begin": "what a unit of work does",
    "database/backup.py: unfinished.write_text": "only the command that restores keeps such a note",
    "database/writer.py: *.write_*": "how long a write may take, and that one failed",
    "database/log_check.py: frame.commit": "what a log that is read says",
    "domain/audit.py: *begin": "the first event of an order; no database is known there",
    "engine/*: *": "a store's function, which commits in app/database",
    "metrics/execution_metrics.py: self._store.write": "as above",
    "logs.py: *.write*": "no database",
    "api/openapi/__main__.py: sys.stdout.write": "as above",
}
"""What begins, writes or commits, and is found by no name of `writers()`."""
NO_METHODS: Mapping[str, str] = {
    "order": "which methods are used",
    "patience": "how long each is waited for",
    "block_engine": "what `bundle` and `jito` have in common",
    "senders": "generic: they push through the seam of the methods that the acts have",
    "options": "for methods of other packages, which are not ours to kill",
}
"""Settings under `methods` that are no section of a method."""


def product() -> Iterator[tuple[str, ast.Module]]:
    """Read all modules but the sandbox's, by their path in the product."""
    for path, tree in modules("."):
        name = path.relative_to(APP).as_posix()
        if not name.startswith("sandbox/"):
            yield name, tree


def requests_without_point() -> Iterator[str]:
    """Name what looks like a request and is not among `rpc_methods()`: by its spelling or its call."""
    known = rpc_methods()
    for name, tree in product():
        for node in ast.walk(tree):
            text = node.value if isinstance(node, ast.Constant) else None
            if isinstance(text, str) and RPC_METHOD.fullmatch(text) and text not in known:
                yield f"{name}: {text}"
            if isinstance(node, ast.Call):
                yield from (f"{name}: {strange}" for strange in _strange(node, known))


def _strange(call: ast.Call, known: set[str]) -> Iterator[str]:
    """Give what a call asks for that has no name of a method, or none to be read."""
    asked = getattr(call.func, "attr", getattr(call.func, "id", ""))
    if asked not in ASKING:
        return
    words = [each.value for each in call.args[:2] if isinstance(each, ast.Constant)]
    names = [word for word in words if isinstance(word, str)]
    yield from (word for word in names if word not in known and not RPC_METHOD.fullmatch(word))
    if asked in ASKS_BY_NAME and not names:
        told = ast.unparse(call.args[0]) if call.args else "…"
        yield f"{ast.unparse(call.func)}({told})"


def commits_without_point() -> Iterator[str]:
    """Name what begins, writes or commits outside of what `writers()` names."""
    for name, tree in product():
        known = _writes(tree) if name.startswith("database/") else set()
        for node in ast.walk(tree):
            if id(node) not in known and _is_write_by_name(node):
                yield f"{name}: {ast.unparse(node)}"
            text = node.value if isinstance(node, ast.Constant) else None
            if isinstance(text, str) and STATEMENT.fullmatch(text):
                yield f"{name}: {text}"


def _is_write_by_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and WRITES.fullmatch(node.attr) is not None


def _writes(tree: ast.Module) -> set[int]:
    """Give the writes that `writers()` goes by."""
    return {
        id(node.func)
        for _, function in functions(tree)
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and is_write(node)
    }


def registered_methods() -> set[str]:
    """Name the submission methods that the product makes."""
    module = importlib.import_module("app.bootstrap.methods")
    return {
        str(key.value if isinstance(key, ast.Constant) else getattr(module, ast.unparse(key)))
        for path, tree in modules("bootstrap")
        if path.stem == "methods"
        for node in ast.walk(tree)
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == METHODS_MADE
        if isinstance(node.value, ast.Dict)
        for key in node.value.keys
        if key is not None
    }


def without_excuse(found: Iterator[str], excuses: Mapping[str, str]) -> list[str]:
    """Give what no excuse is for."""
    return [text for text in found if not any(fnmatchcase(text, each) for each in excuses)]


def idle_excuses(found: Iterator[str], excuses: Mapping[str, str]) -> list[str]:
    """Give the excuses for nothing."""
    texts = [*found]
    return [each for each in excuses if not any(fnmatchcase(text, each) for text in texts)]
