"""The admission gate of a method. pybreaker only records: admission and the half-open probe are ours.

Left to itself pybreaker replaces the failure that trips it, counts cancellations, lets any number of
probes through, and measures by a wall clock that may be set; so it never wraps a push, it is told
afterwards how one went, and how long it stays open is measured here.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import pybreaker

FAILURES_MAX: Final = 5
"""Failures in a row that open the breaker."""
RESET_SECONDS: Final = 10.0
"""How long it stays open before one probe is let through."""

PROBE_SECONDS: Final = 2.0
"""How long others are told to wait for the one probe."""


class Verdict(StrEnum):
    """How a push went, for the method's health."""

    OK = "ok"
    FAIL = "fail"
    NEUTRAL = "neutral"


@dataclass(frozen=True, slots=True)
class Ticket:
    """Leave to push once; `probe` marks the only push let through while half-open."""

    probe: bool


class _Failure(Exception):
    pass


class _Listener(pybreaker.CircuitBreakerListener):
    def __init__(self, on_change: Callable[[str], None]) -> None:
        self._on_change = on_change

    def state_change(self, cb: object, old_state: object, new_state: object) -> None:
        self._on_change(str(getattr(new_state, "name", new_state)))


class Gate:
    """Admits pushes of one method; all calls come from one event loop, so each is atomic."""

    def __init__(
        self,
        name: str,
        *,
        failures_max: int = FAILURES_MAX,
        reset_seconds: float = RESET_SECONDS,
        on_change: Callable[[str], None] = lambda _state: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_change` is told the new state: closed, open, half-open; `monotonic` gives seconds."""
        self._breaker = pybreaker.CircuitBreaker(
            fail_max=failures_max,
            reset_timeout=reset_seconds,
            name=name,
            listeners=[_Listener(self._changed)],
            throw_new_error_on_trip=False,
        )
        self._on_change = on_change
        self._monotonic = monotonic
        self._reset_seconds = reset_seconds
        self._shut_until = float("-inf")
        self._probe: Ticket | None = None

    def _changed(self, state: str) -> None:
        if state == pybreaker.STATE_OPEN:
            self._shut_until = self._monotonic() + self._reset_seconds
        self._on_change(state)

    @property
    def state(self) -> str:
        """`closed`, `open` or `half-open`."""
        return str(self._breaker.current_state)

    @property
    def is_closed(self) -> bool:
        """Tell whether pushes are admitted without a probe."""
        return self.state == pybreaker.STATE_CLOSED

    def retry_after_seconds(self) -> float:
        """Give how long the gate stays shut; 0 when it is not."""
        if self.state != pybreaker.STATE_OPEN:
            return 0.0
        return max(self._shut_until - self._monotonic(), 0.0)

    def wait_seconds(self) -> float:
        """Give how long until `admit` gives a ticket, taking none; a probe under way may take a while."""
        probing = self.state == pybreaker.STATE_HALF_OPEN and self._probe is not None
        return PROBE_SECONDS if probing else self.retry_after_seconds()

    def would_admit(self) -> bool:
        """Tell whether `admit` would give a ticket now, without taking one."""
        return self.wait_seconds() == 0

    def reset(self) -> None:
        """Close the breaker and forget its failures; a probe under way decides nothing any more."""
        self._probe = None
        if self.state == pybreaker.STATE_CLOSED:
            self._breaker._state_storage.reset_counter()  # noqa: SLF001 - there is no other way
        else:
            self._breaker.close()

    def admit(self) -> Ticket | None:
        """Give leave for one push, or None; every ticket must be handed back by `record`."""
        if not self.would_admit():
            return None
        if self.state == pybreaker.STATE_OPEN:
            self._breaker.half_open()
        if self.state == pybreaker.STATE_HALF_OPEN:
            self._probe = Ticket(probe=True)
            return self._probe
        return Ticket(probe=False)

    def record(self, ticket: Ticket, verdict: Verdict) -> None:
        """Hand a ticket back with how the push went; a cancelled push is neutral."""
        if ticket is self._probe:
            self._probe = None
            late = False
        else:
            late = ticket.probe or self.state != pybreaker.STATE_CLOSED
        if verdict is Verdict.NEUTRAL or late:
            return

        def outcome() -> None:
            if verdict is Verdict.FAIL:
                raise _Failure

        try:
            self._breaker.call(outcome)
        except (_Failure, pybreaker.CircuitBreakerError):
            return
