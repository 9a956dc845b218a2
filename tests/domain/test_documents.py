"""What is shown of orders and events: exact strings, and nothing left out."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.domain.attempt import AttemptStatus
from app.domain.documents import (
    accepted_document,
    event_document,
    order_document,
    sol_string,
    time_string,
)
from app.domain.errors import ReasonCode
from app.domain.events import Event, EventKind
from app.domain.order import OrderStatus, OrderView
from app.domain.signal import Action, parse_time
from tests.domain.makers import (
    FILL,
    NOW,
    SLIPPAGE,
    SOL_USDC,
    S,
    attempt,
    order,
    push,
    signal,
    view,
)

FIELDS = [
    "order_id", "client_order_id", "action", "market", "size", "quote_size", "price", "confidence",
    "priority", "strategy", "status", "reason_code", "reason", "program_error", "in_doubt_since",
    "cancel_requested_at", "landed_failed_at", "accepted_at", "filled_at", "finalized_at", "fill",
    "attempts",
]  # fmt: skip


def test_a_new_order_shows_its_signal_and_nothing_else() -> None:
    """Every field is there from the start; what has not happened is null."""
    given: dict[str, Any] = {
        "price": Decimal("180.0"),
        "confidence": Decimal("0.80"),
        "client_order_id": "mine",
        "strategy": "trend",
        "priority": 7,
    }
    document = order_document(view(OrderStatus.QUEUED, signal=signal(**given)), SOL_USDC)
    assert list(document) == FIELDS
    told = {name: value for name, value in document.items() if value is not None}
    assert told == {
        "order_id": "0198c0de",
        "client_order_id": "mine",
        "action": "SELL",
        "market": "SOL-USDC",
        "size": "0.01",
        "price": "180",
        "confidence": "0.8",
        "priority": 7,
        "strategy": "trend",
        "status": "queued",
        "accepted_at": "2026-01-31T12:00:00.000000Z",
        "attempts": [],
    }


def test_a_signal_by_quote_size_shows_it_in_quote_tokens() -> None:
    """The size that was not given stays null."""
    asked = signal(Action.BUY, quote_size=1_500_000)
    document = order_document(view(signal=asked), SOL_USDC)
    assert (document["size"], document["quote_size"]) == (None, "1.5")


def test_a_fill_shows_amounts_price_slippage_and_every_fee() -> None:
    """SELL 0.01 for 1.845 is 184.5, better than 180 by 250 basis points; its venue fee is in SOL."""
    asked = signal(price=Decimal(180))
    filled = view(
        OrderStatus.FILLED,
        signal=asked,
        fill=FILL,
        filled_at_us=NOW + S,
        finalized_at_us=NOW + 13 * S + 1,
    )
    document = order_document(filled, SOL_USDC)
    assert document["fill"] == {
        "base_amount": "0.01",
        "quote_amount": "1.845",
        "average_price": "184.5",
        "slippage_bps": "-250",
        "fees": {
            "network": "0.000005",
            "priority": "0.0000001",
            "tip": "0",
            "venue": "0.000025",
        },
    }
    assert document["filled_at"] == "2026-01-31T12:00:01.000000Z"
    assert document["finalized_at"] == "2026-01-31T12:00:13.000001Z"


def test_a_purchase_pays_its_venue_fee_in_quote_tokens_and_needs_no_price() -> None:
    """Without a price there is nothing to have slipped from."""
    bought = view(OrderStatus.FILLED, signal=signal(Action.BUY), fill=FILL)
    fill = order_document(bought, SOL_USDC)["fill"]
    assert isinstance(fill, dict)
    assert fill["fees"]["venue"] == "0.025"
    assert fill["slippage_bps"] is None


def test_an_order_of_a_market_that_is_gone_shows_no_amount_that_nobody_can_know() -> None:
    """Without the tokens' decimals amounts are null; the fees in SOL stay."""
    filled = view(OrderStatus.FILLED, signal=signal(price=Decimal(180)), fill=FILL)
    document = order_document(filled, None)
    assert (document["size"], document["market"]) == (None, "SOL-USDC")
    assert document["fill"] == {
        "base_amount": None,
        "quote_amount": None,
        "average_price": None,
        "slippage_bps": None,
        "fees": {"network": "0.000005", "priority": "0.0000001", "tip": "0", "venue": None},
    }


def test_a_failed_order_shows_why_and_what_was_tried() -> None:
    """The reason, the decoded error, and attempts with their pushes, oldest first."""
    pushed = replace(push(), latency_us=1_234)
    tried = attempt(
        AttemptStatus.FAILED, error=SLIPPAGE.document(), landed_slot=5_005, submissions=(pushed,)
    )
    failed = order(
        OrderStatus.FAILED,
        reason_code=ReasonCode.SLIPPAGE_EXCEEDED,
        reason="the price moved",
        program_error=SLIPPAGE.document(),
        landed_failed_at_us=NOW,
        in_doubt_since_us=NOW + 1,
        cancel_requested_at_us=NOW + 2,
    )
    document = order_document(OrderView(failed, (tried,)), SOL_USDC)
    error = {
        "name": "SlippageExceeded",
        "message": "the price moved",
        "raw": {"InstructionError": [2, 6005]},
    }
    assert document["reason_code"] == "SLIPPAGE_EXCEEDED"
    assert document["reason"] == "the price moved"
    assert document["program_error"] == error
    assert document["landed_failed_at"] == "2026-01-31T12:00:00.000000Z"
    assert document["in_doubt_since"] == "2026-01-31T12:00:00.000001Z"
    assert document["cancel_requested_at"] == "2026-01-31T12:00:00.000002Z"
    assert document["attempts"] == [
        {
            "number": 1,
            "signature": "signature1",
            "status": "failed",
            "last_valid_block_height": 1_000,
            "landed_slot": 5_005,
            "error": error,
            "plan": {"strategy": "fallback", "methods": ["rpc"]},
            "submissions": [
                {
                    "method": "rpc",
                    "outcome": "accepted",
                    "reason": "ok",
                    "sent_at": "2026-01-31T12:00:00.000000Z",
                    "latency_ms": 1.234,
                }
            ],
        }
    ]


def test_the_answer_to_a_signal_is_short() -> None:
    """Id, the client's id, status and time."""
    assert accepted_document(order(OrderStatus.QUEUED)) == {
        "order_id": "0198c0de",
        "client_order_id": None,
        "status": "queued",
        "accepted_at": "2026-01-31T12:00:00.000000Z",
    }


def test_an_event_shows_its_place_and_its_hash() -> None:
    """Whoever reads the trail can check the chain."""
    event = Event(
        order_id="0198c0de",
        seq=1,
        at_us=NOW,
        kind=EventKind.ACCEPTED,
        data={"size": "0.01"},
        position=7,
        hash="ab" * 32,
    )
    assert event_document(event) == {
        "position": 7,
        "order_id": "0198c0de",
        "seq": 1,
        "at": "2026-01-31T12:00:00.000000Z",
        "kind": "order.accepted",
        "data": {"size": "0.01"},
        "hash": "ab" * 32,
    }


def test_an_event_of_the_system_is_of_no_order() -> None:
    """Where nothing is told of an order, its id is null."""
    told = {"method": "rpc"}
    event = Event(order_id="", seq=3, at_us=NOW, kind=EventKind.METHOD_DISABLED, data=told)
    document = event_document(event)
    assert (document["order_id"], document["seq"], document["data"]) == (None, 3, told)


def test_a_lamport_is_the_ninth_place_of_a_sol() -> None:
    """Lamports are shown exactly."""
    assert [sol_string(n) for n in (0, 1, 10**9, 1_500_000_001)] == [
        "0",
        "0.000000001",
        "1",
        "1.500000001",
    ]


@given(st.integers(0, 253_402_300_799_999_999))
def test_a_time_is_read_back_as_it_was_written(at_us: int) -> None:
    """No microsecond of any time to the year 9999 is lost."""
    assert parse_time(time_string(at_us)) == at_us
