"""The real clock, and identifiers that sort by time."""

import asyncio
import os
import time
import uuid
from collections.abc import Iterator
from typing import Final

RANDOM_BYTES: Final = 10
DRAW_COUNT: Final = 256


class SystemClock:
    """The `Clock` port on this machine's clocks."""

    def now_us(self) -> int:
        """See the port."""
        return time.time_ns() // 1_000

    def monotonic(self) -> float:
        """See the port."""
        return asyncio.get_running_loop().time()


class Uuid7:
    """Makes UUIDv7 texts (RFC 9562): 48 bits of milliseconds, 74 random bits.

    The system's randomness is drawn for many at a time: each draw hands the interpreter to another
    thread, which costs more than the identifier.
    """

    def __init__(self) -> None:
        """Nothing is drawn yet."""
        self._drawn: Iterator[bytes] = iter(())

    def __call__(self) -> str:
        """Give the next identifier."""
        milliseconds = time.time_ns() // 1_000_000
        bits = int.from_bytes(next(self._drawn, None) or self._draw(), "big")
        value = (milliseconds & (2**48 - 1)) << 80
        value |= 0x7 << 76 | (bits >> 68 & 0xFFF) << 64
        value |= 0x2 << 62 | bits & (2**62 - 1)
        return str(uuid.UUID(int=value))

    def _draw(self) -> bytes:
        drawn = os.urandom(RANDOM_BYTES * DRAW_COUNT)
        parts = [drawn[at : at + RANDOM_BYTES] for at in range(0, len(drawn), RANDOM_BYTES)]
        self._drawn = iter(parts[1:])
        return parts[0]
