"""Markets and tokens: what can be traded, in which units, on which pools."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from solders.pubkey import Pubkey

WSOL_MINT: Final = Pubkey.from_string("So11111111111111111111111111111111111111112")
"""The mint of wrapped SOL; a side of a market with this mint is paid in lamports."""


@dataclass(frozen=True, slots=True)
class Token:
    """A mint as the service needs it; `decimals` as on chain."""

    symbol: str
    mint: Pubkey
    decimals: int

    @property
    def is_sol(self) -> bool:
        """Tell whether this token is wrapped SOL."""
        return self.mint == WSOL_MINT


@dataclass(frozen=True, slots=True)
class PoolRef:
    """A pool that trades a market: the venue's name and the pool's address."""

    venue: str
    address: Pubkey


@dataclass(frozen=True, slots=True)
class Market:
    """`BASE-QUOTE` with its tokens, its pools and the least sizes it takes (base units)."""

    name: str
    base: Token
    quote: Token
    pools: tuple[PoolRef, ...]
    base_size_min: int = 1
    quote_size_min: int = 1
    impact_bps_max: int | None = None
    """How far a swap may move a pool's price; None: as far as it goes."""
    mid_gap_bps_max: int | None = None
    """How far the chosen pool's price may be from the nearest other pool's; None: that is not checked."""


Markets = Mapping[str, Market]
