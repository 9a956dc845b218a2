"""Replays a Dockerfile without a container engine: its steps in a clean folder that stands for /.

What is proved: every COPY finds its files in the build context that .dockerignore leaves, every RUN
works, stages hand over what they should, and the environment, command and health check are what
an engine would use. What is not: the base image itself; this machine's Python stands in for it, and
commands that change users do nothing.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

SLASH = PurePosixPath("/")
NO_OPS = ("useradd", "groupadd", "adduser", "chown")
"""Commands of an image's own user table."""
KEPT_VARIABLES = re.compile(r"^(PIP_|SSL_|REQUESTS_|https?_proxy|no_proxy)", re.IGNORECASE)
"""How this machine reaches packages; everything else of its environment stays outside."""


@dataclass(frozen=True)
class Step:
    """One instruction with its argument as written, continuation lines joined."""

    name: str
    argument: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.argument)

    @property
    def array(self) -> list[str]:
        """The argument in its JSON form, as CMD and VOLUME have it."""
        return [str(each) for each in json.loads(self.argument[self.argument.index("[") :])]


def parse(dockerfile: str) -> list[Step]:
    """Split a Dockerfile into its steps."""
    lines = [line for line in dockerfile.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    parts = (line.split(maxsplit=1) for line in joined.splitlines() if line.strip())
    return [Step(name.upper(), argument) for name, argument in parts]


def build_context(repository: Path, target: Path) -> None:
    """Copy what git knows and .dockerignore's `!` lines let through: what an engine is sent."""
    allowed = [
        line[1:].strip()
        for line in (repository / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *allowed],
        cwd=repository,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (repository / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(repository / name, target / name)


class ReplayError(Exception):
    """A step did not work; the text says which and what it printed."""


@dataclass
class Replay:
    """The image under way: a folder as its root, and what the steps have set so far."""

    context: Path
    scratch: Path
    python: Path = Path(sys.executable)
    stages: dict[str, Path] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    workdir: PurePosixPath = SLASH
    stage: str = ""
    user: str = "root"
    volumes: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)

    @property
    def root(self) -> Path:
        """The folder that stands for / in the stage being built."""
        return self.scratch / "image"

    def place(self, path: str) -> Path:
        """Where a path of the image is on this machine."""
        return self.root / str(PurePosixPath(self.workdir, path)).lstrip("/")

    def replay(self, steps: list[Step]) -> None:
        """Take every step in order."""
        actions: dict[str, Callable[[Step], None]] = {
            "FROM": self._from,
            "WORKDIR": self._workdir,
            "COPY": self._copy,
            "RUN": self._run,
            "ENV": self._env,
            "USER": self._user,
            "VOLUME": self._volume,
            "CMD": self._cmd,
            "HEALTHCHECK": self._healthcheck,
        }
        for step in steps:
            if step.name != "EXPOSE":  # documentation
                actions[step.name](step)

    def _from(self, step: Step) -> None:
        if self.stage:
            # Moved aside, not kept: the next stage stands at the same place, as in an engine.
            self.stages[self.stage] = self.root.rename(self.scratch / f"stage-{self.stage}")
        self.root.mkdir(parents=True)
        words = step.words
        self.stage = words[2] if words[1:2] in (["AS"], ["as"]) else "final"
        self.env, self.workdir = {}, SLASH

    def _workdir(self, step: Step) -> None:
        self.workdir = PurePosixPath(self.workdir, step.argument)
        self.place(".").mkdir(parents=True, exist_ok=True)

    def _copy(self, step: Step) -> None:
        words = step.words
        source = self.context
        if words[0].startswith("--from="):
            source = self.stages[words.pop(0).removeprefix("--from=")]
        *names, target = words
        for name in names:
            origin = source / name.lstrip("/")
            if not origin.exists():
                raise ReplayError(f"COPY {step.argument}: the build context has no {name}")
            into = self.place(target)
            if origin.is_dir():
                shutil.copytree(origin, into, symlinks=True, dirs_exist_ok=True)
            else:
                into = into / origin.name if target.endswith("/") else into
                into.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(origin, into)

    def _run(self, step: Step) -> None:
        done = subprocess.run(
            ["/bin/sh", "-c", step.argument],
            cwd=self.place("."),
            env=self.environment(building=True),
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise ReplayError(f"RUN {step.argument}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")

    def _env(self, step: Step) -> None:
        for name, value in (word.split("=", 1) for word in step.words):
            self.env[name] = value

    def _user(self, step: Step) -> None:
        self.user = step.argument

    def _volume(self, step: Step) -> None:
        self.volumes += step.array

    def _cmd(self, step: Step) -> None:
        self.command = step.array

    def _healthcheck(self, step: Step) -> None:
        self.health = step.array

    def environment(self, *, building: bool = False, **more: str) -> dict[str, str]:
        """Give the environment of a process in the image, its paths made this machine's."""
        stubs = self.scratch / "base-image-bin"
        if not stubs.exists():
            self._make_stubs(stubs)
        outside = {k: v for k, v in os.environ.items() if building and KEPT_VARIABLES.match(k)}
        path = f"{stubs}:/usr/bin:/bin"
        app = str(self.root / "app")
        ours = {
            name: re.sub(r"(?<![\w.])/app\b", app, value).replace("$PATH", path)
            for name, value in self.env.items()
        }
        return {"PATH": path, **outside, **ours, **more}

    def _make_stubs(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        scripts = {
            "python": f'exec {self.python.resolve()} "$@"',
            **dict.fromkeys(NO_OPS, "exit 0"),
        }
        for name, body in scripts.items():
            (folder / name).write_text(f"#!/bin/sh\n{body}\n")
            (folder / name).chmod(0o755)
