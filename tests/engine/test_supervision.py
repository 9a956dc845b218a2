"""Watched tasks: one that ends by itself is told, once, by its name."""

import asyncio

import pytest

from app.engine.supervision import Supervisor

pytestmark = pytest.mark.anyio


class PanicError(BaseException):
    """Like a panic of native code: no Exception."""


async def for_ever() -> None:
    """Wait until cancelled."""
    await asyncio.Event().wait()


async def fall(error: BaseException | None) -> None:
    """End by itself, with an error or without."""
    await asyncio.sleep(0)
    if error is not None:
        raise error


@pytest.mark.parametrize(
    "error", [None, ValueError("a defect"), PanicError("native"), asyncio.CancelledError()]
)
async def test_a_task_that_ends_by_itself_is_told(error: BaseException | None) -> None:
    """However it ended: by a return, an error, a panic, or a cancellation that nobody asked for."""
    told: list[str] = []
    supervisor = Supervisor(told.append)
    supervisor.start("steady", for_ever())
    task = supervisor.start("weak", fall(error))
    await asyncio.wait([task])
    await asyncio.sleep(0)
    assert told == ["weak"]
    assert supervisor.failure == "weak"
    await supervisor.stop()


async def test_only_the_first_death_is_told() -> None:
    """The service ends once; what falls with it is only logged."""
    told: list[str] = []
    supervisor = Supervisor(told.append)
    tasks = [supervisor.start(name, fall(ValueError(name))) for name in ("first", "second")]
    await asyncio.wait(tasks)
    await asyncio.sleep(0)
    assert told == ["first"]
    assert supervisor.failure == "first"


async def test_an_orderly_end_is_no_death() -> None:
    """Tasks that are stopped are waited for, and nobody is alarmed."""
    told: list[str] = []
    ended: list[str] = []
    supervisor = Supervisor(told.append)

    async def work() -> None:
        try:
            await for_ever()
        finally:
            ended.append("work")

    supervisor.start("work", work())
    await asyncio.sleep(0)
    await supervisor.stop()
    assert ended == ["work"]
    assert told == []
    assert supervisor.failure is None


async def test_a_task_that_falls_while_it_is_stopped_alarms_nobody() -> None:
    """The end is under way already."""
    told: list[str] = []
    supervisor = Supervisor(told.append)

    async def work() -> None:
        try:
            await for_ever()
        finally:
            raise ValueError("on the way out")

    supervisor.start("work", work())
    await asyncio.sleep(0)
    await supervisor.stop()
    assert told == []
