"""Amounts are exact: nothing is rounded, in neither direction."""

from decimal import Context, Decimal, InvalidOperation, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.money import (
    BASE_UNITS_MAX,
    amount_string,
    ceil_div,
    decimal_string,
    from_base_units,
    to_base_units,
)

AMOUNTS = st.integers(-BASE_UNITS_MAX, BASE_UNITS_MAX)
DECIMALS = st.integers(0, 18)


@given(AMOUNTS, DECIMALS)
def test_base_units_survive_the_way_out_and_back(amount: int, decimals: int) -> None:
    """Written as text and read again, an amount is the same number of base units."""
    assert to_base_units(from_base_units(amount, decimals), decimals) == amount
    assert to_base_units(Decimal(amount_string(amount, decimals)), decimals) == amount


@given(AMOUNTS, DECIMALS)
def test_a_caller_s_decimal_context_changes_nothing(amount: int, decimals: int) -> None:
    """With three digits of precision around it, the conversion stays exact."""
    with localcontext(Context(prec=3)):
        text = amount_string(amount, decimals)
        assert Fraction(text) * 10**decimals == amount
        assert to_base_units(Decimal(text), decimals) == amount


@given(st.decimals(allow_nan=False, allow_infinity=False, places=12), DECIMALS)
def test_base_units_are_given_exactly_or_not_at_all(value: Decimal, decimals: int) -> None:
    """What has too many decimals is None; everything else is the exact product."""
    exact = Fraction(value) * 10**decimals
    assert to_base_units(value, decimals) == (exact if exact.denominator == 1 else None)


@pytest.mark.parametrize(
    ("text", "decimals", "units"),
    [
        ("0.1", 9, 100_000_000),
        ("0.10", 1, 1),
        ("1E+3", 0, 1_000),
        ("0", 6, 0),
        ("-0.5", 1, -5),
        ("0.0000001", 6, None),
        ("1E-999999999999", 6, None),
        ("9223372036854775807", 0, BASE_UNITS_MAX),
        ("1." + "0" * 90, 0, 1),
        ("0." + "3" * 90, 6, None),
    ],
)
def test_to_base_units(text: str, decimals: int, units: int | None) -> None:
    """Each text is so many base units, None when it has too many decimals."""
    assert to_base_units(Decimal(text), decimals) == units


@pytest.mark.parametrize("text", ["1E+1000000", "1" * 81])
def test_what_is_too_long_is_refused_not_rounded(text: str) -> None:
    """Over 80 digits raise, at once, however large the exponent is."""
    with pytest.raises(InvalidOperation):
        to_base_units(Decimal(text), 6)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("0.10", "0.1"),
        ("180", "180"),
        ("180.00", "180"),
        ("1E+3", "1000"),
        ("1E-9", "0.000000001"),
        ("-0.50", "-0.5"),
        ("0E+9", "0"),
        ("-0.000", "0"),
        ("100", "100"),
    ],
)
def test_a_decimal_is_written_plainly(value: str, text: str) -> None:
    """There is no exponent, no trailing zero, and one way to write zero."""
    assert decimal_string(Decimal(value)) == text


@given(st.decimals(allow_nan=False, allow_infinity=False, places=20))
def test_writing_a_decimal_loses_nothing(value: Decimal) -> None:
    """The text reads back as the same number, and equal numbers are written alike."""
    text = decimal_string(value)
    assert Fraction(text) == Fraction(value)
    assert decimal_string(Decimal(text)) == text


@given(st.integers(0, 10**30), st.integers(1, 10**20))
def test_ceil_div_rounds_up(numerator: int, denominator: int) -> None:
    """The quotient is the least whole number that is not below the exact one."""
    quotient = ceil_div(numerator, denominator)
    assert (quotient - 1) * denominator < numerator <= quotient * denominator
