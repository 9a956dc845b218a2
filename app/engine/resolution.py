"""Resolver: an operator ends an order in doubt, unless what the chain shows speaks against it."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import structlog

from app.domain.attempt import StoredAttempt
from app.domain.changes import Change
from app.domain.errors import IntakeError, NotFoundError, ReasonCode, ResolutionError
from app.domain.order import Fill, OrderView
from app.domain.outcome import ProgramError, Proof, Seen
from app.domain.resolution import (
    Hearing,
    Resolution,
    Word,
    parse_word,
    refuse_contradicted,
    resolved_filled,
    resolved_unfilled,
)
from app.engine.held import Held
from app.engine.order_manager import OrderManager
from app.engine.ports import LandedTransaction, Ports

_log = structlog.get_logger(__name__)


class Holder(Protocol):
    """Gives orders in doubt in the place of whoever watches them, and takes them back."""

    def taken_over(self, account: str, order_id: str) -> AbstractAsyncContextManager[Held | None]:
        """Hold an order; None: it is not in doubt, or not the account's. Raises IntakeError."""
        ...


class Resolver:
    """Takes the order from whoever watches it, asks the chain once more, and only then writes.

    In this order a landing that somebody sees meanwhile is never lost: its fill is either written
    first, and the order is no longer in doubt, or it is seen here.
    """

    def __init__(self, ports: Ports, *, engine: Holder, manager: OrderManager) -> None:
        """`engine` gives the order and takes it back."""
        self._chain = ports.chain
        self._trading = ports.trading
        self._clock = ports.clock
        self._engine = engine
        self._manager = manager

    async def resolve(self, account: str, order_id: str, body: object) -> OrderView:
        """Resolve an order in doubt as `body` says (see `parse_word`); gives it as it ended.

        Raises SignalError, NotFoundError(ORDER_NOT_FOUND), ResolutionError, or IntakeError.
        """
        word = parse_word(body)
        self._manager.demand_reconciled()
        await self._known(account, order_id)
        async with self._engine.taken_over(account, order_id) as held:
            if held is None or held.live is None:
                raise _refusal(await self._known(account, order_id))
            await self._resolve(held, held.live, word, account)
            view = held.view
        _log.warning(
            "an operator resolved an order", order_id=order_id, resolution=word.resolution.value
        )
        return view

    async def _known(self, account: str, order_id: str) -> OrderView:
        view = await self._manager.view(account, order_id)
        if view is None:
            raise NotFoundError(ReasonCode.ORDER_NOT_FOUND, "no order has this id")
        return view

    async def _resolve(self, held: Held, attempt: StoredAttempt, word: Word, by: str) -> None:
        amounts = word.amounts(self._manager.rules.markets.get(held.view.order.signal.market))
        told = await self._chain.testimony(attempt)
        refuse_contradicted(word.resolution, told, attempt.last_valid_block_height)
        landed = await self._chain.transaction(attempt.signature)
        shown = landed if isinstance(landed, LandedTransaction) else None
        at_us = self._clock.now_us()
        made: list[Change]
        if word.resolution is Resolution.FILLED:
            if shown is None:
                await self._refuse_dead(attempt)
            fill = self._fill(held.view, attempt, shown)
            made = resolved_filled(
                held.view, word, told, by=by, at_us=at_us, fill=fill, amounts=amounts
            )
        else:
            error = self._error(word.resolution, told, shown)
            made = resolved_unfilled(held.view, word, told, by=by, at_us=at_us, error=error)
        if not await _recorded(held, made):
            what = "another process took the order meanwhile"
            raise IntakeError(ReasonCode.DATABASE_BUSY, what, todo="try again", retryable=True)

    async def _refuse_dead(self, attempt: StoredAttempt) -> None:
        """Raise ResolutionError when it is proved that the attempt never landed and never will."""
        if isinstance(await self._chain.prove_dead(attempt), Proof):
            raise _contradicted(
                "it is proved that it did not land: the service settles it by itself"
            )

    def _fill(
        self, view: OrderView, attempt: StoredAttempt, shown: LandedTransaction | None
    ) -> Fill | None:
        """Read the fill from the chain, which knows better than anybody; None: it cannot be read."""
        if shown is None:
            return None
        if shown.error is not None:
            raise _contradicted("an endpoint shows the transaction, and that it failed")
        try:
            return self._trading.fill(view.order, attempt, shown)
        except Exception:  # noqa: BLE001 - then the operator has to say what it traded
            _log.exception("a fill could not be read", order_id=view.order.order_id)
            return None

    def _error(
        self, word: Resolution, told: Sequence[Hearing], shown: LandedTransaction | None
    ) -> ProgramError | None:
        """Explain how it failed, if anybody shows that; raises ResolutionError for what it denies."""
        if shown is not None:
            if shown.error is None:
                raise _contradicted("an endpoint shows the transaction, and that it succeeded")
            if word is Resolution.EXPIRED:
                raise _contradicted("an endpoint shows the transaction, and that it failed")
            return self._trading.explain(shown.error, shown.logs).error
        seen = (each.status.error for each in told if isinstance(each.status, Seen))
        error = next(seen, None)
        return None if error is None else self._trading.explain(error, ()).error


async def _recorded(held: Held, made: Sequence[Change]) -> bool:
    """Write the changes; after a failure of the write only the order itself tells what became of it."""
    try:
        return await held.record(lambda _view: made)
    except IntakeError as error:
        todo = "read the order, then try again"
        raise IntakeError(error.code, error.what, todo=todo, retryable=error.retryable) from error


def _refusal(view: OrderView) -> ResolutionError:
    status = view.order.status
    if view.order.in_doubt_since_us is not None:
        what = (
            "a damaged database lost the order's transaction: nothing can be held against your word"
        )
        todo = "have the database reconciled with endpoints that keep a longer history"
        return ResolutionError(ReasonCode.ORDER_NOT_IN_DOUBT, what, todo=todo)
    if status.final:
        what = f"the order is {status.value}: there is nothing to resolve"
        return ResolutionError(ReasonCode.ORDER_FINAL, what)
    what = f"the order is {status.value} and not in doubt: the service settles it by itself"
    return ResolutionError(ReasonCode.ORDER_NOT_IN_DOUBT, what)


def _contradicted(what: str) -> ResolutionError:
    return ResolutionError(ReasonCode.RESOLUTION_CONTRADICTED, what)
