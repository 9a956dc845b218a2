"""The load generator sends everything once and reads answers whole."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from benchmarks.load import at_once, paced, post_request, read_answer

pytestmark = pytest.mark.anyio

ANSWER = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}"


class Server:
    """Answers in two pieces, or hangs up instead; keeps what it was sent."""

    def __init__(self, *, hangs_up: bool = False) -> None:
        self.bodies: Counter[bytes] = Counter()
        self.connections = 0
        self.port = 0
        self.hangs_up = hangs_up

    def connection(self) -> "Peer":
        self.connections += 1
        return Peer(self)


class Peer(asyncio.Protocol):
    """One connection of the server; a request comes in one piece."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._server.bodies[data.partition(b"\r\n\r\n")[2]] += 1
        if self._server.hangs_up:
            self._transport.close()
            return
        self._transport.write(ANSWER[:30])
        asyncio.get_running_loop().call_soon(self._transport.write, ANSWER[30:])


@asynccontextmanager
async def running(server: Server) -> AsyncIterator[Server]:
    """Serve on a free port."""
    loop = asyncio.get_running_loop()
    async with await loop.create_server(server.connection, "127.0.0.1") as listening:
        server.port = listening.sockets[0].getsockname()[1]
        yield server


def requests(count: int) -> list[bytes]:
    """Make requests that can be told apart."""
    return [post_request("127.0.0.1", "/signals", b"%d" % number) for number in range(count)]


async def test_every_request_is_sent_once_over_kept_connections() -> None:
    """As many connections as asked for share the requests, and every answer is kept."""
    async with running(Server()) as server:
        load = await at_once(server.port, requests(50), width=4)
    assert server.bodies == {b"%d" % number: 1 for number in range(50)}
    assert server.connections == 4
    assert [(each.status, each.body) for each in load.answers] == [(202, b"{}")] * 50
    assert all(0 < each.seconds <= load.seconds for each in load.answers)
    assert load.rate == pytest.approx(50 / load.seconds)


CLOCKS_APART = 0.002
"""Seconds: answers bear the wall clock, the pace goes by the monotonic one."""


async def test_a_pace_is_kept() -> None:
    """Requests leave no earlier than their times, each once, over a connection that is used again."""
    async with running(Server()) as server:
        began = time.time()
        load = await paced(server.port, requests(5), per_second=100)
    assert server.bodies == {b"%d" % number: 1 for number in range(5)}
    times = sorted(each.sent_at - began for each in load.answers)
    early = [at for number, at in enumerate(times) if at < number / 100 - CLOCKS_APART]
    assert not early
    assert load.seconds >= 0.04


async def test_a_server_that_hangs_up_fails_the_run() -> None:
    """A connection that ends instead of an answer is an error, never a short result."""
    async with running(Server(hangs_up=True)) as server:
        with pytest.raises(ExceptionGroup) as caught:
            await at_once(server.port, requests(3), width=1)
    assert caught.group_contains(ConnectionError)


@pytest.mark.parametrize("end", range(len(ANSWER)))
def test_a_part_of_an_answer_is_none(end: int) -> None:
    """However the bytes arrive, an answer is read only when it is whole."""
    assert read_answer(ANSWER[:end]) is None


def test_an_answer_must_name_its_length() -> None:
    """What cannot be read whole is refused."""
    with pytest.raises(ValueError, match="content-length"):
        read_answer(b"HTTP/1.1 200 OK\r\n\r\n")
