"""`synergy7 doctor`: what is missing before the service can trade, and whether all outside answers."""

import asyncio
import json
import sys
from collections import Counter
from dataclasses import asdict
from typing import Final

import structlog
import typer

from app.bootstrap.doctor import Check, Verdict, examine
from app.settings import Settings

EXIT_FAILED: Final = 1


def run_doctor(settings: Settings, *, as_json: bool) -> int:
    """Examine and print, check by check; 1 when one failed."""
    # what is printed is the answer: the log goes beside it
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    try:
        checks = asyncio.run(_examined(settings, shown=not as_json))
    finally:
        structlog.reset_defaults()
    counts = Counter(each.verdict for each in checks)
    if as_json:
        typer.echo(json.dumps([asdict(each) for each in checks], indent=2))
    else:
        failed, warnings = counts[Verdict.FAILED], counts[Verdict.WARNING]
        typer.echo(f"checks={len(checks)} failed={failed} warnings={warnings}")
    return EXIT_FAILED if counts[Verdict.FAILED] else 0


async def _examined(settings: Settings, *, shown: bool) -> list[Check]:
    checks: list[Check] = []
    async for check in examine(settings):
        checks.append(check)
        if shown:
            todo = f" -> {check.todo}" if check.todo else ""
            typer.echo(f"{check.verdict.value:8} {check.area}: {check.what}{todo}")
    return checks
