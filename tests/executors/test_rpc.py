"""The method `rpc` against real servers: what crosses the wire, and node after node."""

import base64
from collections.abc import Sequence

import pytest

from app.domain.outcome import Reply, ReplyOutcome
from app.engine.ports import Privacy, TipNeeds
from app.executors.gate import Gate
from app.executors.method import Method, Target
from app.executors.rpc import rpc
from tests.domain.makers import BLOCKHASH_SLOT
from tests.executors.kit import ATTEMPT, push, rigged
from tests.solana.server import CLOSE, Step, error, result

pytestmark = pytest.mark.anyio

TAKEN = result(ATTEMPT.signature)
BUSY = error(429, -32429, "slow down")


def build(targets: Sequence[Target], gate: Gate) -> Method:
    """Make the method over the clients alone: nodes have no pace that we know of."""
    return rpc([target.client for target in targets], gate)


async def test_the_stored_bytes_are_sent_once_without_preflight_or_retries() -> None:
    """And only to a node that is as far as the blockhash."""
    async with rigged(build, TAKEN) as rig:
        assert await push(rig.method) == Reply(ReplyOutcome.ACCEPTED, "ok")
        (request,) = rig.servers[0].requests
        assert rig.servers[0].targets == ["POST /secret?api-key=hidden"]
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
        (error(200, -32005, "Node is behind", {"numSlotsBehind": 9}), 1, ReplyOutcome.ACCEPTED),
        (CLOSE, 0, ReplyOutcome.UNKNOWN),
        (TAKEN, 0, ReplyOutcome.ACCEPTED),
        (result("another"), 0, ReplyOutcome.UNKNOWN),
    ],
)
async def test_the_next_node_is_asked_only_while_nobody_can_have_the_bytes(
    first: Step, asked: int, outcome: ReplyOutcome
) -> None:
    """After a refusal; not after silence, which the next lane is for."""
    async with rigged(build, first, TAKEN) as rig:
        assert (await push(rig.method)).outcome is outcome
        assert rig.asked == [1, asked]


async def test_it_is_public_and_needs_nothing() -> None:
    """As everybody's node is; no address and no key is told."""
    async with rigged(build, TAKEN) as rig:
        assert rig.method.state()["endpoints"] == [f"127.0.0.1:{rig.servers[0].port}"]
        assert rig.method.hindrance() is None
        method = rig.method
    assert (method.name, method.privacy, method.needs) == ("rpc", Privacy.PUBLIC, TipNeeds())
