"""What every submission method shares: admission, targets tried in order, and what it says of itself.

A method is a `Push`, the one HTTP exchange with its classification; this is everything around it.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from app.domain.attempt import StoredAttempt
from app.domain.errors import StartupError
from app.domain.outcome import Reply, ReplyOutcome
from app.engine.ports import Hindrance, Privacy, TipNeeds
from app.executors.gate import Gate, Verdict
from app.executors.limiter import Limiter, loop_time
from app.executors.replies import OUR_FAULT, UNANSWERED, health
from app.solana.json_rpc import JsonRpcClient

MARGIN_SECONDS: Final = 0.05
"""A push gives up so long before its deadline: cut off from outside it could not tell that a node hung."""
AILING_SECONDS: Final = 1.0
"""A target that failed is asked after the others for so long; doubled from failure to failure."""
AILING_SECONDS_MAX: Final = 30.0

Push = Callable[[JsonRpcClient, StoredAttempt, float], Awaitable[Reply]]
"""Pushes the bytes once through an endpoint within so many seconds; raises only CancelledError."""


@dataclass(slots=True)
class Target:
    """One endpoint of a method, such as a region: independent of the others, with a pace of its own."""

    client: JsonRpcClient
    limiter: Limiter
    failures: int = 0
    ailing_until: float = float("-inf")


class Method:
    """An `Executor` over a `Push`."""

    def __init__(
        self,
        name: str,
        push: Push,
        targets: Sequence[Target],
        gate: Gate,
        *,
        privacy: Privacy = Privacy.PUBLIC,
        needs: Callable[[], TipNeeds] = TipNeeds,
        claim: Callable[[str], str | None] = lambda _signature: None,
        monotonic: Callable[[], float] = loop_time,
    ) -> None:
        """`targets` are tried in order within one push, those that failed lately last.

        Raises StartupError(METHOD_NOT_CONFIGURED) without any: nothing could ever be pushed.
        """
        if not targets:
            what = f"the method {name} is in methods.order and has no endpoint"
            todo = f"configure methods.{name}, or leave it out of methods.order"
            raise StartupError("METHOD_NOT_CONFIGURED", what, todo)
        self.name = name
        self.privacy = privacy
        self._push = push
        self._targets = list(targets)
        self._gate = gate
        self._needs = needs
        self._claim = claim
        self._monotonic = monotonic

    @property
    def needs(self) -> TipNeeds:
        """See the port."""
        return self._needs()

    def hindrance(self, *, again: bool = False) -> Hindrance | None:
        """See the port."""
        shut = self._gate.wait_seconds()
        if shut > 0:
            return Hindrance("breaker_open", shut)
        wait = min(target.limiter.wait_seconds(again=again) for target in self._targets)
        if self._gate.is_closed:
            return Hindrance("limited", wait) if wait > 0 else None
        return Hindrance("breaker_open", wait) if wait > 0 else Hindrance("half_open", 0)

    def state(self) -> Mapping[str, object]:
        """See the port."""
        return {
            "name": self.name,
            "privacy": self.privacy.value,
            "breaker": self._gate.state,
            "retry_after_seconds": round(self._gate.retry_after_seconds(), 3),
            "endpoints": [target.client.endpoint for target in self._targets],
            "limits": [
                {
                    "endpoint": target.client.endpoint,
                    "wait_seconds": round(target.limiter.wait_seconds(), 3),
                }
                for target in self._targets
            ],
        }

    def reset(self) -> None:
        """See the port."""
        self._gate.reset()
        for target in self._targets:
            target.limiter.reset()
            target.failures, target.ailing_until = 0, float("-inf")

    def claim(self, signature: str) -> str | None:
        """See the port."""
        return self._claim(signature)

    async def submit(
        self, attempt: StoredAttempt, deadline: float, may: Callable[[], bool]
    ) -> Reply:
        """See the port."""
        ticket = self._gate.admit()
        if ticket is None:
            return Reply(ReplyOutcome.NOT_SENT, "breaker_open", self._gate.retry_after_seconds())
        verdict = Verdict.NEUTRAL
        try:
            reply = await self._try_targets(attempt, deadline, may)
            verdict = health(reply)
            return reply
        finally:
            self._gate.record(ticket, verdict)

    async def _try_targets(
        self, attempt: StoredAttempt, deadline: float, may: Callable[[], bool]
    ) -> Reply:
        """Try target after target while nobody can have the bytes; what one refused was not unsent."""
        reply = Reply(ReplyOutcome.NOT_SENT, "limited")
        for target in self._ranked():
            seconds = deadline - MARGIN_SECONDS - self._monotonic()
            if seconds <= 0:
                return (
                    reply if reply.reason != "limited" else Reply(ReplyOutcome.NOT_SENT, "no_time")
                )
            if not may():
                break
            if not target.limiter.take():
                continue
            last = await self._push(target.client, attempt, seconds)
            self._note(target, last)
            refused = reply.outcome is ReplyOutcome.REJECTED
            if not (refused and last.outcome is ReplyOutcome.NOT_SENT):
                reply = last
            if reply.outcome not in (ReplyOutcome.NOT_SENT, ReplyOutcome.REJECTED):
                break
            if reply.reason in OUR_FAULT:
                break  # the next one would say the same
        return reply

    def _ranked(self) -> Sequence[Target]:
        """Give the targets in their order, those that failed lately behind, soonest well first."""
        now = self._monotonic()
        return sorted(self._targets, key=lambda target: max(target.ailing_until, now))

    def _note(self, target: Target, reply: Reply) -> None:
        """Learn from a reply how the target is, and whether it wants to be left alone."""
        if reply.reason == "rate_limited":
            target.limiter.refused(reply.retry_after_seconds)
        elif reply.outcome is not ReplyOutcome.NOT_SENT and reply.reason not in UNANSWERED:
            target.limiter.served()
        verdict = health(reply)
        if verdict is Verdict.OK:
            target.failures, target.ailing_until = 0, float("-inf")
        elif verdict is Verdict.FAIL:
            seconds = min(AILING_SECONDS * 2 ** min(target.failures, 10), AILING_SECONDS_MAX)
            target.failures += 1
            target.ailing_until = self._monotonic() + seconds
