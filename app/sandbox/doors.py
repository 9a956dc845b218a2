"""The endpoints' ports: each is served for itself, can be shut, and opens again where it was."""

import asyncio
import errno
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import uvicorn

from app.sandbox.front import Front
from app.sandbox.websocket import MESSAGE_BYTES_MAX

LOOPBACK: Final = "127.0.0.1"
BACKLOG: Final = 2_048
KEEP_ALIVE_SECONDS: Final = 120  # longer than clients keep an idle connection
GRACE_SECONDS: Final = 1  # for answers under way at the end
LAST_WORD_SECONDS: Final = 0.05  # for the answer to whoever asked for the port to be shut


class PortInUse(Exception):
    """Another process has this port."""


class QuietServer(uvicorn.Server):
    """uvicorn without its signal handlers, which would end the process by the signal itself."""

    def __init__(self, config: uvicorn.Config, ready: asyncio.Event) -> None:
        super().__init__(config)
        self._ready = ready

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and tell who waits for it."""
        await super().startup(sockets)
        self._ready.set()

    def abort(self, client: tuple[str, int]) -> None:
        """Cut a client's connection without a word."""
        for connection in list(self.server_state.connections):
            if getattr(connection, "client", None) == tuple(client):
                connection.transport.abort()

    def stop_now(self) -> None:
        """End as a killed process does: no listening any more, every connection cut."""
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        self.should_exit = self.force_exit = True


class Door:
    """One endpoint's port on the loopback interface; 0 takes a free one. Raises PortInUse."""

    def __init__(self, front: Front, port: int) -> None:
        self._front = front
        self._socket = _bind(port)
        self._socket.listen(BACKLOG)  # who comes before the server has started waits in the backlog
        self.port: int = self._socket.getsockname()[1]
        self._server: QuietServer | None = None
        self._opened = asyncio.Event()
        self._opened.set()
        self._served = asyncio.Event()
        self._ended = False

    @property
    def is_open(self) -> bool:
        """Whether somebody answers here."""
        return self._opened.is_set()

    async def run(self) -> None:
        """Serve, also after having been shut, until the end."""
        try:
            while not self._ended:
                self._server = server = QuietServer(_config(self._front), self._served)
                self._front.connections = server
                await server.serve([self._socket])
                await self._opened.wait()
        finally:
            self.close()

    async def ready(self) -> None:
        """Wait until requests are served."""
        await self._served.wait()

    async def shut(self) -> None:
        """Refuse connections from now on, and cut those there are."""
        if not self.is_open:
            return
        await self.ready()
        if self._server is None or not self.is_open:
            return  # somebody else has shut it meanwhile
        self._served.clear()
        self._opened.clear()
        self._server.stop_now()
        # bound and not listening: connections are refused, and nobody else gets the port
        self._socket = _bind(self.port)

    def open(self) -> None:
        """Take connections again."""
        if not self.is_open:
            self._socket.listen(BACKLOG)
            self._opened.set()

    def close(self) -> None:
        """Give the port back."""
        self._socket.close()

    def end(self) -> None:
        """Serve what is under way, and no more."""
        self._ended = True
        self._opened.set()
        if self._server is not None:
            self._server.should_exit = True


class Doors:
    """All endpoints' ports, by the endpoint's name."""

    def __init__(
        self, doors: Mapping[str, Door], controlled: str, last_word: float = LAST_WORD_SECONDS
    ) -> None:
        """`controlled` is the endpoint on which ports are asked to be shut, `last_word` seconds later."""
        self._doors = doors
        self._controlled = controlled
        self._last_word = last_word
        self._timers: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Serve until the end."""
        await asyncio.gather(*(door.run() for door in self._doors.values()))

    async def ready(self) -> None:
        """Wait until every port is served."""
        for door in self._doors.values():
            await door.ready()

    def ports(self) -> dict[str, int]:
        """Give the ports by name."""
        return {name: door.port for name, door in self._doors.items()}

    async def shut(self, endpoint: str, seconds: float | None) -> None:
        """Shut a port for some seconds, or until all are opened."""
        self._cancel(endpoint)
        if endpoint != self._controlled:
            await self._doors[endpoint].shut()
        self._timers[endpoint] = asyncio.create_task(self._reopen(endpoint, seconds))

    async def open_all(self) -> None:
        """Open every port that is shut."""
        for name, door in self._doors.items():
            self._cancel(name)
            door.open()

    def shut_names(self) -> list[str]:
        """Name the endpoints that refuse connections."""
        return [name for name, door in self._doors.items() if not door.is_open]

    def end(self) -> None:
        """Serve what is under way, and no more."""
        for name, door in self._doors.items():
            self._cancel(name)
            door.end()

    async def _reopen(self, endpoint: str, seconds: float | None) -> None:
        door = self._doors[endpoint]
        if endpoint == self._controlled:
            await asyncio.sleep(self._last_word)
            await door.shut()
        if seconds is not None:
            await asyncio.sleep(seconds)
            door.open()

    def _cancel(self, endpoint: str) -> None:
        timer = self._timers.pop(endpoint, None)
        if timer is not None:
            timer.cancel()


def _bind(port: int) -> socket.socket:
    """Bind a loopback port; 0 takes a free one. Raises PortInUse."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((LOOPBACK, port))
    except OSError as error:
        bound.close()
        if error.errno != errno.EADDRINUSE:
            raise
        raise PortInUse(port) from error
    return bound


def _config(front: Front) -> uvicorn.Config:
    return uvicorn.Config(
        front,
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
