"""Identifiers sort by time and are never the same."""

import time
import uuid

from app.bootstrap.clock import DRAW_COUNT, Uuid7


def test_identifiers_are_uuids_of_version_7_made_now() -> None:
    """Version, variant and milliseconds stand where RFC 9562 puts them."""
    before = time.time_ns() // 1_000_000
    made = uuid.UUID(Uuid7()())
    after = time.time_ns() // 1_000_000
    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert before <= made.int >> 80 <= after


def test_identifiers_differ_over_many_draws() -> None:
    """The random part is used up before more is drawn, and never used twice."""
    new_id = Uuid7()
    made = [uuid.UUID(new_id()).int for _ in range(5 * DRAW_COUNT + 1)]
    random_bits = {(each >> 64 & 0xFFF, each & (2**62 - 1)) for each in made}
    assert len(random_bits) == len(made)
    assert [each >> 80 for each in made] == sorted(each >> 80 for each in made)


def test_two_makers_share_nothing() -> None:
    """Two processes do not make the same identifiers."""
    one, other = Uuid7(), Uuid7()
    assert not {one() for _ in range(100)} & {other() for _ in range(100)}
