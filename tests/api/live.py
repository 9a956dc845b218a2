"""The interface behind a real HTTP server in this process, for clients that speak HTTP."""

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from tests.api.kit import Running, running


class _Server(uvicorn.Server):
    """A server that tells when it serves."""

    def __init__(self, config: uvicorn.Config, ready: threading.Event) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready.set()


Prepare = Callable[[Running], Coroutine[object, object, None]]


async def _nothing(_api: Running) -> None:
    return


def _listener() -> socket.socket:
    """Bind a free port, naming TCP: asyncio leaves Nagle's delay on where it is not named."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    return listener


@contextmanager
def served(folder: Path, prepare: Prepare = _nothing) -> Iterator[str]:
    """Serve the interface on a free loopback port; gives its URL. `prepare` runs before it serves."""
    ready = threading.Event()
    listener = _listener()
    servers: list[_Server] = []

    async def serve() -> None:
        async with running(folder) as api:
            await prepare(api)
            config = uvicorn.Config(
                api.app, log_config=None, lifespan="off", timeout_graceful_shutdown=5
            )
            servers.append(_Server(config, ready))
            async with asyncio.TaskGroup() as tasks:
                # should it fail, the server is canceled too and the test ends
                filling = tasks.create_task(api.fill_all())
                await servers[0].serve([listener])
                filling.cancel()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(30), "the server does not start"
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        servers[0].should_exit = True
        thread.join(30)
        listener.close()
