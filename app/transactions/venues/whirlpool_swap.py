"""A swap through a Whirlpool's ranges, as the program does it.

Follows orca-so/whirlpools, programs/whirlpool/src/manager/swap_manager.rs and
util/swap_tick_sequence.rs, util/sparse_swap.rs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from app.transactions.venues.whirlpool_fees import Rate
from app.transactions.venues.whirlpool_math import (
    SQRT_PRICE_MAX,
    SQRT_PRICE_MIN,
    SQRT_PRICE_OUT_OF_BOUNDS,
    TICK_MAX,
    TICK_MIN,
    Leg,
    Step,
    SwapRefused,
    sqrt_price_of,
    tick_of,
)

ARRAY_TICKS: Final = 88
"""Initialisable ticks in a tick array."""
ARRAYS_MAX: Final = 3
"""Tick arrays that a swap goes through at most."""
WRONG_DIRECTION: Final = 6034
ZERO_AMOUNT: Final = 6035
ARRAYS_EXHAUSTED: Final = 6038
AMOUNT_OVERFLOW: Final = 6039
PARTIAL_FILL: Final = 6057
_U64 = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class TickArray:
    """The initialised ticks of a run of 88: by slot, what is added to the liquidity going up."""

    start: int
    nets: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Range:
    """Where a pool stands: its price, the tick below it, and the liquidity in force."""

    sqrt_price: int
    tick: int
    liquidity: int


@dataclass(frozen=True, slots=True)
class Trade:
    """What a swap did: amounts at the vaults, the fee within the input, and where the pool stands after."""

    amount_in: int
    amount_out: int
    fee: int
    after: Range
    crossed: int
    """Initialised ticks that were crossed."""
    steps: int


def array_starts(tick: int, spacing: int, *, a_to_b: bool) -> tuple[int, ...]:
    """Give the first ticks of the arrays that a swap may go through, in its order.

    Going up from the last tick of an array starts in the next one.
    """
    span = ARRAY_TICKS * spacing
    base = tick // span * span
    if a_to_b:
        starts = [base - each * span for each in range(ARRAYS_MAX)]
    else:
        shifted = base + span if tick + spacing >= base + span else base
        starts = [shifted + each * span for each in range(ARRAYS_MAX)]
    return tuple(start for start in starts if start + span > TICK_MIN and start <= TICK_MAX)


class Path:
    """The ticks ahead of a swap."""

    def __init__(self, arrays: Sequence[TickArray], spacing: int, *, a_to_b: bool) -> None:
        """Take the arrays in the swap's order, each beside the one before."""
        self._arrays = arrays
        self._spacing = spacing
        self._span = ARRAY_TICKS * spacing
        self._a_to_b = a_to_b

    def next(self, at: int, tick: int) -> tuple[int, int]:
        """Give the array and tick to go to: the next initialised one, else where the arrays end.

        Raises SwapRefused when there is no array any more.
        """
        while at < len(self._arrays):
            array = self._arrays[at]
            slot = self._search(array, tick)
            if slot is not None:
                return at, array.start + slot * self._spacing
            end = self._end(array, last=at == len(self._arrays) - 1)
            if end is not None:
                return at, end
            tick = array.start - 1 if self._a_to_b else array.start + self._span - 1
            at += 1
        raise SwapRefused(ARRAYS_EXHAUSTED)

    def _search(self, array: TickArray, tick: int) -> int | None:
        offset = (tick - array.start) // self._spacing
        if self._a_to_b:
            return max((slot for slot in array.nets if slot <= offset), default=None)
        return min((slot for slot in array.nets if slot > offset), default=None)

    def _end(self, array: TickArray, *, last: bool) -> int | None:
        if self._a_to_b:
            if array.start <= TICK_MIN:
                return TICK_MIN
            return array.start if last else None
        if array.start + self._span > TICK_MAX:
            return TICK_MAX
        return array.start + self._span - 1 if last else None

    def net(self, at: int, tick: int) -> int | None:
        """Give the net liquidity of a tick, None when it is not initialised."""
        slot, beside = divmod(tick - self._arrays[at].start, self._spacing)
        return None if beside else self._arrays[at].nets.get(slot)

    def beyond(self, at: int, tick: int) -> int:
        """Give the array in which the swap goes on after a tick."""
        slot = (tick - self._arrays[at].start) // self._spacing
        return at + (slot == 0 if self._a_to_b else slot == ARRAY_TICKS - 1)


def run(
    place: Range,
    path: Path,
    rate: Rate,
    *,
    amount: int,
    a_to_b: bool,
    exact_in: bool,
    sqrt_price_limit: int = 0,
    steps_max: int | None = None,
) -> Trade:
    """Swap an amount: paid (exact-in) or received (exact-out). Raises SwapRefused as the program fails.

    `sqrt_price_limit` 0 is none; an explicit one may fill in part. After `steps_max` steps the swap is
    given up as one that exhausts the arrays: it could hardly run.
    """
    limit = sqrt_price_limit or (SQRT_PRICE_MIN if a_to_b else SQRT_PRICE_MAX)
    if not SQRT_PRICE_MIN <= limit <= SQRT_PRICE_MAX:
        raise SwapRefused(SQRT_PRICE_OUT_OF_BOUNDS)
    if limit >= place.sqrt_price if a_to_b else limit <= place.sqrt_price:
        raise SwapRefused(WRONG_DIRECTION)
    if amount == 0:
        raise SwapRefused(ZERO_AMOUNT)
    walk = _Walk(place, path, rate, amount, limit, a_to_b=a_to_b, exact_in=exact_in)
    walk.go(steps_max)
    if walk.remaining and not exact_in and not sqrt_price_limit:
        raise SwapRefused(PARTIAL_FILL)
    return walk.trade()


class _Walk:
    """A swap under way."""

    def __init__(
        self,
        place: Range,
        path: Path,
        rate: Rate,
        amount: int,
        limit: int,
        *,
        a_to_b: bool,
        exact_in: bool,
    ) -> None:
        self.remaining = amount
        self._amount, self._limit = amount, limit
        self._path, self._rate = path, rate
        self._a_to_b, self._exact_in = a_to_b, exact_in
        self._price, self._liquidity = place.sqrt_price, place.liquidity
        self._tick, self._ticks_price = place.tick, place.sqrt_price
        self._array = self._calculated = self._fee = self._crossed = self._steps = 0

    def go(self, steps_max: int | None) -> None:
        """Go from tick to tick until the amount is used up or the limit reached."""
        while self.remaining and self._price != self._limit:
            at, tick = self._path.next(self._array, self._where())
            tick_price = sqrt_price_of(tick)
            bound = max if self._a_to_b else min
            target = bound(tick_price, self._limit)
            while True:
                if self._steps == steps_max:
                    raise SwapRefused(ARRAYS_EXHAUSTED)
                self._step(target, at, tick, tick_price)
                if not self.remaining or self._price == target:
                    break

    def _where(self) -> int:
        """Give the present tick; worked out only when the swap goes on from there."""
        if self._price != self._ticks_price:
            self._tick, self._ticks_price = tick_of(self._price), self._price
        return self._tick

    def _step(self, target: int, at: int, tick: int, tick_price: int) -> None:
        rate = self._rate.now()
        bound = self._rate.bound(target, self._liquidity)
        leg = Leg(self._liquidity, rate, self._a_to_b, self._exact_in)
        step = leg.step(self.remaining, self._price, bound)
        self._book(step)
        self._steps += 1
        self._price = step.sqrt_price
        if self._price == tick_price:
            self._cross(at, tick)
        self._rate.advance(self._price, tick, tick_price)

    def _book(self, step: Step) -> None:
        paid = step.amount_in + step.fee
        used, gained = (paid, step.amount_out) if self._exact_in else (step.amount_out, paid)
        self.remaining -= used
        self._calculated += gained
        self._fee += step.fee
        if self._calculated > _U64:
            raise SwapRefused(AMOUNT_OVERFLOW)

    def _cross(self, at: int, tick: int) -> None:
        net = self._path.net(at, tick)
        if net is not None:
            self._liquidity += -net if self._a_to_b else net
            self._crossed += 1
        self._array = self._path.beyond(at, tick)
        self._tick = tick - 1 if self._a_to_b else tick
        self._ticks_price = self._price

    def trade(self) -> Trade:
        """Say what was done."""
        used = self._amount - self.remaining
        paid, received = (used, self._calculated) if self._exact_in else (self._calculated, used)
        after = Range(self._price, self._where(), self._liquidity)
        return Trade(paid, received, self._fee, after, self._crossed, self._steps)
