"""What is shown of orders, events and statistics: plain values that any JSON encoder can write.

Amounts are decimal strings of whole tokens, fees decimal strings of SOL (the venue's fee: of the token
that was paid in), times RFC 3339 UTC with microseconds, durations numbers with their unit in the name.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

from app.domain.attempt import LanePlan, StoredAttempt, Submission
from app.domain.events import SYSTEM, Event
from app.domain.market import Market
from app.domain.money import amount_string, decimal_string
from app.domain.order import Fill, Order, OrderView
from app.domain.quote import average_price, slippage_bps
from app.domain.signal import Action, Signal

Document = dict[str, object]

LAMPORTS_DECIMALS: Final = 9
"""A SOL is 10^9 lamports."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OFFSET_LENGTH = len("+00:00")


def time_string(at_us: int) -> str:
    """Write UTC microseconds as RFC 3339: `2026-01-31T12:00:00.000001Z`."""
    moment = _EPOCH + timedelta(microseconds=at_us)
    return moment.isoformat(timespec="microseconds")[:-_OFFSET_LENGTH] + "Z"


def sol_string(lamports: int) -> str:
    """Write lamports as a decimal string of SOL."""
    return amount_string(lamports, LAMPORTS_DECIMALS)


def accepted_document(order: Order) -> Document:
    """Show an order as the answer to its signal."""
    return {
        "order_id": order.order_id,
        "client_order_id": order.signal.client_order_id,
        "status": order.status.value,
        "accepted_at": time_string(order.accepted_at_us),
    }


def order_document(view: OrderView, market: Market | None) -> Document:
    """Show an order with its attempts.

    `market` is None when it is no longer configured: amounts whose decimals nobody knows are null then.
    """
    order, signal = view.order, view.order.signal
    return {
        "order_id": order.order_id,
        "client_order_id": signal.client_order_id,
        "action": signal.action.value,
        "market": signal.market,
        "size": _base(signal.size, market),
        "quote_size": _quote(signal.quote_size, market),
        "price": None if signal.price is None else decimal_string(signal.price),
        "confidence": None if signal.confidence is None else decimal_string(signal.confidence),
        "priority": signal.priority,
        "strategy": signal.strategy,
        "status": order.status.value,
        "reason_code": None if order.reason_code is None else order.reason_code.value,
        "reason": order.reason,
        "program_error": order.program_error,
        "in_doubt_since": _time(order.in_doubt_since_us),
        "cancel_requested_at": _time(order.cancel_requested_at_us),
        "landed_failed_at": _time(order.landed_failed_at_us),
        "accepted_at": time_string(order.accepted_at_us),
        "filled_at": _time(order.filled_at_us),
        "finalized_at": _time(order.finalized_at_us),
        "fill": None if order.fill is None else _fill(order.fill, signal, market),
        "attempts": [_attempt(attempt) for attempt in view.attempts],
    }


def _time(at_us: int | None) -> str | None:
    return None if at_us is None else time_string(at_us)


def _base(amount: int | None, market: Market | None) -> str | None:
    if amount is None or market is None:
        return None
    return amount_string(amount, market.base.decimals)


def _quote(amount: int | None, market: Market | None) -> str | None:
    if amount is None or market is None:
        return None
    return amount_string(amount, market.quote.decimals)


def _fill(fill: Fill, signal: Signal, market: Market | None) -> Document:
    paid_in_base = signal.action is Action.SELL
    return {
        "base_amount": _base(fill.base_amount, market),
        "quote_amount": _quote(fill.quote_amount, market),
        **_prices(fill, signal, market),
        "fees": {
            "network": sol_string(fill.network_fee),
            "priority": sol_string(fill.priority_fee),
            "tip": sol_string(fill.tip),
            "venue": (_base if paid_in_base else _quote)(fill.venue_fee, market),
        },
    }


def _prices(fill: Fill, signal: Signal, market: Market | None) -> Document:
    if market is None:
        return {"average_price": None, "slippage_bps": None}
    average = average_price(fill.base_amount, fill.quote_amount, market)
    if signal.price is None:
        return {"average_price": decimal_string(average), "slippage_bps": None}
    slippage = slippage_bps(average, signal.price, signal.action)
    return {"average_price": decimal_string(average), "slippage_bps": decimal_string(slippage)}


def _attempt(attempt: StoredAttempt) -> Document:
    return {
        "number": attempt.number,
        "signature": attempt.signature,
        "status": attempt.status.value,
        "last_valid_block_height": attempt.last_valid_block_height,
        "landed_slot": attempt.landed_slot,
        "error": attempt.error,
        "plan": _plan(attempt.plan),
        "submissions": [_submission(submission) for submission in attempt.submissions],
    }


def _plan(plan: LanePlan) -> Document:
    methods = [lane.method for lane in plan.lanes]
    return {"strategy": plan.strategy.value, "methods": methods}


def _submission(submission: Submission) -> Document:
    return {
        "method": submission.method,
        "outcome": submission.outcome.value,
        "reason": submission.reason,
        "sent_at": time_string(submission.sent_at_us),
        "latency_ms": submission.latency_us / 1_000,
    }


def event_document(event: Event) -> Document:
    """Show a sealed event: with its place in the trail and the hash that chains it.

    `order_id` is null where the event tells of the system itself; in what is hashed it is empty then.
    """
    return {
        "position": event.position,
        "order_id": None if event.order_id == SYSTEM else event.order_id,
        "seq": event.seq,
        "at": time_string(event.at_us),
        "kind": event.kind.value,
        "data": event.data,
        "hash": event.hash,
    }
