"""Landing notices over a websocket: an accelerator, never evidence."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import Callable
from typing import Final

import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidURI, WebSocketException

RECONNECT_SECONDS: Final = 1.0
CLOSE_SECONDS: Final = 1.0
"""How long a node may take to say goodbye: a hung one must not hold up an orderly end."""
WAITING_MAX: Final = 10_000
"""Subscriptions asked for while the connection is down or slow; more are dropped, polling sees them."""

_log = structlog.get_logger(__name__)


class LandingNotices:
    """Subscribes to signatures at `confirmed` and calls back when one is seen."""

    def __init__(self, url: str) -> None:
        """`on_notice`, set by whoever waits, gets the signature; it must not block."""
        self._url = url
        self.on_notice: Callable[[str], None] = lambda _signature: None
        self._waiting: asyncio.Queue[str] = asyncio.Queue(WAITING_MAX)
        self._requests: dict[int, str] = {}
        self._subscriptions: dict[int, str] = {}
        self._ids = itertools.count(1)

    async def subscribe(self, signature: str) -> None:
        """Ask for one notice; drops the wish rather than waiting."""
        with contextlib.suppress(asyncio.QueueFull):
            self._waiting.put_nowait(signature)

    async def run(self) -> None:
        """Stay connected until cancelled."""
        while True:
            try:
                async with connect(
                    self._url,
                    max_size=2**20,
                    open_timeout=5,
                    close_timeout=CLOSE_SECONDS,
                    proxy=None,
                ) as connection:
                    await self._serve(connection)
            except (
                OSError,
                WebSocketException,
                InvalidHandshake,
                InvalidURI,
                TimeoutError,
            ) as error:
                _log.info("landing notices interrupted", why=type(error).__name__)
            self._requests.clear()
            self._subscriptions.clear()
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _serve(self, connection: ClientConnection) -> None:
        sender = asyncio.create_task(self._send(connection))
        try:
            async for message in connection:
                self._take(message)
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)

    async def _send(self, connection: ClientConnection) -> None:
        while True:
            signature = await self._waiting.get()
            number = next(self._ids)
            self._requests[number] = signature
            options = {"commitment": "confirmed", "enableReceivedNotification": False}
            request = {
                "jsonrpc": "2.0",
                "id": number,
                "method": "signatureSubscribe",
                "params": [signature, options],
            }
            await connection.send(json.dumps(request))

    def _take(self, message: str | bytes) -> None:
        try:
            document = json.loads(message)
            if "id" in document:
                signature = self._requests.pop(document["id"])
                self._subscriptions[document["result"]] = signature
            else:
                number = document["params"]["subscription"]
                self.on_notice(self._subscriptions.pop(number))
        except (ValueError, KeyError, TypeError, RecursionError):
            _log.debug("a websocket message was not understood")
