"""Amounts: integers in base units inside, decimal strings outside, never floats."""

from decimal import (
    MAX_EMAX,
    MIN_EMIN,
    Context,
    Decimal,
    Inexact,
    InvalidOperation,
    localcontext,
)

SIGNATURE_LAMPORTS = 5_000
"""The network's base fee for each signature; our transactions have one."""
BASE_UNITS_MAX = 2**63 - 1
"""Largest amount kept, in base units: what a signed 64-bit database column holds."""

_EXACT = Context(prec=80, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[Inexact, InvalidOperation])
"""Raises rather than rounds; 80 digits are more than any amount or price that is let in has."""


def to_base_units(amount: Decimal, decimals: int) -> int | None:
    """Give a finite `amount` (whole tokens) in base units, or None with more than `decimals` places.

    Raises decimal.InvalidOperation when they have more than 80 digits.
    """
    with localcontext(_EXACT):
        try:
            return int(amount.quantize(Decimal(1).scaleb(-decimals)).scaleb(decimals))
        except Inexact:
            return None


def from_base_units(amount: int, decimals: int) -> Decimal:
    """Give base units (at most 80 digits) as whole tokens, exactly."""
    with localcontext(_EXACT):
        return Decimal(amount).scaleb(-decimals)


def decimal_string(value: Decimal) -> str:
    """Write a finite decimal without exponent and without trailing zeros: `0.1`, `180`, `0`.

    The caller bounds the exponent: 1E+1000000 is a million digits long.
    """
    if value == 0:
        return "0"
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def amount_string(amount: int, decimals: int) -> str:
    """Write base units as a decimal string of whole tokens."""
    return decimal_string(from_base_units(amount, decimals))


def ceil_div(numerator: int, denominator: int) -> int:
    """Divide and round up; the denominator is above zero."""
    return -(-numerator // denominator)
