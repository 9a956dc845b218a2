"""Whom a transaction may be made to pay: an address has no checksum, so it is checked where it comes in."""

from collections.abc import Sequence

from solders.pubkey import Pubkey

from app.domain.errors import StartupError


def demand_payees(key: str, payees: Sequence[str], todo: str) -> None:
    """Refuse payees that nobody can be paid at; StartupError(CONFIG_INVALID) naming the key, no value."""
    fault = fault_of(payees)
    if fault is not None:
        raise StartupError("CONFIG_INVALID", f"{key}: {fault}", todo)


def fault_of(payees: Sequence[str]) -> str | None:
    """Say what is wrong with payees; None: nothing."""
    for number, payee in enumerate(payees):
        if not _is_address(payee):
            return f"entry {number} is no Solana address"
        if payee in payees[:number]:
            return f"entry {number} stands twice"
    return None


def _is_address(text: str) -> bool:
    """Tell whether a text is 32 bytes in base58."""
    try:
        Pubkey.from_string(text)
    except ValueError:
        return False
    return True
