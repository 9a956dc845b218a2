"""QuickNode: the token, the node behind it, and its add-ons."""

from pathlib import Path
from typing import Any

import pytest

from app.sandbox.base58 import encode_base58
from app.sandbox.quicknode import quicknode_token
from app.sandbox.server import EndpointOptions
from app.sandbox.tips import derive_tip_accounts
from app.sandbox.transactions import bundle_id_of
from tests.sandbox.kit import (
    BASE64,
    STRANGER,
    TIP_ACCOUNT,
    Client,
    Desk,
    Json,
    encoded,
    make_node,
    pay,
    texts,
)

BLIND = {"encoding": "base64", "skipPreflight": True}
SLOT_CALL = {"jsonrpc": "2.0", "id": 1, "method": "getSlot"}


async def result(client: Client, method: str, *params: object) -> Any:
    """Call a method with the token in the header."""
    return await client.quicknode.result("/", method, *params)


async def estimate(client: Client, **params: object) -> Json:
    """Ask what others pay; parameters go by name."""
    call = {"jsonrpc": "2.0", "id": 1, "method": "qn_estimatePriorityFees", "params": params}
    response = (await client.quicknode.http.post("/", json=call)).json()
    assert "error" not in response, response
    answered: Json = response["result"]
    return answered


# --------------------------------------------------------------------------------- the token


@pytest.mark.parametrize("path", ["/{}", "/{}/"])
async def test_the_token_opens_as_path_or_as_header(client: Client, path: str) -> None:
    """Both forms that the provider has; no journal shows the token."""
    slot = await result(client, "getSlot")
    del client.quicknode.http.headers["x-token"]
    assert await client.quicknode.result(path.format(client.app.token), "getSlot") == slot
    paths = {entry["path"] for entry in await client.journal()}
    assert paths == {"/"}


@pytest.mark.parametrize("token", [None, "", "frog"])
async def test_without_the_token_nothing_is_answered(client: Client, token: str | None) -> None:
    """Status 401, whether it is missing or wrong, in header or path."""
    headers = client.quicknode.http.headers
    del headers["x-token"]
    if token is not None:
        headers["x-token"] = token
    for path in ("/", f"/{token or ''}/"):
        response = await client.quicknode.http.post(path, json=SLOT_CALL)
        assert (response.status_code, response.text) == (401, "Unauthorized")
    assert await client.journal() == []


async def test_a_token_may_be_given_and_else_names_the_chain(tmp_path: Path) -> None:
    """One that is made is the same at every start of a chain, and of no other."""
    node = make_node(tmp_path)
    given = Client(node, EndpointOptions(quicknode_token="mine"))
    assert given.app.token == "mine"
    assert Client(node).app.token == quicknode_token(node.chain.genesis_hash)
    assert quicknode_token("another") != quicknode_token(node.chain.genesis_hash)
    assert Client(node).app.token != "mine"
    node.close()


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/", 400), ("POST", "/frog", 404)])
async def test_other_requests_are_refused(
    client: Client, method: str, path: str, status: int
) -> None:
    """As the provider does it."""
    response = await client.quicknode.http.request(method, path, json=SLOT_CALL)
    assert response.status_code == status


# ---------------------------------------------------------------------------------- the node


async def test_the_whole_node_answers_behind_the_token(client: Client, desk: Desk) -> None:
    """Reads, sends with preflight, batches, and its own error codes."""
    trade = desk.payment()
    options = {**BASE64, "preflightCommitment": "processed"}
    assert await result(client, "sendTransaction", encoded(trade.parsed), options)
    assert desk.lamports() == 1_000_000
    bad = desk.swap(1_000_000, minimum_out=2**60)
    error = await client.quicknode.error("/", "sendTransaction", encoded(bad.parsed), options)
    assert (error["code"], error["data"]["err"]) == (
        -32002,
        {"InstructionError": [0, {"Custom": 6005}]},
    )
    batch = await client.quicknode.http.post("/", json=[SLOT_CALL, SLOT_CALL])
    assert [each["result"] for each in batch.json()] == [await result(client, "getSlot")] * 2
    broken = await client.quicknode.http.post("/", content=b"{")
    assert broken.json()["error"]["code"] == -32700


async def test_the_node_itself_has_no_addons(client: Client) -> None:
    """Neither fees nor bundles are methods of a plain node."""
    for method in ("qn_estimatePriorityFees", "sendBundle", "getTipAccounts", "simulateBundle"):
        assert (await client.error(method))["code"] == -32601


# -------------------------------------------------------------------------------------- fees


async def test_fees_are_those_that_were_paid(client: Client, desk: Desk) -> None:
    """Percentiles by nearest rank over the transactions of the last blocks."""
    for price in range(1, 21):
        client.node.land(desk.payment(1_000_000 + price, price=price * 100))
        await client.step()
    shown = await estimate(client, last_n_blocks=100, api_version=2)
    unit = shown["per_compute_unit"]
    assert shown["context"] == {"slot": client.node.chain.bank("confirmed").slot}
    assert list(unit["percentiles"]) == [str(step) for step in range(0, 101, 5)]
    assert (unit["percentiles"]["0"], unit["percentiles"]["100"]) == (100, 2_000)
    levels = [unit[name] for name in ("low", "medium", "high", "extreme")]
    assert levels == [unit["percentiles"][step] for step in ("25", "50", "75", "90")]
    assert levels == [500, 1_000, 1_500, 1_800]
    assert shown["recommended"] == 1_500
    units = client.node.chain.landed[next(iter(client.node.chain.landed))].units
    assert shown["per_transaction"]["high"] == 1_500 * units
    few = await estimate(client, last_n_blocks="5")
    assert few["per_compute_unit"]["percentiles"]["0"] == 1_600


async def test_fees_are_those_of_an_account_if_one_is_named(client: Client, desk: Desk) -> None:
    """Transactions that do not name it do not count."""
    client.node.land(desk.payment(price=7))
    client.node.land(desk.signed(pay(1_000_000, TIP_ACCOUNT)))
    await client.step()
    of_stranger = await estimate(client, account=str(STRANGER))
    assert of_stranger["per_compute_unit"]["percentiles"]["0"] == 7
    assert (await estimate(client))["per_compute_unit"]["percentiles"]["0"] == 0


async def test_nothing_paid_is_zero(client: Client) -> None:
    """On an empty chain every figure is there, and zero."""
    shown = await estimate(client)
    assert shown["recommended"] == 0
    assert set(shown["per_compute_unit"]["percentiles"].values()) == {0}


async def test_fees_of_a_restarted_chain_are_the_same(tmp_path: Path, client: Client) -> None:
    """They come from what is kept of every transaction."""
    client.node.land(Desk(client.node).payment(price=70))
    await client.step(40)
    before = await estimate(client)
    assert before["recommended"] == 70
    client.node.sync()
    again = Client(make_node(tmp_path))
    assert await estimate(again) == before
    again.node.close()


@pytest.mark.parametrize("blocks", [0, 101, "frog", -1])
async def test_a_look_back_out_of_bounds_is_refused(client: Client, blocks: object) -> None:
    """1 to 100 blocks."""
    params = {"last_n_blocks": blocks}
    error = await client.quicknode.error("/", "qn_estimatePriorityFees", params)
    assert error["code"] == -32602


async def test_a_spike_of_fees_is_scripted(client: Client, desk: Desk) -> None:
    """Whoever asks sees prices so many times as high."""
    client.node.land(desk.payment(price=7))
    await client.step()
    await client.script("fee_spike", times=1_000, count=2)
    assert (await estimate(client))["recommended"] == 7_000
    recent = await client.result("getRecentPrioritizationFees", [str(STRANGER)])
    assert recent[-1]["prioritizationFee"] == 7_000
    assert (await estimate(client))["recommended"] == 7


# ----------------------------------------------------------------------------------- bundles


@pytest.mark.parametrize("more", [[], ["ny"], [{"encoding": "base58"}], ["ny", {}]])
async def test_bundles_are_base58_when_nothing_is_said(
    client: Client, desk: Desk, more: list[object]
) -> None:
    """A region may follow, and options."""
    bundle = [desk.payment(1_000_000), desk.tipping(2_000_000)]
    written = [encode_base58(each.raw) for each in bundle]
    name = bundle_id_of([each.signature for each in bundle])
    assert await result(client, "sendBundle", written, *more) == name
    assert desk.lamports() == 3_000_000
    await client.step()
    landed = await result(client, "getInflightBundleStatuses", [name])
    assert landed["value"][0]["status"] == "Landed"
    shown = await result(client, "getBundleStatuses", [name])
    assert shown["value"][0]["confirmation_status"] == "confirmed"


@pytest.mark.parametrize("more", [[BASE64], ["tokyo", BASE64], [{**BASE64, "region": "slc"}]])
async def test_bundles_may_be_base64(client: Client, desk: Desk, more: list[object]) -> None:
    """When the options say so."""
    assert await result(client, "sendBundle", texts(desk.tipping()), *more)
    assert desk.lamports() == 1_000_000


@pytest.mark.parametrize("more", [["mars"], [{**BASE64, "region": "mars"}], [7]])
async def test_a_region_that_is_none_is_refused(
    client: Client, desk: Desk, more: list[object]
) -> None:
    """And nothing is sent."""
    error = await client.quicknode.error("/", "sendBundle", texts(desk.tipping()), *more)
    assert error["code"] == -32602
    assert desk.lamports() == 0


async def test_a_bundle_is_refused_in_the_engines_words(client: Client, desk: Desk) -> None:
    """With the provider's status, 200."""
    response = await client.quicknode.post("/", "sendBundle", texts(desk.payment()), BASE64)
    assert response.status_code == 200
    assert response.json()["error"] == {
        "code": -32602,
        "message": "Bundles must write lock at least one tip account to be eligible for the auction",
    }


async def test_what_bundles_need_is_told(client: Client) -> None:
    """Tip accounts, regions, the tip floor in SOL."""
    accounts = [str(each) for each in derive_tip_accounts()]
    assert await result(client, "getTipAccounts") == accounts
    assert await result(client, "getRegions") == [
        "mainnet",
        "amsterdam",
        "frankfurt",
        "ny",
        "tokyo",
        "slc",
        "london",
    ]
    (floor,) = await result(client, "getTipFloor")
    assert floor["landed_tips_50th_percentile"] == 6e-06


ADDONS = [
    "qn_estimatePriorityFees",
    "sendBundle",
    "simulateBundle",
    "getBundleStatuses",
    "getInflightBundleStatuses",
    "getTipAccounts",
    "getRegions",
    "getTipFloor",
]


@pytest.mark.parametrize("method", ADDONS)
async def test_an_addon_may_be_missing(client: Client, method: str) -> None:
    """Then its methods do not exist; the node's do."""
    await client.script("no_addon", endpoint="quicknode", count=None)
    error = await client.quicknode.error("/", method)
    assert error == {"code": -32601, "message": "Method not found"}
    assert await result(client, "getSlot")


# --------------------------------------------------------------------------- hijacked sends


async def test_a_hijacked_send_needs_a_tip(client: Client, desk: Desk) -> None:
    """Without one it is refused with a code that means something else on a plain node."""
    await client.script("hijack", rpc_method="sendTransaction", count=None)
    plain, tipping = desk.payment(1_000_000), desk.tipping(2_000_000)
    error = await client.quicknode.error("/", "sendTransaction", encoded(plain.parsed), BLIND)
    assert error == {
        "code": -32004,
        "message": "Transaction must write lock at least one tip account",
    }
    assert await result(client, "sendTransaction", encoded(tipping.parsed), BLIND)
    assert desk.lamports() == 2_000_000
    assert (await client.send(plain.parsed, skipPreflight=True))["result"] == plain.signature
    assert desk.lamports() == 3_000_000  # the plain node's sends are its own


@pytest.mark.parametrize(("query", "lands"), [("", True), ("?bundleOnly=true", False)])
async def test_a_hijacked_send_goes_the_engines_way(
    client: Client, desk: Desk, query: str, lands: bool
) -> None:
    """No preflight; with `bundleOnly` it lands in order or not at all."""
    await client.script("hijack", rpc_method="sendTransaction")
    bad = desk.signed(pay(1_000, TIP_ACCOUNT), desk.swap_instruction(1_000_000, 2**60))
    path = f"/{query}"
    sent = await client.quicknode.result(path, "sendTransaction", encoded(bad.parsed), BASE64)
    assert sent == bad.signature
    assert (bad.signature in client.node.chain.landed) is lands
