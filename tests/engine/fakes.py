"""Fakes of the engine's other ports: time, trading, submission methods, telemetry."""

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from app.domain.attempt import Blockhash, Signed, StoredAttempt
from app.domain.errors import ReasonCode
from app.domain.order import Fill, Order, OrderStatus
from app.domain.outcome import ProgramError, Reply, ReplyOutcome
from app.engine.ports import (
    Balances,
    Draft,
    Explained,
    Hindrance,
    LandedTransaction,
    Privacy,
    Quoted,
    Simulation,
    TipNeeds,
)
from tests.domain import makers
from tests.engine.fake_chain import FakeChain
from tests.engine.fake_store import FakeDatabase
from tests.engine.scripting import Script
from tests.engine.virtual_time import START_SECONDS

SIGNED = makers.signed()
QUOTED = Quoted(SIGNED.quote, SIGNED.limit)
ACCEPTED = Reply(ReplyOutcome.ACCEPTED, "ok")
SLIPPED = Explained(makers.SLIPPAGE, ReasonCode.SLIPPAGE_EXCEEDED, retryable=True)
HOPELESS = Explained(
    ProgramError("Closed", "the pool is closed", "Closed"),
    ReasonCode.MARKET_CLOSED,
    retryable=False,
)


_serials = itertools.count(1)


class ManualClock:
    """The loop's clock, which tests turn; `skew_us` moves the wall clock by itself."""

    def __init__(self) -> None:
        self.skew_us = 0
        self._time: Callable[[], float] | None = None

    def now_us(self) -> int:
        turned = self.monotonic() - START_SECONDS
        return makers.NOW + self.skew_us + round(turned * makers.S)

    def monotonic(self) -> float:
        if self._time is None:  # looked up once: it costs a system call
            self._time = asyncio.get_running_loop().time
        return self._time()


class SkewedClock(ManualClock):
    """A process's own clock: it agrees with the world's, but for what its wall clock is out by."""

    def __init__(self, clock: ManualClock, skew_us: int) -> None:
        super().__init__()
        self.skew_us = skew_us
        self._clock = clock

    def now_us(self) -> int:
        return self._clock.now_us() + self.skew_us

    def monotonic(self) -> float:
        return self._clock.monotonic()


class FakeTrading:
    """Quotes, builds and signs; every signature it gives names order and attempt."""

    def __init__(self) -> None:
        self.script = Script()
        self.signed: list[Signed] = []
        self.earlier: list[int] = []
        self.checks: deque[Explained | None] = deque()
        self.fill_error: Exception | None = None
        self.explained = SLIPPED
        self.judge: Callable[[str], None] = lambda _order_id: None
        self.serials = _serials

    async def quote(self, order: Order) -> Quoted:
        return await self.script.run("quote", lambda: QUOTED)

    async def balances(self, wallet: str) -> Balances:
        return await self.script.run("balances", lambda: Balances(slot=1, lamports=10**12))

    async def draft(
        self,
        order: Order,
        number: int,
        quoted: Quoted,
        needs: Sequence[TipNeeds],
        earlier: Sequence[StoredAttempt],
    ) -> Draft:
        self.earlier.append(len(earlier))
        name = f"{order.order_id}/{number}"
        return await self.script.run("draft", lambda: Draft(name.encode(), 1, name))

    def check(self, draft: Draft, simulation: Simulation) -> Explained | None:
        return self.checks.popleft() if self.checks else None

    async def sign(self, draft: Draft, simulation: Simulation, blockhash: Blockhash) -> Signed:
        self.judge(str(draft.context).split("/", maxsplit=1)[0])
        return await self.script.run("sign", lambda: self._sign(draft, blockhash))

    def _sign(self, draft: Draft, blockhash: Blockhash) -> Signed:
        signature = f"{draft.context}/{next(self.serials)}"
        signed = replace(SIGNED, raw=signature.encode(), signature=signature, blockhash=blockhash)
        self.signed.append(signed)
        return signed

    def explain(self, error: object, logs: Sequence[str]) -> Explained:
        return self.explained

    def fill(self, order: Order, attempt: StoredAttempt, landed: LandedTransaction) -> Fill:
        if self.fill_error is not None:
            raise self.fill_error
        return replace(makers.FILL, slot=landed.slot)


class FakeExecutor:
    """A submission method over a fake chain; it holds the engine to its promise to store first."""

    def __init__(
        self,
        name: str,
        database: FakeDatabase,
        chain: FakeChain,
        *,
        privacy: Privacy = Privacy.PUBLIC,
    ) -> None:
        self.name = name
        self.privacy = privacy
        self.needs = TipNeeds()
        self.script = Script()
        self.admitting = True
        self.wait = 10.0
        self.shut = "breaker_open"
        self.claims: dict[str, str] = {}
        self.replies: deque[Reply] = deque()
        self.reply = ACCEPTED
        self.pushed: list[str] = []
        self.times: list[float] = []
        self.judge: Callable[[StoredAttempt], None] = lambda _attempt: None
        self._database = database
        self._chain = chain

    def hindrance(self, *, again: bool = False) -> Hindrance | None:
        return None if self.admitting else Hindrance(self.shut, self.wait)

    def reset(self) -> None:
        self.admitting = True

    def claim(self, signature: str) -> str | None:
        return self.claims.get(signature)

    def state(self) -> Mapping[str, object]:
        return {"name": self.name, "breaker": "closed" if self.admitting else "open"}

    async def submit(
        self, attempt: StoredAttempt, deadline: float, may: Callable[[], bool]
    ) -> Reply:
        self.times.append(asyncio.get_running_loop().time())
        stored = self._database.attempts(attempt.order_id)
        signed = {each.signature: each.signed.raw for each in stored}
        same = signed.get(attempt.signature) == attempt.signed.raw
        self._database.demand(same, f"{attempt.signature} pushed before it was stored")
        self.judge(attempt)
        self.pushed.append(attempt.signature)
        return await self.script.run("submit", lambda: self._take(attempt))

    def _take(self, attempt: StoredAttempt) -> Reply:
        self._chain.receive(attempt)
        return self.replies.popleft() if self.replies else self.reply


class FakeTelemetry:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def of(self, kind: str) -> list[tuple[object, ...]]:
        """Give what was told of one kind."""
        return [each[1:] for each in self.told if each[0] == kind]

    def signal(self, result: str, reason: str) -> None:
        self.told.append(("signal", result, reason))

    def order_ended(self, status: OrderStatus, reason: str) -> None:
        self.told.append(("order_ended", status, reason))

    def stage(self, stage: str, seconds: float) -> None:
        self.told.append(("stage", stage, seconds))

    def submission(self, method: str, reply: Reply, seconds: float) -> None:
        self.told.append(("submission", method, reply.outcome))

    def landing(self, method: str, result: str, slots: int | None) -> None:
        self.told.append(("landing", method, result))

    def landed_against(self, method: str, claim: str) -> None:
        self.told.append(("landed_against", method, claim))

    def disputed(self, dispute: str) -> None:
        self.told.append(("disputed", dispute))

    def fees(self, method: str, kind: str, lamports: int) -> None:
        self.told.append(("fees", method, kind, lamports))

    def resigned(self, reason: str) -> None:
        self.told.append(("resigned", reason))

    def recovered(self, to: str) -> None:
        self.told.append(("recovered", to))

    def workers_busy(self, busy: int) -> None:
        self.told.append(("workers_busy", busy))
