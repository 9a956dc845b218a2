"""Intake beside a bare handler."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

from benchmarks.figures import Figure, at_least
from benchmarks.load import Load, at_once, post_request, run
from benchmarks.service import WIDTH, signal, subject
from benchmarks.settings import RPC_ALONE, WIDE
from benchmarks.sizes import Measured, Sizes
from tests.harness import ROOT, free_port, wait_until

BARE_START_SECONDS: Final = 20.0


def intake(sizes: Sizes, folder: Path) -> Measured:
    """Post as fast as answers come, with the settings as shipped; the bare handler before and after.

    What was taken in is executed afterwards by a service with more slots, on the same database.
    """
    rates: list[float] = []
    bare_rates: list[float] = []
    with _bare_handler() as bare, subject(folder, {}) as under:
        _bare(bare, sizes.warm_up)
        under.post_at_once("warm-up", sizes.warm_up)
        for number in range(sizes.runs):
            before = _bare(bare, sizes.bare // 2)
            taken = under.post_at_once(f"intake-{number}", sizes.intake)
            after = _bare(bare, sizes.bare // 2)
            rates.append(taken.rate)
            bare_rates.append(sizes.bare // 2 * 2 / (before.seconds + after.seconds))
        accepted = under.accepted
    with subject(folder, {**RPC_ALONE, **WIDE}) as again:
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
    load = run(at_once(port, requests, width=WIDTH))
    assert all(answer.status == 202 for answer in load.answers), "the bare handler refuses"
    return load
