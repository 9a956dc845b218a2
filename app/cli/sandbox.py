"""`synergy7 sandbox`: the sandbox chain in the foreground."""

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from app.settings import Settings, load_settings

FOREGROUND_SECONDS = 10**9
"""Somebody watches it: it does not end by itself for want of requests."""


def run_sandbox(arguments: Sequence[str]) -> NoReturn:
    """Become the sandbox: signals and the exit code are its own."""
    command = [sys.executable, "-m", "app.sandbox", *sandbox_arguments(arguments)]
    sys.stdout.flush()
    os.execv(sys.executable, command)  # noqa: S606 - our own interpreter and module


def sandbox_arguments(arguments: Sequence[str]) -> list[str]:
    """Give the sandbox's arguments: the settings' chain, unless another ledger is named."""
    if any(each.startswith(("--ledger", "--help")) or each == "-h" for each in arguments):
        return list(arguments)
    return [*_configured(load_settings()), *arguments]


def _configured(settings: Settings) -> list[str]:
    own = settings.sandbox
    given: list[tuple[str, object]] = [
        ("--ledger", own.ledger),
        ("--file", own.file),
        ("--slot-ms", own.slot_ms),
        ("--seed", own.seed),
        ("--keeper-volatility-bps", own.keeper_volatility_bps),
        ("--idle-exit-seconds", FOREGROUND_SECONDS),
    ]
    if own.program_file is not None:
        given.append(("--program-file", own.program_file))
    return [str(part) for pair in given for part in pair]
