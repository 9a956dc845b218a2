"""What an answer to a push means: the words for it, and the one way from an answer to a reply.

Codes collide between vendors, so each provider has a table of its own (`provider_rules`): the first rule
decides that fits status, code, message and data. `rejected` is a remote's claim that it forwarded
nothing; only `not_sent` is known here. Neither proves that the bytes will not land.
"""

import re
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Final

from app.domain.outcome import Reply, ReplyOutcome
from app.executors.gate import Verdict
from app.solana.json_rpc import Answer, Garbled, NeverSent, NoReply, Result, RpcError

SERVER_ERROR: Final = "server_error"
"""The reason of what no rule knows: the bytes may have been forwarded."""
OUR_FAULT: Final = frozenset({"tip", "invalid", "preflight", "signature"})
"""Reasons that every endpoint of a method would give: the fault is in the bytes."""
NEUTRAL_REASONS: Final = OUR_FAULT | {"blockhash", "no_leader", "no_time", "limited"}
"""Reasons that say nothing about a method's health: the fault is ours or the chain's."""
UNANSWERED: Final = frozenset({"timeout", "no_reply"})
"""Reasons of pushes that nobody answered."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What an error answer means that fits in all that is given; what is not given fits any."""

    outcome: ReplyOutcome
    reason: str
    http: Container[int] | None = None
    code: Container[int] | None = None
    text: re.Pattern[str] | None = None
    """Found in the message, or in `data.err` when that is a word."""
    data: Callable[[object], bool] | None = None

    def fits(self, error: RpcError) -> bool:
        """Tell whether the rule is about this answer."""
        return (
            (self.http is None or error.http in self.http)
            and (self.code is None or (error.code is not None and error.code in self.code))
            and (self.text is None or self.text.search(text_of(error)) is not None)
            and (self.data is None or self.data(error.data))
        )


@dataclass(frozen=True, slots=True)
class Provider:
    """How one kind of endpoint answers: its rules, the first that fits decides."""

    rules: Sequence[Rule]
    mismatch: str = "signature_mismatch"
    """The reason when it acknowledges something else than what it was given."""


def classify(answer: Answer, expected: str, provider: Provider) -> Reply:
    """Say what an answer means; `expected` is what an acknowledgement repeats, as computed here."""
    match answer:
        case NeverSent():
            return Reply(ReplyOutcome.NOT_SENT, "transport")
        case NoReply(why=why):
            return _unknown("timeout" if why == "timeout" else "no_reply")
        case Garbled():
            return _unknown("garbled")
        case Result(value=value):
            same = value == expected
            return Reply(ReplyOutcome.ACCEPTED, "ok") if same else _unknown(provider.mismatch)
        case _:
            return by_rules(answer, provider.rules)


def by_rules(error: RpcError, rules: Sequence[Rule]) -> Reply:
    """Give what the first fitting rule says; unknown when none fits."""
    rule = next((each for each in rules if each.fits(error)), None)
    if rule is None:
        return _unknown(SERVER_ERROR)
    hint = error.retry_after_seconds if rule.reason == "rate_limited" else None
    return Reply(rule.outcome, rule.reason, hint)


def text_of(error: RpcError) -> str:
    """Give the words of an error: its message, and `data.err` when that is a word."""
    chain_error = error.data.get("err") if isinstance(error.data, dict) else None
    return f"{error.message} {chain_error}" if isinstance(chain_error, str) else error.message


def health(reply: Reply) -> Verdict:
    """Say what a reply tells about its method, for the breaker."""
    if reply.outcome in (ReplyOutcome.ACCEPTED, ReplyOutcome.ALREADY):
        return Verdict.OK
    return Verdict.NEUTRAL if reply.reason in NEUTRAL_REASONS else Verdict.FAIL


def _unknown(reason: str) -> Reply:
    return Reply(ReplyOutcome.UNKNOWN, reason)
