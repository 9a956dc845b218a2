"""The method `rpc`: sendTransaction to the cluster's own JSON-RPC nodes."""

import asyncio
import base64
from collections.abc import Mapping, Sequence
from typing import Final

from app.domain.attempt import StoredAttempt
from app.domain.outcome import Reply, ReplyOutcome
from app.engine.ports import Privacy, TipNeeds
from app.executors.gate import Gate, Verdict
from app.executors.replies import classify_send, health
from app.solana.json_rpc import JsonRpcClient

MARGIN_SECONDS: Final = 0.05
"""A push gives up so long before its deadline: cut off from outside it could not tell that a node hung."""


class RpcExecutor:
    """Pushes through the configured nodes in order, until one accepts or may have the bytes."""

    name = "rpc"
    privacy = Privacy.PUBLIC
    needs = TipNeeds()

    def __init__(self, clients: Sequence[JsonRpcClient], gate: Gate) -> None:
        """`clients` are tried in order within one push."""
        self._clients = list(clients)
        self._gate = gate

    def admits(self) -> bool:
        """See the port."""
        return self._gate.would_admit()

    def state(self) -> Mapping[str, object]:
        """See the port."""
        return {
            "name": self.name,
            "privacy": self.privacy.value,
            "breaker": self._gate.state,
            "retry_after_seconds": round(self._gate.retry_after_seconds(), 3),
            "endpoints": [client.endpoint for client in self._clients],
        }

    async def submit(self, attempt: StoredAttempt, deadline: float) -> Reply:
        """See the port."""
        ticket = self._gate.admit()
        if ticket is None:
            return Reply(ReplyOutcome.NOT_SENT, "breaker_open", self._gate.retry_after_seconds())
        verdict = Verdict.NEUTRAL
        try:
            reply = await self._push(attempt, deadline)
            verdict = health(reply)
            return reply
        finally:
            self._gate.record(ticket, verdict)

    async def _push(self, attempt: StoredAttempt, deadline: float) -> Reply:
        """Try node after node while nobody can have the bytes; what one node refused was not unsent."""
        reply = Reply(ReplyOutcome.NOT_SENT, "no_time")
        for client in self._clients:
            seconds = deadline - MARGIN_SECONDS - asyncio.get_running_loop().time()
            if seconds <= 0:
                break
            last = await _send(client, attempt, seconds)
            refused = reply.outcome is ReplyOutcome.REJECTED
            if not (refused and last.outcome is ReplyOutcome.NOT_SENT):
                reply = last
            if reply.outcome not in (ReplyOutcome.NOT_SENT, ReplyOutcome.REJECTED):
                break
        return reply


async def _send(client: JsonRpcClient, attempt: StoredAttempt, seconds: float) -> Reply:
    """Push once, without preflight: the transaction was simulated before it was signed."""
    options = {
        "encoding": "base64",
        "skipPreflight": True,
        "preflightCommitment": "confirmed",
        "maxRetries": 0,
        "minContextSlot": attempt.signed.blockhash.slot,
    }
    params = [base64.b64encode(attempt.signed.raw).decode(), options]
    answer = await client.call("sendTransaction", params, timeout_seconds=seconds)
    return classify_send(answer, attempt.signature)
