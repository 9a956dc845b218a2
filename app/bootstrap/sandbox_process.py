"""The sandbox chain as a process beside the service: adopted when it runs, started when not."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import structlog

from app.domain.errors import StartupError
from app.solana.json_rpc import JsonRpcClient, Observer, Raw, Result

START_SECONDS: Final = 20.0
STOP_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 2.0
LOOK_SECONDS: Final = 0.5
TODO: Final = "see docs/sandbox.md"
PORT_OPTIONS: Final = ("--port", "--jito-port", "--quicknode-port")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SandboxOptions:
    """How the chain is run; see `python -m app.sandbox --help`."""

    ledger: Path
    file: Path
    slot_ms: int
    seed: int
    program_file: Path | None
    keeper_volatility_bps: int
    start_seconds: float = START_SECONDS
    stop_seconds: float = STOP_SECONDS


@dataclass(frozen=True, slots=True)
class SandboxEndpoints:
    """A sandbox's stand-ins for Jito's block engine and a QuickNode endpoint."""

    jito_url: str
    quicknode_url: str
    quicknode_token: str

    @classmethod
    def read(cls, document: Mapping[str, object]) -> "SandboxEndpoints":
        """Read them as the sandbox tells them; raises KeyError without them."""
        names = ("jito_url", "quicknode_url", "quicknode_token")
        return cls(*(str(document[name]) for name in names))


async def ask_endpoints(client: JsonRpcClient) -> SandboxEndpoints | None:
    """Ask a node for its stand-ins; None from one that is no sandbox, or out of reach."""
    raw = await client.exchange("sandbox-info", None, http_method="GET", path="/sandbox/info")
    if not isinstance(raw, Raw):
        return None
    try:
        return SandboxEndpoints.read(json.loads(raw.body)["endpoints"])
    except (ValueError, KeyError, TypeError):
        return None


@dataclass(frozen=True, slots=True)
class SandboxAddress:
    """Where a running sandbox is."""

    pid: int
    rpc_url: str
    ws_url: str
    wallet_file: Path
    genesis_hash: str
    endpoints: SandboxEndpoints

    def ports(self) -> Sequence[str]:
        """Give the options of a start at the same addresses."""
        urls = (self.rpc_url, self.endpoints.jito_url, self.endpoints.quicknode_url)
        return [
            part
            for option, url in zip(PORT_OPTIONS, urls, strict=True)
            for part in (option, str(urlsplit(url).port or 0))
        ]


class SandboxProcess:
    """Keeps a sandbox of the ledger running while the service runs."""

    def __init__(self, options: SandboxOptions, observer: Observer) -> None:
        """Nothing is started yet."""
        self._options = options
        self._observer = observer
        self._process: asyncio.subprocess.Process | None = None
        self.address: SandboxAddress | None = None

    async def open(self) -> SandboxAddress:
        """Adopt the running sandbox of this ledger, else start one; raises StartupError."""
        found = self._running()
        if found is None or not await self._answers(found):
            found = await self._start()
        self.address = found
        return found

    async def _answers(self, address: SandboxAddress) -> bool:
        """Ask the chain for its name: after a reboot another process may bear the number in the file."""
        client = JsonRpcClient(
            address.rpc_url, timeout_seconds=ANSWER_SECONDS, observer=self._observer
        )
        try:
            answer = await client.call("getGenesisHash", [])
        finally:
            await client.close()
        return isinstance(answer, Result) and answer.value == address.genesis_hash

    def _running(self) -> SandboxAddress | None:
        """Give the running sandbox that the file names, if it is this ledger's."""
        try:
            document = json.loads(self._options.file.read_text())
            pid = int(document["pid"])
            os.kill(pid, 0)
            if Path(document["ledger"]).resolve() != self._options.ledger.resolve():
                return None
            if _is_zombie(pid):
                return None
            return SandboxAddress(
                pid,
                document["rpc_url"],
                document["ws_url"],
                Path(document["wallet_file"]),
                document["genesis_hash"],
                SandboxEndpoints.read(document),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    async def _start(self, before: SandboxAddress | None = None) -> SandboxAddress:
        """Start it, at the addresses of `before` when there was one."""
        options = self._options
        options.file.parent.mkdir(parents=True, exist_ok=True)
        errors = options.file.with_suffix(".log")
        with errors.open("ab") as output:
            start = output.tell()
            self._process = await asyncio.create_subprocess_exec(
                *_command(options, before.ports() if before else ()),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for the service, which then ends it in order
            )
        try:
            async with asyncio.timeout(options.start_seconds):
                while (address := self._running()) is None or address.pid != self._process.pid:
                    if self._process.returncode is not None:
                        raise _failed(_last_line(errors, start))
                    await asyncio.sleep(0.02)
        except TimeoutError:
            await self.close()
            raise _failed(f"it was not ready within {options.start_seconds:g} s") from None
        _log.info("sandbox started", rpc_url=address.rpc_url, pid=address.pid)
        return address

    async def watch(self) -> None:
        """Bring the sandbox back at its old address whenever it has died, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self._running() is not None or self.address is None:
                continue
            _log.error("the sandbox has died, starting it again")
            try:
                self.address = await self._start(self.address)
            except StartupError as error:
                _log.error("the sandbox does not start", why=error.what)

    async def close(self) -> None:
        """End the sandbox in order, if this process started it."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(self._options.stop_seconds):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def _command(options: SandboxOptions, ports: Sequence[str]) -> Sequence[str]:
    command = [sys.executable, "-m", "app.sandbox"]
    command += ["--ledger", str(options.ledger), "--file", str(options.file), *ports]
    command += ["--slot-ms", str(options.slot_ms), "--seed", str(options.seed)]
    if options.program_file is not None:
        command += ["--program-file", str(options.program_file)]
    if options.keeper_volatility_bps:
        command += ["--keeper-volatility-bps", str(options.keeper_volatility_bps)]
    return command


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False  # no /proc here (macOS): the kill -9 of a child is seen by its return code


def _failed(why: str) -> StartupError:
    return StartupError("SANDBOX_FAILED", f"the sandbox chain does not start: {why}", TODO)


def _last_line(path: Path, start: int) -> str:
    with path.open("rb") as output:
        output.seek(start)
        lines = output.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it ended without a word"
