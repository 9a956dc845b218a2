"""Every trouble of every method: an order that meets it fills once, and says what it met."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.harness import free_port
from tests.integration.chain import Chain, running_chain
from tests.integration.kit import Json, answer, served, until
from tests.integration.methods import (
    METHODS,
    UNPACED,
    Push,
    Relay,
    executed_once,
    figure,
    has_events,
    over,
    posted,
    pushes_of,
    spoil,
    told,
)

pytestmark = pytest.mark.anyio
SLOT_MS = 40
FINALITY_BLOCKS = 32
UNDONE_BLOCKS = 20
OLD_HASH: Final = {"execution.transaction_timeout": 4}
"""A life that the newest blockhash is too long for: the one signed with lies before the undone blocks."""
QUICK: Final[Mapping[str, object]] = {**UNPACED, "execution.patience": 0.15}
SHORT_PUSHES: Final = {"execution.push_timeout": 0.8}
"""For what is never answered: else a busy machine would pass for a silent method."""
OTHER: Final = {"bundle": "quicknode", "jito": "rpc", "quicknode": "rpc", "rpc": "quicknode"}
"""Where an order goes on that meets trouble at its first method."""


@dataclass(frozen=True)
class Fault:
    """Trouble that a push meets at the sandbox, and what the service must make of it."""

    kind: str
    outcome: str
    reason: str
    fields: Mapping[str, object] = field(default_factory=dict)
    lands: bool = False
    """Whether the bytes reach the chain all the same."""

    def seen_by(self, method: str) -> tuple[str, str, str]:
        """Give the submission as it must be told."""
        mismatch = self.kind == "wrong_signature" and method == "bundle"
        return method, self.outcome, "bundle_id_mismatch" if mismatch else self.reason

    def settings(self) -> Mapping[str, object]:
        """Give the settings of a service that is to meet it."""
        return {**QUICK, **SHORT_PUSHES} if self.reason == "timeout" else QUICK


FAULTS: Final[Mapping[str, Fault]] = {
    "dropped": Fault("drop", "unknown", "no_reply"),
    "slow": Fault("delay", "unknown", "timeout", {"seconds": 1.6}, lands=True),
    "hung": Fault("hang", "unknown", "timeout"),
    "429": Fault("http_429", "rejected", "rate_limited"),
    "429 with Retry-After": Fault("http_429", "rejected", "rate_limited", {"retry_after": 1}),
    "5xx before forwarding": Fault("http_5xx", "unknown", "server_error"),
    "5xx after forwarding": Fault("http_5xx_after", "unknown", "server_error", lands=True),
    "landed and unanswered": Fault("land_then_timeout", "unknown", "timeout", lands=True),
    "accepted and dropped": Fault("accept_then_drop", "accepted", "ok"),
    "garbled reply": Fault("garbled", "unknown", "garbled", lands=True),
    "wrong signature back": Fault("wrong_signature", "unknown", "signature_mismatch", lands=True),
}


@pytest.fixture(scope="module")
def module_chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """Run a chain whose block engine has no limit of its own, and whose blocks can be undone a while."""
    folder, unlimited = tmp_path_factory.mktemp("chain"), ("--jito-requests-per-second", "0")
    with running_chain(
        folder, *unlimited, slot_ms=SLOT_MS, finality_blocks=FINALITY_BLOCKS
    ) as chain:
        yield chain


def met(sent: Sequence[Push], kind: str) -> list[Push]:
    """Give the pushes that met trouble."""
    return [push for push in sent if kind in push.faults]


@pytest.mark.parametrize("name", FAULTS)
async def test_a_method_that_fails_once_lands_the_same_bytes_later(
    tmp_path: Path, chain: Chain, name: str
) -> None:
    """Alone, a method pushes the bytes again: what the chain's journal has of them is one hash."""
    fault = FAULTS[name]
    # one rest of five seconds is enough: the two that speak to the block engine share it
    methods = METHODS[1:] if name == "429" else METHODS
    async with served(tmp_path, chain, fault.settings()) as client:
        for method in methods:
            spoil(chain, method, fault.kind, count=1, **fault.fields)
        ids = {each: await posted(client, f"once-{each}-{name}", each) for each in methods}
        for method, order_id in ids.items():
            await over(client, order_id)
            order = await tells(client, order_id, fault.seen_by(method))
            executed_once(chain, order)
            assert len(order["attempts"]) == 1
            sent = pushes_of(chain, order)
            assert {push.method for push in sent} == {method}
            assert len(met(sent, fault.kind)) == 1
            assert len(sent) > 1 or fault.lands
            assert (await state_of_breaker(client, method)) == "closed"


@pytest.mark.parametrize("name", FAULTS)
async def test_a_method_that_keeps_failing_gives_way_to_the_next(
    tmp_path: Path, chain: Chain, name: str
) -> None:
    """The next one of the plan gets the same bytes; whoever lands them, they are executed once."""
    fault = FAULTS[name]
    async with served(tmp_path, chain, fault.settings()) as client:
        for method in METHODS:
            for each in METHODS:  # of the rests that the ones before earned
                await client.post(f"/methods/{each}/reset")
            spoil(chain, method, fault.kind, **fault.fields)
            order_id = await posted(client, f"{method}-{name}", method, OTHER[method])
            await over(client, order_id)
            order = await tells(client, order_id, fault.seen_by(method))
            chain.clear()
            executed_once(chain, order)
            assert len(order["attempts"]) == 1
            assert told(order)[0] == fault.seen_by(method)
            sent = pushes_of(chain, order)
            assert met(sent, fault.kind)
            assert sent[0].method == method
            if not fault.lands:
                assert OTHER[method] in {push.method for push in sent}
                assert (OTHER[method], "accepted", "ok") in told(order)


async def tells(client: httpx.AsyncClient, order_id: str, submission: tuple[str, str, str]) -> Json:
    """Wait until an order tells of a push, which may be given up later than it landed; gives it."""
    found: list[Json] = []

    async def has_it() -> bool:
        found[:] = [(await answer(client, f"/orders/{order_id}"))[1]]
        return submission in told(found[0])

    await until(f"{submission} is told", has_it, 5)
    return found[0]


async def state_of_breaker(client: httpx.AsyncClient, method: str) -> str:
    """Read a method's breaker."""
    _, shown = await answer(client, f"/methods/{method}")
    return str(shown["breaker"])


# ----------------------------------------------------------------- nobody listens


async def test_a_method_whose_port_is_shut_waits_until_it_opens(
    tmp_path: Path, chain: Chain
) -> None:
    """Nothing was sent, and that is told; the same bytes land once somebody listens."""
    relay = Relay(chain.rpc_url)
    changes = {
        **QUICK,
        "methods.rpc.urls": [relay.url],
        "execution.max_concurrent_executions": len(METHODS),
        "execution.rebroadcast_interval": 0.5,
    }
    async with served(tmp_path, chain, changes) as client:
        for method in ("jito", "quicknode"):
            spoil(chain, method, "down")
        ids = {each: await posted(client, f"shut-{each}", each) for each in METHODS}

        async def all_tried() -> bool:
            orders = [(await answer(client, f"/orders/{each}"))[1] for each in ids.values()]
            return all(told(order) for order in orders)

        await until("every method has been tried", all_tried)
        chain.clear()
        async with relay.opened():
            for method, order_id in ids.items():
                order = await over(client, order_id)
                executed_once(chain, order)
                assert told(order)[0] == (method, "not_sent", "transport")
                assert len(order["attempts"]) == 1


async def test_a_method_whose_port_is_shut_gives_way(tmp_path: Path, chain: Chain) -> None:
    """The next method lands the bytes, which never reached the first."""
    shut = f"http://127.0.0.1:{free_port()}"
    async with served(tmp_path, chain, {**QUICK, "methods.rpc.urls": [shut]}) as client:
        spoil(chain, "jito", "down")
        plans = {"bundle": "quicknode", "jito": "quicknode", "rpc": "quicknode"}
        for method, other in plans.items():
            order = await over(client, await posted(client, f"shut-{method}", method, other))
            executed_once(chain, order)
            assert told(order)[0] == (method, "not_sent", "transport")
            assert {push.method for push in pushes_of(chain, order)} == {other}
        chain.clear()
        spoil(chain, "quicknode", "down")
        order = await over(client, await posted(client, "shut-quicknode", "quicknode", "bundle"))
        executed_once(chain, order)
        assert told(order)[0] == ("quicknode", "not_sent", "transport")


# ----------------------------------------------------------------- what becomes of bundles


@pytest.mark.parametrize("kind", ["bundle_failed", "bundle_invalid"])
@pytest.mark.parametrize("method", ["bundle", "jito"])
async def test_a_bundle_that_comes_to_nothing_gives_way(
    tmp_path: Path, chain: Chain, method: str, kind: str
) -> None:
    """Accepted and never landed: after its patience the next method lands the same bytes."""
    async with served(tmp_path, chain, QUICK) as client:
        spoil(chain, method, kind)
        order = await over(client, await posted(client, f"{method}-{kind}", method, "quicknode"))
        executed_once(chain, order)
        assert told(order)[0] == (method, "accepted", "ok")
        assert [push.method for push in pushes_of(chain, order)][-1] == "quicknode"
        assert len(order["attempts"]) == 1
        assert await figure(client, "landings_total", method=method, result="filled") == 1


async def test_a_bundle_that_lands_after_its_failure_was_told_is_a_fill(
    tmp_path: Path, chain: Chain
) -> None:
    """`Failed` proves nothing: nothing new is signed, and the contradiction is counted and told."""
    labels = {"method": "bundle", "claim": "Failed"}
    async with served(tmp_path, chain, QUICK) as client:
        assert await figure(client, "landed_against_claims_total", **labels) == 0
        spoil(chain, "bundle", "failed_then_landed", slots=75)
        order_id = await posted(client, "lands-after-all", "bundle")

        async def said_failed() -> bool:
            return await figure(client, "bundle_statuses_total", status="Failed") > 0

        await until("the block engine has said Failed", said_failed)
        assert chain.executions(order_id) == [0]
        order = await over(client, order_id)
        executed_once(chain, order)
        assert len(order["attempts"]) == 1
        assert await figure(client, "landed_against_claims_total", **labels) == 1
        (filled,) = await has_events(client, "order.filled", order_id=order_id)
        assert filled["data"]["contradicted_claims"] == {"bundle": "Failed"}


async def test_a_bundle_that_a_skipped_block_undid_lands_as_an_ordinary_transaction(
    tmp_path: Path, chain: Chain
) -> None:
    """Its bytes are public then, and others land them: still one execution, and the order fills."""
    async with served(tmp_path, chain, {**QUICK, **OLD_HASH}) as client:
        start = await height(client)

        async def moved_on() -> bool:
            return await height(client) > start + 2.5 * UNDONE_BLOCKS

        await until("an old blockhash is known", moved_on)
        chain.fault("null_status", "getTransaction")
        order_id = await posted(client, "unbundled", "bundle")
        await until("the bundle landed", lambda: chain.executions(order_id) == [1])
        skipped = {"kind": "unbundle", "blocks": UNDONE_BLOCKS}
        (done,) = chain.control("POST", "fault", skipped)["faults"]
        chain.clear()
        order = await over(client, order_id)
        signature = order["attempts"][0]["signature"]
        assert signature in done["undone"]
        assert signature in done["again"]
        executed_once(chain, order)
        assert len(order["attempts"]) == 1


async def height(client: httpx.AsyncClient) -> int:
    """Read the block height that the service knows."""
    _, shown = await answer(client, "/status")
    return int(shown["chain"]["block_height"] or 0)
