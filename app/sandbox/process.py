"""The process around the node: clock, server, hand-over file, and when to end."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from app.sandbox.chain import ChainRules
from app.sandbox.clock import run_clock
from app.sandbox.doors import LOOPBACK, Door, Doors, PortInUse
from app.sandbox.faults import CONTROLLED
from app.sandbox.front import Pulse
from app.sandbox.ledger import LOCK_FILE, LedgerLock
from app.sandbox.node import Node, NodeOptions
from app.sandbox.server import EndpointOptions, SandboxApp
from app.sandbox.wallet import WALLET_FILE, load_wallet

WATCH_SECONDS = 1.0


class StartError(Exception):
    """The process cannot start; the text is `CODE: what; what to do`."""


@dataclass(frozen=True, slots=True)
class ProcessOptions:
    """What the command line says."""

    ledger: Path
    file: Path | None = None
    port: int = 0
    jito_port: int = 0
    quicknode_port: int = 0
    quicknode_token: str | None = None
    jito_requests_per_second: float = 1
    slot_ms: int = 400
    automatic: bool = True
    seed: int = 7
    finality_blocks: int = 32
    skipped_permille: int = 50
    wallet_file: Path | None = None
    program_file: Path | None = None
    keeper_volatility_bps: int = 0
    idle_exit_seconds: float = 600


def run_process(options: ProcessOptions) -> None:
    """Run a sandbox to its orderly end; raises LedgerError, StartError or WalletError."""
    with LedgerLock(options.ledger):
        node = Node(options.ledger, _node_options(options))
        try:
            uvicorn_loop = uvicorn.Config("", loop="auto").get_loop_factory()
            with asyncio.Runner(loop_factory=uvicorn_loop) as runner:
                runner.run(_serve(node, options))
        finally:
            node.close()


def _node_options(options: ProcessOptions) -> NodeOptions:
    program = options.program_file
    return NodeOptions(
        wallet=load_wallet(options.wallet_file or options.ledger / WALLET_FILE),
        unix_time=int(time.time()),
        rules=ChainRules(
            seed=options.seed,
            finality_blocks=options.finality_blocks,
            skipped_permille=options.skipped_permille,
        ),
        slot_ms=options.slot_ms,
        program=program.read_bytes() if program else None,
        keeper_volatility_bps=options.keeper_volatility_bps,
    )


async def _serve(node: Node, options: ProcessOptions) -> None:
    """Serve until a signal, a failure, or nobody wants this sandbox any more."""
    app = SandboxApp(node, time.time, _endpoint_options(options))
    doors = _doors(app, options)
    app.faults.doors = doors
    stop = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, stop.set)
    serving = asyncio.create_task(doors.run())
    others = [
        asyncio.create_task(run_clock(node, options.slot_ms, automatic=options.automatic)),
        asyncio.create_task(_watch(app, options)),
        asyncio.create_task(_failure(app.pulse)),
        asyncio.create_task(stop.wait()),
    ]
    hand_over = HandOver(options, node, app, doors.ports())
    try:
        await doors.ready()
        hand_over.write()
        await asyncio.wait({serving, *others}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        hand_over.remove()
        app.faults.clear()
        doors.end()
        for task in others:
            task.cancel()
        results = await asyncio.gather(serving, *others, return_exceptions=True)
    _raise_failures(results)


def _endpoint_options(options: ProcessOptions) -> EndpointOptions:
    return EndpointOptions(options.jito_requests_per_second, options.quicknode_token)


def _doors(app: SandboxApp, options: ProcessOptions) -> Doors:
    """Bind the ports of all endpoints; raises StartError."""
    ports = {"rpc": options.port, "jito": options.jito_port, "quicknode": options.quicknode_port}
    doors = {}
    for name, front in app.fronts.items():
        try:
            doors[name] = Door(front, ports[name])
        except PortInUse as error:
            for door in doors.values():
                door.close()
            option = "--port" if name == CONTROLLED else f"--{name}-port"
            raise StartError(
                f"PORT_IN_USE: port {ports[name]} is taken; "
                f"choose another {option}, or 0 for a free one"
            ) from error
    return Doors(doors, CONTROLLED)


async def _failure(pulse: Pulse) -> None:
    """Raise what makes it impossible to go on."""
    await pulse.failed.wait()
    if pulse.failure is not None:
        raise pulse.failure


def _raise_failures(results: Iterable[object]) -> None:
    for result in results:
        if isinstance(result, Exception):
            raise result


async def _watch(app: SandboxApp, options: ProcessOptions) -> None:
    """Return when nobody can want this sandbox any more."""
    seen, idle_seconds = 0, 0.0
    while idle_seconds < options.idle_exit_seconds and (options.ledger / LOCK_FILE).exists():
        await asyncio.sleep(WATCH_SECONDS)
        idle_seconds += WATCH_SECONDS
        if app.pulse.requests != seen or app.hub.connections:
            seen, idle_seconds = app.pulse.requests, 0.0


class HandOver:
    """The file by which others find this process."""

    def __init__(
        self, options: ProcessOptions, node: Node, app: SandboxApp, ports: Mapping[str, int]
    ) -> None:
        self._path = options.file
        app.endpoints = {
            "jito_url": f"http://{LOOPBACK}:{ports['jito']}",
            "quicknode_url": f"http://{LOOPBACK}:{ports['quicknode']}",
            "quicknode_token": app.token,
        }
        wallet_file = options.wallet_file or options.ledger / WALLET_FILE
        self._document = {
            "pid": os.getpid(),
            "rpc_url": f"http://{LOOPBACK}:{ports['rpc']}",
            "ws_url": f"ws://{LOOPBACK}:{ports['rpc']}",
            **app.endpoints,
            "genesis_hash": node.chain.genesis_hash,
            "wallet_file": str(wallet_file.absolute()),
            "ledger": str(options.ledger.absolute()),
            "slot_ms": options.slot_ms,
        }

    def write(self) -> None:
        """Write the file in one step."""
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        partial.write_text(json.dumps(self._document, indent=2) + "\n")
        partial.replace(self._path)

    def remove(self) -> None:
        """Remove the file, unless another process has written it since."""
        if self._path is None:
            return
        with suppress(OSError, ValueError):
            if json.loads(self._path.read_text()).get("pid") == os.getpid():
                self._path.unlink()
