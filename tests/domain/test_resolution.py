"""An operator's word: how it is read, what contradicts it, and what it may be said of."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain import changes
from app.domain.attempt import AttemptStatus
from app.domain.errors import IllegalMoveError, ReasonCode, ResolutionError, SignalError
from app.domain.order import OrderStatus
from app.domain.outcome import Absent, Commitment, Heights, Seen, Unreachable
from app.domain.resolution import (
    Amounts,
    Hearing,
    Resolution,
    Word,
    parse_word,
    refuse_contradicted,
    resolved_filled,
    resolved_unfilled,
)
from tests.domain.makers import FILL, LAST_HEIGHT, NOW, SLIPPAGE, SOL_USDC, view

PAST, YOUNG = Heights(6_000, LAST_HEIGHT + 1), Heights(5_999, LAST_HEIGHT)
ABSENT, SILENT = Absent(6_000), Unreachable("timeout")
WELL = [Seen(5_010, level, None, 6_000) for level in Commitment]
BADLY = [Seen(5_010, level, SLIPPAGE.raw, 6_000) for level in Commitment]
DOUBT = view(OrderStatus.SUBMITTED, AttemptStatus.SUBMITTED, in_doubt_since_us=NOW)


def heard(*told: Hearing, how: Resolution) -> ReasonCode | None:
    """Give why a word is refused after these hearings; None: it is not."""
    try:
        refuse_contradicted(how, told, LAST_HEIGHT)
    except ResolutionError as error:
        return error.code
    return None


HEARINGS = st.lists(
    st.builds(
        Hearing,
        st.sampled_from(["one", "two", "three"]),
        st.sampled_from([PAST, YOUNG, None]),
        st.sampled_from([ABSENT, SILENT, *WELL, *BADLY]),
    ),
    max_size=4,
)


@given(told=HEARINGS)
def test_no_word_is_taken_against_what_any_endpoint_shows(told: list[Hearing]) -> None:
    """By definition: success leaves filled, failure leaves failed, and an end unfilled needs a witness."""
    statuses = [each.status for each in told if isinstance(each.status, Seen)]
    well = any(status.error is None for status in statuses)
    badly = any(status.error is not None for status in statuses)
    past = any(each.heights == PAST and each.status != SILENT for each in told)
    contradicted, early = ReasonCode.RESOLUTION_CONTRADICTED, ReasonCode.RESOLUTION_TOO_EARLY
    assert heard(*told, how=Resolution.FILLED) == (contradicted if badly else None)
    unfilled = contradicted if well else None if past else early
    assert heard(*told, how=Resolution.FAILED) == unfilled
    expired = contradicted if well or badly else None if past else early
    assert heard(*told, how=Resolution.EXPIRED) == expired


def test_the_last_valid_height_itself_is_too_early() -> None:
    """The block above it must be final."""
    for how in (Resolution.FAILED, Resolution.EXPIRED):
        assert heard(Hearing("one", YOUNG, ABSENT), how=how) is ReasonCode.RESOLUTION_TOO_EARLY
        assert heard(Hearing("one", PAST, ABSENT), how=how) is None
        told = Hearing("one", YOUNG, ABSENT), Hearing("two", PAST, SILENT)
        assert heard(*told, how=how) is ReasonCode.RESOLUTION_TOO_EARLY


@pytest.mark.parametrize(
    "status", [each for each in OrderStatus if each is not OrderStatus.SUBMITTED]
)
def test_only_an_order_in_doubt_is_resolved(status: OrderStatus) -> None:
    """Any other has either nothing alive, or its own way to an end."""
    landed = [AttemptStatus.LANDED] if status is OrderStatus.FILLED else []
    word = Word(Resolution.EXPIRED, "seen")
    for order in (view(status, *landed), view(OrderStatus.SUBMITTED, AttemptStatus.SIGNED)):
        with pytest.raises(IllegalMoveError):
            resolved_unfilled(order, word, (), by="me", at_us=NOW, error=None)
        with pytest.raises(IllegalMoveError):
            resolved_filled(order, word, (), by="me", at_us=NOW, fill=FILL)


def test_a_resolved_order_is_consistent() -> None:
    """Every way of it passes the tables of moves and leaves nothing in doubt."""
    for how, error in product((Resolution.FAILED, Resolution.EXPIRED), (None, SLIPPAGE)):
        after = DOUBT
        steps = resolved_unfilled(DOUBT, Word(how, "x"), (), by="me", at_us=NOW, error=error)
        for change in steps:
            after = changes.apply(after, change)
        assert (after.order.status.value, after.attempts[0].status.value) == (how.value, how.value)
        assert after.order.in_doubt_since_us is None
        assert after.order.reason_code is ReasonCode.RESOLVED_BY_OPERATOR
    for fill, amounts in ((FILL, None), (None, Amounts(1, 2))):
        after = DOUBT
        word = Word(Resolution.FILLED, "x")
        for change in resolved_filled(
            DOUBT, word, (), by="me", at_us=NOW, fill=fill, amounts=amounts
        ):
            after = changes.apply(after, change)
        assert (after.order.status, after.order.in_doubt_since_us) == (OrderStatus.FILLED, None)
        assert (after.order.finalized_at_us is None) == (fill is not None)


@given(text=st.text(alphabet="0123456789.eE+- ", max_size=25))
def test_amounts_are_exact_or_refused(text: str) -> None:
    """A decimal string gives exactly its base units, whatever else is no amount."""
    body = {"as": "filled", "evidence": "seen", "base_amount": text, "quote_amount": "1.5"}
    try:
        amounts = parse_word(body).amounts(SOL_USDC)
    except SignalError:
        return
    whole, _, places = text.partition(".")
    assert len(places.rstrip("0")) <= SOL_USDC.base.decimals
    assert amounts == Amounts(int(whole + places.ljust(30, "0")) // 10**21, 1_500_000)


def test_amounts_of_a_market_that_is_gone_mean_nothing() -> None:
    """Nobody knows its decimals any more."""
    word = Word(Resolution.FILLED, "seen", "1", "1")
    with pytest.raises(SignalError) as caught:
        word.amounts(None)
    assert caught.value.code is ReasonCode.INVALID_FIELD
    assert Word(Resolution.FILLED, "seen").amounts(None) is None
