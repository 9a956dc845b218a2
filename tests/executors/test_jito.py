"""The method `jito`: sendTransaction to a block engine, as an ordinary one too or as a bundle alone."""

import base64
import json
from collections.abc import Sequence

import pytest

from app.domain.outcome import Reply, ReplyOutcome
from app.engine.ports import Privacy
from app.executors.block_engine import auth_headers
from app.executors.bundle import bundle
from app.executors.bundle_statuses import BundleStatuses
from app.executors.gate import Gate
from app.executors.jito import jito
from app.executors.limiter import Limiter
from app.executors.method import Method, Target
from app.solana.json_rpc import JsonRpcClient
from tests.executors.kit import ATTEMPT, TIPS, push, rigged
from tests.solana.server import Observer, Step, error, http, result, scripted

pytestmark = pytest.mark.anyio

ID = "a" * 64
TAKEN = result(ATTEMPT.signature)


def build(targets: Sequence[Target], gate: Gate) -> Method:
    """Make the method as it is without options."""
    return jito(targets, gate, bundle_only=False, tips=lambda: TIPS)


def alone(targets: Sequence[Target], gate: Gate) -> Method:
    """Make the method that sends bundles alone."""
    return jito(targets, gate, bundle_only=True, tips=lambda: TIPS)


async def test_the_stored_bytes_are_sent_in_base64() -> None:
    """Which has to be said; the engine has no preflight that could be switched off."""
    async with rigged(build, TAKEN) as rig:
        assert await push(rig.method) == Reply(ReplyOutcome.ACCEPTED, "ok")
        (request,) = rig.servers[0].requests
        assert rig.servers[0].targets == ["POST /secret/api/v1/transactions?api-key=hidden"]
    assert request["method"] == "sendTransaction"
    raw, options = request["params"]
    assert base64.b64decode(raw) == ATTEMPT.signed.raw
    assert options == {"encoding": "base64"}


async def test_a_bundle_alone_is_asked_for_in_the_query() -> None:
    """Behind what the address has already; only then nobody else sees the bytes."""
    async with rigged(alone, TAKEN) as rig:
        assert (await push(rig.method)).outcome is ReplyOutcome.ACCEPTED
        (target,) = rig.servers[0].targets
        private = rig.method.privacy
    assert target == "POST /secret/api/v1/transactions?api-key=hidden&bundleOnly=true"
    assert private is Privacy.PRIVATE


async def test_who_asks_is_in_the_header_and_nowhere_else() -> None:
    """The secret is in no address."""
    async with scripted(TAKEN) as server:
        url = f"http://127.0.0.1:{server.port}"
        client = JsonRpcClient(
            url, timeout_seconds=5, observer=Observer(), headers=auth_headers("the-uuid")
        )
        method = build([Target(client, Limiter())], Gate("jito"))
        await push(method)
        await client.close()
        assert b"x-jito-auth: the-uuid" in server.headers[0]
        assert server.targets == ["POST /api/v1/transactions"]
    assert "the-uuid" not in repr(client) + json.dumps(method.state())


@pytest.mark.parametrize(
    ("first", "asked", "reason"),
    [
        (error(429, -32097, "Rate limit exceeded"), [1, 1], "ok"),
        (result("another"), [1, 0], "signature_mismatch"),
        (error(400, -32602, "transaction #0 could not be decoded"), [1, 0], "invalid"),
        (http(503, ""), [1, 0], "server_error"),
    ],
)
async def test_the_next_region_is_asked_where_that_helps(
    first: Step, asked: list[int], reason: str
) -> None:
    """Not where the first may have taken the bytes, nor where they are at fault."""
    async with rigged(build, first, TAKEN) as rig:
        assert (await push(rig.method)).reason == reason
        assert rig.asked == asked


async def test_it_is_public_and_tips() -> None:
    """The engine hands the bytes on as an ordinary transaction too."""
    async with rigged(build, TAKEN) as rig:
        method = rig.method
    assert (method.name, method.privacy, method.needs) == ("jito", Privacy.PUBLIC, TIPS)
    assert method.claim(ATTEMPT.signature) is None


def with_id(bundle_id: str, status: int = 200) -> bytes:
    """Take a transaction, and say under which id it is a bundle."""
    document = {"jsonrpc": "2.0", "id": 1, "result": ATTEMPT.signature}
    return http(status, json.dumps(document), f"x-bundle-id: {bundle_id}")


@pytest.mark.parametrize(
    ("answer", "asked"),
    [
        (with_id(ID), [[[ID]]]),
        (with_id("../../etc"), []),
        (with_id(ID.upper()), []),
        (TAKEN, []),
        (http(429, "", f"x-bundle-id: {ID}"), []),
    ],
)
async def test_the_id_in_the_header_is_watched(answer: bytes, asked: list[object]) -> None:
    """When the engine took the transaction as a bundle; what is no id is not asked about."""
    made: list[BundleStatuses] = []
    fate = {"value": [{"bundle_id": ID, "status": "Failed"}]}

    def with_statuses(targets: Sequence[Target], gate: Gate) -> Method:
        made.append(BundleStatuses(targets))
        return jito(targets, gate, bundle_only=False, tips=lambda: TIPS, statuses=made[0])

    def engine(request: dict[str, object]) -> Step:
        return answer if request["method"] == "sendTransaction" else result(fate)

    async with rigged(with_statuses, engine) as rig:
        await push(rig.method)
        await made[0].poll()
        assert [each["params"] for each in rig.servers[0].requests[1:]] == asked
        assert rig.method.claim(ATTEMPT.signature) == ("Failed" if asked else None)


async def test_a_region_has_one_pace_for_all_of_jitos_methods() -> None:
    """The engine counts by address: what one method sent, the other one waits for."""
    others: list[Method] = []

    def both(targets: Sequence[Target], gate: Gate) -> Method:
        others.append(bundle(targets, Gate("bundle"), tips=lambda: TIPS))
        return build(targets, gate)

    async with rigged(both, TAKEN, per_second=1) as rig:
        await push(rig.method)
        assert await push(others[0]) == Reply(ReplyOutcome.NOT_SENT, "limited")
        hindrance = others[0].hindrance()
        assert hindrance is not None
        assert (hindrance.reason, hindrance.seconds) == ("limited", 1.0)
        assert rig.asked == [1]
