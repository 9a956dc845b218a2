"""The audit trail as server-sent events."""

import asyncio
from dataclasses import dataclass
from typing import Final

import structlog
from starlette.types import Receive, Send

from app.api.answers import to_json
from app.api.endpoint import Call
from app.api.problems import Problem
from app.api.waits import Long, end
from app.domain.documents import event_document
from app.domain.errors import Synergy7Error
from app.domain.events import Event

STREAM_TYPE: Final = "text/event-stream"
KEEP_ALIVE_SECONDS: Final = 15.0
"""After so much silence a comment is sent, so that proxies and readers know the stream is alive."""
SLOW_SECONDS: Final = 10.0
"""A reader that takes nothing for so long is closed."""
PACE_SECONDS: Final = 0.2
"""Between two reads of the trail: bounds what a stream costs while much is happening."""
BATCH: Final = 200
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
    (b"x-content-type-options", b"nosniff"),
]
_log = structlog.get_logger(__name__)


class SlowReaderError(Exception):
    """The reader did not take what was sent in time."""


@dataclass(frozen=True, slots=True)
class EventStream:
    """The events after a position, for as long as the reader reads; of one order, or of all."""

    call: Call
    order_id: str | None
    after: int
    keep_alive_seconds: float = KEEP_ALIVE_SECONDS
    slow_seconds: float = SLOW_SECONDS
    pace_seconds: float = PACE_SECONDS

    async def send(self, send: Send, *, head: bool) -> None:
        """Send events until the reader goes, lags too far behind, or the service stops."""
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        try:
            if not head:
                await self._run(send)
            async with asyncio.timeout(self.slow_seconds):
                await send({"type": "http.response.body", "body": b""})
        except (SlowReaderError, TimeoutError):
            # Left unfinished: the server closes the connection, and the reader comes back with
            # Last-Event-ID.
            _log.info("a slow reader of events was closed")

    async def _run(self, send: Send) -> None:
        try:
            async with self.call.long_answers.hold(Long.STREAM) as wait:
                watcher = asyncio.create_task(_watch(self.call.receive, wait))
                try:
                    await self._tell(send)
                finally:
                    watcher.cancel()
        except TimeoutError:
            return
        except (Problem, Synergy7Error) as error:
            _log.warning("a stream of events ended", reason_code=error.code.value)

    async def _tell(self, send: Send) -> None:
        manager = self.call.service.manager
        after, silent_since = self.after, _now()
        await self._push(send, b": open\n\n")
        while True:
            events = await manager.events(
                account=self.call.account, order_id=self.order_id, after=after, limit=BATCH
            )
            if events:
                await self._push(send, b"".join(map(frame, events)))
                after, silent_since = events[-1].position or after, _now()
            elif _now() - silent_since >= self.keep_alive_seconds:
                await self._push(send, b": alive\n\n")
                silent_since = _now()
            if len(events) < BATCH:
                await asyncio.sleep(self.pace_seconds)
                await manager.wait_for_events(self.keep_alive_seconds)

    async def _push(self, send: Send, chunk: bytes) -> None:
        try:
            async with asyncio.timeout(self.slow_seconds):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except TimeoutError:
            raise SlowReaderError from None


async def _watch(receive: Receive, wait: asyncio.Timeout) -> None:
    """End the stream when the reader is gone."""
    while (await receive())["type"] != "http.disconnect":
        continue
    end(wait)


def frame(event: Event) -> bytes:
    """Write an event as a server-sent event: its position is the id, its kind the type."""
    head = f"id: {event.position}\nevent: {event.kind}\ndata: "
    return head.encode() + to_json(event_document(event)) + b"\n\n"


def _now() -> float:
    return asyncio.get_running_loop().time()
