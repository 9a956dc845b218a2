"""What methods may cost together: a start is refused after which every order would be."""

import pytest

from app.bootstrap.paying import refuse_too_dear
from app.domain.errors import StartupError
from app.engine.ports import TipNeeds
from app.executors.tip_accounts import TIP_ACCOUNTS
from app.settings import Settings

HELIUS, NOZOMI = TIP_ACCOUNTS["helius"], TIP_ACCOUNTS["nozomi"]
CAP = 1_000_000


def settings(**fees: object) -> Settings:
    """Make settings with these fees."""
    return Settings.model_validate({"fees": fees})


def refused(fees: dict[str, object], *needs: TipNeeds) -> str:
    """Claim that the methods are too dear; gives the line."""
    with pytest.raises(StartupError) as caught:
        refuse_too_dear(needs, settings(**fees))
    assert caught.value.code == "METHODS_TOO_DEAR"
    return str(caught.value)


def test_tips_and_base_fee_fit_the_cap_of_an_order() -> None:
    """To the lamport; who shares a payee is tipped once, and without a cap anything goes."""
    one, other = TipNeeds(HELIUS, 1_000), TipNeeds(NOZOMI, 2_000)
    refuse_too_dear([one, one, other], settings(max_order_lamports=8_000))
    refuse_too_dear([one, other], settings(max_order_lamports=None))
    line = refused({"max_order_lamports": 7_999}, one, other)
    assert "costs 8000 lamports at least, and 7999 is the most" in line
    assert "fees.max_order_lamports" in line


def test_a_priority_fee_that_is_demanded_counts() -> None:
    """It is paid with every order, whatever its size."""
    need = TipNeeds(HELIUS, 1_000, 0, 500)
    refuse_too_dear([need], settings(max_order_lamports=6_500))
    assert "6500" in refused({"max_order_lamports": 6_499}, need)


def test_a_priority_fee_beyond_the_price_cap_is_refused() -> None:
    """At the cap the largest transaction pays 1.4 million times the price: more nobody bids."""
    capped = {"cap_micro_lamports": CAP}
    most = 1_400_000 * CAP // 10**6
    refuse_too_dear([TipNeeds((), 0, 0, most)], settings(priority=capped))
    line = refused({"priority": capped}, TipNeeds((), 0, 0, most + 1))
    assert "fees.priority.cap_micro_lamports" in line


def test_a_price_beyond_the_cap_is_refused() -> None:
    """Every order would fail; a fixed price is a cap of its own."""
    capped = {"cap_micro_lamports": CAP}
    refuse_too_dear([TipNeeds(unit_price_min=CAP)], settings(priority=capped))
    refused({"priority": capped}, TipNeeds(unit_price_min=CAP + 1))
    fixed = settings(priority=capped, unit_price_micro_lamports=CAP + 1)
    refuse_too_dear([TipNeeds(unit_price_min=CAP + 1)], fixed)


def test_more_payees_than_a_transaction_tips_are_refused() -> None:
    """Three tips at most."""
    needs = [TipNeeds((payee,), 1_000) for payee in HELIUS[:4]]
    refuse_too_dear(needs[:3], settings())
    assert "shorten methods.order" in refused({}, *needs)
