"""`synergy7 sandbox`: the sandbox chain in the foreground."""

import os
import sys
from collections.abc import Sequence
from typing import NoReturn


def run_sandbox(arguments: Sequence[str]) -> NoReturn:
    """Become the sandbox: signals and the exit code are its own."""
    os.execv(sys.executable, [sys.executable, "-m", "app.sandbox", *arguments])  # noqa: S606
