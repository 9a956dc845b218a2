"""`POST /signals`: durable, idempotent, and deaf to everything that is no signal."""

import json
from typing import Any

import pytest

from app.domain.order import OrderStatus
from tests.api.kit import SIGNAL, Running

SEED = b'{"action":"SELL","market":"SOL-USDC","size":0.01,"price":180.0,"confidence":0.8}'
UNKNOWN = "SECRET-INPUT"


def with_(**given: Any) -> dict[str, Any]:
    """Change the good signal."""
    return {**SIGNAL, **given}


def raw(text: str) -> bytes:
    """Write a good signal whose size is this text, as it stands."""
    return b'{"action":"SELL","market":"SOL-USDC","size":' + text.encode() + b"}"


BAD: list[tuple[str, object, int, str]] = [
    ("no JSON", b"{action: SELL}", 400, "MALFORMED_JSON"),
    ("empty", b"", 400, "MALFORMED_JSON"),
    ("cut off", SEED[:-1], 400, "MALFORMED_JSON"),
    ("not UTF-8", b"\xff\xfe", 400, "MALFORMED_JSON"),
    ("a key twice", b'{"action":"SELL","action":"SELL"}', 400, "MALFORMED_JSON"),
    ("too deep", b"[" * 100_000, 400, "MALFORMED_JSON"),
    ("a list", [SIGNAL], 422, "BODY_NOT_OBJECT"),
    ("a text", "SELL", 422, "BODY_NOT_OBJECT"),
    ("null", None, 422, "BODY_NOT_OBJECT"),
    ("a typo", with_(sise=1), 422, "UNKNOWN_FIELD"),
    ("an unknown field", with_(**{UNKNOWN: UNKNOWN}), 422, "UNKNOWN_FIELD"),
    ("no action", {"market": "SOL-USDC", "size": 1}, 422, "MISSING_FIELD"),
    ("null market", with_(market=None), 422, "MISSING_FIELD"),
    ("unknown action", with_(action=UNKNOWN), 422, "UNKNOWN_ACTION"),
    ("lower case", with_(action="sell"), 422, "UNKNOWN_ACTION"),
    ("unknown market", with_(market=UNKNOWN), 422, "UNKNOWN_MARKET"),
    ("unknown method", with_(methods=["rpc", UNKNOWN]), 422, "UNKNOWN_METHOD"),
    ("a method twice", with_(methods=["rpc", "rpc"]), 422, "INVALID_FIELD"),
    ("no size", {"action": "SELL", "market": "SOL-USDC"}, 422, "SIZE_CONFLICT"),
    ("two sizes", with_(quote_size=1), 422, "SIZE_CONFLICT"),
    ("zero", with_(size=0), 422, "SIZE_NOT_POSITIVE"),
    ("negative", with_(size="-0.01"), 422, "SIZE_NOT_POSITIVE"),
    ("dust", raw("0.000000001"), 422, "SIZE_TOO_SMALL"),
    ("ten decimals", raw("0.0100000001"), 422, "SIZE_TOO_PRECISE"),
    ("10^30", raw("1e30"), 422, "SIZE_TOO_LARGE"),
    ("10^30 in digits", raw("1" + "0" * 30), 422, "SIZE_TOO_LARGE"),
    ("10^999999999", raw("1e999999999"), 422, "INVALID_NUMBER"),
    ("a million digits", raw("1" * 1_000_000), 422, "INVALID_NUMBER"),
    ("NaN", raw("NaN"), 422, "INVALID_NUMBER"),
    ("Infinity", raw("Infinity"), 422, "INVALID_NUMBER"),
    ("-Infinity", raw("-Infinity"), 422, "INVALID_NUMBER"),
    ('"NaN"', with_(size="NaN"), 422, "INVALID_NUMBER"),
    ("hex", with_(size="0x1"), 422, "INVALID_NUMBER"),
    ("true", with_(size=True), 422, "INVALID_FIELD"),
    ("a nested size", with_(size={"value": 1}), 422, "INVALID_FIELD"),
    ("no price", with_(price=0), 422, "PRICE_INVALID"),
    ("negative price", with_(price=-180), 422, "PRICE_INVALID"),
    ("overconfident", with_(confidence=1.01), 422, "INVALID_FIELD"),
    ("priority 10", with_(priority=10), 422, "INVALID_FIELD"),
    ("NUL in a label", with_(strategy="a\0b"), 422, "INVALID_FIELD"),
    ("NUL in metadata", with_(metadata={"a": ["\0"]}), 422, "INVALID_FIELD"),
    ("NUL in a key of metadata", with_(metadata={"a": [{"\0": 1}]}), 422, "INVALID_FIELD"),
    ("NUL as market", with_(market="\0"), 422, "UNKNOWN_MARKET"),
    ("lone surrogate", with_(strategy="\ud800"), 422, "INVALID_FIELD"),
    ("lone surrogate as client's id", with_(client_order_id="\udfff"), 422, "INVALID_FIELD"),
    ("lone surrogate in metadata", with_(metadata={"a": "\ud83d"}), 422, "INVALID_FIELD"),
    ("lone surrogate as field", with_(**{"\ud800": 1}), 422, "UNKNOWN_FIELD"),
    ("an invisible label", with_(strategy="\u200b"), 422, "INVALID_FIELD"),
    ("half a priority", with_(priority=4.5), 422, "INVALID_FIELD"),
    ("a long label", with_(strategy="x" * 129), 422, "INVALID_FIELD"),
    ("large metadata", with_(metadata={"x": "y" * 5_000}), 422, "INVALID_FIELD"),
    ("deep metadata", with_(metadata={"a": [[[[[[[[[1]]]]]]]]]}), 422, "INVALID_FIELD"),
    ("a time without offset", with_(signal_time="2026-01-31T12:00:00"), 422, "INVALID_FIELD"),
    ("the future", with_(signal_time="2126-01-31T12:00:00Z"), 422, "SIGNAL_TIME_AHEAD"),
    ("10 MB", b'{"action":"' + b"x" * 10_000_000 + b'"}', 413, "BODY_TOO_LARGE"),
]


@pytest.mark.anyio
async def test_the_seeds_signal_is_accepted_as_it_is(api: Running) -> None:
    """202 with the order's id and place, and the order shows exactly what was posted."""
    answer = await api.post(SEED)
    document = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/orders/{document['order_id']}"
    assert list(document) == ["order_id", "client_order_id", "status", "accepted_at"]
    assert document["status"] == "queued"
    order = await api.get(answer.headers["location"])
    assert (order["size"], order["price"], order["confidence"]) == ("0.01", "180", "0.8")
    assert order["priority"] == 7
    assert order["accepted_at"] == document["accepted_at"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("body", "status", "code"), [case[1:] for case in BAD], ids=[case[0] for case in BAD]
)
async def test_bad_input_is_a_problem_with_its_own_code_and_stores_nothing(
    api: Running, body: object, status: int, code: str
) -> None:
    """Refused, counted, never echoed; neither order nor event is left behind."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = await api.post(content)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["status"] == status
    assert UNKNOWN not in answer.text
    assert api.telemetry.signals == [("refused", code)]
    assert await api.stored() == 0
    assert await api.store.seal(10) == 0


@pytest.mark.anyio
async def test_a_whole_number_may_have_a_point(api: Running) -> None:
    """JSON knows one kind of number: 7.0 is 7, and a repeat of it."""
    posted = with_(priority=7.0, max_slippage_bps=1e2, client_order_id="mine")
    order_id = (await api.post(posted)).json()["order_id"]
    assert (await api.get(f"/orders/{order_id}"))["priority"] == 7
    repeat = await api.post(with_(priority=7, max_slippage_bps=100, client_order_id="mine"))
    assert (repeat.status_code, repeat.json()["order_id"]) == (200, order_id)


@pytest.mark.anyio
async def test_a_repeat_by_either_key_is_the_same_order(api: Running) -> None:
    """200, said to be replayed; 0.010 is the same size as 0.01."""
    first = await api.post(with_(client_order_id="mine"), idempotency_key="key 1")
    assert first.status_code == 202
    assert "idempotency-replayed" not in first.headers
    again = b'{"client_order_id":"mine","action":"SELL","market":"SOL-USDC","size":"0.010",'
    repeats = [
        await api.post(with_(client_order_id="mine"), idempotency_key=" key 1 "),
        await api.post(again + b'"price":180}'),
    ]
    for repeat in repeats:
        assert repeat.status_code == 200
        assert repeat.headers["idempotency-replayed"] == "true"
        assert repeat.headers["location"] == first.headers["location"]
        assert repeat.json() == first.json()
    assert await api.stored() == 1


@pytest.mark.anyio
async def test_a_key_used_for_another_signal_is_refused(api: Running) -> None:
    """The first order stands; the second signal is no order."""
    assert (await api.post(idempotency_key="k")).status_code == 202
    answer = await api.post(with_(size=0.02), idempotency_key="k")
    assert (answer.status_code, answer.json()["code"]) == (422, "IDEMPOTENCY_MISMATCH")
    await api.post(with_(client_order_id="other"))
    answer = await api.post(with_(client_order_id="other"), idempotency_key="k")
    assert (answer.status_code, answer.json()["code"]) == (409, "KEY_CONFLICT")
    assert await api.stored() == 2


@pytest.mark.anyio
@pytest.mark.parametrize("key", ["", " ", "x" * 129, "a\tb", "caf\u00e9"])
async def test_a_key_is_short_printable_ascii(api: Running, key: str) -> None:
    """What proxies may garble is refused."""
    headers = {b"idempotency-key": key.encode(), b"content-type": b"application/json"}
    answer = await api.client.post("/signals", content=SEED, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["code"] in ("INVALID_PARAMETER", "INVALID_FIELD")
    assert await api.stored() == 0


@pytest.mark.anyio
async def test_two_keys_at_once_are_refused(api: Running) -> None:
    """Nobody can know which was meant."""
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    answer = await api.client.post("/signals", content=SEED, headers=headers)
    assert answer.json()["code"] == "INVALID_PARAMETER"
    assert answer.json()["field"] == "Idempotency-Key"


@pytest.mark.anyio
async def test_a_query_on_a_signal_is_refused(api: Running) -> None:
    """A parameter that would be ignored may have been meant."""
    answer = await api.client.post("/signals?dry_run=1", content=SEED)
    assert answer.json()["code"] == "INVALID_PARAMETER"


@pytest.mark.anyio
@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/json; charset=utf-16"},
        {"content-type": "application/json", "content-encoding": "gzip"},
        {"content-type": ""},
    ],
    ids=str,
)
async def test_a_body_is_declared_as_plain_json(api: Running, headers: dict[str, str]) -> None:
    """What a web page could make a browser send without asking is not taken, either."""
    answer = await api.client.post("/signals", content=SEED, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert await api.stored() == 0


@pytest.mark.anyio
@pytest.mark.parametrize(
    "kind", ["application/json;charset=UTF-8", 'Application/JSON; charset="utf-8"']
)
async def test_json_may_say_that_it_is_utf_8(api: Running, kind: str) -> None:
    """As many clients do."""
    assert (await api.post(SEED, content_type=kind)).status_code == 202


@pytest.mark.anyio
async def test_a_signal_that_is_stale_on_arrival_is_rejected_with_an_order(api: Running) -> None:
    """422 with the order's id: the refusal is kept, and told the same way again."""
    stale = with_(signal_time="2020-01-01T00:00:00Z", valid_for=1, client_order_id="late")
    for replayed in (None, "true"):
        answer = await api.post(stale)
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (422, "SIGNAL_STALE")
        assert answer.headers.get("idempotency-replayed") == replayed
        order = await api.get(answer.headers["location"])
        assert order["order_id"] == problem["order_id"]
        assert (order["status"], order["reason_code"]) == ("rejected", "SIGNAL_STALE")
    figures = await api.store.figures()
    assert figures.by_status[OrderStatus.REJECTED] == 1


@pytest.mark.anyio
async def test_a_full_queue_and_a_stopping_service_say_when_to_come_back(api: Running) -> None:
    """503 with Retry-After, retryable."""
    api.manager.stop_accepting()
    answer = await api.post()
    assert (answer.status_code, answer.json()["code"]) == (503, "SHUTTING_DOWN")
    assert answer.json()["retryable"] is True
    assert int(answer.headers["retry-after"]) > 0
