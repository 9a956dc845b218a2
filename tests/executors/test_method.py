"""What all methods share: one gate, targets in order, limits, and what is said of it."""

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from app.domain.attempt import StoredAttempt
from app.domain.errors import StartupError
from app.domain.outcome import Reply, ReplyOutcome
from app.engine.ports import Hindrance, Privacy, TipNeeds
from app.executors.gate import FAILURES_MAX, Gate
from app.executors.limiter import Limiter
from app.executors.method import (
    AILING_SECONDS,
    AILING_SECONDS_MAX,
    MARGIN_SECONDS,
    Method,
    Target,
)
from app.solana.json_rpc import JsonRpcClient
from tests.executors.kit import ATTEMPT, TIPS, Clock
from tests.solana.server import Observer

pytestmark = pytest.mark.anyio

ACCEPTED = Reply(ReplyOutcome.ACCEPTED, "ok")
ALREADY = Reply(ReplyOutcome.ALREADY, "already_processed")
BUSY = Reply(ReplyOutcome.REJECTED, "rate_limited")
BEHIND = Reply(ReplyOutcome.REJECTED, "node_behind")
NO_TIP = Reply(ReplyOutcome.REJECTED, "tip")
AWAY = Reply(ReplyOutcome.NOT_SENT, "transport")
SILENT = Reply(ReplyOutcome.UNKNOWN, "timeout")
FAULT = Reply(ReplyOutcome.UNKNOWN, "server_error")
LIMITED = Reply(ReplyOutcome.NOT_SENT, "limited")


@dataclass
class Rig:
    """A method over two targets, on a clock of its own; what each says is what a test sets."""

    per_second: float = math.inf
    failures_max: int = FAILURES_MAX
    reset_seconds: float = 60
    takes_seconds: float = 0.0
    says: dict[str, Reply] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    hangs: bool = False

    def __post_init__(self) -> None:
        """Make the method."""
        self.clock = Clock()
        self.gate = Gate("m", failures_max=self.failures_max, reset_seconds=self.reset_seconds)
        self.targets = [
            Target(
                JsonRpcClient(f"http://{name}/secret", timeout_seconds=1, observer=Observer()),
                Limiter(self.per_second, monotonic=self.clock),
            )
            for name in ("a", "b")
        ]
        self.method = Method("m", self.push, self.targets, self.gate, monotonic=self.clock)

    async def push(self, client: JsonRpcClient, attempt: StoredAttempt, seconds: float) -> Reply:
        """Say what is set for the target."""
        assert attempt is ATTEMPT
        self.asked.append(client.endpoint)
        self.times.append(seconds)
        self.clock.now += self.takes_seconds
        if self.hangs:
            await asyncio.Event().wait()
        return self.says.get(client.endpoint, ACCEPTED)

    may = True
    """Whether leave to send lasts."""

    async def submit(self, seconds: float = 3.0) -> Reply:
        """Push once, and forget whom the push before asked."""
        self.asked.clear()
        return await self.method.submit(ATTEMPT, self.clock.now + seconds, lambda: self.may)


async def test_leave_is_asked_before_every_target() -> None:
    """An order that is canceled while one region refuses goes to no other."""
    rig = Rig(says={"a": BUSY})
    rig.may = False
    assert await rig.submit() == LIMITED
    assert rig.asked == []

    class Leave(Rig):
        @property
        def may(self) -> bool:  # type: ignore[override]
            return not self.asked

    leaving = Leave(says={"a": BUSY})
    assert await leaving.submit() == BUSY
    assert leaving.asked == ["a"]


# ---------------------------------------------------------------- targets, in order


@pytest.mark.parametrize("first", [ACCEPTED, ALREADY, SILENT, FAULT])
async def test_the_next_target_gets_nothing_while_the_first_may_have_the_bytes(
    first: Reply,
) -> None:
    """After silence the next method is asked, not the next region."""
    rig = Rig(says={"a": first})
    assert await rig.submit() == first
    assert rig.asked == ["a"]


@pytest.mark.parametrize("first", [BUSY, BEHIND, AWAY])
async def test_the_next_target_is_asked_after_a_refusal(first: Reply) -> None:
    """At once, within the same push."""
    rig = Rig(says={"a": first})
    assert await rig.submit() == ACCEPTED
    assert rig.asked == ["a", "b"]


@pytest.mark.parametrize("reason", ["tip", "invalid", "preflight", "signature"])
async def test_a_fault_in_the_bytes_is_not_tried_elsewhere(reason: str) -> None:
    """Every target would say the same."""
    refused = Reply(ReplyOutcome.REJECTED, reason)
    rig = Rig(says={"a": refused})
    assert await rig.submit() == refused
    assert rig.asked == ["a"]


async def test_what_one_target_refused_is_not_told_as_unsent() -> None:
    """It had the bytes in its hands, though the next was never reached."""
    rig = Rig(says={"a": BUSY, "b": AWAY})
    assert await rig.submit() == BUSY
    rig = Rig(says={"a": AWAY, "b": BUSY})
    assert await rig.submit() == BUSY
    rig = Rig(says={"a": AWAY, "b": AWAY})
    assert await rig.submit() == AWAY


async def test_a_target_that_failed_is_asked_after_the_others_for_a_while() -> None:
    """For longer from failure to failure, up to a bound; well again it has its place back."""
    rig = Rig(says={"a": AWAY}, failures_max=1_000)
    waits = []
    for _ in range(8):
        await rig.submit()
        assert rig.asked == ["a", "b"]
        until = rig.targets[0].ailing_until
        waits.append(until - rig.clock.now)
        await rig.submit()
        assert rig.asked == ["b"]
        rig.clock.now = until
    assert waits[:3] == [AILING_SECONDS, 2 * AILING_SECONDS, 4 * AILING_SECONDS]
    assert waits[-1] == AILING_SECONDS_MAX
    rig.says["a"] = ACCEPTED
    await rig.submit()
    assert rig.asked == ["a"]
    rig.says["a"] = AWAY
    await rig.submit()
    assert rig.targets[0].ailing_until - rig.clock.now == AILING_SECONDS


async def test_of_two_that_failed_the_one_that_is_well_sooner_is_asked_first() -> None:
    """Whatever their order is."""
    rig = Rig(says={"a": AWAY, "b": AWAY})
    await rig.submit()
    rig.clock.now += AILING_SECONDS
    await rig.submit()
    rig.clock.now += AILING_SECONDS
    rig.says.clear()
    rig.targets[0].ailing_until += 1
    await rig.submit()
    assert rig.asked == ["b"]


async def test_a_fault_of_ours_says_nothing_about_a_target() -> None:
    """It stays where it is."""
    rig = Rig(says={"a": NO_TIP})
    await rig.submit()
    assert (rig.targets[0].failures, rig.targets[0].ailing_until) == (0, float("-inf"))


# ---------------------------------------------------------------- time


async def test_a_push_is_over_before_its_deadline() -> None:
    """Cut off from outside the breaker would never learn of a target that hangs."""
    rig = Rig()
    await rig.submit(3.0)
    assert rig.times == [pytest.approx(3.0 - MARGIN_SECONDS)]


async def test_without_time_nothing_is_sent_and_nobody_is_blamed() -> None:
    """The deadline is over before the first target is asked."""
    rig = Rig(failures_max=1)
    assert await rig.submit(MARGIN_SECONDS) == Reply(ReplyOutcome.NOT_SENT, "no_time")
    assert rig.asked == []
    assert rig.gate.state == "closed"


async def test_a_refusal_is_told_when_no_time_is_left_for_the_next() -> None:
    """What is known is more than that time is over."""
    rig = Rig(says={"a": BUSY}, takes_seconds=3.0)
    assert await rig.submit(3.0) == BUSY
    assert rig.asked == ["a"]


# ---------------------------------------------------------------- limits


async def test_each_target_has_a_pace_of_its_own() -> None:
    """When one has no place the next has; when none has, nothing is sent and nobody is blamed."""
    rig = Rig(per_second=1, failures_max=1)
    assert rig.method.hindrance() is None
    assert [await rig.submit() for _ in range(3)] == [ACCEPTED, ACCEPTED, LIMITED]
    assert rig.method.hindrance() == Hindrance("limited", 1.0)
    assert rig.method.hindrance(again=True) == Hindrance("limited", 2.0)
    rig.clock.now += 1
    assert rig.method.hindrance() is None
    assert rig.method.hindrance(again=True) == Hindrance("limited", 1.0)
    assert await rig.submit() == ACCEPTED
    assert rig.gate.state == "closed"


async def test_a_target_that_tells_us_off_is_left_alone_as_long_as_it_says() -> None:
    """The others go on."""
    rig = Rig(says={"a": Reply(ReplyOutcome.REJECTED, "rate_limited", 7.5)})
    await rig.submit()
    assert [target.limiter.wait_seconds() for target in rig.targets] == [7.5, 0.0]
    rig.clock.now += 5
    await rig.submit()
    assert rig.asked == ["b"]


@pytest.mark.parametrize(("between", "rest"), [(FAULT, 5.0), (SILENT, 10.0), (AWAY, 10.0)])
async def test_only_an_answer_shortens_the_next_rest(between: Reply, rest: float) -> None:
    """Silence is none: who is told off twice with silence between is still hammering."""
    rig = Rig(says={"a": BUSY, "b": FAULT})
    await rig.submit()
    rig.clock.now += 1_000
    rig.says["a"] = between
    await rig.submit()
    rig.clock.now += 1_000
    rig.says["a"] = BUSY
    await rig.submit()
    assert rig.targets[0].limiter.wait_seconds() == pytest.approx(rest)


# ---------------------------------------------------------------- the breaker


async def test_failures_in_a_row_open_the_breaker_and_nothing_is_sent() -> None:
    """Known here: not one byte left; and it says when to come back."""
    rig = Rig(says={"a": FAULT, "b": FAULT})
    for _ in range(FAILURES_MAX):
        assert rig.method.hindrance() is None
        assert await rig.submit() == FAULT
    hindrance = rig.method.hindrance()
    assert hindrance is not None
    assert hindrance.reason == "breaker_open"
    assert 59 < hindrance.seconds <= 60
    reply = await rig.submit()
    assert rig.asked == []
    assert (reply.outcome, reply.reason) == (ReplyOutcome.NOT_SENT, "breaker_open")
    assert reply.retry_after_seconds == pytest.approx(60, abs=1)


async def test_one_target_that_serves_keeps_the_breaker_closed() -> None:
    """It is the method's, not the target's."""
    rig = Rig(says={"a": AWAY})
    for _ in range(2 * FAILURES_MAX):
        assert await rig.submit() == ACCEPTED
    assert rig.gate.state == "closed"


async def test_a_probe_waits_for_its_pace() -> None:
    """A breaker that may be probed and a target that may not be asked yet: shut for as long."""
    rig = Rig(per_second=1, failures_max=1, reset_seconds=0, says={"a": SILENT, "b": SILENT})
    await rig.submit()
    assert rig.method.hindrance() == Hindrance("half_open", 0)  # the other target is free
    await rig.submit()
    assert rig.method.hindrance() == Hindrance("breaker_open", 1.0)


async def test_a_cancelled_probe_frees_its_place() -> None:
    """The cancellation goes on its way; the next push is the probe."""
    rig = Rig(says={"a": FAULT}, failures_max=1, reset_seconds=0)
    await rig.submit()
    assert rig.gate.state == "open"
    rig.hangs = True
    probing = asyncio.create_task(rig.submit())
    await asyncio.sleep(0)
    hindrance = rig.method.hindrance()
    assert hindrance is not None
    assert hindrance.reason == "breaker_open"
    probing.cancel()
    await asyncio.wait([probing])
    assert probing.cancelled()
    assert rig.method.hindrance() == Hindrance("half_open", 0)


async def test_an_operator_resets_everything() -> None:
    """The breaker, the rests and the memory of failures."""
    rig = Rig(says={"a": AWAY, "b": BUSY}, failures_max=1)
    await rig.submit()
    assert rig.gate.state == "open"
    rig.method.reset()
    assert rig.method.hindrance() is None
    rig.says.clear()
    await rig.submit()
    assert rig.asked == ["a"]


# ---------------------------------------------------------------- what it says of itself


def test_a_method_without_an_endpoint_is_refused() -> None:
    """It was asked for and is not configured."""
    with pytest.raises(StartupError, match=r"METHOD_NOT_CONFIGURED.*methods\.jito") as caught:
        Method("jito", Rig().push, [], Gate("jito"))
    assert caught.value.code == "METHOD_NOT_CONFIGURED"


def test_its_state_is_told() -> None:
    """For `/status`: no secrets, only hosts; each endpoint with its wait."""
    rig = Rig(per_second=1)
    rig.targets[1].limiter.refused(5)
    assert rig.method.state() == {
        "name": "m",
        "privacy": "public",
        "breaker": "closed",
        "retry_after_seconds": 0.0,
        "endpoints": ["a", "b"],
        "limits": [
            {"endpoint": "a", "wait_seconds": 0.0},
            {"endpoint": "b", "wait_seconds": 5.0},
        ],
    }


@pytest.mark.parametrize("needs", [TIPS, TipNeeds()])
def test_what_it_needs_is_asked_whenever_it_is_read(needs: TipNeeds) -> None:
    """The going rate changes."""
    rig, asked = Rig(), list[int]()

    def read() -> TipNeeds:
        asked.append(1)
        return needs

    says: Callable[[str], str | None] = {"signature1": "Failed"}.get
    targets: Sequence[Target] = rig.targets
    method = Method(
        "m", rig.push, targets, rig.gate, privacy=Privacy.PRIVATE, needs=read, claim=says
    )
    assert [method.needs, method.needs] == [needs, needs]
    assert len(asked) == 2
    assert method.privacy is Privacy.PRIVATE
    assert (method.claim("signature1"), method.claim("signature2")) == ("Failed", None)


def test_without_more_it_is_public_needs_nothing_and_claims_nothing() -> None:
    """As an ordinary node is."""
    method = Rig().method
    assert (method.name, method.privacy, method.needs) == ("m", Privacy.PUBLIC, TipNeeds())
    assert method.claim("signature1") is None
