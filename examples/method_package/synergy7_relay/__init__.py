"""The submission method `relay`: transactions go as JSON to a service that forwards them."""

import base64
import json

from app.domain.attempt import StoredAttempt
from app.domain.errors import StartupError
from app.domain.outcome import Reply, ReplyOutcome
from app.engine.ports import Executor, Privacy
from app.executors.method import Method, Target
from app.executors.registry import MethodContext
from app.solana.json_rpc import Exchanged, JsonRpcClient, NeverSent, NoReply, Raw

PUSHES_PER_SECOND = 10
"""What the relay allows an address."""
REFUSALS = {
    400: "invalid",
    401: "auth_or_config",
    403: "auth_or_config",
    429: "rate_limited",
}
"""Statuses with which the relay says that it forwarded nothing, with the reason that is told."""


def build(context: MethodContext) -> Executor:
    """Make the method from its options: `url`, and if need be `key`."""
    url, key = context.options.get("url"), context.options.get("key")
    if not isinstance(url, str):
        what = f"methods.options.{context.name}.url is not set"
        raise StartupError("METHOD_NOT_CONFIGURED", what, "say where the relay is")
    client = context.connect(url, {} if key is None else {"x-relay-key": str(key)})
    limiter = context.limiter(f"{client.endpoint} relay", PUSHES_PER_SECOND)
    return Method(
        context.name, push, [Target(client, limiter)], context.gate, privacy=Privacy.PUBLIC
    )


async def push(client: JsonRpcClient, attempt: StoredAttempt, seconds: float) -> Reply:
    """Push the bytes once; what can go wrong comes back as a value."""
    document = {"transaction": base64.b64encode(attempt.signed.raw).decode()}
    answer = await client.exchange(
        "relay", json.dumps(document).encode(), path="/submit", timeout_seconds=seconds
    )
    return read(answer, attempt.signature)


def read(answer: Exchanged, signature: str) -> Reply:
    """Say what an answer means; what it does not surely say is unknown."""
    match answer:
        case NeverSent():
            return Reply(ReplyOutcome.NOT_SENT, "transport")
        case NoReply(why=why):
            return Reply(ReplyOutcome.UNKNOWN, "timeout" if why == "timeout" else "no_reply")
        case Raw(http=200) if acknowledged(answer.body) == signature:
            return Reply(ReplyOutcome.ACCEPTED, "ok")
        case Raw(http=409):
            return Reply(ReplyOutcome.ALREADY, "already_processed")
        case Raw(http=http) if http in REFUSALS:
            return Reply(ReplyOutcome.REJECTED, REFUSALS[http])
        case Raw():
            return Reply(ReplyOutcome.UNKNOWN, "server_error")


def acknowledged(body: bytes) -> object:
    """Give the signature that the relay says it took; None when it says nothing of the kind."""
    try:
        document = json.loads(body)
    except ValueError:
        return None
    return document.get("signature") if isinstance(document, dict) else None
