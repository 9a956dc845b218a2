"""The method `bundle`: the stored bytes as a bundle of one, known by an id computed before."""

import base64
from collections.abc import Sequence

import pytest

from app.domain.outcome import Reply, ReplyOutcome
from app.engine.ports import Privacy
from app.executors.bundle import bundle, bundle_id
from app.executors.bundle_statuses import BundleStatuses
from app.executors.gate import Gate
from app.executors.method import Method, Target
from tests.executors.kit import ATTEMPT, TIPS, push, rigged
from tests.solana.server import Step, error, result

pytestmark = pytest.mark.anyio

ID = "e519e0767f0e61371c7688028217e56adc122b8be05e2bcb4b88714f48341afe"
"""SHA-256 of `signature1`."""
TAKEN = result(ID)


def build(targets: Sequence[Target], gate: Gate) -> Method:
    """Make the method without statuses."""
    return bundle(targets, gate, tips=lambda: TIPS)


def test_a_bundles_id_is_computed_here() -> None:
    """From its signatures in order, as the engine does."""
    assert bundle_id(["signature1"]) == ID
    two = "8b61a22b377ee5961fd247c9b90ea3eb72c7c07ce066ef8fd0bda702122affff"
    assert bundle_id(["signature1", "signature2"]) == two


async def test_the_stored_bytes_go_as_a_bundle_of_one() -> None:
    """In base64, which has to be said, beneath the engine's address."""
    async with rigged(build, TAKEN) as rig:
        assert await push(rig.method) == Reply(ReplyOutcome.ACCEPTED, "ok")
        (request,) = rig.servers[0].requests
        assert rig.servers[0].targets == ["POST /secret/api/v1/bundles?api-key=hidden"]
    assert request["method"] == "sendBundle"
    ((raw,), options) = request["params"]
    assert base64.b64decode(raw) == ATTEMPT.signed.raw
    assert options == {"encoding": "base64"}


@pytest.mark.parametrize("answer", ["another", ID.upper(), ATTEMPT.signature, None, [ID]])
async def test_another_id_is_no_acknowledgement(answer: object) -> None:
    """Nobody knows then what the engine has: the next lane gets the bytes."""
    async with rigged(build, result(answer), TAKEN) as rig:
        assert await push(rig.method) == Reply(ReplyOutcome.UNKNOWN, "bundle_id_mismatch")
        assert rig.asked == [1, 0]


@pytest.mark.parametrize(
    ("first", "asked", "reason"),
    [
        (error(429, -32097, "Rate limit exceeded"), [1, 1], "ok"),
        (error(400, -32602, "bundle does not lock any of the tip PDAs"), [1, 0], "tip"),
        (
            error(400, -32602, "bundle contains an already processed transaction"),
            [1, 0],
            "already_processed",
        ),
        (error(400, -32602, "bundle contains an expired blockhash"), [1, 0], "blockhash"),
    ],
)
async def test_the_next_region_is_asked_where_that_helps(
    first: Step, asked: list[int], reason: str
) -> None:
    """A region that is busy is none that refuses the bundle."""
    async with rigged(build, first, TAKEN) as rig:
        assert (await push(rig.method)).reason == reason
        assert rig.asked == asked


async def test_it_is_private_and_tips() -> None:
    """Whatever is tipped now."""
    async with rigged(build, TAKEN) as rig:
        method = rig.method
    assert (method.name, method.privacy, method.needs) == ("bundle", Privacy.PRIVATE, TIPS)
    assert method.claim(ATTEMPT.signature) is None


@pytest.mark.parametrize(
    ("answer", "watched"), [(TAKEN, True), (error(400, -32602, "no tip account"), False)]
)
async def test_what_was_accepted_is_watched(answer: Step, watched: bool) -> None:
    """Under its own id, at the region that took it; and what is said there is claimed."""
    fate = {"value": [{"bundle_id": ID, "status": "Failed", "landed_slot": None}]}
    made: list[BundleStatuses] = []

    def with_statuses(targets: Sequence[Target], gate: Gate) -> Method:
        made.append(BundleStatuses(targets))
        return bundle(targets, gate, tips=lambda: TIPS, statuses=made[0])

    def engine(request: dict[str, object]) -> Step:
        return answer if request["method"] == "sendBundle" else result(fate)

    async with rigged(with_statuses, engine) as rig:
        await push(rig.method)
        await made[0].poll()
        assert rig.method.claim(ATTEMPT.signature) == ("Failed" if watched else None)
        asked = rig.servers[0].requests[1:]
    assert [each["params"] for each in asked] == ([[[ID]]] if watched else [])
