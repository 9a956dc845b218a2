"""Amounts: integers in base units inside, decimal strings outside, never floats."""

from decimal import Context, Decimal, localcontext

BASE_UNITS_MAX = 2**63 - 1
"""Largest amount kept, in base units: what a signed 64-bit database column holds."""

_EXACT = Context(prec=80)
"""Enough digits that a product of two 64-bit amounts and a price of 18 decimals is exact."""


def to_base_units(amount: Decimal, decimals: int) -> int | None:
    """Give `amount` (whole tokens) in base units, or None when it has more than `decimals` places."""
    with localcontext(_EXACT):
        scaled = amount.scaleb(decimals)
        if scaled != scaled.to_integral_value():
            return None
        return int(scaled)


def from_base_units(amount: int, decimals: int) -> Decimal:
    """Give base units as whole tokens, exactly."""
    with localcontext(_EXACT):
        return Decimal(amount).scaleb(-decimals)


def decimal_string(value: Decimal) -> str:
    """Write a decimal without exponent and without trailing zeros: `0.1`, `180`, `0`."""
    with localcontext(_EXACT):
        if value == 0:
            return "0"
        text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def amount_string(amount: int, decimals: int) -> str:
    """Write base units as a decimal string of whole tokens."""
    return decimal_string(from_base_units(amount, decimals))


def ceil_div(numerator: int, denominator: int) -> int:
    """Divide and round up (both positive or zero numerator)."""
    return -(-numerator // denominator)
