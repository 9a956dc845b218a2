"""OrderManager: signals in, orders out; the one door between the outside and the store."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final

import structlog

from app.domain.errors import IntakeError, ReasonCode, SignalError
from app.domain.events import Event
from app.domain.order import NewOrder, Order, OrderStatus, OrderView
from app.domain.retry import deadline
from app.domain.signal import US, ParsedSignal, SignalRules, is_key_text, parse_signal
from app.engine.ports import (
    Accepted,
    CancelOutcome,
    IntakeRefusal,
    OrderFilter,
    Ports,
    QueueFigures,
    StatisticsRow,
)
from app.engine.trading_state import TradingSwitch

DEFAULT_ACCOUNT: Final = "default"
CANCEL_BATCH: Final = 200
CANCEL_SWEEPS_MAX: Final = 5
"""Sweeps of a mass cancellation: orders posted meanwhile must not keep it going for ever."""
UNFINISHED: Final = (
    OrderStatus.QUEUED,
    OrderStatus.EXECUTING,
    OrderStatus.SUBMITTED,
    OrderStatus.QUEUED,
)
"""In the order of an order's way, and the queue again: some go back to it meanwhile."""
_FULL: Final = IntakeRefusal.FULL
POLL_SECONDS: Final = 0.5
"""How often a waiting reader looks itself, for changes made by another process."""

_log = structlog.get_logger(__name__)


class OrderManager:
    """Takes signals in durably and idempotently, cancels, and reads."""

    def __init__(  # noqa: PLR0913 - every part by its name
        self,
        ports: Ports,
        *,
        switch: TradingSwitch,
        rules: SignalRules,
        wallet: str,
        new_id: Callable[[], str],
        order_timeout_seconds: float,
        queue_max: int,
        history_max: int,
        in_sequence: Collection[str] = (),
    ) -> None:
        """`wallet` names the wallet that executes; `history_max` settled orders are kept in memory.

        Orders of the strategies `in_sequence` do not overtake their opposites.
        """
        self._store = ports.store
        self._clock = ports.clock
        self._telemetry = ports.telemetry
        self._switch = switch
        self._rules = rules
        self._wallet = wallet
        self._new_id = new_id
        self._order_timeout_us = int(order_timeout_seconds * US)
        self._queue_max = queue_max
        self._in_sequence = frozenset(in_sequence)
        self._history: OrderedDict[str, OrderView] = OrderedDict()
        self._history_max = history_max
        self._changed = asyncio.Event()
        self._pending = 0
        self._accepting = True
        self.figures: QueueFigures | None = None
        self.on_work: Callable[[], None] = lambda: None
        self.on_cancel: Callable[[str], None] = lambda _order_id: None

    @property
    def markets(self) -> Sequence[str]:
        """The names of the configured markets."""
        return sorted(self._rules.markets)

    @property
    def rules(self) -> SignalRules:
        """What signals are judged against."""
        return self._rules

    # ------------------------------------------------------------ in

    async def submit(
        self, body: object, *, account: str = DEFAULT_ACCOUNT, idempotency_key: str | None = None
    ) -> Accepted:
        """Take a signal in: answers only after the order is committed.

        `body` is a decoded JSON object with numbers as int or Decimal. Raises SignalError for what is no
        valid signal (nothing is stored) and IntakeError for what cannot be taken in.
        """
        try:
            accepted = await self._submit(body, account, idempotency_key)
        except (SignalError, IntakeError) as error:
            self._telemetry.signal("refused", error.code.value)
            _log.info("signal refused", reason_code=error.code.value, field=error.field)
            raise
        order = accepted.order
        rejected = order.status is OrderStatus.REJECTED
        result = "replayed" if accepted.replayed else "rejected" if rejected else "accepted"
        reason = (order.reason_code or "") if rejected else ""
        self._telemetry.signal(result, reason)
        if rejected and not accepted.replayed:
            self._telemetry.order_ended(order.status, reason)
        _log.info(
            f"signal {result}",
            order_id=order.order_id,
            market=order.signal.market,
            reason_code=reason or None,
        )
        return accepted

    async def _submit(self, body: object, account: str, key: str | None) -> Accepted:
        if not self._accepting:
            raise IntakeError(ReasonCode.SHUTTING_DOWN, "the service is stopping", retryable=True)
        self.demand_reconciled()
        if key is not None and not is_key_text(key):
            what = "Idempotency-Key is not a text of 1 to 128 printable characters"
            raise SignalError(ReasonCode.INVALID_FIELD, what, field="Idempotency-Key")
        now_us = self._clock.now_us()
        parsed = parse_signal(body, self._rules, now_us)
        new = self._new_order(parsed, account, key, now_us)
        halted = not self._switch.may_sign()
        found = await self._store.accept(new, full=halted or self._full(), rejection=_stale(new))
        if isinstance(found, IntakeRefusal):
            raise self._switch.refusal() if halted and found is _FULL else _refused(found)
        if not found.replayed and not found.order.status.final:
            self._pending += 1
            self.on_work()
        return found

    def _new_order(
        self, parsed: ParsedSignal, account: str, key: str | None, now_us: int
    ) -> NewOrder:
        signal = parsed.signal
        ends_us = deadline(
            now_us, self._order_timeout_us, signal.signal_time_us, signal.valid_for_us
        )
        return NewOrder(
            order_id=self._new_id(),
            account=account,
            wallet=self._wallet,
            signal=signal,
            fingerprint=parsed.fingerprint,
            idempotency_key=key,
            accepted_at_us=now_us,
            deadline_us=ends_us,
            in_sequence=signal.strategy in self._in_sequence,
        )

    def _full(self) -> bool:
        return self._pending >= self._queue_max

    def demand_reconciled(self) -> None:
        """Raise IntakeError(RECONCILING) while nobody knows what the chain has executed."""
        self._switch.demand_reconciled()

    def stop_accepting(self) -> None:
        """Refuse new signals from now on: the service is stopping."""
        self._accepting = False

    # ------------------------------------------------------------ cancel

    async def cancel(self, account: str, order_id: str) -> tuple[CancelOutcome, Order | None]:
        """Cancel an order, or ask for it when an attempt is alive.

        Raises IntakeError(RECONCILING) while nobody knows whether the chain has executed it.
        """
        self.demand_reconciled()
        at_us = self._clock.now_us()
        outcome, order = await self._store.cancel(account, order_id, at_us)
        if outcome in (CancelOutcome.REQUESTED, CancelOutcome.CANCELED):
            self.on_cancel(order_id)
        if outcome is CancelOutcome.REQUESTED:
            _log.info("cancellation requested", order_id=order_id)
        elif outcome is CancelOutcome.CANCELED and order and order.ended_at_us == at_us:
            # by this call, not by an earlier one
            self._telemetry.order_ended(order.status, order.reason_code or "")
            _log.info("order canceled", order_id=order_id, reason_code=order.reason_code)
        self.changed()
        return outcome, order

    async def cancel_many(self, which: OrderFilter) -> Mapping[str, int]:
        """Cancel all unfinished orders that a filter means; gives counts of canceled and requested.

        An order may move on between two pages, so sweeps follow until one finds nothing more to do.
        """
        done: dict[str, CancelOutcome] = {}
        for _ in range(CANCEL_SWEEPS_MAX):
            before = len(done)
            for status in UNFINISHED if which.status is None else (which.status,):
                await self._cancel_all(replace(which, status=status), done)
            if len(done) == before:
                break
        return {
            outcome.value: sum(1 for one in done.values() if one is outcome)
            for outcome in (CancelOutcome.CANCELED, CancelOutcome.REQUESTED)
        }

    async def _cancel_all(self, which: OrderFilter, done: dict[str, CancelOutcome]) -> None:
        before: tuple[int, str] | None = None
        while views := await self._store.orders(which, limit=CANCEL_BATCH, before=before):
            last = views[-1].order
            before = (last.accepted_at_us, last.order_id)
            for order in (view.order for view in views):
                if order.status.final or order.order_id in done:
                    continue
                outcome, _ = await self.cancel(order.account, order.order_id)
                if outcome in (CancelOutcome.CANCELED, CancelOutcome.REQUESTED):
                    done[order.order_id] = outcome

    # ------------------------------------------------------------ out

    async def view(self, account: str, order_id: str) -> OrderView | None:
        """Read an order with its attempts; settled ones come from memory."""
        known = self._history.get(order_id)
        if known is not None and known.order.account == account:
            return known
        view = await self._store.view(account, order_id)
        if view is not None:
            self._remember(view)
        return view

    def _remember(self, view: OrderView) -> None:
        """Keep what can never change again."""
        if self._switch.state.reconciling:  # the chain may contradict it
            return
        order = view.order
        settled = order.finalized_at_us is not None or (
            order.status.final and order.status is not OrderStatus.FILLED
        )
        if not settled or self._history_max == 0:
            return
        self._history[order.order_id] = view
        while len(self._history) > self._history_max:
            self._history.popitem(last=False)

    async def wait_final(self, account: str, order_id: str, seconds: float) -> OrderView | None:
        """Answer at the order's first final state, or with what is known after `seconds`."""
        ends = self._clock.monotonic() + seconds
        while True:
            changed = self._changed
            view = await self.view(account, order_id)
            left = ends - self._clock.monotonic()
            if view is None or view.order.status.final or left <= 0:
                return view
            await _wait(changed, min(left, POLL_SECONDS))

    async def orders(
        self, which: OrderFilter, *, limit: int, before: tuple[int, str] | None = None
    ) -> Sequence[OrderView]:
        """List orders, newest first."""
        return await self._store.orders(which, limit=limit, before=before)

    async def statistics(self, which: OrderFilter) -> Sequence[StatisticsRow]:
        """Group orders and add up their figures."""
        return await self._store.statistics(which)

    async def events(
        self, *, account: str, order_id: str | None = None, after: int = 0, limit: int = 100
    ) -> Sequence[Event]:
        """Read sealed events after a position, oldest first."""
        return await self._store.events(
            account=account, order_id=order_id, after=after, limit=limit
        )

    async def wait_for_events(self, seconds: float) -> None:
        """Return when something newer may be sealed, or after `seconds`."""
        await _wait(self._changed, min(seconds, POLL_SECONDS))

    # ------------------------------------------------------------ told by the engine

    def changed(self) -> None:
        """Wake whoever waits for an order or an event."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def refresh_figures(self) -> None:
        """Count the queue anew: what `/status`, `/metrics` and the limit on the queue go by."""
        self.figures = await self._store.figures()
        self._pending = self.figures.pending


def _stale(new: NewOrder) -> tuple[str, str] | None:
    if new.deadline_us > new.accepted_at_us:
        return None
    return ReasonCode.SIGNAL_STALE.value, "the signal's valid_for had run out when it arrived"


def _refused(refusal: IntakeRefusal) -> IntakeError:
    if refusal is IntakeRefusal.MISMATCH:
        what = "this key was used before with another signal"
        return IntakeError(ReasonCode.IDEMPOTENCY_MISMATCH, what, todo="use a new key")
    if refusal is IntakeRefusal.CONFLICT:
        what = "Idempotency-Key and client_order_id name different orders"
        return IntakeError(ReasonCode.KEY_CONFLICT, what, todo="send only one of them")
    what = "the queue is full"
    return IntakeError(ReasonCode.QUEUE_FULL, what, todo="try again later", retryable=True)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
