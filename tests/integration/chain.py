"""A sandbox chain of the tests' own: fast slots, its faults and its clock at the test's command."""

import json
import os
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import httpx
from solders.keypair import Keypair

from tests.harness import environment, wait_until
from tests.verifier import executions_by_order, verify

SLOT_MS = 25
FINALITY_BLOCKS = 8
START_SECONDS = 30

Json = dict[str, Any]


class Chain:
    """A running sandbox process."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes], slot_ms: int) -> None:
        self.ledger = folder / "ledger"
        self.file = folder / "sandbox.json"
        self.slot_ms = slot_ms
        self.process = process
        self.http = httpx.Client(timeout=10, trust_env=False)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self.end)
            self._meet()
            stack.pop_all()
        return self

    def _meet(self) -> None:
        """Wait until it runs, and read where it is."""
        wait_until("the sandbox runs", self._is_up, START_SECONDS)
        document = json.loads(self.file.read_text())
        self.rpc_url: str = document["rpc_url"]
        self.ws_url: str = document["ws_url"]
        self.jito_url: str = document["jito_url"]
        self.quicknode_url: str = document["quicknode_url"]
        self.quicknode_token: str = document["quicknode_token"]
        self.wallet_file = Path(document["wallet_file"])

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """End the process."""
        self.http.close()
        self.process.terminate()
        self.process.wait(10)

    def _is_up(self) -> bool:
        assert self.process.poll() is None, "the sandbox did not start"
        return self.file.exists()

    @property
    def key(self) -> Keypair:
        """The key of the trading wallet."""
        return Keypair.from_bytes(bytes(json.loads(self.wallet_file.read_text())))

    @property
    def wallet(self) -> str:
        """The address of the trading wallet."""
        return str(self.key.pubkey())

    # ------------------------------------------------------------ what the chain is made to do

    def control(self, verb: str, path: str, document: object = None) -> Json:
        """Call under /sandbox."""
        answer = self.http.request(verb, f"{self.rpc_url}/sandbox/{path}", json=document)
        assert answer.status_code == httpx.codes.OK, answer.text
        answered: Json = answer.json()
        return answered

    def fault(self, kind: str, rpc_method: str | None = None, **fields: object) -> Json:
        """Script trouble until it is cleared (`count` says otherwise), or do it at once."""
        rule = {"kind": kind, "rpc_method": rpc_method, "count": None, **fields}
        (done,) = self.control("POST", "faults", [rule])["faults"]
        rule_done: Json = done
        return rule_done

    def fork(self, blocks: int) -> list[str]:
        """Undo the open block and `blocks` closed ones; gives the undone signatures."""
        (done,) = self.control("POST", "fault", {"kind": "fork", "blocks": blocks})["faults"]
        return list(done["undone"])

    def clear(self) -> None:
        """End all trouble."""
        self.control("DELETE", "faults")

    def hits(self) -> int:
        """Count the calls that trouble has met."""
        return sum(rule["hits"] for rule in self.control("GET", "faults")["faults"])

    def step(self, slots: int) -> None:
        """Let slots pass at once."""
        self.control("POST", "step", {"slots": slots})

    # ------------------------------------------------------------ what the chain says

    def rpc(self, method: str, *params: object) -> Any:
        """Ask the node; an error answer fails the test."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = self.http.post(self.rpc_url, json=body).json()
        assert "error" not in answer, answer
        return answer["result"]

    def account(self, address: str) -> bytes:
        """Read an account's data."""
        options = {"encoding": "base64", "commitment": "confirmed"}
        return b64decode(self.rpc("getAccountInfo", address, options)["value"]["data"][0])

    def journal(self, after: int = 0) -> list[Json]:
        """List what the node was asked, oldest first."""
        entries: list[Json] = self.control("GET", f"journal?after={after}")["entries"]
        return entries

    def asked(self, rpc_method: str) -> list[Json]:
        """List the calls of one method."""
        return [entry for entry in self.journal() if entry["rpc_method"] == rpc_method]

    def executions(self, *order_ids: str) -> list[int]:
        """Count each order's executions by memo, over the wallet's whole history."""
        counted = executions_by_order(self.rpc_url, self.wallet)
        return [counted[order_id] for order_id in order_ids]

    def differences(self, document: Mapping[str, object]) -> list[str]:
        """Hold an order's document against the chain, to the unit."""
        return verify(self.rpc_url, document, self.wallet)


@contextmanager
def running_chain(
    folder: Path,
    *arguments: str,
    slot_ms: int = SLOT_MS,
    finality_blocks: int = FINALITY_BLOCKS,
) -> Iterator[Chain]:
    """Run a sandbox in a process of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "app.sandbox", "--ledger", str(folder / "ledger")]
    command += ["--file", str(folder / "sandbox.json"), "--slot-ms", str(slot_ms)]
    command += ["--finality-blocks", str(finality_blocks), *arguments]
    with (folder / "sandbox.log").open("wb") as output:
        process = subprocess.Popen(
            command, env=environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    with Chain(folder, process, slot_ms) as chain:
        yield chain


def is_running(pid: int) -> bool:
    """Tell whether a process id is in use."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
