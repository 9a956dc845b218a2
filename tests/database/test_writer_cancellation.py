"""A write's answer and a cancellation in the same turn of the loop."""

import asyncio

import pytest

from app.database.limits import Limits
from app.database.writer import answered


@pytest.mark.anyio
async def test_a_cancellation_that_comes_with_the_answer_is_not_lost() -> None:
    """The answer arrived, then the task was cancelled, before it ran again: it is cancelled.

    `asyncio.wait_for` returned the answer instead (before Python 3.12), the task went on for ever,
    and whoever had cancelled it, the supervisor at shutdown, waited for ever.
    """
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(answered(future, Limits()))
    await asyncio.sleep(0)
    future.set_result(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
