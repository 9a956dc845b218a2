"""Jito's tips: the accounts that take them, what a transaction pays, and what others pay."""

from collections.abc import Iterable
from datetime import UTC, datetime

from solders.pubkey import Pubkey
from solders.system_program import ID as SYSTEM_PROGRAM

from app.sandbox.genesis import LAMPORTS_PER_SOL, GenesisAccount
from app.sandbox.machine import writable_keys
from app.sandbox.render import Json
from app.sandbox.transactions import LoadedKeys, SignedTransaction

TIP_PROGRAM = Pubkey.from_string("T1pyyaTNZsKv2WcRAB8oVnk93mLJw2XzjtVYqCsaHqt")
TIP_ACCOUNTS = 8
TIP_LAMPORTS_MIN = 1_000
_TRANSFER = (2).to_bytes(4, "little")  # SystemInstruction::Transfer, then a little-endian u64
_TRANSFER_BYTES = 12
# What the sandbox says others pay: the percentiles of a quiet day, in lamports.
_FLOOR_LAMPORTS = {25: 1_000, 50: 6_000, 75: 30_000, 95: 1_000_000, 99: 9_000_000}


def derive_tip_accounts() -> list[Pubkey]:
    """Derive mainnet's tip accounts from the tip payment program's id."""
    seeds = [f"TIP_ACCOUNT_{number}".encode() for number in range(TIP_ACCOUNTS)]
    return [Pubkey.find_program_address([seed], TIP_PROGRAM)[0] for seed in seeds]


def tip_genesis() -> list[GenesisAccount]:
    """Give the tip accounts as every chain has them before its first block.

    A tip smaller than the rent of an account needs one that is there.
    """
    return [
        GenesisAccount(address, LAMPORTS_PER_SOL, TIP_PROGRAM, b"")
        for address in derive_tip_accounts()
    ]


class TipRule:
    """Knows the tip accounts, and what a transaction does to them."""

    def __init__(self) -> None:
        self.accounts = derive_tip_accounts()
        self._known = frozenset(self.accounts)

    def locks_one(self, transaction: SignedTransaction) -> bool:
        """Whether it write-locks a tip account, by itself and not through a lookup table."""
        static = LoadedKeys(transaction.message.account_keys, [], [])
        return not self._known.isdisjoint(writable_keys(transaction, static))

    def paid(self, transactions: Iterable[SignedTransaction]) -> int:
        """Add up the lamports that their own transfers pay to tip accounts."""
        return sum(self._paid(transaction) for transaction in transactions)

    def _paid(self, transaction: SignedTransaction) -> int:
        keys, paid = transaction.message.account_keys, 0
        for each in transaction.message.instructions:
            data, accounts = bytes(each.data), bytes(each.accounts)
            if keys[each.program_id_index] != SYSTEM_PROGRAM or len(data) != _TRANSFER_BYTES:
                continue
            if data[:4] == _TRANSFER and len(accounts) > 1 and accounts[1] < len(keys):
                paid += int.from_bytes(data[4:], "little") * (keys[accounts[1]] in self._known)
        return paid


def tip_floor(unix_time: float, times: int) -> list[Json]:
    """Show what tips landed lately, `times` as high as usual; in SOL, as the service does."""
    shown: Json = {"time": datetime.fromtimestamp(unix_time, UTC).isoformat()}
    for percentile, lamports in _FLOOR_LAMPORTS.items():
        shown[f"landed_tips_{percentile}th_percentile"] = lamports * times / LAMPORTS_PER_SOL
    shown["ema_landed_tips_50th_percentile"] = _FLOOR_LAMPORTS[50] * times / LAMPORTS_PER_SOL
    return [shown]
