"""The watch over live attempts: what settles them, what leaves them alive, and when bytes are pushed."""

import asyncio
from typing import Any, cast

import pytest

from app.domain.attempt import AttemptStatus
from app.domain.errors import ReasonCode
from app.domain.events import EventKind
from app.domain.order import Order, OrderStatus
from app.domain.outcome import Absent, Commitment, Reply, ReplyOutcome, Seen, Unreachable
from app.engine.held import Held
from app.engine.order_time import OrderTime
from app.engine.ports import Explained
from tests.engine.fake_chain import BLOCK_SECONDS, FINAL_BLOCKS, landed_transaction
from tests.engine.fake_store import busy, unknown
from tests.engine.fakes import HOPELESS, SLIPPED
from tests.engine.rig import Knobs, Rig, pass_time, running
from tests.engine.scripting import Fault
from tests.engine.watched import nothing_lands, only, submitted, taken_over

pytestmark = pytest.mark.anyio

ERROR = {"InstructionError": [2, {"Custom": 6005}]}
FINAL_SECONDS = FINAL_BLOCKS * BLOCK_SECONDS
LIFE_SECONDS = 30.0
ONE_SLOT = Knobs(slots=1)


def seen(commitment: Commitment, error: object | None = None) -> Seen:
    """Make a status."""
    return Seen(11_000, commitment, error, 11_000)


async def in_doubt(rig: Rig, order_id: str) -> Order:
    """Turn the clock until an order is in doubt."""
    await rig.until(lambda: rig.order(order_id).in_doubt_since_us is not None)
    return rig.order(order_id)


# ---------------------------------------------------------------- landings


async def test_a_landing_is_a_fill_at_confirmed_and_credited_to_who_accepted_first() -> None:
    """Not at processed; the method and the fees are told."""
    async with running(Rig(Knobs(poll=0.05))) as rig:
        order_id = await rig.post()
        order = await rig.reaches(order_id, OrderStatus.FILLED)
        (landing,) = rig.chain.landings[only(rig, order_id).signature]
        assert rig.chain.script.calls.count("transaction") == 1
        assert order.filled_at_us is not None
        assert asyncio.get_running_loop().time() - landing.at >= BLOCK_SECONDS / 2
        assert rig.telemetry.of("landing") == [("rpc", "filled")]
        assert [kind for _, kind, _ in rig.telemetry.of("fees")] == ["network", "priority", "tip"]
        assert rig.telemetry.of("order_ended") == [(OrderStatus.FILLED, "")]


async def test_a_landing_is_seen_while_its_push_still_hangs() -> None:
    """A method that took the bytes and never answers delays the fill by half a second, no more."""
    async with running(Rig(Knobs(poll=0.1))) as rig:
        rig.rpc.script.gate("submit", after=True)
        order_id = await rig.post()
        order = await rig.reaches(order_id, OrderStatus.FILLED, 2.0)
        assert order.filled_at_us is not None
        assert rig.telemetry.of("landing") == [("none", "filled")]
        await pass_time(rig.knobs.push_seconds)
        (push,) = only(rig, order_id).submissions
        assert (push.outcome, push.reason) == (ReplyOutcome.UNKNOWN, "timeout")
        assert rig.order(order_id).status is OrderStatus.FILLED


async def test_a_landing_waits_a_moment_for_the_reply_that_it_is_credited_by() -> None:
    """The chain was faster than the method's answer."""
    async with running(Rig(Knobs(poll=0.05))) as rig:
        gate = rig.rpc.script.gate("submit", after=True)
        order_id = await rig.post()
        await rig.until(lambda: "transaction" in rig.chain.script.calls or rig.rpc.pushed)
        await pass_time(0.7)
        gate.opened.set()
        await rig.reaches(order_id, OrderStatus.FILLED)
        assert rig.telemetry.of("landing") == [("rpc", "filled")]


@pytest.mark.parametrize(
    "read",
    [
        None,
        Unreachable("down"),
        landed_transaction("x", 1, "another fork's"),
    ],
)
async def test_a_status_alone_is_no_fill(read: object) -> None:
    """Its error is read from the processed bank: the transaction itself must say so at confirmed."""
    async with running(Rig()) as rig:
        order_id = await submitted(rig)
        signature = only(rig, order_id).signature
        rig.chain.read_back[signature] = read  # type: ignore[assignment]
        await pass_time(FINAL_SECONDS + 5)
        assert rig.order(order_id).status is OrderStatus.SUBMITTED
        del rig.chain.read_back[signature]
        await rig.reaches(order_id, OrderStatus.FILLED, 2)


async def test_a_landing_that_cannot_be_read_back_is_in_doubt_in_the_end() -> None:
    """Never failed, and its slot goes to others; once it can be read it is a fill."""
    async with running(Rig(ONE_SLOT)) as rig:
        rig.trading.fill_error = ValueError("the record tells no amounts")
        order_id = await submitted(rig)
        order = await in_doubt(rig, order_id)
        assert order.status is OrderStatus.SUBMITTED
        rig.trading.fill_error = None
        other = await rig.post()
        await rig.reaches(other, OrderStatus.FILLED, 5)
        order = await rig.reaches(order_id, OrderStatus.FILLED)
        assert order.in_doubt_since_us is None


async def test_what_is_seen_at_processed_settles_nothing_and_stops_pushing() -> None:
    """It may yet vanish; it has arrived, so there is nothing to push."""
    async with running(Rig()) as rig:
        nothing_lands(rig)
        order_id = await submitted(rig)
        rig.chain.shown[only(rig, order_id).signature] = seen(Commitment.PROCESSED)
        await pass_time(1)
        pushed = len(rig.rpc.pushed)
        await pass_time(10)
        assert len(rig.rpc.pushed) == pushed
        assert rig.order(order_id).status is OrderStatus.SUBMITTED


# ---------------------------------------------------------------- failures on chain


async def test_a_failure_counts_when_it_is_final() -> None:
    """Before, the attempt stays alive and the order shows it; then another attempt is made."""
    async with running(Rig()) as rig:
        rig.chain.fate = lambda attempt: rig.chain.land(attempt, error=ERROR)
        order_id = await rig.post()
        await rig.until(lambda: rig.order(order_id).landed_failed_at_us is not None)
        attempt = only(rig, order_id)
        assert attempt.status.live
        pushed = len(rig.rpc.pushed)
        await pass_time(FINAL_SECONDS - 1)
        assert rig.order(order_id).status is OrderStatus.SUBMITTED
        assert len(rig.rpc.pushed) == pushed
        assert rig.database.kinds(order_id).count(EventKind.LANDED_FAILED) == 1
        rig.chain.fate = rig.chain.land
        await rig.reaches(order_id, OrderStatus.QUEUED, 3)
        order = rig.order(order_id)
        assert order.reason_code is ReasonCode.SLIPPAGE_EXCEEDED
        assert order.landed_failed_at_us is None
        assert rig.telemetry.of("landing") == [("rpc", "failed")]
        assert rig.telemetry.of("fees") == [("rpc", "failed", 5_100)]
        await rig.reaches(order_id, OrderStatus.FILLED)
        first, second = rig.database.attempts(order_id)
        assert (first.status, second.status) == (AttemptStatus.FAILED, AttemptStatus.LANDED)


async def test_a_final_failure_is_told_with_who_witnessed_it() -> None:
    """Whoever reads the trail sees on whose word the attempt was given up."""
    async with running(Rig()) as rig:
        rig.chain.fate = lambda attempt: rig.chain.land(attempt, error=ERROR)
        order_id = await rig.post()
        await rig.until(lambda: EventKind.FAILED in rig.database.kinds(order_id))
        events = [event for event in rig.database.events if event.order_id == order_id]
        (failed,) = (event for event in events if event.kind is EventKind.FAILED)
        (witness,) = cast("list[dict[str, Any]]", failed.data["proof"])
        assert (witness["endpoint"], witness["slot"]) == ("fake", failed.data["slot"])
        assert witness["context_slot"] >= witness["slot"] + FINAL_BLOCKS


@pytest.mark.parametrize("away", ["proof", "transaction"])
async def test_a_final_failure_counts_once_it_is_proved(away: str) -> None:
    """A status alone buries nothing: the attempt stays alive, in doubt past its life, until the proof."""
    async with running(Rig(ONE_SLOT)) as rig:
        rig.chain.down.add(away)
        rig.chain.fate = lambda attempt: rig.chain.land(attempt, error=ERROR)
        order_id = await submitted(rig)
        await pass_time(FINAL_SECONDS + 5)
        assert only(rig, order_id).status.live
        assert rig.order(order_id).in_doubt_since_us is None
        order = await in_doubt(rig, order_id)
        assert (order.status, len(rig.trading.signed)) == (OrderStatus.SUBMITTED, 1)
        asked = rig.chain.script.calls.count("prove_failed")
        await pass_time(100)
        assert 20 <= rig.chain.script.calls.count("prove_failed") - asked <= 30
        assert only(rig, order_id).status.live
        assert rig.database.kinds(order_id).count(EventKind.IN_DOUBT) == 1
        rig.chain.down.clear()
        rig.chain.fate = rig.chain.land
        order = await rig.reaches(order_id, OrderStatus.FILLED)
        assert order.in_doubt_since_us is None
        assert len(rig.trading.signed) == 2


@pytest.mark.parametrize("explained", [SLIPPED, HOPELESS])
async def test_a_faulty_endpoint_buries_no_attempt(explained: Explained) -> None:
    """It tells a final failure of bytes that execute a moment later: no new ones, no failed order."""
    async with running(Rig()) as rig:
        nothing_lands(rig)
        rig.trading.explained = explained
        order_id = await submitted(rig)
        attempt = only(rig, order_id)
        rig.chain.shown[attempt.signature] = seen(Commitment.FINALIZED, ERROR)
        await pass_time(5)
        assert only(rig, order_id).status.live
        rig.chain.land(attempt)
        await pass_time(FINAL_SECONDS)
        assert rig.order(order_id).status is OrderStatus.SUBMITTED
        rig.chain.shown.clear()
        order = await rig.reaches(order_id, OrderStatus.FILLED, 5)
        assert (order.status, len(rig.trading.signed)) == (OrderStatus.FILLED, 1)


async def test_a_failure_that_never_becomes_final_is_in_doubt_past_its_life() -> None:
    """Confirmed and failed for ever: told once, and still neither ended nor retried."""
    async with running(Rig()) as rig:
        nothing_lands(rig)
        order_id = await submitted(rig)
        rig.chain.shown[only(rig, order_id).signature] = seen(Commitment.CONFIRMED, ERROR)
        await rig.until(lambda: rig.order(order_id).landed_failed_at_us is not None)
        await pass_time(LIFE_SECONDS - 5)
        assert rig.order(order_id).in_doubt_since_us is None
        await in_doubt(rig, order_id)
        await pass_time(100)
        assert rig.order(order_id).status is OrderStatus.SUBMITTED
        assert rig.database.kinds(order_id).count(EventKind.IN_DOUBT) == 1
        assert len(rig.trading.signed) == 1
        rig.chain.fate = rig.chain.land
        rig.chain.shown.clear()
        await rig.reaches(order_id, OrderStatus.FILLED)


async def test_what_a_faulty_endpoint_told_of_lost_bytes_ends_with_their_proof() -> None:
    """Past their life the order is in doubt; mended, the chain proves that they never landed."""
    async with running(Rig()) as rig:
        nothing_lands(rig)
        order_id = await submitted(rig)
        rig.chain.shown[only(rig, order_id).signature] = seen(Commitment.FINALIZED, ERROR)
        await in_doubt(rig, order_id)
        rig.chain.fate = rig.chain.land
        rig.chain.shown.clear()
        await rig.reaches(order_id, OrderStatus.FILLED)
        first, second = rig.database.attempts(order_id)
        assert (first.status, second.status) == (AttemptStatus.EXPIRED, AttemptStatus.LANDED)


async def test_a_failure_gives_its_slot_back_when_it_landed() -> None:
    """The wait for finality holds up nobody."""
    async with running(Rig(ONE_SLOT)) as rig:
        rig.chain.fate = lambda attempt: rig.chain.land(attempt, error=ERROR)
        failing = await rig.post()
        await rig.until(lambda: rig.order(failing).landed_failed_at_us is not None)
        rig.chain.fate = rig.chain.land
        other = await rig.post()
        await rig.reaches(other, OrderStatus.FILLED, FINAL_SECONDS - 2)
        assert only(rig, failing).status.live


async def test_a_fork_may_undo_a_failure_and_the_attempt_expires() -> None:
    """Failed, then absent: pushed again, and dead only by its proof."""
    async with running(Rig()) as rig:
        rig.chain.fate = lambda attempt: rig.chain.land(attempt, error=ERROR)
        order_id = await rig.post()
        await rig.until(lambda: rig.order(order_id).landed_failed_at_us is not None)
        attempt = only(rig, order_id)
        nothing_lands(rig)
        rig.chain.fork(rig.chain.landings[attempt.signature][0])
        pushed = len(rig.rpc.pushed)
        await rig.until(lambda: EventKind.EXPIRED in rig.database.kinds(order_id))
        assert len(rig.rpc.pushed) > pushed
        assert only(rig, order_id).status is AttemptStatus.EXPIRED
        assert rig.order(order_id).landed_failed_at_us is None


async def test_a_fork_may_turn_a_failure_into_a_fill() -> None:
    """Failed on one fork, executed on the one that stays."""
    async with running(Rig()) as rig:
        rig.chain.fate = lambda attempt: rig.chain.land(attempt, error=ERROR)
        order_id = await rig.post()
        await rig.until(lambda: rig.order(order_id).landed_failed_at_us is not None)
        rig.chain.fate = rig.chain.land
        rig.chain.fork(rig.chain.landings[only(rig, order_id).signature][0])
        order = await rig.reaches(order_id, OrderStatus.FILLED)
        assert order.landed_failed_at_us is None


# ---------------------------------------------------------------- "already processed"


@pytest.mark.parametrize("outcome", [ReplyOutcome.ALREADY, ReplyOutcome.ACCEPTED])
async def test_already_processed_is_looked_up_at_once(outcome: ReplyOutcome) -> None:
    """It says that the bytes have landed, not how: the next look does not wait for its turn."""
    async with running(Rig(Knobs(poll=20))) as rig:
        rig.chain.fate = lambda attempt: rig.chain.land(attempt, after=-1)
        rig.rpc.reply = Reply(outcome, "said")
        order_id = await submitted(rig)
        await pass_time(1)
        filled = rig.order(order_id).status is OrderStatus.FILLED
        assert filled is (outcome is ReplyOutcome.ALREADY)
        await rig.reaches(order_id, OrderStatus.FILLED, 25)


async def test_already_processed_is_no_fill_and_no_failure() -> None:
    """The chain says which of the two it was."""
    async with running(Rig(Knobs(poll=20))) as rig:
        rig.chain.fate = lambda attempt: rig.chain.land(attempt, after=-1, error=ERROR)
        rig.rpc.reply = Reply(ReplyOutcome.ALREADY, "said")
        order_id = await submitted(rig)
        await pass_time(1)
        order = rig.order(order_id)
        assert (order.status, order.landed_failed_at_us is None) == (OrderStatus.SUBMITTED, False)
        assert len(rig.trading.signed) == 1


# ---------------------------------------------------------------- doubts


async def test_without_proof_an_expired_attempt_is_in_doubt_once_and_holds_no_slot() -> None:
    """Not failed, not retried; others go on; it is told once, and asked for ever less often."""
    async with running(Rig(ONE_SLOT)) as rig:
        nothing_lands(rig)
        rig.chain.down.add("proof")
        order_id = await submitted(rig)
        await in_doubt(rig, order_id)
        rig.chain.fate = rig.chain.land
        other = await rig.post()
        await rig.reaches(other, OrderStatus.FILLED, 5)
        asked = rig.chain.script.calls.count("prove_dead")
        await pass_time(100)
        assert 20 <= rig.chain.script.calls.count("prove_dead") - asked <= 30
        order = rig.order(order_id)
        assert order.status is OrderStatus.SUBMITTED
        assert rig.database.kinds(order_id).count(EventKind.IN_DOUBT) == 1
        assert len(rig.trading.signed) == 2


async def test_a_doubt_ends_with_the_proof() -> None:
    """The order goes on where it stood."""
    async with running(Rig()) as rig:
        nothing_lands(rig)
        rig.chain.down.add("proof")
        order_id = await submitted(rig)
        await in_doubt(rig, order_id)
        rig.chain.down.clear()
        rig.chain.fate = rig.chain.land
        order = await rig.reaches(order_id, OrderStatus.FILLED)
        assert order.in_doubt_since_us is None
        assert [a.status for a in rig.database.attempts(order_id)] == [
            AttemptStatus.EXPIRED,
            AttemptStatus.LANDED,
        ]


async def test_a_doubt_ends_with_a_landing_however_long_ago() -> None:
    """Nodes forget what landed minutes ago unless they look into their history: they are made to."""
    async with running(Rig()) as rig:
        order_id = await rig.post()
        await rig.until(lambda: rig.rpc.pushed)
        rig.chain.down |= {"statuses", "transaction", "proof"}
        order = await in_doubt(rig, order_id)
        assert order.status is OrderStatus.SUBMITTED
        await pass_time(300)
        rig.chain.down.clear()
        order = await rig.reaches(order_id, OrderStatus.FILLED, 6)
        assert order.in_doubt_since_us is None
        await rig.until(lambda: rig.order(order_id).finalized_at_us)


async def test_while_heights_cannot_be_read_time_decides_what_is_doubtful() -> None:
    """After the transaction timeout, not before; and it proves nothing."""
    async with running(Rig()) as rig:
        nothing_lands(rig)
        rig.chain.down.add("heights")
        order_id = await submitted(rig)
        await pass_time(LIFE_SECONDS - 2)
        assert rig.order(order_id).in_doubt_since_us is None
        await pass_time(3)
        assert rig.order(order_id).in_doubt_since_us is not None
        await pass_time(600)
        assert only(rig, order_id).status.live
        assert len(rig.trading.signed) == 1


async def test_an_unreachable_node_proves_nothing() -> None:
    """The bytes are pushed on while they may land, then the order is in doubt."""
    async with running(Rig()) as rig:
        nothing_lands(rig)
        rig.chain.down |= {"statuses", "proof"}
        order_id = await submitted(rig)
        await pass_time(10)
        assert len(rig.rpc.pushed) > 5
        await in_doubt(rig, order_id)


# ---------------------------------------------------------------- when a record fails


@pytest.mark.parametrize("fault", [Fault(refuses=busy()), Fault(loses=unknown())])
async def test_a_fill_that_was_not_recorded_is_recorded_again(fault: Fault) -> None:
    """Whether the first record was committed or not: one fill, one event, one count, followed on."""
    async with running(Rig(Knobs(poll=0.1))) as rig:
        order_id = await submitted(rig)
        rig.store.script.add("record", fault)
        await rig.reaches(order_id, OrderStatus.FILLED)
        await rig.until(lambda: rig.order(order_id).finalized_at_us)
        assert rig.database.kinds(order_id).count(EventKind.FILLED) == 1
        assert rig.telemetry.of("landing") == [("rpc", "filled")]


async def test_a_fill_whose_answer_was_lost_is_followed_although_a_fork_undid_it_meanwhile() -> (
    None
):
    """The record was committed: nothing is pushed any more, and the fill is taken back when proved."""
    async with running(Rig(Knobs(poll=0.1, transaction_timeout=15))) as rig:
        rig.store.script.add("record", Fault(), Fault(loses=unknown()))
        order_id = await rig.post()
        await rig.reaches(order_id, OrderStatus.FILLED)
        (landing,) = rig.chain.landings[only(rig, order_id).signature]
        nothing_lands(rig)
        rig.chain.fork(landing)
        order = await rig.reaches(order_id, OrderStatus.FAILED)
        assert order.reason_code is ReasonCode.FILL_REVERTED
        assert rig.failures == []


async def test_a_push_whose_record_fails_is_watched_all_the_same() -> None:
    """The record of a push decides nothing, and is made up for by the one of the fill."""
    async with running(Rig(Knobs(poll=0.1))) as rig:
        rig.store.script.add("record", Fault(refuses=busy()), Fault(refuses=busy()))
        order_id = await rig.post()
        await rig.reaches(order_id, OrderStatus.FILLED)
        assert [each.outcome for each in only(rig, order_id).submissions] == [ReplyOutcome.ACCEPTED]
        assert rig.failures == []


async def test_a_panic_in_a_push_ends_the_service() -> None:
    """What is no Exception is not survived in silence."""

    class PanicError(BaseException):
        pass

    rig = Rig()
    await rig.engine.start()
    rig.rpc.script.add("submit", Fault(refuses=PanicError()))
    await rig.post()
    await rig.until(lambda: rig.failures)
    assert rig.failures == ["confirmation"]
    await rig.engine.stop()


async def test_an_order_that_another_took_over_is_let_go() -> None:
    """Its attempt is watched no more, and nothing is pushed."""
    async with running(Rig()) as rig:
        nothing_lands(rig)
        order_id = await submitted(rig)
        taken_over(rig, order_id)
        rig.chain.shown[only(rig, order_id).signature] = seen(Commitment.CONFIRMED, ERROR)
        await rig.until(lambda: not rig.confirmation.held())
        pushed = len(rig.rpc.pushed)
        del rig.chain.shown[only(rig, order_id).signature]
        await pass_time(10)
        assert len(rig.rpc.pushed) == pushed


# ---------------------------------------------------------------- notices


async def test_a_notice_wakes_the_watch_at_once() -> None:
    """Polling alone would take ten seconds; a notice of something else wakes nobody."""
    async with running(Rig(Knobs(poll=10))) as rig:
        order_id = await rig.post()
        await rig.until(lambda: rig.rpc.pushed)
        signature = only(rig, order_id).signature
        assert rig.chain.noticed == [signature]
        await pass_time(1)
        rig.confirmation.notice("of something else")
        await pass_time(0.5)
        assert rig.order(order_id).status is OrderStatus.SUBMITTED
        rig.confirmation.notice(signature)
        await rig.reaches(order_id, OrderStatus.FILLED, 0.1)


async def test_an_attempt_is_watched_once() -> None:
    """Watching what is watched already pushes nothing and adds nothing."""
    async with running(Rig()) as rig:
        nothing_lands(rig)
        await submitted(rig)
        (held,) = rig.confirmation.held()
        pushed = len(rig.rpc.pushed)
        rig.confirmation.watch(held)
        await pass_time(0.1)
        assert rig.confirmation.held() == [held]
        assert len(rig.rpc.pushed) == pushed


async def test_an_order_that_came_back_is_watched_by_its_new_handle() -> None:
    """The old one, still at work, was lost meanwhile: it lets go of nothing that is not its own."""
    async with running(Rig()) as rig:
        gate = rig.chain.script.gate("transaction")
        order_id = await rig.post()
        await gate.reached.wait()
        (old,) = rig.confirmation.held()
        row = rig.database.rows[order_id]
        row.process = None
        assert not await old.reload()
        (claimed,) = await rig.store.claim(1, rig.clock.now_us())
        new = Held(claimed, rig.store, lambda _before, _after: None, OrderTime(rig.clock))
        rig.confirmation.watch(new)
        assert rig.confirmation.held() == [new]
        gate.opened.set()
        await rig.reaches(order_id, OrderStatus.FILLED, 2)
        assert new.settled.is_set()


async def test_a_status_of_absent_is_waited_on_while_the_bytes_may_land() -> None:
    """An answer that does not know the signature proves nothing by itself."""
    async with running(Rig()) as rig:
        order_id = await submitted(rig)
        rig.chain.shown[only(rig, order_id).signature] = Absent(10**9)
        await pass_time(LIFE_SECONDS - 5)
        assert only(rig, order_id).status.live
        assert rig.order(order_id).in_doubt_since_us is None
