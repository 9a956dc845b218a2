"""Reads over many orders: lists, the queue's figures, statistics."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, func, or_, select

from app.database.expressions import constant, exact_sum, summed
from app.database.reading import views_of
from app.database.tables import ORDERS
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
    return views_of(conn, conn.execute(_LIST.where(*conditions).limit(limit)).all())


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
    *exact_sum(ORDERS.c.fill_network_fee, "network"),
    *exact_sum(ORDERS.c.fill_priority_fee, "priority"),
    *exact_sum(ORDERS.c.fill_tip, "tip"),
    *exact_sum(ORDERS.c.ended_at_us - ORDERS.c.accepted_at_us, "time"),
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
        network_fees=summed(row, "network"),
        priority_fees=summed(row, "priority"),
        tips=summed(row, "tip"),
        seconds_total_us=summed(row, "time"),
    )


_COUNTS = select(ORDERS.c.status, func.count().label("orders")).group_by(ORDERS.c.status)
_OLDEST_QUEUED = select(func.min(ORDERS.c.accepted_at_us)).where(
    ORDERS.c.status == constant(OrderStatus.QUEUED)
)
_DOUBT = select(
    func.count().label("orders"), func.min(ORDERS.c.in_doubt_since_us).label("oldest")
).where(ORDERS.c.in_doubt_since_us.is_not(None))


def figures(conn: Connection) -> QueueFigures:
    """Count the queue of all accounts."""
    counted = {OrderStatus(row.status): row.orders for row in conn.execute(_COUNTS)}
    by_status = {status: counted.get(status, 0) for status in OrderStatus}
    doubt = conn.execute(_DOUBT).one()
    return QueueFigures(
        pending=by_status[OrderStatus.QUEUED],
        active=by_status[OrderStatus.EXECUTING] + by_status[OrderStatus.SUBMITTED],
        completed=sum(by_status[status] for status in FINAL_STATUSES),
        in_doubt=doubt.orders,
        by_status=by_status,
        oldest_queued_us=conn.scalar(_OLDEST_QUEUED),
        oldest_in_doubt_us=doubt.oldest,
    )


_CANCEL_REQUESTS = select(ORDERS.c.order_id, ORDERS.c.cancel_requested_at_us).where(
    ORDERS.c.order_id.in_(bindparam("ids", expanding=True))
)


def cancel_requests(conn: Connection, order_ids: Sequence[str]) -> Mapping[str, int | None]:
    """Give when a cancellation of each order was asked for, None while it was not."""
    rows = conn.execute(_CANCEL_REQUESTS, {"ids": list(order_ids)})
    return {row.order_id: row.cancel_requested_at_us for row in rows}
