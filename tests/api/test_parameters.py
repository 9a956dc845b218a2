"""Parameters: strict, and cursors that only this service can have given out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.parameters import Query, is_order_id, read_cursor, read_query, write_cursor
from app.api.problems import Problem
from app.domain.errors import ReasonCode
from app.domain.order import OrderStatus

ORDER_ID = "01890a5d-ac96-774b-bcce-b302099a8057"
PARAMETER, CURSOR = ReasonCode.INVALID_PARAMETER, ReasonCode.INVALID_CURSOR


@pytest.mark.parametrize(
    "raw",
    [
        b"limi=1",  # a typo
        b"limit=1&limit=1",
        b"limit",  # not allowed to be empty, see below; here: known, so read
        b"limit=%ff",
        b"&".join([b"limit=1"] * 33),
        "limit=\u00e9".encode(),
    ],
)
def test_a_query_that_is_not_understood_is_refused(raw: bytes) -> None:
    """Typos, repetitions and bad encodings are errors, as is a number that is none."""
    with pytest.raises(Problem) as caught:
        read_query(raw, ["limit"]).integer("limit", 1, 5, 1)
    assert caught.value.code is PARAMETER


def test_a_path_without_parameters_says_so() -> None:
    """The message fits."""
    with pytest.raises(Problem, match="takes none"):
        read_query(b"x=1", [])


@pytest.mark.parametrize("value", ["0", "6", "-1", "1.0", "", "x", "\u0661", "+1", "1" * 20])
def test_a_number_is_plain_digits_within_its_bounds(value: str) -> None:
    """Neither signs nor other digits nor anything out of range."""
    with pytest.raises(Problem) as caught:
        Query({"limit": value}).integer("limit", 1, 5, 1)
    assert (caught.value.code, caught.value.field) == (PARAMETER, "limit")


def test_parameters_are_read_or_left_at_their_defaults() -> None:
    """Values as they were sent; None and defaults for what was not."""
    raw = b"a=5&b=t%C3%A9xt&c=queued&d=2026-01-31T12:00:00%2B01:00&e=SOL-USDC"
    query = read_query(raw, ["a", "b", "c", "d", "e", "f"])
    assert query.integer("a", 1, 5, 2) == 5
    assert query.text("b") == "t\u00e9xt"
    assert query.choice("c", OrderStatus) is OrderStatus.QUEUED
    assert query.time_us("d") == 1_769_857_200_000_000
    assert query.market("e", ["SOL-USDC"]) == "SOL-USDC"
    nothing = (query.text("f"), query.choice("f", OrderStatus), query.time_us("f"))
    assert nothing == (None, None, None)
    assert (query.integer("f", 1, 5, 2), query.cursor("f"), query.market("f", [])) == (
        2,
        None,
        None,
    )


@pytest.mark.parametrize("value", ["", "x" * 129, "tab\t", "\u0000"])
def test_a_text_is_printable_and_short(value: str) -> None:
    """Nothing that a label cannot be."""
    with pytest.raises(Problem) as caught:
        Query({"strategy": value}).text("strategy")
    assert caught.value.code is PARAMETER


def test_a_choice_a_time_and_a_market_are_known_ones() -> None:
    """Each is refused under its own code, naming the parameter."""
    query = Query({"status": "done", "from": "yesterday", "market": "SOL-USDX"})
    for read, code in (
        (lambda: query.choice("status", OrderStatus), PARAMETER),
        (lambda: query.time_us("from"), PARAMETER),
        (lambda: query.market("market", ["SOL-USDC"]), ReasonCode.UNKNOWN_MARKET),
    ):
        with pytest.raises(Problem) as caught:
            read()
        assert caught.value.code is code
        assert caught.value.field is not None


@given(st.integers(0, 2**63 - 1), st.uuids())
def test_a_cursor_is_read_back_as_it_was_written(accepted_at_us: int, order_id: object) -> None:
    """Every place in the list has its cursor."""
    place = (accepted_at_us, str(order_id))
    query = Query({"cursor": write_cursor(*place)})
    assert query.cursor("cursor") == place


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "\u0661" * 48,
        "0" * 47,
        "0" * 49,
        "8" + "0" * 47,
        "A" * 48,
        "0" * 48 + "\n",
    ],
)
def test_a_cursor_that_was_never_given_out_is_refused(cursor: str) -> None:
    """Nothing of it reaches the database."""
    with pytest.raises(Problem) as caught:
        read_cursor(cursor)
    assert caught.value.code is CURSOR


@given(st.text(max_size=150))
def test_texts_are_no_cursors(text: str) -> None:
    """Whatever arrives by chance is refused as a cursor, and fails no otherwise."""
    with pytest.raises(Problem) as caught:
        read_cursor(text)
    assert caught.value.code is CURSOR


def test_an_order_id_is_a_uuid_in_lower_case() -> None:
    """So that one order has one path."""
    assert is_order_id(ORDER_ID)
    assert not any(map(is_order_id, ["", ORDER_ID.upper(), ORDER_ID + "\n", ORDER_ID[:-1]]))
