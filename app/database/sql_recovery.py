"""SqlRecovery: the RecoveryStore on a database; each method is one unit of work or one read."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from sqlalchemy import Connection

from app.database import contradictions, lost_fills, lost_orders, recovery
from app.database.claims import Holder
from app.database.engine import Database
from app.database.groups import Unit
from app.database.places import ORDERS, SYSTEM, Place
from app.domain.attempt import AttemptStatus
from app.domain.changes import Change
from app.domain.order import OrderView
from app.engine.recovery_port import Mark, Newest, Recovered

T = TypeVar("T")


class SqlRecovery:
    """What reconciliation writes, as this process."""

    def __init__(self, database: Database, holder: Holder) -> None:
        """Take an open database, and who this process is."""
        self._database = database
        self._holder = holder

    async def begin(self) -> Mark | None:
        return await self._database.write(lambda conn: recovery.begin(conn, self._holder), SYSTEM)

    async def _write(self, unit: Unit[T], place: Place) -> T:
        """Write as the process that has the mark: one that lost it writes nothing any more."""

        def fenced(conn: Connection) -> T:
            recovery.demand_mark(conn, self._holder)
            return unit(conn)

        return await self._database.write(fenced, place)

    async def newest(self) -> Newest:
        return await self._database.read(recovery.newest)

    async def note_height(self, until_height: int) -> Mark:
        return await self._write(
            lambda conn: recovery.note_height(conn, self._holder, until_height), SYSTEM
        )

    async def wallets(self) -> Sequence[str]:
        return await self._database.read(recovery.wallets)

    async def known(self, signatures: Sequence[str]) -> Mapping[str, tuple[str, AttemptStatus]]:
        return await self._database.read(lambda conn: recovery.known(conn, signatures))

    async def order(self, order_id: str) -> OrderView | None:
        return await self._database.read(lambda conn: recovery.order(conn, order_id, lock=False))

    async def recover_order(self, lost: Recovered, account: str, at_us: int) -> int | None:
        return await self._write(
            lambda conn: lost_orders.recover_order(conn, lost, account, at_us),
            (ORDERS, lost.memo.order_id),
        )

    async def recover_attempt(self, lost: Recovered, burial: Sequence[Change], at_us: int) -> bool:
        return await self._write(
            lambda conn: recovery.recover_attempt(conn, self._holder, lost, burial, at_us),
            (ORDERS, lost.memo.order_id),
        )

    async def recover_fill(self, lost: Recovered, at_us: int) -> bool:
        return await self._write(
            lambda conn: lost_fills.recover_fill(conn, lost, at_us), (ORDERS, lost.memo.order_id)
        )

    async def contradict(self, order_id: str, signature: str, slot: int, at_us: int) -> bool:
        return await self._write(
            lambda conn: contradictions.contradict(conn, order_id, signature, slot, at_us),
            (ORDERS, order_id),
        )

    async def note_failure(self, lost: Recovered, at_us: int) -> bool:
        return await self._write(
            lambda conn: contradictions.note_failure(conn, lost, at_us), SYSTEM
        )

    async def requeue_bare(self, first_slot: int, at_us: int) -> tuple[int, int]:
        return await self._write(
            lambda conn: recovery.requeue_bare(conn, first_slot, at_us), (ORDERS, "")
        )

    async def reconciled(self, tally: Mapping[str, object], at_us: int) -> None:
        await self._write(lambda conn: recovery.reconciled(conn, tally, at_us), SYSTEM)
