"""What pools of every venue check alike, and refuse in the same words."""

from typing import NoReturn

from solders.pubkey import Pubkey

from app.domain.errors import ReasonCode, RefusedError, TransientError
from app.engine.ports import Account
from app.transactions.venues.base import Swap


def is_account(account: Account, program: Pubkey, size: int, tag: bytes = b"") -> bool:
    """Tell whether an account is a program's, of its size in bytes, beginning with its tag."""
    return (
        account.owner == str(program) and len(account.data) == size and account.data.startswith(tag)
    )


def side_in(pool: Pubkey, mints: tuple[Pubkey, Pubkey], swap: Swap) -> int:
    """Say which of a pool's mints is paid; RefusedError(POOL_INVALID) when the swap is of other mints."""
    if (swap.mint_in, swap.mint_out) not in (mints, mints[::-1]):
        refuse(pool, "trades other mints")
    return mints.index(swap.mint_in)


def require_opened(pool: Pubkey, open_time: int, unix_time: int) -> None:
    """Pass once a pool has opened; TransientError(MARKET_CLOSED) before."""
    if unix_time < open_time:
        what = f"pool {pool} opens in {open_time - unix_time} s"
        raise TransientError(ReasonCode.MARKET_CLOSED, what)


def refuse(pool: Pubkey, what: str) -> NoReturn:
    """Refuse a pool that is not what it should be."""
    todo = "check the market's configuration"
    raise RefusedError(ReasonCode.POOL_INVALID, f"{pool} {what}", todo=todo)


def too_small() -> RefusedError:
    """Refuse dust."""
    what = "the amount is so small that one side of the swap rounds to zero"
    return RefusedError(ReasonCode.SIZE_TOO_SMALL, what, todo="trade a larger size")


def too_large() -> RefusedError:
    """Refuse what the pool does not have."""
    what = "the pool holds less than is wanted of it"
    return RefusedError(ReasonCode.INSUFFICIENT_LIQUIDITY, what, todo="trade a smaller size")
