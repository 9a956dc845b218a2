"""Orders: shown, listed, added up and canceled."""

import asyncio
from typing import Any

import pytest

from app.api.waits import Long
from app.domain import changes
from app.domain.errors import ReasonCode
from app.domain.order import OrderStatus
from tests.api.kit import NOBODY, Running


@pytest.mark.anyio
async def test_a_filled_order_shows_its_fill_and_its_attempt(api: Running) -> None:
    """What the chain did, through which method, under which signature."""
    order_id = await api.new_order()
    await api.fill()
    order = await api.get(f"/orders/{order_id}")
    assert order["status"] == "filled"
    assert order["fill"]["base_amount"] == "0.01"
    assert order["fill"]["average_price"] == "184.5"
    (attempt,) = order["attempts"]
    assert (attempt["signature"], attempt["status"]) == ("signature1", "landed")
    assert attempt["submissions"][0]["method"] == "rpc"
    assert order["finalized_at"] is not None


@pytest.mark.anyio
@pytest.mark.parametrize("order_id", [NOBODY, NOBODY.upper(), "x", "%00", "%ff", "a" * 5_000])
@pytest.mark.parametrize("path", ["/orders/{}", "/orders/{}?wait=1", "/orders/{}/events"])
async def test_an_order_that_is_not_there_is_not_found(
    api: Running, path: str, order_id: str
) -> None:
    """404 with a code of its own, at once, never echoing the id."""
    answer = await api.client.get(path.format(order_id))
    assert (answer.status_code, answer.json()["code"]) in (
        (404, "ORDER_NOT_FOUND"),
        (404, "NOT_FOUND"),
    )
    assert NOBODY not in answer.text


@pytest.mark.anyio
async def test_a_wait_ends_with_the_orders_end(api: Running) -> None:
    """The answer comes when the order is filled, not when the time is over."""
    order_id = await api.new_order()
    waiting = asyncio.create_task(api.get(f"/orders/{order_id}", wait=30))
    await asyncio.sleep(0)
    await api.fill()
    async with asyncio.timeout(10):
        assert (await waiting)["status"] == "filled"


@pytest.mark.anyio
async def test_a_wait_that_is_over_shows_the_order_as_it_is(api: Running) -> None:
    """One second is one second; the order is still queued."""
    order_id = await api.new_order()
    async with asyncio.timeout(10):
        assert (await api.get(f"/orders/{order_id}", wait=1))["status"] == "queued"


@pytest.mark.anyio
async def test_a_stopping_service_answers_every_wait_at_once(api: Running) -> None:
    """Whoever waits, or begins to, is told how the order stands."""
    order_id = await api.new_order()
    waiting = asyncio.create_task(api.get(f"/orders/{order_id}", wait=30))
    while api.long_answers.count(Long.POLL) == 0:
        await api.get(f"/orders/{order_id}")
    api.long_answers.close()
    async with asyncio.timeout(10):
        assert (await waiting)["status"] == "queued"
        assert (await api.get(f"/orders/{order_id}", wait=30))["status"] == "queued"


@pytest.mark.anyio
@pytest.mark.parametrize("wait", ["-1", "31", "1.5", "x", "", "1e1", "nan"])
async def test_a_wait_is_a_whole_number_of_at_most_30_seconds(api: Running, wait: str) -> None:
    """Anything else is refused, by name."""
    answer = await api.client.get(f"/orders/{NOBODY}", params={"wait": wait})
    assert (answer.status_code, answer.json()["code"]) == (422, "INVALID_PARAMETER")
    assert answer.json()["field"] == "wait"


@pytest.mark.anyio
async def test_a_list_is_paged_newest_first_and_new_orders_do_not_shift_it(api: Running) -> None:
    """Every old order is seen exactly once, whatever comes in between."""
    old = [await api.new_order() for _ in range(5)]
    seen: list[str] = []
    parameters: dict[str, Any] = {"limit": 2}
    while True:
        page = await api.get("/orders", **parameters)
        seen += [order["order_id"] for order in page["orders"]]
        await api.new_order()
        if page["next_cursor"] is None:
            break
        parameters["cursor"] = page["next_cursor"]
    assert seen == old[::-1]


@pytest.mark.anyio
async def test_a_list_holds_what_its_filters_mean(api: Running) -> None:
    """By status, market, action, strategy, client's id and time, alone and together."""
    filled = await api.new_order(strategy="trend")
    await api.fill()
    bought = await api.new_order(
        action="BUY", market="USDC-SOL", size=5, price=0.006, client_order_id="mine"
    )
    accepted = {o["order_id"]: o["accepted_at"] for o in (await api.get("/orders"))["orders"]}
    for parameters, expected in [
        ({}, [bought, filled]),
        ({"status": "filled"}, [filled]),
        ({"market": "USDC-SOL"}, [bought]),
        ({"action": "BUY"}, [bought]),
        ({"strategy": "trend"}, [filled]),
        ({"client_order_id": "mine"}, [bought]),
        ({"from": accepted[bought]}, [bought]),
        ({"to": accepted[bought]}, [filled]),
        ({"from": accepted[filled], "to": accepted[bought], "status": "filled"}, [filled]),
        ({"strategy": "trend", "action": "BUY"}, []),
    ]:
        listed = (await api.get("/orders", **parameters))["orders"]
        assert [order["order_id"] for order in listed] == expected, parameters


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=0", "INVALID_PARAMETER"),
        ("limit=501", "INVALID_PARAMETER"),
        ("status=done", "INVALID_PARAMETER"),
        ("action=sell", "INVALID_PARAMETER"),
        ("from=2026-01-31", "INVALID_PARAMETER"),
        ("strategy=", "INVALID_PARAMETER"),
        ("market=SOL-USDX", "UNKNOWN_MARKET"),
        ("stauts=filled", "INVALID_PARAMETER"),
        ("status=filled&status=failed", "INVALID_PARAMETER"),
        ("cursor=abc", "INVALID_CURSOR"),
        ("cursor=", "INVALID_CURSOR"),
    ],
)
async def test_a_list_refuses_what_it_does_not_understand(
    api: Running, query: str, code: str
) -> None:
    """A filter that is ignored would show other orders than were asked for."""
    answer = await api.client.get(f"/orders?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, code)


@pytest.mark.anyio
async def test_statistics_add_up_what_was_traded(api: Running) -> None:
    """Counts, volumes, fees and times, in all and by group; queued orders count and take no time."""
    await api.new_order(strategy="trend")
    await api.fill(1)
    await api.new_order(strategy="trend")
    await api.fill(2)
    await api.new_order()
    await _fail(api)
    await api.new_order()
    document = await api.get("/orders/statistics")
    volume = {"market": "SOL-USDC", "action": "SELL", "base_amount": "0.02", "quote_amount": "3.69"}
    assert (document["orders"], document["success_rate"]) == (4, "0.6667")
    assert document["volumes"] == [volume]
    assert document["fees"] == {"network": "0.00001", "priority": "0.0000002", "tip": "0"}
    assert document["average_ms"] == 0
    counted = {
        name: {group["key"]: group["orders"] for group in document[f"by_{name}"]}
        for name in ("status", "market", "strategy", "method", "reason")
    }
    assert counted == {
        "status": {"failed": 1, "filled": 2, "queued": 1},
        "market": {"SOL-USDC": 4},
        "strategy": {None: 2, "trend": 2},
        "method": {None: 2, "rpc": 2},
        "reason": {None: 3, "PRICE_LIMIT": 1},
    }
    trend = await api.get("/orders/statistics", strategy="trend")
    assert (trend["orders"], trend["success_rate"]) == (2, "1")


async def _fail(api: Running) -> None:
    (claimed,) = await api.store.claim(1, api.clock.now_us())
    change = changes.ended(
        claimed.view,
        OrderStatus.FAILED,
        at_us=api.clock.now_us(),
        code=ReasonCode.PRICE_LIMIT,
        reason="the price moved",
    )
    await api.store.record(claimed, change)


@pytest.mark.anyio
async def test_statistics_of_nothing_divide_nothing(api: Running) -> None:
    """Without orders there is no rate and no mean."""
    document = await api.get("/orders/statistics")
    assert (document["orders"], document["success_rate"], document["average_ms"]) == (0, None, None)
    assert document["by_status"] == []


@pytest.mark.anyio
async def test_a_queued_order_is_canceled_and_stays_so(api: Running) -> None:
    """200 with the order; asked again, the same answer."""
    order_id = await api.new_order()
    for _ in range(2):
        answer = await api.client.post(f"/orders/{order_id}/cancel")
        assert answer.status_code == 200
        assert answer.json()["status"] == "canceled"
        assert answer.json()["order_id"] == order_id


@pytest.mark.anyio
async def test_an_order_with_a_live_attempt_is_asked_to_cancel(api: Running) -> None:
    """202: the attempt decides; asked again, the same answer."""
    order_id = await api.new_order()
    await api.sign(1)
    for _ in range(2):
        answer = await api.client.post(f"/orders/{order_id}/cancel")
        assert answer.status_code == 202
        assert answer.json()["status"] == "submitted"
        assert answer.json()["cancel_requested_at"] is not None


@pytest.mark.anyio
async def test_an_order_that_has_ended_is_not_canceled(api: Running) -> None:
    """409 with the order's id."""
    order_id = await api.new_order()
    await api.fill()
    answer = await api.client.post(f"/orders/{order_id}/cancel")
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (409, "ORDER_FINAL")
    assert problem["order_id"] == order_id


@pytest.mark.anyio
async def test_an_order_that_is_not_there_is_not_canceled(api: Running) -> None:
    """404, as for reading it."""
    for order_id in (NOBODY, "x"):
        answer = await api.client.post(f"/orders/{order_id}/cancel")
        assert (answer.status_code, answer.json()["code"]) == (404, "ORDER_NOT_FOUND")


@pytest.mark.anyio
async def test_orders_are_canceled_by_market_by_strategy_or_all(api: Running) -> None:
    """Only what is meant, and only what has not ended; the answer counts both kinds."""
    await api.new_order(priority=9)
    await api.sign(1)
    await api.new_order(strategy="trend")
    other = await api.new_order(market="USDC-SOL", size=5, price=0.006, strategy="trend")
    for query, canceled, requested in [
        ("?market=USDC-SOL&strategy=mean", 0, 0),
        ("?market=USDC-SOL", 1, 0),
        ("?strategy=trend", 1, 0),
        ("", 0, 1),
    ]:
        answer = await api.client.post(f"/orders/cancel{query}")
        assert answer.status_code == 200
        assert answer.json() == {"canceled": canceled, "requested": requested}
    assert (await api.get(f"/orders/{other}"))["status"] == "canceled"


@pytest.mark.anyio
@pytest.mark.parametrize("query", ["market=SOL-USDX", "strateggy=trend", "market="])
async def test_a_typo_does_not_cancel_everything(api: Running, query: str) -> None:
    """What is not understood cancels nothing."""
    order_id = await api.new_order()
    assert (await api.client.post(f"/orders/cancel?{query}")).status_code == 422
    assert (await api.get(f"/orders/{order_id}"))["status"] == "queued"
