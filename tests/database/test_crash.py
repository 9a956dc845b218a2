"""kill -9 in the middle of writing: what was answered is there, and nothing contradicts itself."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app.database.orders import SqlStore, open_store
from app.domain.events import verify_chain
from app.domain.order import OrderStatus
from app.engine.ports import OrderFilter
from tests.database import steps
from tests.database.steps import SOON

pytestmark = pytest.mark.anyio

ANSWERED_MIN = 200
"""Answers to wait for before the kill: several groups are committed and others under way."""

WRITER = """
import asyncio, sys
from app.database.orders import open_store
from app.engine.ports import Claimed
from tests.database import steps

async def trade(store, name):
    await steps.accept(store, name)
    print("accepted", name, flush=True)
    for claimed in await store.claim(1, steps.SOON):
        stored = await steps.try_to_store(store, claimed)
        assert isinstance(stored, Claimed)
        order_id = stored.view.order.order_id
        print("stored", order_id, flush=True)
        await steps.fill(store, await steps.push(store, stored))
        print("filled", order_id, flush=True)
        await store.seal(20)

async def worker(store, worker):
    n = 0
    while True:
        n += 1
        await trade(store, f"{worker}-{n}")

async def main():
    async with open_store(sys.argv[1], process_name="victim") as store:
        await asyncio.gather(*(worker(store, n) for n in range(8)))

asyncio.run(main())
"""


def answers_until_killed(url: str) -> list[tuple[str, str]]:
    """Start a process that trades, kill it in the middle, and give what it was told."""
    root = Path(__file__).parent.parent.parent
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, url],
        cwd=root,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(ANSWERED_MIN)]
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
        assert process.wait(30) == -signal.SIGKILL
    whole = [line.split() for line in lines if line.endswith("\n")]
    return [(what, order_id) for what, order_id in whole]


async def test_what_was_answered_survives_a_kill(url: str) -> None:
    """Accepted orders, stored attempts and fills are all there; the trail verifies; work goes on."""
    answers = answers_until_killed(url)
    assert len(answers) >= ANSWERED_MIN
    async with open_store(url, process_name="heir") as store:
        for what, order_id in answers:
            await check_kept(store, what, order_id)
        await check_consistent(store)
        if "sqlite" in url or url.endswith(".db"):
            await check_recovery(store)


async def check_kept(store: SqlStore, what: str, order_id: str) -> None:
    """Check that an answer still holds."""
    view = await store.view("default", order_id)
    assert view is not None, f"{order_id} was {what} and is lost"
    if what == "stored":
        assert view.attempts[0].signature == f"sig-{order_id}-1"
    if what == "filled":
        assert view.order.status is OrderStatus.FILLED


async def check_consistent(store: SqlStore) -> None:
    """Check that orders, attempts and events tell one story."""
    events = await steps.seal_all(store)
    assert [event.position for event in events] == list(range(1, len(events) + 1))
    assert verify_chain(events) is None
    for view in await store.orders(OrderFilter(account="default"), limit=10_000, before=None):
        submitted = view.order.status is OrderStatus.SUBMITTED
        assert submitted == (view.live_attempt is not None)
        assert len(view.attempts) <= 1
        own = [event.seq for event in events if event.order_id == view.order.order_id]
        assert own == list(range(1, len(own) + 1))


async def check_recovery(store: SqlStore) -> None:
    """Check that all that the dead process held can be taken up at once."""
    figures = await store.figures()
    unfinished = figures.pending + figures.active
    claimed = await store.claim(10_000, SOON)
    assert len(claimed) == unfinished
    fills = figures.by_status[OrderStatus.FILLED]
    assert len(await store.adopt(10_000)) == fills
