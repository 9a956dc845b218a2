"""advance(order): one pass from what is stored to the next thing that is. Recovery is running it again."""

import random
from collections.abc import Awaitable, Sequence
from typing import TypeVar

import structlog

from app.domain import changes
from app.domain.attempt import Blockhash, LanePlan, Signed
from app.domain.changes import Change
from app.domain.errors import ReasonCode, RefusedError, TransientError
from app.domain.order import OrderStatus, OrderView
from app.domain.outcome import ProgramError
from app.domain.retry import End, RetryPolicy, Watch, backoff_us, next_step, out_of_time
from app.domain.signal import US
from app.engine.confirmation import Confirmation
from app.engine.held import Held
from app.engine.lease import Lease
from app.engine.ports import (
    Claimed,
    Explained,
    LostLease,
    Ports,
    Shortage,
)
from app.engine.store_port import Halted
from app.engine.trading_state import TradingSwitch
from app.engine.transaction_executor import TransactionExecutor

JITTER_MAX = 1_000
T = TypeVar("T")
_log = structlog.get_logger(__name__)


class Lifecycle:
    """The stages quote, build, simulate, sign, store; after STORE the order is the confirmation's."""

    def __init__(
        self,
        ports: Ports,
        *,
        executor: TransactionExecutor,
        confirmation: Confirmation,
        lease: Lease,
        switch: TradingSwitch,
        policy: RetryPolicy,
        transaction_timeout_seconds: float,
        reserve_lamports: int,
    ) -> None:
        """`transaction_timeout_seconds`: how long a signed transaction may still land, at most."""
        self._store = ports.store
        self._chain = ports.chain
        self._trading = ports.trading
        self._executor = executor
        self._confirmation = confirmation
        self._lease = lease
        self._switch = switch
        self._clock = ports.clock
        self._telemetry = ports.telemetry
        self._policy = policy
        self._transaction_timeout_seconds = transaction_timeout_seconds
        self._reserve_lamports = reserve_lamports

    async def advance(self, held: Held) -> None:
        """Do the next thing an order needs; `held.settled` tells when the slot may go back."""
        step = next_step(held.view, held.time.now_us(), self._policy)
        if isinstance(step, Watch):
            self._confirmation.watch(held)
        elif isinstance(step, End):
            await self._end(held, step.status, step.code, step.reason)
        else:
            await self._prepare(held, step.number)

    async def _prepare(self, held: Held, number: int) -> None:
        try:
            plan, signed = await self._sign(held, number)
            await self._keep(held, plan, signed)
        except _OutOfTimeError:
            end = out_of_time(held.view)
            await self._end(held, end.status, end.code, end.reason)
        except _FailedError as failed:
            code, error = failed.explained.code, failed.explained.error
            await self._end(held, OrderStatus.FAILED, code, error.words, error)
        except RefusedError as refused:
            await self._end(held, OrderStatus.FAILED, refused.code, refused.what)
        except TransientError as trouble:
            await self.requeue(held, trouble.code, trouble.what)

    async def _sign(self, held: Held, number: int) -> tuple[LanePlan, Signed]:
        """Quote, build, simulate and sign; nothing that can execute leaves the process here."""
        view, order = held.view, held.view.order
        was_private = any(attempt.plan.private for attempt in view.attempts)
        plan = self._executor.plan(order, was_private=was_private)
        if plan is None:
            raise TransientError(ReasonCode.METHODS_UNAVAILABLE, "no method would take a push now")
        quoted = await self._timed("quote", self._trading.quote(order))
        needs = self._executor.needs(plan)
        build = self._trading.draft(order, number, quoted, needs, view.attempts)
        draft = await self._timed("build", build)
        simulation = await self._timed("simulate", self._chain.simulate(draft.raw, draft.slot))
        explained = self._trading.check(draft, simulation)
        if explained is not None:
            raise _trouble(explained)
        blockhash = await self._blockhash(held)
        self._demand_leave(held)
        return plan, await self._timed("sign", self._trading.sign(draft, simulation, blockhash))

    async def _blockhash(self, held: Held) -> Blockhash:
        left = (held.view.order.deadline_us - held.time.now_us()) / US
        life = min(self._transaction_timeout_seconds, left)
        blockhash = await self._chain.blockhash(life)
        if blockhash is not None:
            return blockhash
        if left > life:  # not the order's time is short, the chain is slow, and may recover
            what = "blocks come too slowly for transaction_timeout"
            raise TransientError(ReasonCode.CHAIN_UNAVAILABLE, what)
        raise _OutOfTimeError

    def _demand_leave(self, held: Held) -> None:
        """Ask right before signing, and again right before the store: steps before may take long."""
        if held.out_of_time:
            raise _OutOfTimeError
        if not self._lease.held():
            raise TransientError(ReasonCode.STORAGE_UNAVAILABLE, "the lease is not renewed")
        self._switch.demand()

    async def _keep(self, held: Held, plan: LanePlan, signed: Signed) -> None:
        """STORE: the attempt is committed before its first byte may leave."""
        balances = await self._trading.balances(held.view.order.wallet)
        self._demand_leave(held)

        async def store(claimed: Claimed) -> Claimed | LostLease | Shortage | Halted:
            return await self._store.store_attempt(
                claimed,
                signed,
                plan,
                balances=balances,
                reserve_lamports=self._reserve_lamports,
                at_us=self._clock.now_us(),
            )

        stored = await self._timed("store", held.write(store))
        if isinstance(stored, Halted):  # by another process, just now
            raise TransientError(ReasonCode.TRADING_HALTED, "trading is halted")
        if isinstance(stored, Shortage):
            error = TransientError if stored.passing else RefusedError
            code = ReasonCode.FUNDS_RESERVED if stored.passing else ReasonCode.INSUFFICIENT_FUNDS
            raise error(code, stored.what)
        if isinstance(stored, Claimed):
            if len(stored.view.attempts) > 1:
                self._telemetry.resigned((held.view.order.reason_code or "unknown").lower())
            self._confirmation.watch(held)

    async def _timed(self, stage: str, work: Awaitable[T]) -> T:
        started = self._clock.monotonic()
        try:
            return await work
        finally:
            self._telemetry.stage(stage, self._clock.monotonic() - started)

    async def _end(
        self,
        held: Held,
        status: OrderStatus,
        code: ReasonCode,
        reason: str,
        error: ProgramError | None = None,
    ) -> None:
        at_us = self._clock.now_us()

        def make(view: OrderView) -> Sequence[Change]:
            end = changes.ended(
                view, status, at_us=at_us, code=code, reason=reason, program_error=error
            )
            return [end]

        await held.record(make)
        held.settled.set()

    async def requeue(self, held: Held, code: ReasonCode, reason: str) -> None:
        """Give an order with nothing alive back to the queue, to be tried again after its back-off."""
        at_us = self._clock.now_us()

        def make(view: OrderView) -> Sequence[Change]:
            delay = backoff_us(self._policy, view.order.tries + 1, random.randint(0, JITTER_MAX))  # noqa: S311
            return [
                changes.requeued(view, at_us=at_us, next_us=at_us + delay, code=code, reason=reason)
            ]

        await held.record(make)
        held.settled.set()


class _OutOfTimeError(Exception):
    """Too little time is left for a transaction worth signing."""


class _FailedError(Exception):
    """The simulation failed in a way that a new quote would not change."""

    def __init__(self, explained: Explained) -> None:
        super().__init__(explained.code)
        self.explained = explained


def _trouble(explained: Explained) -> Exception:
    if explained.retryable:
        return TransientError(explained.code, explained.error.words)
    return _FailedError(explained)
