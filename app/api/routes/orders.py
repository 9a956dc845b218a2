"""Orders: read one, list them, add them up, cancel them."""

from collections.abc import Collection
from http import HTTPStatus
from typing import Final

from app.api.answers import Answer, json_answer
from app.api.endpoint import Call
from app.api.parameters import Query, is_order_id, write_cursor
from app.api.problems import Problem
from app.api.routes.signals import json_body
from app.api.statistics import statistics_document
from app.api.waits import Long
from app.domain.documents import Document, order_document
from app.domain.errors import ReasonCode
from app.domain.market import Markets
from app.domain.order import OrderStatus, OrderView
from app.domain.signal import Action
from app.engine.ports import CancelOutcome, OrderFilter

WAIT_SECONDS_MAX: Final = 30
LIMIT_MAX: Final = 500
LIMIT_DEFAULT: Final = 50
FILTERS: Final = ("status", "market", "action", "strategy", "client_order_id", "from", "to")


async def get_order(call: Call) -> Answer:
    """Show an order, with `wait` at its first final state or after so many seconds."""
    wait = call.query("wait").integer("wait", 0, WAIT_SECONDS_MAX, 0)
    order_id = known_id(call)
    view = await _awaited(call, order_id, wait) if wait else None
    view = view or await call.service.manager.view(call.account, order_id)
    return json_answer(_document(call, required(view)))


async def _awaited(call: Call, order_id: str, seconds: int) -> OrderView | None:
    """Wait for the order's end; None when the service stops first, or too many wait already."""
    if not call.long_answers.admits(Long.POLL):
        return None
    try:
        async with call.long_answers.hold(Long.POLL):
            return await call.service.manager.wait_final(call.account, order_id, seconds)
    except TimeoutError:
        return None


async def list_orders(call: Call) -> Answer:
    """List orders, newest first, a page at a time."""
    query = call.query(*FILTERS, "limit", "cursor")
    limit = query.integer("limit", 1, LIMIT_MAX, LIMIT_DEFAULT)
    which = _filter(call, query)
    views = await call.service.manager.orders(which, limit=limit + 1, before=query.cursor("cursor"))
    page = views[:limit]
    more = len(views) > limit
    cursor = write_cursor(page[-1].order.accepted_at_us, page[-1].order.order_id) if more else None
    return json_answer({"orders": [_document(call, v) for v in page], "next_cursor": cursor})


async def get_statistics(call: Call) -> Answer:
    """Add up the orders that the filters mean."""
    which = _filter(call, call.query(*FILTERS))
    rows = await call.service.manager.statistics(which)
    return json_answer(statistics_document(rows, _markets(call)))


async def cancel_order(call: Call) -> Answer:
    """Cancel an order: 200 when it is canceled, 202 when that was asked for, 409 when it has ended."""
    call.query()
    order_id = known_id(call)
    manager = call.service.manager
    outcome, order = await manager.cancel(call.account, order_id)
    canceled = order is not None and order.status is OrderStatus.CANCELED
    if outcome is CancelOutcome.FINAL and order is not None and not canceled:
        what = f"the order is {order.status.value}: it cannot be canceled any more"
        raise Problem(ReasonCode.ORDER_FINAL, what, order_id=order.order_id)
    view = required(await manager.view(call.account, order_id))
    status = HTTPStatus.OK if canceled else HTTPStatus.ACCEPTED
    return json_answer(_document(call, view), status)


async def resolve_order(call: Call) -> Answer:
    """End an order in doubt as an operator says: 200, or 409 when it is not or the chain denies it."""
    call.query()
    order_id = known_id(call)
    view = await call.service.resolutions.resolve(call.account, order_id, await json_body(call))
    return json_answer(_document(call, view))


async def cancel_orders(call: Call) -> Answer:
    """Cancel all unfinished orders of a market, of a strategy, or all there are."""
    query = call.query("market", "strategy")
    which = OrderFilter(
        account=call.account,
        market=query.market("market", _markets(call)),
        strategy=query.text("strategy"),
    )
    counts = await call.service.manager.cancel_many(which)
    return json_answer({"canceled": counts["canceled"], "requested": counts["requested"]})


def known_id(call: Call) -> str:
    """Give the order id in the path; raises Problem for what cannot be one."""
    order_id = str(call.scope["path_params"]["order_id"])
    if not is_order_id(order_id):
        raise _not_found()
    return order_id


def required(view: OrderView | None) -> OrderView:
    """Give the order, or raise Problem when there is none."""
    if view is None:
        raise _not_found()
    return view


def _not_found() -> Problem:
    return Problem(ReasonCode.ORDER_NOT_FOUND, "no order has this id")


def _markets(call: Call) -> Markets:
    return call.service.manager.rules.markets


def _document(call: Call, view: OrderView) -> Document:
    return order_document(view, _markets(call).get(view.order.signal.market))


def _filter(call: Call, query: Query) -> OrderFilter:
    known: Collection[str] = _markets(call)
    action = query.choice("action", Action)
    return OrderFilter(
        account=call.account,
        status=query.choice("status", OrderStatus),
        market=query.market("market", known),
        action=None if action is None else action.value,
        strategy=query.text("strategy"),
        client_order_id=query.text("client_order_id"),
        from_us=query.time_us("from"),
        to_us=query.time_us("to"),
    )
