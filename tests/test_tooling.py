"""The scripts that everything else is run with."""

import json
import re
import shutil
import signal
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.needs import skip_or_fail
from tools import coverage_gates

ROOT = Path(__file__).parents[1]
PIN = re.compile(r"^([a-z0-9-]+)==(\S+)")


def pins(name: str) -> dict[str, str]:
    """Read a compiled requirements file: each package with its version."""
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    return {found[1]: found[2] for found in map(PIN.match, lines) if found}


@pytest.mark.parametrize("name", ["build.txt", "runtime.txt", "dev.txt"])
def test_requirements_are_pins_with_hashes_and_nothing_else(name: str) -> None:
    """Every entry is an exact version with a hash; no option, address or file stands among them."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "requirements" / name).read_text(), flags=re.MULTILINE)
    entries = [entry.split("\\\n") for entry in re.split(r"(?m)^(?=\S)", text) if entry.strip()]
    assert entries
    for pin, *hashes in entries:
        assert PIN.match(pin), pin
        assert hashes, pin
        assert all(re.fullmatch(r"\s+--hash=sha256:[0-9a-f]{64} ?\n?", each) for each in hashes)


def test_what_is_tested_is_what_is_run() -> None:
    """The developers' requirements hold the runtime's, at the same versions."""
    assert pins("runtime.txt").items() <= pins("dev.txt").items()


def test_every_declared_dependency_is_pinned() -> None:
    """Nothing that the project declares is missing from what is installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    declared = project["project"]["dependencies"]
    assert {re.split(r"[>=;]", each)[0] for each in declared} <= set(pins("runtime.txt"))
    assert {re.split(r"[>=;]", each)[0] for each in project["dependency-groups"]["dev"]} <= set(
        pins("dev.txt"),
    )


def workshop(tmp_path: Path) -> Path:
    """Make a folder with the Makefile and the setup script, and no Python that fits on its PATH."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "tools" / "setup.sh", tmp_path / "tools")
    (tmp_path / "bin").mkdir()
    for name in ("python3", "python3.11", "python3.12", "python3.13"):
        script(tmp_path / "bin" / name, "exit 1")
    return tmp_path


def script(path: Path, body: str) -> None:
    """Write an executable shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make in a folder whose own bin/ comes first on the PATH."""
    if shutil.which("make") is None:
        skip_or_fail("make is not installed")
    env = {"PATH": f"{folder / 'bin'}:/usr/bin:/bin"}
    return subprocess.run(
        ["make", "-s", *arguments],
        cwd=folder,
        env=env,
        check=False,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("target", ["setup", "run", "test", "check", "demo", "bench", "selftest"])
def test_without_a_fit_python_one_line_says_what_to_install(tmp_path: Path, target: str) -> None:
    """Every target ends at once, having said what is missing and how to get it."""
    done = make(workshop(tmp_path), target)
    said = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert done.returncode != 0
    assert done.stdout == ""
    assert len(said) == 1
    assert said[0].startswith(
        "SETUP FAILED: Python 3.11, 3.12 or 3.13 with venv is needed; install"
    )
    assert not (tmp_path / ".venv").exists()


def test_an_unfit_python_asked_for_is_refused_by_name(tmp_path: Path) -> None:
    """PYTHON=... is used or refused, never replaced by another."""
    done = make(workshop(tmp_path), "setup", "PYTHON=python3.12")
    assert "PYTHON=python3.12 is no Python 3.11 to 3.13 with venv" in done.stderr


def test_make_run_is_the_service_in_the_foreground(tmp_path: Path) -> None:
    """It passes `serve` alone, a signal to make reaches the service, and make waits for its end."""
    workshop(tmp_path)
    script(tmp_path / "tools" / "setup.sh", "exit 0")
    script(
        tmp_path / ".venv" / "bin" / "synergy7",
        'trap "echo drained; exit 0" TERM\necho "started: $*"\nwhile :; do sleep 0.05; done',
    )
    env = {"PATH": "/usr/bin:/bin"}
    with subprocess.Popen(
        ["make", "-s", "run"], cwd=tmp_path, env=env, text=True, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "started: serve\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == "drained\n"


def test_surfpool_is_pinned_twice() -> None:
    """The package has an exact version, what it brings a hash, and no lock file names a host."""
    folder = ROOT / "tools" / "surfpool"
    versions = json.loads((folder / "package.json").read_text())["dependencies"]
    assert versions
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", each) for each in versions.values())
    assert re.fullmatch(r"[0-9a-f]{64}  node_modules/\S+\n", (folder / "SHA256SUMS").read_text())
    assert not (folder / "package-lock.json").exists()


def report(**files: tuple[int, int, int, int]) -> dict[str, Any]:
    """Write coverage's report: by file, lines, those covered, branches, those covered."""
    keys = ("num_statements", "covered_lines", "num_branches", "covered_branches")
    return {
        "files": {
            name.replace("__", "/"): {"summary": dict(zip(keys, figures, strict=True))}
            for name, figures in files.items()
        },
    }


def gate(tmp_path: Path, **files: tuple[int, int, int, int]) -> int:
    """Pass the gates with these figures, and both complete packages complete."""
    complete = {"app__domain__a": (10, 10, 2, 2), "app__engine__a": (10, 10, 2, 2)}
    (tmp_path / "report.json").write_text(json.dumps(report(**(complete | files))))
    return coverage_gates.main(Path("report.json"), tmp_path)


def test_the_gates_open_for_what_is_owed(tmp_path: Path) -> None:
    """All of the domain and the engine, 90 % of the others."""
    assert gate(tmp_path, app__api__a=(80, 72, 20, 18)) == 0


@pytest.mark.parametrize(
    "files",
    [
        {"app__domain__b": (100_000, 99_999, 0, 0)},
        {"app__engine__b": (10, 10, 1000, 999)},
        {"app__api__a": (80, 71, 20, 18)},
        {"app__api__a": (10_000, 10_000, 0, 0), "app__main": (10, 8, 0, 0)},
    ],
    ids=["a line of the domain", "a branch of the engine", "a package", "a small module"],
)
def test_the_gates_close_on_less(
    tmp_path: Path, files: dict[str, tuple[int, int, int, int]], capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """One line of the domain or the engine, or a package below 90 % among full ones, is too few."""
    assert gate(tmp_path, **files) == 1
    assert "BELOW" in capsys.readouterr().out


def test_the_gates_close_on_a_pragma(tmp_path: Path) -> None:
    """A complete package is complete without asking coverage to look away."""
    (tmp_path / "app" / "engine").mkdir(parents=True)
    (tmp_path / "app" / "engine" / "a.py").write_text("x = 1  # pragma: no " + "cover\n")
    assert gate(tmp_path) == 1


def test_the_gates_close_on_what_was_not_measured(tmp_path: Path) -> None:
    """An absent report of the domain is no full coverage of it."""
    (tmp_path / "report.json").write_text(json.dumps(report(app__engine__a=(1, 1, 0, 0))))
    assert coverage_gates.main(Path("report.json"), tmp_path) == 1


def test_a_missing_tool_fails_where_all_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same lack is a skip on a laptop and a failure in CI."""
    monkeypatch.delenv("REQUIRE_ALL", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no such tool"):
        skip_or_fail("no such tool")
    monkeypatch.setenv("REQUIRE_ALL", "1")
    with pytest.raises(pytest.fail.Exception, match="no such tool"):
        skip_or_fail("no such tool")
