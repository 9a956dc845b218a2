"""An order's row says what its events say, and nothing else."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import ReasonCode
from app.domain.events import EventKind
from app.domain.order import OrderStatus
from app.metrics.executions import UnreadableHistoryError, execution_of
from app.metrics.ports import ExecutionRow
from tests.domain.makers import FILL
from tests.metrics.lives import Life, at, filled

PUSH_US = 1_000
"""How long each push of these lives takes."""


def row_of(life: Life) -> ExecutionRow:
    """Read a life that has ended."""
    row = execution_of(life.events)
    assert row is not None
    return row


def test_a_fill_is_read_whole() -> None:
    """Every column of a filled order's row comes from its events, to the unit."""
    assert row_of(filled()) == ExecutionRow(
        order_id="order1",
        account="default",
        market="SOL-USDC",
        action="SELL",
        strategy="mean",
        price="180.5",
        status="filled",
        reason_code=None,
        method="rpc",
        attempts=1,
        submissions=1,
        accepted_at_us=at(0),
        first_executing_at_us=at(1),
        first_signed_at_us=at(2),
        first_submitted_at_us=at(3) - PUSH_US,
        ended_at_us=at(5),
        finalized_at_us=at(9),
        base_amount=FILL.base_amount,
        quote_amount=FILL.quote_amount,
        network_fee=FILL.network_fee,
        priority_fee=FILL.priority_fee,
        tip=FILL.tip,
        venue_fee=FILL.venue_fee,
        slot=FILL.slot,
    )


def test_an_order_that_has_not_ended_has_no_row() -> None:
    """At each step before the end there is nothing to keep yet."""
    life = Life().accepted().claimed().signed().pushed("rpc").expired()
    for length in range(1, len(life.events) + 1):
        assert execution_of(life.events[:length]) is None


def test_a_rejected_order_begins_and_ends_at_once() -> None:
    """Its one event gives its row, without any later time."""
    row = row_of(Life().rejected())
    assert (row.status, row.reason_code) == ("rejected", "SIGNAL_STALE")
    assert row.accepted_at_us == row.ended_at_us == at(0)
    assert row.first_executing_at_us is row.first_signed_at_us is row.first_submitted_at_us is None
    assert (row.method, row.attempts, row.submissions) == (None, 0, 0)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (OrderStatus.FAILED, ReasonCode.PRICE_LIMIT),
        (OrderStatus.EXPIRED, ReasonCode.ORDER_TIMEOUT),
        (OrderStatus.CANCELED, ReasonCode.CANCEL_REQUESTED),
    ],
)
def test_an_end_without_a_fill_keeps_its_reason(status: OrderStatus, code: ReasonCode) -> None:
    """Status and code are the event's, and there are no amounts."""
    row = row_of(Life().accepted().ended(status, code))
    assert (row.status, row.reason_code) == (status.value, code.value)
    assert (row.base_amount, row.network_fee, row.slot, row.finalized_at_us) == (None,) * 4


def test_the_first_acceptance_of_the_landed_attempt_is_credited() -> None:
    """Neither a method that refused, nor one that had an earlier attempt, nor a later acceptance."""
    life = Life().accepted().claimed().signed(1).pushed("quicknode", number=1).expired(1)
    life.signed(2, second=5).pushed("bundle", "jito", number=2, second=6)
    life.pushed("rpc", number=2, second=7).filled(2, second=8)
    row = row_of(life)
    assert (row.method, row.attempts, row.submissions) == ("jito", 2, 4)
    assert row.first_signed_at_us == at(2)
    assert row.first_submitted_at_us == at(3) - PUSH_US


def test_the_first_push_is_when_the_first_bytes_left() -> None:
    """An event that tells of two pushes was written after both of them."""
    row = row_of(Life().accepted().claimed().signed().pushed("bundle", "rpc").filled())
    assert row.first_submitted_at_us == at(3) - 2 * PUSH_US


def test_a_landing_that_nobody_claims_has_no_method() -> None:
    """A crash can hide the push; the fill counts all the same."""
    row = row_of(Life().accepted().claimed().signed().filled())
    assert (row.status, row.method, row.submissions) == ("filled", None, 0)


def test_finality_has_the_last_word_on_the_slot() -> None:
    """A fork moved the landing: the row follows."""
    life = Life().accepted().claimed().signed().pushed("rpc").filled().finalized(slot=5_009)
    assert row_of(life).slot == 5_009


def test_finality_has_the_last_word_on_the_amounts() -> None:
    """Moved to another block the transaction filled at another price: the row follows."""
    moved = replace(FILL, quote_amount=FILL.quote_amount - 7, slot=5_009)
    life = Life().accepted().claimed().signed().pushed("rpc").filled()
    row = row_of(life.finalized(slot=5_009, moved=moved))
    assert (row.quote_amount, row.slot) == (FILL.quote_amount - 7, 5_009)


def test_a_reverted_fill_is_a_failure_without_amounts() -> None:
    """What the fork undid is not counted as traded; who had landed it is still known."""
    life = Life().accepted().claimed().signed().pushed("rpc").filled().reverted()
    row = row_of(life)
    assert (row.status, row.reason_code, row.ended_at_us) == ("failed", "FILL_REVERTED", at(9))
    assert (row.base_amount, row.tip, row.slot, row.finalized_at_us) == (None,) * 4
    assert row.method == "rpc"


# ---------------------------------------------------------------- what cannot be read


def test_a_life_whose_beginning_is_gone_cannot_be_read() -> None:
    """A clean-up cut it off: that is said, no row is made up."""
    with pytest.raises(UnreadableHistoryError, match="beginning"):
        execution_of(filled().events[1:])
    with pytest.raises(UnreadableHistoryError):
        execution_of([])


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (EventKind.ENDED, {}),
        (EventKind.ENDED, {"status": "over", "reason_code": "PRICE_LIMIT"}),
        (EventKind.ENDED, {"status": "failed", "reason_code": 7}),
        (EventKind.FILLED, {"number": 1}),
        (EventKind.FILLED, {**dict.fromkeys(
            ("base_amount", "quote_amount", "network_fee", "priority_fee", "tip", "venue_fee"), "1"
        ), "number": 1, "slot": "five"}),
    ],
)  # fmt: skip
def test_an_end_that_is_not_as_expected_cannot_be_read(
    kind: EventKind, data: Mapping[str, object]
) -> None:
    """One order's strange event is an error of its own kind, whatever is wrong with it."""
    with pytest.raises(UnreadableHistoryError):
        execution_of(Life().accepted().tell(kind, 1, data).events)


def test_pushes_that_are_not_a_list_cannot_be_read() -> None:
    """The same for what comes before the end."""
    life = Life().accepted().tell(EventKind.SUBMITTED, 1, {"number": 1, "submissions": 3})
    with pytest.raises(UnreadableHistoryError):
        execution_of(life.ended(OrderStatus.FAILED, ReasonCode.PRICE_LIMIT).events)


_JUNK = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
_NAMES = st.sampled_from(["number", "submissions", "slot", "status", "reason_code", "market"])


@given(st.lists(st.tuples(st.sampled_from(EventKind), st.dictionaries(_NAMES, _JUNK))))
def test_whatever_the_events_say_there_is_a_row_or_a_known_error(
    told: list[tuple[EventKind, dict[str, object]]],
) -> None:
    """No event can raise anything else, and so stop the rows of all other orders."""
    life = Life().accepted()
    for kind, data in told:
        life.tell(kind, 1, data)
    try:
        row = execution_of(life.events)
    except UnreadableHistoryError:
        return
    assert row is None or row.order_id == "order1"
