"""The house laws: each catches what it is for, and lets its neighbour pass."""

from pathlib import PurePosixPath

import pytest

from tools import laws

BROKEN = [
    ("stored-attempts", "app/engine/lifecycle.py", "StoredAttempt(1)"),
    ("stored-attempts", "app/executors/rpc.py", "ports.StoredAttempt(raw=b'')"),
    ("exact-amounts", "app/domain/market.py", "x = 0.1"),
    ("exact-amounts", "app/domain/market.py", "x = float('1')"),
    ("exact-amounts", "app/transactions/fees.py", "x = 1e9"),
    ("exact-amounts", "app/transactions/fees.py", "x = 1e9  # float ok:"),
    ("keys", "app/transactions/builder.py", "from solders.keypair import Keypair"),
    ("keys", "app/bootstrap.py", "import solders.keypair"),
    ("sql", "app/engine/order_manager.py", "from sqlalchemy import select"),
    ("sql", "app/api/routes/orders.py", "import sqlalchemy.orm"),
    ("sql", "app/bootstrap.py", "import sqlite3"),
    ("pure-domain", "app/domain/order.py", "async def f() -> None: ..."),
    ("pure-domain", "app/domain/order.py", "import random"),
    ("pure-domain", "app/domain/order.py", "from os import path"),
    ("pure-domain", "app/domain/order.py", "datetime.datetime.now(UTC)"),
    ("honest-handlers", "app/engine/x.py", "try: f()\nexcept: raise"),
    ("honest-handlers", "app/engine/x.py", "try: f()\nexcept Exception: pass"),
    ("honest-handlers", "app/engine/x.py", "try: f()\nexcept (OSError, Exception): ..."),
    ("honest-handlers", "tools/x.py", "for i in x:\n try: f()\n except Exception: continue"),
    ("honest-handlers", "app/engine/x.py", "try: f()\nexcept BaseException: log()"),
    ("honest-handlers", "app/engine/x.py", "with contextlib.suppress(Exception): f()"),
    ("module-size", "app/engine/x.py", "x = 1\n" * 501),
    ("module-size", "tests/engine/test_x.py", "x = 1\n" * 701),
    ("function-size", "app/engine/x.py", "def f() -> None:\n" + "    x = 1\n" * 60),
    ("settings", "app/engine/x.py", "from app.settings import Settings"),
    ("settings", "app/database/x.py", "from app import settings"),
    ("settings", "app/engine/x.py", "from app.logs import set_up"),
    ("http", "app/engine/x.py", "import httpx"),
    ("http", "app/transactions/x.py", "from httpx import AsyncClient"),
    ("skips", "tests/test_x.py", "@pytest.mark.skip\ndef test() -> None: ..."),
    ("skips", "tests/test_x.py", "@pytest.mark.skipif(True)\ndef test() -> None: ..."),
    ("skips", "tests/test_x.py", "pytest.skip()"),
    ("skips", "tests/test_x.py", "pytest.importorskip('x')"),
    ("patches", "tests/test_x.py", "mock.patch('app.engine.clock')"),
    ("patches", "tests/test_x.py", "monkeypatch.setattr('app.engine.clock', 1)"),
    ("self-contained", "docs/x.md", "see .." + "/shared/x"),
    ("no-hosts", "requirements/x.txt", "--index-url https://py" + "pi.org/simple"),
    ("no-hosts", "tools/package.json", "https://registry.npm" + "js.org/x"),
    ("no-machine-paths", "docs/x.md", "cd /wo" + "rk/main"),
    ("no-machine-paths", "app/x.py", "x = '/ro" + "ot/.config'"),
]

KEPT = [
    ("app/database/orders.py", "StoredAttempt(1)"),
    ("app/engine/lifecycle.py", "def f(attempt: StoredAttempt) -> None: ..."),
    ("app/domain/retry.py", "x = 0.1  # float ok: jitter, a share of a wait"),
    ("app/engine/retry.py", "x = 0.1"),
    ("app/transactions/wallet.py", "from solders.keypair import Keypair"),
    ("app/sandbox/genesis.py", "from solders.keypair import Keypair"),
    ("app/transactions/builder.py", "from solders.pubkey import Pubkey"),
    ("app/database/tables.py", "import sqlalchemy as sa"),
    ("app/metrics/history.py", "from sqlalchemy import select"),
    ("alembic/env.py", "from sqlalchemy import pool"),
    ("tests/database/test_x.py", "import sqlite3"),
    ("app/domain/order.py", "import operator\nfrom datetime import UTC, datetime"),
    ("app/engine/x.py", "try: f()\nexcept Exception: log.exception('x')"),
    ("app/engine/x.py", "try: f()\nexcept BaseException:\n    close()\n    raise"),
    ("app/engine/x.py", "with contextlib.suppress(FileNotFoundError): f()"),
    ("app/engine/x.py", "x = 1\n" * 400),
    ("app/engine/x.py", "def f() -> None:\n" + "    x = 1\n" * 59),
    ("app/bootstrap.py", "from app.settings import Settings"),
    ("app/cli/serve.py", "from app.settings import Settings\nimport httpx"),
    ("app/cli_demo.py", "import httpx"),
    ("app/solana/client.py", "import httpx"),
    ("tests/test_x.py", "pytest.skip('no such tool')"),
    ("tests/test_x.py", "@pytest.mark.skipif(True, reason='why')\ndef test() -> None: ..."),
    ("tests/test_x.py", "client.patch('/orders')\nmonkeypatch.setattr(clock, 'now', 1)"),
    (".ci/run", "cd .." + "/shared"),
    ("docs/x.md", "and/or the framework/root/work, GET /workers, https://example.test/work/x"),
]


def names(path: str, text: str) -> list[str]:
    """List the laws severely broken by a text at a path."""
    return [law for law, found in laws.breaches(PurePosixPath(path), text) if found.severe]


@pytest.mark.parametrize(("law", "path", "text"), BROKEN)
def test_a_law_catches_what_it_is_for(law: str, path: str, text: str) -> None:
    """The breach is found, under its law's name and no other."""
    assert names(path, text) == [law]


@pytest.mark.parametrize(("path", "text"), KEPT)
def test_the_laws_let_the_neighbour_pass(path: str, text: str) -> None:
    """What is allowed, in the place where it is allowed, breaks nothing."""
    assert names(path, text) == []


def test_every_law_is_seen_broken() -> None:
    """No law stands without a case above that breaks it."""
    known = {law.name for law in laws.LAWS} | {law.name for law in laws.TEXT_LAWS}
    assert {law for law, _, _ in BROKEN} == known


def test_a_module_near_the_bound_is_a_warning() -> None:
    """Between the two bounds a module is pointed at and not refused."""
    found = list(laws.breaches(PurePosixPath("app/engine/x.py"), "x = 1\n" * 401))
    assert [(law, one.severe) for law, one in found] == [("module-size", False)]
