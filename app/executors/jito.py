"""The method `jito`: sendTransaction to Jito's block engines.

They hand it to the leader as an ordinary transaction too, which may land failed and pay; only as a bundle
alone it stays private and lands whole or not at all.
"""

import re
from collections.abc import Callable, Sequence
from typing import Final

from app.domain.attempt import StoredAttempt
from app.domain.outcome import Reply, ReplyOutcome
from app.engine.ports import Privacy, TipNeeds
from app.executors.bundle import followed
from app.executors.bundle_statuses import BundleStatuses
from app.executors.gate import Gate
from app.executors.method import Method, Target
from app.executors.provider_rules import JITO_TRANSACTIONS
from app.executors.replies import classify
from app.executors.rpc import encoded
from app.solana.json_rpc import Answer, JsonRpcClient, Result

NAME: Final = "jito"
PATH: Final = "/api/v1/transactions"
BUNDLE_ONLY_PATH: Final = f"{PATH}?bundleOnly=true"
_BUNDLE_ID: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


def jito(
    targets: Sequence[Target],
    gate: Gate,
    *,
    bundle_only: bool,
    tips: Callable[[], TipNeeds],
    statuses: BundleStatuses | None = None,
) -> Method:
    """Make the method over regions that are tried in order; their limiters are shared by all of Jito's."""
    path = BUNDLE_ONLY_PATH if bundle_only else PATH
    accepted, claim = followed(statuses, NAME)

    async def push(client: JsonRpcClient, attempt: StoredAttempt, seconds: float) -> Reply:
        params = [encoded(attempt), {"encoding": "base64"}]
        answer = await client.call("sendTransaction", params, path=path, timeout_seconds=seconds)
        reply = classify(answer, attempt.signature, JITO_TRANSACTIONS)
        bundle_id = _bundle_id(answer)
        if bundle_id is not None and reply.outcome is ReplyOutcome.ACCEPTED:
            accepted(client, attempt.signature, bundle_id)
        return reply

    privacy = Privacy.PRIVATE if bundle_only else Privacy.PUBLIC
    return Method(NAME, push, targets, gate, privacy=privacy, needs=tips, claim=claim)


def _bundle_id(answer: Answer) -> str | None:
    """Give the id under which the engine knows the transaction as a bundle, when it says so."""
    told = answer.headers.get("x-bundle-id", "") if isinstance(answer, Result) else ""
    return told if _BUNDLE_ID.fullmatch(told) else None
