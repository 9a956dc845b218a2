"""House laws that no linter knows: small rules over syntax trees, and over text.

    python tools/laws.py            every tracked file of this repository

Each breach is one line `path:line: law: why`. Exit status 1 when there is any.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

MODULE_LINES_WARN = 400
MODULE_LINES_MAX = 500
TEST_MODULE_LINES_MAX = 700
FUNCTION_LINES_MAX = 60


class Found(NamedTuple):
    """A place where a law is broken; `severe` breaches fail the check."""

    line: int
    why: str
    severe: bool = True


class Source(NamedTuple):
    """One Python file: its path from the repository's root, its text and its syntax tree."""

    path: PurePosixPath
    text: str
    tree: ast.Module

    def under(self, *places: str) -> bool:
        """Whether the file is one of these files, or in one of these folders."""
        return any(
            self.path.match(place) or PurePosixPath(place) in self.path.parents for place in places
        )


class Law(NamedTuple):
    """A name to quote and a function that finds the breaches in one file."""

    name: str
    find: Callable[[Source], Iterator[Found]]


# ------------------------------------------------------------------------------------ reading trees


def imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield each imported dotted name with its line: `from a import b` is a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def imports_of(source: Source, *names: str) -> Iterator[tuple[int, str]]:
    """Yield the imports of these modules or of anything in them."""
    for line, name in imports(source.tree):
        if any(name == wanted or name.startswith(f"{wanted}.") for wanted in names):
            yield line, name


def dotted(node: ast.expr | None) -> str:
    """Spell a chain of names, `a.b.c`; the empty string for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}".lstrip(".")
    return ""


def calls(tree: ast.Module) -> Iterator[tuple[ast.Call, str]]:
    """Yield each call with the dotted name of what is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node, dotted(node.func)


def named(call: str, *names: str) -> bool:
    """Whether a dotted name ends in one of these."""
    return any(call == name or call.endswith(f".{name}") for name in names)


# --------------------------------------------------------------------------------------- the laws


def stored_attempts(source: Source) -> Iterator[Found]:
    """Only what stores an attempt may say that it is stored."""
    if source.under("app") and not source.under("app/database"):
        for call, name in calls(source.tree):
            if named(name, "StoredAttempt"):
                yield Found(
                    call.lineno,
                    "only app/database makes a StoredAttempt: it says that the bytes are committed",
                )


EXACT = ("app/domain", "app/transactions")
FLOAT_ALLOWED = re.compile(r"#.*\bfloat ok: \S")


def exact_amounts(source: Source) -> Iterator[Found]:
    """Amounts are exact, so their code has no float; `# float ok: <reason>` excuses a line."""
    if not source.under(*EXACT):
        return
    lines = source.text.splitlines()
    for node in ast.walk(source.tree):
        literal = isinstance(node, ast.Constant) and isinstance(node.value, float)
        call = isinstance(node, ast.Call) and dotted(node.func) == "float"
        if (
            isinstance(node, ast.expr)
            and (literal or call)
            and not FLOAT_ALLOWED.search(lines[node.lineno - 1])
        ):
            yield Found(
                node.lineno,
                "int base units or Decimal; if it is no amount, say `# float ok: <reason>`",
            )


def keys(source: Source) -> Iterator[Found]:
    """One file of the service touches secret keys."""
    if source.under("app") and not source.under("app/transactions/wallet.py", "app/sandbox"):
        for line, name in imports(source.tree):
            if name.endswith(".Keypair") or name == "solders.keypair":
                yield Found(line, "only app/transactions/wallet.py touches secret keys")


SQL = ("sqlalchemy", "sqlite3", "aiosqlite", "asyncpg", "alembic")


def sql(source: Source) -> Iterator[Found]:
    """SQL is spoken in one place for each database."""
    if source.under("app") and not source.under("app/database", "app/metrics"):
        for line, name in imports_of(source, *SQL):
            yield Found(line, f"{name}: only app/database and app/metrics speak SQL")


OUTSIDE_WORLD = (
    "anyio", "asyncio", "httpx", "logging", "os", "pathlib", "random", "secrets", "socket",
    "structlog", "subprocess", "threading", "time",
)  # fmt: skip
CLOCKS = ("datetime.now", "datetime.utcnow", "datetime.today", "date.today")


def pure_domain(source: Source) -> Iterator[Found]:
    """The domain decides from its arguments alone."""
    if not source.under("app/domain"):
        return
    for line, name in imports_of(source, *OUTSIDE_WORLD):
        yield Found(
            line, f"{name}: the domain knows no I/O, clock or chance; take it as an argument"
        )
    for node in ast.walk(source.tree):
        if isinstance(node, ast.AsyncFunctionDef):
            yield Found(node.lineno, "the domain waits for nothing: no async def")
    for call, name in calls(source.tree):
        if named(name, *CLOCKS):
            yield Found(
                call.lineno, f"{name}(): the domain has no clock; take the time as an argument"
            )


def honest_handlers(source: Source) -> Iterator[Found]:
    """No failure, and no cancellation, disappears."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler):
            yield from _handler(node)
    for call, name in calls(source.tree):
        if named(name, "suppress") and any(dotted(arg) in BROAD for arg in call.args):
            yield Found(call.lineno, "suppress what you expect, by its own class")


BROAD = ("Exception", "BaseException")


def _handler(node: ast.ExceptHandler) -> Iterator[Found]:
    caught = {
        dotted(each)
        for each in (node.type.elts if isinstance(node.type, ast.Tuple) else [node.type])
    }
    raises = any(isinstance(each, ast.Raise) for each in ast.walk(node))
    if node.type is None:
        yield Found(node.lineno, "a bare except also swallows cancellation: name the class")
    elif "BaseException" in caught and not raises:
        yield Found(node.lineno, "except BaseException must raise again: it swallows cancellation")
    elif "Exception" in caught and all(_idle(each) for each in node.body):
        yield Found(
            node.lineno, "an unknown failure must leave a trace: log it, store it or raise it"
        )


def _idle(statement: ast.stmt) -> bool:
    """Whether a statement does nothing with the exception: pass, continue, break or a constant."""
    constant = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return constant or isinstance(statement, ast.Pass | ast.Continue | ast.Break)


def module_size(source: Source) -> Iterator[Found]:
    """A module is read in one sitting."""
    lines = len(source.text.splitlines())
    bound = TEST_MODULE_LINES_MAX if source.under("tests") else MODULE_LINES_MAX
    if lines > bound:
        yield Found(1, f"{lines} lines, {bound} at most: split it by what it speaks of")
    elif lines > MODULE_LINES_WARN and not source.under("tests"):
        yield Found(1, f"{lines} lines, {bound} at most", severe=False)


def function_size(source: Source) -> Iterator[Found]:
    """A function is read at a glance; a migration is a list of columns, read as one."""
    if source.under("alembic"):
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield Found(
                    node.lineno, f"{node.name} has {lines} lines, {FUNCTION_LINES_MAX} at most"
                )


STARTERS = (
    "app/bootstrap.py",
    "app/bootstrap",
    "app/main.py",
    "app/cli.py",
    "app/cli",
    "app/settings",
)


def settings(source: Source) -> Iterator[Found]:
    """Components take plain values, and log without setting up a log."""
    if source.under("app") and not source.under(*STARTERS):
        for line, name in imports_of(source, "app.settings", "app.logs"):
            yield Found(line, f"{name}: only bootstrap, main and cli; take a plain value")


HTTP_CLIENTS = ("app/solana", "app/executors", "app/cli.py", "app/cli", "app/cli*.py")


def http(source: Source) -> Iterator[Found]:
    """Bytes leave the process in known places."""
    if source.under("app") and not source.under(*HTTP_CLIENTS):
        for line, name in imports_of(source, "httpx", "requests", "aiohttp", "urllib.request"):
            yield Found(line, f"{name}: only solana, executors and cli speak HTTP outwards")


SKIPS = (
    "pytest.skip",
    "pytest.mark.skip",
    "pytest.mark.skipif",
    "pytest.importorskip",
    "pytest.mark.xfail",
)


def skips(source: Source) -> Iterator[Found]:
    """A test that does not run says why."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for mark in node.decorator_list:
                if dotted(mark) in SKIPS:
                    yield Found(mark.lineno, f"{dotted(mark)} without a reason")
    for call, name in calls(source.tree):
        positional = bool(call.args) and name == "pytest.skip"
        if (
            name in SKIPS
            and not positional
            and not any(key.arg == "reason" for key in call.keywords)
        ):
            yield Found(call.lineno, f"{name} without a reason")


def patches(source: Source) -> Iterator[Found]:
    """Fakes stand at seams: nothing is replaced by its dotted path."""
    for call, name in calls(source.tree):
        if named(name, "patch", "monkeypatch.setattr") and call.args and _dotted_text(call.args[0]):
            yield Found(call.lineno, "no patching by dotted path: hand the fake in")


def _dotted_text(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and "." in node.value.strip("/")
    )


LAWS = (
    Law("stored-attempts", stored_attempts),
    Law("exact-amounts", exact_amounts),
    Law("keys", keys),
    Law("sql", sql),
    Law("pure-domain", pure_domain),
    Law("honest-handlers", honest_handlers),
    Law("module-size", module_size),
    Law("function-size", function_size),
    Law("settings", settings),
    Law("http", http),
    Law("skips", skips),
    Law("patches", patches),
)

# ------------------------------------------------------------------------------ laws over any text


class TextLaw(NamedTuple):
    """A pattern that no tracked text file may hold, those in `excepted` aside."""

    name: str
    pattern: re.Pattern[str]
    why: str
    excepted: tuple[str, ...] = ()


TEXT_LAWS = (
    TextLaw(
        "self-contained",
        re.compile(r"\.\./shared\b"),
        "the repository stands alone: nothing beside it is named",
        (".ci/run",),
    ),
    TextLaw(
        "no-hosts",
        re.compile(r"pypi\.(?:org|python)|npmjs\.(?:org|com)|files\.pythonhosted|registry\.yarn"),
        "where packages come from is the machine's business",
    ),
    TextLaw(
        "no-machine-paths",
        re.compile(r"""(?:^|[\s"'`=(,:])/(?:work|root|home/\w+|Users/\w+)(?:/|\b)(?!\w)"""),
        "a path of one machine is none of another",
    ),
)


def breaches_of_text(path: PurePosixPath, text: str) -> Iterator[tuple[str, Found]]:
    """Yield what the text laws find in one file, with the law's name."""
    for law in TEXT_LAWS:
        if str(path) in law.excepted:
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            if law.pattern.search(line):
                yield law.name, Found(number, law.why)


def breaches_of_python(path: PurePosixPath, text: str) -> Iterator[tuple[str, Found]]:
    """Yield what the laws over syntax trees find in one Python file, with the law's name."""
    source = Source(path, text, ast.parse(text))
    for law in LAWS:
        yield from ((law.name, found) for found in law.find(source))


def breaches(path: PurePosixPath, text: str) -> Iterator[tuple[str, Found]]:
    """Yield every breach in one file, with the law's name."""
    yield from breaches_of_text(path, text)
    if path.suffix == ".py":
        yield from breaches_of_python(path, text)


def tracked(root: Path) -> Iterator[PurePosixPath]:
    """Yield the files that git tracks or would, from the root; deleted ones and links left out."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    for name in sorted(set(filter(None, listed.split("\0")))):
        if (root / name).is_file() and not (root / name).is_symlink():
            yield PurePosixPath(name)


def read_text(path: Path) -> str | None:
    """Read a file as UTF-8; None for one that is no text."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


def main(root: Path = Path()) -> int:
    """Print every breach; 1 when a severe one is among them, else 0."""
    severe = 0
    files = 0
    for path in tracked(root):
        text = read_text(root / path)
        if text is None:
            continue
        files += 1
        for law, found in breaches(path, text):
            severe += found.severe
            print(f"{path}:{found.line}: {'' if found.severe else 'warning: '}{law}: {found.why}")
    print(f"{files} files, {len(LAWS) + len(TEXT_LAWS)} laws, {severe} broken")
    return 1 if severe else 0


if __name__ == "__main__":
    sys.exit(main())
