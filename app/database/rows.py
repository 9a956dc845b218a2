"""Rows to domain objects and back; with `attempts`, the only maker of a StoredAttempt."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from solders.pubkey import Pubkey
from sqlalchemy import Row

from app.database.documents import clean, decimal_text, dump, dump_optional, load
from app.domain.attempt import (
    AttemptStatus,
    Blockhash,
    Lane,
    LanePlan,
    LaneStrategy,
    Signed,
    Spend,
    StoredAttempt,
    Submission,
)
from app.domain.changes import AttemptUpdate, OrderUpdate, proof_document
from app.domain.errors import ReasonCode
from app.domain.events import Event, EventKind
from app.domain.market import PoolRef
from app.domain.order import Fill, NewOrder, Order, OrderStatus
from app.domain.outcome import Evidence, Proof, ReplyOutcome
from app.domain.quote import Limit, Quote, SwapIntent
from app.domain.signal import PRIORITY_MAX, Action, Signal

Values = dict[str, Any]
"""Column values by name."""

_FILL_PREFIX: Final = "fill_"
_FILL_FIELDS: Final = tuple(Fill.__dataclass_fields__)

# ---------------------------------------------------------------- orders


def order_values(new: NewOrder) -> Values:
    """Give the columns that a new order sets, its status and reasons aside."""
    signal = new.signal
    return {
        "order_id": new.order_id,
        "account": new.account,
        "wallet": new.wallet,
        "fingerprint": new.fingerprint,
        "idempotency_key": new.idempotency_key,
        "action": signal.action.value,
        "market": signal.market,
        "size": signal.size,
        "quote_size": signal.quote_size,
        "price": decimal_text(signal.price),
        "confidence": decimal_text(signal.confidence),
        "client_order_id": signal.client_order_id,
        "priority": signal.priority,
        "queue_rank": PRIORITY_MAX - signal.priority,
        "valid_for_us": signal.valid_for_us,
        "signal_time_us": signal.signal_time_us,
        "strategy": signal.strategy,
        "methods": dump_optional(signal.methods),
        "allow_public_fallback": signal.allow_public_fallback,
        "max_slippage_bps": signal.max_slippage_bps,
        "signal_metadata": dump(signal.metadata),
        "accepted_at_us": new.accepted_at_us,
        "deadline_us": new.deadline_us,
        "next_attempt_at_us": new.accepted_at_us,
        "tries": 0,
        "version": 0,
        "attempt_count": 0,
        "event_seq": 1,
        "in_sequence": new.in_sequence,
    }


def order_of(row: Row[Any]) -> Order:
    """Read an order."""
    return Order(
        order_id=row.order_id,
        account=row.account,
        wallet=row.wallet,
        signal=_signal_of(row),
        fingerprint=row.fingerprint,
        idempotency_key=row.idempotency_key,
        status=OrderStatus(row.status),
        accepted_at_us=row.accepted_at_us,
        deadline_us=row.deadline_us,
        reason_code=None if row.reason_code is None else ReasonCode(row.reason_code),
        reason=row.reason,
        program_error=_optional(row.program_error),
        next_attempt_at_us=row.next_attempt_at_us,
        tries=row.tries,
        in_doubt_since_us=row.in_doubt_since_us,
        cancel_requested_at_us=row.cancel_requested_at_us,
        landed_failed_at_us=row.landed_failed_at_us,
        ended_at_us=row.ended_at_us,
        filled_at_us=row.filled_at_us,
        finalized_at_us=row.finalized_at_us,
        fill=_fill_of(row),
        version=row.version,
        in_sequence=bool(row.in_sequence),
        client_hash=row.client_hash,
    )


def _signal_of(row: Row[Any]) -> Signal:
    return Signal(
        action=Action(row.action),
        market=row.market,
        size=row.size,
        quote_size=row.quote_size,
        price=_decimal(row.price),
        confidence=_decimal(row.confidence),
        client_order_id=row.client_order_id,
        priority=row.priority,
        valid_for_us=row.valid_for_us,
        signal_time_us=row.signal_time_us,
        strategy=row.strategy,
        methods=None if row.methods is None else tuple(load(row.methods)),
        allow_public_fallback=bool(row.allow_public_fallback),
        max_slippage_bps=row.max_slippage_bps,
        metadata=MappingProxyType(load(row.signal_metadata)),
    )


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def _optional(text: str | None) -> Any:  # noqa: ANN401 - JSON as it was stored
    return None if text is None else load(text)


def _fill_of(row: Row[Any]) -> Fill | None:
    if row.fill_base_amount is None:
        return None
    return Fill(**{name: getattr(row, _FILL_PREFIX + name) for name in _FILL_FIELDS})


def _plain(update: Mapping[str, object]) -> Values:
    return {k: v.value if isinstance(v, StrEnum) else v for k, v in update.items()}


def order_update_values(update: OrderUpdate) -> Values:
    """Give the columns that a change sets on an order."""
    values = _plain(update)
    if "fill" in update:
        fill = values.pop("fill")
        values |= {
            _FILL_PREFIX + n: None if fill is None else getattr(fill, n) for n in _FILL_FIELDS
        }
    if values.get("reason") is not None:
        values["reason"] = clean(values["reason"])
    if "program_error" in values:
        values["program_error"] = dump_optional(values["program_error"])
    return values


# ---------------------------------------------------------------- attempts


def attempt_values(attempt: StoredAttempt, account: str) -> Values:
    """Give the columns of a new attempt."""
    signed = attempt.signed
    return {
        "attempt_id": attempt.attempt_id,
        "order_id": attempt.order_id,
        "number": attempt.number,
        "account": account,
        "wallet": attempt.wallet,
        "status": attempt.status.value,
        "plan": dump(_plan_document(attempt.plan)),
        "raw": signed.raw,
        "signature": signed.signature,
        "blockhash": signed.blockhash.blockhash,
        "blockhash_slot": signed.blockhash.slot,
        "last_valid_block_height": signed.blockhash.last_valid_block_height,
        "quote": dump(_quote_document(signed)),
        "spend_mint": signed.spend.mint,
        "spend_amount": signed.spend.amount,
        "spend_lamports": signed.spend.lamports,
        "priority_fee_lamports": signed.priority_fee_lamports,
        "tip_lamports": signed.tip_lamports,
        "seed": signed.seed,
        "signed_at_us": attempt.signed_at_us,
    }


def _plan_document(plan: LanePlan) -> Values:
    lanes = [[lane.method, lane.patience_ms] for lane in plan.lanes]
    return {"strategy": plan.strategy.value, "private": plan.private, "lanes": lanes}


def _plan_of(stored: Any) -> LanePlan:  # noqa: ANN401 - JSON as it was stored
    """Read a plan; rows of before strategies hold the lanes alone, one after the other."""
    document: Values = {"lanes": stored} if isinstance(stored, list) else stored
    lanes = tuple(Lane(method, patience_ms) for method, patience_ms in document["lanes"])
    strategy = LaneStrategy(document.get("strategy", LaneStrategy.FALLBACK))
    return LanePlan(lanes, strategy, private=document.get("private", False))


def _quote_document(signed: Signed) -> Values:
    quote, intent = signed.quote, signed.quote.intent
    return {
        "venue": quote.pool.venue,
        "pool": str(quote.pool.address),
        "base_to_quote": intent.base_to_quote,
        "exact_in": intent.exact_in,
        "amount": intent.amount,
        "amount_in": quote.amount_in,
        "amount_out": quote.amount_out,
        "venue_fee": quote.venue_fee,
        "slot": quote.slot,
        "limit": [signed.limit.exact_in, signed.limit.bound],
    }


def attempt_of(row: Row[Any], submissions: Sequence[Submission]) -> StoredAttempt:
    """Read an attempt with its submissions."""
    return StoredAttempt(
        attempt_id=row.attempt_id,
        order_id=row.order_id,
        number=row.number,
        wallet=row.wallet,
        status=AttemptStatus(row.status),
        plan=_plan_of(load(row.plan)),
        signed=_signed_of(row),
        signed_at_us=row.signed_at_us,
        landed_slot=row.landed_slot,
        error=_optional(row.error),
        proof=proof_of(row.evidence),
        submissions=tuple(submissions),
    )


def _signed_of(row: Row[Any]) -> Signed:
    document: Mapping[str, Any] = load(row.quote)
    exact_in, bound = document["limit"]
    return Signed(
        raw=row.raw,
        signature=row.signature,
        blockhash=Blockhash(row.blockhash, row.last_valid_block_height, row.blockhash_slot),
        quote=_quote_of(document),
        limit=Limit(exact_in=exact_in, bound=bound),
        spend=Spend(row.spend_mint, row.spend_amount, row.spend_lamports),
        priority_fee_lamports=row.priority_fee_lamports,
        tip_lamports=row.tip_lamports,
        seed=row.seed,
    )


def _quote_of(document: Mapping[str, Any]) -> Quote:
    return Quote(
        pool=PoolRef(document["venue"], Pubkey.from_string(document["pool"])),
        intent=SwapIntent(
            base_to_quote=document["base_to_quote"],
            exact_in=document["exact_in"],
            amount=document["amount"],
        ),
        amount_in=document["amount_in"],
        amount_out=document["amount_out"],
        venue_fee=document["venue_fee"],
        slot=document["slot"],
    )


def proof_of(text: str | None) -> Proof | None:
    """Read a proof; older ones lack what was asked only later."""
    return None if text is None else Proof(tuple(Evidence(**each) for each in load(text)))


def attempt_update_values(update: AttemptUpdate) -> Values:
    """Give the columns that a change sets on an attempt."""
    values = _plain(update)
    if "error" in values:
        values["error"] = dump_optional(values["error"])
    if "proof" in values:
        values["evidence"] = dump_optional(proof_document(values.pop("proof")))
    return values


def submission_values(attempt_id: str, submission: Submission) -> Values:
    """Give the columns of a submission."""
    return {
        "attempt_id": attempt_id,
        "method": submission.method,
        "outcome": submission.outcome.value,
        "reason": clean(submission.reason),
        "sent_at_us": submission.sent_at_us,
        "latency_us": submission.latency_us,
    }


def submission_of(row: Row[Any]) -> Submission:
    """Read a submission."""
    return Submission(
        method=row.method,
        outcome=ReplyOutcome(row.outcome),
        reason=row.reason,
        sent_at_us=row.sent_at_us,
        latency_us=row.latency_us,
    )


# ---------------------------------------------------------------- events


def event_of(row: Row[Any]) -> Event:
    """Read an event."""
    return Event(
        order_id=row.order_id,
        seq=row.seq,
        at_us=row.at_us,
        kind=EventKind(row.kind),
        data=load(row.data),
        position=row.position,
        hash=row.hash,
    )
