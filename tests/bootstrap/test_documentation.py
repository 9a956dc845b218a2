"""The operator finds every code and every line that asks for attention."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from app.domain.errors import ReasonCode

ROOT = Path(__file__).resolve().parents[2]
OPERATION = (ROOT / "docs" / "operation.md").read_text()
SOURCES = [path for path in (ROOT / "app").rglob("*.py") if "sandbox" not in path.parts]
LOUD = {"warning", "error", "critical", "exception"}
START = {"StartupError", "WalletError", "refusal"}


def calls() -> Iterator[ast.Call]:
    """Give every call in the service's source."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                yield node


def name_of(call: ast.Call) -> str:
    """Give the last part of what is called."""
    called = call.func
    if isinstance(called, ast.Attribute):
        return called.attr
    return called.id if isinstance(called, ast.Name) else ""


def first_text(call: ast.Call) -> str | None:
    """Give the first argument when it is a plain text."""
    match call.args:
        case [ast.Constant(value=str(text)), *_]:
            return text
        case _:
            return None


def test_every_code_of_a_refused_start_is_explained() -> None:
    """Each has its row in docs/operation.md."""
    codes = {text for call in calls() if name_of(call) in START and (text := first_text(call))}
    assert len(codes) > 20
    assert {code for code in codes if f"`{code}`" not in OPERATION} == set()


def test_every_reason_code_is_explained() -> None:
    """Why an order ended or waits, and why a request was refused."""
    assert {code for code in ReasonCode if f"`{code}`" not in OPERATION} == set()


def test_every_loud_line_of_the_log_is_explained() -> None:
    """Warnings and worse: each says in docs/operation.md what is to be done."""
    lines = {
        text
        for call in calls()
        if name_of(call) in LOUD
        and isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == "_log"
        and (text := first_text(call))
    }
    assert len(lines) > 20
    assert {line for line in lines if f"`{line}`" not in OPERATION} == set()


def test_nothing_is_explained_that_does_not_exist() -> None:
    """A code in a table stands in the source."""
    source = "\n".join(path.read_text() for path in SOURCES)
    tables = [line.split("|")[1] for line in OPERATION.splitlines() if line.startswith("| `")]
    codes = {code for cell in tables for code in re.findall(r"`([A-Z][A-Z_]+)`", cell)}
    assert {code for code in codes if f'"{code}"' not in source} == set()
