"""The method `rpc` against real servers: node after node, one breaker, the stored bytes."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from app.domain.outcome import Reply, ReplyOutcome
from app.engine.ports import Privacy, TipNeeds
from app.executors.gate import Gate
from app.executors.rpc import MARGIN_SECONDS, RpcExecutor
from tests.domain.makers import BLOCKHASH_SLOT, attempt
from tests.solana.server import CLOSE, HANG, Server, Step, client_of, error, result, serving

pytestmark = pytest.mark.anyio

ATTEMPT = attempt()
TAKEN = result(ATTEMPT.signature)
BUSY = error(429, -32429, "slow down")
SECONDS = 5.0


@asynccontextmanager
async def pushing(
    *steps: Step, gate: Gate | None = None
) -> AsyncIterator[tuple[RpcExecutor, list[Server]]]:
    """Open the method over nodes, each of which always does one thing."""
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(serving(always(step))) for step in steps]
        clients = [await stack.enter_async_context(client_of(server)) for server in servers]
        yield RpcExecutor(clients, gate or Gate("rpc", reset_seconds=60)), servers


def always(step: Step) -> Callable[[object], Step]:
    """Do the same whatever is asked."""
    return lambda _request: step


async def push(executor: RpcExecutor, seconds: float = SECONDS) -> Reply:
    """Push once."""
    return await executor.submit(ATTEMPT, asyncio.get_running_loop().time() + seconds)


async def test_the_stored_bytes_are_sent_once_without_preflight_or_retries() -> None:
    """And only to a node that is as far as the blockhash."""
    async with pushing(TAKEN) as (executor, (server,)):
        assert await push(executor) == Reply(ReplyOutcome.ACCEPTED, "ok")
        (request,) = server.requests
    raw, options = request["params"]
    assert request["method"] == "sendTransaction"
    assert base64.b64decode(raw) == ATTEMPT.signed.raw
    assert options == {
        "encoding": "base64",
        "skipPreflight": True,
        "preflightCommitment": "confirmed",
        "maxRetries": 0,
        "minContextSlot": BLOCKHASH_SLOT,
    }


@pytest.mark.parametrize(
    ("first", "asked", "outcome"),
    [
        (BUSY, 1, ReplyOutcome.ACCEPTED),
        (CLOSE, 0, ReplyOutcome.UNKNOWN),
        (TAKEN, 0, ReplyOutcome.ACCEPTED),
        (result("another"), 0, ReplyOutcome.UNKNOWN),
    ],
)
async def test_the_next_node_is_asked_only_while_nobody_can_have_the_bytes(
    first: Step, asked: int, outcome: ReplyOutcome
) -> None:
    """After a refusal; not after silence, which the next lane is for."""
    async with pushing(first, TAKEN) as (executor, (_, second)):
        assert (await push(executor)).outcome is outcome
        assert len(second.requests) == asked


async def test_what_one_node_refused_is_not_told_as_unsent() -> None:
    """It had the bytes in its hands, though the next was never reached."""
    async with (
        serving(always(BUSY)) as server,
        client_of(server) as first,
        client_of(server) as second,
    ):
        executor = RpcExecutor([first, second], Gate("rpc", reset_seconds=60))
        await second.close()
        assert (await push(executor)).outcome is ReplyOutcome.REJECTED
        await first.close()
        assert (await push(executor)).outcome is ReplyOutcome.NOT_SENT


async def test_a_node_that_hangs_is_given_up_before_the_deadline_and_blamed() -> None:
    """Cut off from outside the breaker would never learn of it."""
    gate = Gate("rpc", failures_max=1, reset_seconds=60)
    async with pushing(HANG, gate=gate) as (executor, _):
        loop = asyncio.get_running_loop()
        deadline = loop.time() + MARGIN_SECONDS + 0.1
        reply = await executor.submit(ATTEMPT, deadline)
        assert reply == Reply(ReplyOutcome.UNKNOWN, "timeout")
        assert loop.time() <= deadline
        assert gate.state == "open"


async def test_without_time_nothing_is_sent_and_nobody_is_blamed() -> None:
    """The deadline is over before the first node is asked."""
    gate = Gate("rpc", failures_max=1, reset_seconds=60)
    async with pushing(TAKEN, gate=gate) as (executor, (server,)):
        assert await push(executor, 0) == Reply(ReplyOutcome.NOT_SENT, "no_time")
        assert server.requests == []
        assert gate.state == "closed"


async def test_an_open_breaker_sends_nothing() -> None:
    """Known here: not one byte left; and it says when to come back."""
    gate = Gate("rpc", failures_max=1, reset_seconds=60)
    async with pushing(CLOSE, gate=gate) as (executor, (server,)):
        await push(executor)
        assert not executor.admits()
        reply = await push(executor)
        assert (reply.outcome, reply.reason) == (ReplyOutcome.NOT_SENT, "breaker_open")
        assert reply.retry_after_seconds is not None
        assert len(server.requests) == 1


async def test_a_cancelled_probe_frees_its_place() -> None:
    """The cancellation goes on its way; the next push is the probe."""
    gate = Gate("rpc", failures_max=1, reset_seconds=0)
    async with pushing(HANG, gate=gate) as (executor, (server,)):
        await push(executor, MARGIN_SECONDS + 0.02)
        assert gate.state == "open"
        probing = asyncio.create_task(push(executor))
        async with asyncio.timeout(SECONDS):
            while len(server.requests) < 2:  # noqa: ASYNC110 - until the request has crossed the wire
                await asyncio.sleep(0)
        assert not executor.admits()
        probing.cancel()
        await asyncio.wait([probing])
        assert probing.cancelled()
        assert executor.admits()


async def test_its_state_is_told() -> None:
    """For `/status`: no secrets, only hosts."""
    async with pushing(TAKEN) as (executor, (server,)):
        assert executor.state() == {
            "name": "rpc",
            "privacy": "public",
            "breaker": "closed",
            "retry_after_seconds": 0.0,
            "endpoints": [f"127.0.0.1:{server.port}"],
        }
        assert executor.admits()
    assert (executor.name, executor.privacy, executor.needs) == ("rpc", Privacy.PUBLIC, TipNeeds())
