"""Blocks that vanish and prices that move: what the chain took back is executed again or not at all."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.bootstrap import ExecutionSystem
from app.domain.events import EventKind
from tests.integration.chain import Chain, running_chain
from tests.integration.kit import (
    BUY_BONK,
    ONE_NODE,
    SELL,
    Json,
    comes_to,
    ended,
    running,
    sealed,
    status,
    until,
)
from tests.integration.market import buy_bonk

pytestmark = pytest.mark.anyio
FINALITY_BLOCKS = 120
UNDONE_BLOCKS = 40
SHORT_LIVES = {**ONE_NODE, "execution.transaction_timeout": 1.2}
OLD_HASH = {**ONE_NODE, "execution.transaction_timeout": 2.25}
"""Lives that the newest blockhash is too long for: the one signed with lies before the undone blocks."""
SLIPPAGE = {"Custom": 6005}
CONFIRMED = {"commitment": "confirmed", "maxSupportedTransactionVersion": 0}
SENT_AS_IT_IS = {"encoding": "base64", "skipPreflight": True}
LIFE_SLOTS = 400
"""More slots than any transaction lives, finality included."""


@pytest.fixture(scope="module")
def module_chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """Run a chain whose blocks take so long to be final that they can be undone."""
    folder = tmp_path_factory.mktemp("chain")
    with running_chain(folder, finality_blocks=FINALITY_BLOCKS) as chain:
        yield chain


async def old_hashes(system: ExecutionSystem) -> None:
    """Wait until a blockhash older than the blocks to be undone is known."""
    start = status(system)["chain"]["block_height"]
    await until(
        "the chain has moved on",
        lambda: status(system)["chain"]["block_height"] > start + UNDONE_BLOCKS + 20,
    )


async def outrun(system: ExecutionSystem, chain: Chain, signal: Json, *, usdc: int = 20_000) -> str:
    """Post a signal and move the price after its simulation, before its bytes land."""
    before = chain.hits()
    chain.fault("delay", "sendTransaction", count=1, seconds=0.5)
    order_id = await system.submit_trading_signal(signal)
    await until("the push is on its way", lambda: chain.hits() == before + 1)
    buy_bonk(chain, usdc)
    return order_id


async def test_a_fill_that_a_fork_undid_is_taken_back(tmp_path: Path, chain: Chain) -> None:
    """The fill vanishes with its block and never lands again: FILL_REVERTED, and nothing is retried."""
    async with running(tmp_path, chain, SHORT_LIVES) as system:
        order_id = await system.submit_trading_signal(SELL)
        filled = await ended(system, order_id)
        assert filled["status"] == "filled"
        assert filled["finalized_at"] is None
        assert filled["attempts"][0]["signature"] in chain.fork(UNDONE_BLOCKS)
        assert chain.executions(order_id) == [0]
        chain.step(LIFE_SLOTS)
        order = await comes_to(
            system, order_id, "the fill is taken back", lambda it: it["status"] == "failed"
        )
        assert order["reason_code"] == "FILL_REVERTED"
        assert order["fill"] is None
        assert chain.executions(order_id) == [0]
        events = await sealed(system, order_id, EventKind.FILL_REVERTED)
        assert events[-1].kind is EventKind.FILL_REVERTED


async def test_a_landing_that_a_fork_undid_before_it_was_read_lands_again(
    tmp_path: Path, chain: Chain
) -> None:
    """The same bytes go out again and land: one attempt, one execution."""
    async with running(tmp_path, chain, OLD_HASH) as system:
        await old_hashes(system)
        chain.fault("null_status", "getTransaction")  # landed, yet no fill without the transaction
        order_id = await system.submit_trading_signal(SELL)
        await until("it landed", lambda: chain.executions(order_id) == [1])
        chain.fault("drop", "sendTransaction")
        (undone,) = chain.fork(UNDONE_BLOCKS)
        assert chain.executions(order_id) == [0]
        chain.clear()
        order = await ended(system, order_id)
        assert order["status"] == "filled", order
        assert [attempt["signature"] for attempt in order["attempts"]] == [undone]
        assert chain.executions(order_id) == [1]
        assert chain.differences(order) == []


async def test_a_price_that_moved_costs_an_attempt_and_the_next_one_fills(
    tmp_path: Path, chain: Chain
) -> None:
    """Simulated well, landed and failed: only once that is final a new attempt trades at the new price."""
    async with running(tmp_path, chain, ONE_NODE) as system:
        order_id = await outrun(system, chain, {**BUY_BONK, "max_slippage_bps": 10})
        seen = await comes_to(
            system, order_id, "the failure shows", lambda it: bool(it["landed_failed_at"])
        )
        assert seen["status"] == "submitted"
        assert len(seen["attempts"]) == 1
        chain.step(FINALITY_BLOCKS * 2)
        order = await ended(system, order_id)
        assert order["status"] == "filled", order
        assert [attempt["status"] for attempt in order["attempts"]] == ["failed", "landed"]
        assert order["attempts"][0]["error"]["raw"]["InstructionError"][1] == SLIPPAGE
        assert chain.executions(order_id) == [1]
        assert chain.differences(order) == []


async def test_a_price_that_moved_out_of_the_signals_bound_ends_the_order(
    tmp_path: Path, chain: Chain
) -> None:
    """The retry is quoted against the signal's own price, and refused: PRICE_LIMIT, not executed."""
    async with running(tmp_path, chain, ONE_NODE) as system:
        first = await ended(system, await system.submit_trading_signal(BUY_BONK))
        price = first["fill"]["average_price"]
        order_id = await outrun(system, chain, {**BUY_BONK, "max_slippage_bps": 10, "price": price})
        await comes_to(
            system, order_id, "the failure shows", lambda it: bool(it["landed_failed_at"])
        )
        chain.step(FINALITY_BLOCKS * 2)
        order = await ended(system, order_id)
        assert (order["status"], order["reason_code"]) == ("failed", "PRICE_LIMIT")
        assert chain.executions(order_id) == [0]


async def test_without_retries_a_price_that_moved_ends_the_order(
    tmp_path: Path, chain: Chain
) -> None:
    """`max_retries` 0: the decoded program error is the reason."""
    async with running(tmp_path, chain, {**ONE_NODE, "execution.max_retries": 0}) as system:
        order_id = await outrun(system, chain, {**BUY_BONK, "max_slippage_bps": 10})
        await comes_to(
            system, order_id, "the failure shows", lambda it: bool(it["landed_failed_at"])
        )
        chain.step(FINALITY_BLOCKS * 2)
        order = await ended(system, order_id)
        assert (order["status"], order["reason_code"]) == ("failed", "SLIPPAGE_EXCEEDED")
        assert order["program_error"]["raw"]["InstructionError"][1] == SLIPPAGE
        assert chain.executions(order_id) == [0]


async def test_a_failure_that_a_fork_undid_may_still_fill(tmp_path: Path, chain: Chain) -> None:
    """Failed in a block that vanished, together with what moved the price: the same bytes fill."""
    async with running(tmp_path, chain, OLD_HASH) as system:
        await old_hashes(system)
        order_id = await outrun(system, chain, {**BUY_BONK, "max_slippage_bps": 10})
        await comes_to(
            system, order_id, "the failure shows", lambda it: bool(it["landed_failed_at"])
        )
        chain.fork(UNDONE_BLOCKS)
        order = await ended(system, order_id)
        assert order["status"] == "filled", order
        assert [attempt["status"] for attempt in order["attempts"]] == ["landed"]
        assert chain.executions(order_id) == [1]
        assert chain.differences(order) == []


async def test_a_fill_that_moved_to_another_block_is_told_as_it_is_there(
    tmp_path: Path, chain: Chain
) -> None:
    """Undone and landed again behind another trade: at finality the order tells the amounts that hold."""
    async with running(tmp_path, chain, OLD_HASH) as system:
        await old_hashes(system)
        order_id = await system.submit_trading_signal({**BUY_BONK, "max_slippage_bps": 500})
        before = await ended(system, order_id)
        signature = before["attempts"][0]["signature"]
        raw = chain.rpc("getTransaction", signature, {**CONFIRMED, "encoding": "base64"})
        chain.fork(UNDONE_BLOCKS)
        buy_bonk(chain, 5_000)
        chain.rpc("sendTransaction", raw["transaction"][0], SENT_AS_IT_IS)
        chain.step(FINALITY_BLOCKS * 2)
        order = await comes_to(system, order_id, "finality", lambda it: bool(it["finalized_at"]))
        assert order["status"] == "filled"
        assert order["fill"]["quote_amount"] != before["fill"]["quote_amount"]
        assert chain.executions(order_id) == [1]
        assert chain.differences(order) == []


async def test_a_fill_that_fails_on_the_fork_that_stays_is_taken_back(
    tmp_path: Path, chain: Chain
) -> None:
    """Undone, and landed again behind a trade that moved the price: failed there, and finally so."""
    async with running(tmp_path, chain, OLD_HASH) as system:
        await old_hashes(system)
        order_id = await system.submit_trading_signal({**BUY_BONK, "max_slippage_bps": 5})
        before = await ended(system, order_id)
        assert before["status"] == "filled"
        signature = before["attempts"][0]["signature"]
        raw = chain.rpc("getTransaction", signature, {**CONFIRMED, "encoding": "base64"})
        assert signature in chain.fork(UNDONE_BLOCKS)
        buy_bonk(chain, 20_000)
        chain.rpc("sendTransaction", raw["transaction"][0], SENT_AS_IT_IS)
        chain.step(FINALITY_BLOCKS * 2)
        order = await comes_to(
            system, order_id, "the fill is taken back", lambda it: it["status"] == "failed"
        )
        assert (order["reason_code"], order["fill"]) == ("FILL_REVERTED", None)
        (attempt,) = order["attempts"]
        assert (attempt["status"], attempt["landed_slot"] is None) == ("failed", False)
        assert attempt["error"]["raw"]["InstructionError"][1] == SLIPPAGE
        assert chain.executions(order_id) == [0]
