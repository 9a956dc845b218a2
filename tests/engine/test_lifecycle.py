"""From the queue to a stored attempt: what may leave the process, and when."""

import pytest

from app.domain.errors import ReasonCode, RefusedError, TransientError
from app.domain.events import EventKind
from app.domain.order import OrderStatus
from app.engine.ports import Shortage
from tests.engine.fake_store import busy, unknown
from tests.engine.fakes import HOPELESS, SLIPPED
from tests.engine.rig import Knobs, Rig, pass_time, running
from tests.engine.scripting import Fault

pytestmark = pytest.mark.anyio

QUICK = Knobs(execution_timeout=5)


async def silence_heart(rig: Rig) -> None:
    """Let no heartbeat reach the database any more, until the lease has run out."""
    rig.store.script.add("heartbeat", *[Fault(refuses=busy())] * 100)
    await rig.until(lambda: not rig.lease.held())


async def test_no_byte_leaves_before_the_attempt_is_committed() -> None:
    """The push waits for STORE, however long it takes; then the stored bytes are pushed."""
    async with running(Rig()) as rig:
        gate = rig.store.script.gate("store_attempt")
        order_id = await rig.post()
        await gate.reached.wait()
        await pass_time(3)
        assert rig.rpc.pushed == []
        gate.opened.set()
        await rig.reaches(order_id, OrderStatus.FILLED)
        (attempt,) = rig.database.attempts(order_id)
        assert rig.rpc.pushed == [attempt.signature]


@pytest.mark.parametrize("code", ["refused", "lost"])
async def test_after_a_failed_store_the_order_goes_on_from_what_is_stored(code: str) -> None:
    """An attempt that was committed is pushed as it is; where none was, another try is made later."""
    async with running(Rig()) as rig:
        fault = Fault(refuses=busy()) if code == "refused" else Fault(loses=unknown())
        rig.store.script.add("store_attempt", fault)
        order_id = await rig.post()
        await rig.reaches(order_id, OrderStatus.FILLED)
        (attempt,) = rig.database.attempts(order_id)
        assert set(rig.rpc.pushed) == {attempt.signature}
        assert len(rig.trading.signed) == (2 if code == "refused" else 1)
        requeued = EventKind.REQUEUED in rig.database.kinds(order_id)
        assert requeued is (code == "refused")


@pytest.mark.parametrize("committed", [False, True])
async def test_after_a_store_that_hung_the_order_goes_on_from_what_is_stored(
    committed: bool,
) -> None:
    """The pass is cut off by its time; a live attempt is watched on, nothing alive is queued again."""
    async with running(Rig(QUICK)) as rig:
        gate = rig.store.script.gate("store_attempt", after=committed)
        order_id = await rig.post()
        await gate.reached.wait()
        await pass_time(QUICK.execution_timeout + 0.5)
        order = rig.order(order_id)
        if committed:
            assert order.status is not OrderStatus.QUEUED
        else:
            assert order.status is OrderStatus.QUEUED
            assert order.reason_code is ReasonCode.PASS_TIMED_OUT
        await rig.reaches(order_id, OrderStatus.FILLED)
        assert len(rig.database.attempts(order_id)) == 1


async def test_nothing_is_signed_while_it_is_unknown_what_is_stored() -> None:
    """STORE's answer was lost and the database stays silent: no other bytes are made meanwhile."""
    async with running(Rig()) as rig:
        rig.store.script.add("store_attempt", Fault(loses=unknown()))
        rig.store.script.add("reload", *[Fault(refuses=busy())] * 5)
        order_id = await rig.post()
        await rig.reaches(order_id, OrderStatus.FILLED)
        assert len(rig.trading.signed) == 1


async def test_a_cancellation_that_was_first_drops_the_bytes() -> None:
    """The order is canceled while its transaction is made: STORE matches no row, nothing is pushed."""
    async with running(Rig()) as rig:
        gate = rig.trading.script.gate("sign")
        order_id = await rig.post()
        await gate.reached.wait()
        await rig.manager.cancel("default", order_id)
        gate.opened.set()
        await rig.until(lambda: rig.engine.busy == 0)
        await pass_time(5)
        assert rig.order(order_id).status is OrderStatus.CANCELED
        assert rig.database.attempts(order_id) == ()
        assert rig.rpc.pushed == []


async def test_nothing_is_signed_without_a_lease() -> None:
    """The heart fell silent while the order was quoted: no signature is made, the order waits."""
    async with running(Rig()) as rig:
        gate = rig.chain.script.gate("simulate")
        order_id = await rig.post()
        await gate.reached.wait()
        await silence_heart(rig)
        gate.opened.set()
        await rig.reaches(order_id, OrderStatus.QUEUED)
        assert rig.order(order_id).reason_code is ReasonCode.STORAGE_UNAVAILABLE
        assert rig.trading.signed == []


async def test_nothing_is_stored_without_a_lease() -> None:
    """The heart fell silent while the signer worked: the bytes are dropped."""
    async with running(Rig()) as rig:
        gate = rig.trading.script.gate("sign", after=True)
        order_id = await rig.post()
        await gate.reached.wait()
        await silence_heart(rig)
        gate.opened.set()
        await rig.reaches(order_id, OrderStatus.QUEUED)
        assert "store_attempt" not in rig.store.script.calls
        assert len(rig.trading.signed) == 1


async def test_nothing_is_stored_after_the_deadline() -> None:
    """The signer took too long: the order expires, its bytes are dropped."""
    async with running(Rig()) as rig:
        gate = rig.trading.script.gate("sign", after=True)
        order_id = await rig.post(valid_for=20)
        await gate.reached.wait()
        await pass_time(20)
        gate.opened.set()
        order = await rig.ended(order_id)
        assert (order.status, order.reason_code) == (OrderStatus.EXPIRED, ReasonCode.SIGNAL_STALE)
        assert rig.database.attempts(order_id) == ()


async def test_with_too_little_time_left_nothing_is_signed() -> None:
    """Under twenty blocks a transaction is not worth signing: the order expires."""
    async with running(Rig()) as rig:
        order_id = await rig.post(valid_for=7)
        order = await rig.ended(order_id)
        assert order.status is OrderStatus.EXPIRED
        assert rig.trading.signed == []


async def test_without_a_method_that_admits_the_order_stays_queued() -> None:
    """Nothing is signed for a push that no lane of the order would take."""
    async with running(Rig(methods=("rpc", "jito"))) as rig:
        rig.methods["jito"].admitting = False
        order_id = await rig.post(methods=["jito"])
        await pass_time(10)
        order = rig.order(order_id)
        assert (order.status, order.reason_code) == (
            OrderStatus.QUEUED,
            ReasonCode.METHODS_UNAVAILABLE,
        )
        assert rig.trading.signed == []
        rig.methods["jito"].admitting = True
        await rig.reaches(order_id, OrderStatus.FILLED)


async def test_what_a_new_quote_may_mend_is_tried_again() -> None:
    """A simulation that slipped sends the order back, with its reason and without an attempt."""
    async with running(Rig()) as rig:
        rig.trading.checks.extend([SLIPPED, None])
        order_id = await rig.post()
        await rig.until(lambda: rig.order(order_id).reason_code is ReasonCode.SLIPPAGE_EXCEEDED)
        assert rig.order(order_id).status is OrderStatus.QUEUED
        await rig.reaches(order_id, OrderStatus.FILLED)
        assert len(rig.database.attempts(order_id)) == 1


async def test_what_no_quote_can_mend_ends_the_order_before_anything_is_signed() -> None:
    """The decoded error is kept with it."""
    async with running(Rig()) as rig:
        rig.trading.checks.append(HOPELESS)
        order = await rig.ended(await rig.post())
        assert (order.status, order.reason_code) == (OrderStatus.FAILED, ReasonCode.MARKET_CLOSED)
        assert order.program_error == HOPELESS.error.document()
        assert rig.trading.signed == []


async def test_a_refusal_ends_the_order_under_its_code() -> None:
    """Outside the price bound, for one: trying again would not change it."""
    async with running(Rig()) as rig:
        refused = RefusedError(ReasonCode.PRICE_LIMIT, "outside")
        rig.trading.script.add("quote", Fault(refuses=refused))
        order = await rig.ended(await rig.post())
        assert (order.status, order.reason_code) == (OrderStatus.FAILED, ReasonCode.PRICE_LIMIT)
        assert order.reason == "outside"


async def test_passing_trouble_backs_off_further_each_time() -> None:
    """Two seconds, then four, each with up to a quarter more."""
    async with running(Rig()) as rig:
        trouble = Fault(refuses=TransientError(ReasonCode.CHAIN_UNAVAILABLE, "down"))
        rig.trading.script.add("quote", trouble, trouble)
        order_id = await rig.post()
        waits = []
        for fails in (1, 2):
            await rig.until(lambda wanted=fails: rig.order(order_id).tries == wanted)  # type: ignore[misc]
            waits.append(rig.order(order_id).next_attempt_at_us - rig.clock.now_us())
        assert 1.9e6 < waits[0] <= 2.5e6
        assert 3.9e6 < waits[1] <= 5e6
        await rig.reaches(order_id, OrderStatus.FILLED)


async def test_a_defect_in_one_order_spares_the_others() -> None:
    """It is tried again; the worker lives on."""
    async with running(Rig(Knobs(slots=1))) as rig:
        rig.trading.script.add("draft", Fault(refuses=ZeroDivisionError()))
        hurt = await rig.post(priority=9)
        await rig.until(lambda: rig.order(hurt).reason_code is ReasonCode.INTERNAL_ERROR)
        whole = await rig.post()
        await rig.reaches(whole, OrderStatus.FILLED, 1.5)
        await rig.reaches(hurt, OrderStatus.FILLED)
        assert rig.failures == []


async def test_funds_that_live_attempts_hold_are_waited_for() -> None:
    """Too little only because of reservations: the order waits and is tried again."""
    async with running(Rig()) as rig:
        rig.database.shortage = Shortage("held by others", passing=True)
        order_id = await rig.post()
        await rig.until(lambda: rig.order(order_id).reason_code is ReasonCode.FUNDS_RESERVED)
        assert rig.order(order_id).status is OrderStatus.QUEUED
        rig.database.shortage = None
        await rig.reaches(order_id, OrderStatus.FILLED)


async def test_funds_that_are_not_there_fail_the_order() -> None:
    """The wallet alone cannot bear it."""
    async with running(Rig()) as rig:
        rig.database.shortage = Shortage("too little SOL", passing=False)
        order = await rig.ended(await rig.post())
        assert order.reason_code is ReasonCode.INSUFFICIENT_FUNDS
        assert rig.rpc.pushed == []


async def test_another_attempt_is_signed_only_after_the_first_is_proved_dead() -> None:
    """It expires unlanded, is proved, and only then are there new bytes; why is counted."""
    async with running(Rig()) as rig:
        rig.chain.fate = lambda _attempt: None
        order_id = await rig.post()
        await rig.until(lambda: EventKind.EXPIRED in rig.database.kinds(order_id))
        assert len(rig.trading.signed) == 1
        rig.chain.fate = rig.chain.land
        await rig.reaches(order_id, OrderStatus.FILLED)
        first, second = rig.database.attempts(order_id)
        assert first.proof is not None
        assert first.signature != second.signature
        assert rig.telemetry.of("resigned") == [("attempt_expired",)]
        assert rig.trading.earlier == [0, 1]  # what the first one cost counts against the cap


async def test_every_stage_is_measured() -> None:
    """From the queue to the end, in seconds."""
    async with running(Rig()) as rig:
        await rig.ended(await rig.post())
    stages = {stage for stage, _ in rig.telemetry.of("stage")}
    first = {"queue", "quote", "build", "simulate", "sign", "store"}
    assert stages == first | {"submit", "land", "total"}


async def test_the_life_asked_for_is_the_lesser_of_timeout_and_time_left() -> None:
    """The blockhash's life follows the setting, and the deadline when that is nearer."""
    async with running(Rig(Knobs(transaction_timeout=20))) as rig:
        whole = await rig.post()
        short = await rig.post(valid_for=12)
        await rig.ended(whole)
        await rig.ended(short)
        heights = [
            rig.database.attempts(each)[0].last_valid_block_height for each in (whole, short)
        ]
        assert heights[0] - heights[1] == 20  # (20 s - 12 s) / 0.4 s
