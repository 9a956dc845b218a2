"""Methods switched by operators: stored first, the same everywhere; and what is told of the system."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.domain.errors import IntakeError, NotFoundError, ReasonCode
from app.domain.events import SYSTEM, Event, EventKind
from app.engine.method_admin import SYNC_SECONDS, MethodAdmin
from app.engine.system_notes import AGAIN_SECONDS, SystemNotes
from tests.engine.fake_store import busy, unknown
from tests.engine.rig import Rig, World, pass_time
from tests.engine.scripting import Fault

pytestmark = pytest.mark.anyio
METHODS = ("jito", "rpc")


def admin_of(rig: Rig) -> MethodAdmin:
    """Make the admin of a process."""
    return MethodAdmin(rig.store, rig.executor, rig.clock)


def told(rig: Rig) -> list[Event]:
    """Give the events of the system."""
    return [event for event in rig.database.events if event.order_id == SYSTEM]


@asynccontextmanager
async def background(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run background work while the body runs."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def lines(logs: Sequence[Any], level: str) -> list[str]:
    """Give the lines of a level."""
    return [line["event"] for line in logs if line["log_level"] == level]


# ---------------------------------------------------------------- switches


async def test_a_disabled_method_takes_nothing_and_its_state_says_so() -> None:
    """It is stored and told before it is applied; enabling it is the way back."""
    rig = Rig(methods=METHODS)
    admin = admin_of(rig)
    state = await admin.disable("rpc")
    assert (state["name"], state["enabled"], state["wait_seconds"]) == ("rpc", False, None)
    assert rig.executor.unavailable() == ["rpc (disabled)"]
    assert rig.database.disabled == {"rpc"}
    state = await admin.enable("rpc")
    assert state["enabled"]
    assert not rig.executor.unavailable()
    assert [(e.kind, e.data) for e in told(rig)] == [
        (EventKind.METHOD_DISABLED, {"method": "rpc"}),
        (EventKind.METHOD_ENABLED, {"method": "rpc"}),
    ]


async def test_switching_again_changes_and_tells_nothing() -> None:
    """Whoever asks twice gets the same answer."""
    rig = Rig(methods=METHODS)
    admin = admin_of(rig)
    assert await admin.disable("rpc") == await admin.disable("rpc")
    assert len(told(rig)) == 1


async def test_each_method_is_switched_by_itself() -> None:
    """Disabling one and enabling another leave the rest as they are."""
    rig = Rig(methods=METHODS)
    admin = admin_of(rig)
    await asyncio.gather(admin.disable("rpc"), admin.disable("jito"))
    await admin.enable("jito")
    assert [state["enabled"] for state in admin.states()] == [True, False]


async def test_a_reset_closes_the_breaker_and_is_told() -> None:
    """Each reset counts, the second as well as the first."""
    rig = Rig(methods=METHODS)
    admin = admin_of(rig)
    for _ in range(2):
        rig.rpc.admitting = False
        assert admin.state("rpc")["breaker"] == "open"
        assert (await admin.reset("rpc"))["breaker"] == "closed"
    assert [event.kind for event in told(rig)] == [EventKind.METHOD_RESET] * 2


@pytest.mark.parametrize("verb", ["disable", "enable", "reset"])
async def test_an_unknown_method_is_refused_by_code(verb: str) -> None:
    """Nothing is stored and nothing is told."""
    rig = Rig(methods=METHODS)
    with pytest.raises(NotFoundError) as refused:
        await getattr(admin_of(rig), verb)("bundle")
    assert refused.value.code is ReasonCode.METHOD_NOT_FOUND
    assert not told(rig)
    assert not rig.database.disabled
    with pytest.raises(NotFoundError):
        admin_of(rig).state("bundle")


@pytest.mark.parametrize("verb", ["disable", "enable", "reset"])
async def test_what_cannot_be_stored_is_not_applied(verb: str) -> None:
    """The caller hears of it; the method stays as it is, here as everywhere."""
    rig = Rig(methods=METHODS)
    admin = admin_of(rig)
    rig.rpc.admitting = False
    before = admin.states()
    for name in ("switch_method", "reset_method"):
        rig.store.script.add(name, Fault(refuses=busy()))
    with pytest.raises(IntakeError):
        await getattr(admin, verb)("rpc")
    assert admin.states() == before


# ---------------------------------------------------------------- the start, and other processes


async def test_switches_hold_after_a_start() -> None:
    """A new process applies what is stored before it pushes anything, and resets nothing for it."""
    world = World()
    first = Rig(world=world, methods=METHODS)
    await admin_of(first).disable("rpc")
    await admin_of(first).reset("jito")
    second = Rig(world=world, methods=METHODS, process="two")
    second.methods["jito"].admitting = False
    await admin_of(second).load()
    assert second.executor.unavailable() == ["jito (breaker_open)", "rpc (disabled)"]


async def test_a_start_that_cannot_read_the_switches_says_so() -> None:
    """Going on without them could push through what was disabled."""
    rig = Rig(methods=METHODS)
    rig.store.script.add("method_switches", Fault(refuses=unknown()))
    with pytest.raises(IntakeError):
        await admin_of(rig).load()


async def test_other_processes_follow_within_seconds() -> None:
    """Disabled, enabled and reset there: the same here."""
    world = World()
    here = Rig(world=world, methods=METHODS)
    there = Rig(world=world, methods=METHODS, process="two")
    admin, other = admin_of(here), admin_of(there)
    here.rpc.admitting = False
    async with background(admin.run()):
        await other.disable("jito")
        await other.reset("rpc")
        await pass_time(SYNC_SECONDS + 0.1)
        assert here.executor.unavailable() == ["jito (disabled)"]
        await other.enable("jito")
        await pass_time(SYNC_SECONDS + 0.1)
        assert not here.executor.unavailable()


async def test_a_reset_is_applied_once() -> None:
    """A breaker that opened after the reset stays open, however often the switches are read."""
    world = World()
    here = Rig(world=world, methods=METHODS)
    admin = admin_of(here)
    async with background(admin.run()):
        await admin.reset("rpc")
        here.rpc.admitting = False
        await pass_time(3 * SYNC_SECONDS)
        assert here.executor.unavailable() == ["rpc (breaker_open)"]


async def test_a_method_of_another_process_only_is_left_alone() -> None:
    """Processes may have other methods: what is stored of those does no harm here."""
    world = World()
    other = Rig(world=world, methods=("jito",), process="two")
    here = Rig(world=world, methods=("rpc",))
    async with background(admin_of(here).run()):
        await admin_of(other).disable("jito")
        await admin_of(other).reset("jito")
        await pass_time(SYNC_SECONDS + 0.1)
    assert not here.executor.unavailable()


async def test_a_database_that_is_away_keeps_what_is_known() -> None:
    """The switches hold, a warning says that others are not heard of, and it is tried again."""
    world = World()
    here = Rig(world=world, methods=METHODS)
    admin = admin_of(here)
    await admin.disable("rpc")
    here.store.script.add("method_switches", Fault(refuses=busy()), Fault(refuses=unknown()))
    with capture_logs() as logs:
        async with background(admin.run()):
            await pass_time(2 * SYNC_SECONDS + 0.1)
            assert here.executor.unavailable() == ["rpc (disabled)"]
            world.database.disabled.clear()
            await pass_time(SYNC_SECONDS)
    assert not here.executor.unavailable()
    assert lines(logs, "warning") == ["switches of methods could not be read"] * 2


async def test_a_look_that_began_before_a_switch_does_not_undo_it() -> None:
    """What a reader saw before the write came back after it, and enabled the method again."""
    rig = Rig(methods=METHODS)
    admin = admin_of(rig)
    gate = rig.store.script.gate("method_switches", after=True)
    async with background(admin.run()):
        await gate.reached.wait()
        switching = asyncio.create_task(admin.disable("rpc"))
        await pass_time(0.1)
        gate.opened.set()
        await switching
        assert rig.executor.unavailable() == ["rpc (disabled)"]


# ---------------------------------------------------------------- what is told of the system


BREAKER = {"method": "rpc", "to": "open"}


async def test_what_is_noted_is_told_in_its_order_and_at_its_time() -> None:
    """Whoever notes does not wait: the time is when it happened, not when it was written."""
    rig = Rig()
    notes = SystemNotes(rig.store, rig.clock)
    times = []
    for n in range(3):
        times.append(rig.clock.now_us())
        notes.noted(EventKind.METHOD_LIMITED, {"n": n})
        await pass_time(1)
    async with background(notes.run()):
        await rig.until(lambda: len(told(rig)) == 3)
        notes.noted(EventKind.METHOD_BREAKER, BREAKER)
        await rig.until(lambda: len(told(rig)) == 4)
    assert [event.data for event in told(rig)] == [{"n": 0}, {"n": 1}, {"n": 2}, BREAKER]
    assert [event.at_us for event in told(rig)][:3] == times


async def test_events_wait_for_a_database_that_is_away() -> None:
    """Each is kept until it is written; a warning says so."""
    rig = Rig()
    notes = SystemNotes(rig.store, rig.clock)
    rig.store.script.add("note", Fault(refuses=busy()), Fault(refuses=busy()))
    with capture_logs() as logs:
        async with background(notes.run()):
            notes.noted(EventKind.METHOD_BREAKER, BREAKER)
            await pass_time(2 * AGAIN_SECONDS + 0.1)
    assert [event.data for event in told(rig)] == [BREAKER]
    assert lines(logs, "warning") == ["events of the system have to wait"] * 2


async def test_events_beyond_the_bound_are_counted_and_logged() -> None:
    """The loss is told when it begins, and how much it was when the database is back."""
    rig = Rig()
    notes = SystemNotes(rig.store, rig.clock, queued_max=2)
    with capture_logs() as logs:
        for n in range(5):
            notes.noted(EventKind.METHOD_LIMITED, {"n": n})
        await notes.flush()
        await notes.flush()
    assert [event.data for event in told(rig)] == [{"n": 0}, {"n": 1}]
    assert [line["data"] for line in logs if line["event"] == "noted"] == [
        {"n": n} for n in range(5)
    ]
    lost = [line["lost"] for line in logs if line["event"] == "events of the system are lost"]
    assert lost == [1, 3]


async def test_what_waits_at_the_end_is_still_told() -> None:
    """The task is cancelled while it writes; what is flushed afterwards leaves nothing out."""
    rig = Rig()
    notes = SystemNotes(rig.store, rig.clock)
    gate = rig.store.script.gate("note")
    async with background(notes.run()):
        notes.noted(EventKind.METHOD_BREAKER, BREAKER)
        notes.noted(EventKind.METHOD_LIMITED, {"n": 1})
        await gate.reached.wait()
    await notes.flush()
    assert [event.data for event in told(rig)] == [BREAKER, {"n": 1}]
