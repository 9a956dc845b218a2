"""`synergy7 serve`: the service in this process, from a bound socket to an exit code."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator

import typer
import uvicorn
from fastapi import FastAPI

from app.cli.ending import Ending
from app.domain.errors import StartupError
from app.main import create_app
from app.settings import Settings

EXIT_FAILED = 1
GRACE_SECONDS = 5
"""For answers under way at the end; who waits longer is cut off, the orders go on."""
KEEP_ALIVE_SECONDS = 75
"""A bot that posts once a minute keeps its connection."""
BACKLOG = 2_048


class Server(uvicorn.Server):
    """uvicorn without its signal handlers, which would end the process by the signal itself."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to who runs the server."""
        yield


def serve(settings: Settings) -> int:
    """Serve until SIGTERM, Ctrl-C or a failure; gives the exit code, raises StartupError."""
    with bind(settings.server.host, settings.server.port) as listener:
        app = create_app(settings)
        config = server_config(app)
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            return runner.run(run_server(app, config, listener))


def server_config(app: FastAPI) -> uvicorn.Config:
    """Configure the server: uvloop and httptools where they exist, the log as the system sets it."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        backlog=BACKLOG,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    config.load()  # imports: before anything else is started
    return config


async def run_server(app: FastAPI, config: uvicorn.Config, listener: socket.socket) -> int:
    """Open the system, serve, close it: every error of the opening reaches the caller as it is."""
    ending = Ending()
    ending.listen()
    async with contextlib.AsyncExitStack() as stack:
        if await ending.enter(stack, app.router.lifespan_context(app)):
            server = Server(config)
            with ending.leads_to(lambda: _end(app, server)):
                _announce(app, listener)
                await server.serve(sockets=[listener])
    return EXIT_FAILED if app.state.system.failure else 0


def _end(app: FastAPI, server: Server) -> None:
    """End open streams and waits, so that the server need not wait for them, then the server."""
    app.state.long_answers.close()
    server.should_exit = True


def _announce(app: FastAPI, listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    network = app.state.system.get_system_status()["network"]
    typer.echo(f"Synergy7 {app.version} on {network}: http://{where} (Ctrl-C ends it)")


def bind(host: str, port: int) -> socket.socket:
    """Take the address before anything else is started; raises StartupError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # the protocol is named: asyncio turns Nagle's delay off only for sockets that say TCP
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)  # from here on nobody else can have it
    except OSError as error:
        listener.close()
        raise _unusable(error, host, port) from error
    return listener


def _unusable(error: OSError, host: str, port: int) -> StartupError:
    if error.errno == errno.EADDRINUSE:
        what = f"port {port} of {host} is taken"
        todo = "end the process that has it, or set server.port (SYNERGY7_SERVER__PORT)"
        return StartupError("PORT_IN_USE", what, todo)
    what = f"{host} port {port} cannot be used ({error.strerror})"
    return StartupError("ADDRESS_UNUSABLE", what, "set server.host and server.port")
