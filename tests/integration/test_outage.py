"""The chain out of reach: signals are taken in over HTTP, nothing is claimed that is not so."""

import asyncio
from pathlib import Path

import httpx
import pytest

from tests.harness import FINAL
from tests.integration.chain import Chain
from tests.integration.kit import (
    BUY_BONK,
    ONE_NODE,
    SELL,
    answer,
    endpoint,
    ready,
    served,
    until,
)

pytestmark = pytest.mark.anyio
OUTAGES = ("http_5xx", "http_429", "drop", "garbled", "hang")
SIGNALS = (SELL, BUY_BONK, {"action": "BUY", "market": "RAY-SOL", "quote_size": "0.5"})
SHORT_WAITS = {"solana.request_timeout": 0.3, "execution.push_timeout": 0.3}


def told(chain: Chain) -> dict[str, object]:
    """Give the settings of a service that was told where its chain is, and waits for it briefly."""
    return {**endpoint(chain), **SHORT_WAITS}


@pytest.mark.parametrize("kind", OUTAGES)
async def test_a_start_without_a_chain(tmp_path: Path, chain: Chain, kind: str) -> None:
    """Every call fails from the start: 202s, an honest readiness, and all orders fill once it is over."""
    chain.fault(kind)
    async with served(tmp_path, chain, told(chain)) as client:
        posted = [await client.post("/signals", json=signal) for signal in SIGNALS]
        assert [response.status_code for response in posted] == [202] * len(SIGNALS)
        ids = [response.json()["order_id"] for response in posted]
        code, problem = await answer(client, "/readyz")
        assert (code, problem["code"]) == (503, "NOT_READY")
        assert problem["reasons"]
        assert await answer(client, "/healthz") == (200, {"alive": True})
        code, shown = await answer(client, "/status")
        assert (code, shown["ready"]) == (200, False)
        assert (await answer(client, f"/orders/{ids[0]}"))[1]["status"] == "queued"
        chain.clear()
        await settle(client, chain, ids)
        await until("it is ready", lambda: ready(client))


async def settle(client: httpx.AsyncClient, chain: Chain, ids: list[str]) -> None:
    """Claim that every order fills, executed once and told as the chain has it."""
    for order_id in ids:
        _, order = await answer(client, f"/orders/{order_id}?wait=20")
        assert order["status"] == "filled", order
        assert chain.differences(order) == []
    assert chain.executions(*ids) == [1] * len(ids)


async def test_a_chain_that_goes_away_and_comes_back(tmp_path: Path, chain: Chain) -> None:
    """Orders in every stage meet the outage: none is failed by it, and all settle after it."""
    changes = {**told(chain), "execution.max_concurrent_executions": 2}
    async with served(tmp_path, chain, changes) as client:
        await until("it is ready", lambda: ready(client))
        ids = []
        for number in range(12):
            signal = {**SIGNALS[number % 3], "client_order_id": f"outage-{number}"}
            ids.append((await client.post("/signals", json=signal)).json()["order_id"])
            if number == 8:
                chain.fault("http_5xx")
        await until("pushes or reads have failed", lambda: chain.hits() > 5)
        stages = [(await answer(client, f"/orders/{order_id}"))[1] for order_id in ids]
        ended = {order["status"] for order in stages} & FINAL
        assert ended <= {"filled"}
        chain.clear()
        await settle(client, chain, ids)


async def test_a_method_that_fails_again_and_again_opens_its_breaker(
    tmp_path: Path, chain: Chain
) -> None:
    """While nothing can be pushed nothing is signed: said by `/readyz`, over once a probe succeeds."""
    async with served(tmp_path, chain, {**told(chain), **ONE_NODE}) as client:
        await until("it is ready", lambda: ready(client))
        chain.fault("http_5xx", "sendTransaction")
        first = (await client.post("/signals", json=SELL)).json()["order_id"]

        async def shut() -> bool:
            _, shown = await answer(client, "/status")
            return bool(shown["methods"][0]["breaker"] == "open")

        await until("the breaker is open", shut)
        code, problem = await answer(client, "/readyz")
        assert code == 503
        assert problem["reasons"] == ["method rpc (breaker_open)"]
        second = (await client.post("/signals", json=BUY_BONK)).json()["order_id"]
        await asyncio.sleep(0.5)
        waiting = (await answer(client, f"/orders/{second}"))[1]
        assert (waiting["status"], waiting["attempts"]) == ("queued", [])
        chain.clear()
        await settle(client, chain, [first, second])
        await until("it is ready", lambda: ready(client))


async def test_an_endpoint_that_is_away_leaves_the_others(tmp_path: Path, chain: Chain) -> None:
    """The first endpoint is down from the start: reads and pushes go to the second."""
    changes = {**told(chain), "solana.rpc_urls": ["http://localhost:1", chain.rpc_url]}
    async with served(tmp_path, chain, changes) as client:
        await until("it is ready", lambda: ready(client))
        ids = [
            (await client.post("/signals", json=signal)).json()["order_id"] for signal in SIGNALS
        ]
        await settle(client, chain, ids)
