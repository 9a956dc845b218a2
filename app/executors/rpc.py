"""The method `rpc`: sendTransaction to the cluster's own JSON-RPC nodes."""

import base64
from collections.abc import Callable, Mapping, Sequence

from app.domain.attempt import StoredAttempt
from app.domain.outcome import Reply
from app.executors.gate import Gate
from app.executors.limiter import Limiter
from app.executors.method import Method, Target
from app.executors.provider_rules import AGAVE
from app.executors.replies import Provider, classify
from app.solana.json_rpc import JsonRpcClient


def rpc(
    clients: Sequence[JsonRpcClient],
    gate: Gate,
    *,
    limiter: Callable[[JsonRpcClient], Limiter] = lambda _client: Limiter(),
) -> Method:
    """Make the method over nodes that are tried in order, until one accepts or may have the bytes.

    `limiter` gives each node's pace: none of our own unless another says so.
    """
    return Method("rpc", send, [Target(client, limiter(client)) for client in clients], gate)


async def send(
    client: JsonRpcClient, attempt: StoredAttempt, seconds: float, provider: Provider = AGAVE
) -> Reply:
    """Push once, without preflight: the transaction was simulated before it was signed.

    `provider` says how the answer is read.
    """
    params = [encoded(attempt), send_options(attempt)]
    answer = await client.call("sendTransaction", params, timeout_seconds=seconds)
    return classify(answer, attempt.signature, provider)


def encoded(attempt: StoredAttempt) -> str:
    """Give the bytes in base64."""
    return base64.b64encode(attempt.signed.raw).decode()


def send_options(attempt: StoredAttempt) -> Mapping[str, object]:
    """Give the options of a node's sendTransaction: one forward, no preflight, not by a node behind."""
    return {
        "encoding": "base64",
        "skipPreflight": True,
        "preflightCommitment": "confirmed",
        "maxRetries": 0,
        "minContextSlot": attempt.signed.blockhash.slot,
    }
