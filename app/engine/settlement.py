"""What is done with a verdict: fills, failures, expiries and doubts are recorded here."""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog

from app.domain import changes
from app.domain.attempt import StoredAttempt
from app.domain.changes import Change
from app.domain.order import Fill, OrderView
from app.domain.outcome import NotProved, Seen, Unreachable
from app.domain.retry import RetryPolicy
from app.domain.signal import US
from app.engine.aftermath import after_death
from app.engine.disputes import Disputes
from app.engine.held import Held
from app.engine.ports import Explained, LandedTransaction, Ports, ProvedFailure

JITTER_MAX: Final = 1_000
NO_METHOD: Final = "none"
"""The label of a landing that no method accepted, e.g. one whose answers were all lost."""

Claims = Callable[[StoredAttempt], Mapping[str, str]]

_log = structlog.get_logger(__name__)


class Settlement:
    """Settles attempts from evidence; whatever cannot be settled now is left alive for the next look."""

    def __init__(self, ports: Ports, policy: RetryPolicy, claims: Claims) -> None:
        """`policy` decides what becomes of an order whose attempt died.

        `claims` gives by method what it said of an attempt that would not land; never a proof.
        """
        self._claims = claims
        self._chain = ports.chain
        self._trading = ports.trading
        self._clock = ports.clock
        self._telemetry = ports.telemetry
        self._policy = policy
        self._disputes = Disputes(ports)

    async def landed(self, held: Held, attempt: StoredAttempt) -> bool:
        """Record a fill, once the transaction itself says at `confirmed` that it did not fail.

        The status alone is no proof of success: its error is read from the processed bank.
        """
        fill = await self._read_fill(held, attempt)
        if fill is None:
            return False
        at_us, claims = self._clock.now_us(), self._claims(attempt)

        def make(view: OrderView) -> Sequence[Change]:
            current = _attempt(view, attempt.number)
            if not current.status.live:
                return []
            return [changes.filled(current, fill, at_us=at_us, claims=claims)]

        if await held.record(make):
            self._count_landing(held, attempt.number, "filled", fill)
            self._tell_claims(held, claims)
            self._telemetry.stage("land", (at_us - attempt.signed_at_us) / US)
        held.settled.set()
        return True

    async def _read_fill(self, held: Held, attempt: StoredAttempt) -> Fill | None:
        landed = await self._chain.transaction(attempt.signature)
        if landed is None or isinstance(landed, Unreachable) or landed.error is not None:
            return None
        try:
            return self._trading.fill(held.view.order, attempt, landed)
        except Exception:  # noqa: BLE001 - it landed: a fill that cannot be read is never a failure
            _log.exception("a fill could not be read", order_id=held.order_id)
            return None

    def _count_landing(self, held: Held, number: int, result: str, fill: Fill) -> None:
        attempt = _attempt(held.view, number)
        method = attempt.landing_method or NO_METHOD
        self._telemetry.landing(method, result, fill.slot - attempt.signed.blockhash.slot)
        self._telemetry.fees(method, "network", fill.network_fee)
        self._telemetry.fees(method, "priority", fill.priority_fee)
        self._telemetry.fees(method, "tip", fill.tip)

    def _tell_claims(self, held: Held, claims: Mapping[str, str]) -> None:
        """Count and tell what landed although a method had said that it would not."""
        for method, claim in claims.items():
            self._telemetry.landed_against(method, claim)
            _log.warning(
                "landed against a method's word",
                order_id=held.order_id,
                method=method,
                claim=claim,
            )

    async def landed_failed(self, held: Held, attempt: StoredAttempt, seen: Seen) -> None:
        """Note a failure that is not final yet: the attempt stays live, the order shows it.

        It has landed, so it needs no slot; a fork may undo it, so it is watched on.
        """
        at_us = self._clock.now_us()

        def make(view: OrderView) -> Sequence[Change]:
            if view.order.landed_failed_at_us is not None:
                return []
            return [changes.landed_failed(attempt, slot=seen.slot, at_us=at_us)]

        await held.record(make)
        held.settled.set()

    async def failed(self, held: Held, attempt: StoredAttempt, *, past: bool) -> bool:
        """Record a failure in a finalized block once it is proved: the attempt is dead.

        Without proof it stays alive, and past its life its order is in doubt.
        """
        proof = await self._chain.prove_failed(attempt)
        if isinstance(proof, NotProved):
            await self._disputes.tell(held, attempt, proof)
            if past:
                await self.doubt(held, attempt, proof.reason)
            return False
        landed, explained = proof.landed, self._explain(proof)
        await self._learn_of_cancel(held)
        at_us, claims = self._clock.now_us(), self._claims(attempt)

        def make(view: OrderView) -> Sequence[Change]:
            current = _attempt(view, attempt.number)
            dead = changes.attempt_failed(
                current,
                explained.error,
                slot=landed.slot,
                at_us=at_us,
                claims=claims,
                evidence=proof.evidence,
            )
            return [dead, self._after(view, dead, explained, at_us)]

        if await held.record(make):
            self._count_failure(held, attempt.number, landed)
            self._tell_claims(held, claims)
        held.settled.set()
        return True

    def _explain(self, proof: ProvedFailure) -> Explained:
        return self._trading.explain(proof.landed.error, proof.landed.logs)

    def _count_failure(self, held: Held, number: int, landed: LandedTransaction) -> None:
        attempt = _attempt(held.view, number)
        method = attempt.landing_method or NO_METHOD
        self._telemetry.landing(method, "failed", landed.slot - attempt.signed.blockhash.slot)
        self._telemetry.fees(method, "failed", landed.fee_lamports)

    async def past_life(self, held: Held, attempt: StoredAttempt) -> bool:
        """Prove the attempt dead, or put the order in doubt and give its slot back."""
        proof = await self._chain.prove_dead(attempt)
        if isinstance(proof, NotProved):
            await self._disputes.tell(held, attempt, proof)
            await self.doubt(held, attempt, proof.reason)
            return False
        await self._learn_of_cancel(held)
        at_us = self._clock.now_us()

        def make(view: OrderView) -> Sequence[Change]:
            current = _attempt(view, attempt.number)
            dead = changes.attempt_expired(current, proof, at_us=at_us)
            return [dead, self._after(view, dead, None, at_us)]

        await held.record(make)
        held.settled.set()
        return True

    async def _learn_of_cancel(self, held: Held) -> None:
        """Read the order again before its attempt is buried: a cancellation may wait for just this."""
        await held.reload()

    async def doubt(self, held: Held, attempt: StoredAttempt, why: str) -> None:
        """Put the order in doubt, once, and give its slot back."""
        at_us = self._clock.now_us()

        def make(view: OrderView) -> Sequence[Change]:
            if view.order.in_doubt_since_us is not None:
                return []
            _log.error("order in doubt", order_id=held.order_id, why=why)
            return [changes.in_doubt(attempt, at_us=at_us, why=why)]

        await held.record(make)
        held.settled.set()

    def _after(
        self, view: OrderView, dead: Change, explained: Explained | None, at_us: int
    ) -> Change:
        jitter = random.randint(0, JITTER_MAX)  # noqa: S311 - spreads retries, guards nothing
        buried = changes.apply(view, dead)
        return after_death(buried, explained, at_us=at_us, policy=self._policy, jitter=jitter)

    # ------------------------------------------------------------ fills, until finalized

    async def finalized(self, held: Held, attempt: StoredAttempt, seen: Seen) -> bool:
        """The fill's block is finalized: settle it for good, or take it back when it failed there.

        In another block than the one it was first seen in it may have filled at another price.
        """
        if seen.error is not None:
            return await self._failed_after_all(held, attempt)
        fill, moved = held.view.order.fill, None
        if fill is None or fill.slot != seen.slot:
            moved = await self._read_fill(held, attempt)
            if moved is None or moved.slot != seen.slot:  # the node read from may lag behind
                return False
        at_us = self._clock.now_us()
        return await held.record(
            lambda _view: [changes.finalized(attempt, slot=seen.slot, at_us=at_us, moved=moved)]
        )

    async def _failed_after_all(self, held: Held, attempt: StoredAttempt) -> bool:
        proof = await self._chain.prove_failed(attempt)
        if isinstance(proof, NotProved):
            await self._disputes.tell(held, attempt, proof)
            return False
        error, slot, evidence = self._explain(proof).error, proof.landed.slot, proof.evidence
        return await self._reverted(
            held,
            attempt,
            lambda current, at_us: changes.fill_reverted(
                current, at_us=at_us, error=error, slot=slot, evidence=evidence
            ),
        )

    async def fill_absent(self, held: Held, attempt: StoredAttempt) -> bool:
        """The chain no longer shows a fill past its life: take it back when that is proved."""
        proof = await self._chain.prove_dead(attempt)
        if isinstance(proof, NotProved):
            await self._disputes.tell(held, attempt, proof)
            return False
        return await self._reverted(
            held,
            attempt,
            lambda current, at_us: changes.fill_reverted(current, at_us=at_us, proof=proof),
        )

    async def _reverted(
        self, held: Held, attempt: StoredAttempt, change: Callable[[StoredAttempt, int], Change]
    ) -> bool:
        _log.critical("a fork undid a fill", order_id=held.order_id, signature=attempt.signature)
        at_us = self._clock.now_us()
        return await held.record(lambda view: [change(_attempt(view, attempt.number), at_us)])


def _attempt(view: OrderView, number: int) -> StoredAttempt:
    return next(attempt for attempt in view.attempts if attempt.number == number)
