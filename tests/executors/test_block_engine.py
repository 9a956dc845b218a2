"""Where Jito is, and whom it wants to be tipped."""

import pytest
from solders.pubkey import Pubkey

from app.domain.errors import StartupError
from app.engine.ports import TipNeeds
from app.executors.block_engine import (
    REGION_URLS,
    auth_headers,
    derived_tip_accounts,
    jito_tips,
    region_url,
    tip_accounts,
)

MAINNET = (
    "96gYZGLnJYVFmbjzopPSU6QiEV5fGqZNyN9nmNhvrZU5",
    "HFqU5x63VTqvQss8hp11i4wVV8bD44PvwucfZ2bU7gRe",
    "Cw8CFyM9FkoMi7K7Crf6HNQqf4uEMzpKw6QNghXLvLkY",
    "ADaUMid9yfUytqMBgopwjb2DTLSokTSzL1zt6iGPaS49",
    "DfXygSm4jCyNCybVYYK6DwvWqjKee8pbDmJGcLWNDXjh",
    "ADuUkR4vqLUMWXxW9gh6D6L8pMSawimctcNZ5pGwDcEt",
    "DttWaMuVvTiduZRnguLF7jNxTgiMBZ1hyAumKUiL2KRL",
    "3AVi9Tg9Uo68tJfuvoKvqKNWKkC5wPdSSdeBnizKZ6jT",
)
TESTNET = (
    "B1mrQSpdeMU9gCvkJ6VsXVVoYjRGkNA7TtjMyqxrhecH",
    "aTtUk2DHgLhKZRDjePq6eiHRKC1XXFMBiSUfQ2JNDbN",
    "E2eSqe33tuhAHKTrwky5uEjaVqnb2T9ns6nHHUrN8588",
    "4xgEmT58RwTNsF5xm2RMYCnR1EVukdK8a1i2qFjnJFu3",
    "EoW3SUQap7ZeynXQ2QJ847aerhxbPVr843uMeTfc9dxM",
    "ARTtviJkLLt6cHGQDydfo1Wyk6M4VGZdKZ2ZhdnJL336",
    "9n3d1K5YD2vECAbRFhFFGYNNjiXtHXJWn9F31t89vsAV",
    "9ttgPBBhRYFuQccdR1DSnb7hydsWANoDsV3P9kaGMCEh",
)


@pytest.mark.parametrize(
    ("network", "published"),
    [("mainnet", MAINNET), ("sandbox", MAINNET), ("testnet", TESTNET)],
)
def test_the_tip_accounts_are_the_published_ones(network: str, published: tuple[str, ...]) -> None:
    """Derived from the program, and equal to Jito's list; the sandbox has mainnet's."""
    assert derived_tip_accounts(network) == published


def test_there_is_no_jito_on_devnet() -> None:
    """Who asks for it is told what to leave out."""
    with pytest.raises(StartupError, match=r"devnet.*methods\.order") as caught:
        tip_accounts("devnet", MAINNET)
    assert caught.value.code == "NO_BLOCK_ENGINE"


def test_configured_accounts_are_taken_and_none_means_all() -> None:
    """In their order."""
    assert tip_accounts("mainnet", [MAINNET[5], MAINNET[0]]) == (MAINNET[5], MAINNET[0])
    assert tip_accounts("mainnet", []) == MAINNET


@pytest.mark.parametrize(
    "account",
    [
        "ADuUkR4vqLUMWXxW9gh6D6L8pivKeVBBjNcNZ5pGwDcE",  # a corrupted copy that goes round
        MAINNET[0].lower(),
        TESTNET[0],
        str(Pubkey.from_bytes(bytes(32))),
        "",
        "no address at all",
    ],
)
def test_an_account_that_is_not_jitos_is_refused(account: str) -> None:
    """An address has no checksum: a tip to a mistyped one is lost, and buys nothing."""
    with pytest.raises(StartupError) as caught:
        tip_accounts("mainnet", [MAINNET[0], account])
    assert caught.value.code == "TIP_ACCOUNT_UNKNOWN"
    assert account in caught.value.what


def test_regions_have_names() -> None:
    """Each has an engine of its own; another name is refused with the known ones."""
    assert region_url("mainnet") == "https://mainnet.block-engine.jito.wtf"
    assert region_url("frankfurt") == "https://frankfurt.mainnet.block-engine.jito.wtf"
    assert region_url("testnet-ny") == "https://ny.testnet.block-engine.jito.wtf"
    assert len(set(REGION_URLS.values())) == len(REGION_URLS) == 12
    with pytest.raises(StartupError, match="amsterdam") as caught:
        region_url("atlantis")
    assert caught.value.code == "REGION_UNKNOWN"


def test_who_asks_is_said_in_a_header() -> None:
    """Where no log has it; nothing when nothing is configured."""
    assert auth_headers("a-b-c") == {"x-jito-auth": "a-b-c"}
    assert auth_headers(None) == auth_headers("") == {}


def test_the_tip_is_what_is_going_and_never_less_than_jito_takes() -> None:
    """Asked whenever a transaction is built."""
    going = iter([250_000, 0])
    needs = jito_tips(MAINNET[:2], lambda: next(going))
    assert needs() == TipNeeds(MAINNET[:2], 250_000)
    assert needs() == TipNeeds(MAINNET[:2], 1_000)
