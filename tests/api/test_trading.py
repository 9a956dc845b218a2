"""`POST /trading/halt` and `/trading/resume`: what operators say, what bots then hear."""

from pathlib import Path

import pytest

from app.database.addresses import address_of
from app.database.backup import mark_database
from tests.api.kit import Running, running

pytestmark = pytest.mark.anyio
SELL = {"action": "SELL", "market": "SOL-USDC", "size": "0.01"}


async def test_halted_new_signals_are_refused_and_known_ones_answered(api: Running) -> None:
    """503, retryable, with the reason; after `resume` they are taken in."""
    known = await api.client.post("/signals", json=SELL, headers={"Idempotency-Key": "known"})
    halted = await api.client.post("/trading/halt", json={"reason": "too wild"})
    assert (halted.status_code, halted.json()["state"]) == (200, "halted")
    assert halted.json()["reason"] == "too wild"
    refused = await api.client.post("/signals", json=SELL)
    assert (refused.status_code, refused.json()["code"]) == (503, "TRADING_HALTED")
    assert refused.json()["retryable"]
    assert refused.headers["retry-after"] == "10"
    again = await api.client.post("/signals", json=SELL, headers={"Idempotency-Key": "known"})
    assert (again.status_code, again.json()) == (200, known.json())
    resumed = await api.client.post("/trading/resume")
    assert (resumed.status_code, resumed.json()["state"]) == (200, "active")
    assert (await api.client.post("/signals", json=SELL)).status_code == 202


@pytest.mark.parametrize(
    ("content", "kind", "status", "code"),
    [
        (b"", None, 200, None),
        (b"{}", "application/json", 200, None),
        (b'{"reason":null}', "application/json", 200, None),
        (b"null", "application/json", 422, "BODY_NOT_OBJECT"),
        (b'{"why":"x"}', "application/json", 422, "UNKNOWN_FIELD"),
        (b'{"reason":""}', "application/json", 422, "INVALID_FIELD"),
        (b'{"reason":1}', "application/json", 422, "INVALID_FIELD"),
        (b'{"reason":"x"}', "text/plain", 415, "UNSUPPORTED_MEDIA_TYPE"),
        (b"{", "application/json", 400, "MALFORMED_JSON"),
    ],
)
async def test_a_reason_is_optional_and_strictly_read(
    api: Running, content: bytes, kind: str | None, status: int, code: str | None
) -> None:
    """An operator in a hurry sends nothing at all; what is sent is a JSON object with a text."""
    headers = {} if kind is None else {"content-type": kind}
    answer = await api.client.post("/trading/halt", content=content, headers=headers)
    assert answer.status_code == status
    assert answer.json().get("code") == code


async def test_a_database_under_reconciliation_refuses_signals_cancels_and_resume(
    tmp_path: Path,
) -> None:
    """503 for bots, who may try again; 409 for the operator, with what is waited for."""
    async with running(tmp_path) as api:
        order_id = (await api.client.post("/signals", json=SELL)).json()["order_id"]
    await mark_database(address_of(str(tmp_path / "orders.db")), since_us=None)
    async with running(tmp_path) as api:
        for path, body in (("/signals", SELL), (f"/orders/{order_id}/cancel", None)):
            answer = await api.client.post(path, json=body)
            assert (answer.status_code, answer.json()["code"]) == (503, "RECONCILING"), path
            assert answer.json()["retryable"]
        answer = await api.client.post("/trading/resume")
        assert (answer.status_code, answer.json()["code"]) == (409, "RECONCILING")
        assert (await api.client.get(f"/orders/{order_id}")).json()["status"] == "queued"
