"""Raydium CPMM: constant product, with a trade fee and an optional creator fee.

Layouts, instructions and formulas follow raydium-io/raydium-cp-swap, programs/cp-swap/src:
states/pool.rs, states/config.rs, curve/, instructions/swap_base_input.rs and swap_base_output.rs.
Rates are millionths.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey

from app.domain.errors import ReasonCode, RefusedError
from app.domain.money import ceil_div
from app.engine.ports import Account
from app.transactions.tokens import Mint, decode_mint, decode_token_account
from app.transactions.venues.base import (
    ANCHOR_EVENT_LINE,
    Accounts,
    Meaning,
    Moment,
    OneForm,
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

PROGRAM: Final = Pubkey.from_string("CPMMoo8L3F4NbTegBCKVNunggL7H1ZpdTHKxQB5qKP1C")
AUTHORITY: Final = Pubkey.from_string("GpMZbSM2GgvTKHJirzeGfMFoaZ8UR2X7F4v8vHTvxFbL")
"""Owner of every vault: the address derived from `vault_and_lp_mint_auth_seed`."""
_MILLION = 1_000_000
_POOL_TAG = bytes.fromhex("f7ede3f5d7c3de46")
_POOL_BYTES = 637
_POOL_KEYS = struct.Struct("<8s" + 10 * "32s")
_POOL_STATUS = struct.Struct("<329xB")
_POOL_FEES = struct.Struct("<341x4Q")  # protocol 0, protocol 1, fund 0, fund 1
_POOL_OPEN_TIME = struct.Struct("<373xQ")
_POOL_CREATOR = struct.Struct("<389xBB6xQQ")  # on which side, enabled, owed 0, owed 1
_CONFIG_TAG = bytes.fromhex("daf42168cbcb2b6f")
_CONFIG_BYTES = 236
_CONFIG = struct.Struct("<12xQ88xQ")  # trade fee rate, creator fee rate
_SWAP_DISABLED = 1 << 2
_CREATOR_ON_BOTH = 0
_CREATOR_ON_ONE = (1, 2)  # only on token 0, only on token 1
_SWAP_BASE_INPUT = bytes.fromhex("8fbe5adac41e33de")
_SWAP_BASE_OUTPUT = bytes.fromhex("37d96256a34ab4ad")
_SWAP = struct.Struct("<8sQQ")
_SWAP_ACCOUNTS = 13
_UNITS = 27_500
_EVENT_TAG = bytes.fromhex("40c6cde8260871e2")
_EVENT = struct.Struct("<8s32s6QB")
_EVENT_FEES = struct.Struct("<153xQQB")  # trade fee, creator fee, creator fee on the input
_ERRORS: Final[Mapping[int, Meaning]] = MappingProxyType(
    {
        6000: passing("NotApproved", "the pool is closed for swaps", ReasonCode.MARKET_CLOSED),
        6005: passing(
            "ExceededSlippage",
            "the price moved beyond the order's bound",
            ReasonCode.SLIPPAGE_EXCEEDED,
        ),
        6006: lasting(
            "ZeroTradingTokens",
            "the pool cannot give or take such an amount",
            ReasonCode.INSUFFICIENT_LIQUIDITY,
        ),
        6007: lasting(
            "NotSupportMint", "the program does not trade this mint", ReasonCode.POOL_INVALID
        ),
        6008: lasting(
            "InvalidVault",
            "the pool's vaults are not those of the instruction",
            ReasonCode.POOL_INVALID,
        ),
        6012: lasting(
            "InsufficientVault",
            "the pool holds less than it owes",
            ReasonCode.INSUFFICIENT_LIQUIDITY,
        ),
        6013: lasting("InvalidFeeModel", "the pool's fees make no sense", ReasonCode.POOL_INVALID),
        2505: lasting(
            "RequireGtViolated",
            "the amount is so small that one side rounds to zero",
            ReasonCode.SIZE_TOO_SMALL,
        ),
    }
)


@dataclass(frozen=True, slots=True)
class _PoolKeys:
    """The addresses in a pool's account; pairs are in the pool's order of mints."""

    config: Pubkey
    vaults: tuple[Pubkey, Pubkey]
    mints: tuple[Pubkey, Pubkey]
    programs: tuple[Pubkey, Pubkey]
    observation: Pubkey


@dataclass(frozen=True, slots=True)
class _Rates:
    """Fees in millionths: on the input, and on the output (only ever the creator's)."""

    on_input: int
    on_output: int


@dataclass(frozen=True, slots=True)
class _CreatorFee:
    rate: int
    side: int


@dataclass(frozen=True, slots=True)
class CpmmPool:
    """A pool's state; pairs are in the pool's order of mints, reserves free of fees owed."""

    address: Pubkey
    keys: _PoolKeys
    mints: tuple[Mint, Mint]
    reserves: tuple[int, int]
    trade_rate: int
    creator: _CreatorFee
    enabled: bool
    open_time: int
    unix_time: int

    @property
    def decimals(self) -> Mapping[Pubkey, int]:
        """The two mints with their decimals."""
        return {mint.address: mint.decimals for mint in self.mints}

    @property
    def fee_millionths(self) -> int:
        """The fee on what is paid, in millionths; a creator's share included."""
        return self.trade_rate + self.creator.rate

    def quote(self, swap: Swap) -> Priced:
        """Price a swap exactly as the program would in this state."""
        self.require_open()
        side = side_in(self.address, self.keys.mints, swap)
        priced = self._exact_in(swap, side) if swap.exact_in else self._exact_out(swap, side)
        if min(priced.amount_in, priced.amount_out) <= 0:
            raise too_small()
        return priced

    def worth(self, mint: Pubkey, amount: int) -> int:
        """Say an amount of one mint in the other at the reserves' ratio, without fees; rounded down."""
        side = self.keys.mints.index(mint)
        return amount * self.reserves[1 - side] // self.reserves[side]

    def build(self, swap: Swap, bound: int, user: UserAccounts) -> Instruction:
        """Give the swap's instruction; `bound` is the least received or the most paid."""
        side = side_in(self.address, self.keys.mints, swap)
        sides = (side, 1 - side)
        tag = _SWAP_BASE_INPUT if swap.exact_in else _SWAP_BASE_OUTPUT
        amounts = (swap.amount, bound) if swap.exact_in else (bound, swap.amount)
        accounts = [
            AccountMeta(user.owner, is_signer=True, is_writable=False),
            readonly(AUTHORITY),
            readonly(self.keys.config),
            writable(self.address),
            writable(user.source),
            writable(user.destination),
            *(writable(self.keys.vaults[each]) for each in sides),
            *(readonly(self.mints[each].program) for each in sides),
            *(readonly(self.mints[each].address) for each in sides),
            writable(self.keys.observation),
        ]
        return Instruction(PROGRAM, _SWAP.pack(tag, *amounts), accounts)

    def as_before(self, swap: Swap, report: Report) -> "CpmmPool | None":
        """Give the pool as it was right before a reported swap: the event tells the reserves."""
        if len(report.before) != len(self.reserves) or min(report.before) <= 0:
            return None
        paid, received = report.before
        side = side_in(self.address, self.keys.mints, swap)
        return replace(self, reserves=(received, paid) if side else (paid, received))

    def require_open(self) -> None:
        """Pass when the pool takes swaps now."""
        if not self.enabled:
            what = f"swaps are switched off in pool {self.address}"
            raise RefusedError(ReasonCode.MARKET_CLOSED, what)
        require_opened(self.address, self.open_time, self.unix_time)

    def _rates(self, side: int) -> _Rates:
        on_input = self.creator.side in (_CREATOR_ON_BOTH, _CREATOR_ON_ONE[side])
        rate = self.creator.rate
        return _Rates(self.trade_rate + rate, 0) if on_input else _Rates(self.trade_rate, rate)

    def _exact_in(self, swap: Swap, side: int) -> Priced:
        rates = self._rates(side)
        reserve_in, reserve_out = self.reserves[side], self.reserves[1 - side]
        arriving = swap.amount - self.mints[side].fee.of(swap.amount)
        fee = ceil_div(arriving * rates.on_input, _MILLION)
        net = arriving - fee
        moved = net * reserve_out // (reserve_in + net)
        out = moved - ceil_div(moved * rates.on_output, _MILLION)
        received = out - self.mints[1 - side].fee.of(out)
        return Priced(swap.amount, received, fee, _UNITS, net, moved)

    def _exact_out(self, swap: Swap, side: int) -> Priced:
        rates = self._rates(side)
        reserve_in, reserve_out = self.reserves[side], self.reserves[1 - side]
        sent = swap.amount + self.mints[1 - side].fee.on_top(swap.amount)
        gross = ceil_div(sent * _MILLION, _MILLION - rates.on_output)
        if gross >= reserve_out:
            raise too_large()
        net = ceil_div(reserve_in * gross, reserve_out - gross)
        arriving = ceil_div(net * _MILLION, _MILLION - rates.on_input)
        paid = arriving + self.mints[side].fee.on_top(arriving)
        return Priced(paid, swap.amount, arriving - net, _UNITS, net, gross)


class RaydiumCpmm(OneForm):
    """Raydium's standard AMM, of either token program."""

    name: Final = "raydium_cpmm"
    program: Final = PROGRAM
    event_line: Final = ANCHOR_EVENT_LINE

    def accounts_needed(self, address: Pubkey, account: Account) -> tuple[Pubkey, ...]:
        """Name the fee tier and the vaults."""
        del address
        keys = _pool_keys(account)
        return () if keys is None else (keys.config, *keys.vaults)

    def decode(self, address: Pubkey, accounts: Accounts, moment: Moment) -> CpmmPool:
        """Read a pool strictly; anything unexpected is RefusedError(POOL_INVALID)."""
        account = accounts.get(str(address))
        keys = _pool_keys(account)
        if account is None or keys is None:
            refuse(address, f"is no pool of program {PROGRAM}")
        trade_rate, creator_rate = _config_rates(address, accounts.get(str(keys.config)))
        status = _POOL_STATUS.unpack_from(account.data)[0]
        creator_side, creator_enabled, *_ = _POOL_CREATOR.unpack_from(account.data)
        creator = _CreatorFee(creator_rate if creator_enabled else 0, creator_side)
        if creator_side > max(_CREATOR_ON_ONE) or trade_rate + creator.rate >= _MILLION:
            refuse(address, "has fees that make no sense")
        return CpmmPool(
            address=address,
            keys=keys,
            mints=_mints(address, keys, accounts, moment.epoch),
            reserves=_reserves(address, keys, account.data, accounts),
            trade_rate=trade_rate,
            creator=creator,
            enabled=not status & _SWAP_DISABLED,
            open_time=_POOL_OPEN_TIME.unpack_from(account.data)[0],
            unix_time=moment.unix_time,
        )

    def terms(self, accounts: Sequence[Pubkey], data: bytes) -> Terms | None:
        """Read a swap instruction back; None for any other instruction of the program."""
        if len(data) != _SWAP.size or len(accounts) != _SWAP_ACCOUNTS:
            return None
        tag, first, second = _SWAP.unpack(data)
        if tag not in (_SWAP_BASE_INPUT, _SWAP_BASE_OUTPUT):
            return None
        exact_in = tag == _SWAP_BASE_INPUT
        amount, bound = (first, second) if exact_in else (second, first)
        user = UserAccounts(accounts[0], accounts[4], accounts[5])
        return Terms(accounts[3], user, accounts[6], accounts[7], exact_in, amount, bound)

    def parse_fill(self, pool: Pubkey, events: Iterable[bytes]) -> Report | None:
        """Find the pool's swap among the events that the program itself wrote.

        The event's amounts are those of the vaults: a transfer fee comes on top of the input and
        off the output.
        """
        for event in events:
            if len(event) < _EVENT.size or event[:8] != _EVENT_TAG or event[8:40] != bytes(pool):
                continue
            _, _, *before, moved_in, moved_out, fee_in, fee_out, _ = _EVENT.unpack_from(event)
            paid, received = moved_in + fee_in, moved_out - fee_out
            venue_fee = _event_fee(event)
            return Report(paid, received, moved_in, moved_out, venue_fee, tuple(before))
        return None

    def classify_error(self, code: int) -> Meaning | None:
        """Say what one of the program's own error codes means; None for an unknown one."""
        return _ERRORS.get(code)


def _event_fee(event: bytes) -> int | None:
    if len(event) < _EVENT_FEES.size:
        return None  # older builds end the event before the fees
    trade, creator, on_input = _EVENT_FEES.unpack_from(event)
    return int(trade + creator if on_input else trade)


def _pool_keys(account: Account | None) -> _PoolKeys | None:
    if account is None or not is_account(account, PROGRAM, _POOL_BYTES, _POOL_TAG):
        return None
    raw = _POOL_KEYS.unpack_from(account.data)
    config, _, vault0, vault1, _, mint0, mint1, program0, program1, observation = (
        Pubkey.from_bytes(each) for each in raw[1:]
    )
    return _PoolKeys(config, (vault0, vault1), (mint0, mint1), (program0, program1), observation)


def _config_rates(pool: Pubkey, account: Account | None) -> tuple[int, int]:
    if account is None or not is_account(account, PROGRAM, _CONFIG_BYTES, _CONFIG_TAG):
        refuse(pool, "names a fee tier that is none")
    trade, creator = _CONFIG.unpack_from(account.data)
    return trade, creator


def _mints(pool: Pubkey, keys: _PoolKeys, accounts: Accounts, epoch: int) -> tuple[Mint, Mint]:
    first, second = (decode_mint(mint, accounts.get(str(mint)), epoch) for mint in keys.mints)
    if (first.program, second.program) != keys.programs:
        refuse(pool, "names another token program than its mints'")
    return first, second


def _reserves(pool: Pubkey, keys: _PoolKeys, data: bytes, accounts: Accounts) -> tuple[int, int]:
    protocol0, protocol1, fund0, fund1 = _POOL_FEES.unpack_from(data)
    *_, creator0, creator1 = _POOL_CREATOR.unpack_from(data)
    owed = (protocol0 + fund0 + creator0, protocol1 + fund1 + creator1)
    first, second = (_vault_balance(pool, keys, side, accounts) - owed[side] for side in (0, 1))
    if min(first, second) <= 0:
        what = f"pool {pool} holds nothing beyond the fees it owes"
        raise RefusedError(ReasonCode.INSUFFICIENT_LIQUIDITY, what)
    return first, second


def _vault_balance(pool: Pubkey, keys: _PoolKeys, side: int, accounts: Accounts) -> int:
    account = accounts.get(str(keys.vaults[side]))
    vault = decode_token_account(account, f"vault {keys.vaults[side]} of pool {pool}")
    if vault.mint != keys.mints[side] or vault.owner != AUTHORITY or not vault.usable:
        refuse(pool, "has a vault that is not its own")
    return vault.amount
