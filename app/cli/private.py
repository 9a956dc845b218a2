"""A service with a sandbox of its own, in a folder of its own, for as long as a command needs it."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import app
from app.cli.client import Client
from app.cli.errors import ShellError

START_SECONDS = 45.0
STOP_SECONDS = 20.0
SANDBOX_STOP_SECONDS = 5.0
POLL_SECONDS = 0.1
CONSOLE_FILE = "console.txt"


class PrivateService:
    """A running private service; `keep` leaves its folder there."""

    def __init__(self, folder: Path, client: Client, pid: int, *, keep: bool) -> None:
        self.folder = folder
        self.client = client
        self.pid = pid
        self.keep = keep


@contextlib.contextmanager
def private_service(
    folder: Path | None, env: Mapping[str, str] | None = None
) -> Iterator[PrivateService]:
    """Start a service on a free port and its own sandbox; ends both whatever happens.

    `folder` is used and kept; a temporary one is removed at the end unless something went wrong.
    `env` holds further settings. Raises ShellError when the service does not start.
    """
    own = _empty(folder) if folder else Path(tempfile.mkdtemp(prefix="synergy7-"))
    port = _free_port()
    process = _launch(own, _environment({"SYNERGY7_SERVER__PORT": str(port), **(env or {})}))
    client = Client(f"http://127.0.0.1:{port}")
    service = PrivateService(own, client, process.pid, keep=folder is not None)
    try:
        _wait_ready(process, client, own)
        yield service
    finally:
        client.close()
        if _end(process) != 0:
            _end_sandbox(own)
    if not service.keep:
        shutil.rmtree(own)


def _empty(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise ShellError("FOLDER_NOT_EMPTY", f"{folder} holds files", "name an empty or new folder")
    return folder.resolve()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Give this environment with these settings alone: nothing of the user's leaks in."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SYNERGY7_")}
    root = str(Path(app.__file__).resolve().parents[1])
    paths = filter(None, (root, kept.get("PYTHONPATH")))
    return {**kept, "PYTHONPATH": os.pathsep.join(paths), **settings}


def _launch(folder: Path, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    with (folder / CONSOLE_FILE).open("wb") as console:
        return subprocess.Popen(
            [sys.executable, "-m", "app.cli", "serve"],
            cwd=folder,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
        )


def _wait_ready(process: subprocess.Popen[bytes], client: Client, folder: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while not _ready(client):
        if process.poll() is not None or time.monotonic() > end:
            lines = (folder / CONSOLE_FILE).read_text(errors="replace").splitlines()
            last = lines[-1] if lines else "it said nothing"
            raise ShellError(
                "SERVICE_NOT_READY",
                f"the private service did not become ready: {last}",
                f"look into {folder}",
            )
        time.sleep(POLL_SECONDS)


def _ready(client: Client) -> bool:
    try:
        return client.send("GET", "/readyz").is_success
    except ShellError:
        return False


def _end(process: subprocess.Popen[bytes]) -> int:
    process.terminate()
    try:
        return process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _end_sandbox(folder: Path) -> None:
    """End the sandbox that a service left behind which did not end in an orderly way."""
    try:
        pid = int(json.loads((folder / "output" / "sandbox.json").read_text())["pid"])
        os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + SANDBOX_STOP_SECONDS
        while time.monotonic() < end:
            os.kill(pid, 0)
            time.sleep(POLL_SECONDS)
    except (FileNotFoundError, ProcessLookupError, PermissionError, ValueError, KeyError):
        return
