"""From an order's events to its row: a pure reading, the same however often it is done."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from app.domain.audit import life_of
from app.domain.errors import ReasonCode
from app.domain.events import Event, EventKind
from app.domain.order import OrderStatus
from app.domain.outcome import ReplyOutcome
from app.metrics.ports import ExecutionRow

_BEGINS: Final = frozenset({EventKind.ACCEPTED, EventKind.REJECTED, EventKind.ORDER_RECOVERED})
_SIGNED: Final = frozenset({EventKind.SIGNED, EventKind.ATTEMPT_RECOVERED})
_ENDS: Final = frozenset(
    {EventKind.REJECTED, EventKind.ENDED, EventKind.FILLED, EventKind.FILL_REVERTED}
)
SETTLING: Final = _ENDS | {EventKind.FINALIZED}
"""Kinds of events after which an order's row is written, or written again."""
_AMOUNTS: Final = (
    "base_amount",
    "quote_amount",
    "network_fee",
    "priority_fee",
    "tip",
    "venue_fee",
)


class UnreadableHistoryError(Exception):
    """The events do not tell an order's life: its beginning is gone, or they are not as expected."""


def execution_of(events: Sequence[Event]) -> ExecutionRow | None:
    """Read an order's events, oldest first; None while the order has not ended.

    Raises UnreadableHistoryError.
    """
    events = life_of(events)
    if not events or events[0].kind not in _BEGINS:
        raise UnreadableHistoryError("the beginning is gone")
    end = _last(events, _ENDS)
    if end is None:
        return None
    try:
        return _row(events, end)
    except (KeyError, TypeError, ValueError) as error:
        raise UnreadableHistoryError(repr(error)) from error


def _row(events: Sequence[Event], end: Event) -> ExecutionRow:
    begin, signed = events[0], [event for event in events if event.kind in _SIGNED]
    finalized = _last(events, {EventKind.FINALIZED})
    landed = _landed(end, finalized)
    status, reason_code = _verdict(end)
    return ExecutionRow(
        order_id=begin.order_id,
        account=_text(begin, "account"),
        market=_text(begin, "market"),
        action=_text(begin, "action"),
        strategy=_optional(begin, "strategy"),
        price=_optional(begin, "price"),
        status=status,
        reason_code=reason_code,
        method=_method(events, end, len(signed)),
        attempts=len({event.data["number"] for event in signed}),
        submissions=sum(1 for _ in _pushes(events)),
        accepted_at_us=begin.at_us,
        first_executing_at_us=_first_at(_of(events, EventKind.CLAIMED)),
        first_signed_at_us=_first_at(signed),
        first_submitted_at_us=_first_push_at(events),
        ended_at_us=end.at_us,
        finalized_at_us=None if finalized is None else finalized.at_us,
        **landed,
    )


def _of(events: Sequence[Event], kind: EventKind) -> list[Event]:
    return [event for event in events if event.kind is kind]


def _last(events: Sequence[Event], kinds: frozenset[EventKind] | set[EventKind]) -> Event | None:
    return next((event for event in reversed(events) if event.kind in kinds), None)


def _first_at(events: Sequence[Event]) -> int | None:
    return events[0].at_us if events else None


def _verdict(end: Event) -> tuple[str, str | None]:
    """Give status and reason code."""
    if end.kind is EventKind.FILLED:
        return OrderStatus.FILLED.value, None
    if end.kind is EventKind.FILL_REVERTED:
        return OrderStatus.FAILED.value, ReasonCode.FILL_REVERTED.value
    if end.kind is EventKind.REJECTED:
        return OrderStatus.REJECTED.value, _text(end, "reason_code")
    return OrderStatus(_text(end, "status")).value, _text(end, "reason_code")


def _landed(end: Event, finalized: Event | None) -> dict[str, int]:
    """Give what a fill moved and cost, as finality confirmed it: a fork may move it to another block."""
    if end.kind is not EventKind.FILLED:
        return {}
    told = finalized if finalized is not None and _AMOUNTS[0] in finalized.data else end
    amounts = {name: int(_text(told, name)) for name in _AMOUNTS}
    return amounts | {"slot": _whole(finalized or end, "slot")}


# ---------------------------------------------------------------- pushes


def _pushes(events: Sequence[Event]) -> Iterator[tuple[Event, Mapping[str, object]]]:
    for event in _of(events, EventKind.SUBMITTED):
        pushes = event.data["submissions"]
        if not isinstance(pushes, list):
            raise TypeError("submissions")
        yield from ((event, push) for push in pushes)


def _method(events: Sequence[Event], end: Event, attempts: int) -> str | None:
    """Credit the first method that accepted the bytes, of the attempt that landed or the last one."""
    number = end.data.get("number", attempts)
    for event, push in _pushes(events):
        if event.data["number"] == number and push["outcome"] == ReplyOutcome.ACCEPTED:
            return str(push["method"])
    return None


def _first_push_at(events: Sequence[Event]) -> int | None:
    """Give when the first bytes left: an event tells of pushes made one after another before it."""
    first = next((event for event, _ in _pushes(events)), None)
    if first is None:
        return None
    latencies = [int(str(push["latency_us"])) for event, push in _pushes([first])]
    return first.at_us - sum(latencies)


# ---------------------------------------------------------------- values


def _text(event: Event, name: str) -> str:
    value = event.data[name]
    if not isinstance(value, str):
        raise TypeError(name)
    return value


def _optional(event: Event, name: str) -> str | None:
    return None if event.data[name] is None else _text(event, name)


def _whole(event: Event, name: str) -> int:
    value = event.data[name]
    if not isinstance(value, int):
        raise TypeError(name)
    return value
