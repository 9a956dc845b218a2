"""What the block engine refuses, letter by letter, and what it has not got."""

from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.system_program import ID as SYSTEM_PROGRAM
from solders.transaction import VersionedTransaction

from app.sandbox.block_engine import REGIONS
from app.sandbox.server import EndpointOptions
from app.sandbox.tips import derive_tip_accounts
from app.sandbox.transactions import SignedTransaction, bundle_id_of, parse_transaction
from tests.sandbox.kit import (
    BASE64,
    MEMO_PROGRAM,
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
from tests.sandbox.ways import BUNDLES, send_bundle

TRANSACTIONS = "/api/v1/transactions"


async def refusal(client: Client, *bundle: SignedTransaction) -> object:
    """Send a bundle that must be refused; give the whole body."""
    response = await send_bundle(client, *bundle)
    assert response.status_code == 400
    return response.json()


def body(message: str) -> Json:
    """Write the body of a refusal."""
    return {"jsonrpc": "2.0", "error": {"code": -32602, "message": message}, "id": 1}


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


async def test_only_transfers_of_lamports_are_tips(client: Client, desk: Desk) -> None:
    """Another instruction that writes a tip account pays nothing, however it is written."""
    locked = [AccountMeta(TIP_ACCOUNT, is_signer=False, is_writable=True)]
    for each in (
        Instruction(MEMO_PROGRAM, b"", []),
        Instruction(SYSTEM_PROGRAM, (2).to_bytes(4, "little") + bytes(8), locked),
        Instruction(SYSTEM_PROGRAM, (8).to_bytes(4, "little") + b"\xff" * 8, locked),
        Instruction(SYSTEM_PROGRAM, b"", locked),
    ):
        assert await refusal(client, desk.signed(each, pay(0, TIP_ACCOUNT))) == body(
            "Bundles must tip at least 1000 lamports"
        )


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
    early, landed = desk.tipping(1_000_000), desk.tipping(2_000_000)
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
    assert (await limited.journal())[-1]["bundle_id"] == bundle_id_of([trade.signature])
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
