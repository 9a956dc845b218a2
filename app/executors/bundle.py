"""The method `bundle`: sendBundle to Jito's block engines, with the one transaction as the bundle.

One transaction, so that the same bytes can go through any other method. Only the tip counts in the
auction; a bundle that would fail is dropped and costs nothing.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Final

from app.domain.attempt import StoredAttempt
from app.domain.outcome import Reply, ReplyOutcome
from app.engine.ports import Privacy, TipNeeds
from app.executors.bundle_statuses import BundleStatuses
from app.executors.gate import Gate
from app.executors.method import Method, Push, Target
from app.executors.provider_rules import JITO_BUNDLES
from app.executors.replies import Provider, classify
from app.executors.rpc import encoded
from app.solana.json_rpc import JsonRpcClient

PATH: Final = "/api/v1/bundles"


def bundle(
    targets: Sequence[Target],
    gate: Gate,
    *,
    tips: Callable[[], TipNeeds],
    statuses: BundleStatuses | None = None,
) -> Method:
    """Make the method over regions that are tried in order; their limiters are shared by all of Jito's."""
    push = send_bundle(
        lambda attempt: [[encoded(attempt)], {"encoding": "base64"}], JITO_BUNDLES, statuses, PATH
    )
    claim = no_claim if statuses is None else statuses.claim
    return Method("bundle", push, targets, gate, privacy=Privacy.PRIVATE, needs=tips, claim=claim)


def send_bundle(
    params: Callable[[StoredAttempt], Sequence[object]],
    provider: Provider,
    statuses: BundleStatuses | None,
    path: str = "",
) -> Push:
    """Make the push of a bundle: acknowledged by its id, which is computed before it is sent."""

    async def push(client: JsonRpcClient, attempt: StoredAttempt, seconds: float) -> Reply:
        expected = bundle_id([attempt.signature])
        answer = await client.call(
            "sendBundle", params(attempt), path=path, timeout_seconds=seconds
        )
        reply = classify(answer, expected, provider)
        if statuses is not None and reply.outcome is ReplyOutcome.ACCEPTED:
            statuses.watch(client, attempt.signature, expected)
        return reply

    return push


def bundle_id(signatures: Sequence[str]) -> str:
    """Give a bundle's id: SHA-256, in hex, of its base58 signatures in order, joined by commas.

    Source: jito-solana, derive_bundle_id.
    """
    return hashlib.sha256(",".join(signatures).encode()).hexdigest()


def no_claim(_signature: str) -> None:
    """Say nothing of any bytes: nobody is asked."""
