"""The wish to end: whenever it comes, it leads to an orderly end and to nothing else."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from app.cli.ending import Ending

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def opened(log: list[str], waits: asyncio.Event | None = None) -> AsyncIterator[None]:
    """Stand for a system: tells what happens to it, and may wait while it opens."""
    log.append("opening")
    if waits is not None:
        try:
            await waits.wait()
        except asyncio.CancelledError:
            log.append("given up")
            raise
    log.append("open")
    yield
    log.append("closed")


async def test_a_signal_ends_what_waits() -> None:
    """SIGTERM is the wish to end; a second one changes nothing."""
    ending = Ending()
    ending.listen()
    waiting = asyncio.create_task(ending.wait())
    await asyncio.sleep(0)
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)
    await asyncio.wait_for(waiting, 5)
    assert ending.wanted


async def test_a_wish_that_came_before_is_remembered() -> None:
    """Asked for before anybody waits, the end comes at once."""
    ending = Ending()
    ending.ask()
    await asyncio.wait_for(ending.wait(), 5)


async def test_an_opening_is_given_up() -> None:
    """While the system opens, the wish cancels the opening, and nothing else of the task."""
    log: list[str] = []
    ending = Ending()
    asyncio.get_running_loop().call_later(0.01, ending.ask)
    async with AsyncExitStack() as stack:
        assert not await ending.enter(stack, opened(log, asyncio.Event()))
    await asyncio.sleep(0)
    assert log == ["opening", "given up"]


async def test_a_wish_at_the_last_moment_closes_what_was_opened() -> None:
    """The wish comes as the opening succeeds: what is open is closed, and no cancellation is left."""
    log: list[str] = []
    ending = Ending()

    @asynccontextmanager
    async def asks_at_the_end() -> AsyncIterator[None]:
        async with opened(log):
            ending.ask()
            yield

    async with AsyncExitStack() as stack:
        assert not await ending.enter(stack, asks_at_the_end())
    await asyncio.sleep(0)
    assert log == ["opening", "open", "closed"]


async def test_a_foreign_cancellation_goes_on() -> None:
    """Who cancels the task itself is not taken for a wish to end."""
    ending = Ending()
    log: list[str] = []

    async def run() -> None:
        async with AsyncExitStack() as stack:
            await ending.enter(stack, opened(log, asyncio.Event()))

    task = asyncio.create_task(run())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_opening_goes_through_undisturbed() -> None:
    """Without a wish the system is open, and closed at the end."""
    log: list[str] = []
    async with AsyncExitStack() as stack:
        assert await Ending().enter(stack, opened(log))
        assert log == ["opening", "open"]
    assert log[-1] == "closed"
