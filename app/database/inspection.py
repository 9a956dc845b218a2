"""Reads a whole orders database page by page, each page one consistent snapshot, for verification."""

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, exists, func, select

from app.database import trail
from app.database.addresses import address_of
from app.database.engine import Database, open_for_reading, unreachable
from app.database.migrate import refuse_unmigrated
from app.database.reading import views_of
from app.database.rows import event_of
from app.database.tables import ATTEMPTS, EVENTS, META, ORDERS
from app.domain.errors import IntakeError
from app.domain.events import SYSTEM, Event, EventKind
from app.domain.order import OrderStatus, OrderView
from app.engine.verification_port import KeptAttempt, KeptOrder, TrailPage

PAGE_ORDERS: Final = 200
PAGE_EVENTS: Final = 1_000
UNREADABLE: Final = (ValueError, KeyError, TypeError, ArithmeticError)
"""What reading a row raises that nobody of ours wrote."""

_ORDERS = (
    select(ORDERS)
    .where(ORDERS.c.order_id > bindparam("after"))
    .order_by(ORDERS.c.order_id)
    .limit(PAGE_ORDERS)
)
_EVENTS = (
    select(EVENTS)
    .where(EVENTS.c.order_id.in_(bindparam("ids", expanding=True)))
    .order_by(EVENTS.c.order_id, EVENTS.c.seq)
)
_SEALED = (
    select(EVENTS)
    .where(EVENTS.c.position > bindparam("after"))
    .order_by(EVENTS.c.position)
    .limit(PAGE_EVENTS)
)
# Orders that only the trail knows: lost, or removed by a clean-up that has not come to their events yet.
_ORPHANS = (
    select(EVENTS.c.order_id)
    .where(
        EVENTS.c.order_id > bindparam("after"),
        EVENTS.c.order_id != SYSTEM,
        ~exists().where(ORDERS.c.order_id == EVENTS.c.order_id),
    )
    .group_by(EVENTS.c.order_id)
    .order_by(EVENTS.c.order_id)
    .limit(PAGE_ORDERS)
)
_UNSEALED = select(func.count()).where(EVENTS.c.position.is_(None))
_WALLETS = select(ATTEMPTS.c.wallet).distinct().order_by(ATTEMPTS.c.wallet)
_BEGINNING = select(func.min(ATTEMPTS.c.blockhash_slot)).where(
    ATTEMPTS.c.wallet == bindparam("wallet")
)
_BY_SIGNATURE = (
    select(
        ATTEMPTS.c.signature,
        ATTEMPTS.c.order_id,
        ATTEMPTS.c.number,
        ATTEMPTS.c.status.label("attempt_status"),
        ORDERS.c.status,
    )
    .join(ORDERS, ORDERS.c.order_id == ATTEMPTS.c.order_id)
    .where(ATTEMPTS.c.signature.in_(bindparam("signatures", expanding=True)))
)
_GENESIS = select(META.c.value).where(META.c.name == "genesis_hash")


class Inspection:
    """The `Kept` port of verification on a database."""

    def __init__(self, database: Database) -> None:
        """Take a database that is open for reading."""
        self._database = database

    async def genesis_hash(self) -> str | None:
        """Give the chain that the orders belong to, None before that is known."""
        return await self._database.read(lambda conn: conn.scalar(_GENESIS))

    async def trail(self, after: int) -> TrailPage:
        def query(conn: Connection) -> TrailPage:
            start = trail.checkpoint(conn)
            values = {"after": max(after, start.position)}
            events = [_event(row) for row in conn.execute(_SEALED, values)]
            return TrailPage(start.position, start.hash, tuple(events))

        return await self._database.read(query)

    async def unsealed(self) -> int:
        return await self._database.read(lambda conn: conn.scalar(_UNSEALED) or 0)

    async def orders(self, after: str) -> Sequence[KeptOrder]:
        def query(conn: Connection) -> Sequence[KeptOrder]:
            rows = conn.execute(_ORDERS, {"after": after}).all()
            events = _events(conn, [row.order_id for row in rows])
            try:
                views: Sequence[OrderView | None] = views_of(conn, rows)
            except UNREADABLE:
                views = [_view(conn, row) for row in rows]
            return [
                KeptOrder(row.order_id, view, row.event_seq, tuple(events[row.order_id]))
                for row, view in zip(rows, views, strict=True)
            ]

        return await self._database.read(query)

    async def orphans(self, after: str) -> Sequence[Sequence[Event]]:
        def query(conn: Connection) -> Sequence[Sequence[Event]]:
            ids = list(conn.scalars(_ORPHANS, {"after": after}))
            return list(_events(conn, ids).values())

        return await self._database.read(query)

    async def wallets(self) -> Sequence[tuple[str, int]]:
        def query(conn: Connection) -> Sequence[tuple[str, int]]:
            wallets = list(conn.scalars(_WALLETS))
            return [(each, conn.scalar(_BEGINNING, {"wallet": each}) or 0) for each in wallets]

        return await self._database.read(query)

    async def attempts(self, signatures: Sequence[str]) -> Sequence[KeptAttempt]:
        def query(conn: Connection) -> Sequence[KeptAttempt]:
            rows = conn.execute(_BY_SIGNATURE, {"signatures": list(signatures)})
            return [_kept(row) for row in rows]

        return await self._database.read(query)


def _view(conn: Connection, row: Row[Any]) -> OrderView | None:
    try:
        return views_of(conn, [row])[0]
    except UNREADABLE:
        return None


def _events(conn: Connection, ids: Sequence[str]) -> dict[str, list[Event]]:
    found: dict[str, list[Event]] = defaultdict(list)
    for row in conn.execute(_EVENTS, {"ids": list(ids)}) if ids else ():
        found[row.order_id].append(_event(row))
    return found


def _event(row: Row[Any]) -> Event:
    """Read an event; one that is none any more has nothing to tell, and fits no hash."""
    try:
        return event_of(row)
    except UNREADABLE:
        return Event(
            order_id=row.order_id,
            seq=row.seq,
            at_us=row.at_us,
            kind=EventKind.CHECKPOINT,
            data={"unreadable": True},
            position=row.position,
            hash=row.hash,
        )


def _kept(row: Any) -> KeptAttempt:  # noqa: ANN401 - a row of the statement above
    return KeptAttempt(
        signature=row.signature,
        order_id=row.order_id,
        number=row.number,
        landed=row.attempt_status == "landed",
        order_status=OrderStatus(row.status),
    )


@asynccontextmanager
async def open_inspection(url: str) -> AsyncIterator[Inspection]:
    """Open an orders database for reading only, whoever works on it.

    Raises StartupError: DATABASE_UNREACHABLE, DATABASE_NOT_MIGRATED, DATABASE_NEWER, DATABASE_FOREIGN.
    """
    async with open_for_reading(address_of(url)) as database:
        try:
            await refuse_unmigrated(database, "orders")
        except IntakeError as error:
            raise unreachable(database.address, error) from error
        yield Inspection(database)
