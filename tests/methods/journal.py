"""Who signed, pushed and was told what: kept beside the engine, to be held against its records."""

import contextvars
from collections import defaultdict
from dataclasses import dataclass, field

from app.domain.attempt import StoredAttempt, Submission
from app.domain.outcome import Reply
from tests.engine.fake_store import FakeDatabase
from tests.methods.table import Stage

WRITES_UNDER_WAY = 1
"""How many writes to an order may stand before the one that records a push that was just answered."""


@dataclass(frozen=True)
class Push:
    """One push through one method, as it began."""

    process: str
    method: str
    attempt: StoredAttempt
    stage: Stage
    at_us: int
    late: bool
    """The attempt was dead already: its burial was committed, and the answer to that was lost."""


PUSH: contextvars.ContextVar[Push | None] = contextvars.ContextVar("push", default=None)
"""The push within which this runs."""


@dataclass
class Told:
    """What a method answered to a push, and how often its process wrote to the order since."""

    push: Push
    reply: Reply
    writes_then: int

    def is_in(self, submissions: tuple[Submission, ...]) -> bool:
        """Tell whether it stands among an attempt's submissions, as it was."""
        wanted = self.push.method, self.reply.outcome, self.reply.reason, self.push.at_us
        return any(wanted == (s.method, s.outcome, s.reason, s.sent_at_us) for s in submissions)


@dataclass
class Journal:
    """What happened to every attempt."""

    signers: dict[str, str] = field(default_factory=dict)
    pushed: dict[str, list[tuple[str, str]]] = field(default_factory=lambda: defaultdict(list))
    told: list[Told] = field(default_factory=list)
    writes: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))

    def begin(
        self, process: str, method: str, attempt: StoredAttempt, at_us: int, *, late: bool
    ) -> Push:
        """Note that a push begins; says at which stage it is."""
        stage = self._stage(process, method, attempt)
        self.pushed[attempt.signature].append((process, method))
        return Push(process, method, attempt, stage, at_us, late)

    def _stage(self, process: str, method: str, attempt: StoredAttempt) -> Stage:
        before = self.pushed[attempt.signature]
        inherited = self.signers.get(attempt.signature) != process
        if inherited and (process, method) not in before:
            return Stage.TAKEOVER
        if not before:
            return Stage.FIRST if attempt.number == 1 else Stage.RESIGNED
        known = any(method == each for _process, each in before)
        return Stage.AGAIN if known else Stage.FALLBACK

    def answered(self, push: Push, reply: Reply) -> None:
        """Note what a living process was told."""
        writes = self.writes[push.process, push.attempt.order_id]
        self.told.append(Told(push, reply, writes))

    def wrote(self, process: str, order_id: str) -> None:
        """Note that a process recorded something of an order that it holds."""
        self.writes[process, order_id] += 1

    def unrecorded(self, database: FakeDatabase) -> tuple[list[str], int]:
        """Name the pushes that their process went on without recording; counts those lost with theirs.

        A process that dies, or whose lease does, takes with it what it was told last; who does not know
        yet that it gave the order back has nowhere to record it.
        """
        lost: list[str] = []
        gone = 0
        for told in self.told:
            push = told.push
            stored = {each.number: each for each in database.attempts(push.attempt.order_id)}
            attempt = stored.get(push.attempt.number)
            if attempt is not None and told.is_in(attempt.submissions):
                continue
            since = self.writes[push.process, push.attempt.order_id] - told.writes_then
            if since > WRITES_UNDER_WAY and not push.late:
                lost.append(
                    f"{push.process} did not record a push of {push.attempt.attempt_id}: "
                    f"{push.method} {told.reply.reason}"
                )
            else:
                gone += 1
        return lost, gone
