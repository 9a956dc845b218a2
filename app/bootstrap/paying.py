"""What transactions may pay: the policy out of the settings, the source of the going price, the dearest."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from app.bootstrap.methods import MethodsBuilder
from app.domain.errors import RefusedError, StartupError
from app.domain.money import SIGNATURE_LAMPORTS
from app.engine.ports import TipNeeds
from app.executors.limiter import Limiter
from app.settings import Settings
from app.solana.chain import RpcChain
from app.solana.priority_fees import QuickNodeFees, RecentFees
from app.transactions.fees import UNITS_MAX, FeePolicy, tips_of, total
from app.transactions.prices import PriceSource


def fee_policy(settings: Settings) -> FeePolicy:
    """Give the limits on fees and tips, without a source of the going price.

    Raises ValueError for limits that contradict each other.
    """
    fees = settings.fees
    least = fees.unit_price_micro_lamports
    fixed = fees.priority.source == "fixed"
    return FeePolicy(
        unit_price_micro_lamports=least,
        unit_price_max_micro_lamports=max(fees.priority.cap_micro_lamports, least if fixed else 0),
        fee_max_lamports=fees.max_order_lamports,
        fee_max_bps=fees.max_order_bps or None,
    )


def priced_policy(settings: Settings, chain: RpcChain, methods: MethodsBuilder) -> FeePolicy:
    """Give the limits with the configured source of the going price; raises ValueError, StartupError."""
    return replace(fee_policy(settings), price_source=_price_source(settings, chain, methods))


def _price_source(
    settings: Settings, chain: RpcChain, methods: MethodsBuilder
) -> PriceSource | None:
    source, percentile = settings.fees.priority.source, settings.fees.priority.percentile
    if source == "fixed":
        return None
    recent = RecentFees(chain.recent_fees, percentile)
    if source == "recent":
        return recent
    target = methods.quicknode_target()
    if target is None:
        what = "fees.priority.source is quicknode and methods.quicknode has no address"
        raise StartupError("METHOD_NOT_CONFIGURED", what, "set methods.quicknode.url and token")
    return QuickNodeFees(
        target.client,
        percentile,
        recent,
        take=partial(_take_spare, target.limiter),
        refused=target.limiter.refused,
    )


def _take_spare(limiter: Limiter) -> bool:
    """Take a place for a question that leaves the next one to a push."""
    return limiter.wait_seconds(again=True) == 0 and limiter.take()


def refuse_too_dear(needs: Sequence[TipNeeds], settings: Settings) -> None:
    """Refuse methods of which one transaction cannot serve all: every order that names none would fail.

    Raises StartupError(METHODS_TOO_DEAR).
    """
    policy = fee_policy(settings)
    try:
        policy.unit_price(None, needs, UNITS_MAX)
    except RefusedError as error:
        todo = "raise fees.priority.cap_micro_lamports or shorten methods.order"
        raise StartupError("METHODS_TOO_DEAR", error.what, todo) from error
    try:
        tips = total(tips_of(needs, 0))
    except RefusedError as error:
        raise StartupError("METHODS_TOO_DEAR", error.what, "shorten methods.order") from error
    priority = max((need.priority_fee_lamports_min for need in needs), default=0)
    least, most = SIGNATURE_LAMPORTS + tips + priority, policy.fee_max_lamports
    if most is not None and least > most:
        what = f"an order to all methods costs {least} lamports at least, and {most} is the most"
        todo = "raise fees.max_order_lamports or shorten methods.order"
        raise StartupError("METHODS_TOO_DEAR", what, todo)
