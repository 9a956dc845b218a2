"""The sealed trail of a database that is open for reading, as the execution metrics follow it."""

from collections.abc import Mapping, Sequence

from app.database import trail
from app.database.engine import Database
from app.database.trail import Head
from app.domain.events import Event


class TrailReader:
    """Reads sealed events of all accounts."""

    def __init__(self, database: Database) -> None:
        """Take an open database."""
        self._database = database

    async def trail(self, *, after: int, limit: int) -> Sequence[Event]:
        """Read the sealed events after a position, oldest first."""
        return await self._database.read(lambda conn: trail.of_all(conn, after, limit))

    async def histories(self, order_ids: Sequence[str]) -> Mapping[str, Sequence[Event]]:
        """Read all sealed events of some orders, each order's oldest first."""
        return await self._database.read(lambda conn: trail.of_orders(conn, order_ids))

    async def trail_end(self) -> int:
        """Give the position of the newest event ever sealed, 0 before the first."""
        return (await self._database.read(trail.head)).position

    async def start(self) -> Head:
        """Give position and hash before the first event that is still kept."""
        return await self._database.read(trail.checkpoint)
