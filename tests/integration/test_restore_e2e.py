"""A backup that is a minute old is restored under bots that retry everything: nothing trades twice.

The minute is shortened here; `RESTORE_SECONDS=60 RESTORE_SLOT_MS=400` runs it at full length.
"""

import os
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.chain_oracle import signatures_of
from tests.harness import FINAL, Service, run_cli, wait_until

SECONDS = float(os.environ.get("RESTORE_SECONDS", "2"))
SLOT_MS = int(os.environ.get("RESTORE_SLOT_MS", "25"))
BOTS = 3
PAUSE_SECONDS = 0.2
PATIENCE_SECONDS = 60 + 450 * SLOT_MS / 1_000
RETRIED = frozenset({429, 500, 502, 503, 504})

ENV: Mapping[str, str] = {
    "SYNERGY7_SANDBOX__SLOT_MS": str(SLOT_MS),
    "SYNERGY7_SOLANA__POLL_INTERVAL": "0.1",
    "SYNERGY7_EXECUTION__MAX_CONCURRENT_EXECUTIONS": "8",
}


@dataclass
class Bot:
    """Posts signals under keys of its own, each until it is answered; after an outage all of them again."""

    url: str
    name: str
    stop: threading.Event
    answers: dict[str, str] = field(default_factory=dict)
    """The order that each key was last answered with."""
    taken_anew: int = 0
    """Keys that were answered with another order than before: the chain knew nothing of the first."""
    replayed: int = 0
    outages: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    def run(self) -> None:
        """Trade until told to stop, then have every key answered once more."""
        with httpx.Client(base_url=self.url, timeout=10, trust_env=False) as http:
            number = 0
            while not self.stop.is_set():
                number += 1
                if self.post(http, f"{self.name}-{number}"):
                    self.repeat(http)
                time.sleep(PAUSE_SECONDS)
            self.repeat(http)

    def repeat(self, http: httpx.Client) -> None:
        """Post every key again, as a bot that trusts no answer from before."""
        for key in list(self.answers):
            self.post(http, key)

    def post(self, http: httpx.Client, key: str) -> bool:
        """Post a key's signal until it is answered; tells whether the service was away meanwhile."""
        side = "SELL" if int(key.rpartition("-")[2]) % 2 else "BUY"
        signal = {"action": side, "market": "SOL-USDC", "size": "0.001", "valid_for": 3_600}
        away, end = False, time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            try:
                answer = http.post("/signals", json=signal, headers={"Idempotency-Key": key})
            except httpx.TransportError:
                away, self.outages = True, self.outages + 1
                time.sleep(PAUSE_SECONDS)
                continue
            if answer.status_code in RETRIED:
                self.refused[answer.json()["code"]] += 1
                time.sleep(PAUSE_SECONDS)
                continue
            assert answer.status_code in (200, 202), answer.text
            self.replayed += answer.headers.get("idempotency-replayed") == "true"
            order_id = answer.json()["order_id"]
            self.taken_anew += self.answers.get(key, order_id) != order_id
            self.answers[key] = order_id
            return away
        raise AssertionError(f"{key} was not answered")


def executions(service: Service) -> Counter[str]:
    """Count the successful transactions of every client key, by the hash in their memos."""
    sandbox = service.sandbox()
    counted: Counter[str] = Counter()
    for found in signatures_of(sandbox.rpc_url, sandbox.wallet):
        if found["err"] is None and "synergy7:" in (found["memo"] or ""):
            counted[found["memo"].rpartition("/")[2]] += 1
    return counted


def up(service: Service) -> bool:
    """Tell whether the service answers, ready or not."""
    try:
        return service.http.get("/healthz", timeout=2).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def resumed(service: Service) -> bool:
    """Ask for trading to go on."""
    return service.http.post("/trading/resume").status_code == httpx.codes.OK


@pytest.mark.e2e
@pytest.mark.proof
def test_a_minute_old_backup_under_bots_that_retry_duplicates_nothing(tmp_path: Path) -> None:
    """By the chain: each key is executed once at most, and each filled order exactly once."""
    copy, stop = tmp_path / "copy.db", threading.Event()
    with Service(tmp_path / "service", ENV) as service:
        bots = [Bot(service.url, f"bot{number}", stop) for number in range(BOTS)]
        threads = [threading.Thread(target=bot.run) for bot in bots]
        for thread in threads:
            thread.start()
        time.sleep(1.0)
        made = run_cli("backup", str(copy), cwd=service.folder, env=service.env)
        assert (made.returncode, made.stdout.strip()) == (0, str(copy)), made.stderr
        posted_before = sum(len(bot.answers) for bot in bots)
        time.sleep(SECONDS)
        service.kill()
        lost = sum(len(bot.answers) for bot in bots) - posted_before
        back = run_cli("restore", str(copy), cwd=service.folder, env=service.env)
        assert back.returncode == 0, back.stderr
        service.launch()
        wait_until("the service answers", lambda: up(service), 60)
        began = time.monotonic()
        wait_until("trading is resumed", lambda: resumed(service), PATIENCE_SECONDS)
        waited = time.monotonic() - began
        time.sleep(1.0)
        stop.set()
        for thread in threads:
            thread.join(PATIENCE_SECONDS)
        orders = {order_id for bot in bots for order_id in bot.answers.values()}
        documents = [service.finished(order_id) for order_id in orders]
        told = [e for e in events(service) if e["kind"] == "database.reconciled"]
        counted = executions(service)

    figures = {
        "keys": len(orders),
        "posted_after_the_backup": lost,
        "taken_anew": sum(bot.taken_anew for bot in bots),
        "replayed": sum(bot.replayed for bot in bots),
        "filled": sum(d["status"] == "filled" for d in documents),
        "executions": counted.total(),
        "duplicates": sum(count - 1 for count in counted.values()),
        "reconciled_seconds": round(waited, 1),
        "refused": dict(sum((bot.refused for bot in bots), Counter[str]())),
        **told[-1]["data"],
    }
    print(figures)  # noqa: T201 - what a run at full length is made for
    assert figures["duplicates"] == 0
    assert all(document["status"] in FINAL for document in documents)
    assert figures["filled"] == figures["executions"]
    assert figures["orders"] > 0, "nothing was lost: the test shows nothing"
    assert figures["contradictions"] == 0
    assert sum(bot.outages for bot in bots) > 0


def events(service: Service) -> list[dict[str, Any]]:
    """Read the whole trail."""
    after = 0
    every: list[dict[str, Any]] = []
    while (page := service.get("/events", after=after, limit=1_000))["events"]:
        every += page["events"]
        after = page["next_after"]
    return every
