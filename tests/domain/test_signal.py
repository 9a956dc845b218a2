"""Signals are read strictly: what is meant is exact, what is not meant has its own code."""

from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal, localcontext
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.domain.errors import ReasonCode, SignalError
from app.domain.signal import (
    PRIORITY_DEFAULT,
    Action,
    ParsedSignal,
    Signal,
    SignalRules,
    is_key_text,
    parse_signal,
    parse_time,
    priority_of,
)
from tests.domain.makers import NOW, RULES, SOL_USDC, S

SEED = {
    "action": "SELL",
    "market": "SOL-USDC",
    "size": Decimal("0.01"),
    "price": Decimal("180.0"),
    "confidence": Decimal("0.8"),
}
LEAST = {"action": "BUY", "market": "SOL-USDC", "size": Decimal("0.01")}


def parse(**given: object) -> ParsedSignal:
    """Parse the least signal with these fields put in or replaced."""
    return parse_signal({**LEAST, **given}, RULES, NOW)


def refusal(body: object) -> tuple[ReasonCode, str | None]:
    """Give the code and the field with which a body is refused."""
    with pytest.raises(SignalError) as caught:
        parse_signal(body, RULES, NOW)
    return caught.value.code, caught.value.field


def test_the_simplest_signal_is_read_as_it_is() -> None:
    """Amounts are base units, the price stays a decimal, the rest is defaults."""
    assert parse_signal(SEED, RULES, NOW).signal == Signal(
        action=Action.SELL,
        market="SOL-USDC",
        size=10_000_000,
        price=Decimal("180.0"),
        confidence=Decimal("0.8"),
        priority=7,
    )


def test_every_field_is_read() -> None:
    """A signal with all fields comes out with all of them."""
    body = {
        "action": "BUY",
        "market": "SOL-USDC",
        "quote_size": "25.5",
        "price": 181,
        "confidence": 1,
        "client_order_id": "bot-1",
        "priority": 3,
        "valid_for": Decimal("1.5"),
        "signal_time": "2026-01-31T13:00:00.25+01:00",
        "strategy": "momentum",
        "methods": ["jito", "rpc"],
        "allow_public_fallback": False,
        "max_slippage_bps": 0,
        "metadata": {"note": ["a", None, True, {"n": Decimal("0.10"), "i": -3}]},
    }
    assert parse_signal(body, RULES, NOW).signal == Signal(
        action=Action.BUY,
        market="SOL-USDC",
        quote_size=25_500_000,
        price=Decimal(181),
        confidence=Decimal(1),
        client_order_id="bot-1",
        priority=3,
        valid_for_us=1_500_000,
        signal_time_us=NOW + 250_000,
        strategy="momentum",
        methods=("jito", "rpc"),
        allow_public_fallback=False,
        max_slippage_bps=0,
        metadata={"note": ["a", None, True, {"n": "0.1", "i": -3}]},
    )


def test_the_configured_defaults_hold_where_a_signal_is_silent() -> None:
    """Slippage and public fallback come from the rules, the priority from the middle."""
    rules = SignalRules(
        markets=RULES.markets, methods=(), max_slippage_bps=7, allow_public_fallback=False
    )
    signal = parse_signal(LEAST, rules, NOW).signal
    assert (signal.max_slippage_bps, signal.allow_public_fallback) == (7, False)
    assert signal.priority == PRIORITY_DEFAULT


REFUSED: list[tuple[dict[str, object], ReasonCode, str]] = [
    ({"action": "HOLD"}, ReasonCode.UNKNOWN_ACTION, "action"),
    ({"action": "sell"}, ReasonCode.UNKNOWN_ACTION, "action"),
    ({"action": 1}, ReasonCode.UNKNOWN_ACTION, "action"),
    ({"action": None}, ReasonCode.MISSING_FIELD, "action"),
    ({"market": None}, ReasonCode.MISSING_FIELD, "market"),
    ({"market": "DOGE-USDC"}, ReasonCode.UNKNOWN_MARKET, "market"),
    ({"market": ["SOL-USDC"]}, ReasonCode.UNKNOWN_MARKET, "market"),
    ({"market": "\ud800"}, ReasonCode.UNKNOWN_MARKET, "market"),
    ({"size": None}, ReasonCode.SIZE_CONFLICT, "size"),
    ({"quote_size": 1}, ReasonCode.SIZE_CONFLICT, "size"),
    ({"size": 0}, ReasonCode.SIZE_NOT_POSITIVE, "size"),
    ({"size": Decimal("-0.0")}, ReasonCode.SIZE_NOT_POSITIVE, "size"),
    ({"size": Decimal("-0.01")}, ReasonCode.SIZE_NOT_POSITIVE, "size"),
    ({"size": Decimal("-1E+1000000")}, ReasonCode.SIZE_NOT_POSITIVE, "size"),
    ({"size": Decimal("0E+1000000")}, ReasonCode.SIZE_NOT_POSITIVE, "size"),
    ({"size": Decimal("0.000000999")}, ReasonCode.SIZE_TOO_SMALL, "size"),
    ({"size": Decimal("0.0000000001")}, ReasonCode.SIZE_TOO_PRECISE, "size"),
    ({"size": Decimal("1E-999999")}, ReasonCode.SIZE_TOO_PRECISE, "size"),
    ({"size": Decimal("9223372036.854775808")}, ReasonCode.SIZE_TOO_LARGE, "size"),
    ({"size": Decimal("1E+30")}, ReasonCode.SIZE_TOO_LARGE, "size"),
    ({"size": 10**30}, ReasonCode.SIZE_TOO_LARGE, "size"),
    ({"size": Decimal("1E+1000000")}, ReasonCode.SIZE_TOO_LARGE, "size"),
    ({"size": 10**60}, ReasonCode.INVALID_NUMBER, "size"),
    ({"size": 10**100_000}, ReasonCode.INVALID_NUMBER, "size"),
    ({"size": Decimal("0." + "1" * 61)}, ReasonCode.INVALID_NUMBER, "size"),
    ({"size": Decimal("NaN")}, ReasonCode.INVALID_NUMBER, "size"),
    ({"size": Decimal("sNaN")}, ReasonCode.INVALID_NUMBER, "size"),
    ({"size": Decimal("-Infinity")}, ReasonCode.INVALID_NUMBER, "size"),
    ({"size": "1e3"}, ReasonCode.INVALID_NUMBER, "size"),
    ({"size": "NaN"}, ReasonCode.INVALID_NUMBER, "size"),
    ({"size": ""}, ReasonCode.INVALID_NUMBER, "size"),
    ({"size": "-"}, ReasonCode.INVALID_NUMBER, "size"),
    ({"size": "1."}, ReasonCode.INVALID_NUMBER, "size"),
    ({"size": ".5"}, ReasonCode.INVALID_NUMBER, "size"),
    ({"size": "1_0"}, ReasonCode.INVALID_NUMBER, "size"),
    ({"size": " 1"}, ReasonCode.INVALID_NUMBER, "size"),
    ({"size": "\u0661"}, ReasonCode.INVALID_NUMBER, "size"),
    ({"size": "1" * 61}, ReasonCode.INVALID_NUMBER, "size"),
    ({"size": True}, ReasonCode.INVALID_FIELD, "size"),
    ({"size": [1]}, ReasonCode.INVALID_FIELD, "size"),
    ({"size": 0.01}, ReasonCode.INVALID_FIELD, "size"),
    ({"size": None, "quote_size": Decimal("0.0000001")}, ReasonCode.SIZE_TOO_PRECISE, "quote_size"),
    ({"size": None, "quote_size": Decimal("0.000009")}, ReasonCode.SIZE_TOO_SMALL, "quote_size"),
    ({"price": 0}, ReasonCode.PRICE_INVALID, "price"),
    ({"price": -180}, ReasonCode.PRICE_INVALID, "price"),
    ({"price": Decimal("1.1E+15")}, ReasonCode.PRICE_INVALID, "price"),
    ({"price": Decimal("9E-31")}, ReasonCode.PRICE_INVALID, "price"),
    ({"price": Decimal("1E-999999")}, ReasonCode.PRICE_INVALID, "price"),
    ({"price": Decimal("NaN")}, ReasonCode.INVALID_NUMBER, "price"),
    ({"price": "cheap"}, ReasonCode.INVALID_NUMBER, "price"),
    ({"confidence": Decimal("1.01")}, ReasonCode.INVALID_FIELD, "confidence"),
    ({"confidence": Decimal("-0.1")}, ReasonCode.INVALID_FIELD, "confidence"),
    ({"confidence": Decimal("1E-999999")}, ReasonCode.INVALID_NUMBER, "confidence"),
    ({"confidence": True}, ReasonCode.INVALID_FIELD, "confidence"),
    ({"client_order_id": ""}, ReasonCode.INVALID_FIELD, "client_order_id"),
    ({"client_order_id": "x" * 129}, ReasonCode.INVALID_FIELD, "client_order_id"),
    ({"client_order_id": "a\nb"}, ReasonCode.INVALID_FIELD, "client_order_id"),
    ({"client_order_id": "\ud800"}, ReasonCode.INVALID_FIELD, "client_order_id"),
    ({"client_order_id": "a\0"}, ReasonCode.INVALID_FIELD, "client_order_id"),
    ({"strategy": 5}, ReasonCode.INVALID_FIELD, "strategy"),
    ({"priority": 10}, ReasonCode.INVALID_FIELD, "priority"),
    ({"priority": -1}, ReasonCode.INVALID_FIELD, "priority"),
    ({"priority": True}, ReasonCode.INVALID_FIELD, "priority"),
    ({"priority": Decimal("5.5")}, ReasonCode.INVALID_FIELD, "priority"),
    ({"priority": 10**5_000}, ReasonCode.INVALID_FIELD, "priority"),
    ({"max_slippage_bps": 10_000}, ReasonCode.INVALID_FIELD, "max_slippage_bps"),
    ({"valid_for": 0}, ReasonCode.INVALID_FIELD, "valid_for"),
    ({"valid_for": 86_401}, ReasonCode.INVALID_FIELD, "valid_for"),
    ({"valid_for": Decimal("1E-999999")}, ReasonCode.INVALID_FIELD, "valid_for"),
    ({"valid_for": Decimal("1E+1000000")}, ReasonCode.INVALID_FIELD, "valid_for"),
    ({"signal_time": 1_769_860_800}, ReasonCode.INVALID_FIELD, "signal_time"),
    ({"signal_time": "2026-01-31T12:00:00"}, ReasonCode.INVALID_FIELD, "signal_time"),
    ({"signal_time": "2026-01-31T12:00:30.000001Z"}, ReasonCode.SIGNAL_TIME_AHEAD, "signal_time"),
    ({"methods": []}, ReasonCode.INVALID_FIELD, "methods"),
    ({"methods": "rpc"}, ReasonCode.INVALID_FIELD, "methods"),
    ({"methods": ["rpc", "rpc"]}, ReasonCode.INVALID_FIELD, "methods"),
    ({"methods": ["rpc", "pigeon"]}, ReasonCode.UNKNOWN_METHOD, "methods"),
    ({"methods": [["rpc"]]}, ReasonCode.UNKNOWN_METHOD, "methods"),
    ({"methods": [10**5_000]}, ReasonCode.UNKNOWN_METHOD, "methods"),
    ({"allow_public_fallback": 1}, ReasonCode.INVALID_FIELD, "allow_public_fallback"),
    ({"metadata": []}, ReasonCode.INVALID_FIELD, "metadata"),
    ({"metadata": "x"}, ReasonCode.INVALID_FIELD, "metadata"),
    ({"metadata": {"a": "x" * 4_096}}, ReasonCode.INVALID_FIELD, "metadata"),
    ({"metadata": {"a": "\ud800"}}, ReasonCode.INVALID_FIELD, "metadata"),
    ({"metadata": {"\udfff": 1}}, ReasonCode.INVALID_FIELD, "metadata"),
    ({"metadata": {"a": "\0"}}, ReasonCode.INVALID_FIELD, "metadata"),
    ({"metadata": {1: "a"}}, ReasonCode.INVALID_FIELD, "metadata"),
    ({"metadata": {"a": Decimal("NaN")}}, ReasonCode.INVALID_FIELD, "metadata"),
    ({"metadata": {"a": Decimal("1E+1000000")}}, ReasonCode.INVALID_FIELD, "metadata"),
    ({"metadata": {"a": Decimal("1E-999999")}}, ReasonCode.INVALID_FIELD, "metadata"),
    ({"metadata": {"a": 10**5_000}}, ReasonCode.INVALID_FIELD, "metadata"),
    ({"metadata": {"a": 0.1}}, ReasonCode.INVALID_FIELD, "metadata"),
]


@pytest.mark.parametrize(("given", "code", "field"), REFUSED)
def test_what_is_no_valid_signal_is_refused_by_its_own_code(
    given: dict[str, object], code: ReasonCode, field: str
) -> None:
    """The refusal names the code and the field."""
    assert refusal({**LEAST, **given}) == (code, field)


@pytest.mark.parametrize("body", [None, [], "SELL", 1, [LEAST]])
def test_a_body_must_be_an_object(body: object) -> None:
    """Any other JSON value is refused as such."""
    assert refusal(body) == (ReasonCode.BODY_NOT_OBJECT, None)


def test_an_unknown_field_is_a_typo_and_not_ignored() -> None:
    """A misspelt limit would else be no limit; the field's name is input and is not echoed."""
    assert refusal({**LEAST, "prize": 180}) == (ReasonCode.UNKNOWN_FIELD, None)
    assert refusal({"prize": 180}) == (ReasonCode.UNKNOWN_FIELD, None)


@pytest.mark.parametrize("field", ["action", "market"])
def test_what_every_signal_needs_is_asked_for(field: str) -> None:
    """Without it the signal is refused, by the field's name."""
    body = {key: value for key, value in LEAST.items() if key != field}
    assert refusal(body) == (ReasonCode.MISSING_FIELD, field)


def test_a_refusal_never_echoes_what_was_posted() -> None:
    """Nothing of the value is in the words, which end up in logs."""
    with pytest.raises(SignalError) as caught:
        parse(strategy="s3cret\n")
    assert "s3cret" not in str(caught.value)


def test_null_is_as_good_as_absent() -> None:
    """An optional field that is null was not given."""
    assert parse(price=None, metadata=None, priority=None) == parse()


def test_a_number_may_be_written_as_text() -> None:
    """Plain digits in a string mean the same number, exactly."""
    assert parse(size="0.010", price="180.00") == parse(size=Decimal("0.01"), price=180)


@pytest.mark.parametrize(
    ("confidence", "priority"),
    [
        ("0", 0),
        ("0.05", 0),
        ("0.06", 1),
        ("0.4" + "9" * 58, 4),
        ("0.5", 5),
        ("0.8", 7),
        ("0.94", 8),
        ("1", 9),
    ],
)
def test_the_priority_follows_the_confidence(confidence: str, priority: int) -> None:
    """It is nine times the confidence, halves up, and not off by a rounding of the product."""
    with localcontext(Context(prec=3)):
        assert parse(confidence=Decimal(confidence)).signal.priority == priority


@given(st.decimals(0, 1, allow_nan=False, places=20))
def test_the_priority_is_the_nearest_whole_number(confidence: Decimal) -> None:
    """No whole number is nearer to nine times the confidence."""
    assert abs(Fraction(confidence) * 9 - priority_of(confidence)) <= Fraction(1, 2)


def test_a_given_priority_wins_over_the_confidence() -> None:
    """What is said outranks what is derived."""
    assert parse(confidence=1, priority=0).signal.priority == 0


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("2026-01-31T12:00:00Z", 0),
        ("2026-01-31t12:00:00z", 0),
        ("2026-01-31 12:00:00+00:00", 0),
        ("2026-01-31T12:00:00-00:00", 0),
        ("2026-01-31T17:30:00+05:30", 0),
        ("2026-01-31T12:00:00.5Z", 500_000),
        ("2026-01-31T12:00:00.123456789Z", 123_456),
        ("2026-01-31T11:59:59.999999Z", -1),
        ("1970-01-01T00:00:00Z", -NOW),
    ],
)
def test_times_are_rfc_3339_with_an_offset(text: str, us: int) -> None:
    """Every spelling of an instant is the same microseconds."""
    assert parse_time(text) == NOW + us


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-01-31",
        "2026-01-31T12:00:00",
        "2026-01-31T12:00Z",
        "20260131T120000.000000Z",
        "2026-W05-6T12:00:00Z",
        "2026-01-31X12:00:00Z",
        "2026-01-31\ud80012:00:00Z",
        "2026-01-31T12:00:00,5Z",
        "2026-01-31T12:00:00Z\n",
        "2026-01-31T12:00:00+01:00:30",
        "2026-01-31T12:00:60Z",
        "2026-01-31T24:00:00Z",
        "2026-02-30T12:00:00Z",
        "2026-01-31T12:00:00+24:00",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "\u0662026-01-31T12:00:00Z",
    ],
)
def test_other_spellings_of_time_are_refused(text: str) -> None:
    """A time that two readers could read differently is none."""
    assert parse_time(text) is None


@given(st.datetimes(datetime(1950, 1, 1), datetime(2100, 1, 1), timezones=st.timezones()))  # noqa: DTZ001 - the strategy adds the zone
def test_a_time_written_by_any_clock_is_read_back(moment: datetime) -> None:
    """RFC 3339 of an instant is read as its microseconds, whatever the offset in minutes."""
    assume((moment.utcoffset() or timedelta()) % timedelta(minutes=1) == timedelta())
    microseconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert parse_time(moment.isoformat()) == microseconds


def test_a_signal_may_be_a_little_ahead_of_the_clock() -> None:
    """Thirty seconds of clock skew are borne, any age too."""
    assert parse(signal_time="2026-01-31T12:00:30Z").signal.signal_time_us == NOW + 30 * S
    assert parse(signal_time="1960-01-31T12:00:30Z").signal.signal_time_us is not None


def test_validity_is_rounded_to_the_safe_side() -> None:
    """Less than a microsecond more is none: a signal is never valid for longer than it said."""
    long = Decimal("1.9999999" + "9" * 50)
    with localcontext(Context(prec=3)):
        assert parse(valid_for=long).signal.valid_for_us == 1_999_999


def test_the_least_size_of_a_market_is_taken() -> None:
    """The minimum itself is large enough, on both sides."""
    assert parse(size=Decimal("0.000001")).signal.size == SOL_USDC.base_size_min
    assert parse(size=None, quote_size=Decimal("0.00001")).signal.quote_size == 10


def test_metadata_may_nest_eight_levels_deep() -> None:
    """The eighth level is taken, the ninth is not, whether of lists or of objects."""
    lists: object = "leaf"
    objects: object = "leaf"
    for _ in range(7):
        lists, objects = [lists], {"a": objects}
    assert parse(metadata={"a": lists}).signal.metadata == {"a": lists}
    assert parse(metadata={"a": objects}).signal.metadata == {"a": objects}
    for deeper in ([lists], {"a": objects}):
        assert refusal({**LEAST, "metadata": {"a": deeper}})[0] == ReasonCode.INVALID_FIELD


def test_metadata_is_a_copy() -> None:
    """Changing what was posted changes no signal."""
    posted: dict[str, object] = {"a": [1]}
    signal = parse(metadata=posted).signal
    posted["a"] = 2
    assert signal.metadata == {"a": [1]}


def test_a_key_is_one_to_128_printable_characters() -> None:
    """The bounds themselves are taken."""
    assert is_key_text("x")
    assert is_key_text("ключ 1" + "x" * 122)
    assert not is_key_text("")
    assert not is_key_text("x" * 129)
    assert not is_key_text("tab\t")


@pytest.mark.parametrize("sizes", [{}, {"size": 1, "quote_size": 1}])
def test_a_signal_without_exactly_one_size_cannot_be_made(sizes: dict[str, Any]) -> None:
    """Neither none nor both: no swap could be made of it."""
    with pytest.raises(ValueError, match="either size or quote_size"):
        Signal(action=Action.BUY, market="SOL-USDC", **sizes)
