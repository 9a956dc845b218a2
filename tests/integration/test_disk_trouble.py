"""A disk that is full or broken, a database that somebody locks: it is said, and nothing is signed."""

import asyncio
import errno
import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import httpx
import pytest

from app.database.orders import open_store
from app.domain.events import Event, verify_chain
from tests.harness import FINAL, wait_until
from tests.integration.chain import Chain
from tests.integration.power import Powered, signal_number
from tests.shim import Calls

pytestmark = [pytest.mark.e2e, pytest.mark.proof]
STILL_SECONDS = 1.5
OPEN = 4
SENDS = {"sendTransaction", "sendBundle"}


@contextmanager
def failing(powered: Powered, number: int, calls: Calls) -> Iterator[None]:
    """Let every such call on the databases and the log fail."""
    powered.control.set_errno(number, calls)
    try:
        yield
    finally:
        powered.control.set_errno(0)


@contextmanager
def locked(powered: Powered) -> Iterator[None]:
    """Hold the database as another program."""
    with closing(sqlite3.connect(powered.data / "orders.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


FULL = ("database or disk is full", "No space left on device")
BROKEN = ("disk I/O error", "Input/output error")
"""SQLite's words, and the kernel's when it is met before SQLite."""
TROUBLES: dict[str, tuple[tuple[str, ...], Callable[[Powered], AbstractContextManager[None]]]] = {
    "full": (FULL, lambda it: failing(it, errno.ENOSPC, Calls.ALL)),
    "broken": (BROKEN, lambda it: failing(it, errno.EIO, Calls.WRITE)),
    "unsynced": (BROKEN, lambda it: failing(it, errno.EIO, Calls.SYNC)),
    "locked": (("database is locked",), locked),
}


def test_orders_wait_for_the_disk(tmp_path: Path, chain: Chain) -> None:
    """Each trouble in turn: refused, retryable; nothing signed or pushed; told; and healed by itself."""
    with Powered(tmp_path, chain) as powered:
        for name, (words, trouble) in TROUBLES.items():
            chain.fault("drop", "sendTransaction")
            for number in range(OPEN):
                _accepted(powered, f"{name}-before-{number}", number)
            with trouble(powered):
                _refused(powered, f"{name}-during")
                _told(powered, words)
                _quiet(powered, chain)
                assert _open(powered) >= OPEN
            chain.clear()
            wait_until("ready again", lambda: _ready(powered).status_code == httpx.codes.OK, 15)
            _accepted(powered, f"{name}-during", 4)
        _all_end(powered, chain)
        assert powered.service.stop() == 0
    assert asyncio.run(_broken_at(powered.data / "orders.db")) is None
    lines = (powered.data / "execution.log").read_text().splitlines()
    told = [json.loads(line) for line in lines if "a database does not serve" in line]
    assert {line["level"] for line in told} == {"critical"}


def _accepted(powered: Powered, name: str, number: int) -> None:
    answer = powered.service.post_signal(signal_number(number, name))
    assert answer.status_code == httpx.codes.ACCEPTED, answer.text
    powered.accepted[name] = answer.json()["order_id"]


def _refused(powered: Powered, name: str) -> None:
    answer = powered.service.post_signal(signal_number(4, name))
    problem = answer.json()
    assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
    assert (problem["code"], problem["retryable"]) == ("STORAGE_UNAVAILABLE", True)
    assert "retry-after" in answer.headers


def _open(powered: Powered) -> int:
    """Count the orders that are to be executed yet."""
    return sum(order["status"] not in FINAL for order in powered.service.orders())


def _ready(powered: Powered) -> httpx.Response:
    return powered.service.http.get("/readyz")


def _told(powered: Powered, words: tuple[str, ...]) -> None:
    answer = _ready(powered)
    assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
    told = [f"the orders database cannot be written ({each})" for each in words]
    assert [reason for reason in answer.json()["reasons"] if reason in told], answer.text
    assert powered.service.http.get("/healthz").status_code == httpx.codes.OK


def _quiet(powered: Powered, chain: Chain) -> None:
    """Claim that while the trouble lasts nothing is signed and nothing leaves."""
    time.sleep(0.3)  # what was under way when it began
    before = _signed(powered), _sent(chain)
    time.sleep(STILL_SECONDS)
    assert (_signed(powered), _sent(chain)) == before


def _signed(powered: Powered) -> float:
    text = powered.service.http.get("/metrics").text
    name = 'synergy7_stage_seconds_count{stage="sign"}'
    (line,) = [line for line in text.splitlines() if line.startswith(name)]
    return float(line.split()[1])


def _sent(chain: Chain) -> int:
    return sum(entry["rpc_method"] in SENDS for entry in chain.journal())


def _all_end(powered: Powered, chain: Chain) -> None:
    service = powered.service

    def ended() -> bool:
        return {order["status"] for order in service.orders()} <= FINAL

    wait_until("every order has ended", ended, 60)
    orders = {order["client_order_id"]: order for order in service.orders()}
    assert {name: order["order_id"] for name, order in orders.items()} == powered.accepted
    for order in orders.values():
        assert order["status"] == "filled", order
        assert chain.differences(order) == []
    assert chain.executions(*powered.accepted.values()) == [1] * len(orders)


async def _broken_at(path: Path) -> int | None:
    """Give where the audit trail is broken; None: nowhere."""
    events: list[Event] = []
    async with open_store(str(path), process_name="test") as store:
        while page := await store.trail(after=len(events), limit=500):
            events += page
    assert len(events) > len(TROUBLES) * 5
    return verify_chain(events)
