"""`synergy7 serve`: the service in this process, from a bound socket to an exit code."""

import contextlib
import errno
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

import uvicorn

from app.domain.errors import StartupError
from app.main import create_app
from app.settings import Settings

EXIT_FAILED = 1
GRACE_SECONDS = 5
"""For answers under way at the end: waiting clients are cut off, the orders go on."""
BACKLOG = 2_048

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Message, Receive, Send], Awaitable[None]]


class Server(uvicorn.Server):
    """uvicorn, except that SIGTERM and SIGINT lead to an exit code instead of death by signal."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Ask for an orderly end on a signal; a second Ctrl-C does not wait for open answers."""
        signals = (signal.SIGINT, signal.SIGTERM)
        before = {each: signal.signal(each, self.handle_exit) for each in signals}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)


class WatchedLifespan:
    """An ASGI application whose start is watched: why it did not start is kept, not printed."""

    def __init__(self, app: Asgi) -> None:
        self._app = app
        self.error: BaseException | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass everything on; of the lifespan, keep the error."""
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return

        async def quiet(message: Message) -> None:
            await send({**message, "message": ""} if "message" in message else message)

        try:
            await self._app(scope, receive, quiet)
        except BaseException as error:
            self.error = error
            raise


def bind(host: str, port: int) -> socket.socket:
    """Bind the address before anything else is started; raises StartupError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise StartupError(
                "PORT_IN_USE",
                f"port {port} of {host} is taken by another process",
                "end that one, or set server.port (SYNERGY7_SERVER__PORT)",
            ) from error
        raise StartupError(
            "ADDRESS_UNUSABLE", f"{host} port {port}: {error.strerror}", "set server.host, port"
        ) from error
    listener.listen(BACKLOG)
    return listener
