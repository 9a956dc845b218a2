"""Each key of `execution`: changed, and the behaviour seen to change."""

import asyncio
import struct
from collections import Counter
from pathlib import Path

import pytest

from app.domain.errors import IntakeError, ReasonCode, StartupError
from app.domain.events import Event, EventKind
from tests import chain_oracle
from tests.integration.chain import Chain
from tests.integration.kit import (
    BUY_BONK,
    ONE_NODE,
    SELL,
    comes_to,
    ended,
    endpoint,
    running,
    sealed,
    status,
    submitted,
    trail,
    until,
)
from tests.integration.plugins import PRIVATE_METHOD, install_here

pytestmark = pytest.mark.anyio
ORDERS = 10
LEAVES_EXECUTION = frozenset({EventKind.FILLED, EventKind.ENDED, EventKind.REQUEUED})


def most_at_once(events: list[Event]) -> int:
    """Count how many orders were in execution at once, at most, by the audit trail."""
    now: set[str] = set()
    most = 0
    for event in events:
        if event.kind is EventKind.CLAIMED:
            now.add(event.order_id)
        elif event.kind in LEAVES_EXECUTION:
            now.discard(event.order_id)
        most = max(most, len(now))
    return most


def interleaved(chain: Chain, after: int) -> bool:
    """Tell whether the node got bytes of one order between those of another."""
    sent = [
        entry["signature"]
        for entry in chain.journal(after)
        if entry["rpc_method"] == "sendTransaction"
    ]
    turns = [signature for at, signature in enumerate(sent) if sent[at - 1 : at] != [signature]]
    return max(Counter(turns).values()) > 1


@pytest.mark.parametrize("slots", [1, 3])
async def test_max_concurrent_executions(tmp_path: Path, chain: Chain, slots: int) -> None:
    """That many orders execute at once and never one more, by the audit trail and by the node."""
    changes = {
        **ONE_NODE,
        "execution.max_concurrent_executions": slots,
        "execution.rebroadcast_interval": 0.02,
    }
    async with running(tmp_path, chain, changes) as system:
        start = chain.journal()[-1]["n"]
        chain.fault("null_status", count=60)  # nothing is seen to land at once: orders overlap
        ids = [
            await system.submit_trading_signal({**SELL, "client_order_id": f"slot-{number}"})
            for number in range(ORDERS)
        ]
        for order_id in ids:
            assert (await ended(system, order_id))["status"] == "filled"
            await sealed(system, order_id, EventKind.FILLED)
        assert status(system)["workers"]["slots"] == slots
        assert most_at_once(await trail(system)) == slots
        assert interleaved(chain, start) is (slots > 1)
        assert chain.executions(*ids) == [1] * ORDERS


@pytest.mark.parametrize(("seconds", "reason"), [(0.3, "PASS_TIMED_OUT"), (5, None)])
async def test_execution_timeout(
    tmp_path: Path, chain: Chain, seconds: float, reason: str | None
) -> None:
    """A pass that takes longer is cut off, and the order waits for another one."""
    changes = {"execution.execution_timeout": seconds, "solana.request_timeout": 10}
    async with running(tmp_path, chain, changes) as system:
        chain.fault("hang", "simulateTransaction", seconds=1)
        order_id = await system.submit_trading_signal(SELL)
        await until("the pass hangs", lambda: chain.hits() > 0)
        await asyncio.sleep(0.6)
        events = await trail(system, order_id)
        reasons = [event.data.get("reason_code") for event in events[2:3]]
        assert reasons == ([reason] if reason else [])
        chain.clear()
        assert (await ended(system, order_id))["status"] == "filled"


@pytest.mark.parametrize(("seconds", "least", "most"), [(30, 130, 150), (1.5, 40, 110)])
async def test_transaction_timeout(
    tmp_path: Path, chain: Chain, seconds: float, least: int, most: int
) -> None:
    """A transaction is signed to live that long, as far as recent blockhashes allow."""
    changes = {**ONE_NODE, "execution.transaction_timeout": seconds}
    async with running(tmp_path, chain, changes) as system:
        start = status(system)["chain"]["block_height"]
        await until("old blockhashes", lambda: status(system)["chain"]["block_height"] > start + 70)
        chain.fault("accept_then_drop", "sendTransaction")
        order_id = await system.submit_trading_signal(SELL)
        order = await submitted(system, order_id)
        height = status(system)["chain"]["block_height"]
        assert least <= order["attempts"][0]["last_valid_block_height"] - height <= most


@pytest.mark.parametrize("seconds", [0.05, 0.4])
async def test_retry_delay(tmp_path: Path, chain: Chain, seconds: float) -> None:
    """The first back-off is this long with up to a quarter more, the second twice that."""
    async with running(tmp_path, chain, {"execution.retry_delay": seconds}) as system:
        chain.fault("http_5xx", "simulateTransaction", count=2)
        order_id = await system.submit_trading_signal(SELL)
        assert (await ended(system, order_id))["status"] == "filled"
        events = await sealed(system, order_id, EventKind.FILLED)
        delays = [
            (int(str(event.data["next_attempt_at_us"])) - event.at_us) / 1e6
            for event in events
            if event.kind is EventKind.REQUEUED
        ]
        assert seconds <= delays[0] <= 1.25 * seconds
        assert 2 * seconds <= delays[1] <= 2.5 * seconds


@pytest.mark.parametrize("retries", [0, 1])
async def test_max_retries(tmp_path: Path, chain: Chain, retries: int) -> None:
    """So many attempts may die before the order fails, and one more."""
    changes = {
        **ONE_NODE,
        "execution.transaction_timeout": 1.2,
        "execution.max_retries": retries,
    }
    async with running(tmp_path, chain, changes) as system:
        chain.fault("accept_then_drop", "sendTransaction")
        order = await ended(system, await system.submit_trading_signal(SELL))
        assert (order["status"], order["reason_code"]) == ("failed", "RETRIES_EXHAUSTED")
        assert len(order["attempts"]) == retries + 1


@pytest.mark.parametrize("proofs", [1, 2])
async def test_proof_endpoints(tmp_path: Path, chain: Chain, proofs: int) -> None:
    """With 2 the word of one endpoint is no proof: the order stays in doubt, and signs nothing."""
    changes = {
        **ONE_NODE,
        **endpoint(chain),
        "solana.rpc_urls": [chain.rpc_url, "http://localhost:1"],
        "execution.proof_endpoints": proofs,
        "execution.transaction_timeout": 1.2,
        "execution.max_retries": 0,
    }
    async with running(tmp_path, chain, changes) as system:
        chain.fault("accept_then_drop", "sendTransaction")
        order_id = await system.submit_trading_signal(SELL)
        if proofs == 1:
            assert (await ended(system, order_id))["reason_code"] == "RETRIES_EXHAUSTED"
        else:
            doubted = await comes_to(system, order_id, "doubt", lambda it: it["in_doubt_since"])
            assert doubted["status"] == "submitted"


async def test_proof_endpoints_that_cannot_agree(tmp_path: Path, chain: Chain) -> None:
    """Fewer endpoints than must agree is a start that could never retry anything: refused."""
    changes = {**endpoint(chain), "execution.proof_endpoints": 2}
    with pytest.raises(StartupError, match=r"^TOO_FEW_ENDPOINTS: "):
        async with running(tmp_path, chain, changes):
            pass


@pytest.mark.parametrize("bps", [0, 250])
async def test_max_slippage_bps(tmp_path: Path, chain: Chain, bps: int) -> None:
    """The bound signed on chain is the quote less this, for a signal that says nothing else."""
    async with running(tmp_path, chain, {"execution.max_slippage_bps": bps}) as system:
        order = await ended(system, await system.submit_trading_signal(SELL))
        found = chain_oracle.landed(chain.rpc_url, order["attempts"][0]["signature"])
        assert found is not None
        (swap,) = found.content.of(chain_oracle.CPMM)
        _, least_out = struct.unpack("<2Q", swap.data[8:])
        (event,) = chain_oracle.swap_events(found)
        assert least_out == -(-event.amount_out * (10_000 - bps) // 10_000)


@pytest.mark.parametrize("allowed", [True, False])
async def test_allow_public_fallback(
    tmp_path: Path, chain: Chain, monkeypatch: pytest.MonkeyPatch, *, allowed: bool
) -> None:
    """Without it bytes meant for a private method never reach a public one, and the order expires."""
    install_here(tmp_path, "veil", PRIVATE_METHOD, monkeypatch)
    changes = {
        "methods.order": ["veil", "rpc"],
        "execution.allow_public_fallback": allowed,
        "execution.transaction_timeout": 1.2,
        "order_management.order_timeout": 1.5,
    }
    async with running(tmp_path, chain, changes) as system:
        order = await ended(system, await system.submit_trading_signal(SELL))
        used = {push["method"] for each in order["attempts"] for push in each["submissions"]}
        assert used == ({"veil", "rpc"} if allowed else {"veil"})
        assert order["status"] == ("filled" if allowed else "expired")
        assert chain.executions(order["order_id"]) == [1 if allowed else 0]


@pytest.mark.parametrize(("most", "taken"), [(2, 2), (100, 6)])
async def test_max_queue(tmp_path: Path, chain: Chain, most: int, taken: int) -> None:
    """Beyond so many waiting orders a signal is refused with QUEUE_FULL, and nothing is stored."""
    async with running(tmp_path, chain, {"execution.max_queue": most}) as system:
        chain.fault("http_5xx", "getLatestBlockhash")
        chain.fault("http_5xx", "sendTransaction")
        chain.fault("http_5xx", "simulateTransaction")
        ids, refusals = [], []
        for number in range(6):
            signal = {**BUY_BONK, "client_order_id": f"queue-{number}"}
            try:
                ids.append(await system.submit_trading_signal(signal))
            except IntakeError as refusal:
                refusals.append(refusal.code)
        assert len(ids) >= taken
        assert set(refusals) <= {ReasonCode.QUEUE_FULL}
        assert bool(refusals) is (most == 2)
        chain.clear()
        for order_id in ids:
            await ended(system, order_id)
        assert chain.executions(*ids) == [1] * len(ids)
