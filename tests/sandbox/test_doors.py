"""Ports: an endpoint goes down as a killed server does, and comes back where it was."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
import httpx
import pytest
from anyio.lowlevel import checkpoint

from app.sandbox.doors import Door, Doors, PortInUse
from app.sandbox.front import Front, Pulse
from app.sandbox.http import Request, Response

NEVER = 3_600.0


class Endpoint:
    """An endpoint that says hello, or waits."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.waiting = asyncio.Event()

    async def respond(self, request: Request) -> Response:
        """Answer; on /wait not before it is released."""
        if request.path == "/wait":
            self.waiting.set()
            await self.release.wait()
        return Response(200, b"hello")


class Hall:
    """Two doors, the first of them controlled."""

    def __init__(self, last_word: float = 0.0) -> None:
        self.endpoint = Endpoint()
        fronts = {name: Front(Pulse(), self.endpoint.respond) for name in ("rpc", "jito")}
        doors = {name: Door(front, 0) for name, front in fronts.items()}
        self.doors = Doors(doors, "rpc", last_word)

    def url(self, name: str) -> str:
        """Give an endpoint's address."""
        return f"http://127.0.0.1:{self.doors.ports()[name]}/"


@pytest.fixture
async def hall() -> AsyncIterator[Hall]:
    """Serve two doors for the length of a test."""
    async with open_hall() as hall:
        yield hall


@asynccontextmanager
async def open_hall(last_word: float = 0.0) -> AsyncIterator[Hall]:
    """Serve two doors."""
    hall = Hall(last_word)
    serving = asyncio.create_task(hall.doors.run())
    await hall.doors.ready()
    try:
        yield hall
    finally:
        hall.endpoint.release.set()
        hall.doors.end()
        with anyio.fail_after(5):
            await serving


async def hello(url: str) -> bool:
    """Whether an endpoint answers on a new connection; False when that is refused."""
    try:
        async with httpx.AsyncClient(timeout=5, trust_env=False) as client:
            return (await client.get(url)).text == "hello"
    except httpx.ConnectError:
        return False


async def until_shut(doors: Doors, names: list[str]) -> None:
    """Wait until just these ports are shut."""
    with anyio.fail_after(5):
        while doors.shut_names() != names:
            await checkpoint()


async def test_a_shut_port_refuses_connections(hall: Hall) -> None:
    """At once, and the others go on; opened, it answers on the same port."""
    assert await hello(hall.url("jito"))
    url = hall.url("jito")
    await hall.doors.shut("jito", None)
    assert not await hello(url)
    assert hall.doors.shut_names() == ["jito"]
    assert await hello(hall.url("rpc"))
    await hall.doors.open_all()
    assert hall.doors.shut_names() == []
    assert hall.url("jito") == url
    assert await hello(url)


async def test_a_request_under_way_is_cut_off(hall: Hall) -> None:
    """Its answer never comes: the connection ends, as when a server dies."""
    waiting = asyncio.create_task(hello(hall.url("jito") + "wait"))
    await hall.endpoint.waiting.wait()
    await hall.doors.shut("jito", None)
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        await waiting


async def test_a_shut_port_stays_ours(hall: Hall) -> None:
    """Nobody else can take it meanwhile."""
    port = hall.doors.ports()["jito"]
    await hall.doors.shut("jito", None)
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))


async def test_a_port_opens_by_itself_after_its_seconds(hall: Hall) -> None:
    """Which is the only way back for the port that is controlled."""
    for name in ("jito", "rpc"):
        await hall.doors.shut(name, 0.2)
        await until_shut(hall.doors, [name])
        await until_shut(hall.doors, [])
        assert await hello(hall.url(name))


async def test_the_controlled_port_answers_before_it_goes() -> None:
    """Whoever asked for it to be shut learns that it was done."""
    async with open_hall(last_word=NEVER) as hall:
        await hall.doors.shut("rpc", 0.1)
        assert hall.doors.shut_names() == []
        assert await hello(hall.url("rpc"))


async def test_shut_twice_is_shut_once(hall: Hall) -> None:
    """And the later word on how long counts."""
    await hall.doors.shut("jito", 0.0)
    await hall.doors.shut("jito", NEVER)
    await asyncio.sleep(0)
    await hall.doors.open_all()
    await hall.doors.open_all()
    assert await hello(hall.url("jito"))


async def test_down_and_up_many_times(hall: Hall) -> None:
    """As fast as it can be asked for."""
    for _ in range(5):
        await hall.doors.shut("jito", None)
        assert not await hello(hall.url("jito"))
        await hall.doors.open_all()
        assert await hello(hall.url("jito"))


async def test_the_end_comes_while_a_port_is_shut() -> None:
    """Nothing waits for it to be opened."""
    async with open_hall() as hall:
        await hall.doors.shut("jito", NEVER)
        await hall.doors.shut("rpc", NEVER)


async def test_a_taken_port_is_said() -> None:
    """Before anything is served."""
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(PortInUse):
        Door(Front(Pulse(), Endpoint().respond), taken.getsockname()[1])


async def test_a_websocket_is_refused_where_there_is_none() -> None:
    """Block engine and provider speak HTTP only."""
    sent: list[object] = []

    async def receive() -> dict[str, object]:
        return {"type": "websocket.connect"}

    async def send(message: object) -> None:
        sent.append(message)

    await Front(Pulse(), Endpoint().respond)({"type": "websocket"}, receive, send)
    assert sent == [{"type": "websocket.close"}]
    with suppress(RuntimeError):
        await Front(Pulse(), Endpoint().respond)({"type": "lifespan"}, receive, send)
    assert len(sent) == 1
