"""The memo tells orders and attempts apart, and only our own text is read as one."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.memo import Memo, client_hash, parse_memo

IDS = st.from_regex(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", fullmatch=True)
TEXTS = st.text(alphabet=st.characters(codec="utf-8"))
NUMBERS = st.integers(1, 10**9 - 1)


@given(IDS, NUMBERS, TEXTS, TEXTS)
def test_a_memo_survives_the_chain(order_id: str, number: int, account: str, key: str) -> None:
    """Written and read again, the parts are the same."""
    memo = Memo(order_id, number, client_hash(account, key))
    assert parse_memo(memo.text()) == memo


def test_a_memo_is_written_as_published() -> None:
    """Anyone can recompute it: SHA-256 over account and key, its first 16 hex digits."""
    digits = hashlib.sha256(b"defaultmy-key").hexdigest()[:16]
    assert Memo("id", 2, client_hash("default", "my-key")).text() == f"synergy7:id/2/{digits}"


@given(st.text())
def test_reading_never_raises_and_reads_only_what_we_write(text: str) -> None:
    """Any text is no memo, or exactly the text that its parts write."""
    memo = parse_memo(text)
    assert memo is None or memo.text() == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "synergy7:",
        "synergy7:id/1",
        "synergy7:id/1/0123456789abcdef/",
        "synergy7:id/1/0123456789abcdef\n",
        "other:id/1/0123456789abcdef",
        "synergy7:id/0/0123456789abcdef",
        "synergy7:id/01/0123456789abcdef",
        "synergy7:id/-1/0123456789abcdef",
        "synergy7:id/\u0661/0123456789abcdef",
        "synergy7:id/" + "9" * 5_000 + "/0123456789abcdef",
        "synergy7:id/1/0123456789ABCDEF",
        "synergy7:id/1/0123456789abcde",
        "synergy7:/1/0123456789abcdef",
        "synergy7:a/b/1/0123456789abcdef",
    ],
)
def test_a_forged_or_broken_memo_is_none_of_ours(text: str) -> None:
    """What differs in any way from how we write is not counted."""
    assert parse_memo(text) is None
