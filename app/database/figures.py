"""Reads over many orders: lists, the queue's figures, statistics."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    bindparam,
    func,
    literal_column,
    or_,
    select,
)

from app.database.expressions import constant, exact_sum, summed
from app.database.reading import views_of
from app.database.sequence import with_turns
from app.database.tables import ACTIVE, ORDERS
from app.domain.order import FINAL_STATUSES, OrderStatus, OrderView
from app.engine.ports import OrderFilter, QueueFigures, StatisticsRow

_LIST = select(ORDERS).order_by(ORDERS.c.accepted_at_us.desc(), ORDERS.c.order_id.desc())


def orders(
    conn: Connection, which: OrderFilter, limit: int, before: tuple[int, str] | None
) -> Sequence[OrderView]:
    """List orders newest first, before (accepted_at_us, order_id): new orders never shift a cursor."""
    conditions = _conditions(which)
    if before is not None:
        at_us, order_id = before
        earlier = and_(ORDERS.c.accepted_at_us == at_us, ORDERS.c.order_id < order_id)
        conditions += [
            ORDERS.c.accepted_at_us <= at_us,
            or_(ORDERS.c.accepted_at_us < at_us, earlier),
        ]
    rows = conn.execute(_LIST.where(*conditions).limit(limit)).all()
    return with_turns(conn, views_of(conn, rows))


def _conditions(which: OrderFilter) -> list[ColumnElement[bool]]:
    conditions = [ORDERS.c.account == which.account]
    equal = {
        "status": which.status.value if which.status is not None else None,
        "market": which.market,
        "action": which.action,
        "strategy": which.strategy,
        "client_order_id": which.client_order_id,
    }
    conditions += [ORDERS.c[name] == value for name, value in equal.items() if value is not None]
    if which.from_us is not None:
        conditions.append(ORDERS.c.accepted_at_us >= which.from_us)
    if which.to_us is not None:
        conditions.append(ORDERS.c.accepted_at_us < which.to_us)
    return conditions


_KEY = (
    ORDERS.c.status,
    ORDERS.c.market,
    ORDERS.c.action,
    ORDERS.c.strategy,
    ORDERS.c.fill_method,
    ORDERS.c.reason_code,
)
_STATISTICS = select(
    *_KEY,
    func.count().label("orders"),
    *exact_sum(ORDERS.c.fill_base_amount, "base"),
    *exact_sum(ORDERS.c.fill_quote_amount, "quote"),
    # all lamports there are, and all microseconds of an age, fit into 64 bits
    func.sum(ORDERS.c.fill_network_fee).label("network"),
    func.sum(ORDERS.c.fill_priority_fee).label("priority"),
    func.sum(ORDERS.c.fill_tip).label("tip"),
    func.sum(ORDERS.c.ended_at_us - ORDERS.c.accepted_at_us).label("time"),
).group_by(*_KEY)


def statistics(conn: Connection, which: OrderFilter) -> Sequence[StatisticsRow]:
    """Group orders by status, market, action, strategy, method and reason, and add up their figures."""
    rows = conn.execute(_STATISTICS.where(*_conditions(which)))
    found = [_statistics_row(row) for row in rows]
    return sorted(found, key=lambda row: (row.status, row.market, row.action, row.strategy or ""))


def _statistics_row(row: Any) -> StatisticsRow:  # noqa: ANN401 - a row of the statement above
    return StatisticsRow(
        status=OrderStatus(row.status),
        market=row.market,
        action=row.action,
        strategy=row.strategy,
        method=row.fill_method,
        reason=row.reason_code,
        orders=row.orders,
        base_amount=summed(row, "base"),
        quote_amount=summed(row, "quote"),
        network_fees=int(row.network or 0),
        priority_fees=int(row.priority or 0),
        tips=int(row.tip or 0),
        seconds_total_us=int(row.time or 0),
    )


_FINISHED = (
    select(ORDERS.c.status, func.count().label("orders"))
    .where(ORDERS.c.status.in_([status.value for status in FINAL_STATUSES]))
    .group_by(ORDERS.c.status)
)
# every rank is 0 or more: said so that SQLite takes the queue's own index
_QUEUED = select(
    func.count().label("orders"), func.min(ORDERS.c.accepted_at_us).label("oldest")
).where(ORDERS.c.status == constant(OrderStatus.QUEUED), ORDERS.c.queue_rank >= 0)
_ACTIVE = (
    select(ORDERS.c.status, func.count().label("orders"))
    .where(literal_column(ACTIVE))
    .group_by(ORDERS.c.status)
)
_DOUBT = select(
    func.count().label("orders"), func.min(ORDERS.c.in_doubt_since_us).label("oldest")
).where(ORDERS.c.in_doubt_since_us.is_not(None))
CHEAP: Final = 0.005
"""A count that takes no longer, in seconds, is made anew each time."""
_SHARE: Final = 20
"""Counting what is finished may take one part in so many of the time."""


class Figures:
    """Counts of the queue: what is unfinished anew each time, what is finished as often as it is cheap.

    Finished orders grow without bound, and counting them reads them all: with a million of them the
    count may be some seconds old, with a thousand it never is.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Begin without a count; `monotonic` gives seconds."""
        self._monotonic = monotonic
        self._finished: Mapping[OrderStatus, int] = {}
        self._again_at = float("-inf")

    def read(self, conn: Connection) -> QueueFigures:
        """Count the queue of all accounts."""
        queued, doubt = conn.execute(_QUEUED).one(), conn.execute(_DOUBT).one()
        counted = {OrderStatus.QUEUED: queued.orders, **_counts(conn.execute(_ACTIVE))}
        by_status = {status: counted.get(status, 0) for status in OrderStatus}
        by_status |= self._count_finished(conn)
        return QueueFigures(
            pending=by_status[OrderStatus.QUEUED],
            active=by_status[OrderStatus.EXECUTING] + by_status[OrderStatus.SUBMITTED],
            completed=sum(by_status[status] for status in FINAL_STATUSES),
            in_doubt=doubt.orders,
            by_status=by_status,
            oldest_queued_us=queued.oldest,
            oldest_in_doubt_us=doubt.oldest,
        )

    def _count_finished(self, conn: Connection) -> Mapping[OrderStatus, int]:
        started = self._monotonic()
        if started >= self._again_at:
            self._finished = _counts(conn.execute(_FINISHED))
            ended = self._monotonic()
            self._again_at = (
                ended + _SHARE * (ended - started) if ended - started > CHEAP else ended
            )
        return self._finished


def _counts(rows: Iterable[Row[Any]]) -> dict[OrderStatus, int]:
    return {OrderStatus(row.status): row.orders for row in rows}


_CANCEL_REQUESTS = select(ORDERS.c.order_id, ORDERS.c.cancel_requested_at_us).where(
    ORDERS.c.order_id.in_(bindparam("ids", expanding=True))
)


def cancel_requests(conn: Connection, order_ids: Sequence[str]) -> Mapping[str, int | None]:
    """Give when a cancellation of each order was asked for, None while it was not."""
    rows = conn.execute(_CANCEL_REQUESTS, {"ids": list(order_ids)})
    return {row.order_id: row.cancel_requested_at_us for row in rows}
