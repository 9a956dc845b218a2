"""Fees of a Whirlpool: a fixed rate, or one that rises with volatility.

Follows orca-so/whirlpools, programs/whirlpool/src/manager/fee_rate_manager.rs and state/oracle.rs.
A group is a run of `group_size` ticks; the adaptive rate holds within one.
"""

from dataclasses import dataclass, replace
from typing import Final, Protocol

from app.domain.money import ceil_div
from app.transactions.venues.whirlpool_math import (
    TICK_MAX,
    TICK_MIN,
    SwapRefused,
    sqrt_price_of,
    tick_of,
)

RATE_MAX: Final = 100_000
"""The highest rate there is: 10 %."""
INVALID_TIMESTAMP: Final = 6022
_SCALE = 10_000
_CONTROL_ONE = 100_000
_REFERENCE_SECONDS_MAX = 3_600


@dataclass(frozen=True, slots=True)
class Constants:
    """How a pool's rate follows volatility; periods in seconds."""

    filter_period: int
    decay_period: int
    reduction_factor: int
    control_factor: int
    accumulator_max: int
    group_size: int
    major_swap_ticks: int


@dataclass(frozen=True, slots=True)
class Variables:
    """What the last swaps left; times are UTC seconds."""

    referenced_at: int
    major_swap_at: int
    volatility: int
    group: int
    accumulator: int


@dataclass(frozen=True, slots=True)
class Oracle:
    """An oracle account as read."""

    enabled_at: int
    constants: Constants
    variables: Variables


class Rate(Protocol):
    """The rate as a swap goes along."""

    def now(self) -> int:
        """Give the rate, in millionths, for the next step."""
        ...

    def bound(self, target: int, liquidity: int) -> int:
        """Give how far towards a price the next step may go at this rate."""
        ...

    def advance(self, price: int, tick: int, tick_price: int) -> None:
        """Take note of where the step ended; `tick` is the one that the swap goes towards."""
        ...


class FixedRate:
    """The same rate all the way."""

    def __init__(self, rate: int) -> None:
        self._rate = rate

    def now(self) -> int:
        """Give the rate."""
        return self._rate

    def bound(self, target: int, liquidity: int) -> int:
        """Go all the way."""
        del liquidity
        return target

    def advance(self, price: int, tick: int, tick_price: int) -> None:
        """Nothing changes."""


class AdaptiveRate:
    """A rate that depends on how many groups the swap has left behind."""

    def __init__(self, oracle: Oracle, base: int, tick: int, moment: int, *, a_to_b: bool) -> None:
        """Begin at a tick. Raises SwapRefused when the pool's clock is ahead of `moment`."""
        self._constants = oracle.constants
        self._base = base
        self._a_to_b = a_to_b
        self._group = tick // oracle.constants.group_size
        self._variables = _referenced(oracle, self._group, moment)
        self._moment = moment
        self._skipped = False
        self._low, self._high = self._core()

    def now(self) -> int:
        """Give the rate in the present group."""
        self._accumulate()
        constants = self._constants
        crossed = self._variables.accumulator * constants.group_size
        adaptive = ceil_div(constants.control_factor * crossed * crossed, _CONTROL_ONE * _SCALE**2)
        return min(self._base + min(adaptive, RATE_MAX), RATE_MAX)

    def bound(self, target: int, liquidity: int) -> int:
        """Stop at the group's edge, unless the rate cannot change on the way."""
        edge = self._skip_edge(liquidity)
        self._skipped = edge is not None
        if edge is None:
            edge = self._sqrt_price_at_edge()
        elif edge == 0:
            return target
        return max(target, edge) if self._a_to_b else min(target, edge)

    def advance(self, price: int, tick: int, tick_price: int) -> None:
        """Go on in the next group; after a leap find out where that is."""
        if self._skipped:
            last = self._last_group(price, tick, tick_price)
            if last < self._group if self._a_to_b else last > self._group:
                self._group = last
                self._accumulate()
        self._group += -1 if self._a_to_b else 1

    def after(self, start: int, end: int) -> Variables:
        """Give what a swap between two prices leaves."""
        low, high = sorted((start, end))
        major = high >= low * sqrt_price_of(self._constants.major_swap_ticks) >> 64
        return replace(self._variables, major_swap_at=self._moment) if major else self._variables

    def _accumulate(self) -> None:
        distance = abs(self._variables.group - self._group) * _SCALE
        accumulated = self._variables.volatility + distance
        accumulator = min(accumulated, self._constants.accumulator_max)
        self._variables = replace(self._variables, accumulator=accumulator)

    def _core(self) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
        """Give the outermost groups in which the rate still changes, each with its edge's price."""
        constants, variables = self._constants, self._variables
        span = ceil_div(constants.accumulator_max - variables.volatility, _SCALE)
        low, high = variables.group - span, variables.group + span
        low_tick, high_tick = low * constants.group_size, (high + 1) * constants.group_size
        return (
            (low, sqrt_price_of(low_tick)) if low_tick > TICK_MIN else None,
            (high, sqrt_price_of(high_tick)) if high_tick < TICK_MAX else None,
        )

    def _skip_edge(self, liquidity: int) -> int | None:
        """Give where a leap ends: 0 for nowhere; None when the rate may change in the next group."""
        if self._constants.control_factor == 0 or liquidity == 0:
            return 0
        if self._low is not None and self._group < self._low[0]:
            return 0 if self._a_to_b else self._low[1]
        if self._high is not None and self._group > self._high[0]:
            return self._high[1] if self._a_to_b else 0
        return None

    def _sqrt_price_at_edge(self) -> int:
        edge = (self._group + (not self._a_to_b)) * self._constants.group_size
        return sqrt_price_of(min(max(edge, TICK_MIN), TICK_MAX))

    def _last_group(self, price: int, tick: int, tick_price: int) -> int:
        size = self._constants.group_size
        if price != tick_price:
            tick = tick_of(price)
        on_edge = tick % size == 0 and price == sqrt_price_of(tick)
        return tick // size - (1 if on_edge and not self._a_to_b else 0)


def _referenced(oracle: Oracle, group: int, moment: int) -> Variables:
    """Move the reference when enough time went by since the last swaps."""
    constants, variables = oracle.constants, oracle.variables
    newest = max(variables.referenced_at, variables.major_swap_at)
    if moment < newest:
        raise SwapRefused(INVALID_TIMESTAMP)
    stale = moment - variables.referenced_at > _REFERENCE_SECONDS_MAX
    if stale or moment - newest >= constants.decay_period:
        return replace(variables, referenced_at=moment, group=group, volatility=0)
    if moment - newest >= constants.filter_period:
        volatility = variables.accumulator * constants.reduction_factor // _SCALE
        return replace(variables, referenced_at=moment, group=group, volatility=volatility)
    return variables
