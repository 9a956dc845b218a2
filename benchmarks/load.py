"""Load over HTTP/1.1 that costs little: bare protocols on kept connections, requests made beforehand.

The generator shares the machine with what it measures, so every microsecond spent here is missing there.
"""

import asyncio
import time
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import uvloop

LOAD_SECONDS_MAX = 120.0
"""How long one load may take; a server that hangs fails the run."""
_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: `sent_at` in Unix seconds, `seconds` from the first byte sent to the last read."""

    status: int
    body: bytes
    sent_at: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Load:
    """What a server answered, in no particular order, and how long it took in all."""

    answers: Sequence[Answer]
    seconds: float

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.answers) / self.seconds


def post_request(host: str, path: str, body: bytes) -> bytes:
    """Write a POST of a JSON body."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Connection(asyncio.Protocol):
    """One kept connection, one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answered: asyncio.Future[tuple[int, bytes]] | None = None
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        self._read += data
        found = read_answer(self._read)
        if found is not None and self._answered is not None and not self._answered.done():
            self._read = b""
            self._answered.set_result(found)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(exc or ConnectionError("closed without an answer"))

    @property
    def usable(self) -> bool:
        """Tell whether the server has not closed it."""
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, request: bytes) -> Answer:
        """Send a request and give its answer; raises OSError when the connection ends instead."""
        if self._transport is None or not self.usable:
            raise ConnectionError("the server closed a kept connection")
        self._answered = asyncio.get_running_loop().create_future()
        sent_at, started = time.time(), time.perf_counter()
        self._transport.write(request)
        status, body = await self._answered
        return Answer(status, body, sent_at, time.perf_counter() - started)

    def close(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.close()


def read_answer(data: bytes) -> tuple[int, bytes] | None:
    """Give status and body once the answer is whole; it must name its length."""
    end = data.find(_HEAD_END)
    if end < 0:
        return None
    head = data[:end].lower()
    at = head.find(_LENGTH)
    if at < 0:
        raise ValueError("an answer without content-length")
    length = int(head[at + len(_LENGTH) :].split(b"\r\n", 1)[0])
    body = data[end + len(_HEAD_END) :]
    return (int(data[9:12]), body) if len(body) >= length else None


async def _connect(port: int) -> Connection:
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Connection, "127.0.0.1", port)
    return connection


async def at_once(port: int, requests: Iterable[bytes], *, width: int) -> Load:
    """Send requests as fast as `width` connections get answers."""
    answers: list[Answer] = []
    waiting = iter(requests)

    async def work(connection: Connection) -> None:
        answers.extend([await connection.ask(request) for request in waiting])

    opened = [await _connect(port) for _ in range(width)]
    try:
        started = time.perf_counter()
        async with asyncio.timeout(LOAD_SECONDS_MAX), asyncio.TaskGroup() as group:
            for connection in opened:
                group.create_task(work(connection))
        return Load(answers, time.perf_counter() - started)
    finally:
        for connection in opened:
            connection.close()


async def paced(port: int, requests: Sequence[bytes], *, per_second: float) -> Load:
    """Send requests at even times, whatever the answers do."""
    answers: list[Answer] = []
    idle: list[Connection] = []

    async def send(request: bytes) -> None:
        # the one used last: servers close those that idle for long
        connection = idle.pop() if idle and idle[-1].usable else await _connect(port)
        answers.append(await connection.ask(request))
        idle.append(connection)

    try:
        started = time.perf_counter()
        async with asyncio.timeout(LOAD_SECONDS_MAX), asyncio.TaskGroup() as group:
            for number, request in enumerate(requests):
                await asyncio.sleep(started + number / per_second - time.perf_counter())
                group.create_task(send(request))
        return Load(answers, time.perf_counter() - started)
    finally:
        for connection in idle:
            connection.close()


def run(work: Coroutine[None, None, Load]) -> Load:
    """Run a load to its end on an event loop of its own."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)
