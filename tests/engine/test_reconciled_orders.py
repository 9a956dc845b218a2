"""What the chain shows of an order is recorded, told, or waited for, whatever the database says of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from app.domain.attempt import AttemptStatus
from app.domain.errors import ReasonCode, TransientError
from app.domain.memo import Memo
from app.domain.order import OrderStatus, OrderView
from app.domain.outcome import Absent, ChainStatus, Commitment, NotProved, Proof, Seen
from app.domain.signal import Action
from app.engine.ports import ProvedFailure
from app.engine.recovery_port import Found, Listing, Mark, Mention, Newest, Recovered
from app.engine.store_port import TradingState
from tests.domain import makers
from tests.engine.reconciling import work_in

pytestmark = pytest.mark.anyio
ORDER = makers.order().order_id
DIGITS = "0" * 32
KEPT = Seen(5_010, Commitment.FINALIZED, None, 6_000)


def shown(number: int = 7, **given: object) -> Recovered:
    """Make what the chain tells of an attempt that the database lost."""
    lost = Recovered(
        memo=Memo(ORDER, number, DIGITS),
        wallet="main",
        signed=replace(makers.signed(), signature=f"lost{number}"),
        market="SOL-USDC",
        action=Action.SELL,
        size=10_000_000,
        quote_size=None,
        slot=5_005,
        failed=False,
        at_us=makers.NOW,
    )
    return replace(lost, **given)  # type: ignore[arg-type]


@dataclass
class World:
    """A marked database with one order at most, a chain that has one transaction, and what each says."""

    view: OrderView | None = None
    lost: Recovered | None = field(default_factory=shown)
    stored: tuple[str, AttemptStatus] | None = None
    """Of the transaction, when the database knows it."""
    proof: Proof | NotProved = field(default_factory=lambda: NotProved("nobody answers"))
    status: ChainStatus = field(default_factory=lambda: Absent(6_000))
    attempt_taken: list[bool] = field(default_factory=lambda: [True])
    twins: int | None = 0
    told_anew: bool = True
    left: int = 0
    mark: Mark | None = field(default_factory=lambda: Mark(whole=True, until_height=1))
    told: list[tuple[str, object]] = field(default_factory=list)

    # -------------------------------------------------------- RecoveryStore and Store

    async def begin(self) -> Mark | None:
        return self.mark

    async def newest(self) -> Newest:
        return Newest(None, None)

    async def note_height(self, _until_height: int) -> Mark | None:
        return self.mark

    async def wallets(self) -> list[str]:
        return []

    async def known(self, signatures: Sequence[str]) -> Mapping[str, tuple[str, AttemptStatus]]:
        return dict.fromkeys(signatures, self.stored) if self.stored else {}

    async def order(self, _order_id: str) -> OrderView | None:
        return self.view

    async def recover_order(self, _lost: Recovered, _account: str, _at_us: int) -> int | None:
        return self.twins

    async def recover_attempt(self, lost: Recovered, burial: Sequence[Any], _at_us: int) -> bool:
        taken = self.attempt_taken.pop(0)
        if taken:
            buried = [change.attempt["status"] for change in burial if change.attempt]
            self.told.append(("attempt", (lost.signed.signature, buried)))
        return taken

    async def contradict(self, order_id: str, signature: str, _slot: int, _at_us: int) -> bool:
        self.told.append(("contradiction", (order_id, signature)))
        return self.told_anew

    async def requeue_bare(self, _first_slot: int, _at_us: int) -> tuple[int, int]:
        return 0, self.left

    async def reconciled(self, tally: Mapping[str, object], _at_us: int) -> None:
        self.mark = None
        self.told.append(("done", dict(tally)))

    async def trading_state(self) -> TradingState:
        return TradingState(halted=True, reconciling=self.mark is not None)

    # -------------------------------------------------------- History and Reader

    async def last_valid_height(self, _newest_slot: int | None) -> int:
        return 1

    async def finalized_height(self) -> int:
        return 10

    async def mentions(
        self, _address: str, *, since_slot: int | None, until_height: int
    ) -> Listing:
        del since_slot, until_height
        memo = f"[64] synergy7:{ORDER}/7/{DIGITS}"
        return Listing([Mention("lost7", 5_005, failed=False, memo=memo, unix_time=1)], 5)

    async def found(self, signature: str) -> Found:
        self.told.append(("read", signature))
        return cast("Found", signature)

    def recovered(self, *_given: object) -> Recovered | None:
        return self.lost

    # -------------------------------------------------------- Chain

    async def prove_dead(self, _attempt: object) -> Proof | NotProved:
        return self.proof

    async def prove_failed(self, _attempt: object) -> ProvedFailure | NotProved:
        return NotProved("nobody saw it fail")

    async def statuses(
        self, signatures: Sequence[str], *, history: bool
    ) -> Mapping[str, ChainStatus]:
        assert history
        return dict.fromkeys(signatures, self.status)

    def of(self, kind: str) -> list[object]:
        """List what was told of a kind."""
        return [what for each, what in self.told if each == kind]


def alive() -> OrderView:
    """Give the order as the database has it: an earlier attempt of it lives."""
    return makers.view(OrderStatus.SUBMITTED, AttemptStatus.SUBMITTED)


async def waits(world: World, words: str) -> ReasonCode:
    """Take a step that cannot be finished; gives the code under which it waits."""
    work = await work_in(world)
    with pytest.raises(TransientError, match=words) as caught:
        await work.step()
    assert world.mark is not None
    return caught.value.code


async def test_a_height_that_is_not_kept_is_no_height() -> None:
    """The store was asked to note it and tells of none: nothing is read, and it is tried again."""
    world = World(mark=Mark(whole=True))
    assert await waits(world, "was not noted") is ReasonCode.RECONCILING
    assert world.told == []


async def test_a_transaction_that_is_nobodys_is_passed_over() -> None:
    """Anybody can write a memo of ours: what this wallet did not sign tells nothing."""
    world = World(lost=None)
    await (await work_in(world)).step()
    (done,) = cast("list[dict[str, int]]", world.of("done"))
    assert (done["mentions"], done["orders"], done["attempts"]) == (1, 0, 0)


async def test_an_unknown_order_is_recorded_with_its_open_twins_told() -> None:
    """Open orders of an executed key are a loud line: they were ended for it."""
    world = World(twins=2)
    with capture_logs() as lines:
        await (await work_in(world)).step()
    (done,) = cast("list[dict[str, int]]", world.of("done"))
    assert (done["orders"], done["twins"]) == (1, 2)
    (loud,) = [each for each in lines if each["log_level"] == "critical"]
    assert (loud["event"], loud["open"]) == ("an executed key has open orders", 2)


async def test_an_order_that_came_up_meanwhile_is_looked_at_again() -> None:
    """Another process recorded it between the look and the write: everything begins anew."""
    assert await waits(World(twins=None), "came up while") is ReasonCode.RECONCILING


async def test_what_lived_is_buried_by_a_proof_before_the_lost_one_is_recorded() -> None:
    """The order has one live attempt at a time: the stored one is proved dead first."""
    world = World(view=alive(), proof=makers.PROOF)
    await (await work_in(world)).step()
    assert world.of("attempt") == [("lost7", [AttemptStatus.EXPIRED])]
    assert world.of("contradiction") == []


async def test_while_the_fate_of_what_lived_is_open_nothing_is_recorded() -> None:
    """Neither proved dead nor seen executed: it is waited for."""
    world = World(view=alive())
    assert await waits(world, "is not proved") is ReasonCode.CHAIN_UNAVAILABLE
    assert world.of("attempt") == []


async def test_two_executions_of_an_order_are_told_and_neither_is_hidden() -> None:
    """What the database has as live has landed too: the lost one contradicts, by an event of its own."""
    world = World(view=alive(), status=KEPT)
    with capture_logs() as lines:
        await (await work_in(world)).step()
    assert world.of("contradiction") == [(ORDER, "lost7")]
    assert [each["event"] for each in lines if each["log_level"] == "critical"] == [
        "the chain contradicts an order"
    ]


async def test_an_order_that_changed_meanwhile_is_looked_at_again_without_reading_twice() -> None:
    """What was read of the chain is kept: the repeat costs no call."""
    world = World(view=alive(), proof=makers.PROOF, attempt_taken=[False, True])
    work = await work_in(world)
    with pytest.raises(TransientError, match="changed while"):
        await work.step()
    await work.step()
    assert world.of("read") == ["lost7"]
    assert len(world.of("attempt")) == 1


@pytest.mark.parametrize("anew", [True, False])
async def test_a_known_attempt_that_was_called_dead_and_landed_is_told_once(anew: bool) -> None:
    """Executed on the chain, dead in the database: critical, unless it was told before."""
    world = World(stored=(ORDER, AttemptStatus.EXPIRED), told_anew=anew)
    with capture_logs() as lines:
        await (await work_in(world)).step()
    assert world.of("contradiction") == [(ORDER, "lost7")]
    assert world.of("read") == []
    assert len([each for each in lines if each["log_level"] == "critical"]) == int(anew)


async def test_orders_that_may_have_landed_before_all_histories_are_told() -> None:
    """They stay in doubt; how many, and from where the histories begin, is a critical line."""
    world = World(lost=None, left=3)
    with capture_logs() as lines:
        await (await work_in(world)).step()
    (loud,) = [each for each in lines if each["log_level"] == "critical"]
    assert (loud["orders"], loud["first_slot"]) == (3, 5)
