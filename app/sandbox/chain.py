"""Slots, blocks, blockhashes and statuses over the virtual machine; no I/O and no wall clock.

One block is open at a time. A transaction runs in it on arrival (`processed`); when the block
closes it is `confirmed`; after `finality_blocks` more blocks it is `finalized`. A closed block can
be undone until then, from the accounts as they were before it.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from zlib import crc32

from solders.account import Account
from solders.hash import Hash
from solders.pubkey import Pubkey

from app.sandbox.blocks import (
    Aftermath,
    Bank,
    Block,
    CannotUndo,
    Closing,
    Commitment,
    Landed,
    NotIncluded,
    Settled,
)
from app.sandbox.machine import Execution, Machine, writable_keys
from app.sandbox.transactions import (
    SignedTransaction,
    UnusableTable,
    bundle_id_of,
    compute_price_of,
    memo_of,
)

HASH_LIFE_BLOCKS = 150  # a transaction may use a blockhash that is at most this old
HASHES_KEPT = 300  # the depth of the network's blockhash queue
BLOCKS_KEPT = 512  # more than any answer looks back
FEE_BLOCKS = 150  # getRecentPrioritizationFees looks this far back
STATUS_SLOTS = 300  # without history search, statuses reach this far behind the last final slot

Rehearse = Callable[[SignedTransaction], Execution]


@dataclass(frozen=True, slots=True)
class ChainRules:
    """What a chain is made with. Slots run ahead of heights by an offset and by skipped slots."""

    seed: int = 7
    first_slot: int = 2_000
    first_height: int = 900
    skipped_permille: int = 50
    finality_blocks: int = 32

    def skips(self, slot: int) -> bool:
        """Whether no leader makes a block in this slot."""
        return crc32(f"{self.seed}:{slot}".encode()) % 1_000 < self.skipped_permille


class Chain:
    """The blocks on top of a machine, and what landed in them."""

    def __init__(
        self, machine: Machine, genesis_hash: str, rules: ChainRules, unix_time: int
    ) -> None:
        self.machine = machine
        self.genesis_hash = genesis_hash
        self.rules = rules
        self.closed: deque[Block] = deque(maxlen=BLOCKS_KEPT)
        self.landed: dict[str, Landed] = {}
        self.bundles: dict[str, list[Landed]] = {}
        self._by_address: dict[Pubkey, list[Landed]] = {}
        self._hash_heights: dict[str, int] = {}
        self._forks = 0
        self._count = 0
        self._final_height = rules.first_height
        self.open = Block(rules.first_slot, rules.first_height, unix_time, 0, genesis_hash)
        self._set_time()
        for _ in range(rules.finality_blocks + 1):
            self.close_block(unix_time)

    # ------------------------------------------------------------------------------- reading

    def bank(self, commitment: Commitment, behind: int = 0) -> Bank:
        """Give the chain at a commitment, as a node `behind` blocks behind would see it."""
        depth = behind - 1
        if commitment == "confirmed":
            depth = behind
        elif commitment == "finalized":
            depth = behind + self._unfinal_count()
        if depth < 0:
            block = self.open
            return Bank(
                block.slot, block.height, block.unix_time, block.parent_hash, block.height - 1
            )
        block = self.closed[-1 - min(depth, len(self.closed) - 1)]
        return Bank(block.slot, block.height, block.unix_time, block.blockhash, block.height)

    def read(self, address: Pubkey, commitment: Commitment) -> Account | None:
        """Read an account at a commitment."""
        for block in self._newer_than(commitment):
            if address in block.preimages:
                return block.preimages[address]
        return self.machine.read(address)

    def accepts_hash(self, blockhash: str, bank: Bank) -> bool:
        """Whether a transaction with this blockhash may land on top of a bank."""
        height = self._hash_heights.get(blockhash)
        return height is not None and 0 <= bank.newest_hash_height - height <= HASH_LIFE_BLOCKS

    def hash_height(self, blockhash: str) -> int | None:
        """Give the height of the block that a recent blockhash belongs to."""
        return self._hash_heights.get(blockhash)

    def history_of(self, address: Pubkey, below: int) -> Iterator[Landed]:
        """Walk the transactions that name an address, newest first, from number `below` down."""
        found = self._by_address.get(address, [])
        end = bisect_left(found, below, key=lambda each: each.number)
        return (found[index] for index in range(end - 1, -1, -1))

    def recent_blocks(self, count: int) -> list[Block]:
        """List the last closed blocks, oldest first."""
        start = max(0, len(self.closed) - count)
        return [self.closed[index] for index in range(start, len(self.closed))]

    @property
    def transaction_count(self) -> int:
        """How many transactions stand on the chain."""
        return len(self.landed)

    def _unfinal_count(self) -> int:
        """Count the closed blocks that a fork can still undo."""
        return self.open.height - 1 - self._final_height

    def _newer_than(self, commitment: Commitment) -> Iterator[Block]:
        """Walk the blocks that a commitment does not show yet, oldest first."""
        if commitment == "finalized":
            for index in range(len(self.closed) - self._unfinal_count(), len(self.closed)):
                yield self.closed[index]
        if commitment != "processed":
            yield self.open

    # ------------------------------------------------------------------------------ changing

    def land(self, transaction: SignedTransaction, *, verified: bool = False) -> Landed:
        """Run a transaction in the open block, at most once for ever.

        Its signatures are not checked again when they were `verified` before. Raises NotIncluded
        when a leader would have dropped it.
        """
        return self._include(transaction, self._execute(transaction, verified=verified))

    def land_bundle(
        self, transactions: Sequence[SignedTransaction], *, verified: bool = False
    ) -> list[Landed]:
        """Run transactions in the open block, in their order, all of them or none.

        Raises NotIncluded when one would be dropped or fails; then nothing has happened.
        """
        signatures = [each.signature for each in transactions]
        if len(set(signatures)) < len(signatures):
            raise NotIncluded("AlreadyProcessed")
        outcomes = self._rehearse(transactions, verified=verified)
        name = bundle_id_of(signatures)
        pairs = zip(transactions, outcomes, strict=True)
        return [self._include(*pair, bundle_id=name) for pair in pairs]

    def _rehearse(
        self, transactions: Sequence[SignedTransaction], *, verified: bool
    ) -> list[Execution]:
        """Run transactions; when one fails, everything is again as it was. Raises NotIncluded."""
        outcomes: list[Execution] = []
        for each in transactions:
            try:
                outcomes.append(self._execute(each, verified=verified))
            except NotIncluded:
                self._take_back(outcomes)
                raise
            if outcomes[-1].err is not None:
                self._take_back(outcomes)
                raise NotIncluded(outcomes[-1].err)
        return outcomes

    @contextmanager
    def rehearsal(self) -> Iterator[Rehearse]:
        """Run transactions of which nothing remains at the end; nothing of them is checked."""
        outcomes: list[Execution] = []

        def run(transaction: SignedTransaction) -> Execution:
            outcomes.append(self.machine.execute(transaction))
            return outcomes[-1]

        try:
            yield run
        finally:
            self._take_back(outcomes)

    def _take_back(self, outcomes: Sequence[Execution]) -> None:
        for outcome in reversed(outcomes):
            self.machine.restore(outcome.preimages)

    def _execute(self, transaction: SignedTransaction, *, verified: bool) -> Execution:
        """Run a transaction that a leader would take; raises NotIncluded."""
        if not self.accepts_hash(transaction.blockhash, self.bank("processed")):
            raise NotIncluded("BlockhashNotFound")
        if transaction.signature in self.landed:
            raise NotIncluded("AlreadyProcessed")
        if not verified and not transaction.verifies():
            raise NotIncluded("SignatureFailure")
        try:
            outcome = self.machine.execute(transaction)
        except UnusableTable as error:
            raise NotIncluded(str(error)) from error
        if not outcome.included:
            raise NotIncluded(outcome.err)
        return outcome

    def close_block(self, unix_time: int) -> Closing:
        """Close the open block and open the next one at `unix_time` (seconds)."""
        block = self.open
        block.blockhash = self._hash_of(block)
        self._hash_heights[block.blockhash] = block.height
        self.closed.append(block)
        if len(self.closed) > HASHES_KEPT:
            self._hash_heights.pop(self.closed[-1 - HASHES_KEPT].blockhash, None)
        self._open_after(block, block.slot + 1 + block.skipped_after, unix_time)
        final = self._finalize()
        counters = (self._forks, self._count, self._final_height)
        block.after = Aftermath(*counters, self.open.slot, unix_time)
        return Closing(block, final)

    def pass_slot(self, unix_time: int) -> None:
        """Let a slot pass without a block: the open one closes later.

        It moves on when it is empty; what has landed keeps its slot.
        """
        if self.open.landed:
            self.open.skipped_after += 1
        else:
            self.open.slot += 1
            self.open.unix_time = unix_time
            self._set_time()

    def undo(self, blocks: int, unix_time: int) -> list[Landed]:
        """Undo the open block and the last `blocks` closed ones; slots go on, heights go back.

        Gives the transactions that vanished. Raises CannotUndo behind the last final block.
        """
        most = self._unfinal_count()
        if not 0 <= blocks <= most:
            raise CannotUndo(f"at most {most} closed blocks are not final")
        vanished = self._undo_block(self.open)
        slot = self.open.slot
        for _ in range(blocks):
            block = self.closed.pop()
            self._hash_heights.pop(block.blockhash, None)
            vanished += self._undo_block(block)
        self._forks += 1
        self._open_after(self.closed[-1], slot + 1, unix_time)
        return vanished

    def settled(self) -> Settled | None:
        """Give what cannot be undone; None before a first block has become final."""
        blocks = self.recent_blocks(len(self.closed))
        blocks = blocks[: len(blocks) - self._unfinal_count()]
        after = blocks[-1].after
        if after is None:
            return None
        accounts = {each: self.read(each, "finalized") for each in self.machine.written}
        for address, account in accounts.items():
            if account is None and self.machine.read(address) is None:
                self.machine.forget(address)
        return Settled(blocks, after, accounts)

    def restore(self, settled: Settled, landed: Iterable[tuple[Landed, list[Pubkey]]]) -> None:
        """Go back to where the last settled block was just closed."""
        for address, account in settled.accounts.items():
            self.machine.write(address, account)
        for each, keys in landed:
            self._index(each, keys)
        after, last = settled.after, settled.blocks[-1]
        self.closed = deque(settled.blocks, BLOCKS_KEPT)
        recent = settled.blocks[-HASHES_KEPT:]
        self._hash_heights = {block.blockhash: block.height for block in recent}
        self._forks, self._count = after.forks, after.count
        self._final_height = after.final_height
        self.open = Block(
            after.open_slot, last.height + 1, after.open_unix_time, last.slot, last.blockhash
        )
        self._set_time()

    def _include(
        self, transaction: SignedTransaction, outcome: Execution, bundle_id: str | None = None
    ) -> Landed:
        block = self.open
        self._count += 1
        landed = Landed(
            number=self._count,
            signature=transaction.signature,
            slot=block.slot,
            height=block.height,
            unix_time=block.unix_time,
            index=len(block.landed),
            err=outcome.err,
            memo=memo_of(transaction.message),
            bundle_id=bundle_id,
            unit_price=compute_price_of(transaction.message),
            units=outcome.meta.compute_units_consumed(),
            transaction=transaction,
            outcome=outcome,
        )
        self._index(landed, outcome.keys.every)
        for key, account in outcome.preimages.items():
            block.preimages.setdefault(key, account)
        self._note_price(block, landed, writable_keys(transaction, outcome.keys))
        block.landed.append(landed)
        return landed

    def _index(self, landed: Landed, keys: list[Pubkey]) -> None:
        self.landed[landed.signature] = landed
        if landed.bundle_id is not None:
            self.bundles.setdefault(landed.bundle_id, []).append(landed)
        for key in keys:
            self._by_address.setdefault(key, []).append(landed)

    def _note_price(self, block: Block, landed: Landed, written: Iterable[Pubkey]) -> None:
        price = landed.unit_price
        block.lowest_price = min(block.lowest_price, price) if block.landed else price
        for key in written:
            block.lowest_prices[key] = min(block.lowest_prices.get(key, price), price)

    def _open_after(self, parent: Block, slot: int, unix_time: int) -> None:
        while self.rules.skips(slot):
            slot += 1
        self.open = Block(slot, parent.height + 1, unix_time, parent.slot, parent.blockhash)
        self._set_time()

    def _set_time(self) -> None:
        self.machine.set_time(self.open.slot, self.open.unix_time)

    def _undo_block(self, block: Block) -> list[Landed]:
        self.machine.restore(block.preimages)
        for landed in reversed(block.landed):
            del self.landed[landed.signature]
            self.bundles.pop(landed.bundle_id or "", None)
            outcome = landed.outcome
            for key in outcome.keys.every if outcome else ():
                self._by_address[key].pop()
        return block.landed

    def _finalize(self) -> Block | None:
        """Make the oldest block final that is deep enough, and drop what only an undo needs."""
        if self._unfinal_count() <= self.rules.finality_blocks:
            return None
        self._final_height += 1
        block = self.closed[-1 - self._unfinal_count()]
        block.preimages.clear()
        return block

    def _hash_of(self, block: Block) -> str:
        """Hash a block: two histories that differ in anything seen have no hash in common."""
        parts = [f"{self._forks}:{block.parent_hash}:{block.slot}:{block.height}"]
        parts += [f"{each.signature}{each.err}{_balances(each)}" for each in block.landed]
        return str(Hash(sha256("\n".join(parts).encode()).digest()))


def _balances(landed: Landed) -> list[int]:
    return landed.outcome.post_balances if landed.outcome else []
