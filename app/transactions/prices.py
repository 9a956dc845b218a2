"""The going price of a compute unit: asked for ahead, shared by all orders, never waited for long."""

import asyncio
import math
from collections.abc import Callable, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Final, Protocol

PRICE_SECONDS: Final = 2
"""How long a figure counts as current: about five slots."""
PRICE_KEPT_SECONDS: Final = 60
"""How long a figure serves when no newer one is to be had; after that congestion is another."""
PRICE_WAIT_SECONDS: Final = 0.3  # float ok: a time
"""The longest that an order waits for a figure, counted from when it was asked for."""
PRICE_READ_SECONDS: Final = 2
"""When a question without an answer is given up, and asked again."""


class PriceSource(Protocol):
    """Knows what others bid for a compute unit."""

    async def unit_price(self, accounts: Sequence[str]) -> int | None:
        """Estimate the price for a transaction that writes these accounts, in micro-lamports.

        The accounts (base58) are those that the swap shares with others, never the wallet's own: only
        our own transactions write those, and their prices would come back as if others had bid them.
        None when nothing is known; never raises.
        """


@dataclass(slots=True)
class _Figure:
    """What was last told for some accounts, and the question under way."""

    price: int | None = None
    told_at: float = -math.inf
    asked_at: float = -math.inf
    asking: asyncio.Task[None] | None = None

    def is_asking(self) -> bool:
        return self.asking is not None and not self.asking.done()


class UnitPrices:
    """Figures by accounts: one question at a time for each, however many orders want the answer."""

    def __init__(
        self,
        source: PriceSource | None,
        monotonic: Callable[[], float],
        *,
        wait_seconds: float = PRICE_WAIT_SECONDS,
        read_seconds: float = PRICE_READ_SECONDS,
    ) -> None:
        """Without a source no figure is ever known."""
        self._source = source
        self._monotonic = monotonic
        self._wait_seconds = wait_seconds
        self._read_seconds = read_seconds
        self._figures: dict[tuple[str, ...], _Figure] = {}

    def ask(self, accounts: tuple[str, ...]) -> None:
        """Ask for the figure unless that was done lately; returns at once."""
        if self._source is None:
            return
        figure = self._figures.setdefault(accounts, _Figure())
        now = self._monotonic()
        if figure.is_asking() or now - figure.asked_at < PRICE_SECONDS:
            return
        figure.asked_at = now
        # a context of its own: what is logged below belongs to no single order
        figure.asking = asyncio.create_task(
            self._update(self._source, accounts, figure), name="ask unit price", context=Context()
        )

    async def latest(self, accounts: tuple[str, ...]) -> int | None:
        """Give the figure, waiting a little for one under way; else the last known; else None."""
        self.ask(accounts)
        figure = self._figures.get(accounts)
        if figure is None:
            return None
        left = figure.asked_at + self._wait_seconds - self._monotonic()
        if figure.asking is not None and figure.is_asking() and left > 0:
            await asyncio.wait([figure.asking], timeout=left)
        known = self._monotonic() - figure.told_at < PRICE_KEPT_SECONDS
        return figure.price if known else None

    async def aclose(self) -> None:
        """Stop the questions under way."""
        asking = [figure.asking for figure in self._figures.values() if figure.asking is not None]
        for task in asking:
            task.cancel()
        if asking:
            await asyncio.wait(asking)

    async def _update(
        self, source: PriceSource, accounts: tuple[str, ...], figure: _Figure
    ) -> None:
        try:
            async with asyncio.timeout(self._read_seconds):
                price = await source.unit_price(accounts)
        except TimeoutError:
            return
        if price is not None:
            figure.price, figure.told_at = price, self._monotonic()
