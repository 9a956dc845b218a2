"""The going rate for a tip: read beside the work, bounded, and never waited for."""

import asyncio
import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.executors.tip_floor import (
    FIELDS,
    LAMPORTS_MAX,
    POLL_SECONDS_MIN,
    STALE_SECONDS,
    TipBounds,
    TipFloor,
    TipSource,
    Unit,
)
from app.solana.json_rpc import JsonRpcClient, Raw
from tests.engine import virtual_time
from tests.executors.kit import Clock
from tests.solana.server import CLOSE, Observer, Step, client_of, http, serving

pytestmark = pytest.mark.anyio

FIGURES = {
    "time": "2026-02-23T00:00:00Z",
    "landed_tips_25th_percentile": 6.0e-06,
    "landed_tips_50th_percentile": 1.0e-05,
    "landed_tips_75th_percentile": 3.6196500000000005e-05,
    "landed_tips_95th_percentile": 0.0014479055,
    "landed_tips_99th_percentile": 0.010007999,
    "ema_landed_tips_50th_percentile": 9.836078125000002e-06,
}
WRONG: list[object] = [None, "1e-5", True, [], -1e-5, -1, LAMPORTS_MAX]
BOUNDS = TipBounds(floor=1_000, cap=2_000_000)
WIDE = TipBounds(floor=0, cap=10**15)


@dataclass
class Rig:
    """A service whose answers a test sets, and who reads it."""

    floor: TipFloor
    clock: Clock
    answers: list[Step]
    told: list[tuple[str, int]] = field(default_factory=list)

    async def poll(self, answer: Step) -> int:
        """Read once; gives what is tipped then."""
        self.answers.append(answer)
        await self.floor.poll()
        return self.floor.lamports()


@asynccontextmanager
async def reading(
    *, unit: Unit = "SOL", percentile: str = "50", bounds: TipBounds = BOUNDS
) -> AsyncIterator[Rig]:
    """Open a service."""
    answers: list[Step] = []
    async with serving(lambda _request: answers.pop(0)) as server, client_of(server) as client:
        clock, told = Clock(), list[tuple[str, int]]()
        source = TipSource(client, percentile, unit, "jito")
        floor = TipFloor(
            source,
            bounds,
            on_tip=lambda name, lamports: told.append((name, lamports)),
            monotonic=clock,
        )
        yield Rig(floor, clock, answers, told)


def body(document: object) -> bytes:
    """Write an answer."""
    return http(200, json.dumps(document))


@pytest.mark.parametrize(
    ("percentile", "lamports"),
    [
        ("25", 6_000),
        ("50", 10_000),
        ("75", 36_197),  # rounded up
        ("95", 1_447_906),
        ("99", 10_007_999),
        ("ema50", 9_837),
    ],
)
@pytest.mark.parametrize("listed", [True, False])
async def test_a_percentile_is_read_in_sol(percentile: str, lamports: int, listed: bool) -> None:
    """Exactly, and rounded up to lamports; in a list of one object, or as that object."""
    async with reading(percentile=percentile, bounds=WIDE) as rig:
        assert await rig.poll(body([FIGURES] if listed else FIGURES)) == lamports
        assert rig.told == [("jito", lamports)]


async def test_it_is_asked_for_at_its_own_address() -> None:
    """With a GET: it is no JSON-RPC."""
    answers = [body([FIGURES])]
    async with serving(lambda _request: answers.pop()) as server, client_of(server) as client:
        floor = TipFloor(TipSource(client, "50"), BOUNDS)
        await floor.poll()
        assert floor.lamports() == 10_000
        assert server.targets == ["GET /secret?api-key=hidden"]


async def test_others_tell_lamports() -> None:
    """Under the same names: the unit is configured, never guessed."""
    async with reading(unit="lamports") as rig:
        assert await rig.poll(body({"landed_tips_50th_percentile": 12_345})) == 12_345
        assert await rig.poll(body({"landed_tips_50th_percentile": 12_345.2})) == 12_346


@pytest.mark.parametrize(
    ("figure", "lamports"), [(0, 1_000), (1e-7, 1_000), (0.001, 1_000_000), (5, 2_000_000)]
)
async def test_the_rate_is_kept_within_floor_and_cap(figure: float, lamports: int) -> None:
    """However little or much others pay; and told so."""
    async with reading() as rig:
        assert await rig.poll(body([{"landed_tips_50th_percentile": figure}])) == lamports
        assert rig.told == [("jito", lamports)]


@pytest.mark.parametrize(
    "answer",
    [
        CLOSE,
        http(500, json.dumps([FIGURES])),
        http(301, json.dumps([FIGURES]), "location: /elsewhere"),
        http(200, ""),
        http(200, "<html>"),
        http(200, "[" * 100_000),
        http(200, '[{"landed_tips_50th_percentile": NaN}]'),
        http(200, '[{"landed_tips_50th_percentile": Infinity}]'),
        http(200, '[{"landed_tips_50th_percentile": 1e400}]'),
        http(200, '[{"landed_tips_50th_percentile": 1e99999999999999999999}]'),
        http(200, '[{"landed_tips_50th_percentile": %s}]' % ("9" * 5_000)),
        body([]),
        body([FIGURES, FIGURES]),
        body({}),
        body("6.0e-06"),
        body([None]),
        *(body([{"landed_tips_50th_percentile": wrong}]) for wrong in WRONG),
    ],
)
async def test_an_answer_that_means_nothing_leaves_the_rate_as_it_is(answer: Step) -> None:
    """Until that is too old: then the configured default is tipped."""
    async with reading(bounds=TipBounds(1_000, 2_000_000, default=7_000)) as rig:
        assert await rig.poll(answer) == 7_000
        assert await rig.poll(body([FIGURES])) == 10_000
        rig.clock.now += STALE_SECONDS
        assert await rig.poll(answer) == 10_000
        rig.clock.now += 1
        assert rig.floor.lamports() == 7_000
        assert len(rig.told) == 1


@pytest.mark.parametrize(
    ("default", "lamports"), [(None, 1_000), (0, 1_000), (5_000, 5_000), (9_999_999, 2_000_000)]
)
async def test_before_the_first_answer_the_default_is_tipped(
    default: int | None, lamports: int
) -> None:
    """The floor, unless another is configured; within the bounds like everything."""
    async with reading(bounds=TipBounds(1_000, 2_000_000, default)) as rig:
        assert rig.floor.lamports() == lamports


class Service(JsonRpcClient):
    """Answers in no time, and keeps when it was asked."""

    def __init__(self) -> None:
        """Answer for nobody."""
        super().__init__("http://127.0.0.1:1", timeout_seconds=1, observer=Observer())
        self.asked_at: list[float] = []

    async def exchange(self, *_args: object, **_options: object) -> Raw:
        """Give the figures."""
        self.asked_at.append(asyncio.get_running_loop().time())
        return Raw(200, {}, json.dumps([FIGURES]).encode())


@pytest.mark.parametrize("seconds", [1.0, 30.0])
def test_it_is_read_again_and_again_and_not_too_often(seconds: float) -> None:
    """At once, then never within ten seconds whatever is configured, and not in step with others."""
    service = Service()

    async def live() -> int:
        floor = TipFloor(TipSource(service, "50"), BOUNDS, poll_seconds=seconds)
        reading = asyncio.create_task(floor.run())
        await asyncio.sleep(600)
        reading.cancel()
        await asyncio.wait([reading])
        return floor.lamports()

    assert virtual_time.run(live()) == 10_000
    waits = [after - before for before, after in pairwise(service.asked_at)]
    least = max(seconds, POLL_SECONDS_MIN)
    assert service.asked_at[0] == virtual_time.START_SECONDS
    assert all(least <= wait <= 1.25 * least for wait in waits)
    assert len(set(waits)) > 3


@given(
    figure=st.integers(0, 10**30) | st.floats(min_value=0, allow_nan=False, allow_infinity=False),
    field_name=st.sampled_from(sorted(FIELDS.values())),
)
def test_whatever_is_told_the_tip_stays_within_its_bounds(figure: float, field_name: str) -> None:
    """A figure is money: no rounding, no overflow, no surprise gets out."""
    service = Service()

    async def exchange(*_args: object, **_options: object) -> Raw:
        return Raw(200, {}, json.dumps({field_name: figure}).encode())

    service.exchange = exchange  # type: ignore[method-assign]
    percentile = {name: key for key, name in FIELDS.items()}[field_name]
    floor = TipFloor(TipSource(service, percentile), BOUNDS, monotonic=lambda: 0.0)
    asyncio.run(floor.poll())
    assert BOUNDS.floor <= floor.lamports() <= BOUNDS.cap
    if figure * 1e9 >= BOUNDS.cap and figure * 1e9 <= LAMPORTS_MAX and math.isfinite(figure * 1e9):
        assert floor.lamports() == BOUNDS.cap
