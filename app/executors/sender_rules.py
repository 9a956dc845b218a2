"""What a sender's answer means: our signature acknowledged, else its own rules, else the usual ones.

Senders answer in many shapes: a JSON-RPC result, a signature in an object, plain text, nothing at all,
a refusal with status 200. What acknowledges nothing and refuses nothing is unknown.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from http import HTTPStatus
from typing import Final

from app.domain.outcome import Reply, ReplyOutcome
from app.executors.provider_rules import AGAVE
from app.executors.replies import Rule, by_rules, classify
from app.executors.sender_options import SIGNATURE, ErrorRule, RetryAfter, SenderOptions, Success
from app.solana.json_rpc import MESSAGE_LENGTH_MAX, Exchanged, Raw, RpcError, read_answer

BODY_BYTES_MAX: Final = 64 * 1024
"""Largest answer read: an acknowledgement has some hundred bytes."""
SENDER_RULES: Final[Sequence[Rule]] = (
    Rule(ReplyOutcome.REJECTED, "rate_limited", http={419}),
    *AGAVE.rules,
)
"""For all senders alike: 400, 401, 403, 404, 413, 419, 422 and 429 refuse, other faults tell nothing."""
SIGNATURE_PATHS: Final = ("result", "signature", "result.signature")
"""Where senders are known to put the signature, whatever their pages say."""
_DIGITS: Final = re.compile(r"\d{1,9}", re.ASCII)
_MS: Final = 1_000


def sender_reply(raw: Exchanged, signature: str, options: SenderOptions) -> Reply:
    """Classify the answer to one push of bytes with this signature."""
    if not isinstance(raw, Raw):
        return classify(raw, signature, AGAVE)
    answer = _Answer(raw, options)
    if answer.acknowledges(signature):
        return Reply(ReplyOutcome.ACCEPTED, "ok")
    own = [_rule(each) for each in options.error_rules]
    if answer.error is not None:
        return by_rules(answer.error, (*own, *SENDER_RULES))
    odd = RpcError(raw.http, None, answer.message)
    if any(rule.fits(odd) for rule in own):
        return by_rules(odd, own)
    return Reply(ReplyOutcome.UNKNOWN, answer.oddity())


def _rule(given: ErrorRule) -> Rule:
    return Rule(
        ReplyOutcome(given.outcome),
        given.reason,
        http=None if given.http is None else {given.http},
        code=None if given.code is None else {given.code},
        text=given.message,
    )


class _Answer:
    """An HTTP answer as far as it can be understood; one beyond the bound is not."""

    def __init__(self, raw: Raw, options: SenderOptions) -> None:
        self._success = options.success
        self._http = raw.http
        self._whole = len(raw.body) <= BODY_BYTES_MAX
        body = raw.body if self._whole else b""
        self._text = body.decode(errors="replace").strip()
        self._document = _parsed(self._text)
        self.error = _with_hint(self._error(raw, body, options.retry_after), options.retry_after)

    @property
    def message(self) -> str:
        """The body's beginning."""
        return self._text[:MESSAGE_LENGTH_MAX]

    def _error(self, raw: Raw, body: bytes, retry_after: RetryAfter) -> RpcError | None:
        """Give the error that the answer states; None when it states none."""
        headers = {**raw.headers, "retry-after": raw.headers.get(retry_after.header.lower(), "")}
        answer = read_answer(raw.http, headers, body)
        if isinstance(answer, RpcError):
            return answer
        if isinstance(self._document, Mapping) and self._refuses(self._document):
            return RpcError(raw.http, None, _reason(self._document))
        return None

    def _refuses(self, document: Mapping[str, object]) -> bool:
        """Tell whether an answer with a good status says no: outright, or with a reason for nothing."""
        return document.get("success") is False or bool(
            document.get("reason") and not any(self._signatures())
        )

    def acknowledges(self, signature: str) -> bool:
        """Tell whether the sender says that it took these very bytes, in its way."""
        if self.error is not None or not self._well():
            return False
        named = (self._text, self._document, *self._signatures())
        return signature in named or self._succeeds(self._success, signature)

    def _succeeds(self, success: Success, signature: str) -> bool:
        value = signature if success.value == SIGNATURE else success.value
        match success.kind:
            case "jsonrpc_signature":
                return False
            case "json_path":
                return _at(self._document, success.path) == value
            case "text":
                return self._text == value
            case "empty_2xx":
                return not self._text

    def oddity(self) -> str:
        """Say what is wrong with an answer that neither acknowledges nor refuses."""
        if HTTPStatus.MULTIPLE_CHOICES <= self._http < HTTPStatus.BAD_REQUEST:
            return "redirected"
        return "signature_mismatch" if self._well() and any(self._signatures()) else "garbled"

    def _well(self) -> bool:
        return self._whole and HTTPStatus.OK <= self._http < HTTPStatus.MULTIPLE_CHOICES

    def _signatures(self) -> Iterator[str]:
        """Give what stands where signatures are put."""
        paths = {*SIGNATURE_PATHS, self._success.path} - {""}
        found = (_at(self._document, path) for path in paths)
        return (each for each in found if isinstance(each, str))


def _parsed(text: str) -> object:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document[0] if isinstance(document, list) and len(document) == 1 else document


def _at(document: object, path: str) -> object:
    """Give what stands at a dotted path, None when there is nothing."""

    def step(here: object, name: str) -> object:
        return here.get(name) if isinstance(here, Mapping) else None

    return reduce(step, path.split("."), document)


def _reason(document: Mapping[str, object]) -> str:
    """Give the words of a refusal that is no JSON-RPC error."""
    words = (document.get(name) for name in ("reason", "message", "error"))
    return " ".join(each for each in words if isinstance(each, str))[:MESSAGE_LENGTH_MAX]


def _with_hint(error: RpcError | None, retry_after: RetryAfter) -> RpcError | None:
    """Add when to come back, as the sender's own words have it."""
    if error is None or retry_after.message_regex is None:
        return error
    found = retry_after.message_regex.search(error.message)
    if found is None or not found.groups() or not _DIGITS.fullmatch(str(found[1])):
        return error
    return replace(error, retry_after_seconds=int(found[1]) / _MS)
