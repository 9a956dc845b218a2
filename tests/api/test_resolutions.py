"""`POST /orders/{id}/resolve`: an operator's word over HTTP, and every way in which it is refused."""

import json
from typing import Any

import pytest

from app.domain.outcome import Commitment, Heights, Seen
from tests.api.kit import Json, Running

pytestmark = pytest.mark.anyio

WHY = "not in the wallet's history on two explorers"


async def resolve(api: Running, order_id: str, body: object) -> tuple[int, Json]:
    """Resolve an order; gives status and document."""
    headers = {"content-type": "application/json"}
    content = json.dumps(body).encode()
    path = f"/orders/{order_id}/resolve"
    answer = await api.client.post(path, content=content, headers=headers)
    return answer.status_code, answer.json()


async def doubted(api: Running, **given: object) -> str:
    """Bring an order into doubt."""
    order_id = await api.new_order(**given)
    await api.doubt()
    return order_id


@pytest.mark.parametrize("how", ["failed", "expired"])
async def test_an_order_in_doubt_ends_as_an_operator_says(api: Running, how: str) -> None:
    """The answer is the order as it is from then on, and the trail has the evidence."""
    order_id = await doubted(api)
    status, order = await resolve(api, order_id, {"as": how, "evidence": WHY})
    assert (status, order["status"], order["reason_code"]) == (200, how, "RESOLVED_BY_OPERATOR")
    assert order["in_doubt_since"] is None
    assert order == await api.get(f"/orders/{order_id}")
    await api.seal()
    events = (await api.get(f"/orders/{order_id}/events"))["events"]
    told = {event["kind"]: event["data"] for event in events}["order.resolved"]
    assert (told["as"], told["evidence"], told["by"]) == (how, WHY, "default")
    assert told["asked"][0]["said"] == "absent"
    status, problem = await resolve(api, order_id, {"as": how, "evidence": WHY})
    assert (status, problem["code"]) == (409, "ORDER_FINAL")


async def test_a_fill_that_nobody_shows_needs_its_amounts(api: Running) -> None:
    """Decimal strings of the market's tokens, exactly."""
    order_id = await doubted(api)
    word = {"as": "filled", "evidence": WHY}
    status, problem = await resolve(api, order_id, word)
    assert (status, problem["code"], problem["field"]) == (422, "MISSING_FIELD", "base_amount")
    amounts = {"base_amount": "0.01", "quote_amount": "1.845373"}
    status, order = await resolve(api, order_id, {**word, **amounts})
    assert (status, order["status"]) == (200, "filled")
    assert order["fill"]["base_amount"] == "0.01"
    assert order["fill"]["quote_amount"] == "1.845373"
    assert order["fill"]["fees"]["network"] == "0.000005"
    assert order["finalized_at"] is not None


async def test_what_the_chain_says_refuses_it(api: Running) -> None:
    """Contradicted, or too early: both 409, and the order stays in doubt."""
    order_id = await doubted(api)
    word = {"as": "expired", "evidence": WHY}
    absent = api.witness.status
    api.witness.status = Seen(5_100, Commitment.CONFIRMED, None, 10_000)
    status, problem = await resolve(api, order_id, word)
    assert (status, problem["code"]) == (409, "RESOLUTION_CONTRADICTED")
    api.witness.status, api.witness.heights = absent, Heights(900, 900)
    status, problem = await resolve(api, order_id, word)
    assert (status, problem["code"]) == (409, "RESOLUTION_TOO_EARLY")
    order = await api.get(f"/orders/{order_id}")
    assert (order["status"], order["in_doubt_since"] is None) == ("submitted", False)
    await api.seal()
    events = (await api.get(f"/orders/{order_id}/events"))["events"]
    assert "order.resolved" not in [event["kind"] for event in events]


async def test_only_an_order_in_doubt_can_be_resolved(api: Running) -> None:
    """Not one that waits, not one that does not exist."""
    order_id = await api.new_order()
    word = {"as": "expired", "evidence": WHY}
    status, problem = await resolve(api, order_id, word)
    assert (status, problem["code"]) == (409, "ORDER_NOT_IN_DOUBT")
    status, problem = await resolve(api, "0199c0de-0000-7000-8000-000000000001", word)
    assert (status, problem["code"]) == (404, "ORDER_NOT_FOUND")


BAD: list[tuple[Any, str, str | None]] = [
    ([], "BODY_NOT_OBJECT", None),
    ({"evidence": WHY}, "MISSING_FIELD", "as"),
    ({"as": "expired"}, "MISSING_FIELD", "evidence"),
    ({"as": "canceled", "evidence": WHY}, "INVALID_FIELD", "as"),
    ({"as": ["filled"], "evidence": WHY}, "INVALID_FIELD", "as"),
    ({"as": "expired", "evidence": ""}, "INVALID_FIELD", "evidence"),
    ({"as": "expired", "evidence": "x" * 2_001}, "INVALID_FIELD", "evidence"),
    ({"as": "expired", "evidence": "\ud800"}, "INVALID_FIELD", "evidence"),
    ({"as": "expired", "evidence": WHY, "by": "me"}, "UNKNOWN_FIELD", None),
    ({"as": "expired", "evidence": WHY, "base_amount": "1"}, "INVALID_FIELD", "base_amount"),
    ({"as": "filled", "evidence": WHY, "base_amount": "1"}, "MISSING_FIELD", "quote_amount"),
    *(
        (
            {"as": "filled", "evidence": WHY, "base_amount": amount, "quote_amount": "1"},
            "INVALID_FIELD",
            "base_amount",
        )
        for amount in (0.01, "0", "-1", "1e3", "0.0000000001", "99999999999999999999", "", "1.")
    ),
]


@pytest.mark.parametrize(("body", "code", "field"), BAD)
async def test_a_word_that_cannot_be_read_is_refused(
    api: Running, body: object, code: str, field: str | None
) -> None:
    """As any other request is, and the order stays in doubt."""
    order_id = await doubted(api)
    status, problem = await resolve(api, order_id, body)
    assert (status, problem["code"], problem.get("field")) == (422, code, field)
    assert (await api.get(f"/orders/{order_id}"))["in_doubt_since"] is not None
