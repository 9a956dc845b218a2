"""Lane plans, and the same bytes through one method after the other."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from app.domain.attempt import Lane, LanePlan, StoredAttempt, Submission
from app.domain.outcome import Reply, ReplyOutcome
from app.engine.ports import Executor, Privacy, TipNeeds
from app.engine.transaction_executor import TransactionExecutor
from tests.domain import makers
from tests.engine.fakes import FakeTelemetry, ManualClock
from tests.engine.rig import pass_time

pytestmark = pytest.mark.anyio

SECONDS = 3.0
MOVES_ON = [ReplyOutcome.NOT_SENT, ReplyOutcome.REJECTED, ReplyOutcome.UNKNOWN]


class PanicError(BaseException):
    """Like a panic of native code: no Exception."""


@dataclass
class Method:
    """A method that answers as it is told."""

    name: str
    reply: Reply | BaseException | None = field(
        default_factory=lambda: Reply(ReplyOutcome.ACCEPTED, "ok")
    )
    privacy: Privacy = Privacy.PUBLIC
    admitting: bool = True
    needs: TipNeeds = field(default_factory=TipNeeds)
    raw: list[bytes] = field(default_factory=list)
    deadlines: list[float] = field(default_factory=list)

    def admits(self) -> bool:
        return self.admitting

    def state(self) -> Mapping[str, object]:
        return {"name": self.name}

    async def submit(self, attempt: StoredAttempt, deadline: float) -> Reply:
        self.raw.append(attempt.signed.raw)
        self.deadlines.append(deadline)
        if self.reply is None:
            await asyncio.Event().wait()
        if isinstance(self.reply, BaseException):
            raise self.reply
        assert isinstance(self.reply, Reply)
        return self.reply


def executor(*methods: Method, telemetry: FakeTelemetry | None = None) -> TransactionExecutor:
    """Make an executor over methods, in their order."""
    executors: dict[str, Executor] = {method.name: method for method in methods}
    return TransactionExecutor(
        executors,
        clock=ManualClock(),
        telemetry=telemetry or FakeTelemetry(),
        patience_seconds=2.5,
        push_seconds=SECONDS,
    )


def attempt(*methods: str) -> StoredAttempt:
    """Make a stored attempt whose plan has these methods."""
    return makers.attempt(plan=LanePlan(tuple(Lane(name, 1_000) for name in methods)))


def replies(outcome: ReplyOutcome) -> Reply:
    """Make a reply."""
    return Reply(outcome, "said")


async def push(
    over: TransactionExecutor, stored: StoredAttempt, first: int = 0
) -> Sequence[Submission]:
    """Push with leave that never ends."""
    return await over.push(stored, first, lambda: True)


# ---------------------------------------------------------------- plans


def lanes(plan: LanePlan | None) -> list[str] | None:
    """List the methods of a plan."""
    return None if plan is None else [lane.method for lane in plan.lanes]


def test_without_a_wish_every_method_is_in_the_plan_in_order() -> None:
    """As configured, each with the patience that is configured."""
    plan = executor(Method("jito"), Method("rpc")).plan(makers.order())
    assert plan == LanePlan((Lane("jito", 2_500), Lane("rpc", 2_500)))


def test_the_signal_names_the_complete_list() -> None:
    """Its order counts; no other method is used, and one that is gone is passed over."""
    over = executor(Method("jito"), Method("rpc"), Method("other"))
    order = makers.order(signal=makers.signal(methods=("rpc", "gone", "jito")))
    assert lanes(over.plan(order)) == ["rpc", "jito"]


def test_without_a_method_that_admits_there_is_no_plan() -> None:
    """Nothing is signed for a push that nobody would take; one that admits is enough."""
    shut, open_ = Method("jito", admitting=False), Method("rpc")
    assert lanes(executor(shut, open_).plan(makers.order())) == ["jito", "rpc"]
    only = makers.order(signal=makers.signal(methods=("jito",)))
    assert executor(shut, open_).plan(only) is None
    gone = makers.order(signal=makers.signal(methods=("gone",)))
    assert executor(shut, open_).plan(gone) is None


@pytest.mark.parametrize(
    ("fallback", "private", "wanted"),
    [
        (True, True, ["public", "private"]),
        (False, True, ["private"]),
        (False, False, ["public"]),
    ],
)
def test_public_methods_are_left_out_behind_a_private_one_when_forbidden(
    fallback: bool, private: bool, wanted: list[str]
) -> None:
    """An order that must stay private stays so; one that never was private is not held back."""
    methods = [Method("public")]
    methods += [Method("private", privacy=Privacy.PRIVATE)] if private else []
    order = makers.order(signal=makers.signal(allow_public_fallback=fallback))
    assert lanes(executor(*methods).plan(order)) == wanted


def test_the_plan_says_what_the_transaction_must_carry() -> None:
    """The needs of its methods, in its order."""
    needs = TipNeeds(("payee",), 1_000, 5)
    over = executor(Method("jito", needs=needs), Method("rpc"))
    plan = over.plan(makers.order())
    assert plan is not None
    assert over.needs(plan) == [needs, TipNeeds()]


def test_states_and_readiness_are_told() -> None:
    """Each method's state in order; any that admits makes the whole able to push."""
    over = executor(Method("jito", admitting=False), Method("rpc"))
    assert over.states() == [{"name": "jito"}, {"name": "rpc"}]
    assert over.any_admits()
    assert not executor(Method("jito", admitting=False)).any_admits()


# ---------------------------------------------------------------- pushes


@pytest.mark.parametrize("outcome", list(ReplyOutcome))
async def test_the_next_lane_gets_the_same_bytes_unless_one_has_them(outcome: ReplyOutcome) -> None:
    """Falling back is safe, since the bytes are identical; it stops where they are known to be."""
    first, second = Method("jito", replies(outcome)), Method("rpc")
    submissions = await push(executor(first, second), attempt("jito", "rpc"))
    moved_on = outcome in MOVES_ON
    assert [s.outcome for s in submissions] == [
        outcome,
        *([ReplyOutcome.ACCEPTED] if moved_on else []),
    ]
    assert second.raw == (first.raw if moved_on else [])


async def test_a_push_may_start_at_a_later_lane() -> None:
    """Lanes whose patience is over are not asked again."""
    first, second = Method("jito"), Method("rpc")
    await push(executor(first, second), attempt("jito", "rpc"), first=1)
    assert (len(first.raw), len(second.raw)) == (0, 1)


async def test_a_method_that_is_gone_is_passed_over() -> None:
    """The plan is kept with the attempt, whatever was reconfigured since."""
    submissions = await push(executor(Method("rpc")), attempt("gone", "rpc"))
    assert [submission.method for submission in submissions] == ["rpc"]
    assert await push(executor(Method("rpc")), attempt("gone")) == ()


async def test_leave_is_asked_before_every_push() -> None:
    """Cancelled, out of time or without a lease while a lane took its time: the next gets nothing."""
    first, second = Method("jito", replies(ReplyOutcome.UNKNOWN)), Method("rpc")
    leave = iter([True, False])
    submissions = await executor(first, second).push(attempt("jito", "rpc"), 0, lambda: next(leave))
    assert [submission.method for submission in submissions] == ["jito"]
    assert second.raw == []


async def test_a_method_that_hangs_is_cut_off_and_tells_nothing() -> None:
    """After its time the outcome is unknown, and the next lane gets the bytes."""
    telemetry = FakeTelemetry()
    first = Method("jito", None)
    submissions = await push(
        executor(first, Method("rpc"), telemetry=telemetry), attempt("jito", "rpc")
    )
    assert (submissions[0].outcome, submissions[0].reason) == (ReplyOutcome.UNKNOWN, "timeout")
    assert submissions[0].latency_us == SECONDS * makers.S
    assert submissions[1].sent_at_us == submissions[0].sent_at_us + SECONDS * makers.S
    assert first.deadlines == [1_000.0 + SECONDS] or first.deadlines[0] > SECONDS
    told = [("jito", ReplyOutcome.UNKNOWN), ("rpc", ReplyOutcome.ACCEPTED)]
    assert telemetry.of("submission") == told
    assert ("submit", SECONDS) in telemetry.of("stage")


async def test_a_method_that_raises_tells_nothing() -> None:
    """A plug-in's defect is its own: nobody knows whether bytes left."""
    submissions = await push(executor(Method("jito", KeyError("x"))), attempt("jito"))
    assert (submissions[0].outcome, submissions[0].reason) == (
        ReplyOutcome.UNKNOWN,
        "defect:KeyError",
    )


async def test_a_panic_is_not_survived() -> None:
    """What is no Exception is nobody's to swallow."""
    with pytest.raises(PanicError):
        await push(executor(Method("jito", PanicError())), attempt("jito"))


async def test_a_cancelled_push_is_cancelled() -> None:
    """Nothing is pushed after it, and the cancellation goes on its way."""
    second = Method("rpc")
    pushing = asyncio.create_task(
        push(executor(Method("jito", None), second), attempt("jito", "rpc"))
    )
    await pass_time(0.1)
    pushing.cancel()
    await asyncio.wait([pushing])
    assert pushing.cancelled()
    assert second.raw == []
