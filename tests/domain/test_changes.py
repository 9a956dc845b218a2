"""Changes: what each sets and tells, and what may not be recorded at all."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from app.domain import changes
from app.domain.attempt import AttemptStatus
from app.domain.changes import Change, apply
from app.domain.errors import IllegalMoveError, ReasonCode
from app.domain.events import EventKind
from app.domain.order import OrderStatus, OrderView
from app.domain.outcome import FailureEvidence, Proof, ReplyOutcome
from tests.domain.makers import (
    FILL,
    NOW,
    PROOF,
    SLIPPAGE,
    attempt,
    evidence,
    push,
    view,
)

SIGNED, SUBMITTED, LANDED = AttemptStatus.SIGNED, AttemptStatus.SUBMITTED, AttemptStatus.LANDED
DEAD = [AttemptStatus.FAILED, AttemptStatus.EXPIRED]
LIVE = attempt(SUBMITTED)
Make = Callable[[OrderView], Change]
ENDS = [OrderStatus.FAILED, OrderStatus.EXPIRED, OrderStatus.CANCELED]


def watched(**given: object) -> OrderView:
    """Make an order whose only attempt has been pushed."""
    return view(OrderStatus.SUBMITTED, SUBMITTED, **given)


def filled_view(**given: object) -> OrderView:
    """Make an order whose only attempt has landed."""
    return view(OrderStatus.FILLED, LANDED, fill=FILL, filled_at_us=NOW, **given)


def ended(stored: OrderView, status: OrderStatus = OrderStatus.FAILED) -> Change:
    """End an order, for whatever reason."""
    return changes.ended(stored, status, at_us=NOW, code=ReasonCode.ORDER_TIMEOUT, reason="late")


def requeued(stored: OrderView) -> Change:
    """Send an order back for ten microseconds."""
    code = ReasonCode.CHAIN_UNAVAILABLE
    return changes.requeued(stored, at_us=NOW, next_us=NOW + 10, code=code, reason="no node")


def test_going_back_to_the_queue_counts_the_try() -> None:
    """The order waits until the time it was given, with the trouble it had."""
    after = apply(view(tries=2), requeued(view(tries=2))).order
    assert (after.status, after.next_attempt_at_us) == (OrderStatus.QUEUED, NOW + 10)
    assert (after.reason_code, after.reason) == (ReasonCode.CHAIN_UNAVAILABLE, "no node")
    assert after.tries == 3


@pytest.mark.parametrize("status", ENDS)
def test_an_end_without_a_fill_says_why(status: OrderStatus) -> None:
    """Code, words and the decoded error are kept; doubt is over."""
    stored = view(OrderStatus.EXECUTING, in_doubt_since_us=NOW - 1)
    change = changes.ended(
        stored,
        status,
        at_us=NOW,
        code=ReasonCode.SLIPPAGE_EXCEEDED,
        reason="moved",
        program_error=SLIPPAGE,
    )
    after = apply(stored, change).order
    assert (after.status, after.ended_at_us, after.in_doubt_since_us) == (status, NOW, None)
    assert (after.reason_code, after.reason) == (ReasonCode.SLIPPAGE_EXCEEDED, "moved")
    assert after.program_error == SLIPPAGE.document() == change.data["program_error"]


@pytest.mark.parametrize("make", [ended, requeued])
@pytest.mark.parametrize("status", [SIGNED, SUBMITTED, LANDED])
def test_nothing_ends_or_waits_before_its_attempts_are_dead(
    make: Make, status: AttemptStatus
) -> None:
    """An attempt that landed, or still may, forbids it; the check is made when the change is."""
    with pytest.raises(IllegalMoveError, match="an attempt that is not dead"):
        make(view(OrderStatus.SUBMITTED, DEAD[0], status))
    make(view(OrderStatus.SUBMITTED, *DEAD))


@pytest.mark.parametrize("make", [ended, requeued])
def test_a_change_made_for_an_older_state_is_not_applied(make: Make) -> None:
    """What was decided with nothing alive is refused once an attempt is."""
    with pytest.raises(IllegalMoveError, match="with attempts"):
        apply(watched(), make(view()))


@pytest.mark.parametrize("status", [OrderStatus.QUEUED, OrderStatus.SUBMITTED, OrderStatus.FILLED])
def test_only_an_end_without_a_fill_is_one(status: OrderStatus) -> None:
    """A fill needs its evidence, and what goes on has not ended."""
    with pytest.raises(IllegalMoveError, match="is no end without a fill"):
        ended(view(), status)


@pytest.mark.parametrize(
    ("before", "after"), [(SIGNED, SUBMITTED), (SUBMITTED, SUBMITTED), (LANDED, LANDED)]
)
def test_a_push_is_added_to_those_before(before: AttemptStatus, after: AttemptStatus) -> None:
    """The first makes the attempt submitted; a late answer after the landing is told too."""
    stored = view(OrderStatus.FILLED if before is LANDED else OrderStatus.SUBMITTED, before)
    for outcome in (ReplyOutcome.UNKNOWN, ReplyOutcome.ACCEPTED):
        change = changes.submitted(stored.attempts[0], (push("rpc", outcome),), at_us=NOW)
        stored = apply(stored, change)
    assert stored.attempts[0].status is after
    assert [one.outcome for one in stored.attempts[0].submissions] == ["unknown", "accepted"]


def test_a_fill_settles_everything() -> None:
    """The trouble on the way is cleared, the attempt has landed, the slot is kept."""
    stored = watched(
        reason_code=ReasonCode.CHAIN_UNAVAILABLE,
        reason="no node",
        in_doubt_since_us=NOW,
        landed_failed_at_us=NOW,
    )
    after = apply(stored, changes.filled(stored.attempts[0], FILL, at_us=NOW + 1))
    order = after.order
    assert (order.status, order.fill) == (OrderStatus.FILLED, FILL)
    assert (order.filled_at_us, order.ended_at_us) == (NOW + 1, NOW + 1)
    trouble = (order.reason_code, order.reason, order.in_doubt_since_us, order.landed_failed_at_us)
    assert trouble == (None, None, None, None)
    assert (after.attempts[0].status, after.attempts[0].landed_slot) == (LANDED, FILL.slot)


def test_a_finalized_fill_keeps_its_last_slot() -> None:
    """A fork may have moved the transaction to another block before."""
    stored = filled_view()
    after = apply(stored, changes.finalized(stored.attempts[0], slot=5_009, at_us=NOW + 9))
    assert (after.order.status, after.order.finalized_at_us) == (OrderStatus.FILLED, NOW + 9)
    assert after.attempts[0].landed_slot == 5_009
    assert after.order.fill == FILL


def test_a_fill_that_moved_is_kept_as_it_is_where_it_is_final() -> None:
    """Behind other trades the same bytes filled at another price: order and event tell that one."""
    stored = filled_view()
    moved = replace(FILL, quote_amount=FILL.quote_amount - 7, slot=5_009)
    change = changes.finalized(stored.attempts[0], slot=5_009, at_us=NOW + 9, moved=moved)
    assert apply(stored, change).order.fill == moved
    assert change.data["quote_amount"] == str(moved.quote_amount)


def test_a_fill_undone_by_a_fork_fails_the_order() -> None:
    """Gone for good: the fill is no more, the proof is kept."""
    stored = filled_view()
    change = changes.fill_reverted(stored.attempts[0], at_us=NOW + 1, proof=PROOF)
    after = apply(stored, change)
    assert (after.order.status, after.order.reason_code) == ("failed", "FILL_REVERTED")
    assert (after.order.fill, after.order.filled_at_us, after.order.ended_at_us) == (
        None,
        None,
        NOW + 1,
    )
    assert (after.attempts[0].status, after.attempts[0].proof) == (AttemptStatus.EXPIRED, PROOF)


def test_a_fill_that_failed_on_the_other_fork_fails_the_order() -> None:
    """Landed again with an error: the error and its slot are kept."""
    stored = filled_view()
    change = changes.fill_reverted(stored.attempts[0], at_us=NOW, error=SLIPPAGE, slot=5_020)
    after = apply(stored, change).attempts[0]
    assert (after.status, after.error) == (AttemptStatus.FAILED, SLIPPAGE.document())
    assert after.landed_slot == 5_020


@pytest.mark.parametrize("proof", [None, Proof(()), Proof((evidence(height=1),))])
def test_death_without_a_proof_is_not_recorded(proof: Proof | None) -> None:
    """Neither a live attempt nor a landed one dies of evidence that does not cover its bytes."""
    with pytest.raises(IllegalMoveError, match="not proved dead"):
        changes.fill_reverted(attempt(LANDED), at_us=NOW, proof=proof)
    with pytest.raises(IllegalMoveError, match="not proved dead"):
        changes.attempt_expired(LIVE, proof or Proof(()), at_us=NOW)


def test_a_failure_that_may_be_undone_is_only_shown() -> None:
    """The attempt stays alive until the block is finalized."""
    after = apply(watched(), changes.landed_failed(LIVE, slot=5_001, at_us=NOW))
    assert after.order.landed_failed_at_us == NOW
    assert (after.order.status, after.attempts) == (OrderStatus.SUBMITTED, watched().attempts)


def test_a_finalized_failure_kills_the_attempt() -> None:
    """The order is in no doubt and no suspense any more, and counts its tries anew."""
    stored = watched(in_doubt_since_us=NOW, landed_failed_at_us=NOW, tries=2)
    after = apply(stored, changes.attempt_failed(LIVE, SLIPPAGE, slot=5_001, at_us=NOW))
    order = after.order
    assert (order.in_doubt_since_us, order.landed_failed_at_us, order.tries) == (None, None, 0)
    dead = after.attempts[0]
    assert (dead.status, dead.landed_slot) == (AttemptStatus.FAILED, 5_001)
    assert dead.error == SLIPPAGE.document()


def test_a_proof_kills_the_attempt() -> None:
    """A failure seen before on a fork that is gone is forgotten; the proof is kept."""
    stored = watched(in_doubt_since_us=NOW, landed_failed_at_us=NOW, tries=2)
    after = apply(stored, changes.attempt_expired(LIVE, PROOF, at_us=NOW))
    order = after.order
    assert (order.in_doubt_since_us, order.landed_failed_at_us, order.tries) == (None, None, 0)
    assert (after.attempts[0].status, after.attempts[0].proof) == (AttemptStatus.EXPIRED, PROOF)


def test_doubt_is_shown_and_ends_nothing() -> None:
    """The order stays submitted and its attempt alive."""
    after = apply(watched(), changes.in_doubt(LIVE, at_us=NOW, why="no node answers"))
    assert after.order.in_doubt_since_us == NOW
    assert (after.order.status, after.live_attempt) == (OrderStatus.SUBMITTED, LIVE)


@pytest.mark.parametrize("after_death", [ended, requeued])
def test_a_death_and_what_follows_are_one_unit(after_death: Make) -> None:
    """The second change is made for the state that the first one leaves."""
    dead = apply(watched(), changes.attempt_expired(LIVE, PROOF, at_us=NOW))
    over = apply(dead, after_death(dead))
    assert over.order.status in {OrderStatus.FAILED, OrderStatus.QUEUED}
    assert over.live_attempt is None


def test_a_change_for_an_attempt_that_is_not_there_is_refused() -> None:
    """It belongs to another order, or to another state of this one."""
    with pytest.raises(IllegalMoveError, match="has no attempt 2"):
        apply(watched(), changes.submitted(attempt(SIGNED, 2), (push(),), at_us=NOW))


def test_only_the_named_attempt_changes() -> None:
    """Earlier attempts stay as they are, dead."""
    stored = view(OrderStatus.SUBMITTED, AttemptStatus.EXPIRED, SIGNED)
    after = apply(stored, changes.submitted(stored.attempts[1], (push(),), at_us=NOW))
    assert after.attempts[0] is stored.attempts[0]
    assert after.attempts[1].status is SUBMITTED


CONTRADICTIONS = [
    (filled_view(), changes.attempt_failed(LIVE, SLIPPAGE, slot=1, at_us=NOW)),
    (filled_view(), changes.attempt_expired(LIVE, PROOF, at_us=NOW)),
    (filled_view(), ended(view())),
    (filled_view(), changes.filled(LIVE, FILL, at_us=NOW)),
    (view(OrderStatus.QUEUED), requeued(view())),
    (view(OrderStatus.CANCELED), ended(view())),
    (view(OrderStatus.FAILED, DEAD[0]), changes.filled(LIVE, FILL, at_us=NOW)),
    (view(OrderStatus.SUBMITTED, DEAD[1]), changes.filled(LIVE, FILL, at_us=NOW)),
    (watched(), changes.fill_reverted(LIVE, at_us=NOW, proof=PROOF)),
]


@pytest.mark.parametrize(("stored", "change"), CONTRADICTIONS)
def test_what_would_contradict_itself_is_not_applied(stored: OrderView, change: Change) -> None:
    """No fill without a landing, no landing without a fill, no way out of an end."""
    with pytest.raises(IllegalMoveError):
        apply(stored, change)


def test_two_live_attempts_are_never_accepted() -> None:
    """A state that should not exist is refused, not carried on."""
    twice = view(OrderStatus.SUBMITTED, SUBMITTED, SIGNED)
    with pytest.raises(IllegalMoveError, match="with attempts"):
        apply(twice, changes.in_doubt(LIVE, at_us=NOW, why="x"))


EVERY = [
    (EventKind.REQUEUED, requeued(view())),
    (EventKind.ENDED, ended(view())),
    (EventKind.SUBMITTED, changes.submitted(LIVE, (push(),), at_us=NOW)),
    (EventKind.FILLED, changes.filled(LIVE, FILL, at_us=NOW)),
    (EventKind.FINALIZED, changes.finalized(LIVE, slot=1, at_us=NOW)),
    (EventKind.FILL_REVERTED, changes.fill_reverted(attempt(LANDED), at_us=NOW, proof=PROOF)),
    (EventKind.LANDED_FAILED, changes.landed_failed(LIVE, slot=1, at_us=NOW)),
    (EventKind.FAILED, changes.attempt_failed(LIVE, SLIPPAGE, slot=1, at_us=NOW)),
    (EventKind.EXPIRED, changes.attempt_expired(LIVE, PROOF, at_us=NOW)),
    (EventKind.IN_DOUBT, changes.in_doubt(LIVE, at_us=NOW, why="x")),
]


@pytest.mark.parametrize(("kind", "change"), EVERY)
def test_each_change_tells_itself_in_plain_json(kind: EventKind, change: Change) -> None:
    """Its event has its own kind and time, and says of which attempt it speaks."""
    assert (change.kind, change.at_us) == (kind, NOW)
    assert json.loads(json.dumps(dict(change.data))) == change.data
    of_order = kind in {EventKind.REQUEUED, EventKind.ENDED}
    assert of_order or (change.data["number"], change.data["signature"]) == (1, "signature1")


def test_a_fill_is_told_in_text_amounts() -> None:
    """Base units beyond 53 bits survive any reader of JSON."""
    data = changes.filled(attempt(SUBMITTED, submissions=(push("jito"),)), FILL, at_us=NOW).data
    assert data == {
        "number": 1,
        "signature": "signature1",
        "slot": 5_005,
        "method": "jito",
        "base_amount": "10000000",
        "quote_amount": "1845000",
        "network_fee": "5000",
        "priority_fee": "100",
        "tip": "0",
        "venue_fee": "25000",
    }


def test_pushes_are_told_with_their_outcomes() -> None:
    """Method, outcome, reason and time taken of each."""
    data = changes.submitted(LIVE, (push("jito", ReplyOutcome.REJECTED),), at_us=NOW).data
    expected = {"method": "jito", "outcome": "rejected", "reason": "ok", "latency_us": 1_000}
    assert data["submissions"] == [expected]


def test_a_proof_is_told_with_all_its_figures() -> None:
    """Whoever reads the trail can check the proof; no proof is null."""
    assert changes.proof_document(None) is None
    assert changes.proof_document(PROOF) == [
        {
            "endpoint": "one",
            "slot": 6_000,
            "height": 1_001,
            "context_slot": 6_000,
            "ledger_slot_min": 5_000,
            "invalid_slot": 6_000,
        }
    ]


def test_a_failure_is_told_with_who_witnessed_it() -> None:
    """Whoever reads the trail sees on whose word the attempt was given up, or the fill taken back."""
    witness = FailureEvidence("one", 5_020, 6_000)
    told = [{"endpoint": "one", "slot": 5_020, "context_slot": 6_000}]
    failed = changes.attempt_failed(LIVE, SLIPPAGE, slot=5_020, at_us=NOW, evidence=(witness,))
    undone = changes.fill_reverted(
        attempt(LANDED), at_us=NOW, error=SLIPPAGE, slot=5_020, evidence=(witness,)
    )
    assert failed.data["proof"] == undone.data["proof"] == told
