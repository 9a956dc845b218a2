"""The time that a held order is judged by: it follows a clock that is set forward, never one set back."""

from app.domain.signal import US
from app.engine.ports import Clock


class OrderTime:
    """UTC microseconds from the claim on, never less than what the monotonic clock adds up to.

    A clock that is set back between two steps gives an order no more time than it had. Between two
    claims, and across processes, the wall clock alone tells.
    """

    def __init__(self, clock: Clock) -> None:
        """Begin now."""
        self._clock = clock
        self._from_us = clock.now_us()
        self._from_seconds = clock.monotonic()

    def now_us(self) -> int:
        """Give the order's time."""
        seconds = self._clock.monotonic()
        steady_us = self._from_us + int((seconds - self._from_seconds) * US)
        wall_us = self._clock.now_us()
        if wall_us > steady_us:
            self._from_us, self._from_seconds = wall_us, seconds
        return max(wall_us, steady_us)
