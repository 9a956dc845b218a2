"""What a transaction costs: compute limit, unit price, network fee, tips, and the caps on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.domain.attempt import AttemptStatus, StoredAttempt
from app.domain.errors import ReasonCode, RefusedError
from app.domain.money import SIGNATURE_LAMPORTS, ceil_div
from app.domain.quote import BPS
from app.engine.ports import TipNeeds
from app.transactions.prices import PriceSource

UNITS_MAX: Final = 1_400_000
"""The most compute units that a transaction may ask for: what drafts are simulated with."""
UNIT_PRICE_DEFAULT: Final = 10_000
"""Micro-lamports for a compute unit when nothing else is configured."""
UNIT_PRICE_MAX: Final = 50_000_000
"""Never more micro-lamports a unit than this: 0.07 SOL for the largest transaction."""
TIP_LAMPORTS_MAX: Final = 100_000_000
"""Never more for all tips of a transaction than 0.1 SOL, whatever the methods ask for."""
TIPS_MAX: Final = 3
"""The most tips in one transaction: each takes 49 of its 1,232 bytes, and is really paid."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class FeePolicy:
    """What may be bid and paid; raises ValueError for limits that contradict each other."""

    unit_price_micro_lamports: int = UNIT_PRICE_DEFAULT
    """What a compute unit is bid at least, and while the going price is not known."""
    unit_price_max_micro_lamports: int = UNIT_PRICE_MAX
    """What it is bid at most; a method that demands more is refused."""
    fee_max_lamports: int | None = None
    """Most that one order may pay in fees and tips, all its attempts together; None: no such cap."""
    fee_max_bps: int | None = None
    """The same in basis points of the order's value; None: no such cap."""
    price_source: PriceSource | None = None
    """Who knows the going price; None: the least price is the price."""

    def __post_init__(self) -> None:
        """Hold the limits against each other."""
        least, most = self.unit_price_micro_lamports, self.unit_price_max_micro_lamports
        if not 0 <= least <= most <= UNIT_PRICE_MAX:
            what = f"the unit price is not within 0 to its cap, and that to {UNIT_PRICE_MAX}"
            raise ValueError(what)
        if any(cap is not None and cap <= 0 for cap in (self.fee_max_lamports, self.fee_max_bps)):
            raise ValueError("a cap on an order's fees is not above zero")

    def unit_price(self, going: int | None, needs: Sequence[TipNeeds], limit: int) -> int:
        """Give the bid in micro-lamports: the going price within the limits, raised to what methods demand.

        `limit` are the compute units that a demanded total fee is spread over, above zero. Raises
        RefusedError(FEE_CAP_EXCEEDED) when a method demands more than the cap: it would turn a lower
        bid down.
        """
        demanded = max((_unit_price_min(need, limit) for need in needs), default=0)
        most = self.unit_price_max_micro_lamports
        if demanded > most:
            what = f"a method demands {demanded} micro-lamports a unit, {most} at most are paid"
            raise RefusedError(
                ReasonCode.FEE_CAP_EXCEEDED,
                what,
                todo="raise fees.priority.cap_micro_lamports or leave the method out",
            )
        bid = max(going or 0, self.unit_price_micro_lamports)
        return max(min(bid, most), demanded)

    def demand(self, lamports: int, value_lamports: int | None) -> None:
        """Let fees and tips of an order pass; RefusedError(FEE_CAP_EXCEEDED) when they are over its cap.

        The cap is the lower of the one in lamports and basis points of the value, rounded down.
        With a cap in basis points an order without a value is over it: nothing shows that it is not.
        """
        caps = [self.fee_max_lamports]
        if self.fee_max_bps is not None:
            if value_lamports is None:
                raise _unvalued()
            caps.append(value_lamports * self.fee_max_bps // BPS)
        cap = min((each for each in caps if each is not None), default=None)
        if cap is not None and lamports > cap:
            raise RefusedError(
                ReasonCode.FEE_CAP_EXCEEDED,
                f"fees and tip of {lamports} lamports exceed the cap of {cap} lamports",
                todo="raise fees.max_order_lamports or fees.max_order_bps, or trade more at once",
            )


def _unvalued() -> RefusedError:
    what = "the order's value in SOL cannot be told, so fees.max_order_bps cannot be kept"
    todo = "look after the pools that trade its tokens for SOL, or set fees.max_order_bps to 0"
    return RefusedError(ReasonCode.FEE_CAP_EXCEEDED, what, todo=todo)


def unit_limit(units: int) -> int:
    """Give the compute limit for a transaction that took `units` when simulated."""
    return min(ceil_div(units * _HEADROOM_TENTHS, 10) + _HEADROOM_UNITS, UNITS_MAX)


def priority_fee(limit: int, price: int) -> int:
    """Give the priority fee in lamports: it is paid on the requested limit, rounded up."""
    return ceil_div(limit * price, _MICRO)


def _unit_price_min(need: TipNeeds, limit: int) -> int:
    """Give a method's floor: of a total fee so that limit x price reaches it, however that is rounded."""
    return max(need.unit_price_min, ceil_div(need.priority_fee_lamports_min * _MICRO, limit))


def paid_before(attempts: Sequence[StoredAttempt]) -> int:
    """Give the lamports that an order's attempts were charged that landed and failed.

    They paid signature and priority; a failed transaction moves nothing else, so no tip.
    """
    failed = [each.signed for each in attempts if each.status is AttemptStatus.FAILED]
    return sum(SIGNATURE_LAMPORTS + each.priority_fee_lamports for each in failed)


def tips_of(needs: Sequence[TipNeeds], choice: int) -> tuple[Tip, ...]:
    """Give the tips that serve all methods; `choice` spreads the load over the payees.

    Methods that share a payee share one transfer to it, of the largest tip that one of them asks for.
    Raises RefusedError: TIPS_TOO_MANY above TIPS_MAX, FEE_CAP_EXCEEDED above TIP_LAMPORTS_MAX in all.
    """
    groups: list[TipNeeds] = []
    wanting = [need for need in needs if need.payees and need.tip_lamports > 0]
    # who takes few payees goes first: the others have more to choose from
    for need in sorted(wanting, key=lambda each: len(each.payees)):
        _join(groups, need)
    tips = tuple(
        Tip(group.payees[choice % len(group.payees)], group.tip_lamports) for group in groups
    )
    _check_tips(tips)
    return tips


def _join(groups: list[TipNeeds], need: TipNeeds) -> None:
    """Put a method into the first group that it has a payee in common with, or into a new one."""
    for at, group in enumerate(groups):
        common = tuple(payee for payee in group.payees if payee in need.payees)
        if common:
            groups[at] = TipNeeds(common, max(group.tip_lamports, need.tip_lamports))
            return
    groups.append(need)


def _check_tips(tips: Sequence[Tip]) -> None:
    if len(tips) > TIPS_MAX:
        what = f"the order's methods want tips to {len(tips)} different payees, {TIPS_MAX} at most"
        raise RefusedError(ReasonCode.TIPS_TOO_MANY, what, todo="name fewer methods")
    lamports = total(tips)
    if lamports > TIP_LAMPORTS_MAX:
        what = f"tips of {lamports} lamports are asked for, {TIP_LAMPORTS_MAX} at most are paid"
        raise RefusedError(ReasonCode.FEE_CAP_EXCEEDED, what, todo="lower the methods' tips")


def total(tips: Sequence[Tip]) -> int:
    """Add tips up, in lamports."""
    return sum(tip.lamports for tip in tips)
