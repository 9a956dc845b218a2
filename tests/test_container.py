"""The container files without an engine: read, and the Dockerfile's steps taken in a folder."""

import re
import signal
import subprocess
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.harness import free_port
from tests.needs import skip_or_fail
from tools.replay_dockerfile import Replay, ReplayError, build_context, parse

ROOT = Path(__file__).parents[1]
STEPS = parse((ROOT / "Dockerfile").read_text())
READY_SECONDS_MAX = 60
OFFLINE = re.compile(r"NewConnectionError|NameResolutionError|Network is unreachable")


def service() -> dict[str, Any]:
    """Read the one service of the compose file."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    (only,) = compose["services"].values()
    assert isinstance(only, dict)
    return only


def test_the_image_is_built_from_pinned_things_only() -> None:
    """Base images carry a full version, and every installation from outside checks hashes."""
    assert all(
        re.match(r"python:3\.1[1-3]\.\d+-slim-\w+( AS \w+)?$", step.argument)
        for step in STEPS
        if step.name == "FROM"
    )
    installs = [line for s in STEPS if s.name == "RUN" for line in s.argument.split("&&")]
    outside = [line for line in installs if "install" in line and "--editable" not in line]
    assert outside
    assert all("--require-hashes" in line for line in outside)


def test_the_service_runs_as_nobody_in_particular() -> None:
    """The last user set is not root, and the command comes after it."""
    names = [step.name for step in STEPS]
    (user,) = [step.argument for step in STEPS if step.name == "USER"]
    assert user not in {"root", "0"}
    assert names.index("USER") < names.index("CMD")


def test_compose_and_image_agree() -> None:
    """What compose mounts is what the image declares; the rest of its file system is read-only."""
    (volumes,) = [step.array for step in STEPS if step.name == "VOLUME"]
    assert sorted(mount.split(":")[1] for mount in service()["volumes"]) == sorted(volumes)
    assert service()["read_only"] is True
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert service()["image"] == f"synergy7-execution:{version}"


def test_compose_binds_loopback_and_publishes_nothing() -> None:
    """Without API keys only loopback is served: on the host's network, with no port mapping."""
    assert service()["environment"]["SYNERGY7_SERVER__HOST"] == "127.0.0.1"
    assert service()["network_mode"] == "host"
    assert "ports" not in service()


def written(root: Path) -> set[str]:
    """List the files of the image outside the places that it may write to."""
    files = (str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    return {name for name in files if not name.startswith(("app/output/", "app/logs/"))}


def wait_until_healthy(image: Replay, env: dict[str, str], process: subprocess.Popen[str]) -> None:
    """Ask the image's own health check until it agrees."""
    limit = time.monotonic() + READY_SECONDS_MAX
    while process.poll() is None and time.monotonic() < limit:
        if subprocess.run(image.health, env=env, check=False, capture_output=True).returncode == 0:
            return
        time.sleep(0.25)
    process.kill()
    pytest.fail(f"the service did not become healthy:\n{process.communicate()[0][-3000:]}")


@pytest.mark.slow
@pytest.mark.proof
def test_the_dockerfile_makes_a_service_that_starts_and_ends(tmp_path: Path) -> None:
    """Its steps work; its command gets healthy, writes only where it may and ends with 0."""
    image = Replay(context=tmp_path / "context", scratch=tmp_path / "scratch")
    build_context(ROOT, image.context)
    try:
        image.replay(STEPS)
    except ReplayError as error:
        if OFFLINE.search(str(error)):
            skip_or_fail("the packages cannot be reached from here")
        raise
    before = written(image.root)
    env = image.environment(SYNERGY7_SERVER__PORT=str(free_port()))
    with subprocess.Popen(
        image.command, cwd=image.place("."), env=env, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        try:
            wait_until_healthy(image, env, process)
            process.send_signal(signal.SIGTERM)
            printed, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0, printed[-3000:]
    assert written(image.root) == before
