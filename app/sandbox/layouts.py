"""Byte layouts of the accounts and instructions that the sandbox's market is made of.

SPL Token mints and accounts, and Raydium CPMM's `PoolState`, `AmmConfig`, `ObservationState` and
swap instructions (`raydium-io/raydium-cp-swap`, `programs/cp-swap/src`). All integers are
little-endian, amounts are in base units, rates in millionths.
"""

import struct
from dataclasses import dataclass
from hashlib import sha256
from typing import Self

from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey

CPMM_PROGRAM = Pubkey.from_string("CPMMoo8L3F4NbTegBCKVNunggL7H1ZpdTHKxQB5qKP1C")
TOKEN_PROGRAM = Pubkey.from_string("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA")
ATA_PROGRAM = Pubkey.from_string("ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL")

SOL_MINT = Pubkey.from_string("So11111111111111111111111111111111111111112")
USDC_MINT = Pubkey.from_string("EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v")
BONK_MINT = Pubkey.from_string("DezXAZ8z7PnrnRJjz3wXBoRgixCa6xjnB7YaB1pPB263")
RAY_MINT = Pubkey.from_string("4k3Dyjzvzp8eMZWUXbBCjEvwSkkk59S5iCNLY3QrkX6R")

LAMPORTS_PER_BYTE = 6_960  # rent for two years, and so exempt for ever
ACCOUNT_OVERHEAD_BYTES = 128
RATE_DENOMINATOR = 1_000_000

SWAP_BASE_INPUT = sha256(b"global:swap_base_input").digest()[:8]
SWAP_BASE_OUTPUT = sha256(b"global:swap_base_output").digest()[:8]
SWAP_EVENT = sha256(b"event:SwapEvent").digest()[:8]

_POOL = struct.Struct("<8s 320s 5B 7Q 2B 6x 2Q 224x")
_CONFIG = struct.Struct("<8s B B H 4Q 32s 32s Q 120x")
_OBSERVATIONS = struct.Struct("<8s B H 32s Q 16s 16s 3992x")
_MINT = struct.Struct("<I 32s Q B B I 32s")
_TOKEN = struct.Struct("<32s 32s Q I 32s B I Q Q I 32s")
_AMOUNTS = struct.Struct("<QQ")

_POOL_TAG = sha256(b"account:PoolState").digest()[:8]
_CONFIG_TAG = sha256(b"account:AmmConfig").digest()[:8]
_OBSERVATION_TAG = sha256(b"account:ObservationState").digest()[:8]
_NO_KEY = bytes(32)
_INITIALIZED = 1


def rent_exempt(size: int) -> int:
    """Give the lamports that exempt an account of `size` bytes from rent."""
    return (ACCOUNT_OVERHEAD_BYTES + size) * LAMPORTS_PER_BYTE


def program_address(*seeds: bytes) -> Pubkey:
    """Derive the market program's address for these seeds."""
    return Pubkey.find_program_address(list(seeds), CPMM_PROGRAM)[0]


def associated_token_address(owner: Pubkey, mint: Pubkey) -> Pubkey:
    """Derive the SPL Token account that belongs to a wallet by convention."""
    seeds = [bytes(owner), bytes(TOKEN_PROGRAM), bytes(mint)]
    return Pubkey.find_program_address(seeds, ATA_PROGRAM)[0]


def authority_address() -> tuple[Pubkey, int]:
    """Derive the owner of all vaults, and its bump."""
    return Pubkey.find_program_address([b"vault_and_lp_mint_auth_seed"], CPMM_PROGRAM)


def config_address(index: int) -> Pubkey:
    """Derive the address of a fee tier."""
    return program_address(b"amm_config", index.to_bytes(2, "big"))


def encode_mint(decimals: int, supply: int, authority: Pubkey | None) -> bytes:
    """Encode an SPL Token mint (82 bytes) that nobody can freeze."""
    key = _NO_KEY if authority is None else bytes(authority)
    return _MINT.pack(int(authority is not None), key, supply, decimals, _INITIALIZED, 0, _NO_KEY)


def encode_token_account(mint: Pubkey, owner: Pubkey, amount: int) -> bytes:
    """Encode an SPL Token account (165 bytes); one of wrapped SOL notes its rent reserve."""
    native = int(mint == SOL_MINT)
    reserve = rent_exempt(_TOKEN.size) * native
    fields = (0, _NO_KEY, _INITIALIZED, native, reserve, 0, 0, _NO_KEY)
    return _TOKEN.pack(bytes(mint), bytes(owner), amount, *fields)


def token_amount(data: bytes) -> int:
    """Read the balance in an SPL Token account."""
    return int.from_bytes(data[64:72], "little")


@dataclass(frozen=True, kw_only=True)
class AmmConfig:
    """A fee tier: `AmmConfig`, 236 bytes. Protocol and fund rates are parts of the trade fee."""

    index: int
    bump: int
    trade_fee_rate: int
    protocol_fee_rate: int
    fund_fee_rate: int
    creator_fee_rate: int
    create_pool_fee: int
    owner: Pubkey

    def encode(self) -> bytes:
        """Lay the tier out as the program reads it."""
        rates = (self.trade_fee_rate, self.protocol_fee_rate, self.fund_fee_rate)
        owner = bytes(self.owner)
        head = (_CONFIG_TAG, self.bump, 0, self.index)
        return _CONFIG.pack(
            *head, *rates, self.create_pool_fee, owner, owner, self.creator_fee_rate
        )


def trade_fee_rate(config: bytes) -> int:
    """Read a fee tier's trade fee."""
    return int.from_bytes(config[12:20], "little")


@dataclass(frozen=True, kw_only=True)
class PoolState:
    """A pool: `PoolState`, 637 bytes. Pairs are in the order of token 0, token 1."""

    config: Pubkey
    creator: Pubkey
    vaults: tuple[Pubkey, Pubkey]
    lp_mint: Pubkey
    mints: tuple[Pubkey, Pubkey]
    observation: Pubkey
    auth_bump: int
    decimals: tuple[int, int]
    lp_supply: int
    open_time: int
    status: int = 0
    token_programs: tuple[Pubkey, Pubkey] = (TOKEN_PROGRAM, TOKEN_PROGRAM)
    lp_decimals: int = 9
    protocol_fees: tuple[int, int] = (0, 0)
    fund_fees: tuple[int, int] = (0, 0)
    creator_fees: tuple[int, int] = (0, 0)
    recent_epoch: int = 0
    creator_fee_on: int = 0
    enable_creator_fee: bool = False

    def encode(self) -> bytes:
        """Lay the pool out as the program reads it."""
        owned = (self.config, self.creator, *self.vaults, self.lp_mint)
        keys = (*owned, *self.mints, *self.token_programs, self.observation)
        small = (self.auth_bump, self.status, self.lp_decimals, *self.decimals)
        counts = (self.lp_supply, *self.protocol_fees, *self.fund_fees)
        times = (self.open_time, self.recent_epoch)
        creator = (self.creator_fee_on, self.enable_creator_fee, *self.creator_fees)
        joined = b"".join(map(bytes, keys))
        return _POOL.pack(_POOL_TAG, joined, *small, *counts, *times, *creator)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a pool.

        Raises ValueError when the bytes are of another account type or length.
        """
        if len(data) != _POOL.size or data[:8] != _POOL_TAG:
            message = "these bytes are no PoolState"
            raise ValueError(message)
        _, joined, bump, status, lp_decimals, dec0, dec1, *rest = _POOL.unpack(data)
        supply, pro0, pro1, fund0, fund1, opened, epoch, fee_on, enabled, cre0, cre1 = rest
        keys = [Pubkey.from_bytes(joined[i : i + 32]) for i in range(0, len(joined), 32)]
        return cls(
            config=keys[0],
            creator=keys[1],
            vaults=(keys[2], keys[3]),
            lp_mint=keys[4],
            mints=(keys[5], keys[6]),
            token_programs=(keys[7], keys[8]),
            observation=keys[9],
            auth_bump=bump,
            status=status,
            lp_decimals=lp_decimals,
            decimals=(dec0, dec1),
            lp_supply=supply,
            protocol_fees=(pro0, pro1),
            fund_fees=(fund0, fund1),
            open_time=opened,
            recent_epoch=epoch,
            creator_fee_on=fee_on,
            enable_creator_fee=bool(enabled),
            creator_fees=(cre0, cre1),
        )

    def owed(self, side: int) -> int:
        """Sum the fees in a vault (0 or 1) that belong to others than the pool."""
        return self.protocol_fees[side] + self.fund_fees[side] + self.creator_fees[side]


def encode_observations(pool: Pubkey, unix_time: int) -> bytes:
    """Encode a price history (4,075 bytes) that has begun at `unix_time`."""
    tag = _OBSERVATION_TAG
    return _OBSERVATIONS.pack(tag, _INITIALIZED, 0, bytes(pool), unix_time, bytes(16), bytes(16))


@dataclass(frozen=True, kw_only=True)
class Swap:
    """A swap on one pool; `side` is the token paid in (0 or 1)."""

    pool_address: Pubkey
    pool: PoolState
    side: int
    payer: Pubkey
    source: Pubkey
    destination: Pubkey

    def exact_in(self, amount_in: int, minimum_amount_out: int) -> Instruction:
        """Build `swap_base_input`."""
        return self._instruction(SWAP_BASE_INPUT + _AMOUNTS.pack(amount_in, minimum_amount_out))

    def exact_out(self, max_amount_in: int, amount_out: int) -> Instruction:
        """Build `swap_base_output`."""
        return self._instruction(SWAP_BASE_OUTPUT + _AMOUNTS.pack(max_amount_in, amount_out))

    def _instruction(self, data: bytes) -> Instruction:
        return Instruction(CPMM_PROGRAM, data, self.accounts())

    def accounts(self) -> list[AccountMeta]:
        """List the 13 accounts in the order that both instructions take."""
        pool, into, out = self.pool, self.side, 1 - self.side
        read = {"is_signer": False, "is_writable": False}
        write = {"is_signer": False, "is_writable": True}
        return [
            AccountMeta(self.payer, is_signer=True, is_writable=False),
            AccountMeta(authority_address()[0], **read),
            AccountMeta(pool.config, **read),
            AccountMeta(self.pool_address, **write),
            AccountMeta(self.source, **write),
            AccountMeta(self.destination, **write),
            AccountMeta(pool.vaults[into], **write),
            AccountMeta(pool.vaults[out], **write),
            AccountMeta(pool.token_programs[into], **read),
            AccountMeta(pool.token_programs[out], **read),
            AccountMeta(pool.mints[into], **read),
            AccountMeta(pool.mints[out], **read),
            AccountMeta(pool.observation, **write),
        ]
