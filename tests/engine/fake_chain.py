"""A chain in memory, driven by the clock: blocks come, bytes land or do not, forks undo, blocks finalize.

A signature lands at most once at a time and never above its last valid block height, as on the real one.
What is read of it may lag, fail or be forgotten; what is proved is true.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from app.domain.attempt import Blockhash, StoredAttempt
from app.domain.errors import ReasonCode, TransientError
from app.domain.outcome import (
    Absent,
    ChainStatus,
    Commitment,
    Disagreement,
    Dispute,
    Evidence,
    FailureEvidence,
    Heights,
    NotProved,
    Proof,
    Seen,
    Unreachable,
)
from app.domain.resolution import Hearing
from app.engine.ports import Clock, LandedTransaction, ProvedFailure, Simulation, Snapshot
from tests.engine.scripting import Script
from tests.engine.virtual_time import START_SECONDS

BLOCK_SECONDS = 0.4
LIFE_BLOCKS = 150
LIFE_BLOCKS_MIN = 20
FIRST_HEIGHT = 10_000
SLOTS_AHEAD = 700
"""Slots and heights differ, as they do on a real chain."""
CONFIRMED_BLOCKS = 1
FINAL_BLOCKS = 12
CACHE_SECONDS = 60.0
"""How long a node knows of a landing without looking into its history."""


@dataclass
class Landing:
    """A block took the transaction in at `at`; a fork may undo that before it is finalized."""

    at: float
    error: object | None = None
    undone_at: float = math.inf

    def stands(self, now: float) -> bool:
        """Tell whether the chain has it at that time."""
        return self.at <= now < self.undone_at


def height_at(seconds: float) -> int:
    """Give the height of the newest block at a time."""
    return FIRST_HEIGHT + int((seconds - START_SECONDS) / BLOCK_SECONDS + 1e-9)


class FakeChain:
    """The `Chain` port, and the chain behind it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.script = Script()
        self.landings: dict[str, list[Landing]] = defaultdict(list)
        self.last_heights: dict[str, int] = {}
        self.fate: Callable[[StoredAttempt], object] = self.land
        self.lag_seconds = 0.0
        self.shortest_life_blocks = 0
        """How long the shortest life lasts that is to be had: after a start, as long as it can be."""
        self.is_ready = True
        self.down: set[str] = set()
        self.shown: dict[str, ChainStatus] = {}
        self.read_back: dict[str, LandedTransaction | Unreachable | None] = {}
        self.misled: Callable[[], bool] = lambda: False
        """Whether a status tells another fork's error, as it may until the block is final."""
        self.lied_to: Callable[[], bool] = lambda: False
        """Whether a status is a faulty endpoint's, which tells a final failure of anything."""
        self.forgets: Callable[[], bool] = lambda: False
        """Whether a status is null whatever the chain holds, with history search too."""
        self.dispute: Dispute | None = None
        """What endpoints disagree on, so that nothing is proved."""
        self.noticed: list[str] = []
        self.fees: Sequence[int] = ()
        """What the slots of late paid at least, in micro-lamports for each compute unit."""

    # ------------------------------------------------------------ what happens on it

    def receive(
        self, attempt: StoredAttempt, fate: Callable[[StoredAttempt], object] | None = None
    ) -> None:
        """Take bytes from the network; what becomes of them is their fate, unless another is given."""
        self.last_heights[attempt.signature] = attempt.last_valid_block_height
        if not self._stands(attempt.signature):
            (fate or self.fate)(attempt)

    def _stands(self, signature: str) -> bool:
        return any(math.isinf(each.undone_at) for each in self.landings[signature])

    def land(
        self, attempt: StoredAttempt, *, after: float = 0.2, error: object | None = None
    ) -> Landing | None:
        """Let bytes land a little later; None when they will have expired by then."""
        at = self._clock.monotonic() + after
        self.last_heights[attempt.signature] = attempt.last_valid_block_height
        if height_at(at) > attempt.last_valid_block_height:
            return None
        assert not self._stands(attempt.signature), "it lands once"
        landing = Landing(at, error)
        self.landings[attempt.signature].append(landing)
        return landing

    def fork(self, landing: Landing, *, after: float = 0.0) -> None:
        """Let a fork undo a landing, which must not be final by then."""
        at = max(self._clock.monotonic() + after, landing.at)
        assert height_at(at) - height_at(landing.at) < FINAL_BLOCKS, "final is final"
        landing.undone_at = at

    def dead(self, signature: str) -> bool:
        """Tell whether it is settled for good that the transaction never executes: the truth."""
        final = height_at(self._clock.monotonic()) - FINAL_BLOCKS
        standing = [e for e in self.landings[signature] if math.isinf(e.undone_at)]
        if standing:
            return standing[0].error is not None and height_at(standing[0].at) <= final
        return signature not in self.last_heights or final > self.last_heights[signature]

    def executed(self, signature: str) -> bool:
        """Tell whether the chain has it for good, without error: the truth, for an oracle."""
        return any(math.isinf(e.undone_at) and e.error is None for e in self.landings[signature])

    # ------------------------------------------------------------ what is read of it

    @property
    def _seen_at(self) -> float:
        return self._clock.monotonic() - self.lag_seconds

    def _slot(self) -> int:
        return height_at(self._seen_at) + SLOTS_AHEAD

    def ready(self) -> bool:
        return self.is_ready

    async def blockhash(self, life_seconds: float) -> Blockhash | None:
        return await self.script.run("blockhash", lambda: self._blockhash(life_seconds))

    def _blockhash(self, life_seconds: float) -> Blockhash | None:
        if not self.is_ready:
            raise TransientError(ReasonCode.CHAIN_UNAVAILABLE, "no recent blockhash")
        blocks = math.ceil(life_seconds / BLOCK_SECONDS)
        if blocks < LIFE_BLOCKS_MIN:
            return None
        height = height_at(self._clock.monotonic())
        last = height + max(min(blocks, LIFE_BLOCKS), self.shortest_life_blocks)
        return Blockhash(f"hash{height}", last, self._slot())

    async def accounts(self, addresses: Sequence[str]) -> Snapshot:
        return Snapshot(self._slot(), dict.fromkeys(addresses))

    async def simulate(self, raw: bytes, slot_min: int) -> Simulation:
        return await self.script.run("simulate", lambda: Simulation(None, (), 60_000, slot_min))

    async def heights(self) -> Heights | None:
        return await self.script.run("heights", self._heights)

    def _heights(self) -> Heights | None:
        if "heights" in self.down:
            return None
        height = height_at(self._seen_at) - FINAL_BLOCKS
        return Heights(height + SLOTS_AHEAD, height)

    async def statuses(
        self, signatures: Sequence[str], *, history: bool = False
    ) -> Mapping[str, ChainStatus]:
        name = "old statuses" if history else "statuses"
        return await self.script.run(
            name, lambda: {each: self._status(each, history) for each in signatures}
        )

    def _status(self, signature: str, history: bool) -> ChainStatus:
        if "statuses" in self.down:
            return Unreachable("statuses are down")
        if signature in self.shown:
            return self.shown[signature]
        if self.lied_to():
            return Seen(self._slot(), Commitment.FINALIZED, "a liar's", self._slot())
        landing = None if self.forgets() else self._landing(signature)
        forgotten = landing is not None and self._seen_at - landing.at > CACHE_SECONDS
        if landing is None or (forgotten and not history):
            return Absent(self._slot())
        level, error = self._commitment(landing), landing.error
        if level is not Commitment.FINALIZED and self.misled():
            error = None if error else "another fork's"
        return Seen(self._slot_of(landing), level, error, self._slot())

    def _landing(self, signature: str) -> Landing | None:
        standing = [each for each in self.landings[signature] if each.stands(self._seen_at)]
        return standing[-1] if standing else None

    def _slot_of(self, landing: Landing) -> int:
        return height_at(landing.at) + SLOTS_AHEAD

    def _commitment(self, landing: Landing) -> Commitment:
        age = height_at(self._seen_at) - height_at(landing.at)
        if age >= FINAL_BLOCKS:
            return Commitment.FINALIZED
        return Commitment.CONFIRMED if age >= CONFIRMED_BLOCKS else Commitment.PROCESSED

    async def transaction(self, signature: str) -> LandedTransaction | Unreachable | None:
        return await self.script.run("transaction", lambda: self._transaction(signature))

    def _transaction(self, signature: str) -> LandedTransaction | Unreachable | None:
        if "transaction" in self.down:
            return Unreachable("transactions are down")
        if signature in self.read_back:
            return self.read_back[signature]
        landing = self._landing(signature)
        if landing is None or self._commitment(landing) is Commitment.PROCESSED:
            return None
        return landed_transaction(signature, self._slot_of(landing), landing.error)

    async def recent_fees(self, addresses: Sequence[str]) -> Sequence[int]:
        return await self.script.run("recent_fees", lambda: self.fees)

    async def prove_dead(self, attempt: StoredAttempt) -> Proof | NotProved:
        return await self.script.run("prove_dead", lambda: self._prove_dead(attempt))

    def _prove_dead(self, attempt: StoredAttempt) -> Proof | NotProved:
        if self.dispute is not None:
            return disagreed(self.dispute)
        heights = self._heights()
        if "proof" in self.down or heights is None:
            return NotProved("no endpoint answered")
        if heights.block_height <= attempt.last_valid_block_height:
            return NotProved("not expired yet")
        if self._landing(attempt.signature) is not None:
            return NotProved("an endpoint has the transaction")
        slot, height = heights.slot, heights.block_height
        evidence = Evidence("fake", slot, height, self._slot(), 0, invalid_slot=slot)
        return Proof((evidence,))

    async def prove_failed(self, attempt: StoredAttempt) -> ProvedFailure | NotProved:
        return await self.script.run("prove_failed", lambda: self._prove_failed(attempt))

    def _prove_failed(self, attempt: StoredAttempt) -> ProvedFailure | NotProved:
        if self.dispute is not None:
            return disagreed(self.dispute)
        if self.down & {"proof", "transaction"}:
            return NotProved("no endpoint answered")
        landing = self._landing(attempt.signature)
        if landing is None or self._commitment(landing) is not Commitment.FINALIZED:
            return NotProved("no failure that is final")
        if landing.error is None:
            return NotProved("it succeeded")
        landed = landed_transaction(attempt.signature, self._slot_of(landing), landing.error)
        return ProvedFailure(landed, (FailureEvidence("fake", landed.slot, self._slot()),))

    async def testimony(self, attempt: StoredAttempt) -> Sequence[Hearing]:
        return await self.script.run("testimony", lambda: self._testimony(attempt))

    def _testimony(self, attempt: StoredAttempt) -> Sequence[Hearing]:
        heights = self._heights()
        if heights is None:
            return [Hearing("fake", None, Unreachable("heights are down"))]
        return [Hearing("fake", heights, self._status(attempt.signature, history=True))]

    async def landing_notice(self, signature: str) -> None:
        self.noticed.append(signature)


def disagreed(dispute: Dispute) -> NotProved:
    """Say that two endpoints contradict each other."""
    return NotProved("they disagree", Disagreement(dispute, {"one": "yes", "two": "no"}))


def landed_transaction(signature: str, slot: int, error: object | None = None) -> LandedTransaction:
    """Make what getTransaction tells of a transaction."""
    return LandedTransaction(
        signature=signature,
        slot=slot,
        error=error,
        fee_lamports=5_100,
        logs=(),
        account_keys=(),
        lamports_before=(),
        lamports_after=(),
        tokens_before={},
        tokens_after={},
    )
