"""The wallet reads keys from files and text, signs, and shows nothing."""

import copy
import json
import pickle
from pathlib import Path

import pytest
from solders.keypair import Keypair
from solders.signature import Signature

from app.transactions.wallet import LocalSigner, WalletError, load_keypair_file, signer_from_secret
from tests.transactions.kit import WALLET

ADDRESS = str(WALLET.pubkey())


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    """Write a key file."""
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_solana_cli_file_is_read(tmp_path: Path) -> None:
    """The file that `solana-keygen new` writes, mode 0600, gives its wallet."""
    signer = load_keypair_file(write(tmp_path / "id.json", WALLET.to_json()))
    assert signer.address == ADDRESS


@pytest.mark.parametrize("text", [WALLET.to_json(), str(WALLET), f"  {WALLET}\n"])
def test_a_secret_is_read_as_list_or_base58(text: str) -> None:
    """Both forms in which wallets export their key are taken."""
    assert signer_from_secret(text).address == ADDRESS


@pytest.mark.anyio
async def test_a_signature_verifies_under_the_address() -> None:
    """What is signed can be checked by anyone who knows the address."""
    signer = LocalSigner(WALLET)
    signature = Signature.from_bytes(await signer.sign(b"message"))
    assert signature.verify(WALLET.pubkey(), b"message")
    assert not signature.verify(WALLET.pubkey(), b"another")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    """Group or others with any right: refused, with the command that heals it."""
    path = write(tmp_path / "id.json", WALLET.to_json(), mode)
    with pytest.raises(WalletError) as caught:
        load_keypair_file(path)
    assert caught.value.code == "WALLET_PERMISSIONS"
    assert f"chmod 600 {path}" in caught.value.todo


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """No file: the error says which, and which setting names it."""
    with pytest.raises(WalletError, match="keypair_file") as caught:
        load_keypair_file(tmp_path / "none.json")
    assert caught.value.code == "WALLET_MISSING"


def test_a_folder_is_no_key_file(tmp_path: Path) -> None:
    """What cannot be read as a file is refused as such."""
    with pytest.raises(WalletError) as caught:
        load_keypair_file(tmp_path)
    assert caught.value.code == "WALLET_UNREADABLE"


SPOILED = json.dumps([*bytes(WALLET)[:63], (bytes(WALLET)[63] + 1) % 256])
WRONG = [
    "",
    "hunter2",
    str(WALLET)[:-3],
    SPOILED,
    json.dumps(list(bytes(WALLET))[:32]),
    json.dumps([1.5] * 64),
    json.dumps([True] * 64),
    json.dumps([300] * 64),
    "[" * 5_000,
    '["hunter2"]',
    "\N{SNOWMAN}",
]


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_key_is_refused_without_a_quotation(text: str) -> None:
    """Whatever is wrong with a secret, neither the error nor its causes repeat any of it."""
    with pytest.raises(WalletError) as caught:
        signer_from_secret(text)
    error: BaseException = caught.value
    assert caught.value.code == "WALLET_INVALID"
    assert error.__cause__ is None
    assert error.__context__ is None
    assert not text or text not in str(error)
    assert "hunter2" not in str(error)


def test_a_signer_shows_only_its_address() -> None:
    """Neither printing nor formatting a signer shows key material, and it cannot be copied away."""
    signer = LocalSigner(Keypair.from_bytes(bytes(WALLET)))
    assert repr(signer) == str(signer) == f"LocalSigner({ADDRESS})"
    for take in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="not copied"):
            take(signer)
