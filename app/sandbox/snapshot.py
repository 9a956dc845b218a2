"""Snapshots: where a replay may begin instead of at the first block.

A snapshot is the chain as it was when its last final block was closed, with the ledger's position
behind that block: no later entry can undo it, and replaying the rest gives the same chain. One that
is missing, damaged or not of this ledger is passed over; the ledger alone is the truth.
"""

import os
from base64 import b64decode, b64encode
from dataclasses import asdict, dataclass
from pathlib import Path

from solders.account import Account
from solders.pubkey import Pubkey

from app.sandbox.blocks import Aftermath, Block, Settled
from app.sandbox.ledger import Position, decode_line, encode_line
from app.sandbox.render import Json

SNAPSHOT_FILE = "snapshot.json"
SNAPSHOT_FORMAT = 2


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A settled chain, and how far ledger and history belong to it."""

    genesis_hash: str
    settled: Settled
    position: Position
    history_size: int

    def encode(self) -> bytes | None:
        """Write it as one line; None when it holds a program, which cannot be written back."""
        accounts = self.settled.accounts
        if any(account is not None and account.executable for account in accounts.values()):
            return None
        return encode_line(
            {
                "format": SNAPSHOT_FORMAT,
                "genesis_hash": self.genesis_hash,
                "position": asdict(self.position),
                "history_size": self.history_size,
                "after": asdict(self.settled.after),
                "blocks": [_block_json(block) for block in self.settled.blocks],
                "accounts": {str(key): _account_json(each) for key, each in accounts.items()},
            }
        )


def write_snapshot(folder: Path, line: bytes) -> None:
    """Put a snapshot in place of the one before, in one step (blocks for milliseconds)."""
    path = folder / SNAPSHOT_FILE
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def read_snapshot(folder: Path, genesis_hash: str) -> Snapshot | None:
    """Read the snapshot of a chain; None when there is none that can be used."""
    path = folder / SNAPSHOT_FILE
    document = decode_line(path.read_bytes()) if path.exists() else None
    if document is None or document["format"] != SNAPSHOT_FORMAT:
        return None
    if document["genesis_hash"] != genesis_hash:
        return None
    return _snapshot(document)


def _snapshot(document: dict[str, object]) -> Snapshot:
    position, after = document["position"], document["after"]
    blocks, accounts = document["blocks"], document["accounts"]
    assert isinstance(position, dict)
    assert isinstance(after, dict)
    assert isinstance(blocks, list)
    assert isinstance(accounts, dict)
    settled = Settled(
        [_block(each) for each in blocks],
        Aftermath(**after),
        {Pubkey.from_string(key): _account(each) for key, each in accounts.items()},
    )
    return Snapshot(
        str(document["genesis_hash"]),
        settled,
        Position(**position),
        int(str(document["history_size"])),
    )


def _block_json(block: Block) -> Json:
    return {
        "slot": block.slot,
        "height": block.height,
        "unix_time": block.unix_time,
        "parent_slot": block.parent_slot,
        "parent_hash": block.parent_hash,
        "blockhash": block.blockhash,
        "lowest_price": block.lowest_price,
        "lowest_prices": {str(key): price for key, price in block.lowest_prices.items()},
    }


def _block(shown: Json) -> Block:
    prices = shown.pop("lowest_prices")
    assert isinstance(prices, dict)
    lowest = {Pubkey.from_string(key): price for key, price in prices.items()}
    return Block(**shown, lowest_prices=lowest)  # type: ignore[arg-type]


def _account_json(account: Account | None) -> list[object] | None:
    if account is None:
        return None
    return [account.lamports, b64encode(account.data).decode(), str(account.owner)]


def _account(shown: list[object] | None) -> Account | None:
    if shown is None:
        return None
    lamports, data, owner = shown
    return Account(int(str(lamports)), b64decode(str(data)), Pubkey.from_string(str(owner)))
