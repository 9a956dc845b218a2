"""What it takes to win Jito's auction now: the percentiles that its tip-floor service publishes.

Read beside the work, never for one: who builds a transaction gets what was read last.
"""

import asyncio
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Final, Literal

from app.executors.limiter import loop_time
from app.solana.json_rpc import JsonRpcClient, Raw

FIELDS: Final[Mapping[str, str]] = {
    **{name: f"landed_tips_{name}th_percentile" for name in ("25", "50", "75", "95", "99")},
    "ema50": "ema_landed_tips_50th_percentile",
}
"""The percentiles that can be asked for, as the service names them."""
POLL_SECONDS_MIN: Final = 10.0
"""The service publishes seldom, and refuses who asks often."""
STALE_SECONDS: Final = 300.0
"""Older than this a figure says nothing about the auction of now."""
_BODY_BYTES_MAX: Final = 64 * 1024
_HTTP_OK: Final = 200
LAMPORTS_MAX: Final = 10**18
"""A figure beyond a thousand million SOL, more than there are, is garbled."""
_UNITS: Final[Mapping[str, int]] = {"SOL": 10**9, "lamports": 1}
"""Lamports in what the figures are counted in: Jito's own service tells SOL, others lamports."""

Unit = Literal["SOL", "lamports"]


@dataclass(frozen=True, slots=True)
class TipSource:
    """A service that publishes percentiles of landed tips."""

    client: JsonRpcClient
    """Of the service's whole address: nothing is put behind it."""
    percentile: str
    """One of FIELDS."""
    unit: Unit = "SOL"
    name: str = "tip_floor"


@dataclass(frozen=True, slots=True)
class TipBounds:
    """What is tipped at least and at most, in lamports; the floor wins over a cap below it."""

    floor: int
    cap: int
    default: int | None = None
    """While nothing current is known; None: the floor."""

    def clamp(self, lamports: int) -> int:
        """Bring a figure within the bounds."""
        return max(min(lamports, self.cap), self.floor)


class TipFloor:
    """Keeps the going rate."""

    def __init__(
        self,
        source: TipSource,
        bounds: TipBounds,
        *,
        poll_seconds: float = POLL_SECONDS_MIN,
        on_tip: Callable[[str, int], None] = lambda _source, _lamports: None,
        monotonic: Callable[[], float] = loop_time,
    ) -> None:
        """`on_tip` is told the source's name and every figure read, in lamports within the bounds."""
        self._source = source
        self._bounds = bounds
        self._poll_seconds = max(poll_seconds, POLL_SECONDS_MIN)
        self._on_tip = on_tip
        self._monotonic = monotonic
        self._latest: tuple[int, float] | None = None

    def lamports(self) -> int:
        """Give what to tip now: the latest figure within floor and cap, or the default; never waits."""
        if self._latest is None or self._monotonic() - self._latest[1] > STALE_SECONDS:
            default = self._bounds.default
            return self._bounds.floor if default is None else self._bounds.clamp(default)
        return self._latest[0]

    async def run(self) -> None:
        """Read the figures again and again; never returns."""
        while True:
            await self.poll()
            spread = random.uniform(1, 1.25)  # noqa: S311 - spreads requests, guards nothing
            await asyncio.sleep(self._poll_seconds * spread)

    async def poll(self) -> None:
        """Read the figures once; an answer that means nothing leaves the latest as it is."""
        raw = await self._source.client.exchange(
            "tip_floor", None, http_method="GET", body_bytes_max=_BODY_BYTES_MAX
        )
        read = self._read(raw.body) if isinstance(raw, Raw) and raw.http == _HTTP_OK else None
        if read is None:
            return
        lamports = self._bounds.clamp(read)
        self._latest = (lamports, self._monotonic())
        self._on_tip(self._source.name, lamports)

    def _read(self, body: bytes) -> int | None:
        """Read lamports from a body: an object, or a list with one; None when it means nothing."""
        try:
            document = json.loads(body, parse_float=Decimal, parse_constant=_no_number)
        except (ValueError, ArithmeticError, RecursionError):
            return None
        if isinstance(document, list) and len(document) == 1:
            document = document[0]
        figure = (
            document.get(FIELDS[self._source.percentile]) if isinstance(document, dict) else None
        )
        if isinstance(figure, bool) or not isinstance(figure, int | Decimal):
            return None
        each = _UNITS[self._source.unit]
        if not 0 <= figure <= LAMPORTS_MAX // each:  # before it is multiplied: 1e99999 is a number
            return None
        return int((Decimal(figure) * each).to_integral_value(ROUND_CEILING))


def _no_number(name: str) -> object:
    raise ValueError(name)
