"""The sandbox as a process: how it is found, how it ends, what it refuses."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from solders.keypair import Keypair
from websockets.sync.client import connect

from app.sandbox.genesis import own_program
from app.sandbox.ledger import LEDGER_FILE, LOCK_FILE
from app.sandbox.wallet import MARKER_FILE, WALLET_FILE, WalletError, load_wallet
from tests.sandbox.kit import STRANGER, pay, sign
from tests.sandbox.kit import encoded as encode

DEADLINE_SECONDS = 20
POLL_SECONDS = 0.02


class Running:
    """A sandbox process and what it says of itself."""

    def __init__(self, process: "subprocess.Popen[str]", file: Path) -> None:
        self.process = process
        self.file = file
        self.found: dict[str, Any] = {}

    def wait_until_ready(self) -> None:
        """Wait for the hand-over file of this very process."""

        def written() -> bool:
            assert self.process.poll() is None, self.said()
            if self.file.exists():
                self.found = json.loads(self.file.read_text())
            return self.found.get("pid") == self.process.pid

        until(written)

    def ask(self, method: str, *params: object) -> Any:
        """Call a method; give its result."""
        call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
        answer = httpx.post(self.found["rpc_url"], json=call, timeout=10).json()
        assert "error" not in answer, answer
        return answer["result"]

    def control(self, path: str, document: object) -> Any:
        """Post under /sandbox."""
        return httpx.post(f"{self.found['rpc_url']}/sandbox/{path}", json=document).json()

    def journal(self) -> Any:
        """List what was asked."""
        return httpx.get(f"{self.found['rpc_url']}/sandbox/journal").json()["entries"]

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and give the exit code."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_SECONDS)

    def said(self) -> str:
        """Read what it wrote on standard error."""
        assert self.process.stderr is not None
        return self.process.stderr.read()


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that another process does."""
    end = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(POLL_SECONDS)


@contextmanager
def sandbox(
    folder: Path, *arguments: str, ready: bool = True, measured: bool = True
) -> Iterator[Running]:
    """Run a sandbox on a folder; end it at the end if it still runs.

    One that is not `measured` keeps coverage's hands off: it could not write its data either.
    """
    env = {key: os.environ[key] for key in os.environ if measured or "COVERAGE" not in key}
    file = folder / "sandbox.json"
    command = [sys.executable, "-m", "app.sandbox", "--ledger", str(folder / "ledger")]
    command += ["--file", str(file), *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env) as process:
        running = Running(process, file)
        try:
            if ready:
                running.wait_until_ready()
            yield running
        finally:
            if process.poll() is None:
                process.terminate()


def refused(folder: Path, *arguments: str) -> str:
    """Run a sandbox that must not start; give its one line."""
    with sandbox(folder, *arguments, ready=False) as other:
        assert other.process.wait(DEADLINE_SECONDS) == 2
        said = other.said()
    assert said.count("\n") == 1
    return said


def test_it_says_where_it_is_and_ends_in_order(tmp_path: Path) -> None:
    """The file names pid, addresses, chain, wallet; the end takes the file away, exit code 0."""
    with sandbox(tmp_path, "--clock", "manual") as running:
        found = running.found
        assert running.ask("getGenesisHash") == found["genesis_hash"]
        assert found["ledger"] == str(tmp_path / "ledger")
        assert found["slot_ms"] == 400
        wallet = Path(found["wallet_file"])
        assert wallet.stat().st_mode & 0o777 == 0o600
        assert (wallet.parent / MARKER_FILE).exists()
        key = Keypair.from_json(wallet.read_text())
        finalized = running.ask("getBalance", str(key.pubkey()))
        assert finalized["value"] == 10_000 * 10**9
        assert running.end() == 0
        assert running.said() == ""
    assert not running.file.exists()


def test_a_killed_sandbox_comes_back_as_it_was(tmp_path: Path) -> None:
    """What was answered is there, what was executed is not executed again."""
    with sandbox(tmp_path, "--clock", "manual") as first:
        wallet = load_wallet(Path(first.found["wallet_file"]))
        newest = first.ask("getLatestBlockhash", {"commitment": "confirmed"})
        sent = sign(newest["value"]["blockhash"], pay(1_000_000, payer=wallet), payer=wallet)
        signature = first.ask("sendTransaction", encode(sent), BLIND)
        before = first.control("step", {"slots": 3})
        assert first.end(signal.SIGKILL) == -signal.SIGKILL
    assert first.file.exists()
    with sandbox(tmp_path, "--clock", "manual") as second:
        assert second.found["genesis_hash"] == first.found["genesis_hash"]
        assert second.ask("getSlot", {"commitment": "processed"}) == before["slot"]
        assert second.ask("sendTransaction", encode(sent), BLIND) == signature
        balance = second.ask("getBalance", str(STRANGER), {"commitment": "processed"})
        assert balance["value"] == 1_000_000


BLIND = {"encoding": "base64", "skipPreflight": True}


def test_the_clock_runs_by_itself(tmp_path: Path) -> None:
    """Blocks close without anyone asking, and a websocket tells of a landing."""
    with (
        sandbox(tmp_path, "--slot-ms", "20", "--keeper-volatility-bps", "20") as running,
        connect(running.found["ws_url"]) as listener,
    ):
        newest = running.ask("getLatestBlockhash", {"commitment": "confirmed"})
        wallet = load_wallet(Path(running.found["wallet_file"]))
        sent = sign(newest["value"]["blockhash"], pay(1_000_000, payer=wallet), payer=wallet)
        subscribe = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "signatureSubscribe",
            "params": [str(sent.signatures[0]), {"commitment": "confirmed"}],
        }
        listener.send(json.dumps(subscribe))
        assert "result" in json.loads(listener.recv(10))
        running.ask("sendTransaction", encode(sent), BLIND)
        notice = json.loads(listener.recv(10))
        assert notice["params"]["result"]["value"] == {"err": None}
        height = running.ask("getBlockHeight")
        until(lambda: running.ask("getBlockHeight") > height + 3)
        assert running.ask("getEpochInfo")["transactionCount"] > 1  # the keeper trades
        assert running.end(signal.SIGINT) == 0


def test_a_dropped_connection_is_cut_without_an_answer(tmp_path: Path) -> None:
    """The client sees the connection end; the server says nothing, neither then nor in its log."""
    with sandbox(tmp_path, "--clock", "manual") as running:
        running.control("faults", {"kind": "drop"})
        with pytest.raises(httpx.RemoteProtocolError):
            running.ask("getHealth")
        assert running.ask("getHealth") == "ok"
        assert running.end() == 0
        assert running.said() == ""


def test_a_hung_call_does_not_hold_up_the_end(tmp_path: Path) -> None:
    """Whoever hangs is let go, and the exit code is 0."""
    with sandbox(tmp_path, "--clock", "manual") as running:
        running.control("faults", {"kind": "hang"})
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(running.found["rpc_url"], json=HEALTH, timeout=0.2)
        assert running.end() == 0


HEALTH = {"jsonrpc": "2.0", "id": 1, "method": "getHealth"}


def test_a_second_process_is_kept_off_a_ledger(tmp_path: Path) -> None:
    """It says so in one line, exits 2, and leaves the first one's file alone."""
    with sandbox(tmp_path, "--clock", "manual") as running:
        assert refused(tmp_path).startswith("LEDGER_LOCKED: ")
        assert json.loads(running.file.read_text())["pid"] == running.process.pid
        assert running.ask("getHealth") == "ok"


def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    """In one line with what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert refused(tmp_path, "--port", port).startswith(f"PORT_IN_USE: port {port} ")


@pytest.mark.parametrize("option", ["--jito-port", "--quicknode-port"])
def test_a_port_in_use_of_another_endpoint_is_said(tmp_path: Path, option: str) -> None:
    """With the option that chooses it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = refused(tmp_path, option, port)
        assert said.startswith(f"PORT_IN_USE: port {port} is taken; choose another {option}, ")


def test_every_endpoint_is_told_and_answers(tmp_path: Path) -> None:
    """The file and the node's own description name block engine, QuickNode and its token."""
    with sandbox(tmp_path, "--clock", "manual") as running:
        found, node = running.found, httpx.get(f"{running.found['rpc_url']}/sandbox/info").json()
        keys = ("jito_url", "quicknode_url", "quicknode_token")
        assert node["endpoints"] == {key: found[key] for key in keys}
        call = {"jsonrpc": "2.0", "id": 1, "method": "getTipAccounts", "params": []}
        bundles = f"{found['jito_url']}/api/v1/bundles"
        first, second = [httpx.post(bundles, json=call) for _ in range(2)]
        assert len(first.json()["result"]) == 8
        assert second.status_code == 429
        header = {"x-token": found["quicknode_token"]}
        assert httpx.post(found["quicknode_url"], json=call, headers=header).is_success
        assert httpx.post(found["quicknode_url"], json=call).status_code == 401
        ports = {entry["endpoint"]: entry["port"] for entry in running.journal()}
        assert ports == {
            name: urlsplit(found[f"{name}_url"]).port for name in ("jito", "quicknode")
        }


def test_endpoints_are_where_and_as_they_were_told_to_be(tmp_path: Path) -> None:
    """Fixed ports, a token of one's own, and another limit."""
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as other,
    ):
        ports = [str(each.getsockname()[1]) for each in (one, other)]
    options = ["--jito-port", ports[0], "--quicknode-port", ports[1], "--quicknode-token", "mine"]
    rate = ["--jito-requests-per-second", "0", "--clock", "manual"]
    with sandbox(tmp_path, *options, *rate) as running:
        assert running.found["jito_url"] == f"http://127.0.0.1:{ports[0]}"
        assert running.found["quicknode_url"] == f"http://127.0.0.1:{ports[1]}"
        assert running.found["quicknode_token"] == "mine"
        bundles = f"{running.found['jito_url']}/api/v1/getTipAccounts"
        call = {"jsonrpc": "2.0", "id": 1, "method": "getTipAccounts", "params": []}
        assert {httpx.post(bundles, json=call).status_code for _ in range(5)} == {200}


def test_an_endpoint_goes_down_and_comes_back(tmp_path: Path) -> None:
    """Connections are refused until the rules are cleared; the node itself only for some seconds."""
    with sandbox(tmp_path, "--clock", "manual") as running:
        floor = f"{running.found['jito_url']}/api/v1/bundles/tip_floor"
        running.control("fault", {"kind": "down", "endpoint": "jito"})
        with pytest.raises(httpx.ConnectError):
            httpx.get(floor)
        assert httpx.get(f"{running.found['rpc_url']}/sandbox/faults").json()["down"] == ["jito"]
        httpx.delete(f"{running.found['rpc_url']}/sandbox/faults")
        assert httpx.get(floor).is_success
        assert running.control("fault", {"kind": "down", "endpoint": "rpc", "seconds": 0.3})
        seen = set()

        def came_back() -> bool:
            try:
                seen.add(httpx.get(f"{running.found['rpc_url']}/health").text)
            except httpx.ConnectError:
                seen.add("refused")
                return False
            return "refused" in seen

        until(came_back)
        assert seen == {"ok", "refused"}
        assert running.end() == 0
        assert running.said() == ""


def test_a_fixed_port_and_a_program_file_are_used(tmp_path: Path) -> None:
    """A given market program is deployed in place of the built-in one, and kept."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    program = tmp_path / "other.so"
    program.write_bytes(own_program())
    options = ("--port", str(port), "--program-file", str(program), "--clock", "manual")
    rules = ("--finality-blocks", "3", "--skipped-permille", "0")
    with sandbox(tmp_path, *options, *rules) as running:
        assert running.found["rpc_url"] == f"http://127.0.0.1:{port}"
        position = running.control("step", {"slots": 100})
        assert position["slot"] - position["finalized_slot"] == 4
        assert position["slot"] - position["block_height"] == 1_100
    program.write_bytes(own_program() + b"\0")
    assert refused(tmp_path, *options).startswith("LEDGER_OTHER_PROGRAM: ")


def test_a_damaged_ledger_is_refused(tmp_path: Path) -> None:
    """And left as it is."""
    with sandbox(tmp_path, "--clock", "manual") as running:
        running.control("step", {"slots": 3})
        running.end()
    path = tmp_path / "ledger" / LEDGER_FILE
    damaged = path.read_bytes().replace(b"close", b"clone", 1)
    path.write_bytes(damaged)
    assert refused(tmp_path).startswith("LEDGER_CORRUPT: ")
    assert path.read_bytes() == damaged


@pytest.mark.parametrize("option", [("--slot-ms", "1"), ("--port", "x"), ("--frog",)])
def test_a_wrong_option_is_refused(tmp_path: Path, option: tuple[str, ...]) -> None:
    """By the command line's reader, with exit code 2."""
    with sandbox(tmp_path, *option, ready=False) as other:
        assert other.process.wait(DEADLINE_SECONDS) == 2


def test_an_orphan_ends_when_nobody_asks(tmp_path: Path) -> None:
    """After the idle time, orderly."""
    with sandbox(tmp_path, "--idle-exit-seconds", "1") as running:
        assert running.process.wait(DEADLINE_SECONDS) == 0
    assert not running.file.exists()


def test_an_orphan_ends_when_its_ledger_is_gone(tmp_path: Path) -> None:
    """A folder removed under it means that nobody wants it any more."""
    with sandbox(tmp_path, "--clock", "manual") as running:
        (tmp_path / "ledger" / LOCK_FILE).unlink()
        assert running.process.wait(DEADLINE_SECONDS) == 0


@pytest.mark.parametrize("text", ['{"pid": 1}', "{", None])
def test_a_file_of_another_process_is_left_alone(tmp_path: Path, text: str | None) -> None:
    """Whoever took the file over keeps it; a broken or missing one is no trouble."""
    with sandbox(tmp_path, "--clock", "manual") as running:
        if text is None:
            running.file.unlink()
        else:
            running.file.write_text(text)
        assert running.end() == 0
    assert running.file.exists() is (text is not None)


def test_a_named_key_file_is_used(tmp_path: Path) -> None:
    """Made where it is named when there is none; one that is no key is refused."""
    path = tmp_path / "keys" / "trader.json"
    key = load_wallet(path)
    assert load_wallet(path) == key
    with sandbox(tmp_path, "--wallet-file", str(path), "--clock", "manual") as running:
        assert running.found["wallet_file"] == str(path)
    assert not (tmp_path / "ledger" / WALLET_FILE).exists()
    path.write_text("[1, 2]")
    with pytest.raises(WalletError, match="WALLET_UNREADABLE"):
        load_wallet(path)
    assert refused(tmp_path, "--wallet-file", str(path)).startswith("WALLET_UNREADABLE: ")


def test_a_ledger_that_takes_no_more_ends_the_process(tmp_path: Path) -> None:
    """Exit code 1 with one line: nothing is answered that would not be kept."""
    resource = pytest.importorskip("resource", reason="limits a file's size, on Unix only")
    with sandbox(tmp_path, "--clock", "manual", measured=False) as running:
        size = (tmp_path / "ledger" / LEDGER_FILE).stat().st_size
        limit = (size + 100, resource.RLIM_INFINITY)
        if not hasattr(resource, "prlimit"):
            pytest.skip("another process's limits are set on Linux only")
        resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, limit)
        with pytest.raises(httpx.HTTPError):
            running.control("step", {"slots": 50})
        assert running.process.wait(DEADLINE_SECONDS) == 1
        assert running.said().startswith("LEDGER_UNWRITABLE: ")
    with sandbox(tmp_path, "--clock", "manual") as again:
        assert again.ask("getHealth") == "ok"
