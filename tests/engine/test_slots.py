"""However work comes and goes, no more orders are in execution at once than there are slots."""

import asyncio
import itertools
from collections import Counter
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.attempt import StoredAttempt
from app.domain.errors import ReasonCode, TransientError
from tests.engine.fake_store import busy, unknown
from tests.engine.rig import Knobs, Rig, pass_time, running
from tests.engine.scripting import Fault
from tests.engine.virtual_time import run


@dataclass(frozen=True)
class Arrival:
    """A signal, how long its stages take, and what becomes of its bytes."""

    at: float
    quote_seconds: float
    lands_after: float | None
    trouble: str


ARRIVALS = st.builds(
    Arrival,
    at=st.floats(0, 20),
    quote_seconds=st.floats(0, 8),
    lands_after=st.none() | st.floats(0, 15),
    trouble=st.sampled_from(["none", "none", "quote", "refused", "lost"]),
)
FAULTS = {
    "quote": ("quote", Fault(refuses=TransientError(ReasonCode.CHAIN_UNAVAILABLE, "down"))),
    "refused": ("store_attempt", Fault(refuses=busy())),
    "lost": ("store_attempt", Fault(loses=unknown())),
}


class Watcher:
    """Counts the passes under way: from the quote until the order needs its slot no longer."""

    def __init__(self, slots: int) -> None:
        self.rig = Rig(Knobs(slots=slots, execution_timeout=10, retry_delay=0.1))
        self.most = 0

    def look(self) -> None:
        """Note how many orders are in execution now, by every measure."""
        rows = self.rig.database.rows.values()
        alive = Counter(row.order.status.value for row in rows if row.process is not None)
        self.most = max(self.most, alive["executing"], self.rig.engine.busy)

    async def live(self, arrivals: list[Arrival]) -> None:
        """Let the orders come, one after the other."""
        rig = self.rig
        delays = iter(sorted(arrivals, key=lambda each: each.at))
        rig.database.moved = lambda _before, _after: self.look()
        rig.chain.fate = lambda attempt: self._fate(attempt, arrivals)
        async with running(rig):
            now = 0.0
            for arrival in delays:
                await pass_time(arrival.at - now)
                now = arrival.at
                if arrival.trouble in FAULTS:
                    name, fault = FAULTS[arrival.trouble]
                    script = rig.trading.script if name == "quote" else rig.store.script
                    script.add(name, fault)
                await rig.post()
                self.look()
            await pass_time(30)
        assert rig.failures == []

    def _fate(self, attempt: StoredAttempt, arrivals: list[Arrival]) -> None:
        number = int(attempt.order_id.removeprefix("order")) - 1
        after = arrivals[number % len(arrivals)].lands_after
        if after is not None:
            self.rig.chain.land(attempt, after=after)


@settings(max_examples=25)
@given(slots=st.integers(1, 3), arrivals=st.lists(ARRIVALS, min_size=1, max_size=12))
def test_never_more_than_the_slots_are_in_execution(slots: int, arrivals: list[Arrival]) -> None:
    """Random arrivals, slow stages, errors, timeouts, landings and losses."""

    async def story() -> int:
        watcher = Watcher(slots)
        delays = itertools.cycle(arrival.quote_seconds for arrival in arrivals)

        async def pace(name: str) -> None:
            await asyncio.sleep(next(delays) if name == "quote" else 0)

        watcher.rig.trading.script.pace = pace
        await watcher.live(arrivals)
        return watcher.most

    assert 1 <= run(story()) <= slots
