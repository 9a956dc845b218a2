"""Lane plans, and the same bytes through one method after the other."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from app.domain.attempt import Lane, LanePlan, LaneStrategy, StoredAttempt, Submission
from app.domain.lanes import Turn
from app.domain.outcome import Reply, ReplyOutcome
from app.engine.ports import Executor, Hindrance, Privacy, TipNeeds
from app.engine.transaction_executor import PROBE_SECONDS, TransactionExecutor
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
    hindered: Hindrance | None = None
    spare: Hindrance | None = None
    needs: TipNeeds = field(default_factory=TipNeeds)
    raw: list[bytes] = field(default_factory=list)
    deadlines: list[float] = field(default_factory=list)

    said: str | None = None
    resets: int = 0

    def hindrance(self, *, again: bool = False) -> Hindrance | None:
        return self.spare if again and self.spare is not None else self.hindered

    def reset(self) -> None:
        self.resets += 1

    def claim(self, signature: str) -> str | None:
        return self.said

    def state(self) -> Mapping[str, object]:
        return {"name": self.name}

    async def submit(
        self, attempt: StoredAttempt, deadline: float, may: Callable[[], bool]
    ) -> Reply:
        self.raw.append(attempt.signed.raw)
        self.deadlines.append(deadline)
        if self.reply is None:
            await asyncio.Event().wait()
        if isinstance(self.reply, BaseException):
            raise self.reply
        assert isinstance(self.reply, Reply)
        return self.reply


SHUT = Hindrance("breaker_open", 10)


def executor(
    *methods: Method,
    telemetry: FakeTelemetry | None = None,
    strategy: LaneStrategy = LaneStrategy.FALLBACK,
) -> TransactionExecutor:
    """Make an executor over methods, in their order."""
    executors: dict[str, Executor] = {method.name: method for method in methods}
    return TransactionExecutor(
        executors,
        clock=ManualClock(),
        telemetry=telemetry or FakeTelemetry(),
        patience_seconds=dict.fromkeys(executors, 2.5),
        push_seconds=SECONDS,
        strategy=strategy,
    )


def attempt(*methods: str) -> StoredAttempt:
    """Make a stored attempt whose plan has these methods."""
    return makers.attempt(plan=LanePlan(tuple(Lane(name, 1_000) for name in methods)))


def replies(outcome: ReplyOutcome) -> Reply:
    """Make a reply."""
    return Reply(outcome, "said")


async def push(
    over: TransactionExecutor,
    stored: StoredAttempt,
    *,
    may: Callable[[], bool] = lambda: True,
    at_once: bool = False,
    **of_turn: Any,
) -> Sequence[Submission]:
    """Push through every lane of the plan; gives what was told."""
    told: list[Submission] = []
    await waiting(over, stored, told, may=may, at_once=at_once, **of_turn)
    return told


async def waiting(
    over: TransactionExecutor,
    stored: StoredAttempt,
    told: list[Submission],
    *,
    may: Callable[[], bool] = lambda: True,
    at_once: bool = False,
    tried: frozenset[str] = frozenset(),
    held: frozenset[str] = frozenset(),
) -> float | None:
    """Push; gives how long the lanes make wait."""
    names = tuple(lane.method for lane in over.usable(stored.plan).lanes)
    return await over.push(stored, Turn(names, tried, held, at_once), may, told.append)


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
    """Nothing is signed for a push that nobody would take; one that takes it soon is enough."""
    shut, open_ = Method("jito", hindered=SHUT), Method("rpc", hindered=Hindrance("limited", 1))
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
    """Each method's state in order, with how long it makes wait; one that admits is enough."""
    over = executor(Method("jito", hindered=SHUT), Method("rpc"))
    over.set_disabled(["rpc"])
    assert over.states() == [
        {"name": "jito", "enabled": True, "wait_seconds": 10},
        {"name": "rpc", "enabled": False, "wait_seconds": None},
    ]
    assert over.unavailable() == ["jito (breaker_open)", "rpc (disabled)"]
    assert not over.any_admits()
    assert not over.ready()
    over.set_disabled([])
    assert over.unavailable() == ["jito (breaker_open)"]
    assert over.any_admits()
    assert over.ready()


def test_a_disabled_method_is_in_no_plan() -> None:
    """Whether the signal names it or not."""
    over = executor(Method("jito"), Method("rpc"))
    over.set_disabled(["jito"])
    assert lanes(over.plan(makers.order())) == ["rpc"]
    assert over.plan(makers.order(signal=makers.signal(methods=("jito",)))) is None


def test_private_bytes_stay_private_when_the_private_method_is_disabled() -> None:
    """What the operator switches off opens no public lane for an order that forbids it."""
    over = executor(Method("bundle", privacy=Privacy.PRIVATE), Method("rpc"))
    over.set_disabled(["bundle"])
    order = makers.order(signal=makers.signal(allow_public_fallback=False))
    assert over.plan(order) is None


async def test_private_bytes_stay_private_when_a_lane_has_become_public() -> None:
    """The plan says so: what is configured otherwise since the bytes were signed opens no public lane."""
    bundle, jito = (
        Method("bundle", privacy=Privacy.PRIVATE),
        Method("jito", privacy=Privacy.PRIVATE),
    )
    over = executor(bundle, jito, Method("rpc"))
    plan = over.plan(makers.order(signal=makers.signal(allow_public_fallback=False)))
    assert plan == LanePlan((Lane("bundle", 2_500), Lane("jito", 2_500)), private=True)
    bundle.reply = replies(ReplyOutcome.REJECTED)
    jito.privacy = Privacy.PUBLIC
    submissions = await push(over, makers.attempt(plan=plan))
    assert [s.method for s in submissions] == ["bundle"]
    assert jito.raw == []


def test_an_order_that_wanted_a_private_lane_waits_when_that_is_gone() -> None:
    """Of a method that is configured no more, or of an earlier attempt, the wish to be private lasts."""
    over = executor(Method("rpc"))
    named = makers.signal(allow_public_fallback=False, methods=("bundle", "rpc"))
    assert over.plan(makers.order(signal=named)) is None
    anyhow = makers.order(signal=makers.signal(allow_public_fallback=False))
    assert over.plan(anyhow, was_private=True) is None
    assert lanes(over.plan(anyhow)) == ["rpc"]
    willing = makers.signal(methods=("bundle", "rpc"))
    assert lanes(over.plan(makers.order(signal=willing), was_private=True)) == ["rpc"]


def test_an_order_that_was_never_private_has_no_private_plan() -> None:
    """Its methods are public, as it wished: they go on being used."""
    order = makers.order(signal=makers.signal(allow_public_fallback=False, methods=("rpc",)))
    plan = executor(Method("rpc")).plan(order)
    assert plan is not None
    assert not plan.private


def test_methods_are_known_reset_and_asked_what_they_say() -> None:
    """Claims are given by method; one that says nothing, or is gone, is left out."""
    jito, rpc = Method("jito", said="Failed"), Method("rpc")
    over = executor(jito, rpc)
    over.reset("jito")
    assert (jito.resets, rpc.resets) == (1, 0)
    assert (over.has("jito"), over.has("gone")) == (True, False)
    assert over.claims(attempt("gone", "jito", "rpc")) == {"jito": "Failed"}


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


async def test_a_method_that_is_gone_is_passed_over() -> None:
    """The plan is kept with the attempt, whatever was reconfigured since."""
    submissions = await push(executor(Method("rpc")), attempt("gone", "rpc"))
    assert [submission.method for submission in submissions] == ["rpc"]
    assert await push(executor(Method("rpc")), attempt("gone")) == []


async def test_leave_is_asked_before_every_push() -> None:
    """Cancelled, out of time or without a lease while a lane took its time: the next gets nothing."""
    first, second = Method("jito", replies(ReplyOutcome.UNKNOWN)), Method("rpc")
    leave = iter([True, False])
    submissions = await push(
        executor(first, second), attempt("jito", "rpc"), may=lambda: next(leave)
    )
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


# ---------------------------------------------------------------- lanes that make wait


async def test_a_hindered_lane_is_told_once_and_the_next_gets_the_bytes_at_once() -> None:
    """Nobody waits for a breaker or a limiter while another lane is free."""
    telemetry = FakeTelemetry()
    first = Method("jito", hindered=SHUT)
    over = executor(first, Method("rpc"), telemetry=telemetry)
    submissions = await push(over, attempt("jito", "rpc"))
    assert [(s.method, s.outcome, s.reason) for s in submissions] == [
        ("jito", ReplyOutcome.NOT_SENT, "breaker_open"),
        ("rpc", ReplyOutcome.ACCEPTED, "ok"),
    ]
    assert first.raw == []
    assert ("jito", ReplyOutcome.NOT_SENT) in telemetry.of("submission")
    later = await push(over, attempt("jito", "rpc"), tried=frozenset({"jito"}))
    assert [s.method for s in later] == ["rpc"]


async def test_lanes_that_all_make_wait_say_for_how_long() -> None:
    """The shortest wait of all; a push that went through, or that may not be, gives none."""
    over = executor(Method("jito", hindered=SHUT), Method("rpc", hindered=Hindrance("limited", 1)))
    told: list[Submission] = []
    assert await waiting(over, attempt("jito", "rpc"), told) == 1
    assert [s.reason for s in told] == ["breaker_open", "limited"]
    free = executor(Method("jito", hindered=SHUT), Method("rpc"))
    assert await waiting(free, attempt("jito", "rpc"), told) is None
    assert await waiting(free, attempt("jito", "rpc"), told, may=lambda: False) is None
    assert await waiting(free, attempt("gone"), told) is None


async def test_a_disabled_lane_of_an_old_plan_gets_nothing() -> None:
    """It was switched off after the attempt was signed; there is no telling until when."""
    first = Method("jito")
    over = executor(first, Method("rpc"))
    over.set_disabled(["jito"])
    submissions = await push(over, attempt("jito", "rpc"))
    assert [s.reason for s in submissions] == ["disabled", "ok"]
    assert first.raw == []


# ---------------------------------------------------------------- races


async def test_in_a_race_every_lane_gets_the_same_bytes_and_none_waits_for_another() -> None:
    """The one that hangs is told last, after the others were told long since."""
    hanging, refusing = Method("jito", None), Method("bundle", replies(ReplyOutcome.REJECTED))
    over = executor(hanging, refusing, Method("rpc"))
    submissions = await push(over, attempt("jito", "bundle", "rpc"), at_once=True)
    assert [s.method for s in submissions] == ["bundle", "rpc", "jito"]
    assert hanging.raw == refusing.raw
    assert len({s.sent_at_us for s in submissions}) == 1


async def test_a_race_comes_back_for_lanes_that_never_had_the_bytes() -> None:
    """As soon as the first of them is free; a lane that holds them already needs no haste."""
    limited = Hindrance("limited", 1)
    slow = executor(
        Method("jito", hindered=SHUT), Method("rpc", hindered=limited), Method("bundle")
    )
    of = attempt("jito", "rpc", "bundle")
    assert await waiting(slow, of, [], at_once=True) == 1
    held = frozenset({"rpc"})
    assert await waiting(slow, of, [], at_once=True, held=held) == 10
    assert await waiting(executor(Method("rpc")), attempt("rpc"), [], at_once=True) is None
    assert await waiting(slow, attempt("gone"), [], at_once=True) is None


async def test_a_lane_that_has_the_bytes_yields_to_first_pushes() -> None:
    """Two methods that share a pace both get their turn."""
    bundle = Method("bundle", spare=Hindrance("limited", 1))
    over = executor(bundle, Method("rpc"))
    submissions = await push(
        over, attempt("bundle", "rpc"), at_once=True, held=frozenset({"bundle"})
    )
    assert [s.method for s in submissions if s.outcome is ReplyOutcome.ACCEPTED] == ["rpc"]


# ---------------------------------------------------------------- probes


HALF_OPEN = Hindrance("half_open", 0)


async def test_a_half_open_lane_gets_the_push_that_is_its_probe() -> None:
    """It is in its place among the others, and not known to be well before."""
    over = executor(Method("jito", hindered=HALF_OPEN), Method("rpc"))
    submissions = await push(over, attempt("jito", "rpc"))
    assert [s.method for s in submissions] == ["jito"]
    assert over.unavailable() == ["jito (half_open)"]


async def test_one_order_is_signed_for_a_probe_the_others_stay_queued() -> None:
    """With every lane shut, bytes that nobody may take would only die; now and then one is tried."""
    over = executor(Method("jito", hindered=SHUT), Method("rpc", hindered=HALF_OPEN))
    assert not over.ready()
    assert over.any_admits()
    assert lanes(over.plan(makers.order())) == ["jito", "rpc"]
    assert not over.any_admits()
    assert over.plan(makers.order()) is None
    await pass_time(PROBE_SECONDS)
    assert over.plan(makers.order()) is not None


def test_nobody_is_tipped_for_a_lane_that_is_shut() -> None:
    """Unless the same tip serves another lane of the plan, or no lane would be left."""
    jito, other = TipNeeds(("a", "b"), 1_000), TipNeeds(("x",), 1_000_000)
    helius = Method("helius", needs=other, hindered=SHUT)
    bundle = Method("bundle", needs=jito, hindered=SHUT)
    over = executor(helius, bundle, Method("jito", needs=jito), Method("rpc", hindered=SHUT))
    assert lanes(over.plan(makers.order())) == ["bundle", "jito", "rpc"]
    helius.hindered = HALF_OPEN
    assert lanes(over.plan(makers.order())) == ["helius", "bundle", "jito", "rpc"]


def test_the_plan_has_the_strategy_that_is_configured() -> None:
    """It is stored with the attempt, so that a restart goes on with it."""
    plan = executor(Method("rpc"), strategy=LaneStrategy.RACE).plan(makers.order())
    assert plan is not None
    assert plan.strategy is LaneStrategy.RACE
