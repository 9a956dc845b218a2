"""Scripted trouble on every endpoint: sends by Jito and QuickNode meet what the node's own meet."""

import asyncio

import anyio
import httpx
import pytest
from anyio.lowlevel import checkpoint

from app.sandbox.http import Dropped
from app.sandbox.transactions import SignedTransaction, bundle_id_of
from tests.sandbox.kit import Client, Desk, Json
from tests.sandbox.ways import (
    BUNDLES,
    Send,
    by_bundle,
    by_jito,
    by_lil_jit,
    by_quicknode,
    every_way,
)


def landed(client: Client, trade: SignedTransaction) -> bool:
    """Whether a transaction stands on the chain."""
    return trade.signature in client.node.chain.landed


def answer_of(send: Send, trade: SignedTransaction) -> str:
    """Give what a send is answered with when all is well."""
    bundles = send in (by_bundle, by_lil_jit)
    return bundle_id_of([trade.signature]) if bundles else trade.signature


async def inflight(client: Client, trade: SignedTransaction) -> str:
    """Ask the engine what became of a bundle of one."""
    name, method = bundle_id_of([trade.signature]), "getInflightBundleStatuses"
    (shown,) = (await client.jito.result(BUNDLES, method, [name]))["value"]
    return str(shown["status"])


async def until_hit(client: Client) -> None:
    """Let the others run until the first rule has hit."""
    with anyio.fail_after(5):
        while not (await client.control("faults", method="GET"))["faults"][0]["hits"]:
            await checkpoint()


# ----------------------------------------------------------------------- before and after


@every_way
async def test_a_dropped_send_is_not_done(client: Client, send: Send, endpoint: str) -> None:
    """The connection ends; the next one goes through."""
    await client.script("drop", endpoint=endpoint)
    trade = Desk(client.node).tipping()
    with pytest.raises(Dropped):
        await send(client, trade)
    assert not landed(client, trade)
    assert (await send(client, trade)).json()["result"] == answer_of(send, trade)
    assert landed(client, trade)


@every_way
@pytest.mark.parametrize(("kind", "lands"), [("delay", True), ("hang", False)])
async def test_a_slow_send_waits(
    client: Client, send: Send, endpoint: str, kind: str, lands: bool
) -> None:
    """A delayed one is done after its time, a hung one never."""
    await client.script(kind, endpoint=endpoint, seconds=3_600)
    trade = Desk(client.node).tipping()
    waiting = asyncio.create_task(send(client, trade))
    await until_hit(client)
    assert not landed(client, trade)
    await client.control("faults", method="DELETE")
    if lands:
        assert (await waiting).json()["result"] == answer_of(send, trade)
    else:
        with pytest.raises(Dropped):
            await waiting
    assert landed(client, trade) is lands


@every_way
@pytest.mark.parametrize(("kind", "lands"), [("http_5xx", False), ("http_5xx_after", True)])
async def test_a_server_error_says_nothing_about_a_send(
    client: Client, send: Send, endpoint: str, kind: str, lands: bool
) -> None:
    """Before forwarding nothing lands, after it everything does."""
    await client.script(kind, endpoint=endpoint, status=500)
    trade = Desk(client.node).tipping()
    response = await send(client, trade)
    assert (response.status_code, response.text) == (500, "upstream error")
    assert landed(client, trade) is lands


@every_way
async def test_a_send_lands_and_is_never_answered(
    client: Client, send: Send, endpoint: str
) -> None:
    """The connection ends when the rules are cleared."""
    await client.script("land_then_timeout", endpoint=endpoint)
    trade = Desk(client.node).tipping()
    waiting = asyncio.create_task(send(client, trade))
    await until_hit(client)
    assert landed(client, trade)
    await client.control("faults", method="DELETE")
    with pytest.raises(Dropped):
        await waiting


@every_way
async def test_a_garbled_answer_is_no_json(client: Client, send: Send, endpoint: str) -> None:
    """Though the send was done."""
    await client.script("garbled", endpoint=endpoint)
    trade = Desk(client.node).tipping()
    response = await send(client, trade)
    with pytest.raises(ValueError, match=r"."):
        response.json()
    assert landed(client, trade)


# ------------------------------------------------------------------------------ other answers


@every_way
async def test_accepted_and_dropped(client: Client, send: Send, endpoint: str) -> None:
    """The right answer comes and nothing lands, until it is sent again."""
    await client.script("accept_then_drop", endpoint=endpoint)
    trade = Desk(client.node).tipping()
    assert (await send(client, trade)).json()["result"] == answer_of(send, trade)
    assert not landed(client, trade)
    assert await inflight(client, trade) == ("Invalid" if send is by_quicknode else "Pending")
    await send(client, trade)
    assert landed(client, trade)


@every_way
async def test_duplicated_bytes_execute_once(client: Client, send: Send, endpoint: str) -> None:
    """Handed to the leader twice, paid once, and not said to have failed."""
    await client.script("duplicate", endpoint=endpoint)
    desk = Desk(client.node)
    trade = desk.tipping(1_000_000)
    assert (await send(client, trade)).json()["result"] == answer_of(send, trade)
    assert desk.lamports() == 1_000_000
    await client.step()
    assert await inflight(client, trade) == ("Invalid" if send is by_quicknode else "Landed")


@every_way
async def test_a_wrong_answer_comes_back(client: Client, send: Send, endpoint: str) -> None:
    """Well-formed, and of something else; the send is done all the same."""
    await client.script("wrong_signature", endpoint=endpoint)
    trade = Desk(client.node).tipping()
    answered, right = (await send(client, trade)).json()["result"], answer_of(send, trade)
    assert answered != right
    assert len(answered) >= len(right) - 2
    assert landed(client, trade)


# ------------------------------------------------------------------------ limits, in words


async def too_many(client: Client, send: Send, **fields: object) -> httpx.Response:
    """Send into a limit that is reached."""
    await client.script("http_429", **fields)
    trade = Desk(client.node).tipping()
    response = await send(client, trade)
    assert response.status_code == 429
    assert not landed(client, trade)
    return response


@pytest.mark.parametrize("send", [by_bundle, by_jito])
async def test_jitos_own_limit_is_said_in_its_words(client: Client, send: Send) -> None:
    """How long is in the message, when the rule says it; else everybody is limited."""
    plain = await too_many(client, send, endpoint="jito")
    assert plain.json() == {
        "jsonrpc": "2.0",
        "error": {
            "code": -32097,
            "message": "Network congested. Endpoint is globally rate limited.",
            "data": None,
        },
        "id": None,
    }
    timed = await too_many(client, send, endpoint="jito", retry_after=1.606)
    assert timed.json()["error"] == {
        "code": -32097,
        "message": "Rate limit exceeded. Limit: 1 per second for txn requests. "
        "Back-off triggered: Retry after 1606ms",
        "data": None,
    }
    assert timed.json()["id"] is None
    assert "retry-after" not in timed.headers


@pytest.mark.parametrize("send", [by_quicknode, by_lil_jit])
async def test_quicknodes_limit_is_said_in_its_words(client: Client, send: Send) -> None:
    """With the id of the call, and with Retry-After when the rule has one."""
    plain = await too_many(client, send, endpoint="quicknode")
    assert plain.json() == {
        "jsonrpc": "2.0",
        "error": {
            "code": 429,
            "message": "The requests per second (RPS) of your requests are higher than your plan "
            "allows.",
        },
        "id": 1,
    }
    assert "retry-after" not in plain.headers
    timed = await too_many(client, send, endpoint="quicknode", retry_after=2)
    assert timed.headers["retry-after"] == "2"


async def test_any_other_answer_can_be_scripted(client: Client) -> None:
    """A document or a text, with any status; the call is not done."""
    trade = Desk(client.node).tipping()
    says = {"code": -32007, "message": "50/second request limit reached - reduce calls per second"}
    await client.script("answer", endpoint="quicknode", status=429, body=says)
    response = await by_quicknode(client, trade)
    assert (response.status_code, response.json()) == (429, says)
    await client.script("answer", endpoint="quicknode", body="<html>")
    response = await by_quicknode(client, trade)
    assert (response.status_code, response.text) == (200, "<html>")
    assert not landed(client, trade)


# ------------------------------------------------------------------- what an engine may claim


@pytest.mark.parametrize("send", [by_bundle, by_jito, by_lil_jit])
@pytest.mark.parametrize(
    ("kind", "claim"), [("bundle_failed", "Failed"), ("bundle_invalid", "Invalid")]
)
async def test_an_accepted_bundle_is_never_landed(
    client: Client, send: Send, kind: str, claim: str
) -> None:
    """The engine says so at once, and says nothing else later."""
    await client.script(kind)
    trade = Desk(client.node).tipping()
    assert (await send(client, trade)).json()["result"] == answer_of(send, trade)
    assert await inflight(client, trade) == claim
    await client.step(5)
    assert not landed(client, trade)
    assert await inflight(client, trade) == claim


@pytest.mark.parametrize("send", [by_bundle, by_jito, by_lil_jit])
async def test_a_bundle_that_is_said_to_have_failed_lands_later(client: Client, send: Send) -> None:
    """So a claim is no proof: after some slots it is on the chain, and the claim stays."""
    await client.script("failed_then_landed", slots=4)
    trade = Desk(client.node).tipping()
    slot = client.node.chain.open.slot
    assert (await send(client, trade)).json()["result"] == answer_of(send, trade)
    while client.node.chain.open.slot < slot + 4:
        assert not landed(client, trade)
        assert await inflight(client, trade) == "Failed"
        await client.step()
    assert landed(client, trade)
    assert await inflight(client, trade) == "Failed"
    name = bundle_id_of([trade.signature])
    (shown,) = (await client.jito.result(BUNDLES, "getBundleStatuses", [name]))["value"]
    assert shown["err"] == {"Ok": None}


async def test_what_cannot_land_any_more_does_not_land_late(client: Client) -> None:
    """Its blockhash has died meanwhile, or others have landed it."""
    await client.script("failed_then_landed", slots=3, count=2)
    desk = Desk(client.node)
    trade, other = desk.tipping(1_000_000), desk.tipping(2_000_000)
    await by_bundle(client, trade)
    await by_jito(client, other)
    client.node.land(trade)
    client.node.land(other)
    await client.step(6)
    assert desk.lamports() == 3_000_000


# ------------------------------------------------------------------------------ rules as such


async def test_a_rule_is_for_one_endpoint(client: Client) -> None:
    """The others pass."""
    await client.script("http_5xx", endpoint="quicknode", count=None)
    desk = Desk(client.node)
    assert (await by_jito(client, desk.tipping(1_000_000))).is_success
    assert await client.result("getSlot")
    assert (await by_quicknode(client, desk.tipping(2_000_000))).status_code == 503


async def test_a_rule_may_be_for_all_paths_that_begin_alike(client: Client) -> None:
    """So one region can be in trouble."""
    await client.script("http_5xx", endpoint="jito", path="/frankfurt/*", count=None)
    desk = Desk(client.node)
    assert (await by_jito(client, desk.tipping(1_000_000))).status_code == 503
    assert (await by_bundle(client, desk.tipping(2_000_000))).is_success


async def test_a_rule_may_be_for_one_method(client: Client) -> None:
    """Also of those that are no JSON-RPC."""
    await client.script("http_5xx", rpc_method="sendBundle", count=None)
    await client.script("garbled", rpc_method="tip_floor", count=None)
    desk = Desk(client.node)
    assert (await by_jito(client, desk.tipping(1_000_000))).is_success
    assert (await by_bundle(client, desk.tipping(2_000_000))).status_code == 503
    assert (await by_lil_jit(client, desk.tipping(3_000_000))).status_code == 503
    floor = await client.jito.http.get("/api/v1/bundles/tip_floor")
    with pytest.raises(ValueError, match=r"."):
        floor.json()


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({"kind": "drop", "endpoint": "frog"}, "unknown endpoint"),
        ({"kind": "drop", "endpoint": 7}, "endpoint is a text"),
        ({"kind": "down"}, "down names its endpoint"),
        ({"kind": "down", "endpoint": "rpc"}, "rpc goes down for some seconds only"),
        ({"kind": "down", "endpoint": "jito"}, "no port is open here"),
        ({"kind": "unbundle", "blocks": "x"}, "blocks is a number"),
    ],
)
async def test_a_rule_that_means_nothing_is_refused(client: Client, rule: Json, says: str) -> None:
    """By name, with what is known."""
    response = await client.http.post("/sandbox/faults", json=rule)
    assert response.status_code == 400
    assert says in response.json()["error"]


async def test_a_bad_number_in_the_last_rule_adds_none(client: Client) -> None:
    """All rules of a list are read before the first is in force."""
    rules: list[Json] = [{"kind": "drop"}, {"kind": "delay", "seconds": -1}]
    assert (await client.http.post("/sandbox/faults", json=rules)).status_code == 400
    assert (await client.control("faults", method="GET"))["faults"] == []
