"""Accounts of a Whirlpool: the pool, its tick arrays and its oracle.

Layouts: orca-so/whirlpools, programs/whirlpool/src/state/whirlpool.rs, fixed_tick_array.rs,
dynamic_tick_array.rs and oracle.rs. All integers are little-endian.
"""

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from solders.pubkey import Pubkey

from app.engine.ports import Account
from app.transactions.venues.shared import is_account
from app.transactions.venues.whirlpool_fees import Constants, Oracle, Variables
from app.transactions.venues.whirlpool_math import (
    RATE_ONE,
    SQRT_PRICE_MAX,
    SQRT_PRICE_MIN,
    TICK_MAX,
    TICK_MIN,
)
from app.transactions.venues.whirlpool_swap import ARRAY_TICKS, TickArray

PROGRAM: Final = Pubkey.from_string("whirLbMiicVdio4qvUfM5KAg6Ct8VwpYzGff3uctyCc")
_POOL_TAG = bytes.fromhex("3f95d10ce1806309")
_POOL_BYTES = 653
_POOL_HEAD = struct.Struct("<41xHHH2x16s16si")
_POOL_TOKENS = struct.Struct("<101x32s32s16x32s32s16xQ")  # mint A, vault A, mint B, vault B
_FIXED_TAG = bytes.fromhex("4561bdbe6e0742bb")
_FIXED_BYTES = 9_988
_FIXED_TICK_BYTES = 113
_FIXED_POOL_AT = 9_956
_DYNAMIC_TAG = bytes.fromhex("11d8f68ee1c7da38")
_DYNAMIC_BYTES_MIN, _DYNAMIC_BYTES_MAX = 148, 10_004
_DYNAMIC_TICK_BYTES = 112
_ARRAY_START = struct.Struct("<8xi")
_ARRAY_TICKS_AT, _DYNAMIC_POOL_AT, _DYNAMIC_TICKS_AT = 12, 12, 60
_NET_BYTES = 16
_ORACLE_TAG = bytes.fromhex("8bc283b38cb3e5f4")
_ORACLE_BYTES = 254
_ORACLE = struct.Struct("<8x32sQHHHIIHH16xQQIiI")
_SYSTEM = str(Pubkey.default())


@dataclass(frozen=True, slots=True)
class PoolAccount:
    """A pool's account as read; pairs are A, B."""

    spacing: int
    fee_tier: int
    fee_rate: int
    liquidity: int
    sqrt_price: int
    tick: int
    mints: tuple[Pubkey, Pubkey]
    vaults: tuple[Pubkey, Pubkey]
    rewarded_at: int

    @property
    def adaptive(self) -> bool:
        """Tell whether the fee follows volatility: such pools are of a fee tier, not of a spacing."""
        return self.fee_tier != self.spacing


def decode_pool(account: Account | None) -> PoolAccount | None:
    """Read a pool; None when the account is none, or one that cannot be."""
    if account is None or not is_account(account, PROGRAM, _POOL_BYTES, _POOL_TAG):
        return None
    spacing, fee_tier, fee_rate, liquidity, sqrt_price, tick = _POOL_HEAD.unpack_from(account.data)
    *tokens, rewarded_at = _POOL_TOKENS.unpack_from(account.data)
    mint_a, vault_a, mint_b, vault_b = map(Pubkey.from_bytes, tokens)
    pool = PoolAccount(
        spacing=spacing,
        fee_tier=fee_tier,
        fee_rate=fee_rate,
        liquidity=int.from_bytes(liquidity, "little"),
        sqrt_price=int.from_bytes(sqrt_price, "little"),
        tick=tick,
        mints=(mint_a, mint_b),
        vaults=(vault_a, vault_b),
        rewarded_at=rewarded_at,
    )
    sound = (
        spacing > 0
        and fee_rate < RATE_ONE
        and SQRT_PRICE_MIN <= pool.sqrt_price <= SQRT_PRICE_MAX
        and TICK_MIN <= tick <= TICK_MAX
    )
    return pool if sound else None


def decode_array(pool: Pubkey, start: int, account: Account | None) -> TickArray | None:
    """Read a tick array; one that is not there (or holds lamports only) has no ticks. None: a wrong one."""
    if account is None or (account.owner == _SYSTEM and not account.data):
        return TickArray(start, {})
    if account.owner != str(PROGRAM) or len(account.data) < _DYNAMIC_BYTES_MIN:
        return None
    data = account.data
    nets = _fixed(pool, data) if data[:8] == _FIXED_TAG else _dynamic(pool, data)
    if nets is None or _ARRAY_START.unpack_from(data)[0] != start:
        return None
    return TickArray(start, nets)


def _fixed(pool: Pubkey, data: bytes) -> dict[int, int] | None:
    if len(data) != _FIXED_BYTES or data[_FIXED_POOL_AT:] != bytes(pool):
        return None
    nets: dict[int, int] = {}
    for slot in range(ARRAY_TICKS):
        at = _ARRAY_TICKS_AT + slot * _FIXED_TICK_BYTES
        if data[at]:
            nets[slot] = _net(data, at + 1)
    return nets


def _dynamic(pool: Pubkey, data: bytes) -> dict[int, int] | None:
    if (
        data[:8] != _DYNAMIC_TAG
        or len(data) > _DYNAMIC_BYTES_MAX
        or data[_DYNAMIC_POOL_AT : _DYNAMIC_POOL_AT + 32] != bytes(pool)
    ):
        return None
    nets: dict[int, int] = {}
    at = _DYNAMIC_TICKS_AT
    for slot in range(ARRAY_TICKS):
        if at >= len(data):
            return None
        if data[at]:
            if at + 1 + _DYNAMIC_TICK_BYTES > len(data):
                return None
            nets[slot] = _net(data, at + 1)
            at += _DYNAMIC_TICK_BYTES
        at += 1
    return nets


def _net(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + _NET_BYTES], "little", signed=True)


def decode_oracle(pool: Pubkey, account: Account | None) -> Oracle | None:
    """Read an oracle; None when it is none of this pool."""
    if account is None or not is_account(account, PROGRAM, _ORACLE_BYTES, _ORACLE_TAG):
        return None
    of, enabled_at, *rest = _ORACLE.unpack_from(account.data)
    oracle = Oracle(enabled_at, Constants(*rest[:7]), Variables(*rest[7:]))
    return oracle if of == bytes(pool) and oracle.constants.group_size else None


@lru_cache(maxsize=1_024)
def array_address(pool: Pubkey, start: int) -> Pubkey:
    """Derive a tick array; its first tick is in the seeds as decimal text."""
    seeds = [b"tick_array", bytes(pool), str(start).encode()]
    return Pubkey.find_program_address(seeds, PROGRAM)[0]


@lru_cache(maxsize=256)
def oracle_address(pool: Pubkey) -> Pubkey:
    """Derive the oracle, which must be passed even where there is none."""
    return Pubkey.find_program_address([b"oracle", bytes(pool)], PROGRAM)[0]
