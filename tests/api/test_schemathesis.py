"""Schemathesis finds nothing: the document and the interface say the same of every input it can think of."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.api.kit import Running
from tests.api.live import served

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES_FAST = "50"
SECONDS_MAX = 600


EACH = "examples,coverage,fuzzing"
SEARCHES = [
    # phases, tags (none: all), cases generated at least: 500 for an operation, fewer where there
    # are not so many different ones
    (EACH, ("signals",), 500),
    (EACH, ("orders",), 2_000),
    (EACH, ("events", "system", "methods", "trading"), 1_200),
    ("stateful", (), 300),
]
AT_2000_US = 946_684_800_000_000


async def some_orders(api: Running) -> None:
    """Have one order of each fate before the search begins.

    The clock stands at the start of 2000, the time that generators like best: fresher signals are made.
    """
    api.clock.us = AT_2000_US
    await api.new_order(strategy="trend")
    await api.fill(0)
    await api.new_order(client_order_id="mine")
    canceled = await api.new_order()
    await api.client.post(f"/orders/{canceled}/cancel")
    await api.seal()


def command(url: str, report: Path, phases: str, tags: tuple[str, ...]) -> list[str]:
    """Give the command line: every check, the same search each time in CI."""
    options = ["--checks=all", "--no-color", f"--report-json-path={report}", f"--phases={phases}"]
    # chained to others, a halt would have every signal after it refused
    options += [f"--include-tag={tag}" for tag in tags] or ["--exclude-tag=trading"]
    if os.environ.get("FAST"):
        options += ["--max-examples", EXAMPLES_FAST]
    if os.environ.get("CI") == "true":
        options += ["--seed=1", "--generation-deterministic"]
    tool = Path(sys.executable).with_name("st")
    config = ROOT / "tests/api/schemathesis.toml"
    return [str(tool), f"--config-file={config}", "run", f"{url}/openapi.json", *options]


@pytest.mark.slow
@pytest.mark.proof
@pytest.mark.parametrize(
    ("phases", "tags", "least"), SEARCHES, ids=["in", "out", "told", "chained"]
)
def test_schemathesis_finds_nothing(
    tmp_path: Path, phases: str, tags: tuple[str, ...], least: int
) -> None:
    """500 examples an operation (FAST: 50), all checks, against a real manager and database."""
    report = tmp_path / "report.json"
    with served(tmp_path, some_orders) as url:
        run = subprocess.run(
            command(url, report, phases, tags),
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )
    assert run.returncode == 0, run.stdout + run.stderr
    found = json.loads(report.read_text())
    assert found["complete"]
    linked = 5 if phases == "stateful" else found["operations"]["selected"]
    assert found["operations"]["tested"] >= linked > 0
    assert not found["failures"] + found["errors"]
    assert os.environ.get("FAST") or found["test_cases"]["generated"] >= least
