"""Endpoints of another chain: there every signature is absent, which proves nothing."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from app.domain.errors import TransientError
from app.domain.outcome import NotProved, Proof
from app.solana.chain import RpcChain
from app.solana.json_rpc import JsonRpcClient
from tests.domain.makers import BLOCKHASH_SLOT, LAST_HEIGHT, attempt

pytestmark = pytest.mark.anyio

EXPIRED: Mapping[str, object] = {
    "getEpochInfo": {"absoluteSlot": BLOCKHASH_SLOT + 900, "blockHeight": LAST_HEIGHT + 500},
    "isBlockhashValid": {"context": {"slot": BLOCKHASH_SLOT + 950}, "value": False},
    "getSignatureStatuses": {"context": {"slot": BLOCKHASH_SLOT + 950}, "value": [None]},
    "minimumLedgerSlot": 1,
    "getLatestBlockhash": {
        "context": {"slot": BLOCKHASH_SLOT},
        "value": {"blockhash": "hash", "lastValidBlockHeight": LAST_HEIGHT},
    },
}
YOUNG = {**EXPIRED, "getEpochInfo": {"absoluteSlot": BLOCKHASH_SLOT, "blockHeight": LAST_HEIGHT}}


class Unheard:
    """Counts nothing."""

    def rpc(self, endpoint: str, rpc_method: str, outcome: str, seconds: float) -> None:
        """See the port."""


@asynccontextmanager
async def node(genesis: str, answers: Mapping[str, object]) -> AsyncIterator[JsonRpcClient]:
    """Serve a node of a chain; gives a client of it."""

    async def answer(request: web.Request) -> web.Response:
        call = json.loads(await request.read())
        results = {**answers, "getGenesisHash": genesis}
        return web.json_response({"jsonrpc": "2.0", "id": 1, "result": results[call["method"]]})

    app = web.Application()
    app.router.add_post("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    client = JsonRpcClient(f"http://127.0.0.1:{port}", timeout_seconds=5, observer=Unheard())
    try:
        yield client
    finally:
        await client.close()
        await runner.cleanup()


def chain_of(*clients: JsonRpcClient) -> RpcChain:
    """Give the chain as read over these endpoints."""
    return RpcChain(clients, proof_endpoints=1, poll_seconds=1)


async def test_an_endpoint_of_another_chain_proves_nothing() -> None:
    """Its empty history is no evidence, however far its heights are."""
    async with node("ours", YOUNG) as own, node("another", EXPIRED) as foreign:
        chain = chain_of(own, foreign)
        chain.belongs_to("ours")
        proof = await chain.prove_dead(attempt())
        assert isinstance(proof, NotProved)
        assert "not known to serve this chain" in proof.reason


async def test_nothing_is_proved_before_the_chain_is_known() -> None:
    """Orders of an earlier run are watched at once; a wrong chain must not bury them."""
    async with node("ours", EXPIRED) as own:
        chain = chain_of(own)
        assert isinstance(await chain.prove_dead(attempt()), NotProved)
        chain.belongs_to("ours")
        assert isinstance(await chain.prove_dead(attempt()), Proof)


async def test_an_endpoint_that_moved_to_another_chain_proves_nothing() -> None:
    """A node may be replaced behind its address: each proof asks again which chain it serves."""
    async with node("replaced", EXPIRED) as own:
        chain = chain_of(own)
        chain.belongs_to("ours")
        assert isinstance(await chain.prove_dead(attempt()), NotProved)


async def test_an_endpoint_of_another_chain_is_not_read() -> None:
    """It serves no blockhash in place of one that is down: what is signed on it could never land."""
    async with node("ours", {}) as own, node("another", EXPIRED) as foreign:
        await own.close()
        chain = chain_of(own, foreign)
        chain.belongs_to("ours")
        await chain.look()
        assert chain.tip is None
        assert await chain.heights() is None
        with pytest.raises(TransientError, match="not known to serve this chain"):
            await chain.accounts(["address"])


async def test_an_endpoint_of_the_chain_stands_in_for_another() -> None:
    """The second endpoint is read when the first is down, once it has named its chain."""
    async with node("ours", EXPIRED) as down, node("ours", EXPIRED) as up:
        await down.close()
        chain = chain_of(down, up)
        chain.belongs_to("ours")
        await chain.look()
        assert chain.tip is not None
