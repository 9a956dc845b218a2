"""Endpoints that contradict each other: told in the order's trail, once for each attempt and dispute."""

from typing import Final

from app.domain import changes
from app.domain.attempt import StoredAttempt
from app.domain.events import Event, EventKind
from app.domain.outcome import Disagreement, NotProved
from app.engine.held import Held
from app.engine.ports import Ports

PAGE: Final = 500


class Disputes:
    """Tells a disagreement that kept an attempt from being settled; it settles nothing itself."""

    def __init__(self, ports: Ports) -> None:
        """Take what is written to and read from."""
        self._store = ports.store
        self._clock = ports.clock
        self._telemetry = ports.telemetry

    async def tell(self, held: Held, attempt: StoredAttempt, found: NotProved) -> None:
        """Tell why there is no proof if endpoints disagree, unless the trail says so already."""
        dispute = found.disagreement
        if dispute is None or (attempt.number, dispute.kind) in held.disputed:
            return
        if not await self._is_told(held, attempt, dispute):
            told = changes.disputed(attempt, dispute, at_us=self._clock.now_us())
            if not await held.record(lambda _view: [told]):
                return
            self._telemetry.disputed(dispute.kind)
        held.disputed.add((attempt.number, dispute.kind))

    async def _is_told(self, held: Held, attempt: StoredAttempt, dispute: Disagreement) -> bool:
        """Look through the trail: an earlier process may have told it."""
        order, after = held.view.order, 0
        while page := await self._store.events(
            account=order.account, order_id=order.order_id, after=after, limit=PAGE
        ):
            if any(_tells(event, attempt, dispute) for event in page):
                return True
            after = page[-1].position or after
        return False


def _tells(event: Event, attempt: StoredAttempt, dispute: Disagreement) -> bool:
    told = event.data.get("number"), event.data.get("dispute")
    return event.kind is EventKind.DISPUTED and told == (attempt.number, dispute.kind)
