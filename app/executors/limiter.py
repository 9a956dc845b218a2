"""The pace of one credential at one endpoint: so many requests a second, and none while told off."""

import asyncio
import hashlib
import math
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from app.solana.json_rpc import endpoint_label

BACK_OFF_SECONDS: Final = 5.0
"""First rest after a refusal that does not say for how long; doubled from refusal to refusal."""
BACK_OFF_SECONDS_MAX: Final = 120.0
"""Longest rest of our own."""
HINT_SECONDS_MAX: Final = 600.0
"""Longest rest that a provider is granted: a mad Retry-After does not switch a method off."""
AT_ONCE_SECONDS: Final = 0.1
"""A shorter hint says `at once`, as many a server's `Retry-After: 0` does without meaning it."""


def loop_time() -> float:
    """Give the running event loop's time, the one that deadlines are in."""
    return asyncio.get_running_loop().time()


def pace_key(url: str, credential: str = "") -> str:
    """Name the pace of a credential at an endpoint: its host first, the credential told apart, not shown.

    Without one the URL's path and query are taken for it: vendors put keys there.
    """
    parts = urlsplit(url)
    told = credential or "?".join(filter(None, (parts.path.strip("/"), parts.query)))
    mark = hashlib.sha256(told.encode()).hexdigest()[:8] if told else "-"
    return f"{endpoint_label(url)} {mark}"


class Limiter:
    """Shared by all that use the credential; all calls come from one event loop, so each is atomic.

    Jito counts every request of an address in a region, and its penalty grows for who hammers on.
    """

    def __init__(
        self,
        per_second: float = math.inf,
        *,
        monotonic: Callable[[], float] = loop_time,
        on_back_off: Callable[[float], None] = lambda _seconds: None,
    ) -> None:
        """`per_second` infinite: no pace of our own. `on_back_off` is told of every rest, in seconds."""
        self._interval = 1 / per_second
        self._monotonic = monotonic
        self._on_back_off = on_back_off
        self._free_at = -math.inf
        self._resting_until = -math.inf
        self._refusals = 0

    def wait_seconds(self, *, again: bool = False) -> float:
        """Give how long until a request is admitted; `again`: one that leaves the next place to others."""
        spare = self._interval if again else 0.0
        return max(self._free_at + spare, self._resting_until, now := self._monotonic()) - now

    def take(self) -> bool:
        """Take a place for one request, if there is one now."""
        if self.wait_seconds() > 0:
            return False
        self._free_at = self._monotonic() + self._interval
        return True

    def share(self, per_second: float) -> None:
        """Be used at another pace too: the slower one holds for all."""
        self._interval = max(self._interval, 1 / per_second)

    def refused(self, retry_after_seconds: float | None) -> None:
        """Rest as long as the provider says, else longer from refusal to refusal.

        One that says `at once` is believed once: from the second refusal in a row on the rest is ours.
        """
        own = min(BACK_OFF_SECONDS * 2 ** min(self._refusals, 10), BACK_OFF_SECONDS_MAX)
        seconds = _granted(retry_after_seconds)
        if seconds is None or (seconds < AT_ONCE_SECONDS and self._refusals > 0):
            seconds = own
        self._refusals += 1
        self._resting_until = max(self._resting_until, self._monotonic() + seconds)
        self._on_back_off(seconds)

    def served(self) -> None:
        """Begin anew with short rests: a request was answered, however."""
        self._refusals = 0

    def reset(self) -> None:
        """Forget every rest."""
        self._refusals, self._resting_until = 0, -math.inf


def _granted(hint: float | None) -> float | None:
    """Give a provider's hint within its bound; None for none, and for what is no time."""
    return min(hint, HINT_SECONDS_MAX) if hint is not None and hint >= 0 else None
