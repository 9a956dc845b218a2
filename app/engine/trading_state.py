"""Whether anything may be signed: halted and resumed by operators, the same in every process."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from app.domain.documents import time_string
from app.domain.errors import IntakeError, ReasonCode, TransientError
from app.engine.ports import Clock, Store
from app.engine.store_port import TradingState

SYNC_SECONDS: Final = 1.0
"""How often it is looked for what other processes halted or resumed."""
NOT_HALTED: Final = TradingState(halted=False)

_log = structlog.get_logger(__name__)


class MarkedWhileRunningError(Exception):
    """The database was marked for reconciliation under a running process: it must end."""


class TradingSwitch:
    """What is known of the trading state; it is stored first, and STORE asks the database itself.

    Halted, nothing is claimed for signing and nothing is signed; what is alive is pushed and watched to
    its end. Reconciling, no order is touched at all.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        """Begin without knowing what is stored; `load` reads it."""
        self._store = store
        self._clock = clock
        self._state = NOT_HALTED
        self._loaded = False
        self._one_at_a_time = asyncio.Lock()
        self.on_change: Callable[[], None] = lambda: None
        self.blocks_left: Callable[[], int | None] = lambda: None
        """How many blocks must be finalized before reconciliation can read the chain, if known."""
        self.hindrance: Callable[[], str | None] = lambda: None
        """What reconciliation waits for otherwise."""

    @property
    def state(self) -> TradingState:
        """What was last read or written."""
        return self._state

    def may_sign(self) -> bool:
        """Tell whether orders may be claimed for signing, and be signed."""
        return not self._state.halted and not self._state.reconciling

    def may_hold(self) -> bool:
        """Tell whether orders may be held at all, be it to watch or to end them."""
        return not self._state.reconciling

    def demand(self) -> None:
        """Raise TransientError(TRADING_HALTED) unless something may be signed."""
        if not self.may_sign():
            raise TransientError(ReasonCode.TRADING_HALTED, "trading is halted")

    def demand_reconciled(self) -> None:
        """Raise IntakeError(RECONCILING) while no order may be touched or taken in."""
        if self._state.reconciling:
            todo = "try again later with the same key"
            raise IntakeError(ReasonCode.RECONCILING, self._waits_for(), todo=todo, retryable=True)

    def _waits_for(self) -> str:
        what = "the database is being reconciled with the chain"
        if left := self.blocks_left():
            return f"{what}, {left} blocks must be finalized before"
        hindrance = self.hindrance()
        return what if hindrance is None else f"{what}, which has to wait: {hindrance}"

    def refusal(self) -> IntakeError:
        """Say why a new signal is not taken in while trading is halted."""
        what = f"trading is halted ({self._state.reason or 'no reason was given'})"
        todo = "try again later with the same key"
        return IntakeError(ReasonCode.TRADING_HALTED, what, todo=todo, retryable=True)

    def document(self) -> Mapping[str, object]:
        """Give the state as it is shown."""
        state = self._state
        name = "halted" if state.halted else "active"
        return {
            "state": name,
            "reason": state.reason,
            "since": None if state.since_us is None else time_string(state.since_us),
            "reconciling": state.reconciling,
            "blocks_left": self.blocks_left() if state.reconciling else None,
        }

    def reasons(self) -> list[str]:
        """Say for readiness why nothing is signed; nothing when it is."""
        if self._state.reconciling:
            return [self._waits_for()]
        if not self._state.halted:
            return []
        why = f": {self._state.reason}" if self._state.reason else ""
        return [f"trading is halted{why}"]

    # ------------------------------------------------------------ switched

    async def halt(self, reason: str | None) -> TradingState:
        """Sign nothing any more, in any process; raises IntakeError of the store."""
        async with self._one_at_a_time:
            self._answer(await self._store.halt(reason, self._clock.now_us()))
        return self._state

    async def resume(self) -> TradingState:
        """Sign again; raises IntakeError: RECONCILING, or what the store raises."""
        async with self._one_at_a_time:
            self._answer(await self._store.resume(self._clock.now_us()))
        self.demand_reconciled()
        return self._state

    def _answer(self, now: TradingState) -> None:
        """Take over what an operator's call gave; the next look ends a process that was marked."""
        try:
            self._apply(now)
        except MarkedWhileRunningError as error:
            what = "the database was marked for reconciliation, and this process ends"
            todo = "start the service again"
            raise IntakeError(ReasonCode.RECONCILING, what, todo=todo, retryable=True) from error

    def _apply(self, now: TradingState) -> None:
        if self._loaded and now.reconciling and not self._state.reconciling:
            raise MarkedWhileRunningError
        before, self._state, self._loaded = self._state, now, True
        if before != now:
            _log.info("trading state", halted=now.halted, reconciling=now.reconciling)
            self.on_change()

    # ------------------------------------------------------------ other processes, and the start

    async def load(self) -> None:
        """Take over what is stored, before anything is held; raises IntakeError."""
        async with self._one_at_a_time:
            self._apply(await self._store.trading_state())

    async def look(self) -> None:
        """Take over what another process stored; raises IntakeError.

        A mark that comes under a running process is none that its orders can be held to any more: that
        raises MarkedWhileRunningError, which ends the process.
        """
        await self.load()

    async def run(self) -> None:
        """Look until cancelled; what was known holds while the store is away."""
        while True:
            await asyncio.sleep(SYNC_SECONDS)
            try:
                await self.look()
            except IntakeError as error:
                _log.warning("the trading state could not be read", why=error.what)
