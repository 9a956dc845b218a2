"""An event loop whose time is turned instead of waited for: hours of sleeps and timeouts in no time.

Whenever nothing is ready the loop jumps to its next timer. The order of everything is that of a real
loop, and the same each time. Nothing in it may wait for another thread or process.

A context may be stopped, as a process is by SIGSTOP: what is called in it waits until it goes on.
"""

import asyncio
import contextvars
import itertools
from collections.abc import Callable, Coroutine
from heapq import heappop, heappush
from typing import Any, TypeVar

T = TypeVar("T")
START_SECONDS = 1_000.0

process_name: contextvars.ContextVar[str] = contextvars.ContextVar("process", default="")
"""The process within which something runs; empty outside of all."""


class StuckError(RuntimeError):
    """Nothing is ready and no timer is set: whoever is waited for will never come."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop on a clock of its own; leaner than asyncio's, since it never looks at a socket."""

    _ready: Any
    get_debug = bool  # asked for every call: never

    def __init__(self) -> None:
        super().__init__()
        self._now = START_SECONDS
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._serial = itertools.count()
        self._stopped: dict[str, list[asyncio.Handle]] = {}

    def time(self) -> float:
        return self._now

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: object,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heappush(self._timers, (when, next(self._serial), timer))
        return timer

    def call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: object,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_soon(
        self,
        callback: Callable[..., object],
        *args: object,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def stop_process(self, name: str) -> None:
        """Let nothing be called any more within a process."""
        self._stopped.setdefault(name, [])

    def continue_process(self, name: str) -> None:
        """Let a process go on; all that was to be called meanwhile is called now."""
        self._ready.extend(self._stopped.pop(name, ()))

    def _run_once(self) -> None:
        """Call what is ready; when nothing is, turn the clock to what comes next."""
        ready, timers = self._ready, self._timers
        if not ready:
            self._jump()
        while timers and timers[0][0] <= self._now:
            ready.append(heappop(timers)[2])
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:  # noqa: SLF001 - the loop's own
                continue
            if self._stopped:
                waiting = self._stopped.get(handle._context.get(process_name, ""))  # noqa: SLF001
                if waiting is not None:
                    waiting.append(handle)
                    continue
            handle._run()  # noqa: SLF001

    def _jump(self) -> None:
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heappop(timers)
        if not timers:
            raise StuckError("nothing is left that could wake anybody")
        self._now = max(self._now, timers[0][0])


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in virtual time, from a test that is not async itself."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(coroutine)
