"""The ASGI side of an endpoint: reads a request, has it answered, and cuts who gets no answer."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from app.sandbox.http import (
    BodyTooLarge,
    Dropped,
    Receive,
    Request,
    Response,
    Scope,
    Send,
    read_request,
    send_response,
)
from app.sandbox.ledger import LedgerBroken

Respond = Callable[[Request], Awaitable[Response]]
ServeWebsocket = Callable[[Scope, Receive, Send], Awaitable[None]]


class Connections(Protocol):
    """Can end the connection a request came in on."""

    def abort(self, client: tuple[str, int]) -> None: ...


class Pulse:
    """The process's life as its endpoints see it: how often it was asked, what makes it end."""

    def __init__(self) -> None:
        self.requests = 0
        self.failed = asyncio.Event()
        self.failure: LedgerBroken | None = None

    def fail(self, error: LedgerBroken) -> None:
        """Say that it cannot go on."""
        self.failure = error
        self.failed.set()


class Front:
    """The ASGI application of one endpoint."""

    def __init__(
        self, pulse: Pulse, respond: Respond, websocket: ServeWebsocket | None = None
    ) -> None:
        self._pulse = pulse
        self._respond = respond
        self._websocket = websocket
        self.connections: Connections | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self._pulse.requests += 1
            await self._serve(scope, receive, send)
        elif scope["type"] == "websocket" and self._websocket is not None:
            await self._websocket(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close"})  # before it was accepted: refused

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            request = await read_request(scope, receive)
            response = await self._respond(request)
        except BodyTooLarge:
            response = Response(413, b"body too large", ())
        except (Dropped, LedgerBroken) as error:
            if isinstance(error, LedgerBroken):
                self._pulse.fail(error)
            if self.connections is None:
                raise
            self.connections.abort(scope["client"])
            await _gone(receive)
            return
        await send_response(send, response)


async def _gone(receive: Receive) -> None:
    """Wait for a cut connection to be gone: the server would answer for us before."""
    while (await receive())["type"] != "http.disconnect":
        continue
