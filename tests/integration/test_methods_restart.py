"""Methods of a service that is killed, stopped and started again: plans and switches outlast it."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.harness import SEED_SIGNAL, Json, Service, wait_until
from tests.integration.chain import Chain, running_chain
from tests.integration.methods import METHODS, executed_once, mark, pushes, pushes_of, spoil, told

pytestmark = pytest.mark.e2e
SLOT_MS = 200
"""Bytes live for half a minute: longer than a start takes."""
SEED: Json = json.loads(SEED_SIGNAL)


@pytest.fixture(scope="module")
def module_chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """Run a chain whose block engine has no limit of its own."""
    folder, unlimited = tmp_path_factory.mktemp("chain"), ("--jito-requests-per-second", "0")
    with running_chain(folder, *unlimited, slot_ms=SLOT_MS) as chain:
        yield chain


def on(chain: Chain, **more: str) -> dict[str, str]:
    """Give the settings of a service that adopts the chain."""
    return {
        "SYNERGY7_SANDBOX__LEDGER": str(chain.ledger),
        "SYNERGY7_SANDBOX__FILE": str(chain.file),
        "SYNERGY7_METHODS__BLOCK_ENGINE__REQUESTS_PER_SECOND": "0",
        **{f"SYNERGY7_{key}": value for key, value in more.items()},
    }


@pytest.mark.parametrize("killed_at", ["bundle", "jito"])
def test_a_fallback_goes_on_where_a_killed_service_was(
    tmp_path: Path, chain: Chain, killed_at: str
) -> None:
    """The stored plan counts, not the new configuration: the next method in it gets the stored bytes."""
    holds = f'{{"{killed_at}": 4}}'
    env = on(chain, EXECUTION__PATIENCE="0.2", METHODS__PATIENCE=holds)
    with Service(tmp_path, env) as service:
        for method in ("bundle", "jito"):
            spoil(chain, method, "accept_then_drop")
        order_id = service.submit(SEED_SIGNAL)
        held = (killed_at, "accepted", "ok")
        wait_until("a method has the bytes", lambda: held in told(service.order(order_id)), 10)
        service.kill()
        before = mark(chain)
        service.env["SYNERGY7_METHODS__ORDER"] = json.dumps(METHODS[::-1])
        service.start()
        order = service.finished(order_id)
        executed_once(chain, order)
        assert len(order["attempts"]) == 1
        assert len({push.sha256 for push in pushes_of(chain, order)}) == 1
        afterwards = list(dict.fromkeys(push.method for push in pushes(chain, before)))
        rest = METHODS[METHODS.index(killed_at) + 1 : METHODS.index("rpc")]
        assert [each for each in afterwards if each != killed_at] == list(rest)
        assert told(order)[-1] == ("quicknode", "accepted", "ok")


def switch(service: Service, method: str, verb: str) -> Json:
    """Switch a method; gives its state as it is answered."""
    answer = service.http.post(f"/methods/{method}/{verb}")
    assert answer.status_code == httpx.codes.OK, answer.text
    state: Json = answer.json()
    return state


def used(service: Service, chain: Chain, name: str) -> set[str]:
    """Execute an order; gives the methods whose doors were knocked at for it."""
    order = service.finished(service.submit({**SEED, "client_order_id": name}))
    executed_once(chain, order)
    return {push.method for push in pushes_of(chain, order)}


def test_switched_off_methods_get_nothing_until_they_are_switched_on(
    tmp_path: Path, chain: Chain
) -> None:
    """Over HTTP, at once and over a restart: the journal has no push of a disabled method."""
    with Service(tmp_path, on(chain)) as service:
        assert used(service, chain, "at-first") == {"bundle"}
        assert switch(service, "bundle", "disable")["enabled"] is False
        assert used(service, chain, "disabled") == {"jito"}
        switch(service, "jito", "disable")
        assert service.stop() == 0
        service.start()
        shown = {each["name"]: each["enabled"] for each in service.get("/status")["methods"]}
        assert shown == {"bundle": False, "jito": False, "quicknode": True, "rpc": True}
        assert used(service, chain, "after-a-restart") == {"quicknode"}
        assert switch(service, "bundle", "enable")["enabled"] is True
        assert used(service, chain, "enabled") == {"bundle"}
        assert switch(service, "bundle", "reset")["breaker"] == "closed"
        assert service.http.post("/methods/pigeon/disable").status_code == 404
        kinds = [(each["kind"], each["data"].get("method")) for each in events(service)]
        assert [each for each in kinds if each[0].startswith("method.")] == [
            ("method.disabled", "bundle"),
            ("method.disabled", "jito"),
            ("method.enabled", "bundle"),
            ("method.reset", "bundle"),
        ]


def test_with_all_methods_switched_off_orders_wait(tmp_path: Path, chain: Chain) -> None:
    """202 and queued, readiness names each; switched on, a method gets what waited."""
    with Service(tmp_path, on(chain)) as service:
        for method in METHODS:
            switch(service, method, "disable")
        order_id = service.submit(SEED)
        answer = service.http.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["reasons"] == [f"method {each} (disabled)" for each in METHODS]
        assert service.order(order_id, wait=1)["status"] == "queued"
        switch(service, "rpc", "enable")
        order = service.finished(order_id)
        executed_once(chain, order)
        assert {push.method for push in pushes_of(chain, order)} == {"rpc"}
        service.wait_ready()


def events(service: Service) -> list[Json]:
    """Read the audit trail once the last order's fill is sealed."""
    found: list[Json] = []

    def settled() -> bool:
        found[:] = service.get("/events", limit=1_000)["events"]
        return any(each["kind"] == "method.reset" for each in found)

    wait_until("the trail is sealed", settled, 10)
    return found
