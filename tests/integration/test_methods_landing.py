"""The shipped four methods: each lands orders, proved by what the chain's endpoints were asked."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest
import yaml

from app.settings import SHIPPED_CONFIG
from tests.integration.chain import Chain, running_chain
from tests.integration.kit import served, until
from tests.integration.methods import (
    METHODS,
    UNPACED,
    executed_once,
    figure,
    landed_sha256,
    over,
    port_of,
    posted,
    pushes_of,
    spoil,
    state,
    told,
)

pytestmark = pytest.mark.anyio
FILLED = "filled"
SUBMISSION_KEYS = {"method", "outcome", "reason", "sent_at", "latency_ms"}


@pytest.fixture(scope="module")
def module_chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """Run a chain whose block engine has no limit: what one test asks for is not the next one's lack."""
    folder = tmp_path_factory.mktemp("chain")
    with running_chain(folder, "--jito-requests-per-second", "0") as chain:
        yield chain


async def is_free(client: httpx.AsyncClient, method: str) -> bool:
    """Tell whether a method would take a push now."""
    return bool((await state(client, method))["wait_seconds"] == 0)


def test_the_shipped_configuration_has_all_four() -> None:
    """In the order that they are tried in."""
    assert yaml.safe_load(SHIPPED_CONFIG.read_text())["methods"]["order"] == list(METHODS)


async def test_an_order_lands_by_each_method_alone(tmp_path: Path, chain: Chain) -> None:
    """Only the method's own door was knocked at, with the bytes that landed; it is credited with them."""
    async with served(tmp_path, chain) as client:
        ids = {each: await posted(client, f"alone-{each}", each) for each in METHODS}
        for method, order_id in ids.items():
            order = await over(client, order_id)
            executed_once(chain, order)
            sent = pushes_of(chain, order)
            assert {push.method for push in sent} == {method}
            assert {push.port for push in sent} == {port_of(chain, method)}
            assert sent[0].http == 200
            assert (method, "accepted", "ok") in told(order)
            assert {each for each, _, _ in told(order)} == {method}
            assert await figure(client, "landings_total", method=method, result=FILLED) == 1
        assert await figure(client, "landings_total", method="none", result=FILLED) == 0


async def test_an_order_lands_by_each_method_as_first_choice(tmp_path: Path, chain: Chain) -> None:
    """What the first choice lands within its patience no other method gets to see."""
    async with served(tmp_path, chain) as client:
        for number, method in enumerate(METHODS):
            plan = METHODS[number:] + METHODS[:number]
            await until("its pace admits a push", partial(is_free, client, method))
            order = await over(client, await posted(client, f"first-{method}", *plan))
            executed_once(chain, order)
            assert {push.method for push in pushes_of(chain, order)} == {method}
            assert await figure(client, "landings_total", method=method, result=FILLED) == 1


async def test_the_shipped_order_begins_with_a_bundle(tmp_path: Path, chain: Chain) -> None:
    """A signal that names no method goes as a bundle, whose tip it carries and pays."""
    async with served(tmp_path, chain) as client:
        order = await over(client, await posted(client, "unnamed"))
        executed_once(chain, order)
        assert {push.method for push in pushes_of(chain, order)} == {"bundle"}
        assert float(order["fill"]["fees"]["tip"]) >= 1_000 / 1e9
        tip = int(float(order["fill"]["fees"]["tip"]) * 1e9)
        assert await figure(client, "fees_lamports_total", kind="tip", method="bundle") == tip


async def test_a_fallback_takes_the_same_bytes_from_method_to_method(
    tmp_path: Path, chain: Chain
) -> None:
    """Three methods accept and drop them, the fourth lands them: one signature, one hash, each told."""
    changes = {"execution.patience": 0.1, **UNPACED}
    async with served(tmp_path, chain, changes) as client:
        for method in METHODS[:3]:
            spoil(chain, method, "accept_then_drop")
        order = await over(client, await posted(client, "from-one-to-the-next"))
        executed_once(chain, order)
        sent = pushes_of(chain, order)
        in_order = list(dict.fromkeys(push.method for push in sent))
        assert in_order == list(METHODS)
        (attempt,) = order["attempts"]
        assert {push.sha256 for push in sent} == {landed_sha256(chain, attempt["signature"])}
        firsts = list(dict.fromkeys(told(order)))
        assert [each for each in firsts if each[1] == "accepted"] == [
            (method, "accepted", "ok") for method in METHODS
        ]
        assert await figure(client, "landings_total", method="bundle", result=FILLED) == 1


async def test_every_submission_is_told(tmp_path: Path, chain: Chain) -> None:
    """Method, outcome, reason, time and latency of each push, as many as the chain was asked for."""
    async with served(tmp_path, chain, {"execution.push_timeout": 0.4}) as client:
        spoil(chain, "bundle", "http_5xx_after")
        spoil(chain, "quicknode", "hang", seconds=1)
        order = await over(client, await posted(client, "told", "quicknode", "bundle"))
        executed_once(chain, order)
        (attempt,) = order["attempts"]
        assert [set(each) for each in attempt["submissions"]] == [SUBMISSION_KEYS] * 2
        assert told(order) == [
            ("quicknode", "unknown", "timeout"),
            ("bundle", "unknown", "server_error"),
        ]
        slow, quick = attempt["submissions"]
        assert 300 <= slow["latency_ms"] <= 1_000
        assert 0 <= quick["latency_ms"] < 300
        assert order["accepted_at"] <= slow["sent_at"] < quick["sent_at"] <= order["filled_at"]
        assert [push.method for push in pushes_of(chain, order)] == ["quicknode", "bundle"]
        text = json.dumps(order)
        assert chain.quicknode_token not in text


@pytest.mark.parametrize("strategy", ["fallback", "race"])
async def test_a_strategy_executes_once(tmp_path: Path, chain: Chain, strategy: str) -> None:
    """A race gives all four the same bytes at once, a fallback the first alone; both fill once."""
    changes = {"execution.strategy": strategy, **UNPACED}
    async with served(tmp_path, chain, changes) as client:
        chain.fault("null_status", "getSignatureStatuses", count=4)  # time for all to be asked
        order = await over(client, await posted(client, f"by-{strategy}"))
        executed_once(chain, order)
        sent = pushes_of(chain, order)
        wanted = set(METHODS) if strategy == "race" else {"bundle"}
        assert {push.method for push in sent} == wanted
        assert len({push.sha256 for push in sent}) == 1
        assert len(order["attempts"]) == 1
