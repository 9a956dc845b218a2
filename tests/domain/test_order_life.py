"""An order's whole life keeps the promises, whatever the chain, the nodes and the trader do."""

from hypothesis import settings

from app.domain.attempt import AttemptStatus
from app.domain.errors import ReasonCode
from app.domain.order import OrderStatus
from app.domain.outcome import Commitment, Verdict
from tests.domain.order_life import LIFE_BLOCKS, OrderLife

TestOrderLife = OrderLife.TestCase
TestOrderLife.settings = settings(stateful_step_count=80)


def a_life(*attempts: str) -> OrderLife:
    """Begin a life in which these attempts were signed and came to these ends."""
    life = OrderLife()
    for end in attempts:
        life.make_a_pass(None)
        if end == "expired":
            life.blocks_are_finalized(LIFE_BLOCKS + 1)
            expire(life)
        elif end == "landed":
            life.truths[len(life.truths)].commitment = Commitment.CONFIRMED
            life.follow(life.live(), Verdict.LANDED, None)
    return life


def expire(life: OrderLife) -> None:
    """Prove the live attempt dead."""
    live = life.live()
    life.follow(live, Verdict.EXPIRED, life.proof(live))


def test_a_fill_that_a_fork_undoes_is_told_and_not_repeated() -> None:
    """Filled, forked away, never landed again: failed with FILL_REVERTED, one attempt in all."""
    life = a_life("expired", "landed")
    assert life.is_(OrderStatus.FILLED)
    life.a_fork_wins()
    life.follow_the_fill()
    assert life.is_(OrderStatus.FILLED)
    life.blocks_are_finalized(LIFE_BLOCKS + 1)
    life.follow_the_fill()
    life.a_reverted_fill_is_never_retried()
    assert life.view.order.reason_code is ReasonCode.FILL_REVERTED
    assert len(life.view.attempts) == 2


def test_a_fill_that_fails_on_the_other_fork_is_told() -> None:
    """The same bytes landed again with an error: failed with FILL_REVERTED too."""
    life = a_life("landed")
    life.truths[1].failed = True
    life.blocks_are_finalized(LIFE_BLOCKS + 1)
    life.follow_the_fill()
    assert life.view.order.reason_code is ReasonCode.FILL_REVERTED
    assert life.view.attempts[0].status is AttemptStatus.FAILED


def test_a_fill_moved_by_a_fork_stays_a_fill() -> None:
    """Undone and landed again in time: it is finalized, and nobody was told otherwise."""
    life = a_life("landed")
    life.a_fork_wins()
    life.truths[1].commitment = Commitment.FINALIZED
    life.follow_the_fill()
    assert life.is_(OrderStatus.FILLED)
    assert life.view.order.finalized_at_us == life.now


def test_a_failure_that_a_fork_undoes_is_no_failure() -> None:
    """Landed failed, forked away, expired: the next attempt is made, the suspense forgotten."""
    life = a_life("signed")
    life.follow(life.live(), Verdict.FAILED_UNSETTLED, None)
    seen_failing = life.view.order
    life.blocks_are_finalized(LIFE_BLOCKS + 1)
    expire(life)
    assert seen_failing.landed_failed_at_us == life.now
    assert life.view.order.landed_failed_at_us is None
    assert life.is_(OrderStatus.QUEUED)


def test_doubt_ends_by_evidence_alone() -> None:
    """In doubt past its deadline and after a cancellation, a late answer still finds the fill."""
    life = a_life("signed")
    life.follow(life.live(), Verdict.IN_DOUBT, None)
    life.time_passes(3_600)
    life.the_trader_cancels(really=True)
    assert life.is_(OrderStatus.SUBMITTED)
    life.truths[1].commitment = Commitment.FINALIZED
    life.follow(life.live(), Verdict.LANDED, None)
    assert life.is_(OrderStatus.FILLED)
    assert life.view.order.in_doubt_since_us is None


def test_a_wish_to_cancel_is_granted_once_the_attempt_is_dead() -> None:
    """Neither before, since it may land, nor with another attempt in between."""
    life = a_life("signed")
    life.the_trader_cancels(really=True)
    life.blocks_are_finalized(LIFE_BLOCKS + 1)
    expire(life)
    assert life.is_(OrderStatus.CANCELED)


def test_the_last_retry_s_death_ends_the_order() -> None:
    """Two retries: the third dead attempt is the last."""
    life = a_life("expired", "expired", "expired")
    assert life.is_(OrderStatus.FAILED)
    assert life.view.order.reason_code is ReasonCode.RETRIES_EXHAUSTED
