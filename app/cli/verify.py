"""`synergy7 verify`: the orders held against their audit trail and the chain, without touching them."""

import asyncio
import json
import sys
from collections.abc import Sequence
from typing import Final

import structlog
import typer
from rich.console import Console
from rich.table import Table

from app.bootstrap.verification import verify
from app.engine.verification import Finding, Findings
from app.settings import Settings

EXIT_DIFFERENCES: Final = 1
SHOWN_MAX: Final = 50
"""Rows of the table; `--json` has more, and the last line counts all."""


def verify_orders(settings: Settings, *, as_json: bool, strict: bool) -> int:
    """Verify, print what was found, and say by the exit code whether anything differs."""
    # what is printed is the answer: the log goes beside it
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    try:
        findings = asyncio.run(verify(settings))
    finally:
        structlog.reset_defaults()
    if as_json:
        typer.echo(json.dumps(findings.document(), indent=2))
    else:
        _print(findings)
    wrong = findings.differences or (strict and findings.unknown)
    return EXIT_DIFFERENCES if wrong else 0


def _print(findings: Findings) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("", "where", "what"):
        table.add_column(name, overflow="fold")
    _add(table, "[red]differs[/]", findings.told, findings.differences)
    _add(table, "[yellow]unknown[/]", findings.untold, findings.unknown)
    if table.row_count:
        Console().print(table)
    typer.echo(
        f"orders={findings.orders} events={findings.events} "
        f"differences={findings.differences} unknown={findings.unknown}"
    )


def _add(table: Table, mark: str, rows: Sequence[Finding], count: int) -> None:
    for row in rows[:SHOWN_MAX]:
        table.add_row(mark, row.place, row.what)
    if count > SHOWN_MAX:
        table.add_row(mark, "", f"and {count - SHOWN_MAX} more (--json shows the first thousand)")
