"""The domain's docstrings keep the house style: one sentence first, every error, no stale name."""

import ast
import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path

import pytest

DOMAIN = Path(__file__).parents[2] / "app" / "domain"
FILES = sorted(DOMAIN.rglob("*.py"))
FOREIGN = frozenset({"err", "max_in", "min_out"})
"""Words in backticks that name no code here: of the cluster's JSON, of venues."""

Documented = ast.Module | ast.ClassDef | ast.FunctionDef
ENDS = re.compile(r"[.!?](?=\s+[A-Z])")
NAME = re.compile(r"`([A-Za-z_]\w*(?:\.\w+)*)(?:\(\))?`")


def documented(tree: ast.Module) -> Iterator[tuple[Documented, str]]:
    """Yield what has a docstring, with it."""
    for node in ast.walk(tree):
        if isinstance(node, Documented) and (text := ast.get_docstring(node)):
            yield node, text


def where(node: Documented) -> str:
    """Name a node for a reader."""
    return "module" if isinstance(node, ast.Module) else node.name


def unspoken(tree: ast.Module) -> list[str]:
    """List public classes, functions and properties without a docstring."""
    return [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef | ast.FunctionDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]


def long_winded(tree: ast.Module) -> list[str]:
    """List those whose first paragraph is not just one sentence with its full stop."""
    return [
        where(node)
        for node, text in documented(tree)
        if ENDS.search(first := text.split("\n\n")[0]) or not first.endswith(".")
    ]


def raised(node: ast.FunctionDef) -> set[str]:
    """Name the errors that a function raises itself."""
    calls = (each.exc for each in ast.walk(node) if isinstance(each, ast.Raise))
    functions = (call.func for call in calls if isinstance(call, ast.Call))
    return {
        function.id
        for function in functions
        if isinstance(function, ast.Name) and not function.id.startswith("_")
    }


def silent_raisers(tree: ast.Module) -> list[str]:
    """List public functions that raise an error which their docstring does not name."""
    return [
        f"{node.name}: {error}"
        for node, text in documented(tree)
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
        for error in sorted(raised(node))
        if error not in text
    ]


def words(tree: ast.Module) -> set[str]:
    """Collect every name that a module knows, and every text it spells out."""
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=word) | ast.arg(arg=word) | ast.Attribute(attr=word):
                found.add(word)
            case ast.ClassDef(name=word) | ast.FunctionDef(name=word) | ast.alias(name=word):
                found.add(word)
            case ast.Constant(value=str(word)):
                found.add(word)
            case _:
                pass
    return found


def stale_names(tree: ast.Module, known: AbstractSet[str] = FOREIGN) -> list[str]:
    """List names in backticks that neither the module nor its neighbours know."""
    all_known = words(tree) | known
    return [
        f"{where(node)}: {name}"
        for node, text in documented(tree)
        for name in NAME.findall(text)
        if not all_known.issuperset(name.split("."))
    ]


CHECKS = [unspoken, long_winded, silent_raisers, stale_names]


@pytest.fixture(scope="module")
def package_words() -> frozenset[str]:
    """Give the words of all modules: they speak of each other."""
    return FOREIGN.union(*(words(ast.parse(path.read_text())) for path in FILES))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_docstrings_keep_the_house_style(path: Path, package_words: frozenset[str]) -> None:
    """Nothing public is undocumented, wordy at first, silent on its errors or out of date."""
    tree = ast.parse(path.read_text())
    found = [check(tree) for check in (unspoken, long_winded, silent_raisers)]
    assert [*found, stale_names(tree, package_words)] == [[], [], [], []]


def test_there_is_something_to_check() -> None:
    """The files are found."""
    assert DOMAIN / "signal.py" in FILES


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (unspoken, "def f(): ..."),
        (unspoken, "class A:\n  '''A.'''\n  def f(self): ..."),
        (long_winded, "'''One sentence. Another.'''"),
        (long_winded, "'''No full stop'''"),
        (silent_raisers, "def f():\n  '''Do.'''\n  raise KeyError('x')"),
        (stale_names, "def f(new):\n  '''Use `old`.'''"),
        (stale_names, "'''See `a.b`.'''\na = 1"),
    ],
)
def test_each_check_finds_what_it_is_for(check: object, text: str) -> None:
    """A small breach is found."""
    assert callable(check)
    assert check(ast.parse(text))


@pytest.mark.parametrize(
    "text",
    [
        "'''One sentence: with e.g. `this`, in 0.5 s.'''\nthis = 1",
        "'''One.\n\nThen as much. As one likes.'''",
        "def _f():\n  raise KeyError('x')",
        "def f():\n  '''Do; raises KeyError.'''\n  raise KeyError('x')",
        "def f():\n  '''Do.'''\n  raise _private('x')",
        "def f(new):\n  '''Use `new`, `BASE-QUOTE` and `180`.'''",
    ],
)
def test_no_check_minds_its_neighbour(text: str) -> None:
    """What is fine passes all of them."""
    tree = ast.parse(text)
    assert [check(tree) for check in CHECKS] == [[], [], [], []]
