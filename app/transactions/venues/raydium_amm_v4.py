"""Raydium AMM v4: constant product, with a fee on the input; SPL Token mints only.

Layouts, instructions and formulas follow raydium-io/raydium-amm, program/src: state.rs, instruction.rs,
processor.rs, math.rs and log.rs. It is no Anchor program: instructions begin with one byte, errors are
plain numbers. The program has taken a short form of its swaps (16, 17) since September 2025; builds
before want the long one (9, 11), whose order book accounts a pool without an order book ignores.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey

from app.domain.errors import ReasonCode, RefusedError, TransientError
from app.domain.money import ceil_div
from app.engine.ports import Account
from app.transactions.tokens import TOKEN_PROGRAM, decode_mint, decode_token_account
from app.transactions.venues.base import (
    Accounts,
    Meaning,
    Moment,
    Priced,
    Report,
    Swap,
    Terms,
    UserAccounts,
    lasting,
    passing,
    readonly,
    writable,
)
from app.transactions.venues.shared import (
    is_account,
    refuse,
    require_opened,
    side_in,
    too_large,
    too_small,
)

PROGRAM: Final = Pubkey.from_string("675kPX9MHTjS2zt1qfr1NYHuzeLXfQM9H24wFSUt1Mp8")
AUTHORITY: Final = Pubkey.from_string("5Q544fKrFoe6tsEbD7S8EmxGTJYAKtTVhAW5Q5pge4j1")
"""Owner of every vault: derived from `amm authority` with the nonce 254."""
_NONCE = 254
_POOL_BYTES = 752
_POOL_NUMBERS = struct.Struct("<QQ160xQQQQ16xQ")
_POOL_KEYS = struct.Struct("<336x32s32s32s32s32x32s")  # vaults, mints (coin, pc), open orders
_SWAP_ONLY, _WAITING = 6, 7
_ORDER_BOOK = 1
_SWAP = struct.Struct("<BQQ")
_BASE_IN, _BASE_OUT = 9, 11
_BASE_IN_SHORT, _BASE_OUT_SHORT = 16, 17
_SHORT_ACCOUNTS, _LONG_ACCOUNTS = 8, 17
_MARKET_ACCOUNTS = 8
_UNITS = 22_000
_LOG = struct.Struct(
    "<B7Q"
)  # kind, two amounts, direction, wallet's balance, coin, pc, the other amount
_LOG_IN, _LOG_OUT = 3, 4
_ERRORS: Final[Mapping[int, Meaning]] = MappingProxyType(
    {
        3: lasting("ExpectedAccount", "an account is of another kind"),
        4: lasting("InvalidCoinVault", "the vault is not the pool's", ReasonCode.POOL_INVALID),
        5: lasting("InvalidPCVault", "the vault is not the pool's", ReasonCode.POOL_INVALID),
        12: lasting(
            "InvalidMarketProgram", "the pool trades on an order book", ReasonCode.POOL_INVALID
        ),
        22: passing("InvalidStatus", "the pool is closed for swaps", ReasonCode.MARKET_CLOSED),
        29: lasting(
            "InvalidInput",
            "the amount is so small that one side rounds to zero",
            ReasonCode.SIZE_TOO_SMALL,
        ),
        30: passing(
            "ExceededSlippage",
            "the price moved beyond the order's bound",
            ReasonCode.SLIPPAGE_EXCEEDED,
        ),
        40: lasting(
            "InsufficientFunds",
            "the wallet or the pool holds too little",
            ReasonCode.INSUFFICIENT_FUNDS,
        ),
        42: lasting("InvalidUserToken", "a token account is of another mint"),
    }
)


@dataclass(frozen=True, slots=True)
class AmmV4Pool:
    """A pool's state; pairs are coin, pc; reserves free of what is owed to the pool's owner."""

    address: Pubkey
    vaults: tuple[Pubkey, Pubkey]
    mints: tuple[Pubkey, Pubkey]
    mint_decimals: tuple[int, int]
    reserves: tuple[int, int]
    fee: tuple[int, int]
    """Numerator and denominator."""
    status: int
    open_time: int
    unix_time: int
    open_orders: Pubkey
    short: bool | None
    """Swaps in the short form; None while the form is not known, and nothing is quoted."""

    @property
    def decimals(self) -> Mapping[Pubkey, int]:
        """The two mints with their decimals."""
        return dict(zip(self.mints, self.mint_decimals, strict=True))

    @property
    def fee_millionths(self) -> int:
        """The fee on what is paid, in millionths, rounded down."""
        return self.fee[0] * 1_000_000 // self.fee[1]

    def quote(self, swap: Swap) -> Priced:
        """Price a swap exactly as the program would in this state."""
        self.require_open()
        side = side_in(self.address, self.mints, swap)
        priced = self._exact_in(swap, side) if swap.exact_in else self._exact_out(swap, side)
        if min(priced.amount_in, priced.amount_out) <= 0:
            raise too_small()
        return priced

    def worth(self, mint: Pubkey, amount: int) -> int:
        """Say an amount of one mint in the other at the reserves' ratio, without fees; rounded down."""
        side = self.mints.index(mint)
        return amount * self.reserves[1 - side] // self.reserves[side]

    def build(self, swap: Swap, bound: int, user: UserAccounts) -> Instruction:
        """Give the swap's instruction; `bound` is the least received or the most paid.

        The program reads the direction from the mints of the user's accounts. In the long form it
        ignores the accounts of the order book when the pool uses none: any key fills them.
        """
        side_in(self.address, self.mints, swap)
        if self.short:
            tag = _BASE_IN_SHORT if swap.exact_in else _BASE_OUT_SHORT
        else:
            tag = _BASE_IN if swap.exact_in else _BASE_OUT
        amounts = (swap.amount, bound) if swap.exact_in else (bound, swap.amount)
        open_orders = [] if self.short else [writable(self.open_orders)]
        market = [] if self.short else [readonly(TOKEN_PROGRAM)] * _MARKET_ACCOUNTS
        accounts = [
            readonly(TOKEN_PROGRAM),
            writable(self.address),
            readonly(AUTHORITY),
            *open_orders,
            *(writable(vault) for vault in self.vaults),
            *market,
            writable(user.source),
            writable(user.destination),
            AccountMeta(user.owner, is_signer=True, is_writable=False),
        ]
        return Instruction(PROGRAM, _SWAP.pack(tag, *amounts), accounts)

    def as_before(self, swap: Swap, report: Report) -> "AmmV4Pool | None":
        """Give the pool as it was right before a reported swap: the log tells the reserves."""
        del swap
        if len(report.before) != len(self.reserves) or min(report.before) <= 0:
            return None
        coin, pc = report.before
        return replace(self, reserves=(coin, pc))

    def require_open(self) -> None:
        """Pass when the pool takes swaps now, in a form that is known."""
        if self.short is None:
            what = "the form in which Raydium AMM v4 takes swaps is not known yet"
            raise TransientError(ReasonCode.CHAIN_UNAVAILABLE, what, todo="fund the wallet")
        if self.status == _WAITING:
            require_opened(self.address, self.open_time, self.unix_time)
        if self.status not in (_SWAP_ONLY, _WAITING):
            what = f"swaps are switched off in pool {self.address} (status {self.status})"
            raise RefusedError(ReasonCode.MARKET_CLOSED, what)

    def _exact_in(self, swap: Swap, side: int) -> Priced:
        numerator, denominator = self.fee
        reserve_in, reserve_out = self.reserves[side], self.reserves[1 - side]
        fee = ceil_div(swap.amount * numerator, denominator)
        net = swap.amount - fee
        out = net * reserve_out // (reserve_in + net)
        return Priced(swap.amount, out, fee, _UNITS, net, out)

    def _exact_out(self, swap: Swap, side: int) -> Priced:
        numerator, denominator = self.fee
        reserve_in, reserve_out = self.reserves[side], self.reserves[1 - side]
        if swap.amount >= reserve_out:
            raise too_large()
        net = ceil_div(reserve_in * swap.amount, reserve_out - swap.amount)
        paid = ceil_div(net * denominator, denominator - numerator)
        return Priced(paid, swap.amount, paid - net, _UNITS, net, swap.amount)


class RaydiumAmmV4:
    """Raydium's first AMM, for SPL Token mints."""

    name: Final = "raydium_amm_v4"
    program: Final = PROGRAM
    event_line: Final = "Program log: ray_log: "

    def __init__(self, *, short: bool | None = None) -> None:
        """`short` when the deployed program knows the short form of its swaps; None: to be probed."""
        self.short = short

    def probe(self) -> Instruction:
        """Give a swap in the short form without accounts: an older program does not know it."""
        return Instruction(PROGRAM, _SWAP.pack(_BASE_IN_SHORT, 0, 0), [])

    def learn(self, error: object) -> bool:
        """Take the long form when the program did not know the short one."""
        inner = error.get("InstructionError") if isinstance(error, Mapping) else None
        if not isinstance(inner, Sequence) or isinstance(inner, str) or not inner:
            return False
        self.short = inner[-1] != "InvalidInstructionData"
        return True

    def accounts_needed(self, address: Pubkey, account: Account) -> tuple[Pubkey, ...]:
        """Name the vaults."""
        del address
        return _keys(account)[:2] if is_account(account, PROGRAM, _POOL_BYTES) else ()

    def decode(self, address: Pubkey, accounts: Accounts, moment: Moment) -> AmmV4Pool:
        """Read a pool strictly; anything unexpected is RefusedError(POOL_INVALID)."""
        account = accounts.get(str(address))
        if account is None or not is_account(account, PROGRAM, _POOL_BYTES):
            refuse(address, f"is no pool of program {PROGRAM}")
        status, nonce, fee, denominator, owed_coin, owed_pc, open_time = _POOL_NUMBERS.unpack_from(
            account.data
        )
        if status == _ORDER_BOOK:
            refuse(address, "trades on an order book, which is not supported")
        if nonce != _NONCE or not 0 <= fee < denominator:
            refuse(address, "has an authority or a fee that makes no sense")
        coin_vault, pc_vault, coin, pc, open_orders = _keys(account)
        first, second = (_decimals(address, mint, accounts, moment.epoch) for mint in (coin, pc))
        return AmmV4Pool(
            address=address,
            vaults=(coin_vault, pc_vault),
            mints=(coin, pc),
            mint_decimals=(first, second),
            reserves=(
                _reserve(address, coin_vault, coin, owed_coin, accounts),
                _reserve(address, pc_vault, pc, owed_pc, accounts),
            ),
            fee=(fee, denominator),
            status=status,
            open_time=open_time,
            unix_time=moment.unix_time,
            open_orders=open_orders,
            short=self.short,
        )

    def terms(self, accounts: Sequence[Pubkey], data: bytes) -> Terms | None:
        """Read a swap instruction back, of either form; None for any other instruction.

        It does not say which vault takes and which gives.
        """
        if len(data) != _SWAP.size:
            return None
        tag, first, second = _SWAP.unpack(data)
        short = tag in (_BASE_IN_SHORT, _BASE_OUT_SHORT)
        if not short and tag not in (_BASE_IN, _BASE_OUT):
            return None
        if len(accounts) != (_SHORT_ACCOUNTS if short else _LONG_ACCOUNTS):
            return None
        exact_in = tag in (_BASE_IN, _BASE_IN_SHORT)
        amount, bound = (first, second) if exact_in else (second, first)
        source, destination, owner = accounts[-3:]
        coin_vault, pc_vault = accounts[3:5] if short else accounts[4:6]
        user = UserAccounts(owner, source, destination)
        return Terms(
            accounts[1], user, coin_vault, pc_vault, exact_in, amount, bound, directed=False
        )

    def parse_fill(self, pool: Pubkey, events: Iterable[bytes]) -> Report | None:
        """Find the swap among what the program itself logged; the log does not name the pool."""
        del pool
        for event in events:
            if len(event) != _LOG.size or event[0] not in (_LOG_IN, _LOG_OUT):
                continue
            kind, first, second, _, _, *before, other = _LOG.unpack(event)
            paid, received = (first, other) if kind == _LOG_IN else (other, second)
            return Report(paid, received, paid, received, None, tuple(before))
        return None

    def classify_error(self, code: int) -> Meaning | None:
        """Say what one of the program's own error codes means; None for an unknown one."""
        return _ERRORS.get(code)


def _keys(account: Account) -> tuple[Pubkey, ...]:
    """Give the vaults and the mints, each coin first, and the open orders."""
    return tuple(map(Pubkey.from_bytes, _POOL_KEYS.unpack_from(account.data)))


def _decimals(pool: Pubkey, address: Pubkey, accounts: Accounts, epoch: int) -> int:
    mint = decode_mint(address, accounts.get(str(address)), epoch)
    if mint.program != TOKEN_PROGRAM:
        refuse(pool, "has a mint of another program than SPL Token")
    return mint.decimals


def _reserve(pool: Pubkey, vault: Pubkey, mint: Pubkey, owed: int, accounts: Accounts) -> int:
    account = decode_token_account(accounts.get(str(vault)), f"vault {vault} of pool {pool}")
    if account.mint != mint or account.owner != AUTHORITY or not account.usable:
        refuse(pool, "has a vault that is not its own")
    if account.amount <= owed:
        what = f"pool {pool} holds nothing beyond what it owes"
        raise RefusedError(ReasonCode.INSUFFICIENT_LIQUIDITY, what)
    return account.amount - owed
