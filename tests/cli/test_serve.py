"""The server around an application: sockets, signals and exit codes."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace

import httpx
import pytest
from fastapi import FastAPI

from app.api.waits import Long, LongAnswers
from app.cli.serve import bind, run_server, server_config
from app.cli.worker import refuse_sqlite
from app.domain.errors import StartupError
from app.settings import OrderManagement, Settings

LOCAL = "127.0.0.1"


def application(opening: Callable[[FastAPI], object] = lambda _app: None) -> FastAPI:
    """Stand for the service: `opening` runs within its lifespan, before it is open."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        opening(app)
        yield
        app.state.closed = True

    app = FastAPI(lifespan=lifespan)
    app.add_api_route("/hello", lambda: "hello")
    app.state.system = SimpleNamespace(
        failure=None, get_system_status=lambda: {"network": "sandbox"}
    )
    app.state.long_answers = LongAnswers()
    app.state.closed = False
    return app


async def served(app: FastAPI) -> int:
    """Serve an application on a free port to its end; gives the exit code."""
    with bind(LOCAL, 0) as listener:
        return await asyncio.wait_for(run_server(app, server_config(app), listener), 20)


async def answered(port: int) -> str:
    """Ask until the server answers."""
    async with httpx.AsyncClient(trust_env=False) as client:
        return str((await client.get(f"http://{LOCAL}:{port}/hello")).json())


@pytest.mark.anyio
async def test_it_serves_until_a_signal_and_closes_what_it_opened(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The socket taken at first is served; SIGTERM closes the system, exit 0."""
    app = application()
    with bind(LOCAL, 0) as listener:
        port = listener.getsockname()[1]
        serving = asyncio.create_task(run_server(app, server_config(app), listener))
        assert await answered(port) == "hello"
        os.kill(os.getpid(), signal.SIGTERM)
        assert await asyncio.wait_for(serving, 20) == 0
    assert app.state.closed
    assert not app.state.long_answers.admits(Long.POLL)
    assert f"http://{LOCAL}:{port}" in capsys.readouterr().out


@pytest.mark.anyio
async def test_a_dead_worker_is_exit_code_1() -> None:
    """The system says that it failed and asks for the end: everything is closed, exit 1."""

    def dies(app: FastAPI) -> None:
        app.state.system.failure = "worker"
        asyncio.get_running_loop().call_later(0.05, signal.raise_signal, signal.SIGTERM)

    app = application(dies)
    assert await served(app) == 1
    assert app.state.closed


@pytest.mark.anyio
async def test_why_it_cannot_start_reaches_the_shell() -> None:
    """What stands in the way of opening is raised as it is, for the one line on stderr."""

    def refuses(_app: FastAPI) -> None:
        raise StartupError("WALLET_MISSING", "no key", "make one")

    app = application(refuses)
    with pytest.raises(StartupError, match=r"^WALLET_MISSING: no key; make one$"):
        await served(app)


def test_a_taken_port_is_said_so() -> None:
    """The one who has it keeps it."""
    with socket.socket() as taken:
        taken.bind((LOCAL, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StartupError, match=f"^PORT_IN_USE: port {port} of {LOCAL} is taken; "):
            bind(LOCAL, port)


def test_a_bound_port_is_taken_at_once() -> None:
    """Two starts at the same moment: the second finds the port taken, whatever the first does."""
    with bind(LOCAL, 0) as first, pytest.raises(StartupError, match="PORT_IN_USE"):
        bind(LOCAL, first.getsockname()[1])


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
def test_an_address_of_another_machine_is_said_so(host: str) -> None:
    """A host that is not this machine, or none at all, is refused by name."""
    with pytest.raises(StartupError, match=f"^ADDRESS_UNUSABLE: {host}"):
        bind(host, 0)


@pytest.mark.parametrize("url", [None, "sqlite:///orders.db"])
def test_workers_alone_need_postgresql(url: str | None) -> None:
    """On SQLite one process has the orders: a worker beside it would never get one."""
    settings = Settings(order_management=OrderManagement.model_validate({"database_url": url}))
    with pytest.raises(StartupError, match=r"^WORKER_NEEDS_POSTGRESQL: "):
        refuse_sqlite(settings)
