"""Recent blockhashes by remaining life, and the measured block time."""

from collections import deque
from dataclasses import dataclass
from typing import Final

from app.domain.attempt import Blockhash

LIFE_BLOCKS: Final = 150
"""Blocks for which a blockhash is valid: lastValidBlockHeight is this far above its block."""
LIFE_BLOCKS_MIN: Final = 20
"""Under this wanted life nothing is signed: it could hardly land before it expires."""
BLOCK_SECONDS_DEFAULT: Final = 0.4
"""Assumed block time until one is measured."""
_BLOCK_SECONDS_BOUNDS: Final = (0.005, 5.0)
_MEASURED_BLOCKS_MIN: Final = 4


@dataclass(frozen=True, slots=True)
class _Entry:
    blockhash: Blockhash
    read_at: float


class BlockhashRing:
    """The blockhashes read in the last 150 blocks, each with the lastValidBlockHeight that came with it."""

    def __init__(self) -> None:
        """Start empty: after a start lives are longer, never shorter."""
        self._entries: deque[_Entry] = deque()

    def add(self, blockhash: Blockhash, now: float) -> None:
        """Take the newest blockhash; one that goes backwards (a lagging node) is not taken."""
        newest = self._entries[-1].blockhash if self._entries else None
        if (
            newest is not None
            and blockhash.last_valid_block_height < newest.last_valid_block_height
        ):
            return
        if newest is not None and blockhash.blockhash == newest.blockhash:
            return
        if (
            newest is not None
            and blockhash.last_valid_block_height == newest.last_valid_block_height
        ):
            self._entries.pop()  # another block of this height: a fork undid the one before
        self._entries.append(_Entry(blockhash, now))
        height = blockhash.last_valid_block_height - LIFE_BLOCKS
        while self._entries[0].blockhash.last_valid_block_height <= height + LIFE_BLOCKS_MIN:
            self._entries.popleft()

    def block_seconds(self) -> float:
        """Give the measured time of a block, or the assumed one while too little was seen."""
        if not self._entries:
            return BLOCK_SECONDS_DEFAULT
        first, last = self._entries[0], self._entries[-1]
        blocks = last.blockhash.last_valid_block_height - first.blockhash.last_valid_block_height
        if blocks < _MEASURED_BLOCKS_MIN:
            return BLOCK_SECONDS_DEFAULT
        low, high = _BLOCK_SECONDS_BOUNDS
        return min(max((last.read_at - first.read_at) / blocks, low), high)

    def pick(self, life_seconds: float, now: float) -> Blockhash | None:
        """Give the blockhash whose remaining life is nearest at or above the wanted one, else the newest.

        None when the wanted life is under 20 blocks, or nothing was read yet.
        """
        wanted = life_seconds / self.block_seconds()
        if wanted < LIFE_BLOCKS_MIN or not self._entries:
            return None
        newest = self._entries[-1]
        height = newest.blockhash.last_valid_block_height - LIFE_BLOCKS
        height_now = height + (now - newest.read_at) / self.block_seconds()
        for entry in self._entries:
            if entry.blockhash.last_valid_block_height - height_now >= wanted:
                return entry.blockhash
        return newest.blockhash
