"""How a long-running command ends: a signal is a wish, what it does depends on how far things are."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Ending:
    """The wish to end, asked for by SIGTERM or Ctrl-C; asking again changes nothing."""

    def __init__(self) -> None:
        self.wanted = False
        self._act: Callable[[], object] = lambda: None

    def listen(self) -> None:
        """Take signals from here on; called within the event loop."""
        loop = asyncio.get_running_loop()
        for each in SIGNALS:
            loop.add_signal_handler(each, self.ask)

    def ask(self) -> None:
        """Ask for an orderly end."""
        if not self.wanted:
            self.wanted = True
            self._act()

    @contextlib.contextmanager
    def leads_to(self, act: Callable[[], object]) -> Iterator[None]:
        """Say what the wish does within; one that was there before does it at once."""
        before, self._act = self._act, act
        if self.wanted:
            act()
        try:
            yield
        finally:
            self._act = before

    async def enter(
        self, stack: AsyncExitStack, opened: AbstractAsyncContextManager[object]
    ) -> bool:
        """Enter a context, giving up when the end is asked for meanwhile; False then."""
        task = asyncio.current_task()
        assert task is not None, "within a task"
        with self.leads_to(task.cancel):
            try:
                await stack.enter_async_context(opened)
                if self.wanted:
                    await asyncio.sleep(0)  # where a cancellation that came too late arrives
            except asyncio.CancelledError:
                if not self.wanted or task.uncancel():
                    raise
                return False
        return True

    async def wait(self) -> None:
        """Wait until the end is asked for."""
        asked = asyncio.Event()
        with self.leads_to(asked.set):
            await asked.wait()
