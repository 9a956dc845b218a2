"""What the sandbox chain holds at first: tokens, a market of three pools, and funded wallets.

Everything is a function of the seed, the wallet and the time. The addresses of mints, fee tier and
pools depend on none of them, so that they can be written into a configuration file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from math import isqrt
from types import MappingProxyType

from solders.account import Account
from solders.keypair import Keypair
from solders.litesvm import LiteSVM
from solders.pubkey import Pubkey
from solders.system_program import ID as SYSTEM_PROGRAM

from app.sandbox.layouts import (
    BONK_MINT,
    CPMM_PROGRAM,
    RAY_MINT,
    SOL_MINT,
    TOKEN_PROGRAM,
    USDC_MINT,
    AmmConfig,
    PoolState,
    associated_token_address,
    authority_address,
    config_address,
    encode_mint,
    encode_observations,
    encode_token_account,
    program_address,
    rent_exempt,
)

LAMPORTS_PER_SOL = 10**9
WALLET_LAMPORTS = 10_000 * LAMPORTS_PER_SOL
KEEPER_LAMPORTS = 1_000_000 * LAMPORTS_PER_SOL
POOL_AGE_SECONDS = 86_400  # pools opened a day ago: no clock error can find them closed
LOCKED_LP = 100  # the program keeps this many units of a pool's first liquidity out of circulation
DECIMALS: Mapping[Pubkey, int] = MappingProxyType(
    {SOL_MINT: 9, USDC_MINT: 6, BONK_MINT: 5, RAY_MINT: 6}
)
# whole tokens in the wallets' associated token accounts
WALLET_TOKENS: Mapping[Pubkey, int] = MappingProxyType(
    {USDC_MINT: 1_000_000, BONK_MINT: 5_000_000_000, RAY_MINT: 1_000_000}
)
KEEPER_TOKENS: Mapping[Pubkey, int] = MappingProxyType(
    {
        SOL_MINT: 1_000_000,
        USDC_MINT: 1_000_000_000,
        BONK_MINT: 10_000_000_000_000,
        RAY_MINT: 1_000_000_000,
    }
)


@dataclass(frozen=True)
class GenesisAccount:
    """An account as it stands before the first transaction."""

    address: Pubkey
    lamports: int
    owner: Pubkey
    data: bytes
    executable: bool = False


@dataclass(frozen=True)
class Market:
    """A pair of mints and the pool that trades them."""

    name: str
    base_mint: Pubkey
    quote_mint: Pubkey
    base_decimals: int
    quote_decimals: int
    pool: Pubkey


@dataclass(frozen=True)
class Genesis:
    """The first block: every account, programs by address, and who may sign."""

    accounts: tuple[GenesisAccount, ...]
    programs: Mapping[Pubkey, bytes]
    markets: tuple[Market, ...]
    wallets: Mapping[str, Keypair]

    def install(self, svm: LiteSVM) -> None:
        """Write programs and accounts into a fresh virtual machine."""
        for address, program in self.programs.items():
            svm.add_program(address, program)
        for each in self.accounts:
            account = Account(each.lamports, each.data, each.owner, each.executable)
            svm.set_account(each.address, account)


@dataclass(frozen=True)
class _Listing:
    """A market to open: whole tokens of base and quote in its pool."""

    base: Pubkey
    quote: Pubkey
    base_tokens: int
    quote_tokens: int


_LISTINGS = (
    ("SOL-USDC", _Listing(SOL_MINT, USDC_MINT, 10_000, 1_850_000)),
    ("BONK-USDC", _Listing(BONK_MINT, USDC_MINT, 50_000_000_000, 1_000_000)),
    ("RAY-SOL", _Listing(RAY_MINT, SOL_MINT, 1_000_000, 12_000)),
)


def build_genesis(
    *,
    seed: int = 7,
    wallet: Keypair,
    cpmm_program: bytes | None = None,
    unix_time: int,
) -> Genesis:
    """Build the first block for a wallet.

    `wallet` gets 10,000 SOL and tokens; a second wallet, `keeper`, is made from the seed and holds
    plenty of everything. `cpmm_program` runs in place of the sandbox's own program, `unix_time` is
    the block's time in seconds.
    """
    keeper = Keypair.from_seed(sha256(f"sandbox keeper {seed}".encode()).digest())
    balances = _Balances()
    _fund(balances, wallet.pubkey(), WALLET_TOKENS)
    _fund(balances, keeper.pubkey(), KEEPER_TOKENS)
    pools = [
        account
        for _, listing in _LISTINGS
        for account in _open_pool(balances, listing, keeper.pubkey(), unix_time)
    ]
    purses = [_purse(wallet, WALLET_LAMPORTS), _purse(keeper, KEEPER_LAMPORTS)]
    accounts = [*purses, _fee_tier(keeper.pubkey()), *pools, *balances.accounts(keeper.pubkey())]
    return Genesis(
        accounts=tuple(accounts),
        programs=MappingProxyType({CPMM_PROGRAM: cpmm_program or own_program()}),
        markets=tuple(_market(name, listing) for name, listing in _LISTINGS),
        wallets=MappingProxyType({"wallet": wallet, "keeper": keeper}),
    )


def own_program() -> bytes:
    """Read the market program that is shipped with the sandbox (an SBPFv3 ELF file)."""
    return files("app.sandbox").joinpath("program", "cpmm.so").read_bytes()


def pool_address(one: Pubkey, other: Pubkey) -> Pubkey:
    """Derive the address of a pool of the 0.25 % tier, whichever mint is named first."""
    first, second = sorted(map(bytes, (one, other)))
    return program_address(b"pool", bytes(config_address(0)), first, second)


class _Balances:
    """Token accounts in the making; mints follow from them, so supplies always add up."""

    def __init__(self) -> None:
        self._held: list[tuple[Pubkey, Pubkey, Pubkey, int]] = []
        self._mints = dict(DECIMALS)

    def add_mint(self, mint: Pubkey, decimals: int) -> None:
        """Name a new mint, whose supply will be what is held of it."""
        self._mints[mint] = decimals

    def add(self, address: Pubkey, mint: Pubkey, owner: Pubkey, amount: int) -> None:
        """Put an amount in base units into a token account."""
        self._held.append((address, mint, owner, amount))

    def accounts(self, mint_authority: Pubkey) -> list[GenesisAccount]:
        """Give the mints and the token accounts."""
        return [
            *(self._mint(mint, mint_authority) for mint in self._mints),
            *(_token_account(*held) for held in self._held),
        ]

    def _mint(self, mint: Pubkey, authority: Pubkey) -> GenesisAccount:
        native = mint == SOL_MINT  # has no authority, and its supply is not counted
        held = sum(amount for _, of, _, amount in self._held if of == mint)
        signer = authority if mint in DECIMALS else authority_address()[0]
        supply = 0 if native else held
        data = encode_mint(self._mints[mint], supply, None if native else signer)
        return GenesisAccount(mint, rent_exempt(len(data)), TOKEN_PROGRAM, data)


def _token_account(address: Pubkey, mint: Pubkey, owner: Pubkey, amount: int) -> GenesisAccount:
    data = encode_token_account(mint, owner, amount)
    wrapped = amount if mint == SOL_MINT else 0
    return GenesisAccount(address, rent_exempt(len(data)) + wrapped, TOKEN_PROGRAM, data)


def _fund(balances: _Balances, owner: Pubkey, tokens: Mapping[Pubkey, int]) -> None:
    for mint, whole in tokens.items():
        amount = whole * 10 ** DECIMALS[mint]
        balances.add(associated_token_address(owner, mint), mint, owner, amount)


def _purse(keypair: Keypair, lamports: int) -> GenesisAccount:
    return GenesisAccount(keypair.pubkey(), lamports, SYSTEM_PROGRAM, b"")


def _fee_tier(owner: Pubkey) -> GenesisAccount:
    """Give tier 0: 0.25 %, of which 12 % go to the protocol and 4 % to its fund."""
    address = config_address(0)
    _, bump = Pubkey.find_program_address([b"amm_config", bytes(2)], CPMM_PROGRAM)
    data = AmmConfig(
        index=0,
        bump=bump,
        trade_fee_rate=2_500,
        protocol_fee_rate=120_000,
        fund_fee_rate=40_000,
        creator_fee_rate=500,
        create_pool_fee=150_000_000,
        owner=owner,
    ).encode()
    return GenesisAccount(address, rent_exempt(len(data)), CPMM_PROGRAM, data)


def _open_pool(
    balances: _Balances, listing: _Listing, creator: Pubkey, unix_time: int
) -> tuple[GenesisAccount, GenesisAccount]:
    """Give a pool with its price history; its vaults and liquidity tokens go to the balances."""
    amounts = {
        listing.base: listing.base_tokens * 10 ** DECIMALS[listing.base],
        listing.quote: listing.quote_tokens * 10 ** DECIMALS[listing.quote],
    }
    mint0, mint1 = sorted(amounts, key=bytes)
    address = pool_address(mint0, mint1)
    authority, bump = authority_address()
    vaults = tuple(program_address(b"pool_vault", bytes(address), bytes(m)) for m in (mint0, mint1))
    lp_mint = program_address(b"pool_lp_mint", bytes(address))
    liquidity = isqrt(amounts[mint0] * amounts[mint1])
    for vault, mint in zip(vaults, (mint0, mint1), strict=True):
        balances.add(vault, mint, authority, amounts[mint])
    balances.add_mint(lp_mint, 9)
    lp_account = associated_token_address(creator, lp_mint)
    balances.add(lp_account, lp_mint, creator, liquidity - LOCKED_LP)
    pool = PoolState(
        config=config_address(0),
        creator=creator,
        vaults=(vaults[0], vaults[1]),
        lp_mint=lp_mint,
        mints=(mint0, mint1),
        observation=program_address(b"observation", bytes(address)),
        auth_bump=bump,
        decimals=(DECIMALS[mint0], DECIMALS[mint1]),
        lp_supply=liquidity,
        open_time=max(unix_time - POOL_AGE_SECONDS, 0),
    )
    history = encode_observations(address, unix_time)
    return _owned(address, pool.encode()), _owned(pool.observation, history)


def _owned(address: Pubkey, data: bytes) -> GenesisAccount:
    return GenesisAccount(address, rent_exempt(len(data)), CPMM_PROGRAM, data)


def _market(name: str, listing: _Listing) -> Market:
    base, quote = listing.base, listing.quote
    pool = pool_address(base, quote)
    return Market(name, base, quote, DECIMALS[base], DECIMALS[quote], pool)
