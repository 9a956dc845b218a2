"""The node: a chain, the ledger that makes it last, its faucet and its keeper."""

import json
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from solders.hash import Hash
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import Message
from solders.pubkey import Pubkey
from solders.system_program import ID as SYSTEM_PROGRAM
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

from app.sandbox.blocks import Block, Closing, Landed, NotIncluded
from app.sandbox.chain import BLOCKS_KEPT, Chain, ChainRules
from app.sandbox.genesis import Genesis, GenesisAccount, build_genesis, own_program
from app.sandbox.history import History
from app.sandbox.keeper import Keeper
from app.sandbox.ledger import Ledger, LedgerError, Position, unwritable
from app.sandbox.machine import Machine
from app.sandbox.snapshot import Snapshot, read_snapshot, write_snapshot
from app.sandbox.tips import tip_genesis
from app.sandbox.transactions import SignedTransaction, parse_transaction

LEDGER_FORMAT = 1
PROGRAM_FILE = "program.so"
SNAPSHOT_ENTRIES = 10_000  # a start replays hardly more than this: some seconds
FAUCET_LAMPORTS = 500_000_000 * 10**9
MEMO_PROGRAM = Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")
_HASH_PREFIX = 8  # letters of a blockhash in the ledger: a replay that differs is noticed


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """How a chain is made and driven. `unix_time` (seconds) is the time of a new first block."""

    wallet: Keypair
    unix_time: int
    rules: ChainRules = field(default_factory=ChainRules)
    slot_ms: int = 400
    program: bytes | None = None
    keeper_volatility_bps: int = 0
    snapshot_entries: int = SNAPSHOT_ENTRIES


class Listener(Protocol):
    """Is told what happens on the chain, after it is in the ledger."""

    def on_landed(self, landed: Landed) -> None: ...
    def on_closed(self, closing: Closing) -> None: ...


class Node:
    """One chain in one folder. Every change is in the ledger before it can be seen."""

    def __init__(self, folder: Path, options: NodeOptions) -> None:
        self.options = options
        self.listeners: list[Listener] = []
        self._folder = folder
        self._slots_to_skip = 0
        self._positions: deque[tuple[Block, Position]] = deque(maxlen=BLOCKS_KEPT)
        self._since_snapshot = 0
        self._snapshot_line: bytes | None = None
        self._ledger = Ledger(folder)
        first = next(self._ledger.read(), None) or self._found(folder)
        self.genesis, self.chain = self._begin(folder, first)
        self.history = History(folder)
        start = self._restore() or self._ledger.position
        self.unix_ms = self.chain.open.unix_time * 1_000
        self._replay(self._ledger.read(start))
        self._keeper = self._hire(options.keeper_volatility_bps)

    # ------------------------------------------------------------------------------- changing

    def forward(self, transaction: SignedTransaction) -> Landed | None:
        """Hand a transaction to the leader, who may drop it: then None."""
        try:
            return self.land(transaction)
        except NotIncluded:
            return None

    def land(self, transaction: SignedTransaction) -> Landed:
        """Run a transaction in the open block; raises NotIncluded."""
        landed = self.chain.land(transaction)
        self._ledger.append({"type": "tx", "raw": _text(transaction)})
        self._tell([landed])
        return landed

    def land_bundle(self, transactions: Sequence[SignedTransaction]) -> list[Landed]:
        """Run a bundle in the open block, all of it or nothing; raises NotIncluded."""
        landed = self.chain.land_bundle(transactions)
        self._ledger.append({"type": "bundle", "raws": [_text(each) for each in transactions]})
        self._tell(landed)
        return landed

    def tick(self, unix_ms: int) -> None:
        """End the current slot; `unix_ms` never goes back."""
        self.unix_ms = max(self.unix_ms, unix_ms)
        if self._slots_to_skip:
            self._slots_to_skip -= 1
            self._pass_slot()
        else:
            self._close_block()

    def step(self, slots: int) -> None:
        """Tick on request, each time by one slot's length."""
        for _ in range(slots):
            self.tick(self.unix_ms + self.options.slot_ms)

    def skip(self, slots: int) -> None:
        """Let the next slots pass without a block."""
        self._slots_to_skip += slots

    def fork(self, blocks: int) -> list[Landed]:
        """Undo the open and the last `blocks` closed blocks; raises CannotUndo."""
        vanished = self.chain.undo(blocks, self.unix_ms // 1_000)
        self._ledger.append({"type": "fork", "blocks": blocks, "t": self.unix_ms})
        return vanished

    def unbundle(self, blocks: int) -> tuple[list[Landed], list[Landed]]:
        """Undo as by a fork, and land what was in bundles again, each transaction by itself.

        So it goes when a leader's block is skipped: what was in it is public, and others send it.
        Gives what vanished and what came again. Raises CannotUndo.
        """
        vanished = self.fork(blocks)
        in_order = sorted(vanished, key=lambda each: each.number)
        public = [each.transaction for each in in_order if each.bundle_id and each.transaction]
        again = [self.forward(each) for each in public]
        return vanished, [each for each in again if each is not None]

    def airdrop(self, address: Pubkey, lamports: int) -> str:
        """Send lamports from the faucet; gives the signature, raises NotIncluded."""
        faucet = faucet_keypair(self.options.rules.seed)
        parameters = TransferParams(
            from_pubkey=faucet.pubkey(), to_pubkey=address, lamports=lamports
        )
        # two equal airdrops within a block must be two transactions
        memo = Instruction(MEMO_PROGRAM, f"airdrop {self.chain.transaction_count}".encode(), [])
        blockhash = Hash.from_string(self.chain.bank("processed").blockhash)
        message = Message.new_with_blockhash(
            [transfer(parameters), memo], faucet.pubkey(), blockhash
        )
        transaction = parse_transaction(bytes(VersionedTransaction(message, [faucet])))
        return self.land(transaction).signature

    def needs_sync(self) -> bool:
        """Whether the disk lacks something."""
        return self._ledger.needs_sync()

    def sync(self) -> None:
        """Flush the ledger to the disk, and a snapshot when one is due (may run in a thread).

        Raises LedgerBroken.
        """
        line, self._snapshot_line = self._snapshot_line, None
        try:
            self._ledger.sync()
            if line is not None:
                self.history.sync()
                write_snapshot(self._folder, line)
        except OSError as error:
            raise unwritable(self._folder, str(error)) from error

    def close(self) -> None:
        """Flush and close the files."""
        self._prepare_snapshot()
        self.sync()
        self._ledger.close()
        self.history.close()

    def _tell(self, landed: Iterable[Landed]) -> None:
        for each in landed:
            for listener in self.listeners:
                listener.on_landed(each)

    def _close_block(self) -> None:
        closing = self._advance(self.unix_ms)
        blockhash = closing.confirmed.blockhash[:_HASH_PREFIX]
        self._ledger.append({"type": "close", "t": self.unix_ms, "hash": blockhash})
        self._note_position(closing.confirmed)
        for listener in self.listeners:
            listener.on_closed(closing)
        self._keep()

    def _pass_slot(self) -> None:
        self.chain.pass_slot(self.unix_ms // 1_000)
        self._ledger.append({"type": "pass", "t": self.unix_ms})

    def _advance(self, unix_ms: int) -> Closing:
        closing = self.chain.close_block(unix_ms // 1_000)
        for landed in closing.final.landed if closing.final else ():
            self.history.store(landed)
        return closing

    def _keep(self) -> None:
        """Let the keeper move the market."""
        if self._keeper is None:
            return
        blockhash = Hash.from_string(self.chain.bank("processed").blockhash)
        for moved in self._keeper.next_transactions(self._data, blockhash):
            self.forward(parse_transaction(bytes(moved)))

    def _hire(self, volatility_bps: int) -> Keeper | None:
        """Employ a keeper who goes on where the path of a block each has led."""
        if not volatility_bps:
            return None
        rules = self.chain.rules
        made = self.chain.open.height - rules.first_height - rules.finality_blocks - 1
        return Keeper(self.genesis, rules.seed, volatility_bps, made)

    def _data(self, address: Pubkey) -> bytes:
        account = self.chain.machine.read(address)
        return account.data if account else b""

    def _note_position(self, block: Block) -> None:
        """Remember what of the ledger made the chain up to a block, for a snapshot."""
        self._positions.append((block, self._ledger.position))
        self._since_snapshot += 1 + len(block.landed)
        if self._since_snapshot >= self.options.snapshot_entries:
            self._prepare_snapshot()

    def _prepare_snapshot(self) -> None:
        """Take down what is settled; the next flush brings it to the disk."""
        settled = self.chain.settled()
        last = settled.blocks[-1] if settled else None
        position = next((at for block, at in self._positions if block is last), None)
        if settled is None or position is None:
            return
        name, size = self.chain.genesis_hash, self.history.size
        self._snapshot_line = Snapshot(name, settled, position, size).encode()
        self._since_snapshot = 0

    # ------------------------------------------------------------------------------ beginning

    def _restore(self) -> Position | None:
        """Begin at the snapshot, if there is a sound one; gives where the replay goes on."""
        snapshot = read_snapshot(self._folder, self.chain.genesis_hash)
        if snapshot is None or not self._ledger.holds(snapshot.position):
            self.history.restart(0)
            return None
        try:
            landed = list(self.history.read(snapshot.history_size))
        except ValueError:
            self.history.restart(0)
            return None
        self.history.restart(snapshot.history_size)
        self.chain.restore(snapshot.settled, landed)
        return snapshot.position

    def _found(self, folder: Path) -> dict[str, object]:
        """Write the first entry of a new ledger, and the program it will always run."""
        options = self.options
        program = options.program or own_program()
        (folder / PROGRAM_FILE).write_bytes(program)
        genesis = _genesis(options, program, options.unix_time)
        entry: dict[str, object] = {
            "type": "genesis",
            "format": LEDGER_FORMAT,
            "rules": asdict(options.rules),
            "unix_time": options.unix_time,
            "wallet": str(options.wallet.pubkey()),
            "program": sha256(program).hexdigest(),
            "genesis_hash": genesis_hash(genesis, options.rules),
        }
        self._ledger.append(entry)
        return entry

    def _begin(self, folder: Path, first: dict[str, object]) -> tuple[Genesis, Chain]:
        """Make the first block that a ledger's first entry describes."""
        path = folder / PROGRAM_FILE
        program = path.read_bytes() if path.exists() else b""
        _refuse_other(folder, first, self.options, program)
        rules = ChainRules(**first["rules"])  # type: ignore[arg-type]
        self.options = replace(self.options, rules=rules)
        unix_time = int(str(first["unix_time"]))
        genesis = _genesis(self.options, program, unix_time)
        hashed = genesis_hash(genesis, rules)
        if hashed != first["genesis_hash"]:
            raise LedgerError(
                f"LEDGER_OTHER_VERSION: {folder} was begun by a version with another first block; "
                "use that version, or remove the folder for a new chain"
            )
        # the same on every chain, also on those that were begun without them: no part of the name
        genesis = replace(genesis, accounts=(*genesis.accounts, *tip_genesis()))
        return genesis, Chain(Machine(genesis), hashed, rules, unix_time)

    def _replay(self, entries: Iterable[dict[str, object]]) -> None:
        apply = {
            "tx": self._replay_tx,
            "bundle": self._replay_bundle,
            "close": self._replay_close,
            "pass": self._replay_pass,
            "fork": self._replay_fork,
        }
        for entry in entries:
            if entry["type"] not in apply:
                raise _newer(self._folder)
            apply[str(entry["type"])](entry)

    def _replay_tx(self, entry: dict[str, object]) -> None:
        try:
            self.chain.land(_transaction(entry["raw"]), verified=True)
        except NotIncluded as error:
            raise _diverged(f"a transaction is refused now: {error}") from error

    def _replay_bundle(self, entry: dict[str, object]) -> None:
        raws = entry["raws"]
        assert isinstance(raws, list)
        try:
            self.chain.land_bundle([_transaction(raw) for raw in raws], verified=True)
        except NotIncluded as error:
            raise _diverged(f"a bundle is refused now: {error}") from error

    def _replay_close(self, entry: dict[str, object]) -> None:
        self.unix_ms = int(str(entry["t"]))
        block = self._advance(self.unix_ms).confirmed
        if block.blockhash[:_HASH_PREFIX] != entry["hash"]:
            raise _diverged(f"block {block.height} has another hash now")
        self._note_position(block)

    def _replay_pass(self, entry: dict[str, object]) -> None:
        self.unix_ms = int(str(entry["t"]))
        self.chain.pass_slot(self.unix_ms // 1_000)

    def _replay_fork(self, entry: dict[str, object]) -> None:
        self.unix_ms = int(str(entry["t"]))
        self.chain.undo(int(str(entry["blocks"])), self.unix_ms // 1_000)


def faucet_keypair(seed: int) -> Keypair:
    """Derive the key that airdrops are paid from."""
    return Keypair.from_seed(sha256(f"sandbox faucet {seed}".encode()).digest())


def genesis_hash(genesis: Genesis, rules: ChainRules) -> str:
    """Name a chain by everything it begins with."""
    programs = {str(key): sha256(data).hexdigest() for key, data in genesis.programs.items()}
    accounts = sorted(
        (str(each.address), each.lamports, str(each.owner), each.data.hex())
        for each in genesis.accounts
    )
    text = json.dumps([asdict(rules), programs, accounts], sort_keys=True)
    return str(Hash(sha256(text.encode()).digest()))


def _genesis(options: NodeOptions, program: bytes, unix_time: int) -> Genesis:
    seed = options.rules.seed
    genesis = build_genesis(
        seed=seed, wallet=options.wallet, cpmm_program=program, unix_time=unix_time
    )
    address = faucet_keypair(seed).pubkey()
    faucet = GenesisAccount(address, FAUCET_LAMPORTS, SYSTEM_PROGRAM, b"")
    return replace(genesis, accounts=(*genesis.accounts, faucet))


def _refuse_other(
    folder: Path, first: dict[str, object], options: NodeOptions, program: bytes
) -> None:
    wanted = sha256(options.program or program).hexdigest()
    if first["format"] != LEDGER_FORMAT:
        raise _newer(folder)
    if not first["program"] == wanted == sha256(program).hexdigest():
        raise LedgerError(
            f"LEDGER_OTHER_PROGRAM: {folder} was begun with another market program; "
            "name another --ledger for this one"
        )
    if first["wallet"] != str(options.wallet.pubkey()):
        raise LedgerError(
            f"LEDGER_OTHER_WALLET: {folder} was begun for wallet {first['wallet']}; "
            "give its key file as --wallet-file, or remove the folder for a new chain"
        )


def _text(transaction: SignedTransaction) -> str:
    return b64encode(transaction.raw).decode()


def _transaction(text: object) -> SignedTransaction:
    return parse_transaction(b64decode(str(text)))


def _newer(folder: Path) -> LedgerError:
    return LedgerError(f"LEDGER_NEWER: {folder} was written by another version; use that version")


def _diverged(what: str) -> LedgerError:
    return LedgerError(
        f"LEDGER_DIVERGED: {what}; use the version that wrote it, or remove the folder"
    )
