"""The process's lease on its orders: a heartbeat, and the right to act only while it beats."""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from app.domain.errors import IntakeError
from app.engine.ports import Clock, Store

BEAT_SECONDS: Final = 1.0
LEASE_SECONDS: Final = 3.0
"""Other processes take over when a heartbeat is older; this one signs and pushes nothing by then."""

_log = structlog.get_logger(__name__)


class LeaseLostError(Exception):
    """Another process has taken this one's orders over: the process must end."""


class Lease:
    """Beats once a second; `held` is judged from before the beat was sent, so never too long."""

    def __init__(
        self, store: Store, clock: Clock, trouble: Callable[[], str | None] = lambda: None
    ) -> None:
        """Start without a lease: nothing may be signed before the first beat, nor in `trouble`."""
        self._store = store
        self._clock = clock
        self._trouble = trouble
        self._until = float("-inf")

    def held(self) -> bool:
        """Tell whether this process may sign and push now: what follows from it must be storable."""
        return self._clock.monotonic() < self._until and self._trouble() is None

    async def beat(self) -> None:
        """Renew the lease once; raises LeaseLostError when the database does not know it any more."""
        asked = self._clock.monotonic()
        try:
            async with asyncio.timeout(LEASE_SECONDS):
                known = await self._store.heartbeat()
        except (TimeoutError, IntakeError) as error:
            _log.warning("the heartbeat failed", why=str(error) or "timeout")
            return
        if not known:
            raise LeaseLostError
        self._until = asked + LEASE_SECONDS

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            await self.beat()
            await asyncio.sleep(BEAT_SECONDS)
