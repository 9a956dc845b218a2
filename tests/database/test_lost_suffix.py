"""Whatever suffix of its commits a database loses: nothing the chain has is lost, no key trades twice."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from app.database.backup import back_up, restore
from app.database.orders import SqlStore, open_store
from app.domain import changes
from app.domain.attempt import StoredAttempt
from app.domain.events import EventKind, verify_chain
from app.domain.memo import Memo, client_hash
from app.domain.order import NewOrder, OrderStatus
from app.domain.outcome import ChainStatus, Commitment, NotProved, Proof, Seen
from app.domain.signal import Action
from app.engine.ports import Accepted, Claimed, LandedTransaction, Ports, ProvedFailure
from app.engine.reconciliation import MARGIN_BLOCKS, Reconciliation
from app.engine.recovery_port import Found, Listing, Mention, Recovered
from app.engine.trading_state import TradingSwitch
from tests.database import steps
from tests.database.steps import RICH, SOON, new_order
from tests.domain import makers
from tests.domain.makers import FILL, LAST_HEIGHT, NOW, PROOF, SLIPPAGE
from tests.engine.fakes import FakeTelemetry, FakeTrading

pytestmark = pytest.mark.anyio
SEEDS = range(15)
LIVES = 12


@dataclass
class Ledger:
    """What has landed, by signature, oldest first; and the chain's ports over it."""

    landed: dict[str, Recovered] = field(default_factory=dict)

    def executions(self) -> Counter[str]:
        """Count each client key's successful transactions."""
        return Counter(e.memo.client_hash for e in self.landed.values() if not e.failed)

    # -------------------------------------------------------- History and Reader

    async def last_valid_height(self, newest_slot: int | None) -> int:
        return LAST_HEIGHT

    async def finalized_height(self) -> int:
        return LAST_HEIGHT + MARGIN_BLOCKS + 1

    async def mentions(self, address: str, *, since_slot: int | None, until_height: int) -> Listing:
        assert until_height == LAST_HEIGHT + MARGIN_BLOCKS
        mentions = [
            Mention(signature, each.slot, each.failed, f"[9] {each.memo.text()}", None)
            for signature, each in reversed(self.landed.items())
            if since_slot is None or each.slot >= since_slot
        ]
        return Listing(mentions, 0)

    async def found(self, signature: str) -> Found:
        return Found(signature.encode(), cast("LandedTransaction", None), {})

    def recovered(
        self, found: Found, mention: Mention, until_height: int, wallet: str
    ) -> Recovered | None:
        return self.landed[mention.signature]

    # -------------------------------------------------------- Chain

    async def prove_dead(self, attempt: StoredAttempt) -> Proof | NotProved:
        return NotProved("it landed") if attempt.signature in self.landed else PROOF

    async def prove_failed(self, attempt: StoredAttempt) -> ProvedFailure | NotProved:
        each = self.landed.get(attempt.signature)
        if each is None or not each.failed:
            return NotProved("no failure")
        landed = LandedTransaction(
            attempt.signature, each.slot, {"x": 1}, 5_000, (), (), (), (), {}, {}
        )
        return ProvedFailure(landed, ())

    async def statuses(
        self, signatures: Sequence[str], *, history: bool = False
    ) -> Mapping[str, ChainStatus]:
        return {
            each: Seen(self.landed[each].slot, Commitment.FINALIZED, None, 9_000)
            for each in signatures
        }


class Clock:
    """A time that stands still."""

    def now_us(self) -> int:
        return SOON

    def monotonic(self) -> float:
        return 0.0


class Life:
    """A service's life on a store and a ledger, by dice."""

    def __init__(self, seed: int, ledger: Ledger) -> None:
        self.dice = random.Random(seed)
        self.ledger = ledger
        self.keys: dict[str, str] = {}
        """Every key that was ever answered, with its order."""
        self.count = 0

    async def post(self, store: SqlStore, key: str) -> Accepted:
        """Post a key's signal, as often as one likes."""
        self.count += 1
        found = await store.accept(self.signal(key, f"order{self.count}"), full=False)
        assert isinstance(found, Accepted)
        self.keys[key] = found.order.order_id
        return found

    def signal(self, key: str, order_id: str) -> NewOrder:
        """Make a key's signal; some are known by the client's own order id."""
        if key.endswith("c"):
            return new_order(order_id, signal=makers.signal(client_order_id=key))
        return new_order(order_id, idempotency_key=key)

    async def sign(self, store: SqlStore, claimed: Claimed) -> Claimed:
        """Store an attempt whose bytes are like no others."""
        self.count += 1
        stored = await store.store_attempt(
            claimed,
            replace(makers.signed(), signature=f"sig{self.count}"),
            makers.attempt().plan,
            balances=RICH,
            reserve_lamports=0,
            at_us=SOON,
        )
        assert isinstance(stored, Claimed), stored
        return stored

    def land(self, claimed: Claimed, *, failed: bool) -> None:
        """Let the chain have the live attempt."""
        order, attempt = claimed.view.order, steps.live(claimed)
        memo = Memo(order.order_id, attempt.number, client_hash(order.account, order.client_key))
        self.ledger.landed[attempt.signature] = Recovered(
            memo=memo,
            wallet="main",
            signed=attempt.signed,
            market="SOL-USDC",
            action=Action.SELL,
            size=10_000_000,
            quote_size=None,
            slot=FILL.slot,
            failed=failed,
            at_us=NOW,
        )

    async def settle(self, store: SqlStore, claimed: Claimed) -> None:
        """Record what the chain says of the live attempt, past its life."""
        attempt = steps.live(claimed)
        landed = self.ledger.landed.get(attempt.signature)
        if landed is not None and not landed.failed:
            await steps.finalize(store, await steps.fill(store, claimed))
            return
        dead = (
            changes.attempt_expired(attempt, PROOF, at_us=SOON)
            if landed is None
            else changes.attempt_failed(attempt, SLIPPAGE, slot=landed.slot, at_us=SOON)
        )
        await steps.record(store, claimed, dead, steps.requeue(claimed, SOON, dead))

    async def one(self, store: SqlStore, *, sure: bool = False) -> bool:
        """Take the next order some of its way; `sure` all of it. False when there is none."""
        claims = await store.claim(1, SOON)
        if not claims:
            return False
        claimed = claims[0]
        if claimed.view.live_attempt is None:
            if not sure and self.dice.random() < 0.1:
                await store.release(claimed)
                return True
            claimed = await self.sign(store, claimed)
            if sure or self.dice.random() < 0.8:
                self.land(claimed, failed=not sure and self.dice.random() < 0.4)
        if sure or self.dice.random() < 0.8:
            await self.settle(store, claimed)
        else:
            await store.release(claimed)  # it has landed, or never will, and nobody has looked yet
        return True


async def reconcile(store: SqlStore, ledger: Ledger) -> Mapping[str, Any]:
    """Run it as the service does; gives what it found."""
    chain = cast("Any", ledger)
    ports = Ports(store, chain, FakeTrading(), Clock(), FakeTelemetry())
    switch = TradingSwitch(store, Clock())
    await switch.load()
    assert not switch.may_hold()
    work = Reconciliation(
        ports,
        store.recovery,
        history=ledger,
        reader=ledger,
        switch=switch,
        wallets=["main"],
        account="default",
    )
    await work.step()
    assert switch.may_hold()
    events = await steps.seal_all(store)
    assert verify_chain(events, (await store.trail_start()).hash) is None
    (told,) = [e.data for e in events if e.kind is EventKind.DATABASE_RECONCILED][-1:]
    return told


def failures(ledger: Ledger) -> set[str]:
    """Give the signatures of what failed: of those events are enough."""
    return {signature for signature, each in ledger.landed.items() if each.failed}


@pytest.mark.parametrize("seed", SEEDS)
async def test_no_lost_suffix_loses_an_execution_or_repeats_one(
    seed: int, migrated_file: Path, tmp_path: Path
) -> None:
    """A copy of any moment takes the database's place: bots repeat everything, each key executes once."""
    database, copy = tmp_path / "orders.db", tmp_path / "copy.db"
    back_up(migrated_file, database)
    life = Life(seed, Ledger())
    copied_at = life.dice.randrange(LIVES * 2)
    async with open_store(str(database), process_name="before") as store:
        for step in range(LIVES * 2):
            if step == copied_at:
                back_up(database, copy)
            if step < LIVES:
                await life.post(store, f"key{step}" + ("c" if step % 3 == 0 else ""))
            await life.one(store)
    before = set(life.ledger.landed)
    restore(copy, database)
    async with open_store(str(database), process_name="after") as store:
        told = await reconcile(store, life.ledger)
        assert (told["contradictions"], told["twins"]) == (0, 0)
        assert set(await store.recovery.known(list(before))) | failures(life.ledger) == before
        for claimed in await store.claim(100, SOON, live_only=True):
            await life.settle(store, claimed)
        executed = {each.memo.order_id for each in life.ledger.landed.values() if not each.failed}
        by_hash = {
            e.memo.client_hash: e.memo.order_id for e in life.ledger.landed.values() if not e.failed
        }
        await store.resume(SOON)
        for order_id in executed:
            assert await steps.status(store, order_id) is OrderStatus.FILLED, order_id
        for key in list(life.keys):
            found = await life.post(store, key)
            known = by_hash.get(client_hash("default", key))
            if known is not None:
                assert (found.replayed, found.order.order_id) == (True, known)
        while await life.one(store, sure=True):
            pass
        statuses = {await steps.status(store, order_id) for order_id in life.keys.values()}
    assert statuses == {OrderStatus.FILLED}
    executions = life.ledger.executions()
    assert set(executions.values()) == {1}
    assert len(executions) == len(life.keys)
