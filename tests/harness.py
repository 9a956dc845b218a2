"""A real service in a process of its own, with its own folder, port, databases and sandbox."""

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

ROOT = Path(__file__).resolve().parents[1]
FINAL = frozenset({"filled", "failed", "expired", "canceled", "rejected"})
SEED_SIGNAL = (
    '{"action":"SELL","market":"SOL-USDC","size":0.01,"price":180.0,"confidence":0.8}'  # as posted
)
START_SECONDS = 60.0
STOP_SECONDS = 40.0
ORDER_WAIT_SECONDS = 30
POLL_SECONDS = 0.1

Json = dict[str, Any]


@dataclass(frozen=True)
class Sandbox:
    """A running sandbox, as its file describes it."""

    pid: int
    rpc_url: str
    ws_url: str
    genesis_hash: str
    wallet_file: str
    ledger: str
    jito_url: str
    quicknode_url: str
    quicknode_token: str

    @property
    def wallet(self) -> str:
        """The address of its trading wallet (base58)."""
        from solders.keypair import Keypair  # noqa: PLC0415

        secret = bytes(json.loads(Path(self.wallet_file).read_text()))
        return str(Keypair.from_bytes(secret).pubkey())

    def rpc(self, method: str, *params: object) -> Any:
        """Ask the node; an error answer fails the test."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = httpx.post(self.rpc_url, json=body, timeout=10, trust_env=False).json()
        assert "error" not in answer, answer
        return answer["result"]


def free_port() -> int:
    """Give a loopback port that nobody has, and that nobody gets who asks the system for any.

    A service that is killed comes back to its port: below the range from which the system serves whoever
    connects, or asks for any port, nobody takes it meanwhile. Each process has a share of them.
    """
    process = os.getpid()  # a fork has a share of its own
    first = _FIRST_PORT + process % _PORT_SHARES * _PORTS_EACH
    ports = _ports.setdefault(process, itertools.cycle(range(first, first + _PORTS_EACH)))
    for port in itertools.islice(ports, _PORTS_EACH):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("every port of this process's share is in use")


_FIRST_PORT, _PORT_SHARES, _PORTS_EACH = 11_000, 64, 300
_ports: dict[int, Iterator[int]] = {}


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give this process's environment without settings of ours, plus what a test sets."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SYNERGY7_")}
    paths = filter(None, (str(ROOT), kept.get("PYTHONPATH")))
    return {**kept, "PYTHONPATH": os.pathsep.join(paths), **(extra or {})}


def command(*arguments: str) -> list[str]:
    """Give the command line of `synergy7 ARGUMENTS`."""
    return [sys.executable, "-m", "app.cli", *arguments]


def run_cli(
    *arguments: str, cwd: Path, env: Mapping[str, str] | None = None, timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run `synergy7 ARGUMENTS` to its end."""
    return subprocess.run(
        command(*arguments),
        cwd=cwd,
        env=environment(env),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def wait_until(what: str, holds: Callable[[], bool], seconds: float) -> None:
    """Poll until `holds()`, else fail naming `what`."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(POLL_SECONDS)


def alive(pid: int) -> bool:
    """Tell whether a process runs (a zombie does not)."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat")
        return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def is_sandbox(pid: int) -> bool:
    """Tell whether a process id (still) names a sandbox; where `/proc` is missing, assume so."""
    path = Path(f"/proc/{pid}/cmdline")
    if not Path("/proc/self").exists():
        return alive(pid)
    return path.exists() and b"app.sandbox" in path.read_bytes()


class Service:
    """`synergy7 serve` in `folder`; may be stopped, killed and started again on the same data.

    `env` holds settings, e.g. `{"SYNERGY7_EXECUTION__MAX_RETRIES": "0"}`. As a context manager it
    starts on entry, and on exit ends the service and its sandbox whatever happened.
    """

    def __init__(
        self,
        folder: Path,
        env: Mapping[str, str] | None = None,
        *,
        arguments: Sequence[str] = ("serve",),
        port: int | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.env = {"SYNERGY7_SERVER__PORT": str(self.port), **(env or {})}
        self.arguments = tuple(arguments)
        self.http = httpx.Client(
            base_url=self.url, timeout=ORDER_WAIT_SECONDS + 10, trust_env=False
        )
        self._process: subprocess.Popen[bytes] | None = None
        self._sandbox_pids: set[int] = set()

    # ----------------------------------------------------------------------------- life

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            print(self.output()[-6000:])  # noqa: T201 - pytest shows it with the failure
        self.close()

    def launch(self) -> None:
        """Start the process and wait for nothing."""
        assert self._process is None or self._process.poll() is not None, "already running"
        with (self.folder / "console.txt").open("ab") as console:
            self._process = subprocess.Popen(
                command(*self.arguments),
                cwd=self.folder,
                env=environment(self.env),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
            )

    def start(self, seconds: float = START_SECONDS) -> None:
        """Start the process and wait until `/readyz` says ready."""
        self.launch()
        self.wait_ready(seconds)

    def wait_ready(self, seconds: float = START_SECONDS) -> None:
        """Wait until `/readyz` answers 200; a process that ends meanwhile fails the test."""
        wait_until("the service is ready", self._ready, seconds)
        self._note_sandbox()

    def _ready(self) -> bool:
        code = self.process.poll()
        assert code is None, f"the service ended with {code}:\n{self.output()[-6000:]}"
        try:
            return self.http.get("/readyz", timeout=2).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process started last."""
        assert self._process is not None, "not started"
        return self._process

    def wait_end(self, seconds: float = STOP_SECONDS) -> int:
        """Wait for the process to end by itself; gives its exit code."""
        return self.process.wait(seconds)

    def stop(self, seconds: float = STOP_SECONDS) -> int:
        """Ask for an orderly end (SIGTERM); gives the exit code."""
        self._note_sandbox()
        self.process.send_signal(signal.SIGTERM)
        return self.wait_end(seconds)

    def kill(self) -> None:
        """Kill the service (SIGKILL); its sandbox lives on."""
        self._note_sandbox()
        self.process.kill()
        self.process.wait()

    def kill_sandbox(self) -> None:
        """Kill the sandbox (SIGKILL) and wait until it is gone."""
        pid = self.sandbox().pid
        os.kill(pid, signal.SIGKILL)
        wait_until("the sandbox is dead", lambda: not alive(pid), 10)

    def close(self) -> None:
        """End everything that was started, at once."""
        self.http.close()
        self._note_sandbox()
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS / 4)
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for pid in filter(is_sandbox, self._sandbox_pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    # ---------------------------------------------------------------------------- sandbox

    def sandbox(self) -> Sandbox:
        """Read where the service's sandbox is."""
        document = json.loads((self.folder / "output" / "sandbox.json").read_text())
        return Sandbox(**{key: document[key] for key in Sandbox.__annotations__})

    def _note_sandbox(self) -> None:
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError):
            self._sandbox_pids.add(self.sandbox().pid)

    # ------------------------------------------------------------------------------- http

    def post_signal(
        self, signal_: Mapping[str, object] | str, *, key: str | None = None
    ) -> httpx.Response:
        """Post a signal (a document, or its exact text) with an optional idempotency key."""
        text = signal_ if isinstance(signal_, str) else json.dumps(signal_)
        headers = {"content-type": "application/json"}
        if key is not None:
            headers["idempotency-key"] = key
        return self.http.post("/signals", content=text, headers=headers)

    def submit(self, signal_: Mapping[str, object] | str, *, key: str | None = None) -> str:
        """Post a signal that must be accepted; gives the order id."""
        answer = self.post_signal(signal_, key=key)
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
        return str(answer.json()["order_id"])

    def get(self, path: str, **params: str | int) -> Any:
        """Read a document that must be there."""
        answer = self.http.get(path, params=params)
        assert answer.status_code == httpx.codes.OK, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()

    def order(self, order_id: str, wait: int = 0) -> Json:
        """Read an order, waiting up to `wait` seconds for its end."""
        document: Json = self.get(f"/orders/{order_id}", wait=wait)
        return document

    def finished(self, order_id: str, seconds: float = ORDER_WAIT_SECONDS) -> Json:
        """Wait for an order's final state; gives its document."""
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            document = self.order(order_id, wait=max(1, min(30, int(left))))
            if document["status"] in FINAL:
                return document
            assert left > 0, f"not final within {seconds} s: {document}"

    def orders(self) -> Iterator[Json]:
        """Read every order, newest first, page by page."""
        page = self.get("/orders", limit=500)
        while True:
            yield from page["orders"]
            if not page["next_cursor"]:
                return
            page = self.get("/orders", limit=500, cursor=page["next_cursor"])

    # ------------------------------------------------------------------------------- logs

    def output(self) -> str:
        """Give what the process wrote to its console, over all its starts."""
        path = self.folder / "console.txt"
        return path.read_text(errors="replace") if path.exists() else ""

    def log(self) -> list[Json]:
        """Give the lines of the log file."""
        path = self.folder / "logs" / "production_execution.log"
        return [json.loads(line) for line in path.read_text().splitlines()]
