"""An order that this process holds, with its writes in single file."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import reduce
from typing import TypeVar

import structlog

from app.domain import changes
from app.domain.attempt import StoredAttempt, Submission
from app.domain.changes import Change
from app.domain.order import OrderView
from app.domain.outcome import Dispute
from app.engine.order_time import OrderTime
from app.engine.ports import Claimed, LostLease, Store

_log = structlog.get_logger(__name__)

Recorded = Callable[[OrderView, OrderView], None]
"""Told of every committed write: the order before and after."""

T = TypeVar("T")


class Held:
    """The handle on a claimed order: workers, pushes and the watch all write through it."""

    def __init__(self, claimed: Claimed, store: Store, recorded: Recorded, time: OrderTime) -> None:
        """Take over a claim; `settled` is set when the order needs its slot no longer."""
        self.claimed = claimed
        self.time = time
        self.settled = asyncio.Event()
        self.lost = False
        self.cancel_requested = claimed.view.order.cancel_requested_at_us is not None
        self.disputed: set[tuple[int, Dispute]] = set()
        """What the trail tells already of endpoints that disagree, by attempt number."""
        self._uncertain = False
        self._pushes: list[tuple[int, Submission]] = []
        self._pushes_at_us = 0
        self._store = store
        self._recorded = recorded
        self._lock = asyncio.Lock()

    @property
    def view(self) -> OrderView:
        """The order as last read or written."""
        return self.claimed.view

    @property
    def order_id(self) -> str:
        """The order's id."""
        return self.claimed.view.order.order_id

    @property
    def out_of_time(self) -> bool:
        """Tell whether the deadline has passed: nothing is signed or pushed any more."""
        return self.time.now_us() >= self.view.order.deadline_us

    @property
    def live(self) -> StoredAttempt | None:
        """The attempt that may still land."""
        return self.claimed.view.live_attempt

    def forsake(self) -> None:
        """Leave the order: this process holds it by another handle from now on."""
        self.lost = True
        self.settled.set()

    def pushed(self, number: int, submission: Submission, at_us: int) -> None:
        """Keep a push of an attempt: the next write records it, whatever else that write is about."""
        self._pushes.append((number, submission))
        self._pushes_at_us = at_us

    async def record(self, make: Callable[[OrderView], Sequence[Change]] = lambda _: ()) -> bool:
        """Commit the changes that `make` gives for the order as it is; False when the lease is lost.

        Pushes that are not recorded yet come first: an order that ends has all of them.
        """

        async def write(claimed: Claimed) -> Claimed | LostLease:
            pushes = self._unrecorded(claimed.view)
            made = make(reduce(changes.apply, pushes, claimed.view))
            if not (pushes or made):
                return claimed
            return await self._store.record(claimed, *pushes, *made)

        return isinstance(await self.write(write), Claimed)

    def _unrecorded(self, view: OrderView) -> list[Change]:
        """Give the pushes that the order as it is stored does not show, and forget the others."""
        news: dict[int, list[Submission]] = {}
        stored = {attempt.number: attempt for attempt in view.attempts}
        for number, submission in self._pushes:
            if submission not in stored[number].submissions:
                news.setdefault(number, []).append(submission)
        self._pushes = [(number, each) for number, pushes in news.items() for each in pushes]
        return [
            changes.submitted(stored[number], tuple(pushes), at_us=self._pushes_at_us)
            for number, pushes in news.items()
        ]

    async def write(self, unit: Callable[[Claimed], Awaitable[T]]) -> T | LostLease:
        """Run one unit of work on the order; a unit that gives a Claimed renews what is known.

        After an error or a cancellation of an earlier unit the order is read again first: that write may
        have committed.
        """
        async with self._lock:
            if self._uncertain and not await self._reload():
                return LostLease()
            if self.lost:
                return LostLease()
            self._uncertain = True
            result = await unit(self.claimed)
            self._uncertain = False
            self._take(result)
            return result

    async def reload(self) -> bool:
        """Read the order again; False when the lease is lost."""
        async with self._lock:
            return await self._reload()

    async def _reload(self) -> bool:
        result = await self._store.reload(self.claimed)
        self._uncertain = False
        self._take(result)
        return not self.lost

    def _take(self, result: object) -> None:
        if isinstance(result, LostLease):
            _log.warning("lease lost, order left to its new holder", order_id=self.order_id)
            self.lost = True
            self.settled.set()
        elif isinstance(result, Claimed):
            before, self.claimed = self.view, result
            if result.view.order.cancel_requested_at_us is not None:
                self.cancel_requested = True
            self._recorded(before, result.view)
