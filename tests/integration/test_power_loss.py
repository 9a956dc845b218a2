"""The power fails: what was answered 202 is there again, executed once, and ends rightly."""

import os
import random
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.chain_oracle import executions_of
from tests.harness import FINAL, wait_until
from tests.integration.chain import Chain, Json
from tests.integration.power import Powered

pytestmark = [pytest.mark.e2e, pytest.mark.proof]
SEEDS = range(int(os.environ.get("POWER_LOSSES", "3")))
"""One power loss for each, on one service; `POWER_LOSSES=100` for a long run."""
SECONDS_MAX = 1.5
END_SECONDS = 60


def names(life: object) -> list[str]:
    """Give the client's ids of the signals of one life."""
    return [f"power-{life}-{number}" for number in range(60)]


def test_what_was_accepted_outlives_the_power(tmp_path: Path, chain: Chain) -> None:
    """Killed at seeded moments, each time with a disk that lost all, or part, of what it had not synced."""
    before = executions_of(chain.rpc_url, chain.wallet)
    with Powered(tmp_path, chain) as powered:
        for seed in SEEDS:
            dice = random.Random(seed)
            if seed % 3 == 2:  # the next process finds in memory what the disk does not have
                powered.post_until_killed(
                    dice.uniform(0.3, SECONDS_MAX), names(f"{seed}-sync"), failed_sync=True
                )
                powered.start()
            powered.post_until_killed(dice.uniform(0.1, SECONDS_MAX), names(seed))
            powered.lose_power(dice if seed % 2 else None)
            powered.start()
            _posted_again(powered)
        orders = _settled(powered, chain)
    executed = [e for e in executions_of(chain.rpc_url, chain.wallet) if e not in before]
    filled = [order["order_id"] for order in orders if order["status"] == "filled"]
    assert Counter(each.order_id for each in executed) == Counter(filled)
    assert len({each.client_hash for each in executed}) == len(executed)


def _posted_again(powered: Powered) -> None:
    """Claim that each accepted order is there, under its client's id and its own."""
    there = {order["client_order_id"]: order["order_id"] for order in powered.service.orders()}
    missing = {name for name, key in powered.accepted.items() if there.get(name) != key}
    assert missing == set()


def _settled(powered: Powered, chain: Chain) -> list[Json]:
    """Claim that every order ends, most of them filled, and each as the chain has it; gives them."""
    service = powered.service

    def ended() -> bool:
        return {order["status"] for order in service.orders()} <= FINAL

    assert len(powered.accepted) > len(SEEDS)
    wait_until("every order has ended", ended, END_SECONDS)
    orders = list(service.orders())
    wrong = {key: found for order in orders if (found := chain.differences(order)) for key in order}
    assert wrong == {}
    assert sum(order["status"] == "filled" for order in orders) > len(orders) / 2
    assert service.http.get("/readyz").status_code == httpx.codes.OK
    return orders
