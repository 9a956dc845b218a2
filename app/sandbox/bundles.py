"""The block engine's own side of bundles: it hands them to the leader, and says what became of them.

A bundle runs on arrival, whole or not at all. What is said of it comes from the chain, except where
scripted trouble says otherwise. What the engine remembers is not kept over a restart; bundles that
landed are, with the chain.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from app.sandbox.blocks import Closing, Landed, NotIncluded
from app.sandbox.call import Call, Horizon, View
from app.sandbox.chain import STATUS_SLOTS
from app.sandbox.node import Node
from app.sandbox.render import Json
from app.sandbox.tips import TipRule
from app.sandbox.transactions import SignedTransaction, bundle_id_of

LOOK_BACK_MS = 300_000  # an engine speaks of what came in the last five minutes

INVALID, PENDING, FAILED, LANDED = "Invalid", "Pending", "Failed", "Landed"


@dataclass(slots=True)
class Submission:
    """Something sent to the engine. A `claim` is said of it whatever the chain says."""

    bundle_id: str
    transactions: tuple[SignedTransaction, ...]
    atomic: bool
    received_ms: int
    claim: str | None = None

    @property
    def signatures(self) -> list[str]:
        """Give the signatures in the bundle's order."""
        return [each.signature for each in self.transactions]


class Bundles:
    """What was sent to the engine, newest last."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.tips = TipRule()
        self._submitted: dict[str, Submission] = {}
        self._late: list[tuple[int, Submission]] = []  # the slot in which each lands after all
        node.listeners.append(self)

    def submit(self, transactions: Sequence[SignedTransaction], view: View, *, atomic: bool) -> str:
        """Take what was checked, and hand it on as far as the view lets it; gives its id."""
        name = bundle_id_of([each.signature for each in transactions])
        taken = Submission(name, tuple(transactions), atomic, self.node.unix_ms)
        self._remember(taken)
        if view.bundle_fate == "invalid":
            taken.claim = INVALID
        elif view.bundle_fate is not None:
            taken.claim = FAILED
            if view.bundle_fate == "failed_then_landed":
                self._late.append((self.node.chain.open.slot + view.late_slots, taken))
        elif not view.drops_sends:
            self._land_now(taken, twice=view.sends_twice)
        return name

    def on_landed(self, landed: Landed) -> None:
        """Do nothing: what landed is asked of the chain."""

    def on_closed(self, closing: Closing) -> None:
        """Land what was said to have failed, when its slot has come."""
        slot = self.node.chain.open.slot
        due = [taken for at, taken in self._late if at <= slot]
        self._late = [(at, taken) for at, taken in self._late if at > slot]
        for taken in due:
            with suppress(NotIncluded):
                self._land(taken)

    def shown(self, bundle_id: str, call: Call) -> Json | None:
        """Show a bundle that landed, as far as the node's recent memory goes; None for others."""
        landed = self._landed(bundle_id, call)
        if not landed:
            return None
        last = max(landed, key=lambda each: each.height)
        if last.slot < self.node.chain.bank("finalized").slot - STATUS_SLOTS:
            return None
        failed = next((each.err for each in landed if each.err is not None), None)
        return {
            "bundle_id": bundle_id,
            "transactions": [each.signature for each in landed],
            "slot": last.slot,
            "confirmation_status": call.horizon().level(last),
            "err": {"Ok": None} if failed is None else {"Err": failed},
        }

    def inflight(self, bundle_id: str, call: Call) -> Json:
        """Show what the engine says of a bundle of the last five minutes."""
        status, slot = self._status(bundle_id, call)
        return {"bundle_id": bundle_id, "status": status, "landed_slot": slot}

    def _status(self, bundle_id: str, call: Call) -> tuple[str, int | None]:
        taken, landed = self._submitted.get(bundle_id), self._landed(bundle_id, call)
        since = taken.received_ms if taken else landed[0].unix_time * 1_000 if landed else 0
        if self.node.unix_ms - since > LOOK_BACK_MS:
            return INVALID, None
        if taken is not None and taken.claim is not None:
            return taken.claim, None
        if landed and all(_is_closed(each, call.horizon()) for each in landed):
            return LANDED, landed[0].slot
        return PENDING, None

    def _landed(self, bundle_id: str, call: Call) -> list[Landed]:
        """Give the transactions of a bundle if all of them stand on the chain, else none."""
        chain, taken = self.node.chain, self._submitted.get(bundle_id)
        found = chain.bundles.get(bundle_id, [])
        if not found and taken is not None:
            several = [chain.landed.get(each) for each in taken.signatures]
            found = [each for each in several if each is not None]
            if len(found) < len(several):
                return []
        horizon = call.horizon()
        seen = all(horizon.level(each) is not None for each in found)
        return list(found) if seen and not call.view.hides_statuses else []

    def _land_now(self, taken: Submission, *, twice: bool) -> None:
        try:
            self._land(taken)
        except NotIncluded:
            taken.claim = FAILED
        if twice:
            with suppress(NotIncluded):
                self._land(taken)

    def _land(self, taken: Submission) -> None:
        """Hand to the leader; raises NotIncluded."""
        if taken.atomic:
            self.node.land_bundle(taken.transactions)
        else:
            self.node.land(taken.transactions[0])

    def _remember(self, taken: Submission) -> None:
        self._submitted.pop(taken.bundle_id, None)  # what comes again is the newest
        self._submitted[taken.bundle_id] = taken
        oldest = next(iter(self._submitted.values()))
        while taken.received_ms - oldest.received_ms > LOOK_BACK_MS:
            del self._submitted[oldest.bundle_id]
            oldest = next(iter(self._submitted.values()))


def _is_closed(landed: Landed, horizon: Horizon) -> bool:
    return landed.height <= horizon.confirmed
