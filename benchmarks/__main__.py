"""`python -m benchmarks`: one table of rates and times, and the same figures in a file.

    python -m benchmarks [--runs 3] [--output output/bench.json]

Exit status 0, whether targets are met or not; 1 when an order was lost or executed twice.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import machine
from benchmarks.audit import Audit
from benchmarks.figures import Figure, show, summary
from benchmarks.rows import measure
from benchmarks.sizes import Sizes

OUTPUT = Path("output/bench.json")
RUNS = 3
WIDTH = 120


def main(arguments: Sequence[str]) -> int:
    """Measure, print and write."""
    asked = _parse(arguments)
    return run(Sizes(runs=asked.runs), asked.output, _console())


def run(sizes: Sizes, output: Path, console: Console) -> int:
    """Take all measurements and show them; gives the exit status."""
    started = time.monotonic()
    about: dict[str, Any] = {
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join([Path(sys.executable).name, "-m", "benchmarks", *sys.argv[1:]]),
        "machine": machine.describe(),
        "sizes": asdict(sizes),
    }
    with tempfile.TemporaryDirectory(prefix="synergy7-bench-") as folder:
        figures, found = measure(sizes, Path(folder), lambda text: console.print(text, style="dim"))
    about["seconds"] = round(time.monotonic() - started, 1)
    _write(output, about, figures, found)
    console.print(
        f"medians of {sizes.runs} runs, {about['seconds']} s in all; {output}", style="dim"
    )
    return conclude(figures, found, console)


def conclude(figures: Sequence[Figure], found: Audit, console: Console) -> int:
    """Print the table, the proof and the summary; gives the exit status."""
    show(figures, console)
    for line in found.lines():
        console.print(line)
    console.print(summary(figures))
    return 0 if found.clean else 1


def _console() -> Console:
    """Write wide enough for the table where no terminal tells its width."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="runs of each measurement")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where the figures are written")
    asked = parser.parse_args(arguments)
    if asked.runs < 1:
        parser.error("--runs is at least 1")
    return asked


def _write(output: Path, about: dict[str, Any], figures: Sequence[Figure], found: Audit) -> None:
    document = {
        **about,
        "figures": [each.document() for each in figures],
        "orders": found.document(),
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
