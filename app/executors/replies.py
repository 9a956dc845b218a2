"""What an answer to a push means. Codes collide between vendors: message and data shape decide too.

`rejected` is a remote's claim that it forwarded nothing; only `not_sent` is known here. Neither proves
that the bytes will not land.
"""

import re
from typing import Final

from app.domain.outcome import Reply, ReplyOutcome
from app.executors.gate import Verdict
from app.solana.json_rpc import Answer, Garbled, NeverSent, NoReply, Result, RpcError

_RATE: Final = re.compile(
    r"rate.?limit|too many requests|globally rate limited|request limit reached|requests per second"
    r"|max usage reached|resource has been exhausted",
    re.IGNORECASE,
)
_AUTH: Final = re.compile(
    r"not authorized|invalid (api )?key|api key|unauthorized|forbidden", re.IGNORECASE
)
_ALREADY: Final = re.compile(r"already (been )?processed|AlreadyProcessed", re.IGNORECASE)
_STALE: Final = re.compile(
    r"blockhash not found|BlockhashNotFound|expired blockhash|invalid blockhash", re.IGNORECASE
)
_TIP: Final = re.compile(r"tip account|tip PDAs|must tip|minimum tip|tip too low", re.IGNORECASE)

_INVALID: Final = re.compile(r"too many account locks|precompile verification", re.IGNORECASE)

_HTTP_RATE: Final = 429
_HTTP_AUTH: Final = frozenset({401, 403, 404})
_HTTP_INVALID: Final = frozenset({400, 413, 422})
_CODE_RATE: Final = frozenset({429, 419, -32097, -32429})
_CODE_AUTH: Final = frozenset({401, 403})
_CODE_INVALID: Final = frozenset({-32602, -32600, -32700})
_METHOD_MISSING: Final = -32601
_PREFLIGHT: Final = -32002
_SIGNATURE: Final = -32003
_BEHIND: Final = -32005
_MIN_CONTEXT_SLOT: Final = -32016

OUR_FAULT: Final = frozenset({"tip", "invalid", "preflight", "signature"})
"""Reasons that every endpoint of a method would give: the fault is in the bytes."""
NEUTRAL_REASONS: Final = OUR_FAULT | {"blockhash", "method_missing", "no_time", "limited"}
"""Reasons that say nothing about a method's health: the fault is ours or the chain's."""


def classify_send(answer: Answer, signature: str) -> Reply:
    """Classify the answer to a sendTransaction of bytes whose signature is known here."""
    match answer:
        case NeverSent():
            return Reply(ReplyOutcome.NOT_SENT, "transport")
        case NoReply(why=why):
            return Reply(ReplyOutcome.UNKNOWN, "timeout" if why == "timeout" else "no_reply")
        case Garbled():
            return Reply(ReplyOutcome.UNKNOWN, "garbled")
        case Result(value=value):
            same = value == signature
            return Reply(ReplyOutcome.ACCEPTED, "ok") if same else _unknown("signature_mismatch")
        case RpcError():
            return _classify_error(answer)


def _unknown(reason: str) -> Reply:
    return Reply(ReplyOutcome.UNKNOWN, reason)


def _rejected(reason: str, retry_after_seconds: float | None = None) -> Reply:
    return Reply(ReplyOutcome.REJECTED, reason, retry_after_seconds)


def _classify_error(error: RpcError) -> Reply:
    chain_error = error.data.get("err") if isinstance(error.data, dict) else None
    text = f"{error.message} {chain_error if isinstance(chain_error, str) else ''}"
    if error.http == _HTTP_RATE or error.code in _CODE_RATE or _RATE.search(text):
        return _rejected("rate_limited", error.retry_after_seconds)
    if error.http in _HTTP_AUTH or error.code in _CODE_AUTH or _AUTH.search(text):
        return _rejected("auth_or_config")
    if _ALREADY.search(text):
        return Reply(ReplyOutcome.ALREADY, "already_processed")
    if _STALE.search(text):
        return _unknown("blockhash")  # expired, a lagging node, or landed with an expired blockhash
    if _TIP.search(text):
        return _rejected("tip")
    return _by_code(error, chain_error, text)


def _by_code(error: RpcError, chain_error: object, text: str) -> Reply:
    if error.code == _METHOD_MISSING:
        return _rejected("method_missing")
    if error.code == _PREFLIGHT and chain_error is not None:
        return _rejected("preflight")
    if error.code == _SIGNATURE and "signature verification" in text.lower():
        return _rejected("signature")
    if error.code == _BEHIND and isinstance(error.data, dict) and "numSlotsBehind" in error.data:
        return _rejected("node_behind")
    if error.code == _MIN_CONTEXT_SLOT:
        return _rejected("min_context_slot")
    by_text = _INVALID.search(text) is not None
    invalid = (
        by_text
        or error.code in _CODE_INVALID
        or (error.code is None and error.http in _HTTP_INVALID)
    )
    return _rejected("invalid") if invalid else _unknown("server_error")


def health(reply: Reply) -> Verdict:
    """Say what a reply tells about its method, for the breaker."""
    if reply.outcome in (ReplyOutcome.ACCEPTED, ReplyOutcome.ALREADY):
        return Verdict.OK
    return Verdict.NEUTRAL if reply.reason in NEUTRAL_REASONS else Verdict.FAIL
