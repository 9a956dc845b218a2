"""A limit on requests, kept for each key: so many a second, no bursts beyond that."""

from collections.abc import Callable, Hashable
from math import ceil

SLACK_SECONDS = (
    0.05  # a client that keeps the pace exactly is not refused for a jitter of its clock
)


class RateLimit:
    """Admits `per_second` requests of each key; 0 admits all. `timer` gives seconds."""

    def __init__(self, per_second: float, timer: Callable[[], float]) -> None:
        self.per_second = per_second
        self._timer = timer
        self._due: dict[Hashable, float] = {}  # when a key's next request would be on time

    def wait_ms(self, key: Hashable) -> int:
        """Count a request and give 0, or refuse it and give the milliseconds to wait."""
        if not self.per_second:
            return 0
        now, interval = self._timer(), 1 / self.per_second
        due = max(self._due.get(key, now), now)
        ahead = due - now - max(0.0, 1 - interval)  # several a second may come at once
        if ahead > SLACK_SECONDS:
            return ceil(ahead * 1_000)
        self._due[key] = due + interval
        return 0
