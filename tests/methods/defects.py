"""Engines with a defect each, to show that the oracle sees what it is there to see."""

from collections.abc import Callable
from dataclasses import replace

from app.domain import changes
from app.domain.attempt import AttemptStatus, LanePlan, Signed, StoredAttempt, Submission
from app.domain.changes import Change
from app.domain.errors import ReasonCode
from app.domain.lanes import Turn
from app.domain.order import Order, OrderStatus, OrderView
from app.domain.outcome import ChainStatus, Evidence, Heights, Proof, ReplyOutcome, Seen
from app.engine.confirmation import Confirmation, _Watched
from app.engine.held import Held
from app.engine.lifecycle import Lifecycle
from app.engine.ports import Executor
from app.engine.transaction_executor import TransactionExecutor
from tests.methods.rig import MethodsRig, transaction

UNSEEN_SECONDS = 4.0
"""How long who loses patience with the chain waits for bytes that were accepted."""


class Hasty(Confirmation):
    """Buries an attempt without a proof; the evidence that it records is made up."""

    def gives_up(self, watched: _Watched) -> bool:
        """Say when."""
        raise NotImplementedError

    def and_then(self, view: OrderView, at_us: int) -> Change:
        """Say what becomes of the order."""
        raise NotImplementedError

    def _judge(self, watched: _Watched, status: ChainStatus, heights: Heights | None) -> None:
        if not isinstance(status, Seen) and watched.pushes and self.gives_up(watched):
            self._spawn(watched, lambda: self._bury(watched))
        else:
            super()._judge(watched, status, heights)

    async def _bury(self, watched: _Watched) -> None:
        attempt, at_us = watched.attempt, self._clock.now_us()
        slot, height = attempt.signed.blockhash.slot, attempt.last_valid_block_height + 1
        proof = Proof((Evidence("made up", slot, height, slot, 0, slot),))

        def make(view: OrderView) -> list[Change]:
            dead = changes.attempt_expired(attempt, proof, at_us=at_us)
            return [dead, self.and_then(changes.apply(view, dead), at_us)]

        await watched.held.record(make)
        watched.held.settled.set()
        self._settled(watched)


class BelievesRefusals(Hasty):
    """Takes it for a proof that every lane refused, and signs anew."""

    def gives_up(self, watched: _Watched) -> bool:
        return all(push.outcome is ReplyOutcome.REJECTED for push in watched.pushes)

    def and_then(self, view: OrderView, at_us: int) -> Change:
        code = ReasonCode.ATTEMPT_EXPIRED
        return changes.requeued(view, at_us=at_us, next_us=at_us, code=code, reason="refused")


class CallsDroppedFailed(Hasty):
    """Calls an order failed whose bytes were accepted and not seen for a while."""

    def gives_up(self, watched: _Watched) -> bool:
        waited = self._clock.now_us() - watched.attempt.signed_at_us
        held = any(push.outcome is ReplyOutcome.ACCEPTED for push in watched.pushes)
        return held and waited > UNSEEN_SECONDS * 1_000_000

    def and_then(self, view: OrderView, at_us: int) -> Change:
        code = ReasonCode.RETRIES_EXHAUSTED
        return changes.ended(view, OrderStatus.FAILED, at_us=at_us, code=code, reason="dropped")


class BelievesClaims(CallsDroppedFailed):
    """Calls an order failed of whose bytes a method says that they will not land."""

    def gives_up(self, watched: _Watched) -> bool:
        return bool(self._executor.claims(watched.attempt))


class Forgets(Confirmation):
    """Never watches the second attempt of an order."""

    def watch(self, held: Held) -> None:
        if held.live is None or held.live.number == 1:
            super().watch(held)


class RecordsNoRefusals(Confirmation):
    """Keeps to itself what a method refused."""

    def _pushed(self, watched: _Watched, submission: Submission) -> None:
        if submission.outcome is ReplyOutcome.REJECTED:
            watched.pushes.append(submission)
        else:
            super()._pushed(watched, submission)


class PushesFirst(Lifecycle):
    """Pushes what is signed, then stores it."""

    async def _keep(self, held: Held, plan: LanePlan, signed: Signed) -> None:
        attempt = StoredAttempt(
            attempt_id="not stored",
            order_id=held.order_id,
            number=len(held.view.attempts) + 1,
            wallet="main",
            status=AttemptStatus.SIGNED,
            plan=plan,
            signed=signed,
            signed_at_us=self._clock.now_us(),
        )
        everywhere = Turn(tuple(lane.method for lane in plan.lanes), frozenset(), frozenset())
        await self._executor.push(attempt, everywhere, lambda: True, lambda _submission: None)
        await super()._keep(held, plan, signed)


class GoesPublic(TransactionExecutor):
    """Has the public lanes behind the private ones, whatever the order says."""

    def plan(self, order: Order, *, was_private: bool = False) -> LanePlan | None:
        return super().plan(
            replace(order, signal=replace(order.signal, allow_public_fallback=True))
        )


class SignsForEachLane(TransactionExecutor):
    """Gives each lane bytes of its own, with a tip to nobody else."""

    async def _submit(
        self, executor: Executor, attempt: StoredAttempt, may: Callable[[], bool]
    ) -> Submission:
        memo = f"synergy7:{attempt.order_id}/{attempt.number}/{'0' * 16}"
        raw = transaction(memo, [executor.needs], attempt.signed.blockhash.blockhash)
        own = replace(attempt, signed=replace(attempt.signed, raw=raw))
        return await super()._submit(executor, own, may)


def with_confirmation(kind: type[Confirmation]) -> type[MethodsRig]:
    """Make processes that watch in another way."""
    return type("Defective", (MethodsRig,), {"confirmation_kind": kind})


def with_executor(kind: type[TransactionExecutor]) -> type[MethodsRig]:
    """Make processes that push in another way."""
    return type("Defective", (MethodsRig,), {"executor_kind": kind})


def with_lifecycle(kind: type[Lifecycle]) -> type[MethodsRig]:
    """Make processes that go another way from queue to store."""
    return type("Defective", (MethodsRig,), {"lifecycle_kind": kind})
