"""The service under load: a process of its own with a sandbox of its own, watched from outside."""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.audit import Audit, audit
from benchmarks.documents import Json
from benchmarks.load import Answer, Load, at_once, paced, post_request, run
from benchmarks.settings import SLOT_MS, Env
from tests.harness import Service, environment, wait_until
from tests.verifier import executions_by_order

WIDTH: Final = 64
"""Connections that post at once."""
SANDBOX_START_SECONDS = 30.0
DONE_SECONDS_MAX = 240.0
POLL_SECONDS = 0.25
ACCEPTED = 202


class Refused(Exception):
    """A signal of the benchmark was not accepted: there is nothing to measure."""


class Subject:
    """A running service and the orders that it accepted."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.accepted: list[str] = []
        self._journal_read = 0

    def requests(self, label: str, count: int) -> list[bytes]:
        """Make `count` signals, each with a client_order_id of its own."""
        return [
            post_request("127.0.0.1", "/signals", signal(f"{label}-{number}", number))
            for number in range(count)
        ]

    def take(self, answers: Sequence[Answer]) -> list[str]:
        """Note the accepted orders; raises Refused when one was not accepted."""
        for answer in answers:
            if answer.status != ACCEPTED:
                raise Refused(f"{answer.status}: {answer.body[:300].decode(errors='replace')}")
        ids = [str(json.loads(answer.body)["order_id"]) for answer in answers]
        self.accepted += ids
        return ids

    def post_at_once(self, label: str, count: int) -> Load:
        """Post signals as fast as answers come; all must be accepted."""
        load = run(at_once(self.service.port, self.requests(label, count), width=WIDTH))
        self.take(load.answers)
        return load

    def post_paced(self, label: str, count: int, per_second: float) -> tuple[Load, list[str]]:
        """Post signals at even times, which must be accepted; gives their order ids too."""
        requests = self.requests(label, count)
        load = run(paced(self.service.port, requests, per_second=per_second))
        return load, self.take(load.answers)

    def warm_up(self, count: int) -> None:
        """Have some orders executed that are not measured."""
        self.post_at_once("warm-up", count)
        self.wait_done()

    def wait_done(self) -> None:
        """Wait until every accepted order is final. Asks little: the figures come from the documents."""
        ends = time.monotonic() + DONE_SECONDS_MAX
        while (queue := self.service.get("/status")["queue"])["completed"] < len(self.accepted):
            if time.monotonic() > ends:
                raise TimeoutError(f"orders are not final after {DONE_SECONDS_MAX:.0f} s: {queue}")
            time.sleep(POLL_SECONDS)

    def filled(self, ids: Iterable[str]) -> list[Json]:
        """Read the documents of those orders that were filled."""
        wanted = set(ids)
        documents = (each for each in self.service.orders() if each["order_id"] in wanted)
        return [each for each in documents if each["status"] == "filled"]

    def calls(self) -> Counter[str]:
        """Give what the node was asked since the last time, by RPC method, whatever it was for."""
        url = f"{self.service.sandbox().rpc_url}/sandbox/journal"
        answer = self.service.http.get(url, params={"after": self._journal_read})
        entries = answer.raise_for_status().json()["entries"]
        self._journal_read = entries[-1]["n"] if entries else self._journal_read
        return Counter(str(each["rpc_method"]) for each in entries)

    def memory_mb(self) -> float:
        """Give the largest memory that the service has had (where the system does not tell: has)."""
        pid = self.service.process.pid
        status = Path(f"/proc/{pid}/status")
        if status.exists():
            line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM:"))
            return int(line.split()[1]) * 1_024 / 10**6
        command = ["ps", "-o", "rss=", "-p", str(pid)]
        return int(subprocess.check_output(command, text=True)) * 1_024 / 10**6

    def audit(self) -> Audit:
        """Hold every accepted order against the chain."""
        sandbox = self.service.sandbox()
        statuses = {each["order_id"]: str(each["status"]) for each in self.service.orders()}
        executions = executions_by_order(sandbox.rpc_url, sandbox.wallet)
        return audit(set(self.accepted), statuses, executions)


def signal(client_order_id: str, number: int) -> bytes:
    """Write a signal: SELL and BUY in turn, so that the price stays where it is."""
    sell = number % 2 == 0
    document = {
        "action": "SELL" if sell else "BUY",
        "market": "SOL-USDC",
        "size": 0.01,
        "price": 180.0 if sell else 190.0,
        "confidence": 0.8,
        "client_order_id": client_order_id,
    }
    return json.dumps(document).encode()


@contextmanager
def subject(folder: Path, env: Env) -> Iterator[Subject]:
    """Run a service in a folder, and end it in order."""
    with Service(folder, env) as service:
        yield Subject(service)


@contextmanager
def without_limits(folder: Path, env: Env) -> Iterator[None]:
    """Run the sandbox that a service in this folder will take over; its block engine takes any pace."""
    output = folder / "output"
    output.mkdir(parents=True)
    file = output / "sandbox.json"
    command = [sys.executable, "-m", "app.sandbox", "--ledger", str(output / "sandbox")]
    command += ["--file", str(file), "--slot-ms", env[SLOT_MS], "--jito-requests-per-second", "0"]
    with subprocess.Popen(command, env=environment(), stdin=subprocess.DEVNULL) as process:
        try:
            wait_until("the sandbox runs", file.exists, SANDBOX_START_SECONDS)
            yield
        finally:
            process.terminate()
