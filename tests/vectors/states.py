"""Pools as recorded: every account that a case starts from, and what a swap leaves of them."""

import base64
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from solders.pubkey import Pubkey

from app.domain.market import WSOL_MINT
from app.engine.ports import Account
from app.sandbox.layouts import encode_mint
from app.transactions.tokens import TOKEN_PROGRAM
from app.transactions.venues import known_venues
from app.transactions.venues.base import Accounts, Moment, Pool, Venue
from app.transactions.venues.raydium_amm_v4 import PROGRAM as AMM_V4
from app.transactions.venues.raydium_amm_v4 import RaydiumAmmV4

MINT_RENT = 1_461_600
PLAIN_DECIMALS = 6


@dataclass(frozen=True)
class State:
    """A pool with every account it needs, and the time of the recording."""

    venue: Venue
    pool: Pubkey
    accounts: Accounts
    unix_time: int
    epoch: int

    def decode(self, epoch: int | None = None, unix_time: int | None = None) -> Pool:
        """Decode the pool as of an epoch and a time, by default the state's own."""
        moment = Moment(
            slot=1,
            epoch=self.epoch if epoch is None else epoch,
            unix_time=self.unix_time if unix_time is None else unix_time,
        )
        return self.venue.decode(self.pool, self.complete(), moment)

    def complete(self) -> Accounts:
        """Give the accounts with those that a recording leaves out: plain mints, and absent ones."""
        account = self.accounts.get(str(self.pool))
        if account is None:
            return self.accounts
        needed = self.venue.accounts_needed(self.pool, account)
        return {**dict.fromkeys(map(str, needed)), **_plain_mints(account), **self.accounts}

    def account(self, address: Pubkey) -> Account:
        """Give an account that must be there."""
        found = self.accounts[str(address)]
        assert found is not None, f"{address} was not recorded"
        return found

    def changed(self, address: Pubkey, account: Account | None) -> "State":
        """Give the state with one account replaced."""
        accounts = {**self.accounts, str(address): account}
        return State(self.venue, self.pool, accounts, self.unix_time, self.epoch)

    def patched(self, address: Pubkey, at: int, data: bytes) -> "State":
        """Give the state with some bytes of one account replaced."""
        account = self.account(address)
        patched = account.data[:at] + data + account.data[at + len(data) :]
        return self.changed(address, Account(account.lamports, account.owner, patched))

    def moved(self, vault: Pubkey, amount: int) -> "State":
        """Give the state with more, or less, in a vault."""
        balance = struct.unpack_from("<Q", self.account(vault).data, AMOUNT_AT)[0]
        return self.patched(vault, AMOUNT_AT, struct.pack("<Q", balance + amount))


AMOUNT_AT = 64
_MINTS_AT = {"orca_whirlpool": (101, 181), "raydium_amm_v4": (400, 432), "raydium_cpmm": (168, 200)}
_CPMM_DECIMALS_AT = (331, 332)
_VENUES: Mapping[str, Venue] = {
    **{str(venue.program): venue for venue in known_venues().values()},
    str(AMM_V4): RaydiumAmmV4(short=False),  # as the recorded build takes its swaps
}


def load_state(folder: Path, name: str) -> State:
    """Read a recorded state."""
    document = json.loads((folder / f"state_{name}.json").read_text())
    accounts: dict[str, Account | None] = {
        address: Account(each["lamports"], each["owner"], base64.b64decode(each["data_base64"]))
        for address, each in document["accounts"].items()
    }
    pool = accounts[document["pool"]]
    assert pool is not None
    key = Pubkey.from_string(document["pool"])
    return State(_VENUES[pool.owner], key, accounts, document["clock_unix"], document["epoch"])


def _plain_mints(pool: Account) -> Mapping[str, Account]:
    """Make SPL Token mints, which recordings leave out."""
    name = _VENUES[pool.owner].name if pool.owner in _VENUES else ""
    keys = [Pubkey.from_bytes(pool.data[at : at + 32]) for at in _MINTS_AT.get(name, ())]
    recorded = [pool.data[at] for at in _CPMM_DECIMALS_AT] if name == "raydium_cpmm" else None
    decimals = recorded or [9 if key == WSOL_MINT else PLAIN_DECIMALS for key in keys]
    return {
        str(key): Account(MINT_RENT, str(TOKEN_PROGRAM), encode_mint(places, 0, None))
        for key, places in zip(keys, decimals, strict=True)
    }
