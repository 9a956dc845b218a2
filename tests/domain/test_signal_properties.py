"""Whatever is posted, reading it is quick, total, and says the same of what means the same."""

import json
import time
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import SignalError
from app.domain.money import BASE_UNITS_MAX
from app.domain.signal import METADATA_BYTES_MAX, ParsedSignal, parse_signal
from tests.domain.makers import NOW, RULES

FIELDS = (
    "action", "market", "size", "quote_size", "price", "confidence", "client_order_id", "priority",
    "valid_for", "signal_time", "strategy", "methods", "allow_public_fallback", "max_slippage_bps",
    "metadata",
)  # fmt: skip
LIMIT_SECONDS = 0.5
"""Far more than any body takes here, far less than writing out a hostile exponent would."""

HOSTILE = st.sampled_from(
    [
        "1E+1000000", "1E-999999", "-1E+999999999999999999", "1E-1999999999999999997", "0E+999999",
        "NaN", "-NaN", "sNaN", "Infinity", "-Infinity", "0.1", "-0", "1" * 100, "0." + "3" * 100,
    ]
).map(Decimal)  # fmt: skip
NUMBERS = st.integers() | st.just(10**4_000) | st.decimals() | HOSTILE
TEXTS = (
    st.text()
    | st.text(alphabet=st.characters(categories=["Cs", "Nd", "Cc"]))
    | st.sampled_from(["SELL", "BUY", "SOL-USDC", "rpc", "0.01", "2026-01-31T12:00:00Z", "\ud800"])
)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS | st.floats()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
GOOD = {
    "action": st.sampled_from(["BUY", "SELL"]),
    "market": st.just("SOL-USDC"),
    "size": st.decimals("0.000001", 1_000_000, places=9),
}


def bomb(levels: int, kind: type) -> object:
    """Nest lists or objects so deep that naive recursion would end the thread."""
    value: object = 1
    for _ in range(levels):
        value = [value] if kind is list else {"a": value}
    return value


BOMBS = st.builds(bomb, st.sampled_from([50, 5_000, 50_000]), st.sampled_from([list, dict]))
BODIES = (
    VALUES
    | st.dictionaries(st.sampled_from(FIELDS) | TEXTS, VALUES | BOMBS, max_size=6)
    | st.builds(
        dict.__or__,
        st.fixed_dictionaries(dict(GOOD)),
        st.dictionaries(st.sampled_from(FIELDS), VALUES | BOMBS, max_size=3),
    )
)


def read(body: object) -> ParsedSignal | None:
    """Parse a body, None when it is refused; anything else that is raised is a defect."""
    try:
        return parse_signal(body, RULES, NOW)
    except SignalError:
        return None


@given(BODIES)
def test_any_body_is_a_signal_or_a_signal_error_at_once(body: object) -> None:
    """No input raises anything else, takes long, or becomes a signal that cannot be kept."""
    started = time.perf_counter()
    parsed = read(body)
    assert time.perf_counter() - started < LIMIT_SECONDS
    if parsed is not None:
        signal = parsed.signal
        amount = signal.size if signal.size is not None else signal.quote_size
        assert amount is not None
        assert 0 < amount <= BASE_UNITS_MAX
        assert 0 <= signal.priority <= 9
        metadata = json.dumps(dict(signal.metadata), ensure_ascii=False, separators=(",", ":"))
        for text in filter(None, [signal.client_order_id, signal.strategy, metadata]):
            assert len(text.encode()) <= METADATA_BYTES_MAX


@given(st.sampled_from(FIELDS), BOMBS)
def test_a_nested_bomb_in_any_field_is_refused(field: str, value: object) -> None:
    """However deep the nesting is, it is refused as a wrong value."""
    assert read({"action": "BUY", "market": "SOL-USDC", "size": 1, field: value}) is None


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(alphabet="abc ü", max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("xyz"), inner, max_size=3),
    max_leaves=8,
)
SIGNALS = st.fixed_dictionaries(
    dict(GOOD),
    optional={
        "price": st.decimals("0.01", 10_000, places=6),
        "confidence": st.decimals(0, 1, places=3),
        "valid_for": st.integers(1, 86_400),
        "metadata": st.dictionaries(st.text("abc"), PLAIN, max_size=4),
        "methods": st.permutations(["rpc", "jito"]),
        "strategy": st.text("abc", min_size=1, max_size=5),
        "priority": st.integers(0, 9),
    },
)


def reworded(value: object, data: st.DataObject) -> object:
    """Say the same with other words: trailing zeros, exponents, text, another order of keys."""
    if isinstance(value, Decimal):
        spelt = data.draw(st.sampled_from([value.normalize(), value * Decimal("1.00"), str(value)]))
        return format(value, "f") if isinstance(spelt, str) else spelt
    if isinstance(value, Mapping):
        keys = data.draw(st.permutations(list(value)))
        return {key: reworded(value[key], data) for key in keys}
    return value


@given(SIGNALS, st.data())
def test_equal_meaning_has_an_equal_fingerprint(
    body: dict[str, object], data: st.DataObject
) -> None:
    """Order of keys, spelling of numbers, nulls and the time of day make no other signal."""
    again = reworded(body, data)
    assert isinstance(again, dict)
    again["signal_time"] = None
    first, second = parse_signal(body, RULES, NOW), parse_signal(again, RULES, NOW + 1)
    assert first.fingerprint == second.fingerprint
    assert first.signal == second.signal


@given(SIGNALS, SIGNALS)
def test_another_meaning_has_another_fingerprint(
    one: dict[str, object], other: dict[str, object]
) -> None:
    """Two bodies with the same fingerprint make the same signal."""
    first, second = parse_signal(one, RULES, NOW), parse_signal(other, RULES, NOW)
    same = first.fingerprint == second.fingerprint
    assert not same or first.signal == second.signal


@given(SIGNALS, st.sampled_from(["size", "price", "strategy", "priority", "methods", "metadata"]))
def test_each_field_counts(body: dict[str, object], field: str) -> None:
    """Leaving out what was said, or saying something else, is another body under the same key."""
    other: dict[str, object] = {"size": 77, "price": 1, "strategy": "zzz", "methods": ["rpc"]}
    body.setdefault(field, other.get(field, 3 if field == "priority" else {"k": 1}))
    changed = {**body, field: None} if field != "size" else {**body, field: 77_000_000}
    first, second = parse_signal(body, RULES, NOW), parse_signal(changed, RULES, NOW)
    assert first.fingerprint != second.fingerprint


@given(st.decimals("0.000001", 1_000_000, places=9))
def test_a_posted_size_is_exactly_what_is_traded(size: Decimal) -> None:
    """Base units are the posted number times ten to the token's decimals."""
    parsed = parse_signal({"action": "BUY", "market": "SOL-USDC", "size": size}, RULES, NOW)
    assert parsed.signal.size == Fraction(size) * 10**9
