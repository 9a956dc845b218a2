"""Landing notices over a real websocket: they wake, and prove nothing."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from app.solana.notices import WAITING_MAX, LandingNotices

pytestmark = pytest.mark.anyio


@dataclass
class Socket:
    """A websocket server that a test speaks through."""

    port: int = 0
    asked: "asyncio.Queue[dict[str, Any]]" = field(default_factory=asyncio.Queue)
    connections: "asyncio.Queue[ServerConnection]" = field(default_factory=asyncio.Queue)

    @property
    def url(self) -> str:
        """The address."""
        return f"ws://127.0.0.1:{self.port}"

    async def handle(self, connection: ServerConnection) -> None:
        """Pass on what is asked."""
        self.connections.put_nowait(connection)
        async for message in connection:
            self.asked.put_nowait(json.loads(message))


@asynccontextmanager
async def listening() -> AsyncIterator[Socket]:
    """Serve on a free port."""
    socket = Socket()
    async with serve(socket.handle, "127.0.0.1", 0) as server:
        (listener,) = server.sockets
        socket.port = listener.getsockname()[1]
        yield socket


@asynccontextmanager
async def noticing(url: str) -> AsyncIterator[tuple[LandingNotices, "asyncio.Queue[str]"]]:
    """Run notices; gives them, and a queue of what was seen."""
    notices = LandingNotices(url)
    seen: asyncio.Queue[str] = asyncio.Queue()
    notices.on_notice = seen.put_nowait
    running = asyncio.create_task(notices.run())
    try:
        yield notices, seen
        assert not running.done(), "notices died"
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def confirmation(number: int, subscription: int) -> str:
    """Say that a subscription stands."""
    return json.dumps({"jsonrpc": "2.0", "result": subscription, "id": number})


def notification(subscription: int) -> str:
    """Say that a signature was seen."""
    params = {
        "result": {"context": {"slot": 1}, "value": {"err": None}},
        "subscription": subscription,
    }
    return json.dumps({"jsonrpc": "2.0", "method": "signatureNotification", "params": params})


async def test_a_seen_signature_is_told_by_name() -> None:
    """Asked for at confirmed, one notice each, whatever their order."""
    async with listening() as socket, noticing(socket.url) as (notices, seen):
        await notices.subscribe("first")
        await notices.subscribe("second")
        connection = await socket.connections.get()
        requests = [await socket.asked.get() for _ in range(2)]
        options = {"commitment": "confirmed", "enableReceivedNotification": False}
        assert [each["params"] for each in requests] == [["first", options], ["second", options]]
        assert {each["method"] for each in requests} == {"signatureSubscribe"}
        for request, subscription in zip(requests, (71, 72), strict=True):
            await connection.send(confirmation(request["id"], subscription))
        await connection.send(notification(72))
        await connection.send(notification(71))
        assert [await seen.get(), await seen.get()] == ["second", "first"]


@pytest.mark.parametrize(
    "nonsense",
    [
        "{",
        "[]",
        "7",
        '{"id":null,"result":1}',
        '{"id":99,"result":1}',
        '{"id":1,"error":{"code":-32602}}',
        '{"id":1,"result":{}}',
        '{"method":"signatureNotification","params":{"subscription":12345}}',
        '{"method":"signatureNotification"}',
        "[" * 100_000,
    ],
)
async def test_nonsense_is_passed_over(nonsense: str) -> None:
    """A refusal, an unknown subscription, no JSON: the next notice is told all the same."""
    async with listening() as socket, noticing(socket.url) as (notices, seen):
        await notices.subscribe("lost")
        connection = await socket.connections.get()
        await socket.asked.get()
        await connection.send(nonsense)
        await notices.subscribe("kept")
        request = await socket.asked.get()
        await connection.send(confirmation(request["id"], 5))
        await connection.send(notification(5))
        assert await seen.get() == "kept"


async def test_a_broken_connection_is_made_again() -> None:
    """What was subscribed before is lost, as it may be; new wishes are served."""
    async with listening() as socket, noticing(socket.url) as (notices, seen):
        await notices.subscribe("before")
        await socket.asked.get()
        await (await socket.connections.get()).close()
        connection = await socket.connections.get()
        await notices.subscribe("after")
        request = await socket.asked.get()
        assert request["params"][0] == "after"
        await connection.send(confirmation(request["id"], 1))
        await connection.send(notification(1))
        assert await seen.get() == "after"


async def test_a_message_beyond_the_bound_ends_only_the_connection() -> None:
    """Nobody sends a megabyte to say that a signature was seen."""
    async with listening() as socket, noticing(socket.url):
        connection = await socket.connections.get()
        await connection.send("x" * (2**20 + 1))
        await socket.connections.get()


@pytest.mark.parametrize("url", ["ws://127.0.0.1:1", "http://127.0.0.1", "ws://127.0.0.1:1/\n"])
async def test_where_nobody_listens_it_is_tried_on(url: str) -> None:
    """It is an accelerator: it never ends the service."""
    async with noticing(url):
        await asyncio.sleep(0.05)


async def test_wishes_are_dropped_rather_than_waited_for() -> None:
    """While the connection is down they are bounded; polling sees what they would have told."""
    notices = LandingNotices("ws://127.0.0.1:1")
    async with asyncio.timeout(5):
        for number in range(WAITING_MAX + 10):
            await notices.subscribe(f"signature{number}")


async def test_without_a_listener_a_notice_is_told_to_nobody() -> None:
    """Until somebody wants them."""
    LandingNotices("ws://127.0.0.1:1").on_notice("signature")
