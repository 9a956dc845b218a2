"""The wallet: the one place where a secret key is read and used."""

import json
import os
import stat
from pathlib import Path
from typing import Final, NoReturn

from solders.keypair import Keypair

from app.domain.errors import StartupError

SECRET_BYTES: Final = 64
"""A Solana secret key: 32 bytes of seed, 32 of public key."""
_FILE_BYTES_MAX = 4_096
_OPEN_TO_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_FORMS = "give a Solana CLI keypair (a JSON list of 64 numbers) or a base58 secret of 64 bytes"


class WalletError(StartupError):
    """A wallet cannot be used; never tells what the file or the variable holds."""


class LocalSigner:
    """Signs with a key in this process's memory; shows nothing but its address."""

    __slots__ = ("_address", "_keypair")

    def __init__(self, keypair: Keypair) -> None:
        self._keypair = keypair
        self._address = str(keypair.pubkey())

    @property
    def address(self) -> str:
        """The wallet's address, base58."""
        return self._address

    async def sign(self, message: bytes) -> bytes:
        """Sign the message: 64 bytes."""
        return bytes(self._keypair.sign_message(message))

    def __repr__(self) -> str:
        return f"LocalSigner({self._address})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a signer is not copied or pickled: its key stays where it is")


def load_keypair_file(path: Path) -> LocalSigner:
    """Read a Solana CLI keypair file.

    Raises WalletError: WALLET_MISSING, WALLET_PERMISSIONS (group or others may read it),
    WALLET_UNREADABLE or WALLET_INVALID.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if mode & _OPEN_TO_OTHERS:
                what = f"others may read the key file {path}"
                raise WalletError("WALLET_PERMISSIONS", what, f"run: chmod 600 {path}")
            text = file.read(_FILE_BYTES_MAX)
    except FileNotFoundError:
        what = f"there is no key file {path}"
        raise WalletError(
            "WALLET_MISSING", what, "set wallet.keypair_file to a Solana CLI keypair"
        ) from None
    except OSError as error:
        what = f"the key file {path} cannot be read ({error.strerror})"
        raise WalletError("WALLET_UNREADABLE", what, "let the service's user read it") from None
    return LocalSigner(_keypair(text, f"the key file {path}"))


def signer_from_secret(secret: str) -> LocalSigner:
    """Read a secret key given as text: base58, or a JSON list. Raises WalletError(WALLET_INVALID)."""
    return LocalSigner(_keypair(secret.encode(), "the secret key"))


def _keypair(text: bytes, where: str) -> Keypair:
    """Read the key; causes are cut off because their messages may quote the secret."""
    try:
        shown = text.decode("ascii").strip()
        return (
            Keypair.from_bytes(_listed(shown))
            if shown.startswith("[")
            else Keypair.from_base58_string(shown)
        )
    except (ValueError, RecursionError):
        pass
    raise WalletError("WALLET_INVALID", f"{where} holds no secret key", _FORMS)


def _listed(text: str) -> bytes:
    numbers = json.loads(text)
    if len(numbers) != SECRET_BYTES or not all(type(each) is int for each in numbers):
        raise ValueError
    return bytes(numbers)
