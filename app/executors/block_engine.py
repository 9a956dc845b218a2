"""Jito's block engines: where they are, whom they want to be tipped, and how they know who asks.

Limits count by address and region, so every region is a target of its own. Source: Jito's documentation
of low-latency transaction sending.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from solders.pubkey import Pubkey

from app.domain.errors import StartupError
from app.engine.ports import TipNeeds

TIP_LAMPORTS_MIN: Final = 1_000
"""Jito takes no smaller tip."""
_REGIONS: Final = (
    "amsterdam",
    "dublin",
    "frankfurt",
    "london",
    "ny",
    "slc",
    "singapore",
    "tokyo",
)
REGION_URLS: Final[Mapping[str, str]] = {
    "mainnet": "https://mainnet.block-engine.jito.wtf",
    **{name: f"https://{name}.mainnet.block-engine.jito.wtf" for name in _REGIONS},
    "testnet": "https://testnet.block-engine.jito.wtf",
    "testnet-dallas": "https://dallas.testnet.block-engine.jito.wtf",
    "testnet-ny": "https://ny.testnet.block-engine.jito.wtf",
}
"""Block engines by the names they are configured under; `mainnet` and `testnet` are the global ones."""
_MAINNET: Final = "T1pyyaTNZsKv2WcRAB8oVnk93mLJw2XzjtVYqCsaHqt"
_TESTNET: Final = "DCN82qDxJAQuSqHhv2BJuAgi41SPeKZB5ioBCTMNDrCC"
_TIP_PROGRAMS: Final = {"sandbox": _MAINNET, "mainnet": _MAINNET, "testnet": _TESTNET}
"""Jito's tip payment program by network; there is none on devnet."""
_TIP_ACCOUNTS: Final = 8


def region_url(name: str) -> str:
    """Give the block engine of a region; StartupError(REGION_UNKNOWN) for another name."""
    if name not in REGION_URLS:
        what = f"Jito has no region {name!r}"
        raise StartupError("REGION_UNKNOWN", what, f"use: {', '.join(REGION_URLS)}")
    return REGION_URLS[name]


def auth_headers(uuid: str | None) -> Mapping[str, str]:
    """Give the headers that say who asks: only needed for raised limits, and a secret."""
    return {"x-jito-auth": uuid} if uuid else {}


def derived_tip_accounts(network: str) -> tuple[str, ...]:
    """Give Jito's tip accounts on a network, derived from its program: base58.

    Raises StartupError(NO_BLOCK_ENGINE) where Jito is not, such as devnet.
    """
    if network not in _TIP_PROGRAMS:
        what = f"Jito has no block engine on {network}"
        raise StartupError("NO_BLOCK_ENGINE", what, "leave bundle and jito out of methods.order")
    program = Pubkey.from_string(_TIP_PROGRAMS[network])
    seeds = [f"TIP_ACCOUNT_{number}".encode() for number in range(_TIP_ACCOUNTS)]
    return tuple(str(Pubkey.find_program_address([seed], program)[0]) for seed in seeds)


def tip_accounts(network: str, configured: Sequence[str]) -> tuple[str, ...]:
    """Give the accounts to be tipped: the configured ones, or all when none is.

    Raises StartupError: TIP_ACCOUNT_UNKNOWN for one that is not derived from Jito's program, as an
    address has no checksum and a tip to a mistyped one is lost; NO_BLOCK_ENGINE where Jito is not.
    """
    derived = derived_tip_accounts(network)
    for account in configured:
        if account not in derived:
            what = f"{account} is no tip account of Jito's on {network}"
            raise StartupError("TIP_ACCOUNT_UNKNOWN", what, f"use some of: {', '.join(derived)}")
    return tuple(configured) or derived


def jito_tips(accounts: Sequence[str], lamports: Callable[[], int]) -> Callable[[], TipNeeds]:
    """Have one of the accounts be tipped what `lamports` says when a transaction is built."""
    payees = tuple(accounts)
    return lambda: TipNeeds(payees, max(lamports(), TIP_LAMPORTS_MIN))
