"""Watched background tasks: one that ends by itself takes the service down, loudly."""

import asyncio
from collections.abc import Callable, Coroutine

import structlog

_log = structlog.get_logger(__name__)


class Supervisor:
    """Starts background tasks and tells once when one of them dies."""

    def __init__(self, on_failure: Callable[[str], None]) -> None:
        """`on_failure` gets the name of the dead task; it must end the process."""
        self._tasks: dict[asyncio.Task[None], str] = {}
        self._on_failure = on_failure
        self._stopping = False
        self.failure: str | None = None

    def start(self, name: str, coroutine: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Run a coroutine that is never to end before `stop`."""
        task = asyncio.create_task(coroutine, name=name)
        self._tasks[task] = name
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        name = self._tasks.pop(task)
        if self._stopping:
            return
        error = None if task.cancelled() else task.exception()
        _log.critical("a background task died", task=name, error=repr(error), exc_info=error)
        if self.failure is None:
            self.failure = name
            self._on_failure(name)

    async def stop(self) -> None:
        """Cancel every task and wait for them."""
        self._stopping = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
