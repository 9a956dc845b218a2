"""The measurements: intake beside a bare handler, a burst to its end, a steady pace."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import uvloop

from benchmarks.audit import Audit
from benchmarks.figures import Figure, Target, at_least, at_most, percentile
from benchmarks.load import Load, at_once, paced, post_request
from benchmarks.service import Json, Subject, signal, subject, unix_seconds
from tests.harness import ROOT, free_port, wait_until

WIDTH: Final = 64
"""Connections that post at once."""
BARE_START_SECONDS: Final = 20.0
SLOTS: Final = "SYNERGY7_EXECUTION__MAX_CONCURRENT_EXECUTIONS"
SLOT_MS: Final = "SYNERGY7_SANDBOX__SLOT_MS"
WIDE: Final = {SLOTS: "256", SLOT_MS: "50"}
STEADY: Final = {SLOTS: "256", SLOT_MS: "400"}


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured in each of `runs` runs."""

    runs: int = 3
    warm_up: int = 50
    bare: int = 3_000
    intake: int = 1_500
    burst: int = 1_000
    steady: int = 100
    steady_per_second: float = 10.0


Tell = Callable[[str], None]
Measured = tuple[Sequence[Figure], Audit]


def measure(sizes: Sizes, folder: Path, tell: Tell) -> Measured:
    """Take all measurements, each in a folder of its own; a service starts anew for each."""
    figures: list[Figure] = []
    found = Audit(0)
    for row in (intake, burst, steady):
        tell(f"{row.__name__} ...")
        some, audited = row(sizes, folder / row.__name__)
        figures += some
        found += audited
    return figures, found


# ------------------------------------------------------------------------------------ intake


def intake(sizes: Sizes, folder: Path) -> Measured:
    """Post as fast as answers come, with the settings as shipped; the bare handler before and after.

    What was taken in is executed afterwards by a service with more slots, on the same database.
    """
    rates: list[float] = []
    bare_rates: list[float] = []
    with _bare_handler() as bare, subject(folder, {}) as under:
        _bare(bare, sizes.warm_up)
        _post(under, "warm-up", sizes.warm_up)
        for run in range(sizes.runs):
            before = _bare(bare, sizes.bare // 2)
            taken = _post(under, f"intake-{run}", sizes.intake)
            after = _bare(bare, sizes.bare // 2)
            rates.append(taken.rate)
            bare_rates.append(sizes.bare // 2 * 2 / (before.seconds + after.seconds))
        accepted = under.accepted
    with subject(folder, WIDE) as again:
        again.accepted = accepted
        again.wait_done()
        audited = again.audit()
    ratios = [mine / yardstick for mine, yardstick in zip(rates, bare_rates, strict=True)]
    figures = (
        Figure("POST /signals", "signals/s", rates),
        Figure("bare FastAPI handler beside it", "requests/s", bare_rates),
        Figure("intake, as a ratio to the bare handler", "", ratios, at_least(0.25)),
    )
    return figures, audited


@contextmanager
def _bare_handler() -> Iterator[int]:
    """Run the yardstick in a process of its own; gives its port."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.bare", str(port)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL) as process:
        try:
            wait_until("the bare handler answers", lambda: _answers(port), BARE_START_SECONDS)
            yield port
        finally:
            process.terminate()


def _answers(port: int) -> bool:
    try:
        url = f"http://127.0.0.1:{port}/readyz"
        return httpx.get(url, trust_env=False, timeout=1).is_success
    except httpx.TransportError:
        return False


def _bare(port: int, count: int) -> Load:
    bodies = (signal(f"bare-{number}", number) for number in range(count))
    requests = [post_request("127.0.0.1", "/signals", body) for body in bodies]
    load = _run(at_once(port, requests, width=WIDTH))
    assert all(answer.status == 202 for answer in load.answers), "the bare handler refuses"
    return load


def _post(under: Subject, label: str, count: int) -> Load:
    requests = under.requests(label, count)
    load = _run(at_once(under.service.port, requests, width=WIDTH))
    under.take(load.answers)
    return load


# ------------------------------------------------------------------------------------- burst


def burst(sizes: Sizes, folder: Path) -> Measured:
    """Post a burst, and time it from the first POST to the last `filled`."""
    rates: list[float] = []
    calls: list[float] = []
    subscriptions: list[float] = []
    signed: list[float] = []
    with subject(folder, WIDE) as under:
        _post(under, "warm-up", sizes.warm_up)
        under.wait_done()
        for run in range(sizes.runs):
            under.calls()
            load = _post(under, f"burst-{run}", sizes.burst)
            under.wait_done()
            asked = under.calls()
            subscribed = asked.pop("signatureSubscribe", 0)
            ids = under.accepted[-sizes.burst :]
            filled = under.filled(ids)
            last = max(unix_seconds(each["filled_at"]) for each in filled)
            rates.append(sizes.burst / (last - min(each.sent_at for each in load.answers)))
            calls.append(asked.total() / sizes.burst)
            subscriptions.append(subscribed / sizes.burst)
            signed.append(sum(len(each["attempts"]) for each in filled) / len(filled))
        figures = (
            Figure("POST to filled, 256 at once, 50 ms slots", "orders/s", rates, at_least(80)),
            Figure("RPC calls for an order, all included", "calls", calls, at_most(4)),
            Figure("websocket subscriptions for an order", "calls", subscriptions),
            Figure("transactions signed for an order", "", signed),
            Figure("peak memory of the service", "MB", [under.memory_mb()], at_most(300)),
        )
        return figures, under.audit()


# ------------------------------------------------------------------------------------ steady


def steady(sizes: Sizes, folder: Path) -> Measured:
    """Post at a steady pace on a chain with the cluster's slot time."""
    loads: list[Load] = []
    documents: list[list[Json]] = []
    with subject(folder, STEADY) as under:
        _post(under, "warm-up", sizes.warm_up)
        under.wait_done()
        for run in range(sizes.runs):
            requests = under.requests(f"steady-{run}", sizes.steady)
            load = _run(paced(under.service.port, requests, per_second=sizes.steady_per_second))
            ids = under.take(load.answers)
            under.wait_done()
            loads.append(load)
            documents.append(under.filled(ids))
        audited = under.audit()
    accepts = [[answer.seconds * 1_000 for answer in load.answers] for load in loads]
    sent = [[_first_byte_ms(each) for each in some] for some in documents]
    filled = [[_filled_ms(each) for each in some] for some in documents]
    pace = f"{sizes.steady_per_second:g}/s"
    figures = (
        _spread(f"POST to 202, at {pace}", accepts, 50),
        _spread(f"POST to 202, at {pace}", accepts, 99),
        _spread("accepted to first byte sent", sent, 50, at_most(50)),
        _spread("accepted to first byte sent", sent, 99),
        _spread("accepted to filled, 400 ms slots", filled, 50, at_most(1_000)),
        _spread("accepted to filled, 400 ms slots", filled, 99),
    )
    return figures, audited


def _spread(
    name: str, runs: Sequence[Sequence[float]], percent: int, target: Target | None = None
) -> Figure:
    """Give one percentile of each run."""
    return Figure(f"{name}, p{percent}", "ms", [percentile(run, percent) for run in runs], target)


def _first_byte_ms(document: Json) -> float:
    """Give the time from acceptance to the first push, by the service's own clock."""
    sent_at = document["attempts"][0]["submissions"][0]["sent_at"]
    return 1_000 * (unix_seconds(sent_at) - unix_seconds(document["accepted_at"]))


def _filled_ms(document: Json) -> float:
    return 1_000 * (unix_seconds(document["filled_at"]) - unix_seconds(document["accepted_at"]))


def _run(work: Coroutine[None, None, Load]) -> Load:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)
