"""The order in which units of one group run on PostgreSQL, so that no processes wait in a circle.

What waits for locks comes before what only skips them, and units of one kind go by the name of what they
lock. A unit takes locks of its own place, or of later ones.
"""

from typing import Final

Place = tuple[int, str]

WALLETS: Final = 0
KEYS: Final = 1
ORDERS: Final = 2
SYSTEM: Final[Place] = (3, "")
"""Whoever tells of the system itself, one at a time: see `trail.next_own_seq`."""
SKIPPING: Final[Place] = (4, "")
