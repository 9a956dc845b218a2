"""The private service behind the demo and the self-test: nothing of it is left behind."""

import json
import os
import signal
import tempfile
from pathlib import Path

import pytest

from app.cli.errors import ShellError
from app.cli.private import private_service
from tests.harness import alive, wait_until

pytestmark = pytest.mark.e2e


def test_a_service_that_does_not_start_says_why(tmp_path: Path) -> None:
    """Its own line is passed on, the folder is named, and nothing runs."""
    wrong = {"SYNERGY7_EXECUTION__MAX_RETRYS": "1"}
    with (
        pytest.raises(ShellError, match=r"^SERVICE_NOT_READY: ") as caught,
        private_service(tmp_path, wrong),
    ):
        pytest.fail("it started")
    assert "CONFIG_UNKNOWN" in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert not (tmp_path / "output" / "sandbox.json").exists()


def test_the_sandbox_of_a_killed_service_is_ended_too(tmp_path: Path) -> None:
    """Even when the service is killed under the command, its chain does not stay."""
    with private_service(tmp_path) as service:
        pid = json.loads((tmp_path / "output" / "sandbox.json").read_text())["pid"]
        os.kill(service.pid, signal.SIGKILL)
        assert alive(pid)
    wait_until("the sandbox is gone", lambda: not alive(pid), 5)


def test_a_temporary_folder_is_removed_unless_it_is_to_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a success nothing is left; what went wrong can be looked at."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with private_service(None) as service:
        assert service.client.document("GET", "/status")["network"] == "sandbox"
    assert list(tmp_path.iterdir()) == []
    with private_service(None) as service:
        service.keep = True
    assert [path.name for path in service.folder.iterdir()]
