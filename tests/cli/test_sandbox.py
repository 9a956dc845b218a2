"""`synergy7 sandbox`: which chain it runs."""

import json
import signal
import subprocess
from pathlib import Path

import pytest

from app.cli.sandbox import sandbox_arguments
from tests.harness import Sandbox, command, environment, wait_until


def test_the_settings_chain_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a ledger the settings' one is run, so that a service started meanwhile adopts it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYNERGY7_SANDBOX__SLOT_MS", "50")
    monkeypatch.setenv("SYNERGY7_SANDBOX__PROGRAM_FILE", "cpmm.so")
    given = sandbox_arguments(["--port", "9000"])
    assert given[:4] == ["--ledger", "output/sandbox", "--file", "output/sandbox.json"]
    assert given[given.index("--slot-ms") + 1] == "50"
    assert given[given.index("--program-file") + 1] == "cpmm.so"
    assert given[-2:] == ["--port", "9000"]


@pytest.mark.parametrize(
    "given", [["--ledger", "x"], ["--ledger=x", "--seed", "1"], ["--help"], ["-h"]]
)
def test_another_chain_is_run_as_named(given: list[str]) -> None:
    """With a ledger of its own the arguments are passed through untouched."""
    assert sandbox_arguments(given) == given


@pytest.mark.e2e
def test_it_runs_in_the_foreground_until_a_signal(tmp_path: Path) -> None:
    """The command becomes the sandbox: it can be asked, and SIGTERM ends it in order."""
    with subprocess.Popen(command("sandbox"), cwd=tmp_path, env=environment()) as process:
        try:
            file = tmp_path / "output" / "sandbox.json"
            wait_until("the sandbox is there", file.exists, 20)
            document = json.loads(file.read_text())
            assert document["pid"] == process.pid
            sandbox = Sandbox(**{key: document[key] for key in Sandbox.__annotations__})
            assert sandbox.rpc("getGenesisHash") == sandbox.genesis_hash
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert not file.exists()


@pytest.mark.e2e
def test_its_mistakes_are_its_own(tmp_path: Path) -> None:
    """A wrong argument of the sandbox is refused by the sandbox, exit 2."""
    result = subprocess.run(
        command("sandbox", "--slot-ms", "0"),
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.returncode == 2
    assert "--slot-ms" in result.stderr
