"""What a transaction costs: compute limit, unit price, network fee, tip."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.domain.money import ceil_div
from app.engine.ports import TipNeeds

UNITS_MAX: Final = 1_400_000
"""The most compute units that a transaction may ask for: what drafts are simulated with."""
SIGNATURE_LAMPORTS: Final = 5_000
"""The network's base fee for each signature."""
UNIT_PRICE_DEFAULT: Final = 10_000
"""Micro-lamports for a compute unit when nothing else is configured."""
UNIT_PRICE_MAX: Final = 50_000_000
"""Never more micro-lamports a unit than this: 0.07 SOL for the largest transaction."""
TIP_LAMPORTS_MAX: Final = 100_000_000
"""Never a larger tip than 0.1 SOL, whatever a method asks for."""
_MICRO: Final = 1_000_000
_HEADROOM_TENTHS: Final = 11
_HEADROOM_UNITS: Final = 5_000
"""What a program does only now and then, such as noting the pool's price every 15 s: a swap simulated
before it is due lands when it is, and until one can afford it every swap on that pool fails."""


@dataclass(frozen=True, slots=True)
class Tip:
    """A payment to whoever lands the transaction."""

    payee: str
    lamports: int


def unit_limit(units: int) -> int:
    """Give the compute limit for a transaction that took `units` when simulated."""
    return min(ceil_div(units * _HEADROOM_TENTHS, 10) + _HEADROOM_UNITS, UNITS_MAX)


def unit_price(configured: int, needs: Sequence[TipNeeds]) -> int:
    """Give the price in micro-lamports: the configured one, raised to what the methods demand."""
    floors = [need.unit_price_min for need in needs]
    return min(max([configured, *floors]), UNIT_PRICE_MAX)


def priority_fee(limit: int, price: int) -> int:
    """Give the priority fee in lamports: it is paid on the requested limit, rounded up."""
    return ceil_div(limit * price, _MICRO)


def tip_of(needs: Sequence[TipNeeds], choice: int) -> Tip | None:
    """Give the largest demanded tip and one of its payees; `choice` spreads the load over them."""
    wanting = [need for need in needs if need.payees and need.tip_lamports > 0]
    if not wanting:
        return None
    need = max(wanting, key=lambda each: each.tip_lamports)
    payee = need.payees[choice % len(need.payees)]
    return Tip(payee, min(need.tip_lamports, TIP_LAMPORTS_MAX))
