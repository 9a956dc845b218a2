"""The method `bundle`: sendBundle to Jito's block engines, with the one transaction as the bundle.

One transaction, so that the same bytes can go through any other method. Only the tip counts in the
auction; a bundle that would fail is dropped and costs nothing.
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
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

NAME: Final = "bundle"
PATH: Final = "/api/v1/bundles"

Accepted = Callable[[JsonRpcClient, str, str], None]
"""Is told of an accepted transaction: the endpoint, its signature, the bundle's id."""
Claim = Callable[[str], str | None]


def bundle(
    targets: Sequence[Target],
    gate: Gate,
    *,
    tips: Callable[[], TipNeeds],
    statuses: BundleStatuses | None = None,
) -> Method:
    """Make the method over regions that are tried in order; their limiters are shared by all of Jito's."""
    accepted, claim = followed(statuses, NAME)
    push = send_bundle(bundle_params, JITO_BUNDLES, accepted, PATH)
    return Method(NAME, push, targets, gate, privacy=Privacy.PRIVATE, needs=tips, claim=claim)


def bundle_params(attempt: StoredAttempt) -> Sequence[object]:
    """Give the bundle of the one transaction, in base64, which has to be said."""
    return [[encoded(attempt)], {"encoding": "base64"}]


def send_bundle(
    make_params: Callable[[StoredAttempt], Sequence[object]],
    provider: Provider,
    accepted: Accepted,
    path: str = "",
) -> Push:
    """Make the push of a bundle: acknowledged by its id, which is computed before it is sent."""

    async def push(client: JsonRpcClient, attempt: StoredAttempt, seconds: float) -> Reply:
        expected = bundle_id([attempt.signature])
        answer = await client.call(
            "sendBundle", make_params(attempt), path=path, timeout_seconds=seconds
        )
        reply = classify(answer, expected, provider)
        if reply.outcome is ReplyOutcome.ACCEPTED:
            accepted(client, attempt.signature, expected)
        return reply

    return push


def bundle_id(signatures: Sequence[str]) -> str:
    """Give a bundle's id: SHA-256, in hex, of its base58 signatures in order, joined by commas.

    Source: jito-solana, derive_bundle_id.
    """
    return hashlib.sha256(",".join(signatures).encode()).hexdigest()


def followed(statuses: BundleStatuses | None, method: str) -> tuple[Accepted, Claim]:
    """Give whom to tell what was accepted, and who says what became of it; without statuses nobody."""
    if statuses is None:
        return (lambda _client, _signature, _bundle_id: None), (lambda _signature: None)
    return partial(statuses.watch, method), statuses.claims_of(method)
