"""Health of endpoints: what counts against one, for how long, and what heals it."""

import pytest

from app.solana.endpoint_health import (
    COOL_DOWN_SECONDS,
    COOL_DOWN_SECONDS_MAX,
    RETRY_AFTER_SECONDS_MAX,
    EndpointHealth,
)
from app.solana.json_rpc import (
    Answer,
    Garbled,
    JsonRpcClient,
    NeverSent,
    NoReply,
    Result,
    RpcError,
)
from tests.solana.server import Observer

METHOD = "getEpochInfo"


class ManualTime:
    """Seconds that a test lets pass."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def client(host: str) -> JsonRpcClient:
    """Make a client that is never used."""
    return JsonRpcClient(f"http://{host}/secret", timeout_seconds=1, observer=Observer())


A, B, C = client("a"), client("b"), client("c")


def judged(*answers: Answer) -> tuple[EndpointHealth, ManualTime]:
    """Let the first endpoint give these answers."""
    time = ManualTime()
    health = EndpointHealth(time)
    for answer in answers:
        health.note(A, METHOD, answer, 0.1)
    return health, time


AGAINST: list[tuple[str, Answer]] = [
    ("nothing was sent", NeverSent("ClientConnectorError")),
    ("no reply", NoReply("timeout")),
    ("nonsense", Garbled(200)),
    ("a redirection", Garbled(307)),
    ("an internal error", RpcError(500, None, "")),
    ("a page of a proxy", RpcError(502, None, "<html>")),
    ("an enveloped error beside 503", RpcError(503, -32603, "internal")),
    ("a rate limit", RpcError(429, 429, "slow down")),
    ("a wrong key", RpcError(401, None, "")),
    ("a forbidden address", RpcError(403, None, "")),
    ("a wrong address", RpcError(404, None, "")),
    ("a node behind", RpcError(200, -32005, "Node is behind by 42 slots", {"numSlotsBehind": 42})),
    ("a slot not reached", RpcError(200, -32016, "Minimum context slot has not been reached")),
    ("no history", RpcError(200, -32011, "Transaction history is not available from this node")),
    ("an unknown method", RpcError(200, -32601, "Method not found")),
    ("a rate limit within a 200", RpcError(200, -32429, "max usage reached")),
    ("a rate limit in words", RpcError(200, -32007, "50/second request limit reached")),
]


@pytest.mark.parametrize("answer", [a[1] for a in AGAINST], ids=[a[0] for a in AGAINST])
def test_what_is_about_the_endpoint_counts_against_it(answer: Answer) -> None:
    """It ranks behind the others until its cool-down ends."""
    health, time = judged(answer)
    assert not health.well(A, METHOD)
    assert health.ranked([A, B, C], METHOD) == [B, C, A]
    time.now += COOL_DOWN_SECONDS
    assert health.well(A, METHOD)
    assert health.ranked([A, B, C], METHOD) == [A, B, C]


ABOUT_THE_REQUEST: list[tuple[str, Answer]] = [
    ("a result", Result(1)),
    ("a failed preflight", RpcError(200, -32002, "Transaction simulation failed", {"err": "x"})),
    ("wrong parameters", RpcError(200, -32602, "Invalid params")),
    ("a body too large", RpcError(413, None, "")),
    ("a bad request", RpcError(400, -32602, "bundle contains an expired blockhash")),
    ("an unsupported version", RpcError(200, -32015, "Transaction version (1) is not supported")),
]


@pytest.mark.parametrize(
    "answer", [a[1] for a in ABOUT_THE_REQUEST], ids=[a[0] for a in ABOUT_THE_REQUEST]
)
def test_what_is_about_the_request_does_not(answer: Answer) -> None:
    """Another endpoint would have answered the same."""
    health, _ = judged(answer)
    assert health.well(A, METHOD)


def test_health_is_kept_for_each_method_apart() -> None:
    """A node may serve statuses and refuse sends."""
    health, _ = judged(RpcError(200, -32601, "Method not found"))
    assert health.ranked([A, B], METHOD) == [B, A]
    assert health.ranked([A, B], "getSignatureStatuses") == [A, B]


def test_the_cool_down_grows_from_failure_to_failure() -> None:
    """To half a minute at most."""
    health, time = judged()
    waited = []
    for _ in range(7):
        health.note(A, METHOD, NoReply("timeout"), 0.1)
        start = time.now
        while not health.well(A, METHOD):
            time.now += 1
        waited.append(time.now - start)
    assert waited == [1, 2, 4, 8, 16, COOL_DOWN_SECONDS_MAX, COOL_DOWN_SECONDS_MAX]


def test_failures_at_the_same_time_are_one() -> None:
    """Ten requests under way when a node dies are no ten troubles."""
    health, time = judged(*[NoReply("timeout")] * 10)
    time.now += COOL_DOWN_SECONDS
    assert health.well(A, METHOD)


def test_one_success_heals() -> None:
    """At once, and the next trouble begins small."""
    health, time = judged()
    for _ in range(5):
        health.note(A, METHOD, NoReply("timeout"), 0.1)
        time.now += COOL_DOWN_SECONDS_MAX
    health.note(A, METHOD, NoReply("timeout"), 0.1)
    health.note(A, METHOD, Result(1), 0.1)
    assert health.well(A, METHOD)
    health.note(A, METHOD, NoReply("timeout"), 0.1)
    time.now += COOL_DOWN_SECONDS
    assert health.well(A, METHOD)


def test_an_error_about_the_request_heals_nothing() -> None:
    """It says nothing of the endpoint, neither way."""
    health, _ = judged(NoReply("timeout"), RpcError(200, -32602, "Invalid params"))
    assert not health.well(A, METHOD)


@pytest.mark.parametrize(
    ("wish", "seconds"), [(7.5, 7.5), (0.0, COOL_DOWN_SECONDS), (1e9, RETRY_AFTER_SECONDS_MAX)]
)
def test_an_endpoint_is_left_alone_for_as_long_as_it_asks(wish: float, seconds: float) -> None:
    """Its own hint is the cool-down, within bounds; also one that comes late."""
    answer = RpcError(429, 429, "slow down", None, wish)
    for answers in ((answer,), (NoReply("timeout"), answer)):
        health, time = judged(*answers)
        time.now += seconds - 0.01
        assert not health.well(A, METHOD)
        time.now += 0.01
        assert health.well(A, METHOD)


def test_the_ailing_rank_by_who_recovers_first() -> None:
    """Someone has to be asked when nobody is well."""
    health, _ = judged(RpcError(429, 429, "slow down", None, 20.0))
    health.blame(B, METHOD, "overtaken", 5.0)
    health.blame(C, METHOD, "overtaken")
    assert health.ranked([A, B, C], METHOD) == [C, B, A]


def test_the_state_names_host_trouble_and_time() -> None:
    """For whoever operates the service; never the address, keys live in it."""
    health, time = judged(Result(1), RpcError(429, 429, "slow down", None, 20.0))
    health.note(A, "getSlot", NoReply("timeout"), 5.0)
    time.now += COOL_DOWN_SECONDS
    assert health.state(A) == {
        "endpoint": "a",
        "latency_ms": 100.0,
        "ailing": {METHOD: {"why": "error 429", "retry_after_seconds": 19.0}},
    }
    assert health.state(B) == {"endpoint": "b", "latency_ms": None, "ailing": {}}
