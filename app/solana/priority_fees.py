"""What a compute unit costs now: going rates of the priority fee, in micro-lamports for each compute unit.

A rate is advice. It never raises and is never waited for long; None means that nobody knows one.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

import structlog

from app.domain.errors import TransientError
from app.solana import decode
from app.solana.json_rpc import JsonRpcClient, Result, RpcError

WAIT_SECONDS: Final = 1.0
"""A rate that takes longer is not worth holding up an order."""
REST_SECONDS: Final = 10.0
"""An estimator that gave no sound answer is left alone for so long."""
UNIT_PRICE_MAX: Final = 100_000_000
"""Above it a rate is no rate: 0.14 SOL for a transaction of 1.4 million compute units."""
BLOCKS_MAX: Final = 100
"""Blocks that the estimator looks back over (it takes no more)."""
_LEVELS: Final[Mapping[int, str]] = {25: "low", 50: "medium", 75: "high", 90: "extreme"}
"""The estimator's named levels by the percentile that they stand for."""
_METHOD_MISSING: Final = -32601
_TOO_MANY: Final = 429
_LIMIT_REACHED: Final = re.compile("request limit reached", re.IGNORECASE)

_log = structlog.get_logger(__name__)


class PriorityFees(Protocol):
    """A source of the going rate."""

    async def unit_price(self, accounts: Sequence[str]) -> int | None:
        """Give the micro-lamports for each compute unit that writers of these accounts pay now.

        None when nobody knows. Raises only CancelledError.
        """


class RecentFees:
    """The rate from what recent slots paid at least (getRecentPrioritizationFees)."""

    def __init__(
        self,
        recent_fees: Callable[[Sequence[str]], Awaitable[Sequence[int]]],
        percentile: int,
        *,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        """`recent_fees` gives one figure a slot for the accounts; `percentile` is of 0 to 100."""
        self._recent_fees = recent_fees
        self._percentile = percentile
        self._wait_seconds = wait_seconds

    async def unit_price(self, accounts: Sequence[str]) -> int | None:
        """See the protocol; slots in which nothing was paid tell nothing and are left out."""
        try:
            async with asyncio.timeout(self._wait_seconds):
                fees = await self._recent_fees(accounts)
        except (TransientError, TimeoutError):
            return None
        return percentile_of([fee for fee in fees if fee > 0], self._percentile)


class QuickNodeFees:
    """The rate from QuickNode's priority-fee add-on (qn_estimatePriorityFees), else from another source.

    Shape and levels: https://www.quicknode.com/docs/solana/qn_estimatePriorityFees, api_version 2.
    """

    def __init__(
        self,
        client: JsonRpcClient,
        percentile: int,
        fallback: PriorityFees,
        *,
        wait_seconds: float = WAIT_SECONDS,
        rest_seconds: float = REST_SECONDS,
        take: Callable[[], bool] = lambda: True,
        refused: Callable[[float | None], None] = lambda _seconds: None,
    ) -> None:
        """`client` is of the endpoint that has the add-on; `percentile` is of 0 to 100.

        The endpoint's pace may be shared: `take` takes a place for one question, if there is one now;
        `refused` is told when the endpoint had too many, with the seconds to stay away if it said so.
        """
        self._client = client
        self._percentile = percentile
        self._fallback = fallback
        self._wait_seconds = wait_seconds
        self._rest_seconds = rest_seconds
        self._take = take
        self._refused = refused
        self._rests_until = float("-inf")

    async def unit_price(self, accounts: Sequence[str]) -> int | None:
        """See the protocol; only the first account is asked for, the estimator takes no more."""
        price = None
        if asyncio.get_running_loop().time() >= self._rests_until and self._take():
            price = await self._estimate(accounts)
        return await self._fallback.unit_price(accounts) if price is None else price

    async def _estimate(self, accounts: Sequence[str]) -> int | None:
        account = {"account": accounts[0]} if accounts else {}
        answer = await self._client.call(
            "qn_estimatePriorityFees",
            {"last_n_blocks": BLOCKS_MAX, **account, "api_version": 2},
            timeout_seconds=self._wait_seconds,
        )
        if isinstance(answer, RpcError) and answer.code == _METHOD_MISSING:
            _log.info("the endpoint estimates no priority fees", endpoint=self._client.endpoint)
            self._rests_until = float("inf")
            return None
        if isinstance(answer, RpcError) and _is_refusal(answer):
            self._refused(answer.retry_after_seconds)
        price = self._price(answer.value) if isinstance(answer, Result) else None
        if price is None:
            self._rests_until = asyncio.get_running_loop().time() + self._rest_seconds
        return price

    def _price(self, result: object) -> int | None:
        try:
            rates = decode.mapping(decode.mapping(result).get("per_compute_unit"))
            price = decode.integer(_rate(rates, self._percentile))
        except ValueError:
            return None
        return price if price <= UNIT_PRICE_MAX else None


def _is_refusal(answer: RpcError) -> bool:
    """Tell whether an endpoint had too many requests: QuickNode may say so with any status."""
    return answer.http == _TOO_MANY or _LIMIT_REACHED.search(answer.message) is not None


def _rate(rates: Mapping[str, object], percentile: int) -> object:
    """Pick the percentile where it is told, else the nearest of the named levels."""
    percentiles = rates.get("percentiles")
    if isinstance(percentiles, dict) and str(percentile) in percentiles:
        return percentiles[str(percentile)]
    return rates.get(_LEVELS[min(_LEVELS, key=lambda level: abs(level - percentile))])


def percentile_of(figures: Sequence[int], percentile: int) -> int | None:
    """Give the least figure that `percentile` per cent of them do not exceed (nearest rank)."""
    if not figures:
        return None
    rank = -(-len(figures) * percentile // 100)
    return sorted(figures)[max(rank, 1) - 1]
