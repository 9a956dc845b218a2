"""What the audit trail tells of an order, held against what the database keeps of it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from app.domain.attempt import AttemptStatus, StoredAttempt
from app.domain.errors import IllegalMoveError
from app.domain.events import Event, EventKind
from app.domain.money import decimal_string
from app.domain.order import Order, OrderStatus, OrderView

_K = EventKind
_S = OrderStatus
_OPEN: Final = frozenset({_S.QUEUED, _S.EXECUTING, _S.SUBMITTED})
_BEGINS: Final = frozenset({_K.ACCEPTED, _K.REJECTED, _K.ORDER_RECOVERED})
_FOLLOWED: Final = frozenset({_S.SUBMITTED, _S.FILLED})
_LEGAL: Final[Mapping[EventKind, frozenset[OrderStatus]]] = {
    _K.CLAIMED: _OPEN | {_S.FILLED},
    _K.REQUEUED: frozenset({_S.EXECUTING, _S.SUBMITTED}),
    _K.ENDED: _OPEN,
    _K.FILLED: frozenset({_S.SUBMITTED}),
    _K.FINALIZED: frozenset({_S.FILLED}),
    _K.FILL_REVERTED: frozenset({_S.FILLED}),
    _K.IN_DOUBT: frozenset({_S.SUBMITTED}),
    _K.RESOLVED: frozenset({_S.SUBMITTED}),
    _K.CANCEL_REQUESTED: _OPEN,
    _K.SIGNED: frozenset({_S.EXECUTING}),
    _K.SUBMITTED: _FOLLOWED,
    _K.LANDED_FAILED: frozenset({_S.SUBMITTED}),
    _K.FAILED: frozenset({_S.SUBMITTED}),
    _K.EXPIRED: frozenset({_S.SUBMITTED}),
    _K.DISPUTED: _FOLLOWED,
    _K.ATTEMPT_RECOVERED: _OPEN | {_S.FILLED},
}
"""In which state of its order an event may come; those that are not named change nothing."""
_AMOUNTS: Final = (
    "base_amount",
    "quote_amount",
    "network_fee",
    "priority_fee",
    "tip",
    "venue_fee",
)
_BYTES: Final = ("wallet", "blockhash", "last_valid_block_height", "spend")
_RECOVERED: Final = ("wallet", "action", "market", "size", "quote_size")
"""What is known of an order that was found on the chain; the rest may be completed by its client."""


@dataclass(slots=True)
class ToldAttempt:
    """An attempt as events tell it."""

    signature: object
    status: AttemptStatus
    data: Mapping[str, object]
    landed_slot: object = None
    pushes: int = 0


@dataclass(slots=True)
class ToldOrder:
    """An order as events tell it, one after the other; `illegal` says what cannot have happened."""

    status: OrderStatus | None = None
    reason_code: object = None
    begin: Event | None = None
    amounts: dict[str, int] = field(default_factory=dict)
    times: dict[str, int | None] = field(default_factory=dict)
    attempts: dict[object, ToldAttempt] = field(default_factory=dict)
    by_operator: bool = False
    settled: bool = False
    illegal: list[str] = field(default_factory=list)

    def read(self, event: Event) -> None:
        """Take the next event."""
        if event.kind in _BEGINS:
            self._begin(event)
            return
        if self.status is None:
            self.illegal.append(f"{event.kind} comes before the order's beginning")
            return
        legal = _LEGAL.get(event.kind)
        if legal is not None and self.status not in legal:
            self.illegal.append(f"{event.kind} while the order is {self.status}")
        try:
            _EFFECTS.get(event.kind, _nothing)(self, event)
        except (KeyError, ValueError, TypeError, IllegalMoveError) as error:
            self.illegal.append(f"{event.kind} tells what cannot be: {error}")

    def _begin(self, event: Event) -> None:
        if self.begin is not None:
            self.illegal.append(f"{event.kind} after the order's beginning")
        self.begin = event
        self.status = _FIRST[event.kind]
        self.reason_code = event.data.get("reason_code")
        if event.kind is _K.REJECTED:
            self.times["ended_at_us"] = event.at_us
            self.settled = True

    def move(self, target: OrderStatus) -> None:
        """Move the order; raises IllegalMoveError for a move that the table does not know."""
        assert self.status is not None, "nothing has an effect before the beginning"
        self.status = self.status.to(target)
        self.settled = target.final and target is not _S.FILLED

    def demand_nothing_alive(self) -> None:
        """Raise IllegalMoveError while an attempt may still land."""
        if any(not each.status.dead for each in self.attempts.values()):
            raise IllegalMoveError("an attempt is not dead")

    def attempt(self, event: Event) -> ToldAttempt:
        """Give the attempt that an event is about; raises KeyError, ValueError."""
        attempt = self.attempts[event.data["number"]]
        if attempt.signature != event.data["signature"]:
            raise ValueError("another signature than the attempt's")
        return attempt


_FIRST: Final = {
    _K.ACCEPTED: _S.QUEUED,
    _K.REJECTED: _S.REJECTED,
    _K.ORDER_RECOVERED: _S.SUBMITTED,
}


def _nothing(_told: ToldOrder, _event: Event) -> None:
    return


def _claimed(told: ToldOrder, event: Event) -> None:
    if told.status is None or event.data["from"] != told.status.value:
        raise ValueError(f"it was {event.data['from']}")
    if told.status is _S.QUEUED:
        told.move(_S.EXECUTING)


def _requeued(told: ToldOrder, event: Event) -> None:
    told.demand_nothing_alive()
    told.move(_S.QUEUED)
    told.reason_code = event.data["reason_code"]


def _ended(told: ToldOrder, event: Event) -> None:
    told.demand_nothing_alive()
    told.move(_S(str(event.data["status"])))
    told.reason_code = event.data["reason_code"]
    told.times |= {"ended_at_us": event.at_us, "in_doubt_since_us": None}


def _filled(told: ToldOrder, event: Event) -> None:
    attempt = told.attempt(event)
    told.move(_S.FILLED)
    attempt.status = attempt.status.to(AttemptStatus.LANDED)
    attempt.landed_slot = None if told.by_operator else event.data["slot"]
    told.amounts = _amounts(event)
    told.reason_code = None
    at = event.at_us
    told.times |= {"filled_at_us": at, "ended_at_us": at, "in_doubt_since_us": None}


def _finalized(told: ToldOrder, event: Event) -> None:
    attempt = told.attempt(event)
    attempt.landed_slot = event.data["slot"]
    if _AMOUNTS[0] in event.data:
        told.amounts = _amounts(event)
    told.times["finalized_at_us"] = event.at_us
    told.settled = True


def _amounts(event: Event) -> dict[str, int]:
    return {name: int(str(event.data[name])) for name in _AMOUNTS}


def _reverted(told: ToldOrder, event: Event) -> None:
    attempt = told.attempt(event)
    dead = AttemptStatus.EXPIRED if event.data["error"] is None else AttemptStatus.FAILED
    attempt.status = attempt.status.to(dead)
    attempt.landed_slot = None  # the event does not tell whether it failed in another one
    told.move(_S.FAILED)
    told.reason_code = "FILL_REVERTED"
    told.amounts = {}
    told.times |= {"ended_at_us": event.at_us, "filled_at_us": None}


def _doubted(told: ToldOrder, event: Event) -> None:
    told.times["in_doubt_since_us"] = event.at_us


def _resolved(told: ToldOrder, event: Event) -> None:
    attempt = told.attempt(event)
    if event.data["as"] == "filled":
        told.by_operator = not event.data["from_chain"]
    else:
        attempt.status = attempt.status.to(AttemptStatus(str(event.data["as"])))
        told.times["in_doubt_since_us"] = None


def _signed(told: ToldOrder, event: Event) -> None:
    told.demand_nothing_alive()
    number = event.data["number"]
    if not isinstance(number, int) or number in told.attempts:
        raise ValueError(f"attempt {number} again")
    told.move(_S.SUBMITTED)
    told.attempts[number] = ToldAttempt(event.data["signature"], AttemptStatus.SIGNED, event.data)


def _recovered(told: ToldOrder, event: Event) -> None:
    if told.status is _S.FILLED:
        _put_back(told, event)
        return
    told.demand_nothing_alive()
    told.status = _S.SUBMITTED
    data = event.data
    told.attempts[data["number"]] = ToldAttempt(data["signature"], AttemptStatus.SUBMITTED, data)


def _put_back(told: ToldOrder, event: Event) -> None:
    """Take a landed attempt whose row was lost, with its pushes, from the chain's word."""
    data, landed = event.data, AttemptStatus.LANDED
    before = told.attempts.get(data["number"])
    if before is not None and before.signature != data["signature"]:
        raise ValueError("another signature than the attempt's")
    told.attempts[data["number"]] = ToldAttempt(data["signature"], landed, data, data["slot"])


def _pushed(told: ToldOrder, event: Event) -> None:
    attempt = told.attempt(event)
    if attempt.status is AttemptStatus.SIGNED:
        attempt.status = AttemptStatus.SUBMITTED
    pushes = event.data["submissions"]
    attempt.pushes += len(pushes) if isinstance(pushes, list) else 0


def _died(status: AttemptStatus) -> Callable[[ToldOrder, Event], None]:
    def _effect(told: ToldOrder, event: Event) -> None:
        attempt = told.attempt(event)
        attempt.status = attempt.status.to(status)
        if "slot" in event.data:
            attempt.landed_slot = event.data["slot"]
        told.times["in_doubt_since_us"] = None

    return _effect


_EFFECTS: Final[Mapping[EventKind, Callable[[ToldOrder, Event], None]]] = {
    _K.CLAIMED: _claimed,
    _K.REQUEUED: _requeued,
    _K.ENDED: _ended,
    _K.FILLED: _filled,
    _K.FINALIZED: _finalized,
    _K.FILL_REVERTED: _reverted,
    _K.IN_DOUBT: _doubted,
    _K.RESOLVED: _resolved,
    _K.SIGNED: _signed,
    _K.ATTEMPT_RECOVERED: _recovered,
    _K.SUBMITTED: _pushed,
    _K.FAILED: _died(AttemptStatus.FAILED),
    _K.EXPIRED: _died(AttemptStatus.EXPIRED),
}


def told_by(events: Sequence[Event]) -> ToldOrder:
    """Read an order's events, oldest first."""
    told = ToldOrder()
    for event in life_of(events):
        told.read(event)
    return told


def life_of(events: Sequence[Event]) -> Sequence[Event]:
    """Give the events since the order was last begun, oldest first: all, as a rule.

    A row that was lost while its events were kept is begun anew from the chain: what is before told of
    that row.
    """
    begun = [at for at, event in enumerate(events) if event.kind is _K.ORDER_RECOVERED]
    return events[begun[-1] :] if begun else events


# ---------------------------------------------------------------- held against the rows


def differences(view: OrderView, events: Sequence[Event], event_seq: int) -> Iterator[str]:
    """Say in what an order and its attempts differ from its events; `event_seq` is the last one's.

    Also: that events are missing or stand twice, and that one tells what cannot have happened. What was
    before the order's recovery may have been cleaned up.
    """
    events = life_of(events)
    sequence = [event.seq for event in events]
    recovered = bool(events) and events[0].kind is _K.ORDER_RECOVERED
    first = sequence[0] if recovered else 1
    if sequence != list(range(first, event_seq + 1)):
        yield f"the order has {event_seq} events, and the trail {_listed(sequence)}"
    told = told_by(events)
    yield from told.illegal
    yield from _of_order(view.order, told)
    yield from _of_attempts(view.attempts, told)


def _listed(sequence: Sequence[int]) -> str:
    return f"{len(sequence)}, from {sequence[0]} to {sequence[-1]}" if sequence else "none"


def _differs(name: str, kept: object, told: object) -> Iterator[str]:
    if kept != told:
        yield f"{name} is {kept}, and by the events {told}"


def _of_order(order: Order, told: ToldOrder) -> Iterator[str]:
    yield from _differs("status", order.status, told.status)
    yield from _differs("reason_code", order.reason_code, told.reason_code)
    for name in ("ended_at_us", "filled_at_us", "in_doubt_since_us"):
        yield from _differs(name, getattr(order, name), told.times.get(name))
    finalized = told.times.get("finalized_at_us")
    if finalized is None and told.by_operator:  # nobody else could follow it
        finalized = told.times.get("filled_at_us")
    yield from _differs("finalized_at_us", order.finalized_at_us, finalized)
    for name in _AMOUNTS:
        kept = None if order.fill is None else getattr(order.fill, name)
        yield from _differs(name, kept, told.amounts.get(name))
    if told.begin is not None:
        yield from _differs("accepted_at_us", order.accepted_at_us, told.begin.at_us)
        signal = _signal(order)
        names = _RECOVERED if told.begin.kind is _K.ORDER_RECOVERED else signal
        for name in names:
            yield from _differs(name, signal[name], told.begin.data.get(name))


def _signal(order: Order) -> Mapping[str, object]:
    """Give what the first event told of the signal, as the order has it."""
    signal = order.signal
    return {
        "account": order.account,
        "wallet": order.wallet,
        "fingerprint": order.fingerprint,
        "deadline_us": order.deadline_us,
        "action": signal.action.value,
        "market": signal.market,
        "client_order_id": signal.client_order_id,
        "priority": signal.priority,
        "strategy": signal.strategy,
        "max_slippage_bps": signal.max_slippage_bps,
        "allow_public_fallback": signal.allow_public_fallback,
        "price": None if signal.price is None else decimal_string(signal.price),
        "confidence": None if signal.confidence is None else decimal_string(signal.confidence),
        "size": None if signal.size is None else str(signal.size),
        "quote_size": None if signal.quote_size is None else str(signal.quote_size),
    }


def _of_attempts(attempts: Sequence[StoredAttempt], told: ToldOrder) -> Iterator[str]:
    kept = {attempt.number: attempt for attempt in attempts}
    for number in told.attempts.keys() - kept.keys():
        yield f"attempt {number} is told by the events and not kept"
    for number, attempt in kept.items():
        known = told.attempts.get(number)
        if known is None:
            yield f"attempt {number} is kept and told by no event"
            continue
        for difference in _of_attempt(attempt, known):
            yield f"attempt {number}: {difference}"


def _of_attempt(attempt: StoredAttempt, told: ToldAttempt) -> Iterator[str]:
    spend = attempt.signed.spend
    kept: Mapping[str, object] = {
        "wallet": attempt.wallet,
        "blockhash": attempt.signed.blockhash.blockhash,
        "last_valid_block_height": attempt.last_valid_block_height,
        "spend": {
            "mint": spend.mint,
            "amount": str(spend.amount),
            "lamports": str(spend.lamports),
        },
    }
    yield from _differs("signature", attempt.signature, told.signature)
    yield from _differs("status", attempt.status, told.status)
    if told.landed_slot is not None:
        yield from _differs("landed_slot", attempt.landed_slot, told.landed_slot)
    yield from _differs("submissions", len(attempt.submissions), told.pushes)
    for name in _BYTES:
        if name in told.data:
            yield from _differs(name, kept[name], told.data[name])
