"""Raydium CPMM's prices and fees, written down once more in Python's integers.

Source: `raydium-io/raydium-cp-swap`, `programs/cp-swap/src/curve`; rates in millionths.
"""

from dataclasses import dataclass

MILLION = 1_000_000
U64_MAX = 2**64 - 1
INSUFFICIENT_FUNDS = 1  # the token program's
ZERO, SLIPPAGE, NO_ANSWER, INSUFFICIENT_VAULT = 2505, 6005, 6006, 6012


@dataclass(frozen=True)
class Fill:
    """What a swap moves and what it leaves owed."""

    amount_in: int
    amount_out: int
    trade_fee: int
    protocol_fee: int
    fund_fee: int
    creator_fee: int


@dataclass(frozen=True)
class Rates:
    """A tier's rates as they apply to one swap; `creator` is 0 where it is not charged."""

    trade: int
    protocol: int
    fund: int
    creator: int
    creator_on_input: bool

    @property
    def on_input(self) -> int:
        return self.trade + (self.creator if self.creator_on_input else 0)


def ceil_div(numerator: int, denominator: int) -> int:
    """Divide and round up."""
    return -(-numerator // denominator)


def exact_in(x: int, y: int, amount: int, rates: Rates) -> Fill | int:
    """Price an amount paid in, or give the error code."""
    if amount == 0:
        return ZERO
    fee = ceil_div(amount * rates.on_input, MILLION)
    net = amount - fee
    if rates.creator_on_input and rates.on_input == 0:
        return NO_ANSWER
    if net < 0 or x + net > U64_MAX:
        return NO_ANSWER
    gross = net * y // (x + net)
    out_fee = 0 if rates.creator_on_input else ceil_div(gross * rates.creator, MILLION)
    return _fill(amount, gross - out_fee, fee, out_fee, rates) if gross > out_fee else ZERO


def exact_out(x: int, y: int, amount: int, rates: Rates) -> Fill | int:
    """Price an amount taken out, or give the error code."""
    gross = amount
    if not rates.creator_on_input:
        gross = ceil_div(amount * MILLION, MILLION - rates.creator)
    if gross >= y or rates.on_input >= MILLION:
        return NO_ANSWER
    if rates.creator_on_input and rates.on_input == 0:
        return NO_ANSWER
    net = ceil_div(x * gross, y - gross)
    paid = ceil_div(net * MILLION, MILLION - rates.on_input)
    if net > U64_MAX or paid > U64_MAX:
        return NO_ANSWER
    return _fill(paid, amount, paid - net, gross - amount, rates) if paid else ZERO


def _fill(paid: int, got: int, fee: int, out_fee: int, rates: Rates) -> Fill:
    creator = fee * rates.creator // rates.on_input if rates.creator_on_input else 0
    trade = fee - creator
    protocol, fund = trade * rates.protocol // MILLION, trade * rates.fund // MILLION
    return Fill(paid, got, trade, protocol, fund, creator + out_fee)
