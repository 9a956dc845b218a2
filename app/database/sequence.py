"""Orders that keep their sequence: opposite ones of a wallet and market do not overtake each other.

The sequence is that of `accepted_at_us`, then of the order's id. Clocks of several processes differ, and
a clock may be set back, so intake makes the times of opposite orders grow in the order of their commits.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    bindparam,
    case,
    func,
    literal_column,
    or_,
    select,
    text,
    tuple_,
)

from app.database.expressions import constant
from app.database.running import fetch_value
from app.database.tables import IN_SEQUENCE, OPEN, ORDERS
from app.domain.errors import ReasonCode
from app.domain.order import NewOrder, OrderStatus, OrderView
from app.domain.signal import Action

SEQUENCE_LOCK: Final = 7_305_005
"""Key of the advisory lock that lets one such order in at a time on PostgreSQL."""

_EARLIER = ORDERS.alias("earlier")


def _opposite(action: ColumnElement[Any]) -> ColumnElement[Any]:
    buy, sell = constant(Action.BUY), constant(Action.SELL)
    return case((action == buy, sell), else_=buy)


# The first opposite order that is earlier and open, in whatever state: backing off, in doubt. It is asked
# for of orders that keep their sequence only. Its order by the index makes that one step: without it,
# PostgreSQL may think that reading the whole table finds one sooner.
_WAITED_FOR = (
    select(_EARLIER.c.order_id)
    .where(
        _EARLIER.c.wallet == ORDERS.c.wallet,
        _EARLIER.c.market == ORDERS.c.market,
        _EARLIER.c.action == _opposite(ORDERS.c.action),
        tuple_(_EARLIER.c.accepted_at_us, _EARLIER.c.order_id)
        < tuple_(ORDERS.c.accepted_at_us, ORDERS.c.order_id),
        literal_column(f"earlier.in_sequence AND earlier.{OPEN}"),
    )
    .order_by(_EARLIER.c.accepted_at_us, _EARLIER.c.order_id)
    .limit(literal_column("1"))
    .correlate(ORDERS)
    .scalar_subquery()
)
ITS_TURN: Final = or_(~ORDERS.c.in_sequence, _WAITED_FOR.is_(None))
"""What must hold of a queued order that is claimed."""

_FIRST = select(ORDERS.c.order_id, _WAITED_FOR.label("earlier")).where(
    ORDERS.c.order_id.in_(bindparam("ids", expanding=True))
)


def with_turns(conn: Connection, views: Sequence[OrderView]) -> Sequence[OrderView]:
    """Say of queued orders that wait their turn what the first order is that they wait for."""
    ids = [
        view.order.order_id
        for view in views
        if view.order.in_sequence and view.order.status is OrderStatus.QUEUED
    ]
    if not ids:
        return views
    earlier = {row.order_id: row.earlier for row in conn.execute(_FIRST, {"ids": ids})}
    return [_telling(view, earlier.get(view.order.order_id)) for view in views]


def _telling(view: OrderView, earlier: str | None) -> OrderView:
    if earlier is None:
        return view
    what = f"it waits for the end of {earlier}, opposite and earlier"
    return replace(view, order=replace(view.order, reason_code=ReasonCode.IN_SEQUENCE, reason=what))


_LATEST = select(func.max(ORDERS.c.accepted_at_us)).where(
    ORDERS.c.wallet == bindparam("wallet"),
    ORDERS.c.market == bindparam("market"),
    ORDERS.c.action == bindparam("action"),
    literal_column(IN_SEQUENCE),
)
_LOCK = text("SELECT pg_advisory_xact_lock(:key)")


def placed(conn: Connection, new: NewOrder) -> NewOrder:
    """Give a new order its place behind the open orders that it must not overtake.

    Its deadline stays what its own clock made of it. On PostgreSQL others wait for this transaction's
    end, so that whoever sees an order sees all those before it.
    """
    if not new.in_sequence:
        return new
    if conn.dialect.name == "postgresql":
        conn.execute(_LOCK, {"key": SEQUENCE_LOCK})
    opposite = Action.SELL if new.signal.action is Action.BUY else Action.BUY
    values = {"wallet": new.wallet, "market": new.signal.market, "action": opposite.value}
    latest = fetch_value(conn, _LATEST, values)
    if latest is None or latest < new.accepted_at_us:
        return new
    signal = new.signal
    if signal.valid_for_us is not None and signal.signal_time_us is None:
        # counted from its arrival, which the place in the sequence no longer tells
        signal = replace(signal, signal_time_us=new.accepted_at_us)
    return replace(new, accepted_at_us=latest + 1, signal=signal)
