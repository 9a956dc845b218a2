"""Starts that cannot succeed: one line with a code, exit 2, and nothing left running."""

import socket
import subprocess
from pathlib import Path

import pytest

from tests.harness import Service, alive, free_port, run_cli

pytestmark = pytest.mark.e2e


def refused(result: subprocess.CompletedProcess[str], code: str, folder: Path) -> str:
    """Claim that a start was refused in one line with this code, leaving nothing behind."""
    assert result.returncode == 2, result
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"{code}: ")
    assert "; " in line
    assert not (folder / "output" / "sandbox.json").exists()
    return line


def test_a_port_in_use(tmp_path: Path) -> None:
    """The port is tried before anything else is started; the one who has it is not disturbed."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = run_cli("serve", cwd=tmp_path, env={"SYNERGY7_SERVER__PORT": str(port)})
        assert str(port) in refused(result, "PORT_IN_USE", tmp_path)


def test_a_second_service_on_the_same_port(tmp_path: Path) -> None:
    """Started twice, the second gives way and the first goes on."""
    with Service(tmp_path / "one") as service:
        refused(run_cli("serve", cwd=tmp_path, env=service.env), "PORT_IN_USE", tmp_path)
        assert service.get("/healthz")


def test_a_second_service_on_the_same_data(tmp_path: Path) -> None:
    """On SQLite one process has the orders; the second says so and leaves the sandbox alone."""
    with Service(tmp_path) as service:
        env = {"SYNERGY7_SERVER__PORT": str(free_port())}
        result = run_cli("serve", cwd=tmp_path, env=env)
        assert result.returncode == 2, result
        (line,) = result.stderr.splitlines()
        assert line.startswith("DATABASE_")
        assert alive(service.sandbox().pid)
        assert service.get("/healthz")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("execution:\n  max_retrys: 3\n", "max_retrys"),
        ("exekution:\n  max_retries: 3\n", "exekution"),
        ("execution:\n  max_retries: many\n", "max_retries"),
    ],
)
def test_a_mistake_in_the_file(tmp_path: Path, text: str, named: str) -> None:
    """A mistyped key or value of config.yaml is refused by name."""
    (tmp_path / "config.yaml").write_text(text)
    env = {"SYNERGY7_CONFIG": "config.yaml", "SYNERGY7_SERVER__PORT": str(free_port())}
    result = run_cli("serve", cwd=tmp_path, env=env)
    assert result.returncode == 2, result
    (line,) = result.stderr.splitlines()
    assert named in line
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize(
    "variable",
    [
        "SYNERGY7_SERVR__PORT",
        "SYNERGY7_SERVER__PROT",
        "SYNERGY7_SERVER_PORT",
        "SYNERGY7_EXECUTION__MAX_RETRYS",
    ],
)
def test_a_mistake_in_an_environment_variable(tmp_path: Path, variable: str) -> None:
    """A mistyped variable, nested or not, is refused by name."""
    result = run_cli("serve", cwd=tmp_path, env={variable: "1"})
    assert result.returncode == 2, result
    (line,) = result.stderr.splitlines()
    assert variable.lower().rpartition("__")[2] in line.lower()
    assert not (tmp_path / "output").exists()


def test_a_key_file_that_is_not_there(tmp_path: Path) -> None:
    """A wallet that is named and missing is refused; no other is made in its place."""
    env = {
        "SYNERGY7_WALLET__KEYPAIR_FILE": str(tmp_path / "no-such-key.json"),
        "SYNERGY7_SERVER__PORT": str(free_port()),
    }
    line = refused(run_cli("serve", cwd=tmp_path, env=env), "WALLET_MISSING", tmp_path)
    assert "no-such-key.json" in line


@pytest.mark.parametrize(
    "env",
    [
        {"SYNERGY7_SERVER__HOST": "0.0.0.0"},
        {"SYNERGY7_NETWORK": "mainnet"},
        {"SYNERGY7_SOLANA__RPC_URLS": '["http://127.0.0.1:8899", "https://rpc.example/key"]'},
    ],
)
def test_without_keys_only_the_sandbox_on_loopback(tmp_path: Path, env: dict[str, str]) -> None:
    """An open host, a real network or a node elsewhere is refused: nobody can be told from anybody."""
    result = run_cli("serve", cwd=tmp_path, env={"SYNERGY7_SERVER__PORT": "0", **env})
    refused(result, "NO_API_KEYS", tmp_path)
