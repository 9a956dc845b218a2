"""The virtual machine under the chain: runs one transaction at a time and says what it changed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from solders.account import Account
from solders.clock import Clock
from solders.litesvm import LiteSVM
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction
from solders.transaction_metadata import (
    FailedTransactionMetadata,
    SimulatedTransactionInfo,
    TransactionMetadata,
)

from app.sandbox.genesis import Genesis
from app.sandbox.tokens import HoldingsIndex, TokenAccount, mint_decimals, token_account
from app.sandbox.transactions import LoadedKeys, SignedTransaction, UnusableTable

SLOTS_PER_EPOCH = 432_000
TABLE_PROGRAM = Pubkey.from_string("AddressLookupTab1e1111111111111111111111111")
_TABLE_HEADER_BYTES = 56
_GONE = Account(0, b"", Pubkey.default())


@dataclass(frozen=True, slots=True)
class TokenBalance:
    """What one of a transaction's accounts holds."""

    index: int
    holding: TokenAccount
    decimals: int


@dataclass(frozen=True, slots=True)
class Execution:
    """What running a transaction did. `included` is false when not even a fee could be charged."""

    included: bool
    err: object
    meta: TransactionMetadata
    keys: LoadedKeys
    preimages: dict[Pubkey, Account | None]
    pre_balances: list[int]
    post_balances: list[int]
    pre_tokens: list[TokenBalance]
    post_tokens: list[TokenBalance]


@dataclass(frozen=True, slots=True)
class Simulation:
    """What running a transaction would do."""

    err: object
    meta: TransactionMetadata
    accounts: dict[Pubkey, Account]


class Machine:
    """LiteSVM with the checks of signatures, blockhashes and repeats left to the chain above it.

    Not for threads: LiteSVM is driven from one only.
    """

    def __init__(self, genesis: Genesis) -> None:
        self._svm = (
            LiteSVM()
            .with_sigverify(sigverify=False)
            .with_blockhash_check(check=False)
            .with_transaction_history(0)
        )
        genesis.install(self._svm)
        self.holdings = HoldingsIndex()
        for account in genesis.accounts:
            self.holdings.note(account.address, token_account(self.read(account.address)))
        self._first = {account.address for account in genesis.accounts}
        self.written: set[Pubkey] = set()  # addresses that may differ from the first block's
        self._decimals: dict[Pubkey, int] = {}
        # programs met so far, with their lamports: large to read, and never written
        self._executables: dict[Pubkey, int] = {}

    def read(self, address: Pubkey) -> Account | None:
        """Read an account as it stands; one without lamports does not exist."""
        account = self._svm.get_account(address)
        return account if account is not None and account.lamports else None

    def write(self, address: Pubkey, account: Account | None) -> None:
        """Overwrite an account, or remove it."""
        self.written.add(address)
        self._svm.set_account(address, account or _GONE)
        self.holdings.note(address, token_account(account))

    def restore(self, accounts: Mapping[Pubkey, Account | None]) -> None:
        """Overwrite accounts with what they were."""
        for address, account in accounts.items():
            self.write(address, account)

    def forget(self, address: Pubkey) -> None:
        """Take an address that is gone for as good as never written."""
        if address not in self._first:
            self.written.discard(address)

    def set_time(self, slot: int, unix_time: int) -> None:
        """Move the clock that programs read; `unix_time` in seconds."""
        epoch = slot // SLOTS_PER_EPOCH
        self._svm.set_clock(Clock(slot, unix_time, epoch, epoch + 1, unix_time))

    def rent_exempt(self, size: int) -> int:
        """Give the lamports that exempt an account of `size` bytes from rent."""
        return self._svm.minimum_balance_for_rent_exemption(size)

    def load_keys(self, transaction: SignedTransaction) -> LoadedKeys:
        """Resolve the lookup tables; raises UnusableTable."""
        message = transaction.message
        lookups = getattr(message, "address_table_lookups", ())
        writable: list[Pubkey] = []
        readonly: list[Pubkey] = []
        for lookup in lookups:
            addresses = self._table(lookup.account_key)
            writable += _pick(addresses, lookup.writable_indexes)
            readonly += _pick(addresses, lookup.readonly_indexes)
        return LoadedKeys(message.account_keys, writable, readonly)

    def execute(self, transaction: SignedTransaction) -> Execution:
        """Run a transaction for good; raises UnusableTable."""
        keys = self.load_keys(transaction)
        every, written = keys.every, writable_keys(transaction, keys)
        before = {key: self._snapshot(key) for key in every}
        written -= self._executables.keys()
        self.written |= written
        result = self._svm.send_transaction(transaction.parsed)
        after = {key: self.read(key) if key in written else before[key] for key in every}
        held_before = {key: token_account(account) for key, account in before.items()}
        held_after = {key: token_account(after[key]) for key in written}
        for key, holding in held_after.items():
            self.holdings.note(key, holding)
        return Execution(
            included=_was_charged(result, before[every[0]], after[every[0]]),
            err=_error_of(result),
            meta=_meta_of(result),
            keys=keys,
            preimages={key: before[key] for key in written},
            pre_balances=[self._lamports(key, before[key]) for key in every],
            post_balances=[self._lamports(key, after[key]) for key in every],
            pre_tokens=self._token_balances(every, held_before),
            post_tokens=self._token_balances(every, {**held_before, **held_after}),
        )

    def simulate(self, transaction: VersionedTransaction) -> Simulation:
        """Run a transaction without a trace."""
        result = self._svm.simulate_transaction(transaction)
        written = (
            dict(result.post_accounts()) if isinstance(result, SimulatedTransactionInfo) else {}
        )
        return Simulation(_error_of(result), _meta_of(result), written)

    def decimals(self, mint: Pubkey) -> int | None:
        """Read a mint's decimals, which never change; None when there is no such mint."""
        known = self._decimals.get(mint)
        if known is None:
            known = mint_decimals(self.read(mint))
            if known is not None:
                self._decimals[mint] = known
        return known

    def _snapshot(self, key: Pubkey) -> Account | None:
        """Read an account, but a program (large, and never written here) only the first time."""
        if key in self._executables:
            return None
        account = self.read(key)
        if account is not None and account.executable:
            self._executables[key] = account.lamports
        return account

    def _lamports(self, key: Pubkey, account: Account | None) -> int:
        return account.lamports if account is not None else self._executables.get(key, 0)

    def _token_balances(
        self, keys: list[Pubkey], held: dict[Pubkey, TokenAccount | None]
    ) -> list[TokenBalance]:
        found = []
        for index, key in enumerate(keys):
            holding = held[key]
            decimals = self.decimals(holding.mint) if holding else None
            if holding is not None and decimals is not None:
                found.append(TokenBalance(index, holding, decimals))
        return found

    def _table(self, address: Pubkey) -> bytes:
        account = self.read(address)
        if account is None:
            raise UnusableTable("AddressLookupTableNotFound")
        if account.owner != TABLE_PROGRAM:
            raise UnusableTable("InvalidAddressLookupTableOwner")
        if len(account.data) < _TABLE_HEADER_BYTES:
            raise UnusableTable("InvalidAddressLookupTableData")
        return account.data[_TABLE_HEADER_BYTES:]


def writable_keys(transaction: SignedTransaction, keys: LoadedKeys) -> set[Pubkey]:
    """Name the accounts that a transaction may write."""
    message = transaction.message
    header = message.header
    signed, count = header.num_required_signatures, len(keys.static)
    writable_signed = signed - header.num_readonly_signed_accounts
    writable_end = count - header.num_readonly_unsigned_accounts
    return {*keys.static[:writable_signed], *keys.static[signed:writable_end], *keys.writable}


def _pick(addresses: bytes, indexes: bytes) -> list[Pubkey]:
    if any((index + 1) * 32 > len(addresses) for index in indexes):
        raise UnusableTable("InvalidAddressLookupTableIndex")
    return [Pubkey.from_bytes(addresses[index * 32 : index * 32 + 32]) for index in indexes]


_Result = TransactionMetadata | FailedTransactionMetadata | SimulatedTransactionInfo


def _error_of(result: _Result) -> object:
    if isinstance(result, FailedTransactionMetadata):
        error: object = json.loads(result.to_json())["err"]
        return error
    return None


def _meta_of(result: _Result) -> TransactionMetadata:
    return result if isinstance(result, TransactionMetadata) else result.meta()


def _was_charged(result: _Result, before: Account | None, after: Account | None) -> bool:
    if not isinstance(result, FailedTransactionMetadata):
        return True
    return before is not None and (after is None or after.lamports != before.lamports)
