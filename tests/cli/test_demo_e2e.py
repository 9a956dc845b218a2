"""The demo and the self-test as a person runs them."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from app.cli.selftest import PASSED
from tests.harness import ROOT, command, environment, run_cli
from tests.integration.plugins import install

pytestmark = pytest.mark.e2e
DEMO_SECONDS = 60
POLITE_METHOD = '''
"""Sends to the cluster's nodes when it is asked with the right word."""

from app.domain.errors import StartupError
from app.executors.rpc import rpc


def make(context):
    if context.options.get("word") != "please":
        raise StartupError("IMPOLITE", "methods.options.polite.word is not please", "say it")
    method = rpc(context.rpc_clients, context.gate)
    method.name = context.name
    return method
'''


def nothing_runs(folder: Path) -> bool:
    """Whether the sandbox that ran in a folder is gone; an orderly end removes its file."""
    return not (folder / "output" / "sandbox.json").exists()


def test_the_demo_passes_off_a_terminal(tmp_path: Path) -> None:
    """Within a minute every signal ends as it ought to, and the last line says so."""
    began = time.monotonic()
    result = run_cli("demo", "--folder", "here", cwd=tmp_path, timeout=DEMO_SECONDS)
    assert result.returncode == 0, result.stdout + result.stderr
    last = "DEMO PASSED: 9 filled, 1 failed as expected, 1 refused as expected"
    assert result.stdout.splitlines()[-1] == last
    assert "failed (PRICE_LIMIT)" in result.stdout
    assert "refused (UNKNOWN_MARKET)" in result.stdout
    assert time.monotonic() - began < DEMO_SECONDS
    assert nothing_runs(tmp_path / "here")


def test_the_self_test_passes(tmp_path: Path) -> None:
    """Orders through every method are filled by it; the last line says so; nothing is left."""
    result = run_cli("selftest", cwd=tmp_path, timeout=DEMO_SECONDS)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.splitlines()[-1] == PASSED
    for method in ("bundle", "jito", "quicknode", "rpc"):
        assert f"ok      {method}: SELL 0.05 SOL" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_self_test_tells_a_method_of_a_package_its_options(tmp_path: Path) -> None:
    """What is configured for a plug-in goes into the private service too, which would not start."""
    site = install(tmp_path, "polite", POLITE_METHOD)
    env = {
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(site))),
        "SYNERGY7_METHODS__ORDER": "polite",
        "SYNERGY7_METHODS__OPTIONS__POLITE__WORD": "please",
    }
    result = run_cli("selftest", cwd=tmp_path, env=env, timeout=DEMO_SECONDS)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "ok      polite: SELL 0.05 SOL" in result.stdout


def test_a_folder_with_something_in_it_is_not_used(tmp_path: Path) -> None:
    """The demo never mixes with what is there."""
    (tmp_path / "mine.txt").write_text("mine")
    result = run_cli("demo", "--folder", str(tmp_path), cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith("FOLDER_NOT_EMPTY: ")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_demo_draws_a_live_table_on_a_terminal(tmp_path: Path) -> None:
    """On a terminal one table is redrawn, and at its end the same verdict stands."""
    controller, terminal = os.openpty()
    with subprocess.Popen(
        command("demo"),
        cwd=tmp_path,
        env=environment({"TERM": "xterm", "COLUMNS": "160"}),
        stdout=terminal,
        stderr=terminal,
    ) as process:
        os.close(terminal)
        shown = b"".join(iter(lambda: read_terminal(controller), b"")).decode()
        assert process.wait(DEMO_SECONDS) == 0, shown
    os.close(controller)
    assert "\x1b[1A" in shown  # the cursor goes up: redrawn in place
    assert "against signal" in shown
    assert shown.splitlines()[-1].startswith("DEMO PASSED: 9 filled")


def read_terminal(controller: int) -> bytes:
    """Read what was written to a terminal; nothing once its last writer is gone."""
    try:
        return os.read(controller, 65_536)
    except OSError:
        return b""
