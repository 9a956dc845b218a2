"""One order's life greps out of the log by its id."""

import json
from pathlib import Path

import pytest

from app.bootstrap import ExecutionSystem
from app.engine.order_manager import DEFAULT_ACCOUNT
from tests.integration.chain import Chain
from tests.integration.kit import ONE_NODE, SELL, Json, comes_to, ended, running, submitted

pytestmark = pytest.mark.anyio
SHORT_LIVES = {**ONE_NODE, "execution.transaction_timeout": 1.2}


def grep(folder: Path, order_id: str) -> list[Json]:
    """Give the log's lines that hold the id, each of which must be JSON."""
    text = (folder / "execution.log").read_text()
    return [json.loads(line) for line in text.splitlines() if order_id in line]


def counted(system: ExecutionSystem, name: str) -> list[str]:
    """Give the samples of a metric that are not zero."""
    body, _ = system.parts.report.render_metrics()
    samples = [line for line in body.decode().splitlines() if line.startswith(f"{name}{{")]
    return [line for line in samples if not line.endswith(" 0.0")]


async def test_a_fill_is_told_from_acceptance_to_finality(tmp_path: Path, chain: Chain) -> None:
    """accepted, submitted, filled, finalized: each with order id, attempt and signature, in UTC."""
    async with running(tmp_path, chain) as system:
        order_id = await system.submit_trading_signal(SELL)
        await system.submit_trading_signal({**SELL, "client_order_id": "another"})
        order = await comes_to(system, order_id, "finality", lambda it: it["finalized_at"])
    lines = grep(tmp_path, order_id)
    assert [line["event"] for line in lines] == [
        "signal accepted",
        "order submitted",
        "order filled",
        "order finalized",
    ]
    assert {line["order_id"] for line in lines} == {order_id}
    assert [line.get("attempt") for line in lines] == [None, 1, 1, 1]
    signature = order["attempts"][0]["signature"]
    assert [line.get("signature") for line in lines] == [None, *[signature] * 3]
    assert all(line["timestamp"].endswith("Z") for line in lines)
    assert all(line["network"] == "sandbox" for line in lines)


async def test_a_retry_and_its_cause_are_told(tmp_path: Path, chain: Chain) -> None:
    """The attempt that died, why, and the one that filled."""
    async with running(tmp_path, chain, SHORT_LIVES) as system:
        chain.fault("accept_then_drop", "sendTransaction")
        order_id = await system.submit_trading_signal(SELL)
        await comes_to(system, order_id, "a second attempt", lambda it: len(it["attempts"]) == 2)
        chain.clear()
        await ended(system, order_id)
        assert counted(system, "synergy7_resigns_total") == [
            'synergy7_resigns_total{reason="attempt_expired"} 1.0'
        ]
    told = [
        (line["event"], line.get("attempt"), line.get("reason_code"))
        for line in grep(tmp_path, order_id)
        if line["event"] != "order in doubt"
    ]
    assert told == [
        ("signal accepted", None, None),
        ("order submitted", 1, None),
        ("order queued", 1, "ATTEMPT_EXPIRED"),
        ("order submitted", 2, "ATTEMPT_EXPIRED"),
        ("order filled", 2, None),
    ]


async def test_a_cancellation_is_told_and_counted_once(tmp_path: Path, chain: Chain) -> None:
    """Asked twice, canceled once: in the log and in the metrics."""
    async with running(tmp_path, chain, SHORT_LIVES) as system:
        chain.fault("accept_then_drop", "sendTransaction")
        live = await system.submit_trading_signal(SELL)
        await submitted(system, live)
        chain.fault("http_5xx", "simulateTransaction")
        waiting = await system.submit_trading_signal({**SELL, "client_order_id": "waits"})
        for order_id in (live, live, waiting, waiting):
            await system.parts.manager.cancel(DEFAULT_ACCOUNT, order_id)
        await ended(system, live)
        assert counted(system, "synergy7_orders_total") == [
            'synergy7_orders_total{reason="CANCEL_REQUESTED",status="canceled"} 2.0'
        ]
    for order_id in (live, waiting):
        events = [line["event"] for line in grep(tmp_path, order_id)]
        assert events.count("order canceled") == 1, events
    assert "cancellation requested" in [line["event"] for line in grep(tmp_path, live)]


async def test_a_rejection_is_told_and_counted_once(tmp_path: Path, chain: Chain) -> None:
    """A signal that was stale when it came is stored, told with its reason, and no order in the queue."""
    stale = {**SELL, "signal_time": "2020-01-01T00:00:00Z", "valid_for": 5, "client_order_id": "s"}
    async with running(tmp_path, chain) as system:
        order_id = await system.submit_trading_signal(stale)
        assert await system.submit_trading_signal(stale) == order_id
        assert (await ended(system, order_id))["status"] == "rejected"
        assert counted(system, "synergy7_orders_total") == [
            'synergy7_orders_total{reason="SIGNAL_STALE",status="rejected"} 1.0'
        ]
    told = [(line["event"], line.get("reason_code")) for line in grep(tmp_path, order_id)]
    assert told == [("signal rejected", "SIGNAL_STALE"), ("signal replayed", "SIGNAL_STALE")]
