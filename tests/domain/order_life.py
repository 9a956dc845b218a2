"""An order's whole life against a chain that forks, forgets and does not answer.

The machine plays the engine with the pure functions alone, from what is stored alone, so that a crash
between any two steps changes nothing. Beside it stands the truth about the chain, which the engine
sees only through answers that may be late, empty or missing. The invariants are the promises.
"""

from dataclasses import dataclass, replace

import pytest
from hypothesis import event
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from app.domain import changes
from app.domain.attempt import AttemptStatus, Blockhash, StoredAttempt
from app.domain.changes import Change, apply
from app.domain.errors import IllegalMoveError, ReasonCode
from app.domain.events import Event, EventKind, verify_chain
from app.domain.order import OrderStatus, OrderView
from app.domain.outcome import (
    Absent,
    ChainStatus,
    Commitment,
    Heights,
    Proof,
    ReplyOutcome,
    Seen,
    Unreachable,
    Verdict,
    verdict,
)
from app.domain.resolution import Resolution, Word, resolved_filled, resolved_unfilled
from app.domain.retry import End, Prepare, RetryPolicy, backoff_us, next_step
from tests.domain.makers import FILL, NOW, SLIPPAGE, S, attempt, evidence, order, push, signed
from tests.domain.test_events import seal

POLICY = RetryPolicy(retry_delay_us=2 * S, max_retries=2)
LIFE_BLOCKS = 20
STEPS = list(Commitment)
TROUBLES = st.sampled_from([None] * 12 + ["death"] * 2 + ["passing"] * 2 + ["refused"])
SELDOM = st.sampled_from([False] * 7 + [True])
"""What ends a life early comes seldom, so that lives grow long."""
WAITING = frozenset({OrderStatus.QUEUED, OrderStatus.EXECUTING})
CALM = frozenset({OrderStatus.FAILED, OrderStatus.EXPIRED, OrderStatus.CANCELED})
"""Final, and never followed again."""


@dataclass
class Truth:
    """What really is on the chain of one attempt's bytes: None is nothing, so far or for good."""

    last_height: int
    commitment: Commitment | None = None
    failed: bool = False

    def forget(self) -> None:
        """A fork without the transaction wins."""
        self.commitment, self.failed = None, False


class OrderLife(RuleBasedStateMachine):
    """One order, its chain, and everything that may happen to both in any order."""

    def __init__(self) -> None:
        """Accept the order."""
        super().__init__()
        self.now = NOW
        self.height = 1_000
        self.view = OrderView(order(OrderStatus.QUEUED, deadline_us=NOW + 60 * S), ())
        self.truths: dict[int, Truth] = {}
        self.events: list[Event] = []

    # ------------------------------------------------------------------------------ the chain

    @rule(blocks=st.sampled_from([1, 5, LIFE_BLOCKS, 3 * LIFE_BLOCKS]))
    def blocks_are_finalized(self, blocks: int) -> None:
        """What is in a block that old is settled with it."""
        self.height += blocks
        for truth in self.truths.values():
            if truth.commitment is not None and self.height > truth.last_height:
                truth.commitment = Commitment.FINALIZED

    @precondition(lambda self: self.may_land())
    @rule(
        failed=st.sampled_from([False, False, True]),
        commitment=st.sampled_from(STEPS),
        data=st.data(),
    )
    def bytes_land(self, failed: bool, commitment: Commitment, data: st.DataObject) -> None:
        """Any stored bytes that are still valid may land: a stored attempt counts as sent."""
        truth = self.truths[data.draw(st.sampled_from(self.may_land()))]
        truth.commitment, truth.failed = commitment, failed

    @precondition(lambda self: self.unsettled())
    @rule(data=st.data())
    def a_landing_settles(self, data: st.DataObject) -> None:
        """Its block gains a commitment."""
        truth = self.truths[data.draw(st.sampled_from(self.unsettled()))]
        assert truth.commitment is not None
        truth.commitment = STEPS[STEPS.index(truth.commitment) + 1]

    @precondition(lambda self: self.unsettled())
    @rule()
    def a_fork_wins(self) -> None:
        """Everything that was not finalized is undone."""
        for number in self.unsettled():
            self.truths[number].forget()

    @rule(seconds=st.sampled_from([1, 1, 1, 10, 61]))
    def time_passes(self, seconds: int) -> None:
        """The clock goes on."""
        self.now += seconds * S

    def may_land(self) -> list[int]:
        """Number the attempts whose bytes are valid and not on the chain."""
        return [
            number
            for number, truth in self.truths.items()
            if truth.commitment is None and self.height <= truth.last_height
        ]

    def unsettled(self) -> list[int]:
        """Number the attempts that a fork could still undo."""
        return [
            number
            for number, truth in self.truths.items()
            if truth.commitment in {Commitment.PROCESSED, Commitment.CONFIRMED}
        ]

    # ----------------------------------------------------------------------------- the engine

    def record(self, *steps: Change) -> None:
        """Store changes as one unit, with their events."""
        for change in steps:
            before, after = self.view.order.status, apply(self.view, change)
            if before.final and after.order.status is not before:
                assert (before, change.kind) == (OrderStatus.FILLED, EventKind.FILL_REVERTED)
            self.view = after
            self.events.append(
                Event(
                    order_id=self.view.order.order_id,
                    seq=len(self.events) + 1,
                    at_us=change.at_us,
                    kind=change.kind,
                    data=change.data,
                )
            )

    def set_order(self, **fields: object) -> None:
        """Write what the store writes by itself: claims, cancellations, the move at STORE."""
        status = fields.get("status")
        if isinstance(status, OrderStatus):
            self.view.order.status.to(status)
        self.view = replace(self.view, order=replace(self.view.order, **fields))  # type: ignore[arg-type]

    @initialize(trouble=TROUBLES)
    def make_the_first_pass(self, trouble: str | None) -> None:
        """Most of a life comes after it."""
        self.make_a_pass(trouble)

    @precondition(lambda self: self.view.order.status in WAITING)
    @rule(trouble=TROUBLES)
    def make_a_pass(self, trouble: str | None) -> None:
        """Claim the order once it is due, unless a process died with it, and take the next step.

        That is to sign the next attempt, or to end, or to go back with a passing trouble.
        """
        if self.is_(OrderStatus.QUEUED):
            self.now = max(self.now, self.view.order.next_attempt_at_us)
            self.set_order(status=OrderStatus.EXECUTING)
        if trouble == "death":
            return
        step = next_step(self.view, self.now, POLICY)
        if isinstance(step, End):
            self.end(step)
        elif trouble == "passing":
            self.requeue(ReasonCode.CHAIN_UNAVAILABLE)
        elif trouble == "refused":
            code = ReasonCode.PRICE_LIMIT
            self.record(
                changes.ended(
                    self.view, OrderStatus.FAILED, at_us=self.now, code=code, reason="outside"
                )
            )
        else:
            assert isinstance(step, Prepare)
            self.store(step.number)

    def store(self, number: int) -> None:
        """Commit the signed bytes; from here on they may land."""
        blockhash = Blockhash("blockhash", self.height + LIFE_BLOCKS, self.height)
        new = attempt(number=number, signed=replace(signed(number), blockhash=blockhash))
        self.truths[number] = Truth(blockhash.last_valid_block_height)
        self.set_order(status=OrderStatus.SUBMITTED)
        self.view = replace(self.view, attempts=(*self.view.attempts, new))

    @precondition(lambda self: self.view.live_attempt is not None)
    @rule(outcome=st.sampled_from(ReplyOutcome))
    def push_the_bytes(self, outcome: ReplyOutcome) -> None:
        """Whatever the reply is, it settles nothing."""
        live = self.live()
        self.record(changes.submitted(live, (push(outcome=outcome),), at_us=self.now))

    @precondition(lambda self: not self.view.order.status.final)
    @rule(really=SELDOM)
    def the_trader_cancels(self, really: bool) -> None:
        """Without a live attempt the order ends, with one the wish is noted."""
        if not really:
            return
        if self.view.live_attempt is not None:
            self.set_order(cancel_requested_at_us=self.now)
            return
        code = ReasonCode.CANCEL_REQUESTED
        self.record(
            changes.ended(
                self.view, OrderStatus.CANCELED, at_us=self.now, code=code, reason="wished"
            )
        )

    @precondition(lambda self: self.view.live_attempt is not None)
    @rule(data=st.data(), overdue=st.booleans())
    def look(self, data: st.DataObject, overdue: bool) -> None:
        """Read heights, then the status, then what proof there is; do what follows."""
        live = self.live()
        heights = data.draw(st.sampled_from([None, *self.readable_heights()]))
        status = data.draw(st.sampled_from(self.answers(live.number)))
        proof = self.proof(live) if data.draw(st.booleans()) else None
        known = verdict(
            status,
            last_valid_block_height=live.last_valid_block_height,
            heights=heights,
            overdue=overdue,
            proof=proof,
        )
        self.follow(live, known, proof)

    def follow(self, live: StoredAttempt, known: Verdict, proof: Proof | None) -> None:
        """Record what a verdict means."""
        match known:
            case Verdict.WAIT:
                pass
            case Verdict.LANDED:
                truth = self.truths[live.number]  # read back: getTransaction at confirmed
                if truth.commitment in STEPS[1:] and not truth.failed:
                    self.record(changes.filled(live, FILL, at_us=self.now))
            case Verdict.FAILED_UNSETTLED:
                self.record(changes.landed_failed(live, slot=1, at_us=self.now))
            case Verdict.FAILED:
                self.record(changes.attempt_failed(live, SLIPPAGE, slot=1, at_us=self.now))
                self.go_on()
            case Verdict.EXPIRED:
                assert proof is not None
                self.record(changes.attempt_expired(live, proof, at_us=self.now))
                self.go_on()
            case Verdict.IN_DOUBT:
                self.record(changes.in_doubt(live, at_us=self.now, why="nobody knows"))

    def go_on(self) -> None:
        """An attempt died: end, or queue for the next one."""
        step = next_step(self.view, self.now, POLICY)
        if isinstance(step, End):
            self.end(step)
        else:
            assert isinstance(step, Prepare)
            self.requeue(ReasonCode.ATTEMPT_EXPIRED)

    def end(self, step: End) -> None:
        """Record an end that was decided."""
        self.record(
            changes.ended(
                self.view, step.status, at_us=self.now, code=step.code, reason=step.reason
            )
        )

    def requeue(self, code: ReasonCode) -> None:
        """Back off."""
        due = self.now + backoff_us(POLICY, self.view.order.tries + 1, 500)
        self.record(
            changes.requeued(self.view, at_us=self.now, next_us=due, code=code, reason="trouble")
        )

    @precondition(lambda self: self.view.order.in_doubt_since_us is not None)
    @rule(really=SELDOM)
    def an_operator_resolves(self, really: bool) -> None:
        """Somebody who knows the truth ends a doubt: filled when it traded, unfilled when it is dead."""
        live = self.live()
        truth = self.truths[live.number]
        if not really:
            return
        if truth.commitment in STEPS[1:] and not truth.failed:
            word = Word(Resolution.FILLED, "seen")
            self.record(*resolved_filled(self.view, word, (), by="me", at_us=self.now, fill=FILL))
        elif self.is_truly_dead(live.number):
            how = Resolution.FAILED if truth.failed else Resolution.EXPIRED
            word, error = Word(how, "seen"), SLIPPAGE if truth.failed else None
            self.record(
                *resolved_unfilled(self.view, word, (), by="me", at_us=self.now, error=error)
            )

    @precondition(lambda self: self.is_(OrderStatus.FILLED))
    @rule()
    def follow_the_fill(self) -> None:
        """Until it is finalized a fork may undo it."""
        landed = self.view.attempts[-1]
        truth = self.truths[landed.number]
        proof = self.proof(landed)
        if proof is not None:
            self.record(changes.fill_reverted(landed, at_us=self.now, proof=proof))
        elif truth.commitment is Commitment.FINALIZED and truth.failed:
            reverted = changes.fill_reverted(landed, at_us=self.now, error=SLIPPAGE, slot=2)
            self.record(reverted)
        elif truth.commitment is Commitment.FINALIZED:
            self.record(changes.finalized(landed, slot=2, at_us=self.now))

    @precondition(lambda self: self.view.live_attempt is not None)
    @rule(height=st.integers(-3, 0), slots=st.integers(-3, -1), history=st.integers(1, 3))
    def somebody_offers_a_weak_proof(self, height: int, slots: int, history: int) -> None:
        """Not expired yet, or asked an older bank, or with a pruned history: nothing dies of it."""
        live = self.live()
        slot = live.signed.blockhash.slot
        good = {"height": live.last_valid_block_height + 1, "ledger_slot_min": slot}
        for weak in (
            {**good, "height": live.last_valid_block_height + height},
            {**good, "context_slot": 6_000 + slots},
            {**good, "invalid_slot": 6_000 + slots},
            {**good, "ledger_slot_min": slot + history},
        ):
            with pytest.raises(IllegalMoveError):
                changes.attempt_expired(live, Proof((evidence(**weak),)), at_us=self.now)

    # ------------------------------------------------------------------------ what can be known

    def answers(self, number: int) -> list[ChainStatus]:
        """List what honest nodes may say: the truth, less of it, or nothing at all."""
        truth = self.truths[number]
        error = SLIPPAGE.raw if truth.failed else None
        reached = STEPS[: STEPS.index(truth.commitment) + 1] if truth.commitment else []
        seen = [Seen(1, commitment, error, 2) for commitment in reached]
        return [Unreachable("timeout"), Absent(0), *seen, *seen[-1:]]

    def readable_heights(self) -> list[Heights]:
        """List what nodes may say of the height: how it is, or how it was."""
        return [Heights(self.height, self.height - lag) for lag in (0, 1, LIFE_BLOCKS)]

    def proof(self, asked: StoredAttempt) -> Proof | None:
        """Prove, as one honest node can, that the bytes are gone for good."""
        truth = self.truths[asked.number]
        if self.height <= truth.last_height or truth.commitment is not None:
            return None
        slot = asked.signed.blockhash.slot
        return Proof((evidence(height=self.height, ledger_slot_min=slot),))

    def is_(self, status: OrderStatus) -> bool:
        """Tell whether the order has this status."""
        return self.view.order.status is status

    def live(self) -> StoredAttempt:
        """Give the attempt that a precondition said is alive."""
        assert self.view.live_attempt is not None
        return self.view.live_attempt

    def is_truly_dead(self, number: int) -> bool:
        """Tell, by the truth, that the bytes have not traded and never will."""
        truth = self.truths[number]
        if truth.commitment is None:
            return self.height > truth.last_height
        return truth.commitment is Commitment.FINALIZED and truth.failed

    # ---------------------------------------------------------------------------- the promises

    @invariant()
    def at_most_one_attempt_is_alive(self) -> None:
        """And it belongs to an order that says submitted."""
        alive = [one for one in self.view.attempts if one.status.live]
        assert len(alive) <= 1
        assert not alive or self.is_(OrderStatus.SUBMITTED)

    @invariant()
    def whenever_asked_new_bytes_need_every_reason(self) -> None:
        """All earlier ones dead, time and retries left, no wish to cancel, no end yet."""
        if self.view.order.status in CALM:
            with pytest.raises(IllegalMoveError):
                next_step(self.view, self.now, POLICY)
        elif isinstance(next_step(self.view, self.now, POLICY), Prepare):
            assert all(self.is_truly_dead(number) for number in self.truths)
            assert self.now < self.view.order.deadline_us
            assert self.view.order.cancel_requested_at_us is None
            assert len(self.view.attempts) <= POLICY.max_retries
            assert not self.view.order.status.final

    @invariant()
    def an_order_trades_at_most_once(self) -> None:
        """Of all bytes ever signed, those of one attempt at most are on the chain as a trade."""
        traded = [one for one in self.truths.values() if one.commitment and not one.failed]
        assert len(traded) <= 1

    @invariant()
    def whoever_is_called_dead_is_dead(self) -> None:
        """Only the last attempt may be anything else."""
        for one in self.view.attempts:
            assert not one.status.dead or self.is_truly_dead(one.number)
        assert all(one.status.dead for one in self.view.attempts[:-1])

    @invariant()
    def unknown_is_never_final(self) -> None:
        """What is called failed, expired or canceled has not traded and never will."""
        if self.view.order.status in CALM:
            assert all(self.is_truly_dead(number) for number in self.truths)

    @invariant()
    def a_fill_has_its_landing(self) -> None:
        """Filled and landed are one thing; doubt and suspense are over with it."""
        landed = [one for one in self.view.attempts if one.status is AttemptStatus.LANDED]
        assert len(landed) == self.is_(OrderStatus.FILLED)
        if landed:
            assert self.view.order.fill == FILL
            assert self.view.order.in_doubt_since_us is None

    @invariant()
    def a_reverted_fill_is_never_retried(self) -> None:
        """What a fork took back stays taken back, under its own code."""
        if any(one.kind is EventKind.FILL_REVERTED for one in self.events):
            assert self.view.order.reason_code is ReasonCode.FILL_REVERTED
            assert self.is_(OrderStatus.FAILED)

    @invariant()
    def retries_are_counted(self) -> None:
        """Two retries are three attempts at most."""
        assert len(self.view.attempts) <= POLICY.max_retries + 1

    def teardown(self) -> None:
        """The trail of this life seals and verifies."""
        assert verify_chain(seal(self.events)) is None
        last = self.view.order
        event(f"{last.status} {last.reason_code} after {len(self.view.attempts)} attempts")
