"""Markets know their tokens."""

from tests.domain.makers import SOL, USDC


def test_only_wrapped_sol_is_paid_in_lamports() -> None:
    """The mint tells, not the symbol."""
    assert SOL.is_sol
    assert not USDC.is_sol
