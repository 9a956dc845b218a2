"""Identifiers that sort by time."""

import uuid

from app.bootstrap.clock import SystemClock, Uuid7

MILLISECONDS_SHIFT = 80


def test_ids_are_uuids_of_version_7_with_the_time_in_front() -> None:
    """RFC 9562: 48 bits of milliseconds, version 7, variant 10, and the rest at random."""
    before = SystemClock().now_us() // 1_000
    new_id = Uuid7()
    ids = [uuid.UUID(new_id()) for _ in range(1_000)]
    after = SystemClock().now_us() // 1_000
    assert {each.version for each in ids} == {7}
    assert {each.variant for each in ids} == {uuid.RFC_4122}
    times = [each.int >> MILLISECONDS_SHIFT for each in ids]
    assert times == sorted(times)
    assert before <= times[0] <= times[-1] <= after
    assert len(set(ids)) == len(ids)
