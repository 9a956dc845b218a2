"""Recorded pool states and what the real programs did with them."""

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solders.pubkey import Pubkey

from app.engine.ports import Account
from app.sandbox.layouts import encode_mint
from app.transactions.tokens import TOKEN_PROGRAM
from app.transactions.venues.base import Accounts, Moment, Swap
from app.transactions.venues.raydium_cpmm import CpmmPool, RaydiumCpmm
from tests.needs import skip_or_fail

PORTABLE = Path(__file__).parent.parent / "vectors" / "portable"
MINTS_AT = (168, 200)
DECIMALS_AT = (331, 332)


def onchain() -> Path:
    """Give the folder of states recorded on mainnet, which VECTORS_DIR names."""
    named = os.environ.get("VECTORS_DIR")
    if not named:
        skip_or_fail("VECTORS_DIR names no folder of recorded mainnet states")
    return Path(named)


@dataclass(frozen=True)
class State:
    """A pool with every account it needs, and the time of the recording."""

    pool: Pubkey
    accounts: Accounts
    unix_time: int
    epoch: int

    def decode(self, epoch: int | None = None) -> CpmmPool:
        """Decode the pool as of an epoch, by default the state's own."""
        moment = Moment(1, self.epoch if epoch is None else epoch, self.unix_time)
        return RaydiumCpmm().decode(self.pool, self.accounts, moment)

    def changed(self, address: Pubkey, account: Account | None) -> "State":
        """Give the state with one account replaced."""
        accounts = {**self.accounts, str(address): account}
        return State(self.pool, accounts, self.unix_time, self.epoch)

    def patched(self, address: Pubkey, at: int, data: bytes) -> "State":
        """Give the state with some bytes of one account replaced."""
        account = self.accounts[str(address)]
        assert account is not None
        patched = account.data[:at] + data + account.data[at + len(data) :]
        return self.changed(address, Account(account.lamports, account.owner, patched))


def load_state(name: str, folder: Path = PORTABLE) -> State:
    """Read a state; plain mints, which recordings leave out, are put in."""
    document = json.loads((folder / f"state_{name}.json").read_text())
    accounts: dict[str, Account | None] = {
        address: Account(each["lamports"], each["owner"], base64.b64decode(each["data_base64"]))
        for address, each in document["accounts"].items()
    }
    pool = accounts[document["pool"]]
    assert pool is not None
    for mint_at, decimals_at in zip(MINTS_AT, DECIMALS_AT, strict=True):
        mint = str(Pubkey.from_bytes(pool.data[mint_at : mint_at + 32]))
        plain = encode_mint(pool.data[decimals_at], 0, None)
        accounts.setdefault(mint, Account(1_461_600, str(TOKEN_PROGRAM), plain))
    pool_key = Pubkey.from_string(document["pool"])
    return State(pool_key, accounts, document["clock_unix"], document["epoch"])


def cases(folder: Path, file: str) -> list[Mapping[str, Any]]:
    """Read the cases of a file that are about this venue."""
    document = json.loads((folder / file).read_text())
    return [each for each in document["cases"] if each["state"].startswith("cp_")]


def swap(pool: CpmmPool, *, zero_for_one: bool, exact_in: bool, amount: int) -> Swap:
    """Say a swap by the pool's order of mints."""
    first, second = pool.keys.mints
    mint_in, mint_out = (first, second) if zero_for_one else (second, first)
    return Swap(mint_in, mint_out, exact_in, amount)
