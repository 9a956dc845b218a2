"""A database that lost commits is completed from the chain before anything is signed again.

Whatever was signed before has left bytes on the chain, or can never land any more once the newest
blockhash of that time is past its life in finalized blocks. Only then is the chain's history complete,
and only then is it read.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from app.domain import changes
from app.domain.attempt import AttemptStatus, StoredAttempt
from app.domain.changes import Change
from app.domain.errors import IntakeError, ReasonCode, RefusedError, TransientError
from app.domain.memo import PREFIX
from app.domain.order import OrderView
from app.domain.outcome import Commitment, Proof, Seen
from app.engine.ports import Ports, ProvedFailure
from app.engine.recovery_port import (
    History,
    Mark,
    Mention,
    Reader,
    Recovered,
    RecoveryStore,
    Tally,
)
from app.engine.trading_state import TradingSwitch

LOOK_SECONDS: Final = 1.0
"""How often it is looked whether enough blocks are finalized, and tried again after a trouble."""
DEFECT_DOUBLINGS_MAX: Final = 6
"""After defects it is tried again in 2, 4, ... 64, 64, ... times that."""

MARGIN_BLOCKS: Final = 150
"""How far every node that is asked may be behind those that were signed for: one that calls itself
healthy is less (128 slots)."""
APART_BLOCKS_MAX: Final = 500
"""A stored attempt that outlives the nodes' newest blockhash by more is one that they are too far behind
for, or a lie that somebody told when it was signed: no height is noted then."""

_log = structlog.get_logger(__name__)


class Reconciliation:
    """Works while the mark is there; a crash at any point repeats, and repeating changes nothing."""

    def __init__(
        self,
        ports: Ports,
        store: RecoveryStore,
        *,
        history: History,
        reader: Reader,
        switch: TradingSwitch,
        wallets: Sequence[str],
        account: str,
    ) -> None:
        """`wallets` are the configured ones; orders that nobody knows are first `account`'s."""
        self._chain = ports.chain
        self._trading = ports.trading
        self._clock = ports.clock
        self._store = store
        self._history = history
        self._reader = reader
        self._switch = switch
        self._wallets = wallets
        self._account = account
        self._blocks_left: int | None = None
        self._hindrance: str | None = None
        self._read: dict[tuple[str, Mention, int], Recovered | None] = {}
        """What was read of unknown transactions: a node that fails once costs one call, not all of them."""
        self._at: str | None = None
        """The order that is being settled: told with a defect."""

    def blocks_left(self) -> int | None:
        """Give how many blocks must be finalized before the chain is read; None: not known."""
        return self._blocks_left

    def hindrance(self) -> str | None:
        """Say what stood in the way the last time; None: nothing did."""
        return self._hindrance

    async def run(self) -> None:
        """Reconcile while the mark is there, then rest until cancelled.

        A defect ends nothing: the service would only meet it again at its next start.
        """
        defects = 0
        while self._switch.state.reconciling:
            self._at = None
            try:
                await self.step()
                self._hindrance, defects = None, 0
            except (TransientError, IntakeError, RefusedError) as error:
                self._hindrance, self._blocks_left = error.what, None
                _log.warning("reconciliation has to wait", why=error.what)
            except Exception:  # noqa: BLE001 - whatever it is, orders stay untouched meanwhile
                defects += 1
                self._hindrance, self._blocks_left = "a defect, see the log", None
                _log.critical("reconciliation met a defect", order_id=self._at, exc_info=True)
            doublings = min(defects, DEFECT_DOUBLINGS_MAX)
            await asyncio.sleep(LOOK_SECONDS * 2**doublings)
        await asyncio.Event().wait()

    async def step(self) -> None:
        """Go as far as is possible now; raises what stands in the way."""
        mark = await self._store.begin()
        if mark is None:  # another process does it, or has done it
            await self._switch.look()
            return
        if mark.until_height is None:
            mark = await self._store.note_height(await self._last_height())
        if mark.until_height is None:
            raise TransientError(ReasonCode.RECONCILING, "the height was not noted")
        height = await self._history.finalized_height()
        self._blocks_left = max(mark.until_height + 1 - height, 0)
        if self._blocks_left == 0:
            await self._settle(mark, mark.until_height)

    async def _last_height(self) -> int:
        """Give the last block height at which anything can land that was signed before the mark."""
        newest = await self._store.newest()
        told = await self._history.last_valid_height(newest.slot)
        stored = newest.last_valid_height or 0
        if stored > told + APART_BLOCKS_MAX:
            what = f"an attempt is stored as valid until height {stored}, nodes tell of {told} only"
            raise TransientError(ReasonCode.CHAIN_UNAVAILABLE, what)
        return max(told, stored) + MARGIN_BLOCKS

    async def _settle(self, mark: Mark, until_height: int) -> None:
        tally, first_slot = Tally(), 0
        for wallet in sorted({*self._wallets, *await self._store.wallets()}):
            listing = await self._history.mentions(
                wallet, since_slot=mark.since_slot, until_height=until_height
            )
            first_slot = max(first_slot, listing.first_slot)
            lost = await self._lost(wallet, listing.mentions, until_height, tally)
            # those that are known first: an unknown one ends the open orders of its client's key
            views = {order_id: await self._store.order(order_id) for order_id in lost}
            for order_id in sorted(lost, key=lambda each: views[each] is None):
                await self._settle_order(order_id, lost[order_id], tally)
        if mark.whole:
            await self._requeue_bare(first_slot, tally)
        document = tally.document()
        await self._store.reconciled(document, self._clock.now_us())
        self._read.clear()
        _log.info("the database agrees with the chain", **document)
        await self._switch.look()

    async def _requeue_bare(self, first_slot: int, tally: Tally) -> None:
        """Take up the orders whose live attempt is lost, unless it may have landed beyond what is kept."""
        now_us = self._clock.now_us()
        tally.requeued, tally.left = await self._store.requeue_bare(first_slot, now_us)
        if tally.left:
            _log.critical(
                "orders without a transaction may have landed before the nodes' histories begin",
                orders=tally.left,
                first_slot=first_slot,
            )

    async def _lost(
        self, wallet: str, mentions: Sequence[Mention], until_height: int, tally: Tally
    ) -> Mapping[str, Sequence[Recovered]]:
        """Give what the chain has of ours and the database has not, by order, oldest first."""
        ours = [each for each in mentions if f"{PREFIX}:" in (each.memo or "")]
        known = await self._store.known([each.signature for each in ours])
        tally.mentions += len(ours)
        lost: dict[str, list[Recovered]] = defaultdict(list)
        for mention in reversed(ours):
            if mention.signature in known:
                await self._check(mention, *known[mention.signature], tally)
                continue
            recovered = await self._recovered(mention, until_height, wallet)
            if recovered is not None:
                lost[recovered.memo.order_id].append(recovered)
        return lost

    async def _recovered(
        self, mention: Mention, until_height: int, wallet: str
    ) -> Recovered | None:
        key = (wallet, mention, until_height)
        if key not in self._read:
            found = await self._history.found(mention.signature)
            self._read[key] = self._reader.recovered(found, mention, until_height, wallet)
        return self._read[key]

    async def _check(
        self, mention: Mention, order_id: str, status: AttemptStatus, tally: Tally
    ) -> None:
        """Hold a known attempt against the chain: one that lives is the ordinary evidence's."""
        tally.known += 1
        self._at = order_id
        if status.dead and not mention.failed:
            await self._contradict(order_id, mention.signature, mention.slot, tally)

    # ------------------------------------------------------------ one order

    async def _settle_order(self, order_id: str, lost: Sequence[Recovered], tally: Tally) -> None:
        """Record what decides the order, which the ordinary evidence then settles, and tell the rest.

        One execution decides, else the last failure: an order has one live attempt at a time.
        """
        self._at = order_id
        view = await self._store.order(order_id)
        fill = None if view is None else view.order.fill
        executions = [each for each in lost if not each.failed]
        executions.sort(key=lambda each: fill is not None and each.slot != fill.slot)
        decisive = (executions or lost)[0 if executions else -1]
        recorded = await self._record(view, decisive, tally)
        for each in lost:
            if each is decisive and recorded:
                continue
            if each.failed:
                tally.failures += await self._store.note_failure(each, self._clock.now_us())
            else:
                await self._contradict(order_id, each.signed.signature, each.slot, tally)

    async def _record(self, view: OrderView | None, lost: Recovered, tally: Tally) -> bool:
        """Record an attempt with its order; False when only an event can tell of it."""
        now_us = self._clock.now_us()
        if view is None:
            return not lost.failed and await self._record_order(lost, tally)
        if view.order.status.final:
            return await self._record_fill(lost, tally)
        burial: Sequence[Change] = ()
        if view.live_attempt is not None:
            dead = await self._burial(view, view.live_attempt)
            if dead is None:
                return False
            burial = dead
        if not await self._store.recover_attempt(lost, burial, now_us):
            what = f"order {lost.memo.order_id} changed while it was being reconciled"
            raise TransientError(ReasonCode.RECONCILING, what)
        tally.attempts += 1
        _log.warning("an attempt was recovered from the chain", **_names(lost))
        return True

    async def _record_fill(self, lost: Recovered, tally: Tally) -> bool:
        """Put back what filled an order, if a damaged database lost just that."""
        if not await self._store.recover_fill(lost, self._clock.now_us()):
            return False
        tally.attempts += 1
        _log.warning("an attempt was recovered from the chain", **_names(lost))
        return True

    async def _record_order(self, lost: Recovered, tally: Tally) -> bool:
        twins = await self._store.recover_order(lost, self._account, self._clock.now_us())
        if twins is None:
            what = f"order {lost.memo.order_id} came up while it was being reconciled"
            raise TransientError(ReasonCode.RECONCILING, what)
        tally.orders += 1
        tally.twins += twins
        _log.warning("an order was recovered from the chain", **_names(lost))
        if twins:
            _log.critical("an executed key has open orders", open=twins, **_names(lost))
        return True

    async def _burial(self, view: OrderView, live: StoredAttempt) -> Sequence[Change] | None:
        """Prove the attempt dead that is stored as live, since one of the order came after it.

        None when it has landed itself: then both executed the order. Raises TransientError while its
        fate is not proved.
        """
        at_us = self._clock.now_us()
        dead = await self._death(live, at_us)
        if dead is None:
            return None
        back = changes.requeued(
            changes.apply(view, dead),
            at_us=at_us,
            next_us=at_us,
            code=ReasonCode.ATTEMPT_EXPIRED,
            reason="another attempt, which the database had lost, came after it",
        )
        return [dead, back]

    async def _death(self, live: StoredAttempt, at_us: int) -> Change | None:
        proof = await self._chain.prove_dead(live)
        if isinstance(proof, Proof):
            return changes.attempt_expired(live, proof, at_us=at_us)
        failed = await self._chain.prove_failed(live)
        if isinstance(failed, ProvedFailure):
            explained = self._trading.explain(failed.landed.error, failed.landed.logs)
            return changes.attempt_failed(
                live,
                explained.error,
                slot=failed.landed.slot,
                at_us=at_us,
                evidence=failed.evidence,
            )
        if await self._executed(live.signature):
            return None
        what = f"the fate of attempt {live.attempt_id} is not proved ({proof.reason})"
        raise TransientError(ReasonCode.CHAIN_UNAVAILABLE, what)

    async def _executed(self, signature: str) -> bool:
        status = (await self._chain.statuses([signature], history=True))[signature]
        return (
            isinstance(status, Seen)
            and status.commitment is Commitment.FINALIZED
            and status.error is None
        )

    async def _contradict(self, order_id: str, signature: str, slot: int, tally: Tally) -> None:
        tally.contradictions += 1
        if await self._store.contradict(order_id, signature, slot, self._clock.now_us()):
            _log.critical(
                "the chain contradicts an order",
                order_id=order_id,
                signature=signature,
                slot=slot,
            )


def _names(lost: Recovered) -> Mapping[str, object]:
    signature = lost.signed.signature
    return {"order_id": lost.memo.order_id, "signature": signature, "slot": lost.slot}
