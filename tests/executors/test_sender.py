"""The method `sender` over HTTP: what arrives at each preset's server, and what each answer means."""

import asyncio
import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from app.domain.attempt import StoredAttempt
from app.domain.outcome import Reply, ReplyOutcome
from app.engine.ports import Privacy, TipNeeds
from app.executors.sender_rules import BODY_BYTES_MAX
from app.executors.tip_accounts import TIP_ACCOUNTS
from tests.executors.sender_kit import KEY, pay, push, sending, sign, stored, tipping
from tests.solana.server import CLOSE, HANG, RESET, Half, Step, error, http, serving

pytestmark = pytest.mark.anyio

A, N, R, L, U = (
    ReplyOutcome.ACCEPTED,
    ReplyOutcome.NOT_SENT,
    ReplyOutcome.REJECTED,
    ReplyOutcome.ALREADY,
    ReplyOutcome.UNKNOWN,
)
IN_QUERY = "k3y-0f/the%2Btrader%3D"
IN_PATH = "k3y-0f%2Fthe%2Btrader="
"""The key as the HTTP client writes it where these characters must not mean anything else."""
TX = "@TX"
SIG = "@SIG"
OTHER = "5" * 88


@dataclass(frozen=True)
class Wire:
    """What a preset's request is on the wire."""

    preset: str
    target: str
    body: Any
    content_type: str = "application/json"
    headers: tuple[str, ...] = ()
    given: Mapping[str, Any] = ()  # type: ignore[assignment]
    vendor: str | None = None


def rpc_body(*options: object) -> object:
    """Write a JSON-RPC request as it must arrive."""
    return {"jsonrpc": "2.0", "id": 1, "method": "sendTransaction", "params": [TX, *options]}


FAST = {"encoding": "base64", "skipPreflight": True, "maxRetries": 0}
TEXT = {"body": "text_b64", "success": {"kind": "empty_2xx"}}
RAW = {"body": "raw", "success": {"kind": "empty_2xx"}}
NEXTBLOCK = {
    "transaction": {"content": TX},
    "frontRunningProtection": False,
    "skipPreFlight": True,
    "disableRetries": True,
}
BLOXROUTE = {
    "transaction": {"content": TX},
    "skipPreFlight": True,
    "frontRunningProtection": False,
    "useStakedRPCs": True,
    "fastBestEffort": False,
    "revertProtection": False,
    "submitProtection": "SP_LOW",
}
AUTHORIZED = (f"authorization: {KEY}",)

WIRES = [
    Wire("helius", f"/fast?api-key={IN_QUERY}", rpc_body(FAST)),
    Wire("helius", "/fast", rpc_body(FAST), given={"api_key": None}),
    Wire("helius_swqos", "/fast?swqos_only=true", rpc_body(FAST), given={"api_key": None}),
    Wire("nozomi", f"/?c={IN_QUERY}", rpc_body({"encoding": "base64"})),
    Wire(
        "nozomi",
        f"/api/sendTransaction2?c={IN_QUERY}",
        TX,
        "text/plain",
        given={**TEXT, "path": "/api/sendTransaction2"},
    ),
    Wire(
        "astralane",
        f"/iris?api-key={IN_QUERY}",
        rpc_body({"encoding": "base64", "skipPreflight": True}),
    ),
    Wire(
        "astralane",
        f"/iris?api-key={IN_QUERY}&mev-protect=true",
        rpc_body({"encoding": "base64", "skipPreflight": True}, {"mevProtect": True}),
        given={
            "query": {"mev-protect": "true"},
            "rpc_extra_params": [{"mevProtect": True}],
            "privacy": "private",
        },
    ),
    Wire(
        "astralane",
        f"/iris2?api-key={IN_QUERY}&method=sendTransaction",
        TX,
        "text/plain",
        given={**TEXT, "path": "/iris2", "query": {"method": "sendTransaction"}},
    ),
    Wire("0slot", f"/?api-key={IN_QUERY}", rpc_body({"encoding": "base64"})),
    Wire(
        "0slot",
        f"/txb?api-key={IN_QUERY}&anti-mev=true",
        None,
        "application/octet-stream",
        given={**RAW, "path": "/txb?anti-mev=true"},
    ),
    Wire("nextblock", "/api/v2/submit", NEXTBLOCK, headers=AUTHORIZED),
    Wire("bloxroute", "/api/v2/submit", BLOXROUTE, headers=AUTHORIZED),
    Wire(
        "bloxroute",
        "/api/v2/submit",
        {**BLOXROUTE, "submitProtection": "SP_HIGH"},
        headers=AUTHORIZED,
        given={"json_template": {"submitProtection": "SP_HIGH"}},
    ),
    Wire(
        "bloxroute",
        "/api/v2/submit-batch",
        {"entries": [{"transaction": {"content": TX}}], **BLOXROUTE},
        headers=AUTHORIZED,
        given={
            "path": "/api/v2/submit-batch",
            "json_template": {"entries": [{"transaction": {"content": "$TX_B64"}}]},
        },
    ),
    Wire("triton", f"/{IN_PATH}", rpc_body(FAST)),
    Wire(
        "triton",
        f"/{IN_PATH}/sendtx?encoding=base64&max_retries=0",
        None,
        "application/octet-stream",
        ("solana-forwardingpolicies: policy1,policy2",),
        {
            **RAW,
            "path": "/sendtx",
            "query": {"encoding": "base64", "max_retries": "0"},
            "headers": {"Solana-ForwardingPolicies": "policy1,policy2"},
        },
    ),
]


def written(expected: object, what: StoredAttempt) -> object:
    """Put the transaction's own values where an expectation has their names."""
    raw = base64.b64encode(what.signed.raw).decode()
    text = json.dumps(expected).replace(TX, raw).replace(SIG, what.signature)
    return json.loads(text)


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: f"{wire.preset} {wire.target}")
async def test_a_request_arrives_as_its_vendor_wants_it(wire: Wire) -> None:
    """Path, query, headers and body, byte for byte; once; the key where the vendor looks for it."""
    what = tipping(wire.preset.removesuffix("_swqos"))
    given = {**dict(wire.given)}
    async with sending(http(200, ""), preset=wire.preset, **given) as (sender, (server,), _):
        await push(sender, what)
        (body,) = server.bodies
        (head,) = (each.decode().lower().split("\r\n") for each in server.headers)
        assert server.targets == [f"POST {wire.target}"]
    if wire.body is None:
        assert body == what.signed.raw
    elif wire.content_type == "text/plain":
        assert body.decode() == written(TX, what)
    else:
        assert json.loads(body) == written(wire.body, what)
    assert f"content-type: {wire.content_type}" in head
    assert {each for each in wire.headers if each.lower() not in head} == set()
    assert any(line.startswith("authorization:") for line in head) == (wire.headers == AUTHORIZED)


Row = tuple[int, object, ReplyOutcome, str]

TRAPS: list[Row] = [
    (200, {"jsonrpc": "2.0", "result": SIG, "id": 1}, A, "ok"),
    (200, {"jsonrpc": "2.0", "result": SIG, "id": None}, A, "ok"),
    (200, [{"jsonrpc": "2.0", "result": SIG, "id": 1}], A, "ok"),
    (200, {"result": SIG}, A, "ok"),
    (200, {"result": SIG, "error": None}, A, "ok"),
    (200, {"signature": SIG}, A, "ok"),
    (200, {"signature": SIG, "uuid": "1-2"}, A, "ok"),
    (200, {"result": {"signature": SIG}}, A, "ok"),
    (200, SIG, A, "ok"),
    (200, f'"{SIG}"', A, "ok"),
    (202, {"signature": SIG, "success": True}, A, "ok"),
    (200, {"result": OTHER}, U, "signature_mismatch"),
    (200, {"signature": OTHER}, U, "signature_mismatch"),
    (200, {"result": {"signature": OTHER}}, U, "signature_mismatch"),
    (200, {"success": False, "reason": "no"}, U, "server_error"),
    (200, {"success": False, "signature": SIG, "reason": "no"}, U, "server_error"),
    (200, {"success": False, "reason": "Rate limit exceeded"}, R, "rate_limited"),
    (200, {"success": False, "message": "invalid api key"}, R, "auth_or_config"),
    (200, {"success": False, "error": "tip too low"}, R, "tip"),
    (200, {"success": False}, U, "server_error"),
    (200, {"reason": "minimum tip not reached"}, R, "tip"),
    (200, {"error": {"code": -32602, "message": "bad"}, "result": SIG}, R, "invalid"),
    (200, {"error": {"code": -32005, "message": "Too many requests"}}, R, "rate_limited"),
    (200, {"error": "This transaction has already been processed"}, L, "already_processed"),
    (200, {"error": {"code": -32002, "message": "Blockhash not found"}}, U, "blockhash"),
    (200, {"result": None}, U, "garbled"),
    (200, {"result": ""}, U, "garbled"),
    (200, {"result": {}}, U, "garbled"),
    (200, {}, U, "garbled"),
    (200, "[]", U, "garbled"),
    (200, '{"result": "' + SIG, U, "garbled"),
    (200, "<html>accepted</html>", U, "garbled"),
    (200, '{"a":' * 3_000, U, "garbled"),
    (200, SIG + " " * BODY_BYTES_MAX, U, "garbled"),
    (200, " " * (BODY_BYTES_MAX + 1), U, "garbled"),
    (307, {"result": SIG}, U, "redirected"),
    (308, "", U, "redirected"),
    (400, "", R, "invalid"),
    (400, {"code": 3, "message": "malformed", "details": []}, R, "invalid"),
    (401, "", R, "auth_or_config"),
    (403, "<html>no</html>", R, "auth_or_config"),
    (404, {"result": SIG}, R, "auth_or_config"),
    (405, "", U, "server_error"),
    (409, "", U, "server_error"),
    (413, "", R, "invalid"),
    (419, "", R, "rate_limited"),
    (422, {"code": 3, "message": "malformed", "details": []}, R, "invalid"),
    (429, "", R, "rate_limited"),
    (500, "ok", U, "server_error"),
    (500, SIG, U, "server_error"),
    (500, {"result": SIG}, U, "server_error"),
    (500, {"jsonrpc": "2.0", "error": {"code": -32603, "message": "internal"}}, U, "server_error"),
    (500, "x" * (BODY_BYTES_MAX + 1), U, "server_error"),
    (502, "", U, "server_error"),
]
EMPTY_AND_OK: list[Row] = [(200, "", U, "garbled"), (200, "ok", U, "garbled")]
HELIUS: list[Row] = [
    (400, {"error": {"code": -32602, "message": "invalid params"}}, R, "invalid"),
    (429, {"error": {"code": -32005, "message": "Too many requests"}}, R, "rate_limited"),
    (503, {"error": {"code": -32002, "message": "Service unavailable"}}, U, "upstream"),
    (504, {"error": {"code": -32003, "message": "Gateway timeout"}}, U, "upstream"),
]
ZERO_SLOT: list[Row] = [
    (200, {"error": {"code": 403, "message": "API key has expired"}}, R, "auth_or_config"),
    (200, {"code": 419, "message": "Rate limit exceeded"}, R, "rate_limited"),
    (419, {"code": 419, "message": "Rate limit exceeded"}, R, "rate_limited"),
]
ASTRALANE: list[Row] = [
    (400, {"error": {"code": -32600, "message": "invalid request"}}, R, "invalid"),
]
NEXTBLOCK_ROWS: list[Row] = [
    (400, {"reason": "tip account missing"}, R, "tip"),
    (500, {"reason": "internal"}, U, "server_error"),
]
BLOXROUTE_ROWS: list[Row] = [
    (200, {"code": 8, "message": "quota", "details": []}, R, "rate_limited"),
    (429, {"code": 8, "message": "quota", "details": []}, R, "rate_limited"),
    (200, {"code": 7, "message": "denied", "details": []}, R, "auth_or_config"),
    (401, {"code": 16, "message": "who", "details": []}, R, "auth_or_config"),
    (500, {"code": 13, "message": "internal", "details": []}, U, "server_error"),
    (503, {"code": 14, "message": "unavailable", "details": []}, U, "server_error"),
    (504, {"code": 4, "message": "deadline", "details": []}, U, "server_error"),
]
TRITON: list[Row] = [
    (429, {"code": 429, "message": "Connection rate limits exceeded"}, R, "rate_limited"),
    (400, "transaction is too large", R, "invalid"),
    (200, {"error": {"code": -32016, "message": "behind"}}, R, "min_context_slot"),
]
OWN: Mapping[str, list[Row]] = {
    "helius": HELIUS,
    "helius_swqos": HELIUS,
    "nozomi": [],
    "astralane": ASTRALANE,
    "0slot": ZERO_SLOT,
    "nextblock": NEXTBLOCK_ROWS,
    "bloxroute": BLOXROUTE_ROWS,
    "triton": TRITON,
}
SHAPES: list[tuple[str, Mapping[str, Any], list[Row]]] = [
    *((preset, {}, [*TRAPS, *EMPTY_AND_OK, *rows]) for preset, rows in OWN.items()),
    (
        "triton",
        {**RAW, "path": "/sendtx"},
        [*TRAPS, (200, "", A, "ok"), (200, "ok", U, "garbled")],
    ),
    (
        "nozomi",
        TEXT,
        [
            (200, "", A, "ok"),
            (200, " \r\n", A, "ok"),
            (204, "", A, "ok"),
            (500, "", U, "server_error"),
        ],
    ),
    (
        "0slot",
        {"body": "raw", "path": "/txb", "success": {"kind": "text", "value": "ok"}},
        [
            *TRAPS,
            (200, "ok", A, "ok"),
            (200, "ok\n", A, "ok"),
            (200, "", U, "garbled"),
            (200, "not ok", U, "garbled"),
            (403, "", R, "auth_or_config"),
            (419, "", R, "rate_limited"),
        ],
    ),
    (
        "nextblock",
        {"success": {"kind": "json_path", "path": "data.tx"}},
        [
            (200, {"data": {"tx": SIG}}, A, "ok"),
            (200, {"data": {"tx": OTHER}}, U, "signature_mismatch"),
            (200, {"data": SIG}, U, "garbled"),
        ],
    ),
    (
        "bloxroute",
        {"success": {"kind": "json_path", "path": "success", "value": True}},
        [
            (200, {"success": True}, A, "ok"),
            (200, {"success": False}, U, "server_error"),
            (200, {}, U, "garbled"),
        ],
    ),
]


def answered(status: int, body: object, what: StoredAttempt) -> Step:
    """Write an answer, which also says where to go instead."""
    text = body if isinstance(body, str) else json.dumps(body)
    return http(status, text.replace(SIG, what.signature), "location: /again")


@pytest.mark.parametrize(
    ("preset", "given", "rows"), SHAPES, ids=[f"{name} {given}" for name, given, _ in SHAPES]
)
async def test_what_each_sender_answers(
    preset: str, given: Mapping[str, Any], rows: list[Row]
) -> None:
    """Every known body and every trap of their shapes: only our own signature is an acknowledgement.

    One request for each push, whatever is answered: neither a redirection nor a fault is followed up.
    """
    what = tipping(preset.removesuffix("_swqos"))
    turn = iter(answered(status, body, what) for status, body, _, _ in rows)
    async with (
        serving(lambda _request: next(turn)) as server,
        sending(preset=preset, urls=[f"http://127.0.0.1:{server.port}"], rps=None, **given) as (
            sender,
            _,
            _,
        ),
    ):
        said = []
        for _ in rows:
            reply = await push(sender, what)
            said.append((reply.outcome, reply.reason))
            sender.reset()
        assert said == [(outcome, reason) for _, _, outcome, reason in rows]
        assert len(server.targets) == len(rows)


@pytest.mark.parametrize(
    ("step", "outcome", "reason"),
    [
        (HANG, U, "timeout"),
        (CLOSE, U, "no_reply"),
        (RESET, U, "no_reply"),
        (Half(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"), U, "no_reply"),
        (b"nonsense\r\n\r\n", U, "no_reply"),
    ],
)
async def test_silence_tells_nothing(step: Step, outcome: ReplyOutcome, reason: str) -> None:
    """The sender may have the bytes; it is not asked again by this push."""
    async with sending(step, preset="helius") as (sender, (server,), _):
        assert await push(sender, tipping("helius"), 0.3) == Reply(outcome, reason)
        assert len(server.targets) == 1


async def test_nobody_there_means_not_sent() -> None:
    """No connection, no byte."""
    async with sending(http(200, ""), preset="helius") as (_, (server,), around):
        port = server.port
    async with sending(preset="helius", urls=[f"http://127.0.0.1:{port}"]) as (sender, _, around):
        assert await push(sender, tipping("helius")) == Reply(N, "transport")
        assert [told[1:] for told in around.observer.told] == [("sendTransaction", "not_sent")]


@pytest.mark.parametrize(
    ("preset", "what", "reason"),
    [
        ("helius", tipping("helius", 999_999), "tip_missing"),
        ("helius", tipping("nozomi"), "tip_missing"),
        ("helius", tipping("helius", units=1_000), "fee_too_low"),
        ("helius_swqos", tipping("helius", 4_999), "tip_missing"),
        ("helius_swqos", tipping("helius", 5_000, price=0), "fee_too_low"),
        ("nozomi", tipping("nozomi", price=999_999), "fee_too_low"),
        ("astralane", tipping("helius"), "tip_missing"),
        ("0slot", tipping("0slot", 1), "tip_missing"),
        ("nextblock", tipping("triton"), "tip_missing"),
        ("bloxroute", tipping("triton"), "tip_missing"),
    ],
)
async def test_bytes_that_a_sender_would_not_take_are_never_sent(
    preset: str, what: StoredAttempt, reason: str
) -> None:
    """Known here: nothing leaves, the breaker is not touched, no place of the pace is taken."""
    async with sending(http(200, "ok"), preset=preset) as (sender, (server,), _):
        for _ in range(10):
            assert await push(sender, what) == Reply(N, reason)
        assert server.targets == []
        assert sender.state()["breaker"] == "closed"
        assert sender.hindrance() is None


async def test_a_sender_without_a_floor_takes_any_bytes() -> None:
    """Triton's nodes want no tip."""
    what = stored(sign([pay(TIP_ACCOUNTS["helius"][0], 1)]))
    answer = http(200, json.dumps({"result": what.signature}))
    async with sending(answer, preset="triton") as (sender, _, _):
        assert await push(sender, what) == Reply(A, "ok")


async def test_the_next_region_is_asked_only_while_nobody_can_have_the_bytes() -> None:
    """Each is a target of its own: refused here, the same bytes go there; after silence they do not."""
    what = tipping("helius")
    taken = http(200, json.dumps({"result": what.signature}))
    full = error(429, -32005, "Too many requests")
    async with sending(full, taken, preset="helius") as (sender, servers, _):
        assert await push(sender, what) == Reply(A, "ok")
        assert servers[0].bodies == servers[1].bodies
    async with sending(CLOSE, taken, preset="helius") as (sender, servers, _):
        assert (await push(sender, what)).outcome is U
        assert servers[1].bodies == []


async def test_each_region_and_credential_has_a_pace_of_its_own() -> None:
    """Two senders of one key share it, and one with another key does not."""
    what = tipping("astralane")
    taken = http(200, json.dumps({"result": what.signature}))
    async with sending(taken, taken, preset="astralane", rps="0.01") as (sender, servers, around):
        assert [await push(sender, what) for _ in range(3)] == [
            Reply(A, "ok"),
            Reply(A, "ok"),
            Reply(N, "limited"),
        ]
        assert [len(server.bodies) for server in servers] == [1, 1]
        assert len(around.limiters) == 2
        assert KEY not in str(around.limiters)
        hindrance = sender.hindrance()
        assert hindrance is not None
        assert 90 < hindrance.seconds <= 100


@pytest.mark.parametrize(
    ("given", "headers", "message", "seconds"),
    [
        ({}, ("retry-after: 7",), "slow", 7),
        ({}, (), "Retry after 1500ms", 1.5),
        ({"retry_after": {"header": "X-Wait"}}, ("x-wait: 9",), "slow", 9),
        ({"retry_after": {"message_regex": r"wait (\d+) millis"}}, (), "wait 250 millis", 0.25),
        ({"retry_after": {"message_regex": r"wait (\w+)"}}, (), "wait forever", None),
        ({"retry_after": {"message_regex": r"wait (\d+)"}}, (), "wait " + "9" * 400, None),
        ({"retry_after": {"message_regex": "wait"}}, (), "wait 5", None),
    ],
)
async def test_when_to_come_back_is_heard_and_kept_to(
    given: Mapping[str, Any], headers: tuple[str, ...], message: str, seconds: float | None
) -> None:
    """In a header or in words; the target rests so long."""
    answer = http(429, json.dumps({"error": {"code": 429, "message": message}}), *headers)
    async with sending(answer, preset="helius", rps=None, **given) as (sender, _, _):
        assert await push(sender, tipping("helius")) == Reply(R, "rate_limited", seconds)
        hindrance = sender.hindrance()
        assert hindrance is not None
        assert 0 < hindrance.seconds <= (seconds or 5)
        assert hindrance.reason == "limited"


async def test_own_rules_come_first_and_the_first_that_fits_decides() -> None:
    """By status, code and words; on refusals and on what nobody understands, never on our signature."""
    what = tipping("helius")
    rules = [
        {"http": 200, "message": "queued?", "outcome": "already", "reason": "queued"},
        {"code": -7, "http": 400, "outcome": "rejected", "reason": "seven_at_400"},
        {"code": -7, "outcome": "unknown", "reason": "seven"},
        {"message": "(?i)SLOW", "outcome": "rejected", "reason": "rate_limited"},
    ]
    rows: list[Row] = [
        (200, "it is queue", L, "queued"),
        (200, {"result": SIG, "note": "queued"}, A, "ok"),
        (400, {"error": {"code": -7, "message": "x"}}, R, "seven_at_400"),
        (429, {"error": {"code": -7, "message": "x"}}, U, "seven"),
        (500, {"error": {"code": 1, "message": "too slow"}}, R, "rate_limited"),
        (500, {"error": {"code": 1, "message": "x"}}, U, "server_error"),
    ]
    turn = iter(http(s, json.dumps(written(b, what))) for s, b, _, _ in rows)
    async with (
        serving(lambda _request: next(turn)) as server,
        sending(urls=[f"http://127.0.0.1:{server.port}"], api_key=None, error_rules=rules) as (
            sender,
            _,
            _,
        ),
    ):
        for _, _, outcome, reason in rows:
            assert await push(sender, what) == Reply(outcome, reason)
            sender.reset()


async def test_a_sender_of_nobodys_making_is_described_in_full() -> None:
    """Without a preset: the smallest section is an address that speaks JSON-RPC."""
    what = tipping("helius")
    taken = http(200, json.dumps({"result": what.signature}))
    async with sending(taken, api_key=None) as (sender, (server,), _):
        assert await push(sender, what) == Reply(A, "ok")
        assert server.targets == ["POST /"]
        assert server.requests == [written(rpc_body({"encoding": "base64"}), what)]
        assert sender.needs == TipNeeds()


async def test_a_connection_is_kept_open_for_pushes() -> None:
    """Pings go on for ever over one connection, and the push takes that one."""
    what = tipping("helius")
    taken = http(200, json.dumps({"result": what.signature}))
    async with serving(lambda request: taken if request else http(200, "pong")) as server:
        url = f"http://127.0.0.1:{server.port}"
        async with sending(preset="helius", urls=[url], keepalive={"every_s": 0.005}, rps=None) as (
            sender,
            _,
            around,
        ):
            work = asyncio.create_task(around.background["keepalive"]())
            async with asyncio.timeout(5):
                while len(around.observer.told) < 3:  # noqa: ASYNC110 - until three were answered
                    await asyncio.sleep(0)
            work.cancel()
            await asyncio.wait([work])
            assert work.cancelled()
            assert await push(sender, what) == Reply(A, "ok")
        assert set(server.targets[:3]) == {f"GET /ping?api-key={IN_QUERY}"}
        assert server.connections == 1


@pytest.mark.parametrize(
    ("preset", "given", "asked"),
    [
        ("nozomi", {}, f"GET /ping?c={IN_QUERY}"),
        ("0slot", {}, f"GET /health?api-key={IN_QUERY}"),
        ("astralane", {}, f"POST /iris?api-key={IN_QUERY}"),
        (
            "triton",
            {"keepalive": {"path": "/v2/health", "http_method": "POST"}},
            f"POST /{IN_PATH}/v2/health",
        ),
    ],
)
async def test_a_ping_is_what_the_vendor_names(
    preset: str, given: Mapping[str, Any], asked: str
) -> None:
    """With the key, and as JSON-RPC where there is nothing else."""
    asking = asyncio.Event()

    def answer(_request: dict[str, Any]) -> Step:
        asking.set()
        return http(500, "whatever")

    async with serving(answer) as server:
        url = f"http://127.0.0.1:{server.port}"
        async with sending(preset=preset, urls=[url], **given) as (sender, _, around):
            work = asyncio.create_task(around.background["keepalive"]())
            async with asyncio.timeout(5):
                await asking.wait()
            work.cancel()
            await asyncio.wait([work])
            assert sender.state()["breaker"] == "closed"
        assert server.targets == [asked]
        methods = [request.get("method") for request in server.requests]
        assert methods == (["getHealth"] if preset == "astralane" else [None])


async def test_a_target_that_wants_rest_is_not_pinged() -> None:
    """Whoever told us off hears nothing until it is over."""
    full = error(429, -32005, "Too many requests")
    async with sending(full, preset="helius") as (sender, (server,), around):
        await push(sender, tipping("helius"))
        work = asyncio.create_task(around.background["keepalive"]())
        for _ in range(20):
            await asyncio.sleep(0)
        work.cancel()
        await asyncio.wait([work])
        assert len(server.targets) == 1


async def test_its_state_shows_hosts_and_no_secrets() -> None:
    """For `/status`; and what the builder is told."""
    async with sending(http(200, ""), preset="nozomi", privacy="private") as (sender, (server,), _):
        state = sender.state()
        assert state["endpoints"] == [f"127.0.0.1:{server.port}"]
        assert state["retries_internally"] is True
        assert KEY not in str(state)
        assert [each for each in (KEY, IN_QUERY, IN_PATH) if each in str(state)] == []
        assert (sender.name, sender.privacy) == ("mine", Privacy.PRIVATE)
        assert sender.needs == TipNeeds(TIP_ACCOUNTS["nozomi"], 1_000_000, 1_000_000, 0)
