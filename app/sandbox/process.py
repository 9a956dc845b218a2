"""The process around the node: clock, server, hand-over file, and when to end."""

import asyncio
import errno
import json
import os
import signal
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from app.sandbox.chain import ChainRules
from app.sandbox.clock import run_clock
from app.sandbox.ledger import LOCK_FILE, LedgerLock
from app.sandbox.node import Node, NodeOptions
from app.sandbox.server import SandboxApp
from app.sandbox.wallet import WALLET_FILE, load_wallet
from app.sandbox.websocket import MESSAGE_BYTES_MAX

LOOPBACK = "127.0.0.1"
BACKLOG = 2_048
WATCH_SECONDS = 1.0
KEEP_ALIVE_SECONDS = 120  # longer than clients keep an idle connection
GRACE_SECONDS = 1  # for answers under way at the end


class StartError(Exception):
    """The process cannot start; the text is `CODE: what; what to do`."""


@dataclass(frozen=True, slots=True)
class ProcessOptions:
    """What the command line says."""

    ledger: Path
    file: Path | None = None
    port: int = 0
    slot_ms: int = 400
    automatic: bool = True
    seed: int = 7
    finality_blocks: int = 32
    skipped_permille: int = 50
    wallet_file: Path | None = None
    program_file: Path | None = None
    keeper_volatility_bps: int = 0
    idle_exit_seconds: float = 600


class QuietServer(uvicorn.Server):
    """uvicorn without its signal handlers, which would end the process by the signal itself."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def abort(self, client: tuple[str, int]) -> None:
        """Cut a client's connection without a word."""
        for connection in list(self.server_state.connections):
            if getattr(connection, "client", None) == tuple(client):
                connection.transport.abort()


def run_process(options: ProcessOptions) -> None:
    """Run a sandbox to its orderly end; raises LedgerError, StartError or WalletError."""
    with LedgerLock(options.ledger), _listen(options.port) as listener:
        node = Node(options.ledger, _node_options(options))
        try:
            uvicorn_loop = uvicorn.Config("", loop="auto").get_loop_factory()
            with asyncio.Runner(loop_factory=uvicorn_loop) as runner:
                runner.run(_serve(node, options, listener))
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


def _listen(port: int) -> socket.socket:
    """Bind a loopback port; 0 takes a free one."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
    except OSError as error:
        listener.close()
        if error.errno != errno.EADDRINUSE:
            raise
        raise StartError(
            f"PORT_IN_USE: port {port} is taken; choose another --port, or 0 for a free one"
        ) from error
    listener.listen(BACKLOG)
    return listener


async def _serve(node: Node, options: ProcessOptions, listener: socket.socket) -> None:
    """Serve until a signal, a failure, or nobody wants this sandbox any more."""
    app = SandboxApp(node, time.time)
    server = QuietServer(_server_config(app))
    app.connections = server
    stop = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, stop.set)
    # the socket listens already: who comes before the server has started waits in its backlog
    serving = asyncio.create_task(server.serve([listener]))
    others = [
        asyncio.create_task(run_clock(node, options.slot_ms, automatic=options.automatic)),
        asyncio.create_task(_watch(app, options)),
        asyncio.create_task(_failure(app)),
        asyncio.create_task(stop.wait()),
    ]
    hand_over = HandOver(options, node, listener.getsockname()[1])
    try:
        hand_over.write()
        await asyncio.wait({serving, *others}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        hand_over.remove()
        app.faults.clear()
        server.should_exit = True
        for task in others:
            task.cancel()
        results = await asyncio.gather(serving, *others, return_exceptions=True)
    _raise_failures(results)


def _server_config(app: SandboxApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="websockets-sansio",
        ws_max_size=MESSAGE_BYTES_MAX,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        backlog=BACKLOG,
    )


async def _failure(app: SandboxApp) -> None:
    """Raise what makes it impossible to go on."""
    await app.failed.wait()
    if app.failure is not None:
        raise app.failure


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
        if app.requests != seen or app.hub.connections:
            seen, idle_seconds = app.requests, 0.0


class HandOver:
    """The file by which others find this process."""

    def __init__(self, options: ProcessOptions, node: Node, port: int) -> None:
        self._path = options.file
        wallet_file = options.wallet_file or options.ledger / WALLET_FILE
        self._document = {
            "pid": os.getpid(),
            "rpc_url": f"http://{LOOPBACK}:{port}",
            "ws_url": f"ws://{LOOPBACK}:{port}",
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
