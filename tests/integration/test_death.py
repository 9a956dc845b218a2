"""A task that dies ends the process, loudly: nothing goes on without its workers."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.harness import ROOT, SEED_SIGNAL, Service, alive, wait_until
from tests.integration.plugins import install
from tests.verifier import executions_by_order

pytestmark = pytest.mark.e2e
FAILING_METHOD = '''
"""A method that works like any other until it breaks in a way that no code may survive."""

import asyncio
import pathlib

from app.domain.outcome import Reply, ReplyOutcome
from app.engine.ports import Privacy, TipNeeds

BREAKS = pathlib.Path(__file__).with_name("breaks").read_text()


class Panic(BaseException):
    """As raised by native code: no Exception."""


def running():
    return asyncio.current_task().get_name()


class Frail:
    name = "frail"
    privacy = Privacy.PUBLIC

    @property
    def needs(self):
        if BREAKS == "worker" and running().startswith("worker"):
            raise Panic("in a worker")
        return TipNeeds()

    def hindrance(self, *, again=False):
        if BREAKS == "dispatcher" == running():
            raise Panic("in the dispatcher")
        return None

    def state(self):
        return {"name": self.name, "privacy": "public", "breaker": "closed"}

    def reset(self):
        pass

    def claim(self, signature):
        return None

    async def submit(self, attempt, deadline, may):
        if BREAKS == "confirmation":
            raise Panic("in the watch")
        return Reply(ReplyOutcome.NOT_SENT, "transport")


def make(context):
    return Frail()
'''
FAST = {"SYNERGY7_SANDBOX__SLOT_MS": "50"}


def died(service: Service, task: str) -> None:
    """Claim that the process ended by itself with exit code 1, its sandbox too, and said why."""
    sandbox = service.sandbox()
    assert service.wait_end() == 1
    wait_until("the sandbox has ended", lambda: not alive(sandbox.pid), 10)
    lines = [line for line in service.log() if line["event"] == "a background task died"]
    assert [line["task"].rpartition("-")[0] or line["task"] for line in lines[:1]] == [task]
    assert lines[0]["level"] == "critical"
    assert any("the service stops" in line["event"] for line in service.log())


@pytest.mark.parametrize("task", ["worker", "dispatcher", "confirmation"])
def test_a_dead_task_ends_the_process_and_the_next_start_goes_on(tmp_path: Path, task: str) -> None:
    """Exit code 1 and a line in the log; started without the fault, the order fills once."""
    site = install(tmp_path, "frail", FAILING_METHOD)
    (site / "breaks").write_text(task)
    settings = {
        **FAST,
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(site))),
        "SYNERGY7_METHODS__ORDER": '["frail", "rpc"]',
    }
    with Service(tmp_path / "service", settings) as service:
        order_id = service.submit(SEED_SIGNAL)
        died(service, task)
        (site / "breaks").write_text("nothing")
        service.start()
        order = service.finished(order_id)
        assert order["status"] == "filled"
        sandbox = service.sandbox()
        assert executions_by_order(sandbox.rpc_url, sandbox.wallet)[order_id] == 1


def test_a_lost_lease_ends_the_process(tmp_path: Path) -> None:
    """A process that the database no longer knows must not act on orders any more."""
    with Service(tmp_path, FAST) as service:
        database = tmp_path / "output" / "production_orders.db"
        with closing(sqlite3.connect(database, timeout=10)) as connection, connection:
            assert connection.execute("DELETE FROM processes").rowcount == 1
        died(service, "lease")
