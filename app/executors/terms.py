"""What a signed transaction offers whoever lands it, read from its bytes: tips and priority fee.

Only what needs no lookup table counts: senders want the tip's payee among the static keys.
"""

from dataclasses import dataclass
from typing import Final

from solders.message import Message, MessageV0
from solders.transaction import VersionedTransaction

from app.domain.money import ceil_div

SYSTEM_PROGRAM: Final = "11111111111111111111111111111111"
COMPUTE_BUDGET_PROGRAM: Final = "ComputeBudget111111111111111111111111111111"
_TRANSFER: Final = (2).to_bytes(4, "little")
_TRANSFER_BYTES: Final = 12
"""System instruction 2 as a u32, then the lamports as a u64."""
_UNIT_LIMIT: Final = 2
_UNIT_LIMIT_BYTES: Final = 5
"""ComputeBudget instruction 2 as a byte, then the units as a u32."""
_UNIT_PRICE: Final = 3
_UNIT_PRICE_BYTES: Final = 9
"""ComputeBudget instruction 3 as a byte, then micro-lamports a unit as a u64."""
_MICRO: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Transfer:
    """A plain payment of lamports by the transaction itself, not by a program that it calls."""

    payee: str
    lamports: int


@dataclass(frozen=True, slots=True)
class Terms:
    """The payments, and the compute budget; 0 where the transaction sets none."""

    transfers: tuple[Transfer, ...]
    unit_limit: int
    unit_price: int
    """Micro-lamports for each compute unit."""

    @property
    def priority_fee_lamports(self) -> int:
        """What is paid above the base fee: on the whole limit, rounded up.

        Without a limit of its own the network takes a default, which is not counted on here.
        """
        return ceil_div(self.unit_limit * self.unit_price, _MICRO)


def read_terms(raw: bytes) -> Terms | None:
    """Read a serialized transaction, legacy or v0; None for bytes that are none."""
    try:
        message = VersionedTransaction.from_bytes(raw).message
    except ValueError:
        return None
    if not isinstance(message, Message | MessageV0):
        return None
    keys = [str(key) for key in message.account_keys]
    transfers: list[Transfer] = []
    limit = price = 0
    for instruction in message.instructions:
        if instruction.program_id_index >= len(keys):
            return None
        program, data = keys[instruction.program_id_index], instruction.data
        if program == SYSTEM_PROGRAM:
            payee = _payee(message, keys, instruction.accounts)
            if payee is not None and len(data) == _TRANSFER_BYTES and data[:4] == _TRANSFER:
                transfers.append(Transfer(payee, int.from_bytes(data[4:], "little")))
        elif program == COMPUTE_BUDGET_PROGRAM and data:
            if data[0] == _UNIT_LIMIT and len(data) == _UNIT_LIMIT_BYTES:
                limit = int.from_bytes(data[1:], "little")
            if data[0] == _UNIT_PRICE and len(data) == _UNIT_PRICE_BYTES:
                price = int.from_bytes(data[1:], "little")
    return Terms(tuple(transfers), limit, price)


def _payee(message: Message | MessageV0, keys: list[str], accounts: bytes) -> str | None:
    """Give who a transfer pays: its second account, when that is a static key that can be written."""
    if len(accounts) < 2 or accounts[1] >= len(keys):  # noqa: PLR2004 - payer and payee
        return None
    return keys[accounts[1]] if _is_writable(message, accounts[1]) else None


def _is_writable(message: Message | MessageV0, index: int) -> bool:
    """Tell whether a static key is locked for writing: signers come first, writable ones before others."""
    header = message.header
    signers = header.num_required_signatures
    if index < signers:
        return index < signers - header.num_readonly_signed_accounts
    return index < len(message.account_keys) - header.num_readonly_unsigned_accounts
