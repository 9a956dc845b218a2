"""The JSON-RPC client against a real server that answers as vendors do, or not at all."""

import asyncio
import json
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.solana.json_rpc import (
    BODY_BYTES_MAX,
    MESSAGE_LENGTH_MAX,
    Answer,
    Garbled,
    JsonRpcClient,
    NeverSent,
    NoReply,
    Raw,
    Result,
    RpcError,
    endpoint_label,
    outcome_label,
    read_answer,
)
from tests.solana.server import (
    CLOSE,
    HANG,
    RESET,
    TIMEOUT_SECONDS,
    Half,
    Observer,
    Step,
    client_of,
    error,
    http,
    result,
    scripted,
    serving,
)

pytestmark = pytest.mark.anyio

RATE = "Network congested. Endpoint is globally rate limited."
BACK_OFF = "Rate limit exceeded. Limit: 1 per second for txn requests. Retry after 1606ms"
BARE = '{"code":-32007,"message":"50/second request limit reached"}'
HTML = "<html><body>502 Bad Gateway</body></html>"


async def ask(step: Step) -> Answer:
    """Ask a server that does this."""
    async with scripted(step) as server, client_of(server) as client:
        answer = await client.call("getSlot", [])
    if isinstance(answer, Result):  # headers have a test of their own
        return Result(answer.value)
    return answer


SOUND: list[tuple[str, Step, Answer]] = [
    ("a result", result(7), Result(7)),
    ("a result under another id", result(7, None), Result(7)),
    ("a result of null", result(None), Result(None)),
    ("a result beside a null error", http(200, '{"result":1,"error":null}'), Result(1)),
    ("a batch of one", http(200, '[{"result":1,"id":1}]'), Result(1)),
    ("a rate limit without id", error(429, -32097, RATE), RpcError(429, -32097, RATE)),
    (
        "a hint in the message",
        error(429, -32097, BACK_OFF),
        RpcError(429, -32097, BACK_OFF, None, 1.606),
    ),
    (
        "a hint in seconds",
        error(200, 429, "slow down, Retry after 2.5 s"),
        RpcError(200, 429, "slow down, Retry after 2.5 s", None, 2.5),
    ),
    (
        "a hint in the header",
        error(429, 429, "slow down", None, "Retry-After: 3"),
        RpcError(429, 429, "slow down", None, 3.0),
    ),
    (
        "a hint that is a date",
        error(429, 429, "slow down", None, "retry-after: Wed, 21 Oct 2026 07:28:00 GMT"),
        RpcError(429, 429, "slow down"),
    ),
    (
        "a hint in digits that are no numbers",
        error(429, 429, "slow down", None, "retry-after: \xb2"),
        RpcError(429, 429, "slow down"),
    ),
    (
        "a hint beyond all bounds",
        error(429, 429, "slow down", None, "retry-after: " + "9" * 400),
        RpcError(429, 429, "slow down"),
    ),
    (
        "an error without envelope",
        http(200, BARE),
        RpcError(200, -32007, "50/second request limit reached"),
    ),
    (
        "an error that is a text",
        http(400, '{"error":"bad request"}'),
        RpcError(400, None, "bad request"),
    ),
    (
        "an error with data",
        error(200, -32005, "behind", {"numSlotsBehind": 42}),
        RpcError(200, -32005, "behind", {"numSlotsBehind": 42}),
    ),
    (
        "an error whose code is no number",
        http(200, '{"error":{"code":true,"message":5}}'),
        RpcError(200, None, "5"),
    ),
    (
        "an error beside a status that says failure",
        error(503, -32603, "internal"),
        RpcError(503, -32603, "internal"),
    ),
    (
        "an endless message",
        error(200, -1, "x" * 10_000),
        RpcError(200, -1, "x" * MESSAGE_LENGTH_MAX),
    ),
    ("a page of a proxy", http(502, HTML), RpcError(502, None, HTML)),
    (
        "a failure with a hint",
        http(503, "", "retry-after: 1.5"),
        RpcError(503, None, "", None, 1.5),
    ),
    ("a page that says success", http(200, HTML), Garbled(200)),
    ("nothing", http(200, ""), Garbled(200)),
    ("nothing, as a failure", http(500, ""), RpcError(500, None, "")),
    ("neither result nor error", http(200, '{"jsonrpc":"2.0","id":1}'), Garbled(200)),
    ("a batch of two", http(200, '[{"result":1},{"result":2}]'), Garbled(200)),
    ("a bare number", http(200, "7"), Garbled(200)),
    ("a tower of brackets", http(200, "[" * 100_000), Garbled(200)),
    ("a number of too many digits", http(200, '{"result":' + "9" * 10_000 + "}"), Garbled(200)),
    ("a redirection", http(302, "", "location: http://127.0.0.1:1/"), Garbled(302)),
    ("a result beside a redirection", http(307, '{"result":1}'), Garbled(307)),
    ("a body beyond the bound", http(200, b'"' + b"x" * (BODY_BYTES_MAX + 1) + b'"'), Garbled(200)),
]


@pytest.mark.parametrize(("step", "answer"), [s[1:] for s in SOUND], ids=[s[0] for s in SOUND])
async def test_every_answer_is_a_value(step: Step, answer: Answer) -> None:
    """What vendors are known to send is understood; the rest is garbled, and nothing raises."""
    assert await ask(step) == answer


NEVER_SAID: list[tuple[str, Step]] = [
    ("half a body", Half(http(200, '{"jsonrpc":"2.0","result":7}')[:-5])),
    ("half a head", Half(b"HTTP/1.1 200 OK\r\ncontent-le")),
    ("no HTTP at all", b"SSH-2.0-OpenSSH\r\n\r\n"),
    ("a length that is none", b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n{}"),
    ("chunks that are none", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"),
    ("a zip that is none", http(200, "nozip", "content-encoding: gzip")),
    ("a reset", RESET),
    ("a hang-up", CLOSE),
]


@pytest.mark.parametrize("step", [s[1] for s in NEVER_SAID], ids=[s[0] for s in NEVER_SAID])
async def test_after_the_request_left_a_broken_answer_tells_nothing(step: Step) -> None:
    """Whoever read it may have acted on it."""
    assert isinstance(await ask(step), NoReply)


async def test_a_server_that_hangs_is_given_up() -> None:
    """After the call's own time, or the client's; nobody knows whether it acted."""
    async with scripted(HANG, HANG) as server, client_of(server, timeout_seconds=0.05) as client:
        assert await client.call("getSlot", []) == NoReply("timeout")
        assert await client.call("getSlot", [], timeout_seconds=0.02) == NoReply("timeout")


async def test_a_refused_connection_sent_nothing() -> None:
    """Nobody listens: that much is known."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    client = JsonRpcClient(f"http://127.0.0.1:{port}", timeout_seconds=5, observer=Observer())
    assert isinstance(await client.call("getSlot", []), NeverSent)
    await client.close()


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/x", "http://", "nonsense"])
async def test_an_address_that_is_none_sent_nothing(url: str) -> None:
    """A wrong configuration raises nothing in the middle of things."""
    client = JsonRpcClient(url, timeout_seconds=5, observer=Observer())
    assert isinstance(await client.call("getSlot", []), NeverSent)
    await client.close()


async def test_a_plain_server_behind_an_encrypted_address_was_sent_nothing() -> None:
    """No connection came about, so no request left."""
    async with scripted(result(1)) as server:
        url = f"https://127.0.0.1:{server.port}"
        client = JsonRpcClient(url, timeout_seconds=5, observer=Observer())
        assert isinstance(await client.call("getSlot", []), NeverSent)
        await client.close()


async def test_a_closed_client_sends_nothing() -> None:
    """At the end of the service a late call is answered all the same; closing twice is fine."""
    async with scripted(result(1)) as server, client_of(server) as client:
        await client.call("getSlot", [])
        await client.close()
        assert await client.call("getSlot", []) == NeverSent("closed")
        assert len(server.requests) == 1


async def test_a_client_that_was_never_used_can_be_closed() -> None:
    """It opened nothing."""
    client = JsonRpcClient("http://127.0.0.1:1", timeout_seconds=1, observer=Observer())
    await client.close()


async def test_a_cancelled_call_is_cancelled() -> None:
    """The one thing that a call may raise."""
    heard = asyncio.Event()

    def hang(_request: object) -> Step:
        heard.set()
        return HANG

    async with serving(hang) as server, client_of(server) as client:
        calling = asyncio.create_task(client.call("getSlot", []))
        await heard.wait()
        calling.cancel()
        await asyncio.wait([calling])
        assert calling.cancelled()


async def test_a_request_says_what_json_rpc_wants() -> None:
    """With an id of its own each time, over one connection, with the vendor's headers."""
    async with scripted(result(1), result(2)) as server:
        client = JsonRpcClient(
            server.url,
            timeout_seconds=TIMEOUT_SECONDS,
            observer=Observer(),
            headers={"x-token": "t"},
        )
        for slot in (1, 2):
            await client.call("getBlock", [slot, {"a": None}])
        await client.close()
    assert server.requests == [
        {"jsonrpc": "2.0", "id": slot, "method": "getBlock", "params": [slot, {"a": None}]}
        for slot in (1, 2)
    ]
    assert server.connections == 1
    assert b"x-token: t" in server.headers[0].lower()
    assert b"content-type: application/json" in server.headers[0].lower()


@pytest.mark.parametrize("step", [CLOSE, RESET])
async def test_a_request_is_never_sent_twice(step: Step) -> None:
    """Not even when a connection that was kept alive breaks under it."""
    async with scripted(result(1), step, result(2)) as server, client_of(server) as client:
        await client.call("getSlot", [])
        assert isinstance(await client.call("sendTransaction", ["bytes"]), NoReply)
        assert [each["method"] for each in server.requests] == ["getSlot", "sendTransaction"]


async def test_headers_of_a_result_are_told_in_any_case() -> None:
    """Some vendors put things of use there."""
    answer = http(200, '{"result":1}', "X-Bundle-Id: abc")
    async with scripted(answer) as server, client_of(server) as client:
        found = await client.call("sendTransaction", [])
    assert isinstance(found, Result)
    assert found.headers["x-bundle-id"] == "abc"


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("", "/secret?api-key=hidden"),
        ("/api/v1/bundles", "/secret/api/v1/bundles?api-key=hidden"),
        ("/api/v1/transactions?bundleOnly=true", None),
        ("?bundleOnly=true", "/secret?api-key=hidden&bundleOnly=true"),
    ],
)
async def test_a_path_goes_behind_the_address_and_before_its_query(
    path: str, target: str | None
) -> None:
    """Vendors keep a key in either; a query of the path's own goes behind the address's."""
    wanted = target or "/secret/api/v1/transactions?api-key=hidden&bundleOnly=true"
    async with scripted(result(1), result(2)) as server, client_of(server) as client:
        await client.call("sendBundle", [], path=path)
        await client.exchange("send", b"{}", path=path)
    assert server.targets == [f"POST {wanted}"] * 2


@pytest.mark.parametrize(
    ("address", "target"),
    [("/", "/api/v1"), ("/key/", "/key/api/v1"), ("", "/api/v1"), ("?a=%20b", "/api/v1?a=%20b")],
)
async def test_a_path_is_joined_by_one_slash(address: str, target: str) -> None:
    """Whether the configured address ends in one or not, and nothing of it is written anew."""
    async with scripted(result(1)) as server:
        url = f"http://127.0.0.1:{server.port}{address}"
        client = JsonRpcClient(url, timeout_seconds=5, observer=Observer())
        await client.call("getSlot", [], path="/api/v1")
        await client.close()
    assert server.targets == [f"POST {target}"]


async def test_parameters_may_have_names() -> None:
    """Some vendors' methods take an object in place of an array."""
    async with scripted(result(1)) as server, client_of(server) as client:
        await client.call("qn_estimatePriorityFees", {"last_n_blocks": 100})
    assert server.requests[0]["params"] == {"last_n_blocks": 100}


RAW: list[tuple[str, Step, Raw]] = [
    ("a text", http(200, "ok"), Raw(200, {"content-length": "2"}, b"ok")),
    ("nothing", http(200, ""), Raw(200, {"content-length": "0"}, b"")),
    (
        "a refusal, with its headers in lower case",
        http(429, "slow", "Retry-After: 3"),
        Raw(429, {"content-length": "4", "retry-after": "3"}, b"slow"),
    ),
    (
        "a redirection that is not followed",
        http(307, "", "Location: http://127.0.0.1:1/"),
        Raw(307, {"content-length": "0", "location": "http://127.0.0.1:1/"}, b""),
    ),
]


@pytest.mark.parametrize(("step", "raw"), [s[1:] for s in RAW], ids=[s[0] for s in RAW])
async def test_an_exchange_tells_the_answer_as_it_came(step: Step, raw: Raw) -> None:
    """Whoever asked something else than JSON-RPC reads it himself."""
    async with scripted(step) as server, client_of(server) as client:
        assert await client.exchange("send", b"bytes", content_type="text/plain") == raw
        assert server.bodies == [b"bytes"]
        assert b"content-type: text/plain" in server.headers[0].lower()


async def test_an_exchange_without_a_body_just_asks() -> None:
    """With another HTTP method, and no type of a body that there is not."""
    async with scripted(http(200, "[]")) as server, client_of(server) as client:
        raw = await client.exchange("tip_floor", None, http_method="GET", path="/tip_floor")
        assert isinstance(raw, Raw)
        assert server.targets == ["GET /secret/tip_floor?api-key=hidden"]
        assert server.bodies == [b""]
        assert b"content-type" not in server.headers[0].lower()


async def test_an_exchange_reads_no_further_than_its_bound() -> None:
    """What is longer is told cut off behind the bound, never kept whole."""
    bound = 1_000
    async with scripted(http(200, "x" * 10 * 2**20)) as server, client_of(server) as client:
        raw = await client.exchange("send", b"{}", body_bytes_max=bound)
    assert isinstance(raw, Raw)
    assert bound < len(raw.body) < 2**20


@pytest.mark.parametrize("step", [s[1] for s in NEVER_SAID], ids=[s[0] for s in NEVER_SAID])
async def test_an_exchange_that_broke_tells_nothing(step: Step) -> None:
    """As with JSON-RPC: whoever read the request may have acted on it."""
    async with scripted(step) as server, client_of(server) as client:
        assert isinstance(await client.exchange("send", b"{}"), NoReply)


async def test_an_exchange_that_never_began_is_told_apart() -> None:
    """Nobody listens, or the client is closed: nothing left."""
    client = JsonRpcClient("http://127.0.0.1:1", timeout_seconds=5, observer=Observer())
    assert isinstance(await client.exchange("send", b"{}"), NeverSent)
    await client.close()
    assert await client.exchange("send", b"{}") == NeverSent("closed")


async def test_an_exchange_has_a_time_of_its_own() -> None:
    """Else the client's."""
    async with scripted(HANG, HANG) as server, client_of(server, timeout_seconds=0.05) as client:
        assert await client.exchange("send", b"{}") == NoReply("timeout")
        assert await client.exchange("send", b"{}", timeout_seconds=0.02) == NoReply("timeout")


async def test_exchanges_are_counted_under_their_label() -> None:
    """By the same words: what was answered with a status of success is well."""
    observer = Observer()
    steps: list[Step] = [http(200, "ok"), http(429, "no"), http(302, ""), CLOSE]
    async with scripted(*steps) as server, client_of(server, observer=observer) as client:
        for _ in steps:
            await client.exchange("send", b"{}")
    assert [word for _, _, word in observer.told] == ["ok", "error", "error", "no_reply"]
    assert {label for _, label, _ in observer.told} == {"send"}


async def test_no_proxy_of_the_environment_comes_between(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine says about proxies is not what the operator configured."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert await ask(result(7)) == Result(7)


async def test_a_header_that_cannot_be_sent_raises_nothing() -> None:
    """A key with a line's end in it is a wrong configuration, not a defect of whoever calls."""
    async with scripted(result(1)) as server:
        client = JsonRpcClient(
            server.url, timeout_seconds=5, observer=Observer(), headers={"x-token": "a\r\nb"}
        )
        assert isinstance(await client.call("getSlot", []), NoReply)
        await client.close()
        assert server.requests == []


async def test_requests_are_counted_under_a_name_without_secrets() -> None:
    """Host and port, the method, and one of five words."""
    observer = Observer()
    steps: list[Step] = [result(1), error(200, -1, "no"), http(200, "?"), CLOSE]
    async with scripted(*steps) as server, client_of(server, observer=observer) as client:
        for _ in steps:
            await client.call("getSlot", [])
        await client.close()
        await client.call("getSlot", [])
        name = f"127.0.0.1:{server.port}"
        assert "secret" not in repr(client)
        assert "hidden" not in repr(client)
    words = ["ok", "error", "garbled", "no_reply", "not_sent"]
    assert observer.told == [(name, "getSlot", word) for word in words]


@pytest.mark.parametrize(
    ("url", "label"),
    [
        ("https://rpc.example.com/v1/key", "rpc.example.com"),
        ("http://user:pass@127.0.0.1:8899/?k=1", "127.0.0.1:8899"),
        ("nonsense", "unknown"),
    ],
)
def test_an_endpoint_is_named_by_host_and_port(url: str, label: str) -> None:
    """Never by path, query or user: keys live there."""
    assert endpoint_label(url) == label


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "result", "code", "message", "data", "id"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)
BODIES = st.binary(max_size=60) | JSON.map(lambda each: json.dumps(each).encode())


@given(
    status=st.integers(100, 599),
    header=st.text(max_size=8),
    body=BODIES,
)
def test_no_answer_whatever_raises(status: int, header: str, body: bytes) -> None:
    """Any bytes under any status are one of the known answers."""
    answer = read_answer(status, {"retry-after": header}, body)
    assert outcome_label(answer) in ("ok", "error", "garbled")
    if isinstance(answer, Result):
        assert status < 300
