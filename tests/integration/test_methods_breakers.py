"""Methods that fail again and again: shut out, probed once, taken back; none left is said and survived."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.chain import Chain, running_chain
from tests.integration.kit import Json, answer, ready, served, until
from tests.integration.methods import (
    METHODS,
    UNPACED,
    Relay,
    events,
    executed_once,
    figure,
    has_events,
    mark,
    over,
    posted,
    pushes,
    spoil,
    told,
)

pytestmark = pytest.mark.anyio
CHANGES = {
    **UNPACED,
    "execution.patience": 0.2,
    "execution.max_retries": 20,
    "execution.max_concurrent_executions": len(METHODS),
}
RECOVERY_SECONDS = 30.0
"""A breaker is open for ten."""


@pytest.fixture(scope="module")
def module_chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """Run a chain whose block engine has no limit of its own."""
    folder = tmp_path_factory.mktemp("chain")
    with running_chain(folder, "--jito-requests-per-second", "0") as chain:
        yield chain


async def breakers(client: httpx.AsyncClient) -> list[str]:
    """Read all breakers as `/status` shows them."""
    _, shown = await answer(client, "/status")
    return [str(each["breaker"]) for each in shown["methods"]]


async def moved(client: httpx.AsyncClient, to: str) -> list[float]:
    """Read from the metrics how often each breaker moved to a state."""
    name = "breaker_transitions_total"
    return [await figure(client, name, method=each, to=to) for each in METHODS]


async def settle(client: httpx.AsyncClient, chain: Chain, ids: list[str]) -> list[Json]:
    """Claim that every order fills, each executed once; gives the documents."""
    orders = [await over(client, order_id) for order_id in ids]
    for order in orders:
        executed_once(chain, order)
    return orders


async def test_a_breaker_opens_holds_probes_once_and_closes(tmp_path: Path, chain: Chain) -> None:
    """Of each method: five failures, ten seconds without a push, one probe that fails, one that does not."""
    async with served(tmp_path, chain, CHANGES) as client:
        for method in METHODS:
            spoil(chain, method, "http_5xx")
        ids = [await posted(client, f"breaks-{each}", each) for each in METHODS]

        async def all_open() -> bool:
            return await breakers(client) == ["open"] * 4

        await until("every breaker is open", all_open)
        assert await moved(client, "open") == [1] * 4
        assert [await figure(client, "breaker_state", method=each) for each in METHODS] == [2] * 4
        assert Counter(push.method for push in pushes(chain)) == dict.fromkeys(METHODS, 5)
        held = mark(chain)

        async def all_probed() -> bool:
            return await moved(client, "open") == [2] * 4

        await until("every breaker let a probe through", all_probed, RECOVERY_SECONDS)
        probes = pushes(chain, held)
        assert Counter(push.method for push in probes) == dict.fromkeys(METHODS, 1)
        opened_at = {each.method: each.time for each in pushes(chain)[: len(METHODS) * 5]}
        for probe in probes:
            assert probe.time - opened_at[probe.method] > 9.5
        assert await moved(client, "half-open") == [1] * 4

        chain.clear()
        for method in METHODS[
            :2
        ]:  # the operator does not want to wait; the others are probed again
            await client.post(f"/methods/{method}/reset")
        await settle(client, chain, ids)
        assert await breakers(client) == ["closed"] * 4
        assert await moved(client, "closed") == [1] * 4
        assert await moved(client, "half-open") == [1, 1, 2, 2]
        assert [await figure(client, "breaker_state", method=each) for each in METHODS] == [0] * 4
        await has_events(client, "method.reset", 2)
        told = [
            (each["data"]["method"], each["data"]["to"])
            for each in await has_events(client, "method.breaker", 18)
        ]
        failed = ["open", "half-open", "open"]
        for number, method in enumerate(METHODS):
            ends = ["closed"] if number < 2 else ["half-open", "closed"]
            assert [to for each, to in told if each == method] == failed + ends


async def test_with_all_methods_down_signals_are_taken_and_all_orders_settle_afterwards(
    tmp_path: Path, chain: Chain
) -> None:
    """202 and queued, readiness names each method and why; nothing is signed until one takes pushes."""
    relay = Relay(chain.rpc_url)
    async with served(tmp_path, chain, {**CHANGES, "methods.rpc.urls": [relay.url]}) as client:
        await until("it is ready", lambda: ready(client))
        for method in ("jito", "quicknode"):
            spoil(chain, method, "down")
        live = [await posted(client, f"live-{number}") for number in range(2)]

        async def all_open() -> bool:
            return await breakers(client) == ["open"] * 4

        await until("every breaker is open", all_open)
        late = [await posted(client, f"late-{number}") for number in range(3)]
        code, problem = await answer(client, "/readyz")
        assert (code, problem["code"]) == (503, "NOT_READY")
        assert problem["reasons"] == [f"method {each} (breaker_open)" for each in METHODS]
        assert (await answer(client, "/healthz"))[0] == httpx.codes.OK
        for order_id in late:
            _, order = await answer(client, f"/orders/{order_id}")
            assert (order["status"], order["attempts"]) == ("queued", [])
        for order_id in live:
            _, order = await answer(client, f"/orders/{order_id}")
            assert {each for each, _, _ in told(order)} == set(METHODS)
        assert not await ready(client)
        chain.clear()
        async with relay.opened():
            await settle(client, chain, live + late)
            await until("it is ready", lambda: ready(client), RECOVERY_SECONDS)
        assert await events(client, "order.ended") == []
