"""Trouble on the sandbox: rules for the next requests, forks and outages, and what of it was met."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import aiohttp

from tests.chaos.cast import Node
from tests.chaos.kinds import CHAIN, REQUESTS, SERVING

TICK_SECONDS: Final = 1.0
CLEAR_TICKS: Final = 12
"""Rules that nothing has met are taken back now and then, and used-up ones with them."""
OWED_TICKS_MAX: Final = 6
REQUESTS_KEPT_TICKS: Final = 4
LEAST: Final = 0.02
"""How likely a rule meets a request that it is for, at least: as likely as its pace needs."""
PATIENCE_TICKS: Final = 3
"""A rule that is not used up so long after is given a second one."""


@dataclass
class Weather:
    """Scripts the sandbox's faults by the seed, and counts by its journal whom they hit."""

    node: Node
    rng: Random
    in_flight: Callable[[], bool]
    """Whether orders were in a process's hands, at the last looks."""
    scale: float = 1.0
    """How much of the planned pace."""
    events_per_second: float = 0.5
    kinds: Mapping[str, Any] = field(default_factory=lambda: REQUESTS)
    hits: Counter[str] = field(default_factory=Counter)
    """Faults that hit a request which serves orders, or the chain, with orders in flight; by kind."""
    missed: Counter[str] = field(default_factory=Counter)
    """Faults that hit a request of nobody's order."""
    requests: Counter[str] = field(default_factory=Counter)
    """Requests to each endpoint by method."""
    _owed: dict[str, float] = field(default_factory=lambda: dict.fromkeys(REQUESTS, 0.0))
    _posted: Counter[str] = field(default_factory=Counter)
    _waits: Counter[str] = field(default_factory=Counter)
    _read: int = 0
    _life: int = 0
    _deck: list[str] = field(default_factory=list)
    _ticks: deque[Counter[tuple[str, str]]] = field(
        default_factory=lambda: deque(maxlen=REQUESTS_KEPT_TICKS)
    )

    async def blow(self, http: aiohttp.ClientSession) -> None:
        """Make trouble until cancelled."""
        ticks = 0
        while True:
            await self._tick(http, clear=ticks % CLEAR_TICKS == 0)
            ticks += 1
            await asyncio.sleep(TICK_SECONDS)

    async def storm(self, http: aiohttp.ClientSession) -> None:
        """Let forks, missing blocks and outages happen until cancelled."""
        while True:
            await asyncio.sleep(self.rng.expovariate(self.events_per_second))
            if not self._deck:
                self._deck = self.rng.sample(list(CHAIN), len(CHAIN))
            kind = self._deck.pop()
            was = self.in_flight()
            fields = CHAIN[kind](self.rng)
            if await self.node.ask(http, "POST", "fault", {"kind": kind, **fields}) is not None:
                (self.hits if was and self.in_flight() else self.missed)[kind] += 1

    async def read(self, http: aiohttp.ClientSession) -> None:
        """Read the journal on: what was asked, and what was done to it."""
        if self.node.unit.starts != self._life:  # a chain that was killed has no journal any more
            self._life, self._read = self.node.unit.starts, 0
            self._posted.clear()
        found = await self.node.ask(http, "GET", f"journal?after={self._read}")
        flying = self.in_flight()
        tick: Counter[tuple[str, str]] = Counter()
        self._ticks.append(tick)
        for entry in (found or {}).get("entries", ()):
            self._read = entry["n"]
            self.requests[f"{entry['endpoint']} {entry['rpc_method']}"] += 1
            tick[entry["endpoint"], entry["rpc_method"]] += 1
            counts = self.hits if flying and entry["rpc_method"] in SERVING else self.missed
            for kind in entry["faults"]:
                if kind in REQUESTS:
                    counts[kind] += 1
                    self._posted[kind] -= 1
                    self._owed[kind] -= 1

    async def _tick(self, http: aiohttp.ClientSession, *, clear: bool) -> None:
        await self.read(http)
        if clear and await self.node.ask(http, "DELETE", "faults") is not None:
            self._posted.clear()
        rules = []
        for name, kind in self.kinds.items():
            pace = kind.per_minute * self.scale * TICK_SECONDS / 60
            self._owed[name] += pace * self.rng.uniform(0.3, 1.7)
            count = int(min(self._owed[name], pace * OWED_TICKS_MAX + 1))
            self._waits[name] += 1
            if count > 0 and (self._posted[name] <= 0 or self._waits[name] > PATIENCE_TICKS):
                rules.append(self._rule(name, count))
        if rules and await self.node.ask(http, "POST", "faults", rules) is not None:
            for rule in rules:
                self._posted[rule["kind"]] = rule["count"]
                self._waits[rule["kind"]] = 0

    def _usual(self, endpoint: str | None, rpc_method: str | None) -> float:
        """Give how many requests a rule would be for in one of the last ticks."""
        return sum(
            count
            for tick in self._ticks
            for (at, method), count in tick.items()
            if endpoint in (None, at) and rpc_method in (None, method)
        ) / max(1, len(self._ticks))

    def _rule(self, name: str, count: int) -> dict[str, Any]:
        """Write one rule of a kind, for one of those whom it may befall."""
        kind = REQUESTS[name]
        asked = [each for each in kind.targets if self._usual(*each) >= 1]  # rarely: wait in vain
        endpoint, rpc_method = self.rng.choice(asked or kind.targets)
        likely = 1.5 * count / max(1.0, self._usual(endpoint, rpc_method))
        rule: dict[str, Any] = {"kind": name, "count": count, **kind.fields(self.rng)}
        rule |= {"probability": min(kind.most, max(LEAST, likely))}
        rule |= {"seed": self.rng.randrange(2**31)}
        rule |= {"endpoint": endpoint} if endpoint else {}
        return rule | ({"rpc_method": rpc_method} if rpc_method else {})
