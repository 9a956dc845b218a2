"""The sandbox beside the service: adopted, started, brought back, and never left behind."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from app.bootstrap.sandbox_process import SandboxOptions, SandboxProcess
from app.domain.errors import StartupError
from tests.harness import alive
from tests.integration.chain import Chain
from tests.integration.kit import until

pytestmark = pytest.mark.anyio


class Nobody:
    """Counts no requests."""

    def rpc(self, endpoint: str, rpc_method: str, outcome: str, seconds: float) -> None:
        """Take no notice."""


def options(folder: Path) -> SandboxOptions:
    """Give a quick sandbox in a folder."""
    return SandboxOptions(
        ledger=folder / "ledger",
        file=folder / "sandbox.json",
        slot_ms=25,
        seed=7,
        program_file=None,
        keeper_volatility_bps=0,
    )


def adopting(chain: Chain) -> SandboxOptions:
    """Give the options of a service that finds this chain running."""
    return replace(options(chain.file.parent), ledger=chain.ledger, file=chain.file)


@contextlib.asynccontextmanager
async def opened(given: SandboxOptions) -> AsyncIterator[SandboxProcess]:
    """Open and close."""
    sandbox = SandboxProcess(given, Nobody())
    try:
        await sandbox.open()
        yield sandbox
    finally:
        await sandbox.close()


def pid(sandbox: SandboxProcess) -> int:
    """Give the process behind it."""
    assert sandbox.address is not None
    return sandbox.address.pid


async def test_its_own_is_started_and_ended(tmp_path: Path) -> None:
    """It answers when open returns, and its process and file are gone after close."""
    async with opened(options(tmp_path)) as sandbox:
        assert sandbox.address is not None
        assert alive(pid(sandbox))
        assert sandbox.address.wallet_file.exists()
    assert not alive(pid(sandbox))
    assert not (tmp_path / "sandbox.json").exists()


async def test_a_running_one_is_adopted_and_left_running(chain: Chain) -> None:
    """Who did not start it does not end it."""
    async with opened(adopting(chain)) as sandbox:
        assert pid(sandbox) == chain.process.pid
    assert alive(chain.process.pid)
    assert chain.file.exists()


async def test_one_of_another_ledger_is_not_adopted(tmp_path: Path, chain: Chain) -> None:
    """The file is another chain's: a sandbox of our ledger is started, the other one goes on."""
    given = options(tmp_path)
    given.file.write_text(chain.file.read_text())
    async with opened(given) as sandbox:
        assert pid(sandbox) != chain.process.pid
    assert alive(chain.process.pid)


@pytest.mark.parametrize(
    "text", ["", "no json", "[]", '{"pid": 1}', '{"pid": "x"}', '{"pid": 99999999, "ledger": "x"}']
)
async def test_a_stale_file_is_no_sandbox(tmp_path: Path, text: str) -> None:
    """Left by a crash or by hand: it is passed over and written anew."""
    given = options(tmp_path)
    given.file.write_text(text)
    async with opened(given) as sandbox:
        assert json.loads(given.file.read_text())["pid"] == pid(sandbox)


async def test_a_stranger_that_bears_the_number_is_not_adopted(tmp_path: Path) -> None:
    """After a reboot another process may have the pid in the file: nobody answers by the chain's name."""
    given = options(tmp_path)
    async with opened(given):
        known = json.loads(given.file.read_text())
    given.file.write_text(json.dumps({**known, "pid": os.getpid()}))
    async with opened(given) as sandbox:
        assert pid(sandbox) != os.getpid()


async def test_a_running_one_that_is_not_adopted_keeps_its_file(
    tmp_path: Path, chain: Chain
) -> None:
    """It does not answer now: the start fails, yet the next one finds it again."""
    chain.fault("drop", "getGenesisHash")
    with pytest.raises(StartupError, match=r"^SANDBOX_FAILED: .*LEDGER_LOCKED"):
        async with opened(adopting(chain)):
            pass
    chain.clear()
    async with opened(adopting(chain)) as sandbox:
        assert pid(sandbox) == chain.process.pid


async def test_why_it_does_not_start_is_its_last_line(tmp_path: Path) -> None:
    """The sandbox's own words are handed on, in one line."""
    given = replace(options(tmp_path), program_file=tmp_path / "missing.so")
    with pytest.raises(StartupError) as refused:
        async with opened(given):
            pass
    line = str(refused.value)
    assert line.startswith("SANDBOX_FAILED: ")
    assert "missing.so" in line
    assert "\n" not in line


async def test_one_that_dies_is_brought_back_at_its_address(tmp_path: Path) -> None:
    """Killed, it comes back with its ledger, where clients look for it."""
    async with opened(options(tmp_path)) as sandbox:
        before = sandbox.address
        assert before is not None
        watching = asyncio.create_task(sandbox.watch())
        os.kill(before.pid, signal.SIGKILL)
        await until("it is back", lambda: sandbox.address != before)
        after = sandbox.address
        assert after is not None
        assert (after.rpc_url, after.genesis_hash) == (before.rpc_url, before.genesis_hash)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    assert not alive(after.pid)


async def test_one_that_cannot_come_back_is_tried_again(tmp_path: Path) -> None:
    """A ledger that is broken meanwhile is mended by hand: the watch has not given up."""
    given = options(tmp_path)
    async with opened(given) as sandbox:
        before = sandbox.address
        assert before is not None
        watching = asyncio.create_task(sandbox.watch())
        moved = given.ledger.rename(tmp_path / "away")
        given.ledger.write_text("a file in its place")
        os.kill(before.pid, signal.SIGKILL)
        errors = given.file.with_suffix(".log")
        await until("a start has failed", lambda: "ledger" in errors.read_text())
        given.ledger.unlink()
        moved.rename(given.ledger)
        await until("it is back", lambda: sandbox.address != before)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_one_that_does_not_end_is_killed(tmp_path: Path) -> None:
    """Stopped by somebody, it cannot hear the wish to end: nothing is left all the same."""
    async with opened(replace(options(tmp_path), stop_seconds=0.3)) as sandbox:
        os.kill(pid(sandbox), signal.SIGSTOP)
    assert not alive(pid(sandbox))


async def test_one_that_is_never_ready_is_ended(tmp_path: Path) -> None:
    """The wait for it has a limit, and leaves no process behind."""
    with pytest.raises(StartupError, match=r"^SANDBOX_FAILED: .*not ready within"):
        async with opened(replace(options(tmp_path), start_seconds=0.01)):
            pass
