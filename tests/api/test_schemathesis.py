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


GENERATED_MIN = 4_000
"""Cases of a full search: 500 for an operation, fewer where there are not so many different ones."""
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


def command(url: str, report: Path) -> list[str]:
    """Give the command line: every phase, every check, the same search each time in CI."""
    options = ["--checks=all", "--no-color", f"--report-json-path={report}"]
    if os.environ.get("FAST"):
        options += ["--max-examples", EXAMPLES_FAST]
    if os.environ.get("CI") == "true":
        options += ["--seed=1", "--generation-deterministic"]
    tool = Path(sys.executable).with_name("st")
    config = ROOT / "tests/api/schemathesis.toml"
    return [str(tool), f"--config-file={config}", "run", f"{url}/openapi.json", *options]


@pytest.mark.slow
def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    """At least 500 examples an operation (FAST: 50), all checks, against a real manager and database."""
    report = tmp_path / "report.json"
    with served(tmp_path, some_orders) as url:
        run = subprocess.run(
            command(url, report),
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
    assert found["operations"]["tested"] == found["operations"]["total"]
    assert {phase["status"] for phase in found["phases"].values()} == {"success"}
    assert not found["failures"] + found["errors"]
    assert os.environ.get("FAST") or found["test_cases"]["generated"] >= GENERATED_MIN
