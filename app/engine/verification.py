"""Verification: the audit trail, the orders and the chain are held against each other; nothing is changed."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Final

from app.domain.attempt import AttemptStatus, StoredAttempt
from app.domain.audit import differences, told_by
from app.domain.errors import TransientError
from app.domain.events import Event, chain_hash
from app.domain.memo import Memo, parse_memo
from app.domain.order import Fill, OrderStatus, OrderView
from app.domain.outcome import Absent, Seen, Unreachable
from app.engine.recovery_port import Mention
from app.engine.verification_port import Fills, Kept, KeptOrder, Ledger

TOLD_MAX: Final = 1_000
"""Findings that are kept to be told, of each kind; all are counted."""
READS_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class Finding:
    """A difference, or what could not be checked; `place` is an order's id, a position or a wallet."""

    what: str
    place: str


@dataclass(slots=True)
class Findings:
    """Everything that was found, counted; the first of each kind in words."""

    orders: int = 0
    events: int = 0
    unsealed: int = 0
    differences: int = 0
    unknown: int = 0
    told: list[Finding] = field(default_factory=list)
    untold: list[Finding] = field(default_factory=list)

    def differs(self, place: str, what: str) -> None:
        """Count a difference."""
        self.differences += 1
        if len(self.told) < TOLD_MAX:
            self.told.append(Finding(what, place))

    def unchecked(self, place: str, what: str) -> None:
        """Count what could not be checked."""
        self.unknown += 1
        if len(self.untold) < TOLD_MAX:
            self.untold.append(Finding(what, place))

    def document(self) -> dict[str, object]:
        """Give it as JSON shows it."""
        document = asdict(self)
        document["differing"] = document.pop("told")
        document["unchecked"] = document.pop("untold")
        return document


class Verification:
    """One run over a whole database, page by page; a service may be working on it meanwhile."""

    def __init__(
        self, kept: Kept, ledger: Ledger | None, fills: Fills, *, removed_before_us: int | None
    ) -> None:
        """Without a ledger nothing is compared with the chain, and all of that counts as unknown.

        `removed_before_us`: orders that ended before may have been cleaned up (None: none ever are).
        """
        self._kept = kept
        self._ledger = ledger
        self._fills = fills
        self._removed_before_us = removed_before_us
        self.findings = Findings()

    async def run(self) -> Findings:
        """Check everything; raises IntakeError when the database cannot be read."""
        whole = await self._check_trail()
        await self._check_orders()
        await self._check_orphans()
        await self._check_wallets(whole=whole)
        self.findings.unsealed = await self._kept.unsealed()
        self.findings.events += self.findings.unsealed
        return self.findings

    # ------------------------------------------------------------ the trail

    async def _check_trail(self) -> bool:
        """Follow positions and hashes from the checkpoint; True when nothing was ever cut off."""
        page = await self._kept.trail(0)
        start, at, previous = page.start, page.start, page.start_hash
        while page.events:
            if page.start > at:  # a clean-up cut off meanwhile what was read before
                at, previous = page.start, page.start_hash
            for event in page.events:
                self._check_link(event, at, previous)
                at, previous = event.position or 0, event.hash or ""
            page = await self._kept.trail(at)
        return start == 0

    def _check_link(self, event: Event, at: int, previous: str) -> None:
        self.findings.events += 1
        position = event.position or 0
        if position != at + 1:
            self.findings.differs(f"position {at + 1}", f"the trail goes on with {position}")
        elif chain_hash(previous, position, event.digest()) != event.hash:
            what = "the event does not continue the hash chain: it, or its hash, was changed"
            self.findings.differs(f"position {position}", what)

    # ------------------------------------------------------------ orders

    async def _check_orders(self) -> None:
        after = ""
        while page := await self._kept.orders(after):
            after = page[-1].order_id
            self.findings.orders += len(page)
            for each in page:
                self._check_events(each)
            await self._check_chain([each.view for each in page if each.view is not None])

    def _check_events(self, kept: KeptOrder) -> None:
        if kept.view is None:
            self.findings.differs(kept.order_id, "its row, or an attempt's, cannot be read")
            return
        for what in differences(kept.view, kept.events, kept.event_seq):
            self.findings.differs(kept.order_id, what)

    async def _check_orphans(self) -> None:
        """Look for orders that only the trail knows: a clean-up removes settled ones, and late."""
        after = ""
        while page := await self._kept.orphans(after):
            for events in page:
                after = events[-1].order_id
                if not self._was_removed(events):
                    self.findings.differs(
                        after, "the trail tells of it, and the order is not there"
                    )

    def _was_removed(self, events: Sequence[Event]) -> bool:
        settled = told_by(events).settled or events[0].seq > 1
        return settled and self._is_old(events[-1].at_us)

    def _is_old(self, at_us: int) -> bool:
        return self._removed_before_us is not None and at_us < self._removed_before_us

    # ------------------------------------------------------------ the chain

    async def _check_chain(self, views: Sequence[OrderView]) -> None:
        finals = [view for view in views if view.order.status.final and view.attempts]
        attempts = [attempt for view in finals for attempt in view.attempts]
        if not attempts:
            return
        if self._ledger is None:
            for attempt in attempts:
                self.findings.unchecked(attempt.order_id, f"attempt {attempt.number}: no endpoint")
            return
        fates = await self._ledger.fates(attempts)
        limit = asyncio.Semaphore(READS_AT_ONCE)

        async def check(view: OrderView, ledger: Ledger) -> list[tuple[bool, str]]:
            async with limit:
                told = [fates[attempt.signature] for attempt in view.attempts]
                return [each async for each in self._against_chain(view, told, ledger)]

        found = await asyncio.gather(*(check(view, self._ledger) for view in finals))
        for view, told in zip(finals, found, strict=True):
            for differs, what in told:
                tell = self.findings.differs if differs else self.findings.unchecked
                tell(view.order.order_id, what)

    async def _against_chain(
        self, view: OrderView, fates: Sequence[Seen | Absent | Unreachable], ledger: Ledger
    ) -> AsyncIterator[tuple[bool, str]]:
        """Give what differs (True), and what cannot be checked (False)."""
        executed = [fate for fate in fates if isinstance(fate, Seen) and fate.error is None]
        if len(executed) > 1:
            yield True, f"{len(executed)} of its attempts were executed"
        landed = [each for each in view.attempts if each.status is AttemptStatus.LANDED]
        if view.order.status is OrderStatus.FILLED and not landed:
            yield True, "it is filled, and none of its attempts landed"
        for attempt, fate in zip(view.attempts, fates, strict=True):
            verdict = _verdict(view, attempt, fate)
            if verdict is not None:
                yield verdict[0], f"attempt {attempt.number}: {verdict[1]}"
            elif attempt.status is AttemptStatus.LANDED:
                async for differs, what in self._fill(view, attempt, ledger):
                    yield differs, f"attempt {attempt.number}: {what}"

    async def _fill(
        self, view: OrderView, attempt: StoredAttempt, ledger: Ledger
    ) -> AsyncIterator[tuple[bool, str]]:
        """Compare amounts, fees and slot with what the transaction itself shows."""
        landed = await ledger.transaction(attempt.signature)
        if landed is None or isinstance(landed, Unreachable):
            yield False, landed.reason if landed else "no endpoint shows the transaction"
            return
        try:
            fill = self._fills.fill(attempt, landed)
        except (TransientError, ValueError, KeyError) as error:
            yield False, f"its fill cannot be read ({error})"
            return
        settled = view.order.finalized_at_us is not None
        for what in _fill_differences(view.order.fill, fill):
            yield settled, what  # until then a fork may move it to another block

    # ------------------------------------------------------------ executions that nobody knows

    async def _check_wallets(self, *, whole: bool) -> None:
        for wallet, since_slot in await self._kept.wallets():
            if self._ledger is None:
                self.findings.unchecked(wallet, "the wallet's history: no endpoint")
                continue
            async for page in self._ledger.mentions(wallet, since_slot, whole=whole):
                if isinstance(page, Unreachable):
                    self.findings.unchecked(wallet, f"the wallet's history: {page.reason}")
                else:
                    await self._check_mentions(self._ledger, wallet, page)

    async def _check_mentions(self, ledger: Ledger, wallet: str, page: Sequence[Mention]) -> None:
        """Look for transactions with a memo of ours that succeeded and that no attempt is known of."""
        ours = {m.signature: (m, memos) for m in page if not m.failed and (memos := _memos(m))}
        known = {each.signature for each in await self._kept.attempts(list(ours))}
        for signature, (mention, memos) in ours.items():
            if signature in known or self._is_old((mention.unix_time or 0) * 1_000_000):
                continue
            signed = await ledger.signed_by(signature, wallet)
            named = ", ".join(f"{memo.order_id}/{memo.number}" for memo in memos)
            if isinstance(signed, Unreachable):
                self.findings.unchecked(wallet, f"{signature} names {named}: {signed.reason}")
            elif signed:
                what = f"{signature} executed {named}, and no attempt with it is known"
                self.findings.differs(memos[0].order_id, what)


def _verdict(
    view: OrderView, attempt: StoredAttempt, fate: Seen | Absent | Unreachable
) -> tuple[bool, str] | None:
    """Judge an attempt of a final order: a difference (True), unknown (False), or None: as it should be."""
    if isinstance(fate, Unreachable):
        return False, fate.reason
    landed = attempt.status is AttemptStatus.LANDED
    if isinstance(fate, Absent):
        recorded = landed or attempt.landed_slot is not None
        return (
            (True, "it landed by the record, and the chain does not have it") if recorded else None
        )
    if fate.error is not None:
        return (
            (True, _failed(attempt, fate)) if attempt.status is not AttemptStatus.FAILED else None
        )
    if not landed:
        return True, f"it was executed in slot {fate.slot}, and the order is {view.order.status}"
    return None


def _failed(attempt: StoredAttempt, fate: Seen) -> str:
    return f"it failed in slot {fate.slot} on the chain, and is {attempt.status} by the record"


def _fill_differences(kept: Fill | None, shown: Fill) -> Iterator[str]:
    if kept is None:
        return
    told = asdict(kept)
    for name, value in asdict(shown).items():
        if told[name] != value:
            yield f"{name} is {told[name]}, and on the chain {value}"


def _memos(mention: Mention) -> list[Memo]:
    """Read our memos out of a list as nodes print it: `[length] text; [length] text`."""
    texts = (part.partition("] ")[2] for part in (mention.memo or "").split("; "))
    return [memo for text in texts if (memo := parse_memo(text)) is not None]
