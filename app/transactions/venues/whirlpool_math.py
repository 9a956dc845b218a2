"""Whirlpool arithmetic: ticks, prices and the amounts between two prices, to the unit.

Formulas and rounding follow orca-so/whirlpools, programs/whirlpool/src/math: tick_math.rs,
token_math.rs, swap_math.rs and bit_math.rs. Prices are square roots in Q64.64 of token B per token A;
rates are millionths.
"""

import math
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Context, Decimal
from functools import lru_cache
from typing import Final

from app.domain.money import ceil_div

TICK_MIN: Final = -443_636
TICK_MAX: Final = 443_636
SQRT_PRICE_MIN: Final = 4_295_048_016
SQRT_PRICE_MAX: Final = 79_226_673_515_401_279_992_447_579_055
RATE_ONE: Final = 1_000_000

DIVIDE_BY_ZERO: Final = 6006
SQRT_PRICE_OUT_OF_BOUNDS: Final = 6011
TOKEN_MAX_EXCEEDED: Final = 6017
TOKEN_MIN_SUBCEEDED: Final = 6018
SHIFT_RIGHT_OVERFLOW: Final = 6030
"""Codes of errors.rs that arithmetic alone gives."""

_U64 = (1 << 64) - 1
_U128 = (1 << 128) - 1
_BITS = 19
_DIGITS = 120


class SwapRefused(Exception):
    """The program would refuse the swap, with this custom code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"custom program error {code}")
        self.code = code


def _factors() -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Give floor(2^96 x 1.0001^(2^i / 2)) and floor(2^64 x 1.0001^(-2^i / 2)) for each bit i."""
    exact = Context(prec=_DIGITS, rounding=ROUND_FLOOR)
    root = exact.sqrt(Decimal("1.0001"))
    rising, falling = [], []
    for bit in range(_BITS):
        power = exact.power(root, 2**bit)
        rising.append(int(exact.multiply(Decimal(2**96), power)))
        falling.append(int(exact.divide(Decimal(2**64), power)))
    return tuple(rising), tuple(falling)


_RISING, _FALLING = _factors()


@lru_cache(maxsize=65_536)
def sqrt_price_of(tick: int) -> int:
    """Give a tick's price: the constants multiplied bit by bit, cut after each step as the program does."""
    if tick >= 0:
        ratio = 1 << 96
        for bit in range(_BITS):
            if tick >> bit & 1:
                ratio = ratio * _RISING[bit] >> 96
        return ratio >> 32
    ratio = 1 << 64
    for bit in range(_BITS):
        if -tick >> bit & 1:
            ratio = ratio * _FALLING[bit] >> 64
    return ratio


_LOG_ROOT = math.log(1.0001) / 2  # float ok: for a guess that exact prices decide on


def tick_of(sqrt_price: int) -> int:
    """Give the greatest tick whose price is not above this one.

    A logarithm guesses; the exact prices of the ticks around it decide.
    """
    guess = math.floor((math.log(sqrt_price) - 64 * math.log(2)) / _LOG_ROOT)
    tick = min(max(guess, TICK_MIN), TICK_MAX)
    while tick < TICK_MAX and sqrt_price_of(tick + 1) <= sqrt_price:
        tick += 1
    while tick > TICK_MIN and sqrt_price_of(tick) > sqrt_price:
        tick -= 1
    return tick


@dataclass(frozen=True, slots=True)
class Step:
    """What a move within one range of constant liquidity takes, gives and costs."""

    amount_in: int
    amount_out: int
    fee: int
    sqrt_price: int


@dataclass(frozen=True, slots=True)
class Leg:
    """A range of constant liquidity, and which way and how a swap goes through it."""

    liquidity: int
    rate: int
    a_to_b: bool
    exact_in: bool

    def step(self, remaining: int, start: int, target: int) -> Step:
        """Go from one price towards another as far as `remaining` lasts. Raises SwapRefused."""
        usable = remaining
        if self.exact_in:
            usable = remaining * (RATE_ONE - self.rate) // RATE_ONE
        end = target
        if not self._reaches(usable, start, target):
            end = self._price_after(usable, start)
        amount_in = self._delta(start, end, incoming=True)
        amount_out = self._delta(start, end, incoming=False)
        if not self.exact_in:
            amount_out = min(amount_out, remaining)
        if self.exact_in and end != target:
            fee = remaining - amount_in
        else:
            fee = ceil_div(amount_in * self.rate, RATE_ONE - self.rate)
        return Step(amount_in, amount_out, fee, end)

    def _reaches(self, usable: int, start: int, target: int) -> bool:
        """Tell whether the target lies within what is left; an amount beyond its type does not."""
        try:
            return self._delta(start, target, incoming=self.exact_in) <= usable
        except SwapRefused:
            return False

    def _delta(self, start: int, end: int, *, incoming: bool) -> int:
        """Give the amount between two prices: what comes in rounded up, what goes out down."""
        low, high = sorted((start, end))
        if self.a_to_b == incoming:
            return _amount_a(self.liquidity, low, high, up=incoming)
        return _amount_b(self.liquidity, low, high, up=incoming)

    def _price_after(self, amount: int, start: int) -> int:
        if self.a_to_b == self.exact_in:
            return self._price_after_a(amount, start)
        return self._price_after_b(amount, start)

    def _price_after_a(self, amount: int, start: int) -> int:
        """Give the price, rounded up, once an amount of token A came in or went out."""
        if amount == 0:
            return start
        shifted, product = self.liquidity << 64, start * amount
        if not self.exact_in and shifted <= product:
            raise SwapRefused(DIVIDE_BY_ZERO)
        divisor = shifted + product if self.exact_in else shifted - product
        price = ceil_div(self.liquidity * start << 64, divisor)
        if price < SQRT_PRICE_MIN:
            raise SwapRefused(TOKEN_MIN_SUBCEEDED)
        if price > SQRT_PRICE_MAX:
            raise SwapRefused(TOKEN_MAX_EXCEEDED)
        return price

    def _price_after_b(self, amount: int, start: int) -> int:
        """Give the price, rounded down, once an amount of token B came in or went out."""
        if self.exact_in:
            price = start + (amount << 64) // self.liquidity
        else:
            price = start - ceil_div(amount << 64, self.liquidity)
        if not 0 <= price <= _U128:
            raise SwapRefused(SQRT_PRICE_OUT_OF_BOUNDS)
        return price


def _amount_a(liquidity: int, low: int, high: int, *, up: bool) -> int:
    """Give L x (high - low) x 2^64 / (high x low)."""
    numerator, divisor = liquidity * (high - low) << 64, high * low
    amount = ceil_div(numerator, divisor) if up else numerator // divisor
    if amount > _U64:
        raise SwapRefused(TOKEN_MAX_EXCEEDED)
    return amount


def _amount_b(liquidity: int, low: int, high: int, *, up: bool) -> int:
    """Give L x (high - low) / 2^64."""
    product = liquidity * (high - low)
    if product > _U128:
        raise SwapRefused(SHIFT_RIGHT_OVERFLOW)
    amount = product >> 64
    if up and product & _U64:
        amount += 1
    if amount > _U64:
        raise SwapRefused(SHIFT_RIGHT_OVERFLOW)
    return amount
