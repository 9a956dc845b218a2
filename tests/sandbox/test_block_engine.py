"""Jito's block engine: what it lands, and what it says of it."""

from hashlib import sha256
from pathlib import Path

import pytest

from app.sandbox.base58 import encode_base58
from app.sandbox.transactions import bundle_id_of
from tests.sandbox.kit import (
    BASE64,
    POOR,
    TIP_ACCOUNT,
    Client,
    Desk,
    Json,
    encoded,
    make_node,
    pay,
    texts,
)
from tests.sandbox.ways import BUNDLES, send_bundle

TRANSACTIONS = "/api/v1/transactions"


async def inflight(client: Client, bundle_id: str) -> Json:
    """Ask what the engine says of a bundle."""
    path = "/api/v1/getInflightBundleStatuses"
    result = await client.jito.result(path, "getInflightBundleStatuses", [bundle_id])
    (shown,) = result["value"]
    said: Json = shown
    return said


async def statuses(client: Client, *ids: str) -> Json:
    """Ask for the statuses of landed bundles."""
    result: Json = await client.jito.result(BUNDLES, "getBundleStatuses", list(ids))
    return result


# ------------------------------------------------------------------------------------ bundles


async def test_a_bundle_lands_and_its_id_is_the_answer(client: Client, desk: Desk) -> None:
    """The id is the hash of its signatures, as anybody can compute it before sending."""
    bundle = [desk.payment(1_000_000), desk.tipping(2_000_000)]
    response = await send_bundle(client, *bundle)
    signatures = ",".join(each.signature for each in bundle)
    name = sha256(signatures.encode()).hexdigest()
    assert response.status_code == 200
    assert response.json() == {"jsonrpc": "2.0", "result": name, "id": 1}
    assert "x-bundle-id" not in response.headers
    assert desk.lamports() == 3_000_000


async def test_base58_is_the_encoding_when_nothing_is_said(client: Client, desk: Desk) -> None:
    """And base64 without saying so cannot be decoded."""
    bundle = [desk.tipping(1_000_000), desk.payment(2_000_000)]
    wrong = await client.jito.post(BUNDLES, "sendBundle", texts(*bundle))
    assert wrong.json()["error"]["message"] == "transaction #0 could not be decoded"
    right = [encode_base58(each.raw) for each in bundle]
    assert await client.jito.result(BUNDLES, "sendBundle", right)
    assert desk.lamports() == 3_000_000


async def test_statuses_of_a_bundle_follow_the_chain(client: Client, desk: Desk) -> None:
    """Nothing before it lands, then the highest commitment, in Jito's shape."""
    trade = desk.tipping()
    name = bundle_id_of([trade.signature])
    slot = client.node.chain.open.slot
    assert await statuses(client, name) == {"context": {"slot": slot}, "value": []}
    await send_bundle(client, trade)
    shown = {
        "bundle_id": name,
        "transactions": [trade.signature],
        "slot": slot,
        "confirmation_status": "processed",
        "err": {"Ok": None},
    }
    assert await statuses(client, name) == {"context": {"slot": slot}, "value": [shown]}
    await client.step()
    confirmed = (await statuses(client, name))["value"]
    assert confirmed == [{**shown, "confirmation_status": "confirmed"}]
    await client.step(32)
    final = (await statuses(client, "ff" * 32, name))["value"]
    assert final == [{**shown, "confirmation_status": "finalized"}]
    await client.step(400)
    assert (await statuses(client, name))["value"] == []  # older than a node's recent memory


async def test_a_bundle_in_flight_is_pending_then_landed_then_forgotten(
    client: Client, desk: Desk
) -> None:
    """Landed is said of a closed block; after five minutes nothing is known."""
    trade = desk.tipping()
    name = bundle_id_of([trade.signature])
    unknown = {"bundle_id": name, "status": "Invalid", "landed_slot": None}
    assert await inflight(client, name) == unknown
    slot = client.node.chain.open.slot
    await send_bundle(client, trade)
    assert await inflight(client, name) == {**unknown, "status": "Pending"}
    await client.step()
    landed = {"bundle_id": name, "status": "Landed", "landed_slot": slot}
    assert await inflight(client, name) == landed
    await client.step(300 * 1_000 // 400 - 2)
    assert await inflight(client, name) == landed
    await client.step(2)
    assert await inflight(client, name) == unknown


async def test_a_failing_bundle_is_dropped_and_said_to_have_failed(
    client: Client, desk: Desk
) -> None:
    """It was accepted; nothing of it is on the chain; what is good in it may land by itself."""
    good, bad = desk.tipping(1_000_000), desk.swap(1_000_000, minimum_out=2**60)
    response = await send_bundle(client, good, bad)
    name = bundle_id_of([good.signature, bad.signature])
    assert response.json()["result"] == name
    assert (await inflight(client, name))["status"] == "Failed"
    assert (await statuses(client, name))["value"] == []
    assert desk.lamports() == 0
    assert "result" in (await send_bundle(client, good)).json()
    assert desk.lamports() == 1_000_000
    assert (await statuses(client, name))["value"] == []


async def test_a_failed_bundle_sent_again_is_looked_at_anew(client: Client, desk: Desk) -> None:
    """What it needed has come meanwhile."""
    poor_pays = desk.tipping(1_000_000, payer=POOR)
    await send_bundle(client, poor_pays)
    name = bundle_id_of([poor_pays.signature])
    assert (await inflight(client, name))["status"] == "Failed"
    client.node.land(desk.signed(pay(10_000_000, POOR.pubkey())))
    await send_bundle(client, poor_pays)
    await client.step()
    assert (await inflight(client, name))["status"] == "Landed"


async def test_after_a_restart_the_chain_still_knows_its_bundles(
    tmp_path: Path, client: Client, desk: Desk
) -> None:
    """Those that landed, with their statuses; what failed is forgotten with the engine's memory."""
    landed, failed = desk.tipping(), desk.swap(1, minimum_out=2**60)
    await send_bundle(client, landed)
    await send_bundle(client, desk.tipping(5), failed)
    await client.step()
    name = bundle_id_of([landed.signature])
    before = await statuses(client, name), await inflight(client, name)
    again = Client(make_node(tmp_path))
    assert (await statuses(again, name), await inflight(again, name)) == before
    again.node.close()


async def test_a_forked_bundle_is_pending_again(client: Client, desk: Desk) -> None:
    """What was said of it is taken back with the block."""
    trade = desk.tipping()
    await send_bundle(client, trade)
    await client.step()
    await client.script("fork", blocks=1)
    name = bundle_id_of([trade.signature])
    assert (await inflight(client, name))["status"] == "Pending"
    assert (await statuses(client, name))["value"] == []


async def test_an_unbundled_bundle_is_shown_by_its_signatures(client: Client, desk: Desk) -> None:
    """The engine still knows which they were: all of them landed, if not together."""
    bundle = [desk.tipping(1_000_000), desk.payment(2_000_000)]
    await send_bundle(client, *bundle)
    await client.step()
    names = [each.signature for each in bundle]
    done = await client.script("unbundle", blocks=1)
    assert done == {"kind": "unbundle", "undone": names, "again": names}
    (shown,) = (await statuses(client, bundle_id_of(names)))["value"]
    assert shown["transactions"] == names
    refused = await client.http.post("/sandbox/fault", json={"kind": "unbundle", "blocks": 99})
    assert refused.status_code == 400


async def test_an_engine_forgets_after_five_minutes(tmp_path: Path) -> None:
    """What it alone knew, that these transactions were once a bundle, is gone."""
    node = make_node(tmp_path, slot_ms=5_000)
    client, desk = Client(node), Desk(node)
    bundle = [desk.tipping(1_000_000), desk.payment(2_000_000)]
    name = bundle_id_of([each.signature for each in bundle])
    await send_bundle(client, *bundle)
    await client.script("unbundle", blocks=0)
    await client.step(60)
    await send_bundle(client, desk.tipping(3_000_000))
    assert len((await statuses(client, name))["value"]) == 1
    await client.step()
    await send_bundle(client, desk.tipping(4_000_000))
    assert (await statuses(client, name))["value"] == []
    node.close()


async def test_a_node_in_trouble_shows_no_bundles(client: Client, desk: Desk) -> None:
    """Statuses that are hidden, and a node that lags behind the bundle's block."""
    trade = desk.tipping()
    await send_bundle(client, trade)
    await client.step()
    name = bundle_id_of([trade.signature])
    for kind, fields in (("null_status", {}), ("lag", {"slots": 5})):
        await client.script(kind, endpoint="jito", count=2, **fields)
        assert (await statuses(client, name))["value"] == []
        assert (await inflight(client, name))["status"] == "Pending"
    assert len((await statuses(client, name))["value"]) == 1


# --------------------------------------------------------------------------- one transaction


async def test_a_sent_transaction_comes_with_its_bundle_id(client: Client, desk: Desk) -> None:
    """The signature is the answer, the id stands in a header."""
    trade = desk.tipping()
    response = await client.jito.post(
        TRANSACTIONS, "sendTransaction", encoded(trade.parsed), BASE64
    )
    assert response.json() == {"jsonrpc": "2.0", "result": trade.signature, "id": 1}
    name = bundle_id_of([trade.signature])
    assert response.headers["x-bundle-id"] == name
    await client.step()
    assert (await inflight(client, name))["status"] == "Landed"
    assert (await statuses(client, name))["value"][0]["transactions"] == [trade.signature]


@pytest.mark.parametrize(("query", "lands"), [("", True), ("?bundleOnly=true", False)])
async def test_only_a_bundle_is_safe_from_landing_failed(
    client: Client, desk: Desk, query: str, lands: bool
) -> None:
    """Without `bundleOnly` the transaction goes to the leader as it is, and pays for its failure."""
    bad = desk.signed(pay(1_000, TIP_ACCOUNT), desk.swap_instruction(1_000_000, 2**60))
    result = await client.jito.result(
        TRANSACTIONS + query, "sendTransaction", encoded(bad.parsed), BASE64
    )
    assert result == bad.signature
    landed = client.node.chain.landed.get(bad.signature)
    assert (landed is not None) is lands
    if landed is not None:
        assert landed.err == {"InstructionError": [1, {"Custom": 6005}]}
        (shown,) = (await statuses(client, bundle_id_of([bad.signature])))["value"]
        assert shown["err"] == {"Err": landed.err}
    else:
        name = bundle_id_of([bad.signature])
        assert (await inflight(client, name))["status"] == "Failed"


async def test_preflight_is_always_skipped(client: Client, desk: Desk) -> None:
    """Whatever the options say: a failing swap is accepted."""
    bad = desk.signed(pay(1_000, TIP_ACCOUNT), desk.swap_instruction(1_000_000, 2**60))
    options = {"encoding": "base64", "skipPreflight": False}
    answered = await client.jito.result(
        TRANSACTIONS, "sendTransaction", encoded(bad.parsed), options
    )
    assert answered == bad.signature
