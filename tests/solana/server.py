"""A tiny HTTP server that answers with the bytes it is given, and a node that answers by method."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from app.solana.json_rpc import JsonRpcClient

TIMEOUT_SECONDS = 5.0


class Act:
    """Something that a server does instead of answering."""


HANG = Act()
"""Read the request and say nothing."""
CLOSE = Act()
"""Read the request and hang up."""
RESET = Act()
"""Read the request and reset the connection."""


@dataclass(frozen=True)
class Half:
    """Send these bytes, then hang up."""

    data: bytes


@dataclass(frozen=True)
class Later:
    """Answer once a test lets it."""

    step: bytes
    let: asyncio.Event


Step = bytes | Act | Half | Later


def http(status: int, body: bytes | str, *headers: str, close: bool = False) -> bytes:
    """Write an HTTP answer."""
    raw = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} Said", f"content-length: {len(raw)}", *headers]
    lines += ["connection: close"] if close else []
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + raw


def result(value: object, number: object = 1) -> bytes:
    """Write a JSON-RPC result."""
    return http(200, json.dumps({"jsonrpc": "2.0", "result": value, "id": number}))


def error(status: int, code: int, message: str, data: object = None, *headers: str) -> bytes:
    """Write an enveloped JSON-RPC error."""
    document = {"jsonrpc": "2.0", "error": {"code": code, "message": message, "data": data}}
    return http(status, json.dumps({**document, "id": None}), *headers)


@dataclass
class Server:
    """What a server was asked, and where it is."""

    answer: Callable[[dict[str, Any]], Step]
    port: int = 0
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    connections: int = 0

    @property
    def targets(self) -> list[str]:
        """The method, path and query of each request."""
        return [head.decode().split(" HTTP/")[0] for head in self.headers]

    @property
    def url(self) -> str:
        """The address, with a secret where vendors want it."""
        return f"http://127.0.0.1:{self.port}/secret?api-key=hidden"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        self.connections += 1
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        told = head.lower().split(b"content-length:")[1:]
        body = await reader.readexactly(int(told[0].split(b"\r\n")[0]) if told else 0)
        request = json.loads(body) if b"content-type: application/json" in head.lower() else {}
        self.headers.append(head)
        self.bodies.append(body)
        self.requests.append(request)
        step = self.answer(request)
        if isinstance(step, Later):
            await step.let.wait()
            step = step.step
        if isinstance(step, Half):
            writer.write(step.data)
            await writer.drain()
            return False
        if isinstance(step, bytes):
            writer.write(step)
            await writer.drain()
            return b"connection: close" not in step
        if step is HANG:
            await reader.read()
        if step is RESET:
            writer.transport.abort()
        return False


@asynccontextmanager
async def serving(
    answer: Callable[[dict[str, Any]], Step], sock: socket.socket | None = None
) -> AsyncIterator[Server]:
    """Serve on a free port, or on a socket that is bound already."""
    server = Server(answer)
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(server.serve(reader, writer)))

    own = sock or socket.create_server(("127.0.0.1", 0))
    listening = await asyncio.start_server(connected, sock=own)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def scripted(*steps: Step) -> AsyncIterator[Server]:
    """Serve these answers in turn."""
    waiting = iter(steps)
    async with serving(lambda _request: next(waiting)) as server:
        yield server


@dataclass
class Observer:
    """Keeps what it is told of requests."""

    told: list[tuple[str, str, str]] = field(default_factory=list)

    def rpc(self, endpoint: str, rpc_method: str, outcome: str, seconds: float) -> None:
        """See the port."""
        assert seconds >= 0
        self.told.append((endpoint, rpc_method, outcome))


@asynccontextmanager
async def client_of(
    server: Server, *, observer: Observer | None = None, timeout_seconds: float = TIMEOUT_SECONDS
) -> AsyncIterator[JsonRpcClient]:
    """Open a client of a server."""
    client = JsonRpcClient(
        server.url, timeout_seconds=timeout_seconds, observer=observer or Observer()
    )
    try:
        yield client
    finally:
        await client.close()


@dataclass
class Node:
    """A node whose answers a test sets by method: a value, a Step, or a function of the parameters."""

    answers: dict[str, Any]
    server: Server | None = None
    client: JsonRpcClient | None = None

    def asked(self, method: str) -> list[Any]:
        """List the parameters of the calls of a method."""
        assert self.server is not None
        return [each["params"] for each in self.server.requests if each["method"] == method]

    def order(self) -> list[str]:
        """List the methods that were called."""
        assert self.server is not None
        return [each["method"] for each in self.server.requests]

    def answer(self, request: Mapping[str, Any]) -> Step:
        """Answer one request."""
        given = self.answers.get(request["method"], error(200, -32601, "Method not found"))
        if callable(given):
            given = given(request["params"])
        return (
            given if isinstance(given, (bytes, Act, Half, Later)) else result(given, request["id"])
        )


@asynccontextmanager
async def node(**answers: Any) -> AsyncIterator[Node]:
    """Serve a node with a client of it."""
    made = Node(dict(answers))
    async with serving(made.answer) as server, client_of(server) as client:
        made.server, made.client = server, client
        yield made
