"""A chain over nodes whose answers a test sets, on a clock that it may put forward."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

from app.solana.chain import RpcChain
from tests.domain.makers import BLOCKHASH_SLOT, LAST_HEIGHT
from tests.solana.server import CLOSE, Node, error, node

GENESIS = "ours"
EXPIRY = {"absoluteSlot": 6_000, "blockHeight": LAST_HEIGHT + 1}
ABSENT = {"context": {"slot": 6_000}, "value": [None]}
TIP = {
    "context": {"slot": 6_040},
    "value": {"blockhash": "tip", "lastValidBlockHeight": LAST_HEIGHT + 200},
}
INVALID = {"context": {"slot": 6_000}, "value": False}
DEAD: dict[str, Any] = {
    "getGenesisHash": GENESIS,
    "getEpochInfo": EXPIRY,
    "isBlockhashValid": INVALID,
    "getSignatureStatuses": ABSENT,
    "minimumLedgerSlot": BLOCKHASH_SLOT,
    "getLatestBlockhash": TIP,
}
DOWN: dict[str, Any] = dict.fromkeys(DEAD, CLOSE)
BEHIND = error(200, -32016, "Minimum context slot has not been reached", {"contextSlot": 1})


class ShiftedLoop(asyncio.SelectorEventLoop):
    """A loop whose clock a test may put forward while nothing is under way."""

    shift = 0.0

    def time(self) -> float:
        return super().time() + self.shift


def put_forward(seconds: float) -> None:
    """Let time pass."""
    cast("ShiftedLoop", asyncio.get_running_loop()).shift += seconds


@asynccontextmanager
async def chain_of(
    *answers: dict[str, Any],
    proof_endpoints: int = 1,
    hedge_seconds: float | None = None,
    on_hedge: Callable[[str], None] = lambda _method: None,
) -> AsyncIterator[tuple[RpcChain, list[Node]]]:
    """Open a chain over nodes with these answers."""
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(node(**each)) for each in answers]
        clients = [each.client for each in nodes if each.client is not None]
        chain = RpcChain(
            clients,
            proof_endpoints=proof_endpoints,
            poll_seconds=0.01,
            hedge_seconds=hedge_seconds,
            on_hedge=on_hedge,
        )
        chain.belongs_to(GENESIS)
        chain.verified = True
        yield chain, nodes
