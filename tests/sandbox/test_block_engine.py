"""Jito's block engine: its paths, its shapes, its refusals, letter by letter."""

from base64 import b64encode
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import httpx
import pytest
from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from app.sandbox.base58 import encode_base58
from app.sandbox.block_engine import REGIONS
from app.sandbox.server import EndpointOptions
from app.sandbox.tips import derive_tip_accounts
from app.sandbox.transactions import SignedTransaction, bundle_id_of, parse_transaction
from tests.sandbox.kit import (
    BASE64,
    MEMO_PROGRAM,
    POOR,
    TIP_ACCOUNT,
    WALLET,
    Client,
    Desk,
    Json,
    encoded,
    make_node,
    pay,
    sign,
    texts,
)

TRANSACTIONS = "/api/v1/transactions"
BUNDLES = "/api/v1/bundles"


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    """Give a client of a new node whose engine knows no limit."""
    node = make_node(tmp_path)
    client = Client(node)
    async with client.http:
        yield client
    node.close()


@pytest.fixture
def desk(client: Client) -> Desk:
    """Give the shorthands over the same node."""
    return Desk(client.node)


async def send_bundle(client: Client, *bundle: SignedTransaction) -> httpx.Response:
    """Send a bundle."""
    return await client.jito.post(BUNDLES, "sendBundle", texts(*bundle), BASE64)


async def refusal(client: Client, *bundle: SignedTransaction) -> object:
    """Send a bundle that must be refused; give the whole body."""
    response = await send_bundle(client, *bundle)
    assert response.status_code == 400
    return response.json()


def body(message: str) -> Json:
    """Write the body of a refusal."""
    return {"jsonrpc": "2.0", "error": {"code": -32602, "message": message}, "id": 1}


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
    assert desk.lamports() == 3_000_000


async def test_base58_is_the_encoding_when_nothing_is_said(client: Client, desk: Desk) -> None:
    """And base64 without saying so cannot be decoded."""
    bundle = [desk.tipping(1_000_000), desk.payment(2_000_000)]
    wrong = await client.jito.post(BUNDLES, "sendBundle", texts(*bundle))
    assert (wrong.status_code, wrong.json()) == (
        400,
        body("transaction #0 could not be decoded"),
    )
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


# ---------------------------------------------------------------------------------- refusals


async def test_a_bundle_without_a_tip_account_is_refused(client: Client, desk: Desk) -> None:
    """Because it is not eligible for the auction."""
    assert await refusal(client, desk.payment()) == body(
        "Bundles must write lock at least one tip account to be eligible for the auction"
    )


async def test_a_tip_account_that_is_only_read_is_no_tip(client: Client, desk: Desk) -> None:
    """It must be locked for writing."""
    read = Instruction(
        MEMO_PROGRAM, b"", [AccountMeta(TIP_ACCOUNT, is_signer=False, is_writable=False)]
    )
    assert await refusal(client, desk.signed(read)) == body(
        "Bundles must write lock at least one tip account to be eligible for the auction"
    )


async def test_a_tip_through_a_lookup_table_is_no_tip(client: Client, desk: Desk) -> None:
    """The engine looks at a transaction's own keys only."""
    table = AddressLookupTableAccount(Pubkey.new_unique(), [TIP_ACCOUNT])
    blockhash = Hash.from_string(client.node.chain.bank("processed").blockhash)
    tip = pay(1_000, TIP_ACCOUNT)
    message = MessageV0.try_compile(WALLET.pubkey(), [tip], [table], blockhash)
    signed = parse_transaction(bytes(VersionedTransaction(message, [WALLET])))
    assert await refusal(client, signed) == body(
        "Bundles must write lock at least one tip account to be eligible for the auction"
    )


async def test_a_tip_below_the_least_is_refused(client: Client, desk: Desk) -> None:
    """All tips of a bundle count together."""
    assert await refusal(client, desk.tipping(tip=999)) == body(
        "Bundles must tip at least 1000 lamports"
    )
    assert (await send_bundle(client, desk.tipping(1, tip=999), desk.tipping(2, tip=1))).is_success


async def test_too_many_transactions_are_refused(client: Client, desk: Desk) -> None:
    """Five are a bundle, six are none."""
    six = [desk.tipping(1_000_000 + each) for each in range(6)]
    assert await refusal(client, *six) == body("bundle exceeds max transaction length")
    assert (await send_bundle(client, *six[:5])).is_success


async def test_a_transaction_twice_or_unsigned_is_refused(client: Client, desk: Desk) -> None:
    """In the same words."""
    trade = desk.tipping()
    unsigned = VersionedTransaction.populate(trade.message, [Signature.default()])
    for bundle in ([trade, trade], [parse_transaction(bytes(unsigned))]):
        assert await refusal(client, *bundle) == body(
            "bundles must not contain any duplicate transactions and every transaction must be "
            "signed"
        )


async def test_an_old_blockhash_is_refused(client: Client, desk: Desk) -> None:
    """Expired while the chain remembers it, invalid after that; also when it has landed before."""
    early, landed = desk.tipping(1), desk.tipping(2)
    await send_bundle(client, landed)
    await client.step(150)
    assert (await send_bundle(client, early)).is_success
    await client.step()
    for each in (desk_again(early), landed):
        assert await refusal(client, each) == body("bundle contains an expired blockhash")
    await client.step(300)
    assert await refusal(client, landed) == body("bundle contains an invalid blockhash")


def desk_again(trade: SignedTransaction) -> SignedTransaction:
    """Sign another transaction on the same blockhash."""
    tip = pay(1_234, TIP_ACCOUNT)
    return parse_transaction(bytes(sign(trade.blockhash, tip)))


async def test_a_landed_transaction_is_refused(client: Client, desk: Desk) -> None:
    """As long as its blockhash lives: then it is said to be known."""
    trade = desk.tipping()
    client.node.land(trade)
    assert await refusal(client, trade, desk.tipping(5)) == body(
        "bundle contains an already processed transaction"
    )
    response = await client.jito.post(
        TRANSACTIONS, "sendTransaction", encoded(trade.parsed), BASE64
    )
    assert response.json() == body("bundle contains an already processed transaction")
    assert "x-bundle-id" not in response.headers


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ([["frog"], BASE64], "transaction #0 could not be decoded"),
        ([["0OIl"]], "transaction #0 could not be decoded"),
        ([[b64encode(b"x" * 2_000).decode()], BASE64], "transaction #0 could not be decoded"),
        ([[]], "bundle contains no transactions"),
        ([7], "Invalid params: invalid type: integer, expected a list of strings."),
    ],
)
async def test_what_is_no_bundle_is_refused(
    client: Client, params: list[object], message: str
) -> None:
    """With status 400 and what is wrong."""
    response = await client.jito.post(BUNDLES, "sendBundle", *params)
    assert (response.status_code, response.json()) == (400, body(message))


async def test_at_most_five_ids_are_asked_at_once(client: Client) -> None:
    """More are refused."""
    response = await client.jito.post(BUNDLES, "getBundleStatuses", ["aa"] * 6)
    assert response.status_code == 400


# ------------------------------------------------------------------------------------- paths


@pytest.mark.parametrize("path", [BUNDLES, "/api/v1/getTipAccounts"])
async def test_the_tip_accounts_are_told(client: Client, path: str) -> None:
    """On the path of their own and on that of bundles."""
    accounts = [str(each) for each in derive_tip_accounts()]
    assert await client.jito.result(path, "getTipAccounts") == accounts


async def test_the_tip_floor_is_in_sol(client: Client) -> None:
    """One object in a list, with floats; a spike multiplies them."""
    path = "/api/v1/bundles/tip_floor"
    floor = {
        "time": "2027-01-15T08:00:00+00:00",
        "landed_tips_25th_percentile": 1e-06,
        "landed_tips_50th_percentile": 6e-06,
        "landed_tips_75th_percentile": 3e-05,
        "landed_tips_95th_percentile": 0.001,
        "landed_tips_99th_percentile": 0.009,
        "ema_landed_tips_50th_percentile": 6e-06,
    }
    assert (await client.jito.http.get(path)).json() == [floor]
    await client.script("fee_spike", endpoint="jito", times=1_000)
    (spiked,) = (await client.jito.http.get(path)).json()
    assert spiked["landed_tips_50th_percentile"] == 0.006
    assert (await client.jito.http.get(path)).json() == [floor]


@pytest.mark.parametrize("region", sorted(REGIONS))
async def test_every_region_reaches_the_same_leader(client: Client, region: str) -> None:
    """Its name comes before the path."""
    trade = Desk(client.node).tipping()
    result = await client.jito.result(f"/{region}{BUNDLES}", "sendBundle", texts(trade), BASE64)
    assert result == bundle_id_of([trade.signature])
    assert trade.signature in client.node.chain.landed


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/mars/api/v1/bundles", 404),
        ("POST", "/api/v1/frogs", 404),
        ("POST", "/", 404),
        ("POST", "/api/v1/bundles/tip_floor", 404),
        ("GET", "/api/v1/bundles", 405),
    ],
)
async def test_other_paths_are_not_found(
    client: Client, method: str, path: str, status: int
) -> None:
    """A region that is none, a path that is none, a verb that is none."""
    assert (await client.jito.http.request(method, path)).status_code == status


@pytest.mark.parametrize(
    ("path", "content", "code"),
    [
        (BUNDLES, b"{", -32700),
        (BUNDLES, b"[]", -32600),
        (BUNDLES, b'[{"jsonrpc":"2.0"},{"jsonrpc":"2.0"}]', -32600),
        (BUNDLES, b'{"jsonrpc":"2.0","id":1,"method":"getSlot"}', -32601),
        (TRANSACTIONS, b'{"jsonrpc":"2.0","id":1,"method":"sendBundle"}', -32601),
    ],
)
async def test_what_is_no_call_is_refused(
    client: Client, path: str, content: bytes, code: int
) -> None:
    """Nonsense, batches, and methods that another path has."""
    response = await client.jito.http.post(path, content=content)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == code


# ------------------------------------------------------------------------------------- limits


@pytest.fixture
async def limited(tmp_path: Path) -> AsyncIterator[Client]:
    """Give a client whose engine allows one request a second."""
    node = make_node(tmp_path)
    client = Client(node, EndpointOptions())
    async with client.http:
        yield client
    node.close()


async def test_one_request_a_second_is_allowed(limited: Client) -> None:
    """All methods count together; the refusal says how long to wait, and has no id."""
    assert await limited.jito.result(BUNDLES, "getTipAccounts")
    limited.timer.seconds += 0.25
    refused = await limited.jito.post(TRANSACTIONS, "sendTransaction", "x")
    assert refused.status_code == 429
    assert refused.json() == {
        "jsonrpc": "2.0",
        "error": {
            "code": -32097,
            "message": "Rate limit exceeded. Limit: 1 per second for txn requests. "
            "Back-off triggered: Retry after 750ms",
            "data": None,
        },
        "id": None,
    }
    limited.timer.seconds += 0.75
    assert await limited.jito.result(BUNDLES, "getTipAccounts")
    (_, entry, _) = await limited.journal()
    assert (entry["rpc_method"], entry["http"], entry["faults"]) == (
        "sendTransaction",
        429,
        ["rate_limit"],
    )


async def test_a_refused_send_goes_nowhere(limited: Client) -> None:
    """Over the limit means not forwarded."""
    await limited.jito.result(BUNDLES, "getTipAccounts")
    trade = Desk(limited.node).tipping()
    assert (await send_bundle(limited, trade)).status_code == 429
    assert trade.signature not in limited.node.chain.landed


async def test_regions_and_addresses_are_limited_each_for_itself(limited: Client) -> None:
    """Another region is asked at once, and so is the same one from another address."""
    other = httpx.ASGITransport(limited.app.jito, client=("127.0.0.2", 5))
    call = {"jsonrpc": "2.0", "id": 1, "method": "getTipAccounts", "params": []}
    for prefix in ("", "/frankfurt", "/tokyo"):
        assert await limited.jito.result(prefix + BUNDLES, "getTipAccounts")
    assert (await limited.jito.post("/mainnet" + BUNDLES, "getTipAccounts")).status_code == 429
    async with httpx.AsyncClient(transport=other, base_url="http://127.0.0.1") as elsewhere:
        assert (await elsewhere.post(BUNDLES, json=call)).is_success


async def test_the_tip_floor_is_not_limited(limited: Client) -> None:
    """It is another service's on the network."""
    for _ in range(5):
        assert (await limited.jito.http.get("/api/v1/bundles/tip_floor")).is_success
    assert await limited.jito.result(BUNDLES, "getTipAccounts")
