"""What counts as recovered, in flight and in time is judged rightly."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from tests.chaos.__main__ import until_told
from tests.chaos.bots import Bots
from tests.chaos.crowd import ORDERS, numbers_of
from tests.chaos.kinds import ALL, REQUESTS
from tests.chaos.life import posting_all, scheduled
from tests.chaos.plan import Outcome, Plan
from tests.chaos.recovery import Left, Recovery, left_in, on_its_way, recovery
from tests.chaos.report import Report
from tests.chaos.test_oracle import outcome
from tests.chaos.watch import Watch


@pytest.mark.parametrize(
    ("left", "kinds", "judged"),
    [
        (Left(5), [], False),
        (Left(5), ["order.executing"], False),
        (Left(5), ["attempt.submitted"], False),
        (Left(5), ["attempt.submitted", "order.executing"], False),
        (Left(5), ["order.executing", "attempt.submitted"], True),
        (Left(5), ["order.executing", "order.ended"], True),
        (Left(5, silent=True), [], False),
        (Left(5, silent=True), ["order.executing"], True),
        (Left(5), ["order.executing", "order.cancel_requested"], True),
        (Left(5, taken=True), [], False),
        (Left(5, taken=True), ["order.executing"], False),
        (Left(5, taken=True), ["attempt.submitted"], True),
    ],
)
def test_an_order_is_recovered_by_a_step_and_not_by_its_claim(
    left: Left, kinds: list[str], *, judged: bool
) -> None:
    """Only what follows the claim counts, unless there is nothing to be written."""
    assert on_its_way(left, kinds) is judged


def test_what_a_dead_process_left_is_told_from_what_others_hold() -> None:
    """Orders of its pid are left; of others, only those are looked after that it had held before."""
    rows = [
        ("its", 3, None, None, "host:41"),
        ("doubted", 4, None, 1, "host:41"),
        ("taken", 5, None, None, "host:7"),
        ("others", 6, None, None, "host:7"),
        ("similar", 6, None, None, "host:141"),
    ]
    assert left_in(rows, 41, {"its": 1, "taken": 1}) == {
        "its": Left(3),
        "doubted": Left(4, silent=True),
        "taken": Left(5, taken=True),
    }


class Pages:
    """Books that hold one order: it was claimed, and nothing else was done for it."""

    async def ask(self, statement: str) -> list[tuple[Any, ...]]:
        if "FROM events" in statement:
            return [("one", 5, "attempt.submitted"), ("one", 6, "order.executing")]
        return [("one", 6)]

    def locked(self) -> Any:
        raise NotImplementedError


@pytest.mark.anyio
async def test_an_order_that_is_only_claimed_is_never_recovered() -> None:
    """The limit passes, and it is named."""
    started_at = asyncio.get_running_loop().time()
    found = await recovery(Pages(), started_at, {"one": Left(5)}, seconds_max=0.2)
    assert (found.orders, found.never) == (1, ["one"])


def test_queued_orders_are_not_in_flight() -> None:
    """Nobody is hit by what happens while orders only wait."""
    watch = Watch()
    for now in (1.0, 2.0):
        watch.note({"one": "queued"}, now)
    assert not watch.in_flight()
    for now in (3.0, 4.0):
        watch.note({"one": "submitted"}, now)
    assert watch.in_flight()


def test_the_time_to_an_end_is_that_of_looks() -> None:
    """It ends with the first look that misses the order, however short its life was."""
    watch = Watch()
    watch.note({}, 0.0)
    watch.note({"one": "executing", "long": "queued"}, 1.0)
    watch.note({"long": "submitted"}, 7.0)
    assert watch.seconds_to_end("one", accepted_at=2.0) == 6.0
    assert watch.seconds_to_end("one", accepted_at=0.5) == 6.5
    assert watch.seconds_to_end("short", accepted_at=3.0) == 4.0
    assert watch.seconds_to_end("long", accepted_at=1.0) == float("inf")


@pytest.mark.anyio
async def test_bots_that_break_end_the_run() -> None:
    """Nobody waits for what will never be posted."""

    def numbers() -> Iterator[int]:
        yield from [1]
        raise ValueError("no more")

    async with aiohttp.ClientSession() as http:
        bots = Bots(1, [], 1)
        async with asyncio.timeout(5), posting_all(bots, http, numbers()) as posting:
            with pytest.raises(ExceptionGroup):
                await scheduled(bots, posting)


@pytest.mark.anyio
async def test_a_run_cleans_up_when_it_is_told_to_end() -> None:
    """At SIGTERM all that a run has to put away is put away before the program ends."""
    put_away = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            put_away.append("all")

    with pytest.raises(SystemExit) as ended:
        async with asyncio.timeout(5):
            await until_told(work())
    asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
    assert (ended.value.code, put_away) == (143, ["all"])


def crowd(*recoveries: Recovery) -> Outcome:
    """Make a run with a crowd."""
    return replace(outcome(), recoveries=recoveries)


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (crowd(Recovery(5.0, ORDERS)), "a crowd was recovered in 5000 ms"),
        (crowd(Recovery(1.0, ORDERS - 1)), "only 999 orders were in flight"),
        (crowd(), "only 0 orders were in flight"),
        (crowd(Recovery(1.0, ORDERS, ["one"])), "1 orders of killed processes had no step"),
    ],
)
def test_a_crowd_that_is_slow_or_small_or_left_is_told(found: Outcome, why: str) -> None:
    """Each is a miss, and a good one is none."""
    good = Report([outcome()], crowd=crowd(Recovery(4.9, ORDERS))).misses()
    told = Report([outcome()], crowd=found).misses()
    assert any(why in each for each in told)
    assert len(told) == len(good) + 1


def test_an_order_without_a_step_is_told_of_any_run() -> None:
    """Whether there is a crowd or not."""
    found = outcome(recoveries=[Recovery(60, 2, ["one", "other"])])
    why = "2 orders of killed processes had no step of their own for a minute"
    assert why in Report([found]).misses()


FULL = Counter({**dict.fromkeys(ALL, 60), **dict.fromkeys(REQUESTS, 5_000), "sigkill_service": 200})


@pytest.mark.parametrize(
    ("hits", "why"),
    [
        ({}, None),
        ({"fee_spike": 999}, "fee_spike: 999 of 1000"),
        ({"sigkill_service": 199}, "sigkill_service: 199 of 200"),
        ({"sigstop": 49}, "sigstop: 49 of 50"),
        (dict.fromkeys(REQUESTS, 1_000), " of 100000"),
    ],
)
def test_a_full_run_has_its_numbers(hits: dict[str, int], why: str | None) -> None:
    """Twenty minutes that fall short of them say so, and a shorter run by its pace."""
    documents: dict[str, dict[str, Any]] = {str(number): {} for number in range(10_000)}
    full = outcome(
        plan=Plan(1, "sqlite", 1_200), seconds=1_200.0, hits=FULL | Counter(), documents=documents
    )
    full.hits.update({kind: count - full.hits[kind] for kind, count in hits.items()})
    misses = Report([full]).misses()
    assert misses == [] if why is None else any(why in each for each in misses)
    assert "fee_spike: 40 of 50" in Report([outcome()]).shortfalls()


def test_a_crowd_is_of_orders_that_only_a_fill_ends() -> None:
    """As many as were asked for."""
    assert len(set(numbers_of(5, 60))) == 60
