"""The JSON-RPC interface: reads, in Agave's shapes and with its errors."""

import json
from base64 import b64decode, b64encode
from typing import Any

import pytest
from solders.account import Account
from solders.pubkey import Pubkey

from app.sandbox.base58 import decode_base58
from app.sandbox.genesis import pool_address
from app.sandbox.http import BODY_BYTES_MAX
from app.sandbox.layouts import BONK_MINT, SOL_MINT, TOKEN_PROGRAM, USDC_MINT
from app.sandbox.layouts import associated_token_address as ata
from tests.sandbox.kit import STRANGER, WALLET, Client, Desk

CONFIRMED = {"commitment": "confirmed"}
PROCESSED = {"commitment": "processed"}
USDC_ACCOUNT = str(ata(WALLET.pubkey(), USDC_MINT))
POOL = str(pool_address(BONK_MINT, USDC_MINT))


# ------------------------------------------------------------------------------- the protocol


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", -32700),
        (b"\xff", -32700),
        (b"[]", -32600),
        (b"1", -32600),
        (b'{"jsonrpc":"1.0","id":1,"method":"getSlot"}', -32600),
        (b'{"jsonrpc":"2.0","id":1}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":7}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"getFrog"}', -32601),
        (b'{"jsonrpc":"2.0","id":1,"method":"getSlot","params":{"a":1}}', -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"getSlot","params":[7]}', -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"getBalance"}', -32602),
    ],
)
async def test_what_is_no_call_gets_its_error(client: Client, body: bytes, code: int) -> None:
    """Each kind of nonsense has the code that JSON-RPC gives it."""
    response = await client.http.post("/", content=body)
    assert response.status_code == 200
    assert response.json()["error"]["code"] == code


async def test_a_batch_is_answered_call_by_call(client: Client) -> None:
    """In order, errors among results, a batch of one as a batch."""
    calls = [
        {"jsonrpc": "2.0", "id": "a", "method": "getHealth"},
        {"jsonrpc": "2.0", "id": "b", "method": "getFrog"},
        {"jsonrpc": "2.0", "id": "c", "method": "getGenesisHash"},
    ]
    answers = (await client.http.post("/", json=calls)).json()
    assert [each["id"] for each in answers] == ["a", "b", "c"]
    assert answers[0]["result"] == "ok"
    assert answers[1]["error"]["code"] == -32601
    assert answers[2]["result"] == client.node.chain.genesis_hash
    assert len((await client.http.post("/", json=calls[:1])).json()) == 1


async def test_a_body_over_the_limit_is_refused(client: Client) -> None:
    """A body at the limit is read, one byte more is 413."""
    call = b'{"jsonrpc":"2.0","id":1,"method":"getHealth"}'
    fits = await client.http.post("/", content=call.ljust(BODY_BYTES_MAX))
    assert fits.json()["result"] == "ok"
    response = await client.http.post("/", content=call.ljust(BODY_BYTES_MAX + 1))
    assert response.status_code == 413


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("GET", "/", 405), ("PUT", "/sandbox/step", 405)],
)
async def test_other_paths_are_not_found(
    client: Client, method: str, path: str, status: int
) -> None:
    """A path that does not exist is 404, a wrong method 405."""
    assert (await client.http.request(method, path)).status_code == status


async def test_health_answers_to_a_plain_get(client: Client) -> None:
    """As Agave does, for load balancers."""
    response = await client.http.get("/health")
    assert (response.status_code, response.text) == (200, "ok")


@pytest.mark.parametrize(
    ("method", "params", "says"),
    [
        ("getBalance", ["11"], "Invalid param: "),
        ("getBalance", [7], "invalid type: integer, expected a string"),
        ("getBalance", [], "should have at least 1"),
        ("getSlot", [{"commitment": "recent"}], "unknown variant `recent`"),
        ("getSlot", [{"minContextSlot": -1}], "expected u64"),
        ("getSlot", [{"minContextSlot": True}], "expected u64"),
        ("getSignatureStatuses", ["x"], "expected a list of strings"),
        ("getSignatureStatuses", [[7]], "expected a list of strings"),
        ("getSignatureStatuses", [["frog"]], "Invalid param: "),
        (
            "getSignatureStatuses",
            [[], {"searchTransactionHistory": 1}],
            "expected a boolean",
        ),
        ("getAccountInfo", [USDC_ACCOUNT, {"encoding": "hex"}], "unknown variant `hex`"),
        ("getAccountInfo", [USDC_ACCOUNT, {"dataSlice": 7}], "expected an object"),
        ("getAccountInfo", [USDC_ACCOUNT, {"dataSlice": {"offset": 1}}], "missing field"),
        ("getTokenAccountsByOwner", [USDC_ACCOUNT, {"mint": 7}], "expected a string"),
        ("getTokenAccountsByOwner", [USDC_ACCOUNT, {}], "expected `mint` or `programId`"),
        ("getTokenAccountsByOwner", [USDC_ACCOUNT, {"mint": POOL}], "could not find mint"),
        ("getTokenAccountsByOwner", [POOL, {"mint": USDC_ACCOUNT}], "could not find mint"),
        (
            "getTokenAccountsByOwner",
            [USDC_ACCOUNT, {"programId": POOL}],
            "unrecognized Token program id",
        ),
        ("getTokenAccountBalance", [str(STRANGER)], "could not find account"),
        ("getTokenAccountBalance", [POOL], "not a Token account"),
        ("getSignaturesForAddress", [POOL, {"limit": 0}], "Invalid limit; max 1000"),
        ("getSignaturesForAddress", [POOL, {"limit": 1001}], "Invalid limit; max 1000"),
        ("getSignaturesForAddress", [POOL, PROCESSED], "commitment below `confirmed`"),
        ("getTransaction", ["1" * 64, PROCESSED], "commitment below `confirmed`"),
        ("getTransaction", ["1" * 64, "frog"], "unknown variant `frog`"),
        ("getMinimumBalanceForRentExemption", ["x"], "expected u64"),
        ("getMultipleAccounts", [[POOL] * 101], "Too many inputs provided; max 100"),
        ("getSignatureStatuses", [["1" * 64] * 257], "Too many inputs provided; max 256"),
        ("getRecentPrioritizationFees", [[POOL] * 129], "Too many inputs provided; max 128"),
    ],
)
async def test_bad_parameters_are_refused_in_agaves_words(
    client: Client, method: str, params: list[object], says: str
) -> None:
    """Code -32602 and a text that names what is wrong."""
    error = await client.error(method, *params)
    assert error["code"] == -32602
    assert says in error["message"]


# --------------------------------------------------------------------------------- the chain


async def test_heights_and_slots_obey_commitment(client: Client) -> None:
    """Three different answers, and finalized without one."""
    for method in ("getSlot", "getBlockHeight"):
        seen = [
            await client.result(method, {"commitment": each})
            for each in ("processed", "confirmed", "finalized")
        ]
        assert seen == sorted(set(seen), reverse=True)
        assert await client.result(method) == seen[-1]


async def test_epoch_info_gives_slot_and_height_of_one_bank(client: Client) -> None:
    """The pair that an expiry proof needs comes from one answer."""
    info = await client.result("getEpochInfo", CONFIRMED)
    assert info["absoluteSlot"] == await client.result("getSlot", CONFIRMED)
    assert info["blockHeight"] == await client.result("getBlockHeight", CONFIRMED)
    assert info["slotIndex"] + info["epoch"] * info["slotsInEpoch"] == info["absoluteSlot"]


async def test_a_blockhash_comes_with_its_last_valid_height(client: Client) -> None:
    """It is the bank's height plus 150, and the hash is valid until then."""
    height = await client.result("getBlockHeight", CONFIRMED)
    answer = await client.result("getLatestBlockhash", CONFIRMED)
    assert answer["value"]["lastValidBlockHeight"] == height + 150
    assert answer["context"]["slot"] == await client.result("getSlot", CONFIRMED)
    blockhash = answer["value"]["blockhash"]
    assert await client.value("isBlockhashValid", blockhash, CONFIRMED) is True
    assert await client.value("isBlockhashValid", blockhash) is False  # not yet final
    await client.step(151)
    assert await client.value("isBlockhashValid", blockhash, CONFIRMED) is False
    assert await client.value("isBlockhashValid", "1" * 32, CONFIRMED) is False


async def test_a_context_that_is_not_reached_is_said(client: Client) -> None:
    """Error -32016 with the slot the node is at; reached, the answer comes."""
    slot = await client.result("getSlot", CONFIRMED)
    error = await client.error("getBalance", POOL, {**CONFIRMED, "minContextSlot": slot + 1})
    assert (error["code"], error["data"]) == (-32016, {"contextSlot": slot})
    await client.value("getBalance", POOL, {**CONFIRMED, "minContextSlot": slot})


async def test_the_node_names_itself(client: Client) -> None:
    """Version, genesis hash and the first slot known."""
    assert (await client.result("getVersion"))["solana-core"]
    assert len(decode_base58(await client.result("getGenesisHash"))) == 32
    assert await client.result("minimumLedgerSlot") == client.node.chain.rules.first_slot
    assert await client.result("getMinimumBalanceForRentExemption", 165) == 2_039_280


async def test_priority_fees_are_those_of_recent_blocks(client: Client) -> None:
    """For no account the lowest price of a block, for an account the lowest that locked it."""
    desk = Desk(client.node)
    for price in (7_000, 3_000):
        client.node.land(desk.payment(1_000_000 + price, price=price))
    client.node.land(desk.signed(desk.swap_instruction(1_000)))
    slot = client.node.chain.open.slot
    await client.step(2)

    async def fee(*accounts: str) -> int:
        answered = await client.result("getRecentPrioritizationFees", list(accounts))
        return {each["slot"]: int(each["prioritizationFee"]) for each in answered}[slot]

    assert await fee() == 0
    assert await fee(str(STRANGER)) == 3_000
    assert await fee(POOL) == 0
    await client.step(200)
    assert len(await client.result("getRecentPrioritizationFees")) == 150


# ---------------------------------------------------------------------------------- accounts


async def test_a_balance_obeys_commitment(client: Client) -> None:
    """A payment shows at processed first; who has nothing has 0."""
    client.node.land(Desk(client.node).payment(1_000_000))
    seen = [
        await client.value("getBalance", str(STRANGER), {"commitment": each})
        for each in ("processed", "confirmed", "finalized")
    ]
    assert seen == [1_000_000, 0, 0]


async def test_an_account_is_shown_in_the_encoding_asked_for(client: Client) -> None:
    """base64, a slice of it, base58, and null for what does not exist."""
    whole = await client.value("getAccountInfo", POOL, {"encoding": "base64"})
    data = b64decode(whole["data"][0])
    assert (len(data), whole["space"], whole["data"][1]) == (637, 637, "base64")
    assert whole["rentEpoch"] == 2**64 - 1
    assert whole["executable"] is False
    piece = {"dataSlice": {"offset": 8, "length": 32}}
    base64 = await client.value("getAccountInfo", POOL, {"encoding": "base64", **piece})
    base58 = await client.value("getAccountInfo", POOL, {"encoding": "base58", **piece})
    binary = await client.value("getAccountInfo", POOL, piece)
    assert b64decode(base64["data"][0]) == data[8:40]
    assert decode_base58(base58["data"][0]) == data[8:40]
    assert decode_base58(binary["data"]) == data[8:40]
    assert await client.value("getAccountInfo", str(STRANGER)) is None


async def test_an_account_too_large_for_base58_is_refused(client: Client) -> None:
    """As Agave does: another encoding is to be used."""
    error = await client.error("getAccountInfo", POOL)
    assert "please use Base64 encoding" in error["message"]


async def test_a_token_account_is_shown_parsed(client: Client) -> None:
    """Owner, mint, exact amount; other accounts fall back to base64."""
    shown = await client.value("getAccountInfo", USDC_ACCOUNT, {"encoding": "jsonParsed"})
    info = shown["data"]["parsed"]["info"]
    assert (info["owner"], info["mint"]) == (str(WALLET.pubkey()), str(USDC_MINT))
    assert info["tokenAmount"]["amount"] == "1000000000000"
    other = await client.value("getAccountInfo", POOL, {"encoding": "jsonParsed"})
    assert other["data"][1] == "base64"


async def test_wrapped_sol_is_shown_as_native(client: Client) -> None:
    """With the lamports that keep its account alive."""
    keeper = client.node.genesis.wallets["keeper"].pubkey()
    account = str(ata(keeper, SOL_MINT))
    shown = await client.value("getAccountInfo", account, {"encoding": "jsonParsed"})
    info = shown["data"]["parsed"]["info"]
    assert info["isNative"] is True
    assert info["rentExemptReserve"]["amount"] == "2039280"


async def test_many_accounts_come_in_the_order_asked_for(client: Client) -> None:
    """With null where there is none, in base64 when nothing is said."""
    asked = [POOL, str(STRANGER), USDC_ACCOUNT]
    shown = await client.value("getMultipleAccounts", asked, CONFIRMED)
    assert [each and each["space"] for each in shown] == [637, None, 165]
    assert shown[0]["data"][1] == "base64"
    assert await client.value("getMultipleAccounts", []) == []


async def test_a_token_balance_is_exact(client: Client) -> None:
    """Base units as text, decimals, and the number people read."""
    client.node.land(Desk(client.node).swap(1_234_567))
    value = await client.value("getTokenAccountBalance", USDC_ACCOUNT, PROCESSED)
    assert value == {
        "amount": "999998765433",
        "decimals": 6,
        "uiAmount": 999998.765433,
        "uiAmountString": "999998.765433",
    }


async def test_token_accounts_are_found_by_owner(client: Client) -> None:
    """Of one mint or of the program, parsed or raw; a stranger has none."""
    owner = str(WALLET.pubkey())
    one = await client.value(
        "getTokenAccountsByOwner", owner, {"mint": str(USDC_MINT)}, {"encoding": "jsonParsed"}
    )
    assert [each["pubkey"] for each in one] == [USDC_ACCOUNT]
    program = {"programId": str(TOKEN_PROGRAM)}
    every = await client.value("getTokenAccountsByOwner", owner, program, {"encoding": "base64"})
    assert USDC_ACCOUNT in [each["pubkey"] for each in every]
    assert len(every) == 3
    assert await client.value("getTokenAccountsByOwner", str(STRANGER), program) == []


async def test_a_token_account_that_changes_hands_is_found_under_its_owner(client: Client) -> None:
    """The index follows every write, to another owner and away."""
    machine = client.node.chain.machine
    address = Pubkey.from_string(USDC_ACCOUNT)
    account = machine.read(address)
    assert account is not None
    data = account.data[:32] + bytes(STRANGER) + account.data[64:]
    machine.write(address, Account(account.lamports, data, account.owner))
    assert address in machine.holdings.of(STRANGER)
    assert address not in machine.holdings.of(WALLET.pubkey())
    machine.write(address, None)
    assert machine.holdings.of(STRANGER) == ()


# -------------------------------------------------------------------------------- the control


async def test_info_describes_market_and_wallets(client: Client) -> None:
    """What a bot needs to begin: addresses, position, name of the chain."""
    info = await client.control("info", method="GET")
    assert {each["name"] for each in info["markets"]} == {"SOL-USDC", "BONK-USDC", "RAY-SOL"}
    assert info["wallets"]["wallet"] == str(WALLET.pubkey())
    assert info["genesis_hash"] == client.node.chain.genesis_hash
    assert info["slot"] == client.node.chain.open.slot


async def test_the_clock_steps_on_request(client: Client) -> None:
    """By one without a word, by as many as asked for."""
    before = client.node.chain.open.height
    await client.control("step")
    position = await client.step(5)
    assert position["block_height"] == before + 6


@pytest.mark.parametrize("body", ["[]", "{", '{"slots":0}', '{"slots":true}', '{"slots":10001}'])
async def test_a_wrong_step_is_refused(client: Client, body: str) -> None:
    """Nothing moves."""
    before = client.node.chain.open.height
    response = await client.http.post("/sandbox/step", content=body)
    assert response.status_code == 400
    assert client.node.chain.open.height == before


async def test_the_journal_tells_what_was_asked(client: Client) -> None:
    """Each call with port, path, method and the name of what was sent; control calls are none."""
    payment = Desk(client.node).payment()
    await client.result("getSlot")
    config = {"encoding": "base64", "skipPreflight": True}
    await client.result("sendTransaction", b64encode(payment.raw).decode(), config)
    await client.http.post("/", content=b"{")
    journal = (await client.control("journal", method="GET"))["entries"]
    assert [each["rpc_method"] for each in journal] == ["getSlot", "sendTransaction", ""]
    assert [each["n"] for each in journal] == [1, 2, 3]
    assert (journal[0]["port"], journal[0]["path"]) == (8899, "/")
    assert (journal[0]["sha256"], journal[0]["signature"]) == (None, None)
    assert (journal[1]["sha256"], journal[1]["signature"]) == (payment.digest, payment.signature)
    later = (await client.control("journal?after=2", method="GET"))["entries"]
    assert [each["n"] for each in later] == [3]
    assert (await client.http.get("/sandbox/journal?after=x")).status_code == 400


async def test_every_answer_is_json_a_strict_reader_takes(client: Client) -> None:
    """No NaN, no infinity, whatever is asked."""

    def refuse(constant: str) -> Any:
        raise AssertionError(constant)

    for method in ("getRecentPrioritizationFees", "getEpochInfo", "getVersion"):
        document = {"jsonrpc": "2.0", "id": 1, "method": method}
        response = await client.http.post("/", json=document)
        json.loads(response.content, parse_constant=refuse)
