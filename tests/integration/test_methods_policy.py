"""What may be done with an order's bytes: private or public, all at once, and at what price."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from tests.integration.chain import Chain, running_chain
from tests.integration.kit import answer, served, until
from tests.integration.methods import (
    METHODS,
    UNPACED,
    executed_once,
    figure,
    mark,
    over,
    posted,
    pushes,
    pushes_of,
    spoil,
    told,
)

pytestmark = pytest.mark.anyio
QUICK: Final[Mapping[str, object]] = {
    **UNPACED,
    "execution.patience": 0.1,
}
SHORT: Final[Mapping[str, object]] = {
    **QUICK,
    "execution.transaction_timeout": 1.2,
    "order_management.order_timeout": 2.5,
    "execution.max_retries": 20,
}
LIFE_SLOTS = 200
"""More slots than any transaction lives."""


@pytest.fixture(scope="module")
def module_chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """Run a chain whose block engine has no limit of its own."""
    folder = tmp_path_factory.mktemp("chain")
    with running_chain(folder, "--jito-requests-per-second", "0") as chain:
        yield chain


# ----------------------------------------------------------------- private and public


@pytest.mark.parametrize("said_by", ["configuration", "signal"])
async def test_without_public_fallback_bytes_sent_privately_stay_private(
    tmp_path: Path, chain: Chain, said_by: str
) -> None:
    """Bundles that vanish until the deadline: no public door was knocked at, and nothing landed."""
    changes = {**SHORT, "execution.allow_public_fallback": said_by != "configuration"}
    more = {"allow_public_fallback": False} if said_by == "signal" else {}
    async with served(tmp_path, chain, changes) as client:
        spoil(chain, "bundle", "accept_then_drop")
        before = mark(chain)
        order = await over(client, await posted(client, f"private-{said_by}", **more), "expired")
        assert order["reason_code"] == "ORDER_TIMEOUT"
        assert {push.method for push in pushes(chain, before)} == {"bundle"}
        assert {each for each, _, _ in told(order)} == {"bundle"}
        chain.clear()
        chain.step(LIFE_SLOTS)
        assert chain.executions(order["order_id"]) == [0]


async def test_without_public_fallback_an_order_is_retried_privately(
    tmp_path: Path, chain: Chain
) -> None:
    """The first attempt is proved dead, the second lands as a bundle: no other door saw either."""
    changes = {**SHORT, "execution.allow_public_fallback": False}
    changes["order_management.order_timeout"] = 30
    async with served(tmp_path, chain, changes) as client:
        spoil(chain, "bundle", "accept_then_drop")
        order_id = await posted(client, "private-again")

        async def signed_twice() -> bool:
            _, order = await answer(client, f"/orders/{order_id}")
            return len(order["attempts"]) == 2

        await until("a second attempt", signed_twice)
        chain.clear()
        order = await over(client, order_id)
        executed_once(chain, order)
        assert [each["status"] for each in order["attempts"]] == ["expired", "landed"]
        assert {push.method for push in pushes_of(chain, order)} == {"bundle"}


async def test_jito_is_private_as_a_bundle_only(tmp_path: Path, chain: Chain) -> None:
    """With `bundle_only` it may take what must stay private, and the journal says that it was one."""
    changes = {
        **QUICK,
        "execution.allow_public_fallback": False,
        "methods.jito.bundle_only": True,
    }
    async with served(tmp_path, chain, changes) as client:
        spoil(chain, "bundle", "accept_then_drop")
        order = await over(client, await posted(client, "bundle-only"))
        executed_once(chain, order)
        assert {push.method for push in pushes_of(chain, order)} == {"bundle", "jito"}
        asked = [each for each in chain.asked("sendTransaction") if each["endpoint"] == "jito"]
        assert [each["bundle_only"] for each in asked] == [True] * len(asked)


async def test_a_race_executes_once_whatever_becomes_of_its_lanes(
    tmp_path: Path, chain: Chain
) -> None:
    """All four doors got the same bytes at once, one of them answered nothing, one wrongly: one execution."""
    changes = {**QUICK, "execution.strategy": "race"}
    async with served(tmp_path, chain, changes) as client:
        spoil(chain, "bundle", "accept_then_drop")
        spoil(chain, "jito", "http_5xx_after")
        spoil(chain, "quicknode", "wrong_signature")
        spoil(chain, "rpc", "hang", seconds=0.3)
        order = await over(client, await posted(client, "race"))
        executed_once(chain, order)
        sent = pushes_of(chain, order)
        assert {push.method for push in sent} == set(METHODS)
        assert len({push.sha256 for push in sent}) == 1
        firsts = [next(push for push in sent if push.method == each) for each in METHODS]
        assert max(each.time for each in firsts) - min(each.time for each in firsts) < 0.3
        assert len(order["attempts"]) == 1


# ----------------------------------------------------------------- fees and tips


async def test_an_order_that_would_cost_too_much_is_not_sent(tmp_path: Path, chain: Chain) -> None:
    """Fee and tip above `fees.max_order_lamports`: FEE_CAP_EXCEEDED, and nothing left the service."""
    changes = {**QUICK, "methods.order": ["rpc"], "fees.max_order_lamports": 5_001}
    async with served(tmp_path, chain, changes) as client:
        before = mark(chain)
        order = await over(client, await posted(client, "too-dear"), "failed")
        assert order["reason_code"] == "FEE_CAP_EXCEEDED"
        assert "5001" in order["reason"]
        assert order["attempts"] == []
        assert pushes(chain, before) == []
        assert await figure(client, "orders_total", status="failed", reason="FEE_CAP_EXCEEDED") == 1


async def test_the_cap_leaves_what_costs_less(tmp_path: Path, chain: Chain) -> None:
    """The same order without a tip and with a cap that just suffices is filled."""
    changes = {
        **QUICK,
        "methods.order": ["rpc"],
        "fees.priority.source": "fixed",
        "fees.unit_price_micro_lamports": 0,
        "fees.max_order_lamports": 5_000,
    }
    async with served(tmp_path, chain, changes) as client:
        order = await over(client, await posted(client, "cheap", "rpc"))
        executed_once(chain, order)
        fees = order["fill"]["fees"]
        assert (fees["network"], fees["priority"], fees["tip"]) == ("0.000005", "0", "0")


async def test_sends_that_quicknode_hands_to_jito_land_with_the_tip_of_the_plan(
    tmp_path: Path, chain: Chain
) -> None:
    """The bytes carry a tip because bundle is in the plan: the hijacked send is taken and lands."""
    async with served(tmp_path, chain, QUICK) as client:
        spoil(chain, "bundle", "http_5xx")
        spoil(chain, "quicknode", "hijack")
        order = await over(client, await posted(client, "hijacked", "bundle", "quicknode"))
        executed_once(chain, order)
        assert told(order)[:2] == [
            ("bundle", "unknown", "server_error"),
            ("quicknode", "accepted", "ok"),
        ]
        assert "hijack" in pushes_of(chain, order)[-1].faults
        assert float(order["fill"]["fees"]["tip"]) >= 1_000 / 1e9


async def test_a_hijacked_send_without_a_tip_is_refused_and_told(
    tmp_path: Path, chain: Chain
) -> None:
    """With quicknode alone nothing pays a tip: the refusal is told as such, and the order ends unexecuted."""
    async with served(tmp_path, chain, SHORT) as client:
        spoil(chain, "quicknode", "hijack")
        order = await over(client, await posted(client, "untipped", "quicknode"), "expired")
        assert set(told(order)) == {("quicknode", "rejected", "tip")}
        assert chain.executions(order["order_id"]) == [0]


@pytest.mark.parametrize("encoding", ["base58", "base64"])
async def test_quicknodes_bundles_land_with_a_tip_of_their_own(
    tmp_path: Path, chain: Chain, encoding: str
) -> None:
    """With Lil' JIT switched on the same method sends a tipped bundle, hijack or not, and lands."""
    changes = {**QUICK, "methods.quicknode.lil_jit": {"enabled": True, "encoding": encoding}}
    async with served(tmp_path, chain, changes) as client:
        spoil(chain, "quicknode", "hijack")
        order = await over(client, await posted(client, f"lil-jit-{encoding}", "quicknode"))
        (attempt,) = order["attempts"]
        asked = [each for each in chain.asked("sendBundle") if each["endpoint"] == "quicknode"]
        assert attempt["signature"] in {each["signature"] for each in asked}
        assert ("quicknode", "accepted", "ok") in told(order)
        executed_once(chain, order)
        assert float(order["fill"]["fees"]["tip"]) >= 1_000 / 1e9
