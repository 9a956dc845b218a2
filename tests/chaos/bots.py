"""Bots that trade: they post at their own pace, repeat themselves, and retry until they are answered."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import aiohttp

ANSWER_SECONDS: Final = 5.0
PAUSE_SECONDS: Final = 0.25
PAUSE_SECONDS_MAX: Final = 8.0
AT_ONCE: Final = 100
"""Requests that all bots together wait for."""
IMPOSSIBLE: Final = "1000000"
SIZES: Final[Mapping[str, tuple[int, int, int]]] = {
    "SOL-USDC": (1, 20, 3),
    "BONK-USDC": (1_000, 50_000, 0),
    "RAY-SOL": (10, 900, 3),
}
"""Smallest and largest size of each market in units of its last digit, and how many decimals it has."""
PRIVATE: Final = ("bundle",)
CHOICES: Final = (
    ("rpc",),
    ("quicknode",),
    ("quicknode", "rpc"),
    ("jito", "rpc"),
    ("bundle", "quicknode"),
)


@dataclass(frozen=True)
class Intent:
    """What a bot is going to post: the same for each seed and number, whatever else happens."""

    number: int
    key: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]
    cancels: bool
    """It asks for its cancellation soon after."""
    repeats: int
    """How often it posts the same again although it was answered."""
    twice: bool
    """It posts to two services at once."""

    @property
    def fills(self) -> bool:
        """Whether it is an order that a chain in good health fills."""
        return not self.cancels and "price" not in self.body


def intent(seed: int, number: int) -> Intent:
    """Draw one of a seed's intents."""
    rng = Random(f"{seed}/{number}")
    key = f"chaos-{seed}-{number}"
    market = rng.choice(list(SIZES))
    least, most, decimals = SIZES[market]
    size = f"{rng.randint(least, most) / 10**decimals:.{decimals}f}"
    body: dict[str, Any] = {
        "action": rng.choice(["BUY", "SELL"]),
        "market": market,
        "size": size,
        "priority": rng.randint(0, 9),
    }
    headers = {}
    if (named := rng.random()) < 0.75:
        body["client_order_id"] = key
    if named >= 0.5:
        headers["idempotency-key"] = key
    if rng.random() < 0.25:
        body["methods"] = list(rng.choice(CHOICES))
    if rng.random() < 0.1:
        body |= {"methods": list(PRIVATE), "allow_public_fallback": False}
    if rng.random() < 0.03:
        body |= {"action": "SELL", "price": IMPOSSIBLE}
    return Intent(
        number=number,
        key=key,
        headers=headers,
        body=body,
        cancels=rng.random() < 0.03,
        repeats=rng.choice([0] * 8 + [1, 2]),
        twice=rng.random() < 0.05,
    )


@dataclass
class Told:
    """What the service said of one intent."""

    intent: Intent
    order_ids: set[str] = field(default_factory=set)
    accepted_at: float = 0.0
    """When it was answered first, on the monotonic clock."""
    refusals: list[str] = field(default_factory=list)
    """Answers that are neither an acceptance nor a request to come again."""


@dataclass
class Bots:
    """All bots of a run, and what they were told."""

    seed: int
    urls: Sequence[str]
    per_second: float
    told: dict[str, Told] = field(default_factory=dict)
    heard: Counter[str] = field(default_factory=Counter)
    scheduled: asyncio.Event = field(default_factory=asyncio.Event)
    """Every intent has been posted once; answers may be owed."""
    _places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    stopped: bool = False
    """No more waits: whoever is not answered is left."""

    async def post_all(self, http: aiohttp.ClientSession, numbers: Iterable[int]) -> None:
        """Post these intents at their own pace, whatever becomes of the answers, and see them answered."""
        rng = Random(f"{self.seed}/pace")
        started, due = time.monotonic(), 0.0
        async with asyncio.TaskGroup() as group:
            for number in numbers:
                due += rng.expovariate(self.per_second)
                await asyncio.sleep(started + due - time.monotonic())
                group.create_task(self._live(http, intent(self.seed, number)))
            self.scheduled.set()

    async def _live(self, http: aiohttp.ClientSession, wish: Intent) -> None:
        rng = Random(f"{self.seed}/{wish.number}/life")
        told = self.told[wish.key] = Told(wish)
        await asyncio.gather(*(self._post(http, told, rng) for _ in range(1 + wish.twice)))
        if wish.cancels and told.order_ids:
            await asyncio.sleep(rng.uniform(0, 1))
            await self._cancel(http, told, rng)
        for _ in range(wish.repeats):
            await asyncio.sleep(rng.uniform(0, 4))
            await self._post(http, told, rng)

    async def _post(self, http: aiohttp.ClientSession, told: Told, rng: Random) -> None:
        """Post until there is an answer that says what became of it."""
        for tries in itertools.count():
            if self.stopped:
                return
            url = f"{rng.choice(self.urls)}/signals"
            status, document = await self._ask(http, url, told.intent.body, told.intent.headers)
            self.heard[f"{status} {document.get('code', '')}".strip()] += 1
            if status in (200, 202):
                told.order_ids.add(document["order_id"])
                told.accepted_at = told.accepted_at or time.monotonic()
                return
            if status and not document.get("retryable", status >= 500):
                told.refusals.append(f"{status} {document}")
                return
            await asyncio.sleep(_pause(rng, tries))

    async def _cancel(self, http: aiohttp.ClientSession, told: Told, rng: Random) -> None:
        """Ask for the cancellation until there is an answer."""
        (order_id, *_) = told.order_ids
        for tries in itertools.count():
            if self.stopped:
                return
            url = f"{rng.choice(self.urls)}/orders/{order_id}/cancel"
            status, document = await self._ask(http, url, None, {})
            self.heard[f"cancel {status} {document.get('code', '')}".strip()] += 1
            if status in (200, 202, 409):
                return
            if status and not document.get("retryable", status >= 500):
                told.refusals.append(f"cancel: {status} {document}")
                return
            await asyncio.sleep(_pause(rng, tries))

    async def _ask(
        self,
        http: aiohttp.ClientSession,
        url: str,
        body: Mapping[str, Any] | None,
        headers: Mapping[str, str],
    ) -> tuple[int, dict[str, Any]]:
        """Post; status 0 stands for no answer."""
        limit = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        try:
            async with (
                self._places,
                http.post(url, json=body, headers=headers, timeout=limit) as answer,
            ):
                document = await answer.json(content_type=None)
                return answer.status, document if isinstance(document, dict) else {}
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return 0, {"code": type(error).__name__}


def _pause(rng: Random, tries: int) -> float:
    """Wait longer from try to try."""
    return rng.uniform(0.5, 1.5) * min(PAUSE_SECONDS_MAX, PAUSE_SECONDS * (1 << min(tries, 8)))
