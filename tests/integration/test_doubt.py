"""Orders that no endpoint can settle, or that endpoints disagree on, on a real chain; and their operator."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from app.bootstrap import ExecutionSystem
from app.domain.errors import ReasonCode, ResolutionError
from app.domain.events import EventKind
from app.engine.order_manager import DEFAULT_ACCOUNT
from tests.integration.chain import Chain, running_chain
from tests.integration.kit import (
    ONE_NODE,
    SELL,
    Json,
    comes_to,
    document,
    ended,
    endpoint,
    running,
    sealed,
    trail,
    until,
)

pytestmark = pytest.mark.anyio

SHORT_LIVES = {**ONE_NODE, "execution.transaction_timeout": 1.2}
FINALITY_BLOCKS = 40
LIFE_BLOCKS = 160


@pytest.fixture(scope="module")
def module_chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """Run a chain whose blocks can be undone for a while."""
    folder = tmp_path_factory.mktemp("chain")
    with running_chain(folder, finality_blocks=FINALITY_BLOCKS) as chain:
        yield chain


def two_endpoints(chain: Chain) -> dict[str, object]:
    """Read the chain from two nodes, the second of them behind QuickNode's door."""
    second = f"{chain.quicknode_url}/{chain.quicknode_token}/"
    return {**SHORT_LIVES, **endpoint(chain), "solana.rpc_urls": [chain.rpc_url, second]}


async def doubted(system: ExecutionSystem, order_id: str) -> Json:
    """Wait until an order is in doubt."""
    return await comes_to(system, order_id, "doubt", lambda it: bool(it["in_doubt_since"]))


async def resolve(system: ExecutionSystem, order_id: str, how: str, **more: Any) -> None:
    """Resolve an order as an operator would."""
    word = {"as": how, "evidence": "looked myself", **more}
    await system.parts.resolver.resolve(DEFAULT_ACCOUNT, order_id, word)


async def refusal(system: ExecutionSystem, order_id: str, how: str) -> ReasonCode:
    """Try to resolve an order; gives why that is refused."""
    with pytest.raises(ResolutionError) as caught:
        await resolve(system, order_id, how)
    return caught.value.code


async def test_a_history_that_does_not_reach_back_leaves_an_order_in_doubt(
    tmp_path: Path, chain: Chain
) -> None:
    """It expired, its blockhash is gone, it is absent, and that is no proof; with the history it is one."""
    async with running(tmp_path, chain, SHORT_LIVES) as system:
        chain.fault("accept_then_drop", "sendTransaction")
        order_id = await system.submit_trading_signal(SELL)
        await comes_to(system, order_id, "an attempt", lambda it: bool(it["attempts"]))
        chain.step(FINALITY_BLOCKS + LIFE_BLOCKS)
        chain.fault("pruned")
        await doubted(system, order_id)
        (doubt,) = [
            event
            for event in await sealed(system, order_id, EventKind.IN_DOUBT)
            if event.kind is EventKind.IN_DOUBT
        ]
        assert "does not reach back" in str(doubt.data["why"])
        chain.clear()
        order = await ended(system, order_id)
        assert [attempt["status"] for attempt in order["attempts"]] == ["expired", "landed"]
        (dead,) = [e for e in await trail(system, order_id) if e.kind is EventKind.EXPIRED]
        (proof,) = cast("list[dict[str, int]]", dead.data["proof"])
        assert proof["invalid_slot"] >= proof["slot"]
        assert chain.executions(order_id) == [1]


async def test_an_operator_ends_what_no_endpoint_can_settle(tmp_path: Path, chain: Chain) -> None:
    """No endpoint is past its life: too early. Then it is failed, and never signed again."""
    async with running(tmp_path, chain, SHORT_LIVES) as system:
        chain.fault("accept_then_drop", "sendTransaction")
        chain.fault("hang", "isBlockhashValid", seconds=0.05)
        order_id = await system.submit_trading_signal(SELL)
        await comes_to(system, order_id, "an attempt", lambda it: bool(it["attempts"]))
        chain.step(FINALITY_BLOCKS + LIFE_BLOCKS)
        await doubted(system, order_id)
        chain.fault("lag", slots=2 * LIFE_BLOCKS)
        assert await refusal(system, order_id, "failed") is ReasonCode.RESOLUTION_TOO_EARLY
        chain.clear()
        chain.fault("accept_then_drop", "sendTransaction")
        chain.fault("hang", "isBlockhashValid", seconds=0.05)
        await resolve(system, order_id, "failed")
        order = await document(system, order_id)
        assert (order["status"], order["reason_code"]) == ("failed", "RESOLVED_BY_OPERATOR")
        assert [attempt["status"] for attempt in order["attempts"]] == ["failed"]
        events = await sealed(system, order_id, EventKind.ENDED)
        assert [event.kind for event in events[-2:]] == [EventKind.RESOLVED, EventKind.ENDED]
        assert chain.executions(order_id) == [0]


async def test_endpoints_that_disagree_sign_nothing_and_no_operator_overrides_them(
    tmp_path: Path, chain: Chain
) -> None:
    """One has lost what landed, the other shows it: told once, counted, and only a fill is accepted."""
    async with running(tmp_path, chain, two_endpoints(chain)) as system:
        chain.fault("null_status", endpoint="rpc")
        order_id = await system.submit_trading_signal(SELL)
        await until("it landed", lambda: chain.executions(order_id) == [1])
        chain.fault("hang", "getTransaction", endpoint="quicknode", seconds=0.05)
        chain.step(FINALITY_BLOCKS + LIFE_BLOCKS)
        order = await doubted(system, order_id)
        assert len(order["attempts"]) == 1
        events = await sealed(system, order_id, EventKind.DISPUTED)
        (dispute,) = [event for event in events if event.kind is EventKind.DISPUTED]
        assert dispute.data["dispute"] == "presence"
        assert len(dispute.data["said"]) == 2  # type: ignore[arg-type]
        exposition = system.parts.report.render_metrics()[0].decode()
        assert 'synergy7_evidence_disagreements_total{dispute="presence"} 1.0' in exposition
        for how in ("failed", "expired"):
            assert await refusal(system, order_id, how) is ReasonCode.RESOLUTION_CONTRADICTED
        chain.clear()
        chain.fault("null_status", "getSignatureStatuses", endpoint="rpc")
        await resolve(system, order_id, "filled")
        order = await document(system, order_id)
        assert order["status"] == "filled"
        assert chain.differences(order) == []
        chain.clear()
        await comes_to(system, order_id, "finality", lambda it: bool(it["finalized_at"]))
        assert chain.executions(order_id) == [1]
