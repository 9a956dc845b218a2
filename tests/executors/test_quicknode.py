"""The method `quicknode`: an endpoint with a token, and what its add-ons make of it."""

import base64
from collections.abc import Callable
from typing import Any, Literal

import pytest

from app.domain.errors import StartupError
from app.domain.outcome import Reply, ReplyOutcome
from app.engine.ports import Privacy, TipNeeds
from app.executors.bundle_statuses import BundleStatuses
from app.executors.gate import Gate
from app.executors.limiter import Limiter
from app.executors.method import Method, Target
from app.executors.quicknode import Fastlane, LilJit, auth_headers, quicknode
from app.solana.json_rpc import JsonRpcClient
from tests.domain.makers import BLOCKHASH_SLOT
from tests.executors.kit import ATTEMPT, TIPS, Build, push, rigged
from tests.solana.server import Observer, Step, error, result, scripted

pytestmark = pytest.mark.anyio

ID = "e519e0767f0e61371c7688028217e56adc122b8be05e2bcb4b88714f48341afe"
TAKEN = result(ATTEMPT.signature)
LANE = Fastlane(("lane1", "lane2"), 1_000_000, 5_000_000)


def built(**options: Any) -> Build:
    """Make the method with these options."""
    return lambda targets, gate: quicknode(targets[0], gate, **options)


async def test_the_stored_bytes_are_sent_as_to_any_node() -> None:
    """Without preflight or retries."""
    async with rigged(built(), TAKEN) as rig:
        assert await push(rig.method) == Reply(ReplyOutcome.ACCEPTED, "ok")
        (request,) = rig.servers[0].requests
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


async def test_the_token_is_in_the_header_and_nowhere_else() -> None:
    """So that no address, no log and no state has it."""
    async with scripted(TAKEN) as server:
        url = f"http://127.0.0.1:{server.port}/"
        client = JsonRpcClient(
            url, timeout_seconds=5, observer=Observer(), headers=auth_headers("the-token")
        )
        method = quicknode(Target(client, Limiter()), Gate("quicknode"))
        await push(method)
        await client.close()
        assert b"x-token: the-token" in server.headers[0]
        assert server.targets == ["POST /"]
    assert "the-token" not in repr(client) + str(method.state())
    assert auth_headers(None) == auth_headers("") == {}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (
            error(200, -32004, "Transaction must write lock at least one tip account"),
            Reply(ReplyOutcome.REJECTED, "tip"),
        ),
        (
            error(200, -32004, "Block not available for slot 5"),
            Reply(ReplyOutcome.UNKNOWN, "server_error"),
        ),
        (
            error(200, -32007, "50/second request limit reached"),
            Reply(ReplyOutcome.REJECTED, "rate_limited"),
        ),
        (error(401, -32000, "Unauthorized"), Reply(ReplyOutcome.REJECTED, "auth_or_config")),
        (result("another"), Reply(ReplyOutcome.UNKNOWN, "signature_mismatch")),
    ],
)
async def test_what_it_answers_is_read_its_way(answer: Step, expected: Reply) -> None:
    """An add-on hands the transaction to Jito, which wants a tip: no fault of the endpoint's."""
    async with rigged(built(), answer) as rig:
        assert await push(rig.method) == expected
        assert rig.gate.state == "closed"


@pytest.mark.parametrize(
    ("options", "needs"),
    [
        ({}, TipNeeds()),
        ({"tips": lambda: TIPS}, TIPS),
        ({"fastlane": LANE}, TipNeeds(("lane1", "lane2"), 1_000_000, 5_000_000)),
        (
            {"fastlane": LANE, "tips": lambda: TIPS},
            TipNeeds(("lane1", "lane2"), 1_000_000, 5_000_000),
        ),
    ],
)
async def test_what_a_transaction_must_carry(options: dict[str, Any], needs: TipNeeds) -> None:
    """Nothing; or Jito's tip, for an endpoint that hands on to Jito; or Fastlane's floors."""
    async with rigged(built(**options), TAKEN) as rig:
        assert (rig.method.name, rig.method.privacy) == ("quicknode", Privacy.PUBLIC)
        assert rig.method.needs == needs
        assert rig.method.claim(ATTEMPT.signature) is None
        assert (await push(rig.method)).outcome is ReplyOutcome.ACCEPTED


BASE64 = base64.b64encode(ATTEMPT.signed.raw).decode()


@pytest.mark.parametrize(
    ("encoding", "region", "params"),
    [
        ("base58", None, [["2"]]),
        ("base58", "frankfurt", [["2"], "frankfurt"]),
        ("base64", None, [[BASE64], {"encoding": "base64"}]),
        ("base64", "ny", [[BASE64], "ny", {"encoding": "base64"}]),
    ],
)
async def test_bundles_go_as_the_add_on_wants_them(
    encoding: Literal["base58", "base64"], region: str | None, params: list[object]
) -> None:
    """In base58 unless base64 is configured; to the same address, privately, and with a tip."""
    options = {"bundles": LilJit(encoding, region), "tips": lambda: TIPS}
    async with rigged(built(**options), result(ID)) as rig:
        assert await push(rig.method) == Reply(ReplyOutcome.ACCEPTED, "ok")
        (request,) = rig.servers[0].requests
        assert rig.servers[0].targets == ["POST /secret?api-key=hidden"]
        assert (rig.method.privacy, rig.method.needs) == (Privacy.PRIVATE, TIPS)
    assert (request["method"], request["params"]) == ("sendBundle", params)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (result(ATTEMPT.signature), "bundle_id_mismatch"),
        (error(200, -32601, "Method not found"), "method_missing"),
        (error(429, -32007, "5/second request limit reached"), "rate_limited"),
        (
            error(200, -32602, "bundle contains an already processed transaction"),
            "already_processed",
        ),
    ],
)
async def test_what_the_add_on_answers_is_read_jitos_way(answer: Step, reason: str) -> None:
    """Behind QuickNode's own limits."""
    async with rigged(built(bundles=LilJit(), tips=lambda: TIPS), answer) as rig:
        assert (await push(rig.method)).reason == reason


async def test_bundles_are_watched_at_the_endpoint_itself() -> None:
    """The add-on has no paths."""
    made: list[BundleStatuses] = []
    fate = {"value": [{"bundle_id": ID, "status": "Failed"}]}

    def build(targets: Any, gate: Gate) -> Method:
        made.append(BundleStatuses(targets, path=""))
        return quicknode(targets[0], gate, tips=lambda: TIPS, bundles=LilJit(statuses=made[0]))

    def endpoint(request: dict[str, object]) -> Step:
        return result(ID if request["method"] == "sendBundle" else fate)

    async with rigged(build, endpoint) as rig:
        await push(rig.method)
        await made[0].poll()
        assert rig.servers[0].targets[1] == "POST /secret?api-key=hidden"
        assert rig.method.claim(ATTEMPT.signature) == "Failed"


@pytest.mark.parametrize(
    "options",
    [
        {"bundles": LilJit()},
        {"bundles": LilJit(), "fastlane": LANE},
        {"bundles": LilJit(), "tips": lambda: TIPS, "fastlane": LANE},
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any]) -> None:
    """A bundle needs Jito's tip, and one transaction does not go both ways."""
    client = JsonRpcClient("http://127.0.0.1:1", timeout_seconds=1, observer=Observer())
    make: Callable[..., Method] = quicknode
    with pytest.raises(StartupError) as caught:
        make(Target(client, Limiter()), Gate("quicknode"), **options)
    assert caught.value.code == "QUICKNODE_OPTIONS"
