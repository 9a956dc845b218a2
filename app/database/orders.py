"""SqlStore: the engine's Store on a database; each method is one unit of work or one read."""

import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import structlog
from sqlalchemy import Connection

from app.database import (
    attempts,
    chain,
    claims,
    cleanup,
    figures,
    intake,
    notices,
    reading,
    record,
    switches,
    trading,
    trail,
)
from app.database.addresses import address_of
from app.database.attempts import Storing
from app.database.claims import Holder
from app.database.engine import Database, open_database
from app.database.migrate import refuse_unmigrated
from app.database.places import KEYS, ORDERS, SEQUENCES, SKIPPING, SYSTEM, TRADING, WALLETS, Place
from app.database.sql_recovery import SqlRecovery
from app.database.trail import Head, Note
from app.domain.attempt import LanePlan, Signed
from app.domain.changes import Change
from app.domain.errors import IntakeError, StartupError
from app.domain.events import Event, EventKind
from app.domain.order import NewOrder, Order, OrderView
from app.engine.ports import (
    Accepted,
    Balances,
    CancelOutcome,
    Claimed,
    IntakeRefusal,
    LostLease,
    OrderFilter,
    QueueFigures,
    Shortage,
    StatisticsRow,
)
from app.engine.store_port import Halted, LiveProcess, MethodSwitches, TradingState

_log = structlog.get_logger(__name__)


class SqlStore:
    """Orders, attempts and events of one database, written as this process."""

    def __init__(self, database: Database, holder: Holder) -> None:
        """Take an open database, and who this process is."""
        self._database = database
        self._holder = holder
        self._figures = figures.Figures()
        self.recovery = SqlRecovery(database, holder)

    # ------------------------------------------------------------ intake

    async def accept(
        self, new: NewOrder, *, full: bool, rejection: tuple[str, str] | None = None
    ) -> Accepted | IntakeRefusal:
        def unit(conn: Connection) -> Accepted | IntakeRefusal:
            return intake.accept(conn, new, full=full, rejection=rejection)

        key = new.signal.client_order_id or new.idempotency_key or new.order_id
        return await self._database.write(unit, (SEQUENCES if new.in_sequence else KEYS, key))

    async def cancel(
        self, account: str, order_id: str, at_us: int
    ) -> tuple[CancelOutcome, Order | None]:
        def unit(conn: Connection) -> tuple[CancelOutcome, Order | None]:
            return intake.cancel(conn, account, order_id, at_us)

        return await self._database.write(unit, (ORDERS, order_id))

    # ------------------------------------------------------------ leases

    async def claim(
        self, limit: int, at_us: int, *, overdue_only: bool = False, live_only: bool = False
    ) -> Sequence[Claimed]:
        others = claims.claim_live if live_only else claims.claim
        take = claims.claim_overdue if overdue_only else others
        return await self._database.write(
            lambda conn: take(conn, self._holder, limit, at_us), SKIPPING
        )

    async def adopt(self, limit: int) -> Sequence[Claimed]:
        return await self._database.write(
            lambda conn: claims.adopt(conn, self._holder, limit), SKIPPING
        )

    async def take_over(self, account: str, order_id: str) -> Claimed | None:
        return await self._database.write(
            lambda conn: claims.take_over(conn, self._holder, account, order_id),
            (ORDERS, order_id),
        )

    async def disown(self, known: Mapping[str, int]) -> int:
        return await self._database.write(
            lambda conn: claims.disown(conn, self._holder, known), (ORDERS, "")
        )

    async def release(self, claimed: Claimed) -> None:
        await self._database.write(
            lambda conn: claims.release(conn, self._holder, claimed), _place(claimed)
        )

    async def reload(self, claimed: Claimed) -> Claimed | LostLease:
        """Read a held order as it is after every earlier write of this process."""
        return await self._database.write(
            lambda conn: claims.reload(conn, self._holder, claimed), _place(claimed)
        )

    def trouble(self) -> str | None:
        """Say what the database cannot do now, and why; None: it serves."""
        return self._database.health.trouble()

    async def heartbeat(self) -> bool:
        """Renew the lease: it is not to be lost because much else waits to be written."""
        return await self._database.write_at_once(lambda conn: claims.heartbeat(conn, self._holder))

    async def processes(self) -> Sequence[LiveProcess]:
        """List the processes that work on this database now, oldest first."""
        return await self._database.read(claims.live_processes)

    async def listen(self, wake: Callable[[], None]) -> None:
        """Call `wake` when another process has new work, until cancelled (SQLite: never)."""
        await notices.listen(self._database.address, wake)

    # ------------------------------------------------------------ a held order

    async def store_attempt(
        self,
        claimed: Claimed,
        signed: Signed,
        plan: LanePlan,
        *,
        balances: Balances,
        reserve_lamports: int,
        at_us: int,
    ) -> Claimed | LostLease | Shortage | Halted:
        storing = Storing(
            claimed=claimed,
            signed=signed,
            plan=plan,
            balances=balances,
            reserve_lamports=reserve_lamports,
            at_us=at_us,
        )
        order = claimed.view.order
        return await self._database.write(
            lambda conn: attempts.store_attempt(conn, self._holder.process_id, storing),
            (WALLETS, f"{order.wallet} {order.order_id}"),
        )

    async def record(self, claimed: Claimed, *changes: Change) -> Claimed | LostLease:
        return await self._database.write(
            lambda conn: record.record(conn, self._holder.process_id, claimed, changes),
            _place(claimed),
        )

    # ------------------------------------------------------------ reads

    async def view(self, account: str, order_id: str) -> OrderView | None:
        return await self._database.read(lambda conn: reading.view(conn, account, order_id))

    async def refresh(self, order_ids: Sequence[str]) -> Mapping[str, int | None]:
        return await self._database.read(lambda conn: figures.cancel_requests(conn, order_ids))

    async def orders(
        self, which: OrderFilter, *, limit: int, before: tuple[int, str] | None
    ) -> Sequence[OrderView]:
        return await self._database.read(lambda conn: figures.orders(conn, which, limit, before))

    async def statistics(self, which: OrderFilter) -> Sequence[StatisticsRow]:
        return await self._database.read(lambda conn: figures.statistics(conn, which))

    async def figures(self) -> QueueFigures:
        return await self._database.read(self._figures.read)

    # ------------------------------------------------------------ the audit trail

    async def events(
        self, *, account: str, order_id: str | None, after: int, limit: int
    ) -> Sequence[Event]:
        def query(conn: Connection) -> Sequence[Event]:
            if order_id is None:
                return trail.of_account(conn, account, after, limit)
            return trail.of_order(conn, account, order_id, after, limit)

        return await self._database.read(query)

    async def trail(self, *, after: int, limit: int) -> Sequence[Event]:
        """Read the sealed events of all accounts after a position: for metrics and verification."""
        return await self._database.read(lambda conn: trail.of_all(conn, after, limit))

    async def histories(self, order_ids: Sequence[str]) -> Mapping[str, Sequence[Event]]:
        """Read all sealed events of some orders, each order's oldest first; unknown ones are left out."""
        return await self._database.read(lambda conn: trail.of_orders(conn, order_ids))

    async def trail_end(self) -> int:
        """Give the position of the newest event ever sealed, 0 before the first."""
        return (await self._database.read(trail.head)).position

    async def trail_start(self) -> Head:
        """Give position and hash before the first event that is still kept."""
        return await self._database.read(trail.checkpoint)

    async def seal(self, limit: int) -> int:
        return await self._database.write(lambda conn: trail.seal(conn, limit), SKIPPING)

    # ------------------------------------------------------------ the system itself

    async def note(self, kind: EventKind, data: Mapping[str, object], at_us: int) -> None:
        def unit(conn: Connection) -> None:
            trail.append_own(conn, trail.next_own_seq(conn), Note(kind, at_us, data))

        await self._database.write(unit, SYSTEM)

    async def switch_method(self, name: str, *, disabled: bool, at_us: int) -> bool:
        return await self._database.write(
            lambda conn: switches.switch(conn, name, at_us, disabled=disabled), SYSTEM
        )

    async def reset_method(self, name: str, at_us: int) -> str:
        return await self._database.write(lambda conn: switches.reset(conn, name, at_us), SYSTEM)

    async def method_switches(self) -> MethodSwitches:
        return await self._database.read(switches.read)

    async def trading_state(self) -> TradingState:
        return await self._database.read(trading.read)

    async def halt(self, reason: str | None, at_us: int) -> TradingState:
        return await self._database.write(lambda conn: trading.halt(conn, reason, at_us), TRADING)

    async def resume(self, at_us: int) -> TradingState:
        return await self._database.write(lambda conn: trading.resume(conn, at_us), SYSTEM)

    # ------------------------------------------------------------ the database as a whole

    async def bind_chain(self, network: str, genesis_hash: str) -> None:
        """Tie the database to a chain, once; raises StartupError(DATABASE_OTHER_CHAIN) for another."""
        name = str(self._database.address)
        await self._database.write(lambda conn: chain.bind(conn, name, network, genesis_hash))

    async def prune(
        self, *, before_us: int, at_us: int, keep_after: int | None = None
    ) -> cleanup.Pruned:
        """Remove settled orders that ended before `before_us`, in small batches, then their events.

        Events after position `keep_after` are kept (None: no bound), so that nobody who reads the trail
        is left behind.
        """
        return await cleanup.prune(
            self._database, before_us=before_us, at_us=at_us, keep_after=keep_after
        )


def _place(claimed: Claimed) -> Place:
    return ORDERS, claimed.view.order.order_id


@asynccontextmanager
async def open_store(url: str, *, process_name: str, pool_size: int = 5) -> AsyncIterator[SqlStore]:
    """Open a migrated orders database (a path, `sqlite:///path` or `postgresql://...`) as a process.

    On the way out this process's leases end at once. Raises StartupError: DATABASE_LOCKED,
    DATABASE_UNREACHABLE, DATABASE_NOT_MIGRATED, DATABASE_NEWER, DATABASE_NOT_DURABLE, ...
    """
    address = address_of(url)
    async with open_database(address, pool_size=pool_size) as database:
        await refuse_unmigrated(database, "orders")
        holder = Holder(str(uuid.uuid4()), process_name)
        alone = database.single_process
        try:
            await database.write(lambda conn: claims.register(conn, holder, alone=alone))
        except IntakeError as error:
            what = f"{address} {database.health.trouble() or 'cannot be written'}"
            raise StartupError("DATABASE_UNREACHABLE", what, "look at the database") from error
        try:
            yield SqlStore(database, holder)
        finally:
            await _leave(database, holder)


async def _leave(database: Database, holder: Holder) -> None:
    try:
        await database.write(lambda conn: claims.leave(conn, holder))
    except IntakeError as error:
        # the lease runs out by itself, and an orderly end must not fail for it
        _log.warning("the lease could not be ended", why=str(error))
