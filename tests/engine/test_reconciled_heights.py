"""When the chain is read, and what keeps it from being read: by the heights that nodes and database tell."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from app.domain.errors import ReasonCode, TransientError
from app.engine.reconciliation import APART_BLOCKS_MAX, MARGIN_BLOCKS
from app.engine.recovery_port import Listing, Mark, Newest
from app.engine.store_port import TradingState
from tests.engine.reconciling import work_in

pytestmark = pytest.mark.anyio
TIP = 1_000


@dataclass
class World:
    """A marked database without orders, and nodes that tell of heights."""

    mark: Mark | None = field(default_factory=lambda: Mark(whole=False))
    stored: Newest = field(default_factory=lambda: Newest(None, None))
    finalized: int = 0
    asked_after: list[int | None] = field(default_factory=list)
    looks: int = 0
    listed: list[int] = field(default_factory=list)

    # -------------------------------------------------------- RecoveryStore and Store

    async def begin(self) -> Mark | None:
        self.looks += 1
        return self.mark

    async def newest(self) -> Newest:
        return self.stored

    async def note_height(self, until_height: int) -> Mark:
        self.mark = Mark(whole=False, until_height=until_height)
        return self.mark

    async def wallets(self) -> list[str]:
        return []

    async def known(self, _signatures: list[str]) -> dict[str, Any]:
        return {}

    async def reconciled(self, _tally: object, _at_us: int) -> None:
        self.mark = None

    async def trading_state(self) -> TradingState:
        return TradingState(halted=True, reconciling=self.mark is not None)

    # -------------------------------------------------------- History

    async def last_valid_height(self, newest_slot: int | None) -> int:
        self.asked_after.append(newest_slot)
        return TIP

    async def finalized_height(self) -> int:
        return self.finalized

    async def mentions(
        self, _address: str, *, since_slot: int | None, until_height: int
    ) -> Listing:
        assert since_slot is None
        self.listed.append(until_height)
        return Listing([], 0)


@pytest.mark.parametrize(
    ("stored", "until"),
    [
        (Newest(None, None), TIP + MARGIN_BLOCKS),
        (Newest(7, TIP - 1), TIP + MARGIN_BLOCKS),
        (Newest(7, TIP + 9), TIP + 9 + MARGIN_BLOCKS),
    ],
    ids=["nothing", "older", "newer"],
)
async def test_nodes_that_lag_do_not_shorten_the_wait(stored: Newest, until: int) -> None:
    """What outlives their newest blockhash is waited for, and a margin beyond; then the chain is read."""
    world = World(stored=stored, finalized=until)
    work = await work_in(world)
    await work.step()
    assert world.asked_after == [stored.slot]
    assert work.blocks_left() == 1
    assert world.listed == []
    world.finalized += 1
    await work.step()
    assert world.listed == [until]
    assert world.mark is None


async def test_a_height_that_is_out_of_reach_is_not_noted() -> None:
    """The nodes are too far behind, or somebody lied when it was stored: it is looked at again."""
    world = World(stored=Newest(7, TIP + APART_BLOCKS_MAX + 1))
    work = await work_in(world)
    with pytest.raises(TransientError, match="nodes tell of 1000 only") as caught:
        await work.step()
    assert caught.value.code is ReasonCode.CHAIN_UNAVAILABLE
    assert world.mark == Mark(whole=False)
    world.stored = Newest(7, TIP)
    await work.step()
    assert world.mark == Mark(whole=False, until_height=TIP + MARGIN_BLOCKS)
