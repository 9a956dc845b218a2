"""Recorded pool states for the tests of the venues."""

import os
from pathlib import Path

from app.transactions.venues.base import Swap
from app.transactions.venues.raydium_cpmm import CpmmPool
from tests.needs import skip_or_fail
from tests.vectors import states
from tests.vectors.states import State

PORTABLE = Path(states.__file__).parent / "portable"


def onchain() -> Path:
    """Give the folder of states recorded on mainnet, which VECTORS_DIR names."""
    named = os.environ.get("VECTORS_DIR")
    if not named:
        skip_or_fail("VECTORS_DIR names no folder of recorded mainnet states")
    return Path(named)


def load_state(name: str, folder: Path = PORTABLE) -> State:
    """Read a state."""
    return states.load_state(folder, name)


def cpmm(state: State, epoch: int | None = None) -> CpmmPool:
    """Decode a CPMM pool."""
    pool = state.decode(epoch)
    assert isinstance(pool, CpmmPool)
    return pool


def swap(pool: CpmmPool, *, zero_for_one: bool, exact_in: bool, amount: int) -> Swap:
    """Say a swap by the pool's order of mints."""
    first, second = pool.keys.mints
    mint_in, mint_out = (first, second) if zero_for_one else (second, first)
    return Swap(mint_in, mint_out, exact_in, amount)
