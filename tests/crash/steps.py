"""The steps of start and orderly end, taken from the very statements of the code that does them.

A function is written anew with a call before and after every statement that waits for something, and
around every callback that it leaves for the end. So a step that is added is a point by itself.
"""

import ast
import builtins
import contextlib
import copy
import importlib
import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

import app

APP = Path(app.__file__).resolve().parent
CALLED = "__crash_step__"
WRAPPED = "__crash_closing__"
LABEL_LENGTH_MAX = 60
ROOTS = (
    "app.cli.serve:run_server",
    "app.cli.worker:_work",
    "app.bootstrap.system:ExecutionSystem.initialize",
    "app.bootstrap.system:ExecutionSystem.start",
    "app.bootstrap.system:ExecutionSystem.stop",
    "app.bootstrap.wiring:open_parts",
    "app.bootstrap.wiring:read_first",
    "app.bootstrap.wiring:_open",
    "app.bootstrap.wiring:Parts.start",
    "app.bootstrap.upkeep:Identification.identify",
    "app.engine.execution_engine:ExecutionEngine.start",
    "app.engine.execution_engine:ExecutionEngine.stop",
    "app.engine.execution_engine:ExecutionEngine._drain",
    "app.engine.execution_engine:ExecutionEngine._release",
    "app.engine.execution_engine:ExecutionEngine._seal_all",
    "app.engine.supervision:Supervisor.stop",
)
"""Where a start and an end are written down; what opens something for a time is found by itself."""
OPENERS = ("bootstrap", "database")
LEFT = frozenset({"push_async_callback", "callback"})
NO_STEPS = ("asyncio.timeout", "asyncio.sleep", "conn.", "engine.connect", "AsyncExitStack")
"""What waits for nothing that a kill could find half done."""
ELSEWHERE = re.compile(r"_store\.|database\.write\(")
"""What is a point of another place already."""

Report = Callable[[str, str], None]


@cache
def tree_of(path: Path) -> ast.Module:
    """Read a module of the product; nobody changes what is given."""
    return ast.parse(path.read_text())


def step_functions() -> list[str]:
    """Name the functions whose steps are points: the roots, and all that open something for a time."""
    found = list(ROOTS)
    for folder in OPENERS:
        for path in sorted((APP / folder).glob("*.py")):
            module = f"app.{folder}.{path.stem}"
            found += [f"{module}:{name}" for name in _openers(tree_of(path))]
    return list(dict.fromkeys(found))


def _openers(tree: ast.AST, outer: str = "") -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield from _openers(node, f"{outer}{node.name}.")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _opens(node):
            yield f"{outer}{node.name}"


def _opens(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    decorators = {ast.unparse(each) for each in function.decorator_list}
    if "asynccontextmanager" in decorators:
        return True
    return any(
        isinstance(node, ast.Call)
        and getattr(node.func, "attr", "") in {*LEFT, "enter_async_context"}
        for node in ast.walk(function)
    )


class Rewriter(ast.NodeTransformer):
    """Puts the calls in; `steps` holds what there is to be reached."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.steps: list[tuple[str, str]] = []

    def _label(self, node: ast.AST) -> str:
        text = " ".join(ast.unparse(node).split())
        return f"{self.name}: {text[:LABEL_LENGTH_MAX]}"

    def body(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        """Write a block anew."""
        written: list[ast.stmt] = []
        for at, statement in enumerate(statements):
            header = _waits(statement)
            if header is not None:
                written.append(self._call(header, "before"))
            if _yields(statement):
                written.append(self._left(statement))
                continue
            written.append(self._inside(statement))
            last = isinstance(statement, ast.Return | ast.Raise)
            follows = at + 1 < len(statements) and _waits(statements[at + 1]) is not None
            if header is not None and not last and not follows:
                written.append(self._call(header, "after"))
        return written

    def _left(self, statement: ast.stmt) -> ast.stmt:
        """Write a `yield`, which is left in whatever way."""
        after = self._call(statement, "after")
        return ast.Try(body=[statement], handlers=[], orelse=[], finalbody=[after])

    def _call(self, header: ast.AST, when: str) -> ast.stmt:
        label = self._label(header)
        self.steps.append((label, when))
        return ast.parse(f"{CALLED}({label!r}, {when!r})").body[0]

    def _inside(self, statement: ast.stmt) -> ast.stmt:
        """Write the blocks of a compound statement, and what a plain one leaves for the end."""
        compound = False
        for field in ("body", "orelse", "finalbody"):
            block = getattr(statement, field, None)
            if block and isinstance(block, list):
                setattr(statement, field, self.body(block))
                compound = True
        for handler in getattr(statement, "handlers", []):
            handler.body = self.body(handler.body)
        if compound:
            return statement
        changed: ast.stmt = self.visit(statement)
        return changed

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Wrap a callback that is left for the end."""
        self.generic_visit(node)
        if getattr(node.func, "attr", "") in LEFT and node.args:
            label = self._label(node.args[0])
            self.steps += [(f"closing {label}", "before"), (f"closing {label}", "after")]
            text = f"{WRAPPED}({f'closing {label}'!r}, {ast.unparse(node.args[0])})"
            node.args[0] = ast.parse(text, mode="eval").body
        return node


def _waits(statement: ast.stmt) -> ast.AST | None:
    """Give the part of a statement that waits, without the blocks in it; None when nothing does."""
    for head in _heads(statement):
        if isinstance(statement, ast.AsyncWith) and _is_step(head):
            return head
        for node in ast.walk(head):
            if isinstance(node, ast.Yield) or (
                isinstance(node, ast.Await) and _is_step(node.value)
            ):
                return head
    return None


def _yields(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Yield)


def _heads(statement: ast.stmt) -> Sequence[ast.AST]:
    """Give a statement without the blocks in it."""
    match statement:
        case ast.AsyncWith():
            return [statement.items[0].context_expr]
        case ast.If() | ast.While():
            return [statement.test]
        case ast.For():
            return [statement.iter]
        case ast.With() | ast.Try() | ast.FunctionDef() | ast.AsyncFunctionDef():
            return []
        case _:
            return [statement]


def _is_step(waited: ast.AST) -> bool:
    """Tell whether what is waited for is a step itself: not what is written down elsewhere."""
    text = ast.unparse(waited)
    if text.removeprefix("contextlib.").startswith(NO_STEPS) or ELSEWHERE.search(text):
        return False
    called = getattr(waited, "func", None)
    name = getattr(called, "attr", getattr(called, "id", ""))
    return name not in _names_of_functions(APP)


@cache
def _names_of_functions(_folder: Path) -> frozenset[str]:
    return frozenset(name.rpartition(":")[2].rpartition(".")[2] for name in step_functions())


def _resolve(name: str) -> FunctionType:
    module, _, path = name.partition(":")
    found: Any = importlib.import_module(module)
    for part in path.split("."):
        found = inspect.getattr_static(found, part)
    function: FunctionType = inspect.unwrap(getattr(found, "__func__", found))
    return function


def _definition(name: str) -> ast.FunctionDef | ast.AsyncFunctionDef:
    """Give a copy of the function as it stands in its file."""
    module, _, path = name.partition(":")
    found: ast.AST = tree_of(APP.parent.joinpath(*module.split(".")).with_suffix(".py"))
    for part in path.split("."):
        children = ast.iter_child_nodes(found)
        found = next(each for each in children if getattr(each, "name", None) == part)
    assert isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef)
    return copy.deepcopy(found)


def rewrite(name: str) -> tuple[ast.Module, Rewriter]:
    """Write a function anew; gives its new tree, and the steps in it."""
    definition = _definition(name)
    definition.decorator_list = []
    rewriter = Rewriter(name.partition(":")[2])
    definition.body = rewriter.body(definition.body)
    tree = ast.Module(body=[definition], type_ignores=[])
    return ast.fix_missing_locations(tree), rewriter


def every_step() -> list[tuple[str, str]]:
    """Give label and time of every step in the code."""
    return list(dict.fromkeys(s for name in step_functions() for s in rewrite(name)[1].steps))


def install(report: Report) -> None:
    """Have every step reported in this process."""

    def closing(label: str, callback: Callable[..., Any]) -> Callable[..., Any]:
        return _closing(report, label, callback)

    setattr(builtins, CALLED, report)
    setattr(builtins, WRAPPED, closing)
    for name in step_functions():
        function, tree = _resolve(name), rewrite(name)[0]
        scope: dict[str, Any] = dict(function.__globals__)
        code = compile(tree, inspect.getfile(function), "exec")
        exec(code, scope)
        function.__code__ = scope[function.__name__].__code__


def _closing(report: Report, label: str, callback: Callable[..., Any]) -> Callable[..., Any]:
    if not inspect.iscoroutinefunction(callback):

        def call(*arguments: object) -> object:
            report(label, "before")
            with contextlib.ExitStack() as stack:
                stack.callback(report, label, "after")
                return callback(*arguments)

        return call

    async def wait(*arguments: object) -> object:
        report(label, "before")
        result = await callback(*arguments)
        report(label, "after")
        return result

    return wait
