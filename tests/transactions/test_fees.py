"""Fees are computed as the network charges them, within limits."""

from hypothesis import given
from hypothesis import strategies as st

from app.engine.ports import TipNeeds
from app.transactions import fees
from app.transactions.fees import Tip


def test_the_limit_has_headroom_and_a_ceiling() -> None:
    """A tenth and 5,000 units more than simulated, never above what the network allows."""
    assert fees.unit_limit(42_555) == 46_811 + 5_000
    assert fees.unit_limit(0) == 5_000
    assert fees.unit_limit(1_399_999) == 1_400_000


@given(units=st.integers(0, 1_400_000), price=st.integers(0, 50_000_000))
def test_the_priority_fee_is_rounded_up(units: int, price: int) -> None:
    """The fee is the least whole number of lamports that covers limit x price."""
    fee = fees.priority_fee(units, price)
    assert (fee - 1) * 1_000_000 < units * price <= fee * 1_000_000


def test_methods_raise_the_unit_price_up_to_its_cap() -> None:
    """The highest floor wins over the configured price; nothing wins over the cap."""
    assert fees.unit_price(50_000, []) == 50_000
    assert fees.unit_price(50_000, [TipNeeds(unit_price_min=70_000), TipNeeds()]) == 70_000
    assert fees.unit_price(50_000, [TipNeeds(unit_price_min=10**12)]) == fees.UNIT_PRICE_MAX


def test_the_largest_tip_is_paid_to_one_of_its_own_payees() -> None:
    """One tip serves the plan: the largest demand, spread over the payees who take it."""
    needs = [
        TipNeeds(("a",), tip_lamports=1_000),
        TipNeeds(("b", "c"), tip_lamports=10_000),
        TipNeeds((), tip_lamports=90_000),
        TipNeeds(("d",)),
    ]
    assert fees.tip_of(needs, 2) == Tip("b", 10_000)
    assert fees.tip_of(needs, 3) == Tip("c", 10_000)
    assert fees.tip_of([TipNeeds()], 1) is None


def test_a_tip_has_a_cap() -> None:
    """No demand makes the service give away more than 0.1 SOL."""
    assert fees.tip_of([TipNeeds(("a",), tip_lamports=10**12)], 0) == Tip("a", 100_000_000)
