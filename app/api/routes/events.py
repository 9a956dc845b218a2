"""The audit trail: in pages, or as a stream when `text/event-stream` is asked for."""

from typing import Final

from app.api.answers import Answer, json_answer
from app.api.endpoint import Call
from app.api.parameters import INTEGER_MAX, invalid, parse_integer
from app.api.routes.orders import known_id, required
from app.api.streams import STREAM_TYPE, EventStream
from app.domain.documents import event_document

LIMIT_MAX: Final = 1_000
LIMIT_DEFAULT: Final = 100


async def get_order_events(call: Call) -> Answer | EventStream:
    """Show what happened to one order."""
    order_id = known_id(call)
    required(await call.service.manager.view(call.account, order_id))
    return await _events(call, order_id)


async def get_events(call: Call) -> Answer | EventStream:
    """Show what happened, in the trail's order."""
    return await _events(call, None)


async def _events(call: Call, order_id: str | None) -> Answer | EventStream:
    query = call.query("after", "limit")
    after = query.integer("after", 0, INTEGER_MAX, 0)
    limit = query.integer("limit", 1, LIMIT_MAX, LIMIT_DEFAULT)
    after = _last_event_id(call, after)
    if _wants_stream(call):
        call.long_answers.demand_stream()
        return EventStream(call, order_id, after)
    events = await call.service.manager.events(
        account=call.account, order_id=order_id, after=after, limit=limit
    )
    seen = (event.position for event in reversed(events) if event.position is not None)
    documents = [event_document(event) for event in events]
    return json_answer({"events": documents, "next_after": next(seen, after)})


def _wants_stream(call: Call) -> bool:
    ranges = (call.header("Accept") or "").lower().split(",")
    return any(each.partition(";")[0].strip() == STREAM_TYPE for each in ranges)


def _last_event_id(call: Call, after: int) -> int:
    """Give the position that a returning reader saw last: it counts more than `after`."""
    text = call.header("Last-Event-ID")
    if text is None:
        return after
    position = parse_integer(text)
    if position is None:
        raise invalid("Last-Event-ID", "is not the id of an event")
    return position
