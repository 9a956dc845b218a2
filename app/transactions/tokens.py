"""Tokens on the chain: account layouts, addresses and the instructions that move them.

Layouts: SPL Token `state.rs` (mint 82 bytes, account 165 bytes) and Token-2022 `extension/mod.rs`
(type-length-value records from byte 166). All integers are little-endian.
"""

import secrets
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey
from solders.system_program import (
    CreateAccountWithSeedParams,
    TransferParams,
    create_account_with_seed,
    transfer,
)

from app.domain.errors import ReasonCode, RefusedError
from app.domain.market import WSOL_MINT
from app.domain.money import ceil_div
from app.engine.ports import Account

TOKEN_PROGRAM: Final = Pubkey.from_string("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA")
TOKEN_2022_PROGRAM: Final = Pubkey.from_string("TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb")
TOKEN_PROGRAMS: Final = (TOKEN_PROGRAM, TOKEN_2022_PROGRAM)
ATA_PROGRAM: Final = Pubkey.from_string("ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL")
SYSTEM_PROGRAM: Final = Pubkey.default()
MEMO_PROGRAM: Final = Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")

RENT_TOKEN_ACCOUNT: Final = 2_039_280
"""Lamports that free a token account of 165 bytes from rent: (128 + 165) bytes x 6,960."""
_RENT_BYTE = 6_960
"""Lamports for each byte of a rent-free account (3,480 a byte-year, two years)."""
_FIXED_OWNER_BYTES = 5
"""Account type and the empty record ImmutableOwner, in every associated Token-2022 account."""
_FEE_RECORD_BYTES = 12
"""The record TransferFeeAmount, in accounts of mints with a transfer fee."""
TOKEN_ACCOUNT_BYTES: Final = 165
MINT_BYTES: Final = 82
SEED_BYTES: Final = 16
"""Chance in the seed of a temporary account; written as 32 hex digits, the longest seed allowed."""

_TOKEN_ACCOUNT = struct.Struct("<32s32sQ36xB")
_MINT_DECIMALS_AT = 44
_MINT_INITIALIZED_AT = 45
_ACCOUNT_TYPE_AT = 165
_ACCOUNT_TYPE_MINT = 1
_RECORDS_FROM = 166
_RECORD_HEAD = struct.Struct("<HH")
_RECORD_FEE_CONFIG = 1
_FEE_CONFIG = struct.Struct("<72xQQHQQH")  # the older fee, the newer fee: epoch, maximum, bps
_BPS = 10_000
# Records that change nothing about what a plain transfer moves: close authority, interest display,
# pointers to and contents of metadata and groups, scaled display. Any other may take tokens, stop
# transfers or want more accounts (a transfer hook), so a mint that has one is refused.
_RECORDS_HARMLESS = frozenset({0, _RECORD_FEE_CONFIG, 3, 10, 18, 19, 20, 21, 22, 23, 25})
_STATE_INITIALIZED = 1
_RECORDS_REFUSED: Final[Mapping[int, str]] = MappingProxyType(
    {
        4: "ConfidentialTransferMint (amounts may be hidden)",
        6: "DefaultAccountState (new accounts may be frozen)",
        9: "NonTransferable (nobody may move it)",
        12: "PermanentDelegate (somebody may take it from any account)",
        14: "TransferHook (transfers run another program)",
        16: "ConfidentialTransferFeeConfig (amounts may be hidden)",
        24: "ConfidentialMintBurn (amounts may be hidden)",
        26: "Pausable (all transfers may be stopped)",
    }
)


@dataclass(frozen=True, slots=True)
class TransferFee:
    """What Token-2022 keeps of a transfer: `bps` of the amount, rounded up, at most `maximum`."""

    bps: int
    maximum: int

    def of(self, amount: int) -> int:
        """Give the fee on a transfer of `amount`."""
        return min(ceil_div(amount * self.bps, _BPS), self.maximum)

    def on_top(self, net: int) -> int:
        """Give the fee on the transfer of which `net` arrives (spl `calculate_inverse_fee`)."""
        if self.bps == _BPS:
            return self.maximum
        gross = min(ceil_div(net * _BPS, _BPS - self.bps), net + self.maximum)
        return self.of(gross)


NO_FEE: Final = TransferFee(0, 0)


@dataclass(frozen=True, slots=True)
class Mint:
    """A mint as read: which token program owns it, and the transfer fee in force."""

    address: Pubkey
    program: Pubkey
    decimals: int
    fee: TransferFee
    account_rent: int
    """Lamports that a new associated account of this mint costs."""


@dataclass(frozen=True, slots=True)
class TokenAccount:
    """A token account as read."""

    mint: Pubkey
    owner: Pubkey
    amount: int
    usable: bool
    """Initialised and not frozen."""


def decode_token_account(account: Account | None, what: str) -> TokenAccount:
    """Read a token account of either token program; `what` names it in errors (POOL_INVALID)."""
    if account is None or Pubkey.from_string(account.owner) not in TOKEN_PROGRAMS:
        raise _invalid(f"{what} is no token account")
    data = account.data
    if len(data) < TOKEN_ACCOUNT_BYTES:
        raise _invalid(f"{what} is too short for a token account")
    mint, owner, amount, state = _TOKEN_ACCOUNT.unpack_from(data)
    usable = state == _STATE_INITIALIZED
    return TokenAccount(Pubkey.from_bytes(mint), Pubkey.from_bytes(owner), amount, usable)


def decode_mint(address: Pubkey, account: Account | None, epoch: int) -> Mint:
    """Read a mint with the transfer fee of `epoch`; RefusedError(POOL_INVALID) for one not tradable."""
    program = None if account is None else Pubkey.from_string(account.owner)
    if account is None or program not in TOKEN_PROGRAMS:
        raise _invalid(f"{address} is no mint")
    data = account.data
    plain = len(data) == MINT_BYTES
    extended = (
        program == TOKEN_2022_PROGRAM
        and len(data) > _ACCOUNT_TYPE_AT
        and data[_ACCOUNT_TYPE_AT] == _ACCOUNT_TYPE_MINT
    )
    if not (plain or extended) or data[_MINT_INITIALIZED_AT] != 1:
        raise _invalid(f"{address} is no mint")
    fee = _fee_in_force(address, data, epoch) if extended else None
    rent = RENT_TOKEN_ACCOUNT
    if program == TOKEN_2022_PROGRAM:
        rent += _RENT_BYTE * (_FIXED_OWNER_BYTES + (_FEE_RECORD_BYTES if fee else 0))
    return Mint(address, program, data[_MINT_DECIMALS_AT], fee or NO_FEE, rent)


def _fee_in_force(address: Pubkey, data: bytes, epoch: int) -> TransferFee | None:
    fee = None
    for kind, payload in _records(data):
        if kind not in _RECORDS_HARMLESS:
            name = _RECORDS_REFUSED.get(kind, str(kind))
            raise _invalid(f"mint {address} has the unsupported Token-2022 extension {name}")
        if kind == _RECORD_FEE_CONFIG:
            if len(payload) < _FEE_CONFIG.size:
                raise _invalid(f"mint {address} has a malformed transfer fee")
            _, old_max, old_bps, since, new_max, new_bps = _FEE_CONFIG.unpack_from(payload)
            newer = epoch >= since
            fee = TransferFee(new_bps, new_max) if newer else TransferFee(old_bps, old_max)
    return fee


def _records(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = _RECORDS_FROM
    while at + _RECORD_HEAD.size <= len(data):
        kind, length = _RECORD_HEAD.unpack_from(data, at)
        at += _RECORD_HEAD.size
        yield kind, data[at : at + length]
        at += length


def _invalid(what: str) -> RefusedError:
    return RefusedError(ReasonCode.POOL_INVALID, what, todo="check the market's configuration")


# ------------------------------------------------------------------------------------ addresses


@lru_cache(maxsize=1_024)
def associated_address(owner: Pubkey, mint: Pubkey, program: Pubkey) -> Pubkey:
    """Derive the associated token account; `program` is the mint's owner.

    Kept, as deriving takes ten hashes and the wallets and mints are few.
    """
    seeds = [bytes(owner), bytes(program), bytes(mint)]
    return Pubkey.find_program_address(seeds, ATA_PROGRAM)[0]


def temporary_address(owner: Pubkey, seed: str) -> Pubkey:
    """Derive the temporary wrapped-SOL account of a seed."""
    return Pubkey.create_with_seed(owner, seed, TOKEN_PROGRAM)


def random_seed() -> str:
    """Give a seed that nobody can guess: a known address can be blocked by sending dust to it."""
    return secrets.token_hex(SEED_BYTES)


# --------------------------------------------------------------------------------- instructions


def create_associated(payer: Pubkey, mint: Mint) -> Instruction:
    """Create the payer's associated account of a mint unless it exists (`CreateIdempotent`)."""
    accounts = [
        AccountMeta(payer, is_signer=True, is_writable=True),
        AccountMeta(
            associated_address(payer, mint.address, mint.program),
            is_signer=False,
            is_writable=True,
        ),
        _readonly(payer),
        _readonly(mint.address),
        _readonly(SYSTEM_PROGRAM),
        _readonly(mint.program),
    ]
    return Instruction(ATA_PROGRAM, b"\x01", accounts)


def open_temporary(owner: Pubkey, seed: str, lamports: int) -> tuple[Instruction, Instruction]:
    """Create a wrapped-SOL account of its own with `lamports` in it, rent included.

    No `SyncNative` is needed: initialising reads the balance.
    """
    address = temporary_address(owner, seed)
    create = create_account_with_seed(
        CreateAccountWithSeedParams(
            from_pubkey=owner,
            to_pubkey=address,
            base=owner,
            seed=seed,
            lamports=lamports,
            space=TOKEN_ACCOUNT_BYTES,
            owner=TOKEN_PROGRAM,
        )
    )
    metas = [AccountMeta(address, is_signer=False, is_writable=True), _readonly(WSOL_MINT)]
    return create, Instruction(TOKEN_PROGRAM, b"\x12" + bytes(owner), metas)


def close_temporary(owner: Pubkey, seed: str) -> Instruction:
    """Close the temporary account: its rent and whatever SOL is in it return to the owner."""
    accounts = [
        AccountMeta(temporary_address(owner, seed), is_signer=False, is_writable=True),
        AccountMeta(owner, is_signer=False, is_writable=True),
        AccountMeta(owner, is_signer=True, is_writable=False),
    ]
    return Instruction(TOKEN_PROGRAM, b"\x09", accounts)


def memo(text: str) -> Instruction:
    """Write a text into the transaction; without accounts, so nobody else has to sign it."""
    return Instruction(MEMO_PROGRAM, text.encode(), [])


def pay(payer: Pubkey, payee: Pubkey, lamports: int) -> Instruction:
    """Transfer lamports."""
    return transfer(TransferParams(from_pubkey=payer, to_pubkey=payee, lamports=lamports))


def _readonly(key: Pubkey) -> AccountMeta:
    return AccountMeta(key, is_signer=False, is_writable=False)
