"""The command line itself: help, version, usage errors."""

from importlib.metadata import version

import pytest

from app.cli.commands import run

COMMANDS = (
    "serve", "worker", "sandbox", "migrate", "backup", "restore", "reconcile", "halt", "resume",
    "orders", "methods", "demo", "selftest",
)  # fmt: skip
HELPED = [command for command in COMMANDS if command != "sandbox"]  # its help is the chain's own


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` lists the commands and succeeds; no arguments at all do the same."""
    assert run(["--help"]) == 0
    helped = capsys.readouterr().out
    assert run([]) == 0
    assert capsys.readouterr().out.split() == helped.split()
    assert all(command in helped for command in COMMANDS)


@pytest.mark.parametrize("command", HELPED)
def test_every_command_helps(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command explains itself."""
    assert run([command, "--help"]) == 0
    assert f"synergy7 {command}" in capsys.readouterr().out


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` prints the installed version."""
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"synergy7 {version('synergy7-execution')}\n"


@pytest.mark.parametrize(
    "arguments", [["frobnicate"], ["serve", "--frobnicate"], ["orders", "list", "--limit", "0"]]
)
def test_a_usage_mistake_is_one_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Unknown commands and options, and values out of range, are one line on stderr, exit 2."""
    assert run(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("USAGE: ")
    assert line.endswith("; see synergy7 --help")
