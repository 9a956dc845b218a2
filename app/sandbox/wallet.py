"""The trader's key of a sandbox, in the Solana command line's format: a list of 64 numbers."""

import json
import os
from pathlib import Path

from solders.keypair import Keypair

WALLET_FILE = "wallet.json"
MARKER_FILE = "SANDBOX_KEYS_DO_NOT_FUND"
_MARKER_TEXT = "The keys in this folder were made by a sandbox. Never send real money to them.\n"


class WalletError(Exception):
    """The key file cannot be used; the text is `CODE: what; what to do`."""


def load_wallet(path: Path) -> Keypair:
    """Read a key file; make it, readable for its owner only, when there is none."""
    if not path.exists():
        _make(path)
    try:
        return Keypair.from_bytes(bytes(json.loads(path.read_text())))
    except (ValueError, TypeError, OSError) as error:
        raise WalletError(
            f"WALLET_UNREADABLE: {path} is no key file; name another as --wallet-file"
        ) from error


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    (path.parent / MARKER_FILE).write_text(_MARKER_TEXT)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w") as file:
        json.dump(list(bytes(Keypair())), file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
