"""Methods of other packages: whatever one of them raises or gives, the engine meets what the port says."""

import asyncio
import inspect
import math
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import structlog

from app.domain.attempt import StoredAttempt
from app.domain.errors import StartupError
from app.domain.outcome import Reply, ReplyOutcome
from app.engine.ports import Hindrance, Privacy, TipNeeds
from app.executors.guarded import (
    AGAIN_SECONDS,
    SOON_SECONDS,
    STATE_BYTES_MAX,
    Guarded,
    guarded_work,
)
from app.executors.tip_accounts import TIP_ACCOUNTS
from tests.executors.kit import ATTEMPT

pytestmark = pytest.mark.anyio

PAYEES = TIP_ACCOUNTS["helius"][:2]
NEEDS = TipNeeds(PAYEES, 5_000, 7, 9)
GOOD = Reply(ReplyOutcome.REJECTED, "rate_limited", 2.5)
SHUT = Hindrance("defect", math.inf)
HUSH = "https://host/hush"


class PanicError(BaseException):
    """What a native library raises when it is broken."""


TROUBLES = (RuntimeError(HUSH), asyncio.CancelledError())


class Plugin:
    """A method whose every answer a test says: a value, an exception to be raised, or a function."""

    def __init__(self, **says: Any) -> None:
        self._says: dict[str, Any] = {
            "privacy": Privacy.PRIVATE,
            "needs": NEEDS,
            "hindrance": None,
            "state": {"breaker": "closed", "name": "another"},
            "reset": None,
            "claim": None,
            "submit": GOOD,
        } | says

    def say(self, what: str, given: Any) -> None:
        """Answer otherwise from now on."""
        self._says[what] = given

    def _answer(self, what: str, *args: Any) -> Any:
        given = self._says[what]
        if isinstance(given, BaseException):
            raise given
        return given(*args) if callable(given) else given

    @property
    def name(self) -> str:
        """See the port."""
        return "another"

    @property
    def privacy(self) -> Privacy:
        """See the port."""
        answer: Privacy = self._answer("privacy")
        return answer

    @property
    def needs(self) -> TipNeeds:
        """See the port."""
        answer: TipNeeds = self._answer("needs")
        return answer

    def hindrance(self, *, again: bool = False) -> Hindrance | None:
        """See the port."""
        answer: Hindrance | None = self._answer("hindrance")
        return answer

    def state(self) -> dict[str, object]:
        """See the port."""
        answer: dict[str, object] = self._answer("state")
        return answer

    def reset(self) -> None:
        """See the port."""
        self._answer("reset")

    def claim(self, signature: str) -> str | None:
        """See the port."""
        answer: str | None = self._answer("claim")
        return answer

    async def submit(
        self, attempt: StoredAttempt, deadline: float, may: Callable[[], bool]
    ) -> Reply:
        """See the port."""
        answer: Any = self._answer("submit", attempt, deadline, may)
        given: Reply = await answer if inspect.isawaitable(answer) else answer
        return given


def guarded(**says: Any) -> Guarded:
    """Guard a method that says so."""
    return Guarded(Plugin(**says), "plugin")


async def pushed(**says: Any) -> Reply:
    """Push once through a method that says so."""
    return await guarded(**says).submit(ATTEMPT, 0, lambda: True)


async def test_a_sound_method_is_what_it_is() -> None:
    """Word for word, under the name of the configuration."""
    method = guarded(claim="Failed", hindrance=Hindrance("limited", 2.0))
    assert (method.name, method.privacy, method.needs) == ("plugin", Privacy.PRIVATE, NEEDS)
    assert method.hindrance(again=True) == Hindrance("limited", 2.0)
    assert method.state() == {"breaker": "closed", "name": "plugin", "privacy": "private"}
    assert method.claim("signature") == "Failed"
    assert await method.submit(ATTEMPT, 0, lambda: True) == GOOD
    assert guarded().hindrance() is None


async def test_what_is_passed_on_reaches_the_method() -> None:
    """The attempt, the deadline and the leave to go on; a reset too."""
    done: list[object] = []

    async def submit(*given: object) -> Reply:
        done.extend(given)
        return GOOD

    def may() -> bool:
        return True

    method = guarded(reset=lambda: done.append("reset"), submit=submit)
    method.reset()
    await method.submit(ATTEMPT, 7.5, may)
    assert done == ["reset", ATTEMPT, 7.5, may]


# ------------------------------------------------------------------------------ pushes


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_a_push_that_raises_may_have_sent(trouble: BaseException) -> None:
    """Also a cancellation of its own: the task around it was not cancelled. The words are kept out."""
    assert await pushed(submit=trouble) == Reply(
        ReplyOutcome.UNKNOWN, f"defect:{type(trouble).__name__}"
    )


@pytest.mark.parametrize(
    "given",
    [None, "ok", Reply("accepted", "ok"), Reply(ReplyOutcome.ACCEPTED, "ok", math.nan)],  # type: ignore[arg-type]
)
async def test_a_push_that_gives_no_reply_may_have_sent(given: object) -> None:
    """Whatever it means by it."""
    assert await pushed(submit=given) == Reply(ReplyOutcome.UNKNOWN, "defect:TypeError")


@pytest.mark.parametrize("reason", ["", "x" * 41, "No Word", HUSH, "a\nb", 7, None])
async def test_a_reason_that_is_no_word_is_not_passed_on(reason: Any) -> None:
    """It is stored with the order and shown: it may be huge, or hold a key. The outcome stands."""
    reply = Reply(ReplyOutcome.NOT_SENT, reason, 3)
    assert await pushed(submit=reply) == Reply(ReplyOutcome.NOT_SENT, "defect", 3)


async def test_a_cancellation_of_the_push_is_one() -> None:
    """Who ends the task ends the push."""
    begun = asyncio.Event()

    async def hang(*_given: object) -> Reply:
        begun.set()
        await asyncio.Event().wait()
        return GOOD

    task = asyncio.create_task(pushed(submit=hang))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await pushed(submit=hang)


@pytest.mark.parametrize("end", [KeyboardInterrupt(), SystemExit(), PanicError()])
async def test_what_ends_the_process_is_not_held_up(end: BaseException) -> None:
    """Ctrl-C, or native code that is broken: the service ends loudly, and the next start goes on."""
    with pytest.raises(type(end)):
        guarded(claim=end).claim("signature")
    if isinstance(end, PanicError):  # the others end the event loop at once
        with pytest.raises(PanicError):
            await pushed(submit=end)


# ------------------------------------------------------------------------------ questions


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        *((trouble, SHUT) for trouble in TROUBLES),
        (False, SHUT),
        ("limited", SHUT),
        (Hindrance("limited", math.nan), SHUT),
        (Hindrance("limited", "5"), SHUT),  # type: ignore[arg-type]
        (Hindrance("limited", True), SHUT),
        (Hindrance(HUSH, 5), Hindrance("defect", 5)),
        (Hindrance("limited", -5), Hindrance("limited", SOON_SECONDS)),
        (Hindrance("limited", 0), Hindrance("limited", SOON_SECONDS)),
        (Hindrance("half_open", 0), Hindrance("half_open", 0)),
        (Hindrance("disabled", math.inf), Hindrance("disabled", math.inf)),
    ],
)
async def test_a_method_that_does_not_say_when_is_passed_over(
    given: object, expected: Hindrance
) -> None:
    """And nobody comes back to it without a pause."""
    assert guarded(hindrance=given).hindrance() == expected


@pytest.mark.parametrize(
    "given",
    [
        *TROUBLES,
        None,
        ["closed"],
        {"at": object()},
        {"at": math.nan},
        {"at": "x" * STATE_BYTES_MAX},
    ],
)
async def test_a_state_that_cannot_be_shown_is_left_out(given: object) -> None:
    """The page of all methods goes on."""
    expected = {"breaker": "unknown", "name": "plugin", "privacy": "private"}
    assert guarded(state=given).state() == expected


@pytest.mark.parametrize("given", [*TROUBLES, 7, HUSH, "x" * 41, ""])
async def test_a_claim_that_is_no_word_is_none(given: object) -> None:
    """It is told in the order's events."""
    assert guarded(claim=given).claim("signature") is None


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_a_reset_that_fails_stops_nobody(trouble: BaseException) -> None:
    """Other processes reset by themselves."""
    guarded(reset=trouble).reset()


WRONG_NEEDS = [
    None,
    TipNeeds("payee"),  # type: ignore[arg-type]
    TipNeeds((7,)),  # type: ignore[arg-type]
    TipNeeds(PAYEES, 0.5),  # type: ignore[arg-type]
    TipNeeds(PAYEES, -1),
    TipNeeds(PAYEES, 1, True),
    TipNeeds(PAYEES, 1, 0, None),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(
    "given", [*TROUBLES, *WRONG_NEEDS, TipNeeds(("nobody",), 5), TipNeeds(PAYEES * 2, 5)]
)
async def test_needs_that_are_none_are_those_of_before(given: object) -> None:
    """A transaction is built with what the method said last."""
    plugin = Plugin()
    method = Guarded(plugin, "plugin")
    newer = TipNeeds(PAYEES[:1], 6_000)
    plugin.say("needs", newer)
    assert method.needs == newer
    plugin.say("needs", given)
    assert method.needs == newer


@pytest.mark.parametrize("given", [RuntimeError(HUSH), None, "private"])
async def test_a_method_that_does_not_say_whether_it_is_private_is_not(given: object) -> None:
    """So that it never gets what must stay unseen."""
    plugin = Plugin()
    method = Guarded(plugin, "plugin")
    plugin.say("privacy", given)
    assert method.privacy is Privacy.PUBLIC
    assert method.state()["privacy"] == "public"


@pytest.mark.parametrize(
    "says",
    [
        {"needs": RuntimeError(HUSH)},
        *({"needs": needs} for needs in WRONG_NEEDS),
        {"privacy": None},
        {"privacy": RuntimeError(HUSH)},
    ],
)
async def test_a_method_that_says_nothing_of_itself_is_refused(says: dict[str, Any]) -> None:
    """At the start, and without its own words."""
    with pytest.raises(StartupError, match=r"^METHOD_BROKEN: the plug-in method 'plugin'") as error:
        guarded(**says)
    assert "hush" not in str(error.value)


async def test_a_defect_is_told_once_and_where_it_is() -> None:
    """However often it shows; what the exception says may hold a key."""
    method = guarded(hindrance=RuntimeError(HUSH))
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            method.hindrance()
            method.claim("signature")
    (line,) = lines
    assert line["event"] == "a method is defective"
    assert (line["method"], line["what"], line["error"]) == ("plugin", "hindrance", "RuntimeError")
    assert line["where"].startswith("test_guarded.py:")
    assert "hush" not in str(line)


# ------------------------------------------------------------------------------ background work


@pytest.mark.parametrize("trouble", [*TROUBLES, None])
async def test_background_work_that_ends_begins_anew(trouble: BaseException | None) -> None:
    """After a rest; it is told each time, and the service goes on."""
    rests, thrice = list[float](), asyncio.Event()

    async def work() -> None:
        if trouble is not None:
            raise trouble

    async def pause(seconds: float) -> None:
        rests.append(seconds)
        if len(rests) == 3:
            thrice.set()
            await asyncio.Event().wait()

    with structlog.testing.capture_logs() as lines:
        task = asyncio.create_task(_run(guarded_work("plugin", "watch", work, pause=pause)))
        await thrice.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert rests == [AGAIN_SECONDS] * 3
    assert {(line["event"], line["work"]) for line in lines} == {
        ("background work of a method ended", "watch")
    }
    assert "hush" not in str(lines)


async def _run(work: Callable[[], Coroutine[object, object, None]]) -> None:
    await work()


async def test_background_work_is_ended_with_the_service() -> None:
    """A cancellation from outside is not work that ended."""
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(_run(guarded_work("plugin", "watch", work)))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_push_that_heeds_no_cancellation_is_left_behind() -> None:
    """Whoever gives it up waits for nothing; it may end as it likes."""
    started, over = asyncio.Event(), asyncio.Event()

    async def stubborn(*_args: object) -> Reply:
        started.set()
        for _ in range(2):
            try:
                await over.wait()
            except asyncio.CancelledError:
                continue
        raise RuntimeError(HUSH)

    method = Guarded(Plugin(submit=stubborn), "m")
    pushing = asyncio.create_task(method.submit(ATTEMPT, 0, lambda: True))
    await started.wait()
    pushing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pushing
    over.set()
    await asyncio.sleep(0)
