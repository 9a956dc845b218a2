"""The right to act: a heartbeat in the database, judged on this side never too long."""

import asyncio

import pytest

from app.engine.lease import BEAT_SECONDS, LEASE_SECONDS, LeaseLostError
from tests.engine.fake_store import busy
from tests.engine.rig import Rig, pass_time
from tests.engine.scripting import Fault

pytestmark = pytest.mark.anyio


async def test_there_is_no_lease_before_the_first_beat() -> None:
    """Nothing may be signed by a process that the database has not seen alive."""
    rig = Rig()
    assert not rig.lease.held()
    await rig.lease.beat()
    assert rig.lease.held()


async def test_a_lease_counts_from_before_the_beat_was_sent() -> None:
    """The database may have judged it then: the time that the answer took is not added."""
    rig = Rig()
    gate = rig.store.script.gate("heartbeat", after=True)
    beating = asyncio.create_task(rig.lease.beat())
    await pass_time(2)
    gate.opened.set()
    await beating
    await pass_time(LEASE_SECONDS - 2 - 0.01)
    assert rig.lease.held()
    await pass_time(0.02)
    assert not rig.lease.held()


async def test_a_failed_beat_leaves_the_lease_to_run_out() -> None:
    """A database that refuses does not end the process; it may act for what is left of the lease."""
    rig = Rig()
    await rig.lease.beat()
    await pass_time(1)
    rig.store.script.add("heartbeat", Fault(refuses=busy()))
    await rig.lease.beat()
    assert rig.lease.held()
    await pass_time(LEASE_SECONDS - 1)
    assert not rig.lease.held()


async def test_a_hanging_beat_is_given_up() -> None:
    """No wait for the database is for ever."""
    rig = Rig()
    rig.store.script.gate("heartbeat")
    async with asyncio.timeout(LEASE_SECONDS + 0.01):
        await rig.lease.beat()
    assert not rig.lease.held()


async def test_a_process_that_was_struck_out_learns_it() -> None:
    """Another has taken its orders over: it must end."""
    rig = Rig()
    rig.database.processes.clear()
    with pytest.raises(LeaseLostError):
        await rig.lease.beat()


async def test_the_heart_beats_once_a_second() -> None:
    """As long as it runs, the lease is held without a gap."""
    rig = Rig()
    beating = asyncio.create_task(rig.lease.run())
    for _ in range(20):
        await pass_time(BEAT_SECONDS / 2)
        assert rig.lease.held()
    assert rig.store.script.calls.count("heartbeat") in (10, 11)
    beating.cancel()
    await asyncio.wait([beating])
