"""Where code is broken: a copy of app/, edited for one test run at a time and mended again."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.breakages.breakage import Breakage

ROOT: Final = Path(__file__).parents[2]
LATER_SECONDS: Final = 10
"""By so much an edited file is newer than its bytecode, which is judged by whole seconds and sizes."""


@dataclass(frozen=True)
class Run:
    """How a run of tests ended: pytest's exit code, and what it printed."""

    code: int
    said: str


class Workshop:
    """A copy of the code, and a process whose children test it."""

    def __init__(self, folder: Path, nursery: "subprocess.Popen[str]") -> None:
        self.app = folder / "app"
        self._folder = folder
        self._nursery = nursery

    def run(self, tests: Sequence[str]) -> Run:
        """Run tests on the code as it is in the copy."""
        asked = {"app": str(self._folder), "tests": [f"tests/{test}" for test in tests]}
        assert self._nursery.stdin is not None
        assert self._nursery.stdout is not None
        self._nursery.stdin.write(json.dumps(asked) + "\n")
        self._nursery.stdin.flush()
        answer: Any = json.loads(self._nursery.stdout.readline())
        return Run(answer["code"], answer["said"])

    @contextmanager
    def broken(self, breakage: Breakage) -> Iterator[None]:
        """Break the copy, and mend it again."""
        path = self.app / breakage.file
        sound = breakage.read(self.app)
        seconds = path.stat().st_mtime
        path.write_text(breakage.broken(sound))
        os.utime(path, (seconds + LATER_SECONDS, seconds + LATER_SECONDS))
        try:
            yield
        finally:
            path.write_text(sound)
            os.utime(path, (seconds, seconds))


@contextmanager
def opened(folder: Path) -> Iterator[Workshop]:
    """Copy the code, with all that it looks for beside itself, and start the process that tests it."""
    shutil.copytree(ROOT / "app", folder / "app")
    for name in ("alembic", "alembic.ini", "config.yaml", "docs", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    measured = ("COVERAGE", "PYTEST_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(measured)}
    command = [sys.executable, "-m", "tests.breakages.nursery"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=env
    ) as nursery:
        yield Workshop(folder, nursery)
        assert nursery.stdin is not None
        nursery.stdin.close()
