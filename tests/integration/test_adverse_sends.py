"""Sends that vanish, land unheard or are answered wrongly: an order is executed once or not at all."""

from pathlib import Path

import pytest

from app.domain.events import EventKind
from app.engine.order_manager import DEFAULT_ACCOUNT
from app.engine.ports import CancelOutcome
from tests.integration.chain import Chain
from tests.integration.kit import (
    BUY_BONK,
    ONE_NODE,
    SELL,
    comes_to,
    document,
    ended,
    running,
    sealed,
    status,
    submitted,
    until,
)

pytestmark = pytest.mark.anyio
SHORT_LIVES = {**ONE_NODE, "execution.transaction_timeout": 1.2}
LIFE_SLOTS = 200
"""More slots than any transaction lives, finality included."""


async def test_a_send_that_vanishes_is_tried_anew_only_after_proof(
    tmp_path: Path, chain: Chain
) -> None:
    """Accepted and dropped until it expired: the second attempt fills, the first is proved dead before."""
    async with running(tmp_path, chain, SHORT_LIVES) as system:
        chain.fault("accept_then_drop", "sendTransaction")
        order_id = await system.submit_trading_signal(SELL)
        await comes_to(system, order_id, "a second attempt", lambda it: len(it["attempts"]) == 2)
        chain.clear()
        order = await ended(system, order_id)
        assert order["status"] == "filled", order
        assert order["attempts"][0]["status"] == "expired"
        assert chain.executions(order_id) == [1]
        assert chain.differences(order) == []
        kinds = [event.kind.value for event in await sealed(system, order_id, EventKind.FILLED)]
        assert kinds.index("attempt.expired") < kinds.index("attempt.signed", 4)


async def test_sends_that_vanish_until_the_deadline_leave_nothing_behind(
    tmp_path: Path, chain: Chain
) -> None:
    """The order expires after its last attempt is proved dead, and nothing of it ever lands."""
    limits = {**SHORT_LIVES, "order_management.order_timeout": 2.5}
    async with running(tmp_path, chain, limits) as system:
        chain.fault("accept_then_drop", "sendTransaction")
        order_id = await system.submit_trading_signal(SELL)
        order = await ended(system, order_id)
        assert (order["status"], order["reason_code"]) == ("expired", "ORDER_TIMEOUT")
        assert {attempt["status"] for attempt in order["attempts"]} == {"expired"}
        chain.clear()
        chain.step(LIFE_SLOTS)
        assert chain.executions(order_id) == [0]


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("land_then_timeout", {}),
        ("http_5xx_after", {}),
        ("garbled", {}),
        ("wrong_signature", {}),
        ("duplicate", {}),
        ("delay", {"seconds": 0.4}),
    ],
)
async def test_a_send_that_lands_unheard_fills_once(
    tmp_path: Path, chain: Chain, kind: str, fields: dict[str, float]
) -> None:
    """Whatever is answered, the bytes landed: one fill, one execution, nothing signed anew."""
    async with running(tmp_path, chain, {**ONE_NODE, "execution.push_timeout": 0.3}) as system:
        chain.fault(kind, "sendTransaction", **fields)
        order_id = await system.submit_trading_signal(BUY_BONK)
        order = await ended(system, order_id)
        chain.clear()
        assert order["status"] == "filled", order
        assert len(order["attempts"]) == 1
        assert chain.executions(order_id) == [1]
        assert chain.differences(order) == []


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("drop", {}),
        ("http_429", {"retry_after": 1}),
        ("http_5xx", {}),
        ("hang", {"seconds": 0.5}),
    ],
)
async def test_a_send_that_does_not_arrive_is_sent_again(
    tmp_path: Path, chain: Chain, kind: str, fields: dict[str, float]
) -> None:
    """The same bytes are pushed until they land: one attempt, one execution."""
    async with running(tmp_path, chain, {**ONE_NODE, "execution.push_timeout": 0.3}) as system:
        chain.fault(kind, "sendTransaction", count=2, **fields)
        order_id = await system.submit_trading_signal(SELL)
        order = await ended(system, order_id)
        assert order["status"] == "filled", order
        (attempt,) = order["attempts"]
        outcomes = [submission["outcome"] for submission in attempt["submissions"]]
        assert "accepted" not in outcomes[:2], outcomes
        assert chain.executions(order_id) == [1]
        assert chain.differences(order) == []


async def test_a_cancelled_order_is_pushed_no_more_and_ends_once_its_attempt_is_dead(
    tmp_path: Path, chain: Chain
) -> None:
    """With an attempt alive a cancellation waits for evidence; afterwards nothing of it lands."""
    async with running(tmp_path, chain, SHORT_LIVES) as system:
        chain.fault("accept_then_drop", "sendTransaction")
        order_id = await system.submit_trading_signal(SELL)
        await submitted(system, order_id)
        outcome, _ = await system.parts.manager.cancel(DEFAULT_ACCOUNT, order_id)
        assert outcome is CancelOutcome.REQUESTED
        pushed = len(chain.asked("sendTransaction"))
        chain.clear()  # a push from here on would land
        order = await ended(system, order_id)
        assert (order["status"], order["reason_code"]) == ("canceled", "CANCEL_REQUESTED")
        assert len(chain.asked("sendTransaction")) == pushed
        assert chain.executions(order_id) == [0]


async def test_a_cancelled_order_that_lands_all_the_same_is_filled(
    tmp_path: Path, chain: Chain
) -> None:
    """A cancellation does not take back what the chain has: the order says filled."""
    async with running(tmp_path, chain) as system:
        chain.fault("null_status")
        order_id = await system.submit_trading_signal(SELL)
        await submitted(system, order_id)
        outcome, _ = await system.parts.manager.cancel(DEFAULT_ACCOUNT, order_id)
        assert outcome is CancelOutcome.REQUESTED
        assert (await document(system, order_id))["status"] == "submitted"
        chain.clear()
        order = await ended(system, order_id)
        assert order["status"] == "filled", order
        assert chain.executions(order_id) == [1]


async def test_statuses_that_stay_unknown_never_become_a_failure(
    tmp_path: Path, chain: Chain
) -> None:
    """It landed and no node tells: the order is in doubt, signs nothing new, and fills when told."""
    async with running(tmp_path, chain, SHORT_LIVES) as system:
        chain.fault("null_status", "getTransaction")
        chain.fault("hang", "getSignatureStatuses", seconds=0.1)
        order_id = await system.submit_trading_signal(SELL)
        order = await comes_to(system, order_id, "doubt", lambda it: bool(it["in_doubt_since"]))
        assert order["status"] == "submitted"
        await until("doubt is counted", lambda: status(system)["queue"]["in_doubt"] == 1)
        chain.clear()
        order = await ended(system, order_id)
        assert order["status"] == "filled", order
        assert len(order["attempts"]) == 1
        assert chain.executions(order_id) == [1]
