"""The service under test: started by the launcher, killed by itself at its point."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from tests.crash.launcher import KILLED, PIECE
from tests.crash.points import Point
from tests.harness import environment, free_port

START_SECONDS = 30.0
END_SECONDS = 30.0
REQUEST_SECONDS = 30.0
LOOK_SECONDS = 0.01

Json = dict[str, Any]


class Died(Exception):
    """The service is gone."""


class Launcher:
    """The process that forks services."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self._control = ours
        self._alone = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.launcher"],
            stdin=theirs.fileno(),
            env=_unmeasured(environment()),
        )
        theirs.close()

    def __enter__(self) -> Self:
        assert self._control.recv(PIECE) == b"ready", "the launcher does not start"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._control.close()
        self._process.wait(END_SECONDS)

    def fork(self, request: Json) -> tuple[int, socket.socket]:
        """Start a service; gives its process id, and the line on which it tells its end."""
        ours, theirs = socket.socketpair()
        with self._alone:
            socket.send_fds(self._control, [json.dumps(request).encode()], [theirs.fileno()])
            theirs.close()
            assert self._control.recv(PIECE) == b"forked"
        ours.settimeout(END_SECONDS)
        told = ours.recv(PIECE)
        pid, _, rest = told.partition(b"\n")
        assert not rest, rest
        return int(pid), ours


def _unmeasured(env: dict[str, str]) -> dict[str, str]:
    """Take out what has coverage measured: it would cost more than the service."""
    return {key: value for key, value in env.items() if not key.startswith("COVERAGE_")}


class Service:
    """`synergy7 serve` in a folder of its own, over all its starts."""

    def __init__(
        self,
        launcher: Launcher,
        folder: Path,
        env: Mapping[str, str],
        *,
        broken: str | None = None,
    ) -> None:
        self.folder = folder
        self._broken = broken
        self._launcher = launcher
        self._env = {**env, "SYNERGY7_SERVER__PORT": str(free_port())}
        url = f"http://127.0.0.1:{self._env['SYNERGY7_SERVER__PORT']}"
        self._http = httpx.Client(base_url=url, timeout=REQUEST_SECONDS, trust_env=False)
        self._pid: int | None = None
        self._told: socket.socket | None = None
        self.starts = 0

    def launch(self, armed: Point | None = None, nth: int = 1, log: Path | None = None) -> None:
        """Start it, to die at the armed point at its nth time; what it reaches is logged."""
        assert self._pid is None, "already running"
        self.starts += 1
        request = {
            "folder": str(self.folder),
            "env": self._env,
            "armed": armed,
            "nth": nth,
            "broken": self._broken,
            "start": self.starts,
            "log": str(log) if log else None,
        }
        self._pid, self._told = self._launcher.fork(request)

    def wait_up(self) -> None:
        """Wait until it answers, ready or not; raises Died."""
        end = time.monotonic() + START_SECONDS
        while not self._answers():
            assert time.monotonic() < end, "it does not start"
            time.sleep(LOOK_SECONDS)

    def _answers(self) -> bool:
        try:
            return self._http.get("/healthz").status_code == httpx.codes.OK
        except httpx.TransportError:
            if self.has_ended():
                raise Died from None
            return False

    # ---------------------------------------------------------------------------- its end

    def has_ended(self, seconds: float = 0.0) -> bool:
        """Tell whether it is gone, waiting so long."""
        if self._told is None:
            return True
        self._told.settimeout(max(seconds, 0.000_001))
        try:
            while said := self._told.recv(PIECE):
                self.last_words = said
        except (TimeoutError, BlockingIOError):
            return False
        self._told.close()
        self._pid = self._told = None
        return True

    last_words = b""

    @property
    def died_at_its_point(self) -> bool:
        """Tell whether it died where it was to."""
        return self.last_words == KILLED

    def end(self) -> None:
        """Ask for an orderly end and wait for it; raises Died when it was none."""
        if self._pid is not None:
            os.kill(self._pid, signal.SIGTERM)
            assert self.has_ended(END_SECONDS), "it does not end"
        if not self.last_words.startswith(b"ended 0"):
            raise Died

    def kill(self) -> None:
        """Kill it, if it still runs."""
        if self._pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            assert self.has_ended(END_SECONDS)

    def close(self) -> None:
        """Leave nothing behind."""
        self.kill()
        self._http.close()

    # ---------------------------------------------------------------------------- http

    def ask(self, verb: str, path: str, document: object = None) -> httpx.Response:
        """Ask it; raises Died when it is gone before it has answered."""
        try:
            return self._http.request(verb, path, json=document)
        except httpx.TransportError:
            if self.has_ended(END_SECONDS):
                raise Died from None
            raise

    def console(self) -> str:
        """Give what it wrote."""
        path = self.folder / "console.txt"
        return path.read_text(errors="replace") if path.exists() else ""
