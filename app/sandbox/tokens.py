"""SPL Token and Token-2022 accounts as balances and indexes need them."""

from collections.abc import Iterable
from dataclasses import dataclass

from solders.account import Account
from solders.pubkey import Pubkey

TOKEN_PROGRAM = Pubkey.from_string("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA")
TOKEN_2022_PROGRAM = Pubkey.from_string("TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb")
TOKEN_PROGRAMS = frozenset({TOKEN_PROGRAM, TOKEN_2022_PROGRAM})
PROGRAM_LABELS = {TOKEN_PROGRAM: "spl-token", TOKEN_2022_PROGRAM: "spl-token-2022"}
ACCOUNT_BYTES = 165
MINT_BYTES = 82
_TYPE_MINT, _TYPE_ACCOUNT = 1, 2  # Token-2022 marks its extended accounts in byte 165
_STATE_NAMES = {1: "initialized", 2: "frozen"}


@dataclass(frozen=True, slots=True)
class TokenAccount:
    """A holding: `amount` in base units of `mint`."""

    mint: Pubkey
    owner: Pubkey
    amount: int
    program: Pubkey
    state: str
    native_reserve: int | None


def token_account(account: Account | None) -> TokenAccount | None:
    """Read a holding; None for any other account."""
    if account is None or account.owner not in TOKEN_PROGRAMS:
        return None
    data = account.data
    if not _is_kind(data, ACCOUNT_BYTES, _TYPE_ACCOUNT) or data[108] not in _STATE_NAMES:
        return None
    native = int.from_bytes(data[113:121], "little") if data[109] else None
    return TokenAccount(
        Pubkey.from_bytes(data[:32]),
        Pubkey.from_bytes(data[32:64]),
        int.from_bytes(data[64:72], "little"),
        account.owner,
        _STATE_NAMES[data[108]],
        native,
    )


def mint_decimals(account: Account | None) -> int | None:
    """Read a mint's decimals; None for any other account."""
    if account is None or account.owner not in TOKEN_PROGRAMS:
        return None
    data = account.data
    if not _is_kind(data, MINT_BYTES, _TYPE_MINT) or not data[45]:
        return None
    return data[44]


def ui_amount(amount: int, decimals: int) -> dict[str, object]:
    """Give an amount the way Agave shows it: exact text, and a number for display only."""
    text = f"{amount:0{decimals + 1}d}"
    split = len(text) - decimals
    fraction = text[split:].rstrip("0")
    exact = f"{text[:split]}.{fraction}" if fraction else text[:split]
    return {
        "amount": str(amount),
        "decimals": decimals,
        "uiAmount": float(exact),
        "uiAmountString": exact,
    }


class HoldingsIndex:
    """Which token accounts an owner has, kept up to date by every write."""

    def __init__(self) -> None:
        self._owners: dict[Pubkey, Pubkey] = {}
        self._holdings: dict[Pubkey, dict[Pubkey, None]] = {}

    def note(self, address: Pubkey, holding: TokenAccount | None) -> None:
        """Take in what an account holds now; None when it is no token account."""
        before, after = self._owners.get(address), holding.owner if holding else None
        if before == after:
            return
        if before is not None:
            del self._owners[address]
            del self._holdings[before][address]
        if after is not None:
            self._owners[address] = after
            self._holdings.setdefault(after, {})[address] = None

    def of(self, owner: Pubkey) -> Iterable[Pubkey]:
        """List the token accounts of an owner, oldest first."""
        return tuple(self._holdings.get(owner, ()))


def _is_kind(data: bytes, size: int, kind: int) -> bool:
    if len(data) == size:
        return True
    return len(data) > ACCOUNT_BYTES and data[ACCOUNT_BYTES] == kind
