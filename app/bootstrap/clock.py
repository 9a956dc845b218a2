"""The real clock, and identifiers that sort by time."""

import asyncio
import os
import time
import uuid


class SystemClock:
    """The `Clock` port on this machine's clocks."""

    def now_us(self) -> int:
        """See the port."""
        return time.time_ns() // 1_000

    def monotonic(self) -> float:
        """See the port."""
        return asyncio.get_running_loop().time()


def uuid7() -> str:
    """Make a UUIDv7 (RFC 9562): 48 bits of milliseconds, 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    random_bits = int.from_bytes(os.urandom(10), "big")
    value = (milliseconds & (2**48 - 1)) << 80
    value |= 0x7 << 76 | (random_bits >> 68 & 0xFFF) << 64
    value |= 0x2 << 62 | random_bits & (2**62 - 1)
    return str(uuid.UUID(int=value))
