"""Which recent blockhash is signed on, and for how long it lives."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.attempt import Blockhash
from app.solana.blockhash_ring import (
    BLOCK_SECONDS_DEFAULT,
    LIFE_BLOCKS,
    LIFE_BLOCKS_MIN,
    BlockhashRing,
)

SLOTS_AHEAD = 5_000


def blockhash(height: int, name: str = "") -> Blockhash:
    """Make the blockhash of the block at a height."""
    return Blockhash(f"hash{height}{name}", height + LIFE_BLOCKS, height + SLOTS_AHEAD)


def ring_of(heights: list[int], block_seconds: float = BLOCK_SECONDS_DEFAULT) -> BlockhashRing:
    """Make a ring that read these blocks when they came."""
    ring = BlockhashRing()
    for height in heights:
        ring.add(blockhash(height), height * block_seconds)
    return ring


def test_nothing_is_picked_before_anything_was_read() -> None:
    """An empty ring has nothing to sign on."""
    assert BlockhashRing().pick(60, 0) is None
    assert BlockhashRing().block_seconds() == BLOCK_SECONDS_DEFAULT


def test_the_nearest_life_at_or_above_the_wanted_one_is_picked() -> None:
    """One that expires soon after it is wanted to: a retry is quick."""
    ring = ring_of(list(range(1_000, 1_101)))
    now = 1_100 * BLOCK_SECONDS_DEFAULT
    assert ring.pick(60 * BLOCK_SECONDS_DEFAULT, now) == blockhash(1_010)
    assert ring.pick(59.5 * BLOCK_SECONDS_DEFAULT, now) == blockhash(1_010)


def test_the_newest_is_picked_when_none_lives_long_enough() -> None:
    """The most that there is."""
    assert ring_of([1_000, 1_100]).pick(300, 1_100 * BLOCK_SECONDS_DEFAULT) == blockhash(1_100)


def test_under_twenty_blocks_nothing_is_picked() -> None:
    """It could hardly land; twenty are enough."""
    ring = ring_of(list(range(1_000, 1_101)))
    now = 1_100 * BLOCK_SECONDS_DEFAULT
    assert ring.pick((LIFE_BLOCKS_MIN - 0.5) * BLOCK_SECONDS_DEFAULT, now) is None
    picked = ring.pick(LIFE_BLOCKS_MIN * BLOCK_SECONDS_DEFAULT, now)
    assert picked is not None


def test_time_that_passed_since_the_last_read_shortens_lives() -> None:
    """Blocks came meanwhile, though none was read."""
    ring = ring_of(list(range(1_000, 1_101)))
    late = 1_110 * BLOCK_SECONDS_DEFAULT
    assert ring.pick(60 * BLOCK_SECONDS_DEFAULT, late) == blockhash(1_020)


def test_after_a_start_lives_are_longer_never_shorter() -> None:
    """Only the newest block is known: it lives longest."""
    assert ring_of([1_000]).pick(30, 1_000 * BLOCK_SECONDS_DEFAULT) == blockhash(1_000)


def test_a_lagging_node_takes_nothing_back() -> None:
    """What is older than the newest is not taken in, and the same again changes nothing."""
    ring = ring_of([1_000, 1_100])
    for height in (1_050, 1_100):
        ring.add(blockhash(height), 1_200)
    now = 1_100 * BLOCK_SECONDS_DEFAULT
    assert ring.pick(90 * BLOCK_SECONDS_DEFAULT, now) == blockhash(1_100)
    assert ring.block_seconds() == pytest.approx(BLOCK_SECONDS_DEFAULT)


def test_another_block_of_the_same_height_takes_its_place() -> None:
    """A fork undid the one before: bytes signed on it would never land."""
    ring = ring_of([1_000])
    ring.add(blockhash(1_000, "b"), 1_000 * BLOCK_SECONDS_DEFAULT)
    assert ring.pick(30, 1_000 * BLOCK_SECONDS_DEFAULT) == blockhash(1_000, "b")


@pytest.mark.parametrize(
    ("real", "measured"), [(0.05, 0.05), (0.6, 0.6), (0.0001, 0.005), (60.0, 5.0)]
)
def test_block_time_is_measured_within_reason(real: float, measured: float) -> None:
    """From what was read, once it was enough; nonsense is bounded."""
    assert ring_of([1_000, 1_003], real).block_seconds() == BLOCK_SECONDS_DEFAULT
    assert ring_of([1_000, 1_004, 1_010], real).block_seconds() == pytest.approx(measured)


@given(
    steps=st.lists(st.integers(1, 30), min_size=1, max_size=60),
    block_seconds=st.floats(0.01, 2),
    wanted_blocks=st.floats(0.1, 200),
    silent_blocks=st.floats(0, 25),
)
def test_what_is_picked_was_read_and_no_other_fits_better(
    steps: list[int], block_seconds: float, wanted_blocks: float, silent_blocks: float
) -> None:
    """Never a computed last height; None exactly below twenty blocks; the nearest life at or above."""
    heights = [1_000]
    for step in steps:
        heights.append(heights[-1] + step)
    ring = ring_of(heights, block_seconds)
    each = ring.block_seconds()
    now = heights[-1] * block_seconds + silent_blocks * each
    seconds = wanted_blocks * each
    wanted = seconds / each
    picked = ring.pick(seconds, now)
    if wanted < LIFE_BLOCKS_MIN:
        assert picked is None
        return
    read = [blockhash(height) for height in heights]
    assert picked in read
    assert picked is not None
    height_now = heights[-1] + silent_blocks

    def life(one: Blockhash) -> float:
        return one.last_valid_block_height - height_now

    slack = 1e-6
    if life(picked) < wanted - slack:
        assert picked == read[-1]
    better = [one for one in read if wanted + slack <= life(one) < life(picked) - slack]
    kept = [one for one in better if one.last_valid_block_height > heights[-1] + LIFE_BLOCKS_MIN]
    assert kept == []
