"""A process that has imported what tests need, but nothing of ours: each of its children breaks the code.

It reads lines of JSON, `{"app": folder with an app/ to test, "tests": node ids}`, and answers each with one:
`{"code": pytest's exit code, "said": what it printed}`.
"""

import importlib
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from typing import Any, Final

import aiosqlite
import alembic.config
import anyio
import httpx
import hypothesis.stateful
import pytest
import solders.transaction
import sqlalchemy.ext.asyncio
import structlog

LIMIT_SECONDS: Final = 100.0
OPTIONS: Final = (
    *("-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:schemathesis"),
    *("-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"),
)
IMPORTED: Final = (
    aiosqlite,
    alembic.config,
    anyio,
    httpx,
    hypothesis.stateful,
    solders.transaction,
    sqlalchemy.ext.asyncio,
    structlog,
)
"""What children need not import again."""


def serve() -> None:
    """Answer until nobody asks any more."""
    for line in sys.stdin:
        asked = json.loads(line)
        sys.stdout.write(json.dumps(_answer(asked)) + "\n")
        sys.stdout.flush()


def _answer(asked: dict[str, Any]) -> dict[str, object]:
    with tempfile.TemporaryFile("w+") as output:
        child = os.fork()
        if child == 0:
            _test(asked, output.fileno())
        code = _ended(child)
        output.seek(0)
        return {"code": code, "said": output.read()[-6_000:]}


def _test(asked: dict[str, Any], output: int) -> None:
    """Be a child: whatever happens, end here."""
    code = 70
    try:
        os.setpgid(0, 0)
        for stream in (1, 2):
            os.dup2(output, stream)
        sys.dont_write_bytecode = True
        sys.path.insert(0, asked["app"])
        importlib.import_module("app")  # before pytest puts the sound code's folder first
        code = int(pytest.main([*OPTIONS, *asked["tests"]]))
    except Exception:  # noqa: BLE001 - told to whoever asked
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _ended(child: int) -> int:
    """Wait for a child's end, for so long; a test that hangs has failed too, in its own way."""
    ends = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < ends:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -signal.SIGKILL


if __name__ == "__main__":
    serve()
