"""The order in which units of one group run on PostgreSQL, so that no processes wait in a circle.

What waits for locks comes before what only skips them, and units of one kind go by the name of what they
lock. A unit takes locks of its own place, or of later ones.
"""

from typing import Final

Place = tuple[int, str]

TRADING: Final[Place] = (0, "")
"""Whoever halts trading: the lock that it takes keeps every STORE waiting, see `trading.halt`."""
WALLETS: Final = 1
SEQUENCES: Final = 2
"""Orders that keep their sequence are taken in one at a time: see `intake.accept`."""
KEYS: Final = 3
ORDERS: Final = 4
SYSTEM: Final[Place] = (5, "")
"""Whoever tells of the system itself, one at a time: see `trail.next_own_seq`."""
SKIPPING: Final[Place] = (6, "")
