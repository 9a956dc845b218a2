"""Orca's own library quotes the same as the Whirlpool venue, on thousands of random swaps."""

import json
import random
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings

from app.transactions.tokens import NO_FEE, TransferFee
from app.transactions.venues.orca_whirlpool import Whirlpool
from app.transactions.venues.whirlpool_math import SwapRefused
from app.transactions.venues.whirlpool_swap import array_starts
from tests.needs import skip_or_fail
from tests.transactions.whirlpools import POOLS, made, swap

FOLDER = Path(__file__).parents[2] / "tools" / "whirlpools-core"
SWAPS_EACH = 200
MADE = 30
Case = tuple[int, bool, bool]


def installed() -> Path:
    """Give the script that asks Orca's library, installed by the project's own command."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        skip_or_fail("Node.js with npm is missing, and with it Orca's whirlpools-core")
    if subprocess.run([FOLDER.parent / "npm_folder.sh", FOLDER.name], check=False).returncode != 0:
        skip_or_fail("Orca's whirlpools-core could not be installed (tools/whirlpools-core)")
    return FOLDER / "quote.mjs"


def fee_of(fee: TransferFee) -> dict[str, object] | None:
    """Say a transfer fee."""
    return None if fee == NO_FEE else {"bps": fee.bps, "maximum": str(fee.maximum)}


def question(pool: Whirlpool, cases: list[Case]) -> dict[str, Any]:
    """Say a pool and swaps as the script reads them."""
    account, oracle = pool.account, pool.oracle
    asked = {name: getattr(account, name) for name in ("spacing", "fee_tier", "fee_rate", "tick")}
    asked |= {"liquidity": str(account.liquidity), "sqrt_price": str(account.sqrt_price)}
    told = oracle and {
        "enabled_at": oracle.enabled_at,
        **asdict(oracle.constants),
        **asdict(oracle.variables),
    }
    return {
        "pool": asked,
        "oracle": told,
        "arrays": {
            start: {"start": start, "nets": {slot: str(net) for slot, net in array.nets.items()}}
            for start, array in pool.arrays.items()
        },
        "time": pool.unix_time,
        "fee_a": fee_of(pool.mints[0].fee),
        "fee_b": fee_of(pool.mints[1].fee),
        "swaps": [
            {
                "amount": str(amount),
                "a_to_b": a_to_b,
                "exact_in": exact_in,
                "arrays": array_starts(account.tick, account.spacing, a_to_b=a_to_b),
            }
            for amount, a_to_b, exact_in in cases
        ],
    }


def ours(pool: Whirlpool, case: Case) -> list[str] | None:
    """Quote a swap; None when the program would refuse it."""
    amount, a_to_b, exact_in = case
    try:
        outcome = pool.outcome(swap(pool, amount, a_to_b=a_to_b, exact_in=exact_in))
    except SwapRefused:
        return None
    return [str(outcome.amount_in), str(outcome.amount_out)]


def random_cases(chance: random.Random, count: int) -> list[Case]:
    """Draw swaps of all magnitudes, both ways, of either fixed side."""
    return [
        (int(10 ** chance.uniform(0, 15)), chance.random() < 0.5, chance.random() < 0.5)
        for _ in range(count)
    ]


def made_pools() -> list[Whirlpool]:
    """Make pools of any price, spacing, liquidity and ticks."""
    pools: list[Whirlpool] = []

    @settings(
        max_examples=MADE,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(made())
    def keep(pool: Whirlpool) -> None:
        pools.append(pool)

    keep()
    return pools


def test_orcas_library_quotes_the_same() -> None:
    """Every pool, recorded or made: the same amounts, or both refuse. No difference is excused."""
    script = installed()
    chance = random.Random(20_261_123)
    asked = [(pool, random_cases(chance, SWAPS_EACH)) for pool in [*POOLS.values(), *made_pools()]]
    lines = "".join(json.dumps(question(pool, cases)) + "\n" for pool, cases in asked)
    done = subprocess.run(
        ["node", script], input=lines, capture_output=True, text=True, check=True, timeout=120
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(asked)
    differences, quoted = [], 0
    for (pool, cases), told in zip(asked, answers, strict=True):
        for case, theirs in zip(cases, told, strict=True):
            mine = ours(pool, case)
            quoted += mine is not None
            if mine != (theirs if isinstance(theirs, list) else None):
                differences.append((str(pool.address), case, mine, theirs))
    assert differences == []
    assert quoted >= 1_000
