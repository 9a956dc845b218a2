"""Nobody gets anything out of the market program by handing it other accounts than it asks for."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from app.sandbox.layouts import (
    ATA_PROGRAM,
    CPMM_PROGRAM,
    SWAP_BASE_INPUT,
    PoolState,
    Swap,
    authority_address,
)
from tests.sandbox.bench import TOKEN_2022_PROGRAM, Bench, Terms, fresh_key

PAYER, AUTHORITY, CONFIG, POOL, USER_IN, USER_OUT, VAULT_IN, VAULT_OUT = range(8)
PROGRAM_IN, PROGRAM_OUT, MINT_IN, MINT_OUT, OBSERVATION = range(8, 13)
TERMS = Terms(vaults=(10**12, 10**12))
ANCHOR_MUT, ANCHOR_RAW, ANCHOR_SEEDS, ANCHOR_ADDRESS = 2000, 2003, 2006, 2012
WRONG_TAG, WRONG_OWNER, WRONG_PROGRAM, UNSIGNED, MISSING = 3002, 3007, 3008, 3010, 3012
TOKEN_MINT_MISMATCH, TOKEN_OWNER_MISMATCH = 3, 4


@dataclass(frozen=True)
class Scene:
    """A pool, another one beside it, and an honest swap on the first."""

    bench: Bench
    pool: PoolState
    other_address: Pubkey
    other: PoolState
    honest: Swap

    def copy_of(self, address: Pubkey, owner: Pubkey) -> Pubkey:
        """Make an account with the same bytes that somebody else's program owns."""
        return self.bench.put(fresh_key(), owner, self.bench.data(address))

    def send(self, accounts: list[AccountMeta]) -> int | str | None:
        """Try a sale of 1,000,000 with these accounts."""
        data = self.honest.exact_in(10**6, 0).data
        return self.bench.send(Instruction(CPMM_PROGRAM, data, accounts)).error

    def holdings(self) -> list[bytes]:
        """Take down everything that could be stolen."""
        keys = (self.honest.pool_address, self.other_address, *self.pool.vaults, *self.other.vaults)
        return [self.bench.data(key) for key in keys]


@pytest.fixture
def scene(bench: Bench) -> Scene:
    """Open the pools."""
    address, pool = bench.put_pool(TERMS)
    return Scene(bench, pool, *bench.put_pool(TERMS), bench.swap(address, pool, 0, 10**9, 10**9))


Forge = Callable[[Scene], Pubkey]
FORGERIES: list[tuple[str, int, Forge, int | str]] = [
    ("authority is somebody", AUTHORITY, lambda s: s.bench.payer.pubkey(), ANCHOR_SEEDS),
    ("tier is another's", CONFIG, lambda s: s.other.config, ANCHOR_ADDRESS),
    ("tier is a forgery", CONFIG, lambda s: s.copy_of(s.pool.config, ATA_PROGRAM), WRONG_OWNER),
    ("tier is the pool", CONFIG, lambda s: s.honest.pool_address, WRONG_TAG),
    ("tier is nothing", CONFIG, lambda _: fresh_key(), MISSING),
    (
        "pool is a forgery",
        POOL,
        lambda s: s.copy_of(s.honest.pool_address, ATA_PROGRAM),
        WRONG_OWNER,
    ),
    ("pool is a tier", POOL, lambda s: s.pool.config, WRONG_TAG),
    ("pool is cut short", POOL, lambda s: s.bench.put(fresh_key(), CPMM_PROGRAM, b"\xf7"), 3002),
    ("pool is nothing", POOL, lambda _: fresh_key(), MISSING),
    ("pool is another's", POOL, lambda s: s.other_address, ANCHOR_ADDRESS),
    ("source is nothing", USER_IN, lambda _: fresh_key(), MISSING),
    (
        "source is a forgery",
        USER_IN,
        lambda s: s.copy_of(s.honest.source, ATA_PROGRAM),
        WRONG_OWNER,
    ),
    ("source is a mint", USER_IN, lambda s: s.pool.mints[0], "InvalidAccountData"),
    ("source is the vault", USER_IN, lambda s: s.pool.vaults[0], TOKEN_OWNER_MISMATCH),
    ("source is of the other token", USER_IN, lambda s: s.honest.destination, TOKEN_MINT_MISMATCH),
    ("destination is nothing", USER_OUT, lambda _: fresh_key(), MISSING),
    ("destination is the source", USER_OUT, lambda s: s.honest.source, TOKEN_MINT_MISMATCH),
    ("input vault is the user's", VAULT_IN, lambda s: s.honest.source, ANCHOR_RAW),
    ("input vault is another pool's", VAULT_IN, lambda s: s.other.vaults[0], ANCHOR_RAW),
    ("input vault is nothing", VAULT_IN, lambda _: fresh_key(), MISSING),
    ("input vault is the other", VAULT_IN, lambda s: s.pool.vaults[1], ANCHOR_ADDRESS),
    ("output vault is the user's", VAULT_OUT, lambda s: s.honest.destination, ANCHOR_RAW),
    ("output vault is another pool's", VAULT_OUT, lambda s: s.other.vaults[1], ANCHOR_RAW),
    ("output vault is the other", VAULT_OUT, lambda s: s.pool.vaults[0], ANCHOR_ADDRESS),
    ("token program is fake", PROGRAM_IN, lambda _: ATA_PROGRAM, WRONG_PROGRAM),
    ("token program out is fake", PROGRAM_OUT, lambda _: CPMM_PROGRAM, WRONG_PROGRAM),
    ("token program is the newer", PROGRAM_IN, lambda _: TOKEN_2022_PROGRAM, "IncorrectProgramId"),
    ("token program out is newer", PROGRAM_OUT, lambda _: TOKEN_2022_PROGRAM, "IncorrectProgramId"),
    ("mint is the other", MINT_IN, lambda s: s.pool.mints[1], ANCHOR_ADDRESS),
    ("mint out is the other", MINT_OUT, lambda s: s.pool.mints[0], ANCHOR_ADDRESS),
    ("mint is a forgery", MINT_IN, lambda s: s.copy_of(s.pool.mints[0], ATA_PROGRAM), WRONG_OWNER),
    ("mint is a copy", MINT_IN, lambda s: s.bench.put_mint(fresh_key(), 6), ANCHOR_ADDRESS),
    ("history is another's", OBSERVATION, lambda s: s.other.observation, ANCHOR_ADDRESS),
    ("history is the pool", OBSERVATION, lambda s: s.honest.pool_address, WRONG_TAG),
    (
        "history is a forgery",
        OBSERVATION,
        lambda s: s.copy_of(s.pool.observation, ATA_PROGRAM),
        WRONG_OWNER,
    ),
]


@pytest.mark.parametrize(
    ("place", "forge", "error"), [f[1:] for f in FORGERIES], ids=[f[0] for f in FORGERIES]
)
def test_a_wrong_account_is_refused(
    scene: Scene, place: int, forge: Forge, error: int | str
) -> None:
    """Each account in turn is replaced: the swap fails as the real program's would."""
    accounts = scene.honest.accounts()
    forged = forge(scene)
    before = scene.holdings()
    accounts[place] = replace_key(accounts[place], forged)
    assert scene.send(accounts) == error
    assert scene.holdings() == before


def replace_key(meta: AccountMeta, key: Pubkey) -> AccountMeta:
    """Put another account in a place, with the same rights."""
    return AccountMeta(key, meta.is_signer, meta.is_writable)


def test_the_honest_swap_passes(scene: Scene) -> None:
    """The swap that the forgeries start from is a good one."""
    assert scene.send(scene.honest.accounts()) is None


@pytest.mark.parametrize(
    "place", [POOL, USER_IN, USER_OUT, VAULT_IN, VAULT_OUT, OBSERVATION], ids=str
)
def test_what_is_written_must_be_writable(scene: Scene, place: int) -> None:
    """An account given read-only where the swap writes is refused with 2000."""
    accounts = scene.honest.accounts()
    accounts[place] = AccountMeta(accounts[place].pubkey, is_signer=False, is_writable=False)
    assert scene.send(accounts) == ANCHOR_MUT


def test_the_payer_must_sign(scene: Scene) -> None:
    """Somebody else's tokens are not sold without his signature."""
    victim = Keypair.from_seed(bytes(32))
    source = scene.bench.put_tokens(scene.pool.mints[0], 10**9, victim.pubkey())
    accounts = replace(scene.honest, payer=victim.pubkey(), source=source).accounts()
    accounts[PAYER] = AccountMeta(victim.pubkey(), is_signer=False, is_writable=False)
    assert scene.send(accounts) == UNSIGNED


def test_a_signer_sells_only_his_own(scene: Scene) -> None:
    """A payer who signs for another's account is stopped by the token program."""
    source = scene.bench.put_tokens(scene.pool.mints[0], 10**9, fresh_key())
    assert scene.send(replace(scene.honest, source=source).accounts()) == TOKEN_OWNER_MISMATCH


def test_one_vault_cannot_be_both(scene: Scene) -> None:
    """The same vault for input and output, mints to match, is refused with 6008."""
    accounts = scene.honest.accounts()
    accounts[VAULT_OUT], accounts[MINT_OUT] = accounts[VAULT_IN], accounts[MINT_IN]
    accounts[USER_OUT] = accounts[USER_IN]
    before = scene.holdings()
    assert scene.send(accounts) == 6008
    assert scene.holdings() == before


def test_vaults_of_two_pools_do_not_mix(scene: Scene) -> None:
    """A whole second pool's outputs beside the first pool's inputs are refused."""
    accounts = scene.honest.accounts()
    accounts[VAULT_OUT] = replace_key(accounts[VAULT_OUT], scene.other.vaults[1])
    accounts[MINT_OUT] = replace_key(accounts[MINT_OUT], scene.other.mints[1])
    assert scene.send(accounts) == ANCHOR_RAW


def test_a_pool_of_the_attackers_own_making_is_refused(scene: Scene) -> None:
    """A pool account with genuine vaults but a cheap tier, owned by no program, buys nothing."""
    cheap, _ = scene.bench.put_pool(Terms(vaults=(1, 1), trade=0))
    forged = replace(scene.pool, config=scene.bench.pool(cheap).config)
    address = scene.bench.put(fresh_key(), Pubkey.default(), forged.encode())
    swap = replace(scene.honest, pool_address=address, pool=forged)
    assert scene.send(swap.accounts()) == WRONG_OWNER


@pytest.mark.parametrize("place", [CONFIG, POOL, OBSERVATION], ids=str)
def test_an_account_of_another_length_is_refused(scene: Scene, place: int) -> None:
    """A tier, pool or history that is a byte too long or short is refused with 3003."""
    accounts = scene.honest.accounts()
    data = scene.bench.data(accounts[place].pubkey)
    for wrong in (data[:-1], data + b"\0"):
        forged = scene.bench.put(fresh_key(), CPMM_PROGRAM, wrong)
        accounts[place] = replace_key(accounts[place], forged)
        assert scene.send(accounts) == 3003


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", 101),
        (bytes(24), 101),
        (SWAP_BASE_INPUT[:7], 101),
        (SWAP_BASE_INPUT, 102),
        (SWAP_BASE_INPUT + bytes(15), 102),
    ],
)
def test_a_malformed_instruction_is_refused(scene: Scene, data: bytes, error: int) -> None:
    """Unknown or short instruction data has Anchor's code."""
    accounts = scene.honest.accounts()
    assert scene.bench.send(Instruction(CPMM_PROGRAM, data, accounts)).error == error


@pytest.mark.parametrize("count", range(13))
def test_too_few_accounts_are_refused(scene: Scene, count: int) -> None:
    """With any account missing at the end the swap is refused with 3005."""
    assert scene.send(scene.honest.accounts()[:count]) == 3005


def test_more_accounts_than_needed_change_nothing(scene: Scene) -> None:
    """Extra and repeated accounts behind the thirteen are passed over."""
    accounts = scene.honest.accounts()
    extra = [AccountMeta(fresh_key(), is_signer=False, is_writable=False)] * 3
    assert scene.send([*accounts, *accounts[:4], *extra]) is None


def test_an_empty_purse_is_told_by_the_token_program(scene: Scene) -> None:
    """A payer with too little gets the token program's code 1 and pays no token."""
    source = scene.bench.put_tokens(scene.pool.mints[0], 10**6 - 1)
    assert scene.send(replace(scene.honest, source=source).accounts()) == 1
    assert scene.bench.amount(source) == 10**6 - 1


def test_the_vaults_owner_cannot_be_the_payer(scene: Scene) -> None:
    """The authority named as payer of its own vault has not signed."""
    accounts = replace(scene.honest, payer=authority_address()[0]).accounts()
    accounts[PAYER] = AccountMeta(authority_address()[0], is_signer=False, is_writable=False)
    accounts[USER_IN] = replace_key(accounts[USER_IN], scene.pool.vaults[0])
    assert scene.send(accounts) == UNSIGNED
