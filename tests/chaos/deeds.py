"""What is done to processes, their disk, their clock and their database while orders are in flight."""

import asyncio
import errno
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from tests.chaos.books import Books, held_by, held_by_any
from tests.chaos.cast import Node, Postgres, Unit
from tests.chaos.recovery import Recovery, left_by, recovery
from tests.shim import Control

PAUSE_SECONDS: Final = (3.3, 5.0)
"""Longer than a lease: others may take over."""
FULL_SECONDS: Final = (0.5, 2.5)
LOCK_SECONDS: Final = (0.5, 4.0)
CLOCK_US_MAX: Final = 40_000_000
LOOK_SECONDS: Final = 0.05
VICTIM_LOOKS: Final = 40
MEASURED: Final = 0.1
"""Share of the kills after which no other process is broken before the orders are taken up."""

WEIGHTS: Final[Mapping[str, int]] = {
    "sigkill_service": 20,
    "sigstop": 5,
    "sigkill_sandbox": 2,
    "clock_jump": 2,
    "full_disk": 2,
    "locked_database": 2,
    "postgres_restart": 2,
}
"""How often each is done in one round; the first round does each of them once."""


@dataclass
class Deeds:
    """Breaks one thing after the other, by the seed."""

    rng: Random
    books: Books
    node: Node
    services: Sequence[Unit]
    kinds: Sequence[str]
    control: Control | None = None
    postgres: Postgres | None = None
    pause_between: float = 3.0
    hits: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    recoveries: list[Recovery] = field(default_factory=list)
    first_round: asyncio.Event = field(default_factory=asyncio.Event)
    _deck: list[str] = field(default_factory=list)

    async def do(self) -> None:
        """Break things until cancelled."""
        deeds: Mapping[str, Callable[[], Awaitable[bool]]] = {
            "sigkill_service": self._kill_service,
            "sigkill_sandbox": self._kill_sandbox,
            "sigstop": self._pause,
            "clock_jump": self._jump,
            "full_disk": self._fill_disk,
            "locked_database": self._lock,
            "postgres_restart": self._restart_postgres,
        }
        self._deck = self.rng.sample(list(self.kinds), len(self.kinds))
        while True:
            if not self._deck:
                self.first_round.set()
                round_ = [kind for kind in self.kinds for _ in range(WEIGHTS[kind])]
                self._deck = self.rng.sample(round_, len(round_))
            kind = self._deck.pop()
            hit = await deeds[kind]()
            (self.hits if hit else self.missed)[kind] += 1
            if not hit and not self.first_round.is_set():
                self._deck.insert(0, kind)
            await asyncio.sleep(self.rng.expovariate(1 / self.pause_between))

    async def in_flight(self, unit: Unit | None = None) -> Mapping[str, int]:
        """Give the versions of orders in the hands of one process, or of any; none when unreadable."""
        if unit is None:
            return await held_by_any(self.books) or {}
        return await held_by(self.books, unit.pid) or {}

    async def _victim(self) -> tuple[Unit, Mapping[str, int]]:
        """Choose a process that holds orders, with their versions; whichever lives when none does."""
        for _ in range(VICTIM_LOOKS):
            free = [unit for unit in self.services if not unit.busy.locked() and unit.alive]
            for unit in self.rng.sample(free, len(free)):
                if held := await self.in_flight(unit):
                    return unit, held
            await asyncio.sleep(LOOK_SECONDS)
        return self.rng.choice(self.services), {}

    async def _kill_service(self) -> bool:
        unit, before = await self._victim()
        async with unit.busy:
            unit.kill()
            left = await left_by(self.books, unit.pid, before) or {}
            unit.launch()
        if left and self.rng.random() < MEASURED:  # else something else breaks meanwhile
            self.recoveries.append(await recovery(self.books, unit.started_at, left))
        return bool(left)

    async def _kill_sandbox(self) -> bool:
        async with self.node.unit.busy:
            held = await self.in_flight()
            self.node.unit.kill()
            await asyncio.sleep(self.rng.uniform(0, 0.5))
            self.node.unit.launch()
        return bool(held)

    async def _pause(self) -> bool:
        unit, _ = await self._victim()
        async with unit.busy:
            unit.signal(signal.SIGSTOP)
            held = await self.in_flight(unit)  # by now it can neither end one nor take one
            await asyncio.sleep(self.rng.uniform(*PAUSE_SECONDS))
            unit.signal(signal.SIGCONT)
        return bool(held)

    async def _jump(self) -> bool:
        """Set the wall clock of all services to another time, forth or back; there it goes on from."""
        assert self.control is not None
        held = await self.in_flight()
        self.control.set_clock_offset(self.rng.randint(-CLOCK_US_MAX, CLOCK_US_MAX))
        return bool(held)

    async def _fill_disk(self) -> bool:
        """Let no byte be written to the databases for a while; counted when a write was refused."""
        assert self.control is not None
        held, before = await self.in_flight(), self.control.failed()
        self.control.set_errno(self.rng.choice([errno.ENOSPC, errno.ENOSPC, errno.EIO]))
        try:
            await asyncio.sleep(self.rng.uniform(*FULL_SECONDS))
        finally:
            self.control.set_errno(0)
        return bool(held) and self.control.failed() > before

    async def _lock(self) -> bool:
        held = await self.in_flight()
        try:
            async with self.books.locked():
                await asyncio.sleep(self.rng.uniform(*LOCK_SECONDS))
        except Exception:  # noqa: BLE001 - a database that is too busy to be locked was not
            return False
        return bool(held)

    async def _restart_postgres(self) -> bool:
        assert self.postgres is not None
        held = await self.in_flight()
        await asyncio.to_thread(self.postgres.restart)
        return bool(held)

    def end(self) -> None:
        """Mend what can be mended."""
        if self.control is not None:
            self.control.set_errno(0)
        for unit in self.services:
            unit.signal(signal.SIGCONT)
