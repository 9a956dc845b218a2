"""Holds methods of other packages to the port: whatever one raises or gives, the others go on.

What a defect told is kept out of every answer and log line, since it may hold a key: only its class and the
place where it was raised are told, once each. What is no `Exception`, such as a panic of native code, ends
the service as anywhere else: nothing is known of the process after it.
"""

import asyncio
import json
import math
import re
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Final, TypeVar

import structlog

from app.domain.attempt import StoredAttempt
from app.domain.errors import StartupError
from app.domain.outcome import Reply, ReplyOutcome
from app.engine.ports import Executor, Hindrance, Privacy, TipNeeds
from app.executors.payees import fault_of

DEFECT: Final = "defect"
SOON_SECONDS: Final = 0.1
"""The shortest time that a hindrance is taken for: nobody asks again without a pause."""
AGAIN_SECONDS: Final = 10.0
"""How long background work rests that ended."""
STATE_BYTES_MAX: Final = 16_384
"""A longer state is none: it is shown whole in `/status`."""
TOLD_MAX: Final = 100
"""So many defects of one method are told."""
_REASON: Final = re.compile(r"[a-z0-9_:]{1,40}", re.ASCII)
_CLAIM: Final = re.compile(r"[A-Za-z0-9_ -]{1,40}", re.ASCII)
_PROBE: Final = "half_open"

Work = Callable[[], Coroutine[object, object, None]]
Answer = TypeVar("Answer")
Other = TypeVar("Other")

_log = structlog.get_logger(__name__)


class Guarded:
    """An `Executor` around one of another package."""

    def __init__(self, inner: Executor, name: str) -> None:
        """Raises StartupError(METHOD_BROKEN) for a method that does not say what it is and needs."""
        self.name = name
        self._inner = inner
        self._told: set[tuple[str, str, str]] = set()
        try:
            self._needs = _needs(inner.needs)
            _privacy(inner.privacy)
        except Exception as error:
            raise broken(name, error) from error

    @property
    def privacy(self) -> Privacy:
        """See the port; public when it does not say, so that it is given nothing that must stay private."""
        return self._ask("privacy", lambda: _privacy(self._inner.privacy), Privacy.PUBLIC)

    @property
    def needs(self) -> TipNeeds:
        """See the port; what it needed last when it does not say."""
        self._needs = self._ask("needs", self._new_needs, self._needs)
        return self._needs

    def _new_needs(self) -> TipNeeds:
        needs = _needs(self._inner.needs)
        if needs.payees != self._needs.payees and fault_of(needs.payees) is not None:
            raise ValueError("payees")
        return needs

    def hindrance(self, *, again: bool = False) -> Hindrance | None:
        """See the port; a method that does not say is passed over."""

        def question() -> Hindrance | None:
            return _hindrance(self._inner.hindrance(again=again))

        return self._ask("hindrance", question, Hindrance(DEFECT, math.inf))

    def state(self) -> Mapping[str, object]:
        """See the port; always with the name under which it is configured."""
        nothing: dict[str, object] = {}
        told = self._ask("state", lambda: _state(self._inner.state()), nothing)
        return {"breaker": "unknown", **told, "name": self.name, "privacy": self.privacy.value}

    def reset(self) -> None:
        """See the port."""
        self._ask("reset", self._inner.reset, None)

    def claim(self, signature: str) -> str | None:
        """See the port; nothing when it raises, or says more than a word or two."""
        return self._ask("claim", lambda: _claim(self._inner.claim(signature)), None)

    async def submit(
        self, attempt: StoredAttempt, deadline: float, may: Callable[[], bool]
    ) -> Reply:
        """See the port; a defect tells nothing about the bytes, and one that does not end is left behind."""

        async def push() -> object:
            return await self._inner.submit(attempt, deadline, may)

        pushing = asyncio.create_task(push())
        try:
            await asyncio.wait({pushing})
        except asyncio.CancelledError:  # it may not heed its own: nobody waits for that
            pushing.cancel()
            pushing.add_done_callback(_retrieved)
            raise
        try:
            return _reply(pushing.result())
        except (Exception, asyncio.CancelledError) as error:
            if _is_ours(error):
                raise
            self._note("submit", error)
            return Reply(ReplyOutcome.UNKNOWN, f"{DEFECT}:{_class(error)}")

    def _ask(self, what: str, question: Callable[[], Answer], otherwise: Other) -> Answer | Other:
        try:
            return question()
        except (Exception, asyncio.CancelledError) as error:
            if _is_ours(error):
                raise
            self._note(what, error)
            return otherwise

    def _note(self, what: str, error: BaseException) -> None:
        """Tell of a defect once: it may show with every question."""
        told = (what, _class(error), _place(error))
        if told in self._told or len(self._told) >= TOLD_MAX:
            return
        self._told.add(told)
        _log.error(
            "a method is defective", method=self.name, what=what, error=told[1], where=told[2]
        )


def guarded_work(
    method: str,
    name: str,
    work: Work,
    *,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Work:
    """Have background work begin anew when it ends: elsewhere that would end the service."""

    async def run() -> None:
        while True:
            why = "it returned"
            try:
                await work()
            except (Exception, asyncio.CancelledError) as error:
                if _is_ours(error):
                    raise
                why = f"{_class(error)} {_place(error)}"
            _log.error("background work of a method ended", method=method, work=name, why=why)
            await pause(AGAIN_SECONDS)

    return run


def broken(name: str, error: Exception) -> StartupError:
    """Say that a method of another package cannot be made; not in its own words, which may hold a key."""
    what = f"the plug-in method {name!r} is defective ({_class(error)} {_place(error)})"
    return StartupError("METHOD_BROKEN", what, "mend or uninstall its package")


def _is_ours(error: BaseException) -> bool:
    """Tell whether it is the cancellation of the task around the method, not one of the method's own."""
    if not isinstance(error, asyncio.CancelledError):
        return False
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _class(error: BaseException) -> str:
    return re.sub(r"\W", "", type(error).__name__, flags=re.ASCII)[:32]


def _place(error: BaseException) -> str:
    """Give file and line where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else ""


# ------------------------------------------------------------ what a method may give


def _of(kind: type[Answer], given: object) -> Answer:
    if not isinstance(given, kind):
        raise TypeError(kind.__name__)
    return given


def _number(given: object) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or math.isnan(given):
        raise TypeError("number")
    return max(float(given), 0.0)


def _amount(given: object) -> None:
    if isinstance(given, bool) or not isinstance(given, int) or given < 0:
        raise TypeError("amount")


def _privacy(given: object) -> Privacy:
    return _of(Privacy, given)


def _needs(given: object) -> TipNeeds:
    needs = _of(TipNeeds, given)
    for payee in _of(tuple, needs.payees):
        _of(str, payee)
    for amount in (needs.tip_lamports, needs.unit_price_min, needs.priority_fee_lamports_min):
        _amount(amount)
    return needs


def _hindrance(given: object) -> Hindrance | None:
    if given is None:
        return None
    told = _of(Hindrance, given)
    reason, seconds = _word(told.reason), _number(told.seconds)
    return Hindrance(reason, seconds if reason == _PROBE else max(seconds, SOON_SECONDS))


def _retrieved(task: asyncio.Task[object]) -> None:
    """Take note of how an abandoned push ended: it is no news any more."""
    if not task.cancelled():
        task.exception()


def _reply(given: object) -> Reply:
    told = _of(Reply, given)
    rest = None if told.retry_after_seconds is None else _number(told.retry_after_seconds)
    return Reply(_of(ReplyOutcome, told.outcome), _word(told.reason), rest)


def _word(given: object) -> str:
    """Clip a reason to what a reason is: longer texts are no words, and may hold a key."""
    return given if isinstance(given, str) and _REASON.fullmatch(given) else DEFECT


def _claim(given: object) -> str | None:
    if given is None or _CLAIM.fullmatch(_of(str, given)):
        return given if given is None else str(given)
    raise ValueError("claim")


def _state(given: object) -> dict[str, object]:
    """Read a state as what `/status` shows: a JSON object of a bearable size."""
    if not isinstance(given, Mapping):
        raise TypeError("state")
    text = json.dumps(dict(given), allow_nan=False)
    if len(text) > STATE_BYTES_MAX:
        raise ValueError("size")
    told: dict[str, object] = json.loads(text)
    return told
