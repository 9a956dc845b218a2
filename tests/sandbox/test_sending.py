"""Sending and simulating: what runs, what is refused, what is shown of it afterwards."""

from base64 import b64decode, b64encode

import pytest
from solders.account import Account
from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.system_program import ID as SYSTEM_PROGRAM
from solders.transaction import VersionedTransaction

from app.sandbox.base58 import decode_base58, encode_base58
from app.sandbox.layouts import (
    BONK_MINT,
    TOKEN_PROGRAM,
    USDC_MINT,
    associated_token_address,
)
from app.sandbox.machine import TABLE_PROGRAM
from app.sandbox.node import faucet_keypair
from tests.sandbox.kit import STRANGER, WALLET, Client, Desk, encoded, memo, pay, sign

CONFIRMED = {"commitment": "confirmed"}
SHOWN = {"commitment": "confirmed", "maxSupportedTransactionVersion": 0}
BASE64 = {"encoding": "base64", "commitment": "confirmed"}


async def payment(
    client: Client, *extra: Instruction, legacy: bool = False
) -> VersionedTransaction:
    """Sign a payment on the newest confirmed blockhash."""
    return sign(await client.blockhash(), *extra, pay(1_000_000), legacy=legacy)


# ------------------------------------------------------------------------------------ sending


async def test_a_sent_transaction_becomes_confirmed_then_final(client: Client) -> None:
    """Its signature is the answer; its status climbs with the blocks; its slot stays."""
    sent = await payment(client)
    assert (await client.send(sent))["result"] == str(sent.signatures[0])
    first = await client.status(sent)
    assert (first["confirmationStatus"], first["confirmations"]) == ("processed", 0)
    await client.step()
    second = await client.status(sent)
    assert (second["confirmationStatus"], second["confirmations"]) == ("confirmed", 1)
    await client.step(32)
    third = await client.status(sent)
    assert (third["confirmationStatus"], third["confirmations"]) == ("finalized", None)
    assert third["err"] is None
    assert third["status"] == {"Ok": None}
    assert first["slot"] == second["slot"] == third["slot"]


async def test_base58_is_the_encoding_when_nothing_is_said(client: Client) -> None:
    """As Agave: slow, old and still the default."""
    sent = await payment(client)
    text = encode_base58(bytes(sent))
    assert await client.result("sendTransaction", text, {"preflightCommitment": "confirmed"})
    assert await client.status(sent)


async def test_preflight_defaults_to_the_finalized_bank(client: Client) -> None:
    """Which does not know a blockhash read at confirmed."""
    sent = await payment(client)
    error = await client.error("sendTransaction", encoded(sent), {"encoding": "base64"})
    assert (error["code"], error["data"]["err"]) == (-32002, "BlockhashNotFound")
    assert error["message"] == "Transaction simulation failed: Blockhash not found"


async def test_the_same_bytes_again_are_already_processed(client: Client) -> None:
    """With preflight an error, without it the signature; once the blockhash is old, that first."""
    sent = await payment(client)
    await client.send(sent)
    again = await client.send(sent)
    assert again["error"]["code"] == -32002
    assert again["error"]["data"]["err"] == "AlreadyProcessed"
    assert (await client.send(sent, skipPreflight=True))["result"] == str(sent.signatures[0])
    await client.step(151)
    late = await client.send(sent)
    assert late["error"]["data"]["err"] == "BlockhashNotFound"
    assert (await client.send(sent, skipPreflight=True))["result"] == str(sent.signatures[0])
    assert await client.value("getBalance", str(STRANGER), CONFIRMED) == 1_000_000


async def test_a_failing_swap_is_stopped_by_preflight(client: Client) -> None:
    """With the program's error, its logs and what it consumed; nothing lands."""
    desk = Desk(client.node)
    swap = desk.swap(1_000_000, minimum_out=2**60)
    error = (await client.send(swap.parsed))["error"]
    assert error["code"] == -32002
    assert error["data"]["err"] == {"InstructionError": [0, {"Custom": 6005}]}
    assert "custom program error: 0x1775" in error["message"]
    assert error["data"]["unitsConsumed"] > 0
    assert any("ExceededSlippage" in each or "6005" in each for each in error["data"]["logs"])
    assert await client.status(swap.parsed) is None


async def test_a_failing_swap_without_preflight_lands_as_failed(client: Client) -> None:
    """The fee is gone and the status says why."""
    swap = Desk(client.node).swap(1_000_000, minimum_out=2**60)
    await client.send(swap.parsed, skipPreflight=True)
    await client.step()
    status = await client.status(swap.parsed)
    assert status["err"] == {"InstructionError": [0, {"Custom": 6005}]}
    assert status["status"] == {"Err": status["err"]}
    shown = await client.result("getTransaction", swap.signature, SHOWN)
    assert shown["meta"]["err"] == status["err"]
    assert shown["meta"]["fee"] == 5_000
    paid = shown["meta"]["preBalances"][0] - shown["meta"]["postBalances"][0]
    assert paid == 5_000


@pytest.mark.parametrize("why", ["stranger", "expired", "forged"])
async def test_what_no_leader_would_include_vanishes_without_preflight(
    client: Client, why: str
) -> None:
    """The answer is the signature, and there never is a status."""
    sent = await payment(client)
    if why == "stranger":
        poor = Keypair()
        sent = sign(await client.blockhash(), pay(1, payer=poor), payer=poor)
    elif why == "expired":
        await client.step(152)
    else:
        wrong = Signature(bytes(range(64)))
        sent = VersionedTransaction.populate(sent.message, [wrong])
    assert (await client.send(sent, skipPreflight=True))["result"] == str(sent.signatures[0])
    await client.step(40)
    assert await client.status(sent) is None


async def test_a_forged_signature_is_stopped_by_preflight(client: Client) -> None:
    """As current Agave says it."""
    sent = await payment(client)
    forged = VersionedTransaction.populate(sent.message, [Signature(bytes(range(64)))])
    error = (await client.send(forged))["error"]
    assert (error["code"], error["data"]["err"]) == (-32002, "SignatureFailure")


@pytest.mark.parametrize(
    ("text", "encoding", "says"),
    [
        ("%", "base64", "invalid base64 encoding"),
        ("0", "base58", "invalid base58 encoding"),
        ("A" * 1_648, "base64", "too large: 1648 bytes (max: encoded/raw 1644/1232)"),
        (b64encode(bytes(1_233)).decode(), "base64", "too large: 1233 bytes (max: 1232 bytes)"),
        (b64encode(b"\x01\x02").decode(), "base64", "failed to deserialize"),
        ("", "base64", "failed to deserialize"),
        (b64encode(bytes(200)).decode(), "base64", "failed to sanitize"),
        ("AA==", "hex", "unknown variant `hex`"),
    ],
)
async def test_bytes_that_are_no_transaction_are_refused(
    client: Client, text: str, encoding: str, says: str
) -> None:
    """Code -32602, whatever is skipped."""
    options = {"encoding": encoding, "skipPreflight": True}
    error = await client.error("sendTransaction", text, options)
    assert error["code"] == -32602
    assert says in error["message"]


async def test_a_send_waits_for_no_context(client: Client) -> None:
    """A node that is not so far says so and forwards nothing."""
    sent = await payment(client)
    error = (await client.send(sent, minContextSlot=10**6))["error"]
    assert (error["code"], error["data"].keys()) == (-32016, {"contextSlot"})
    assert await client.status(sent) is None


# ------------------------------------------------------------------------------------ reading


async def test_a_transaction_is_shown_when_it_is_confirmed(client: Client) -> None:
    """Null before; then with slot, time, version and what it did."""
    limit, price = set_compute_unit_limit(20_000), set_compute_unit_price(123_456)
    sent = await payment(client, limit, price, memo("hello"))
    await client.send(sent)
    signature = str(sent.signatures[0])
    assert await client.result("getTransaction", signature, SHOWN) is None
    await client.step()
    shown = await client.result("getTransaction", signature, SHOWN)
    meta = shown["meta"]
    assert shown["version"] == 0
    assert shown["blockTime"] == client.node.chain.open.unix_time
    assert meta["fee"] == 5_000 + 2_470  # 20,000 x 123,456 / 10^6, rounded up
    assert meta["preBalances"][0] - meta["postBalances"][0] == meta["fee"] + 1_000_000
    assert meta["computeUnitsConsumed"] > 0
    assert "Program log: hello" in "".join(meta["logMessages"]).replace("Memo (len 5): ", "")
    assert await client.result("getTransaction", signature) is None  # not final yet


async def test_a_swap_is_shown_with_its_token_movements(client: Client) -> None:
    """Balances before and after by account index, and the transfers that the program made."""
    swap = Desk(client.node).swap(1_000_000)
    await client.send(swap.parsed)
    await client.step()
    shown = await client.result("getTransaction", swap.signature, SHOWN)
    keys = shown["transaction"]["message"]["accountKeys"]
    source = keys.index(str(associated_token_address(WALLET.pubkey(), USDC_MINT)))
    target = keys.index(str(associated_token_address(WALLET.pubkey(), BONK_MINT)))

    def amounts(which: str) -> dict[int, int]:
        return {
            each["accountIndex"]: int(each["uiTokenAmount"]["amount"])
            for each in shown["meta"][which]
        }

    before, after = amounts("preTokenBalances"), amounts("postTokenBalances")
    assert before[source] - after[source] == 1_000_000
    assert after[target] > before[target]
    moved = [each["instructions"] for each in shown["meta"]["innerInstructions"]]
    assert [len(each) for each in moved] == [2]
    assert moved[0][0]["stackHeight"] == 2


@pytest.mark.parametrize("encoding", ["base64", "base58", "binary"])
async def test_a_transaction_is_shown_as_its_bytes(client: Client, encoding: str) -> None:
    """Exactly those that were sent, also asked for in the old way."""
    sent = await payment(client)
    await client.send(sent)
    await client.step(33)
    shown = await client.result(
        "getTransaction", str(sent.signatures[0]), {**SHOWN, "encoding": encoding}
    )
    text = shown["transaction"]
    plain = text if encoding == "binary" else text[0]
    raw = b64decode(plain) if encoding == "base64" else decode_base58(plain)
    assert raw == bytes(sent)


async def test_a_version_the_client_does_not_know_is_an_error(client: Client) -> None:
    """A legacy transaction is shown to anyone, without a version to those who name none."""
    new, old = await payment(client), await payment(client, memo("old"), legacy=True)
    for each in (new, old):
        await client.send(each)
    await client.step(33)
    error = await client.error("getTransaction", str(new.signatures[0]))
    assert error["code"] == -32015
    shown = await client.result("getTransaction", str(old.signatures[0]), "json")
    assert "version" not in shown
    assert "addressTableLookups" not in shown["transaction"]["message"]
    named = await client.result("getTransaction", str(old.signatures[0]), SHOWN)
    assert named["version"] == "legacy"


async def test_old_statuses_need_a_history_search(client: Client) -> None:
    """The recent cache forgets after 300 slots; history does not."""
    sent = await payment(client)
    await client.send(sent)
    await client.step(300)
    assert await client.status(sent, searchTransactionHistory=False) is not None
    await client.step(60)
    assert await client.status(sent, searchTransactionHistory=False) is None
    assert (await client.status(sent))["confirmationStatus"] == "finalized"


async def test_signatures_of_an_address_come_newest_first_with_memos(client: Client) -> None:
    """Pages by before and until, memos as Agave prints them, at the commitment asked for."""
    sent = []
    for index in range(5):
        each = await payment(client, memo(f"order {index}"), memo(b"\xff"))
        sent.append(str(each.signatures[0]))
        await client.send(each, skipPreflight=True)  # the second memo is no text: it fails
        await client.step()

    async def listed(**config: object) -> list[str]:
        found = await client.result(
            "getSignaturesForAddress", str(STRANGER), {**CONFIRMED, **config}
        )
        return [each["signature"] for each in found]

    newest_first = sent[::-1]
    assert await listed() == newest_first
    assert await listed(limit=2) == newest_first[:2]
    assert await listed(before=sent[3]) == newest_first[2:]
    assert await listed(before=sent[3], limit=1) == [sent[2]]
    assert await listed(until=sent[1]) == newest_first[:3]
    assert await listed(before=sent[4], until=sent[1]) == [sent[3], sent[2]]
    assert await listed(before="1" * 64) == []
    assert await listed(commitment="finalized") == []
    found = await client.result("getSignaturesForAddress", str(WALLET.pubkey()), CONFIRMED)
    assert found[0]["memo"] == "[7] order 4; [1] (unparseable)"
    assert found[0]["confirmationStatus"] == "confirmed"
    assert await client.result("getSignaturesForAddress", str(Pubkey.new_unique())) == []


async def test_a_transaction_without_memo_is_listed_with_null(client: Client) -> None:
    """And one that is not confirmed is not listed."""
    await client.send(await payment(client))
    assert await client.result("getSignaturesForAddress", str(STRANGER), CONFIRMED) == []
    await client.step()
    found = await client.result("getSignaturesForAddress", str(STRANGER), CONFIRMED)
    assert found[0]["memo"] is None


# --------------------------------------------------------------------------------- simulating


async def test_a_simulation_changes_nothing(client: Client) -> None:
    """It says what would happen, with unsigned bytes and a blockhash of its own."""
    signed = Desk(client.node).swap(1_000_000)
    unsigned = VersionedTransaction.populate(signed.message, [Signature.default()])
    before = client.node.chain.transaction_count
    options = {**BASE64, "sigVerify": False, "replaceRecentBlockhash": True}
    value = await client.value("simulateTransaction", encoded(unsigned), options)
    assert value["err"] is None
    assert value["unitsConsumed"] > 1_000
    assert value["logs"]
    assert value["fee"] == 5_000
    assert value["replacementBlockhash"]["blockhash"] == await client.blockhash()
    assert (value["accounts"], value["innerInstructions"]) == (None, None)
    assert client.node.chain.transaction_count == before


async def test_a_simulation_shows_accounts_and_inner_instructions_when_asked(
    client: Client,
) -> None:
    """As they would be afterwards; null for what would not exist."""
    signed = Desk(client.node).signed(pay(1_000_000), Desk(client.node).swap_instruction(1_000))
    addresses = [str(STRANGER), str(WALLET.pubkey()), str(USDC_MINT), str(Pubkey.new_unique())]
    options = {
        **BASE64,
        "innerInstructions": True,
        "accounts": {"encoding": "base64", "addresses": addresses},
    }
    value = await client.value("simulateTransaction", encoded(signed.parsed), options)
    assert value["accounts"][0]["lamports"] == 1_000_000
    assert value["accounts"][2]["space"] == 82
    assert value["accounts"][3] is None
    assert value["innerInstructions"][0]["index"] == 1


async def test_a_simulation_that_fails_says_so_in_its_value(client: Client) -> None:
    """An error of the transaction is no error of the call; accounts asked for are null."""
    wanted = {"accounts": {"encoding": "base64", "addresses": [str(STRANGER)]}}
    swap = Desk(client.node).swap(1_000_000, minimum_out=2**60)
    value = await client.value("simulateTransaction", encoded(swap.parsed), {**BASE64, **wanted})
    assert value["err"] == {"InstructionError": [0, {"Custom": 6005}]}
    assert value["accounts"] == [None]
    old = sign("1" * 32, pay(1))
    value = await client.value("simulateTransaction", encoded(old), {**BASE64, **wanted})
    assert (value["err"], value["accounts"]) == ("BlockhashNotFound", [None])
    value = await client.value("simulateTransaction", encoded(old), BASE64)
    assert (value["err"], value["accounts"]) == ("BlockhashNotFound", None)


async def test_a_simulation_checks_signatures_only_when_asked(client: Client) -> None:
    """And never together with a replaced blockhash."""
    sent = await payment(client)
    unsigned = VersionedTransaction.populate(sent.message, [Signature.default()])
    value = await client.value("simulateTransaction", encoded(unsigned), BASE64)
    assert value["err"] is None
    verify = {**BASE64, "sigVerify": True}
    value = await client.value("simulateTransaction", encoded(unsigned), verify)
    assert value["err"] == "SignatureFailure"
    assert (await client.value("simulateTransaction", encoded(sent), verify))["err"] is None
    both = {**verify, "replaceRecentBlockhash": True}
    error = await client.error("simulateTransaction", encoded(unsigned), both)
    assert error["code"] == -32602


@pytest.mark.parametrize(
    ("instruction", "err", "says"),
    [
        (Instruction(STRANGER, b"", []), "InvalidProgramForExecution", "may not be used"),
        (pay(1), {"InsufficientFundsForRent": {"account_index": 1}}, "insufficient funds for rent"),
        (set_compute_unit_limit(2), {"DuplicateInstruction": 1}, "duplicate instruction (1)"),
        (
            Instruction(SYSTEM_PROGRAM, b"\xff", [AccountMeta(STRANGER, False, True)]),
            {"InstructionError": [1, "InvalidInstructionData"]},
            "Error processing Instruction 1: InvalidInstructionData",
        ),
    ],
)
async def test_transaction_errors_have_agaves_shapes(
    client: Client, instruction: Instruction, err: object, says: str
) -> None:
    """Names as text, details as objects, and a sentence for people."""
    sent = sign(await client.blockhash(), set_compute_unit_limit(50_000), instruction)
    error = (await client.send(sent))["error"]
    assert error["data"]["err"] == err
    assert says in error["message"]


async def test_what_a_program_returns_is_shown(client: Client) -> None:
    """In the simulation and afterwards: here the size of a token account, by the token program."""
    mint = AccountMeta(USDC_MINT, is_signer=False, is_writable=False)
    ask_size = Instruction(TOKEN_PROGRAM, bytes([21]), [mint])
    sent = sign(await client.blockhash(), ask_size)
    returned = {
        "programId": str(TOKEN_PROGRAM),
        "data": [b64encode((165).to_bytes(8, "little")).decode(), "base64"],
    }
    value = await client.value("simulateTransaction", encoded(sent), BASE64)
    assert value["returnData"] == returned
    await client.send(sent)
    await client.step()
    shown = await client.result("getTransaction", str(sent.signatures[0]), SHOWN)
    assert shown["meta"]["returnData"] == returned


# --------------------------------------------------------------------------------------- fees


async def test_the_fee_of_a_message_includes_its_priority_fee(client: Client) -> None:
    """Base fee plus limit times price, rounded up; null when its blockhash is not valid."""
    sent = await payment(client, set_compute_unit_limit(1_001), set_compute_unit_price(1_000))
    # a version 0 message on the wire begins with its version
    text = b64encode(b"\x80" + bytes(sent.message)).decode()
    assert await client.value("getFeeForMessage", text, CONFIRMED) == 5_000 + 2
    assert await client.value("getFeeForMessage", text) is None
    for broken in ("%", "AAAA"):
        error = await client.error("getFeeForMessage", broken)
        assert error["code"] == -32602


async def test_an_airdrop_is_a_transaction_like_any_other(client: Client) -> None:
    """Two equal ones in one block are two; each has a status."""
    first = await client.result("requestAirdrop", str(STRANGER), 5_000_000)
    second = await client.result("requestAirdrop", str(STRANGER), 5_000_000)
    assert first != second
    await client.step()
    assert await client.value("getBalance", str(STRANGER), CONFIRMED) == 10_000_000
    statuses = await client.value("getSignatureStatuses", [first, second])
    assert [each["confirmationStatus"] for each in statuses] == ["confirmed"] * 2


async def test_an_airdrop_that_cannot_be_is_refused(client: Client) -> None:
    """An unknown blockhash is named; so is a faucet that is dry."""
    known = {"recentBlockhash": await client.blockhash()}
    await client.result("requestAirdrop", str(STRANGER), 5_000_000, known)
    unknown = {"recentBlockhash": "1" * 32}
    error = await client.error("requestAirdrop", str(STRANGER), 5_000_000, unknown)
    assert error["code"] == -32602
    client.node.chain.machine.write(faucet_keypair(7).pubkey(), None)
    error = await client.error("requestAirdrop", str(STRANGER), 5_000_000)
    assert error["code"] == -32603
    assert "no record of a prior credit" in error["message"]


async def test_an_airdrop_of_too_much_fails_on_the_chain(client: Client) -> None:
    """It lands, as failed."""
    signature = await client.result("requestAirdrop", str(STRANGER), 2**63)
    status = (await client.value("getSignatureStatuses", [signature]))[0]
    assert status["err"] == {"InstructionError": [0, {"Custom": 1}]}


# -------------------------------------------------------------------------- address tables


TABLE = Pubkey.from_bytes(bytes(range(32)))


def write_table(client: Client, *addresses: Pubkey, owner: Pubkey = TABLE_PROGRAM) -> None:
    """Put an address lookup table on the chain."""
    head = (1).to_bytes(4, "little") + b"\xff" * 8 + bytes(44)
    data = head + b"".join(map(bytes, addresses))
    client.node.chain.machine.write(TABLE, Account(10**9, data, owner))


def looked_up(client: Client, blockhash: str, *indexes: int) -> VersionedTransaction:
    """Sign a payment whose receiver comes from the table, the first index writable."""
    header, hash_bytes = b"\x80" + bytes([1, 0, 1]), bytes(Hash.from_string(blockhash))
    body = bytes([2]) + bytes(WALLET.pubkey()) + bytes(SYSTEM_PROGRAM) + hash_bytes
    transfer = bytes([1, 1, 2, 0, 2, 12, 2, 0, 0, 0]) + (1_000_000).to_bytes(8, "little")
    table = bytes([1]) + bytes(TABLE) + bytes([1, indexes[0], len(indexes) - 1, *indexes[1:]])
    unsigned = header + body + transfer + table
    signature = WALLET.sign_message(unsigned)
    return VersionedTransaction.from_bytes(b"\x01" + bytes(signature) + unsigned)


async def test_addresses_are_loaded_from_a_lookup_table(client: Client) -> None:
    """The payment arrives, and the transaction is listed and shown with what was loaded."""
    other = Pubkey.new_unique()
    write_table(client, other, STRANGER)
    sent = looked_up(client, await client.blockhash(), 1, 0)
    assert "result" in await client.send(sent)
    await client.step()
    shown = await client.result("getTransaction", str(sent.signatures[0]), SHOWN)
    assert shown["meta"]["loadedAddresses"] == {
        "writable": [str(STRANGER)],
        "readonly": [str(other)],
    }
    lookups = shown["transaction"]["message"]["addressTableLookups"]
    assert lookups[0]["writableIndexes"] == [1]
    found = await client.result("getSignaturesForAddress", str(STRANGER), CONFIRMED)
    assert len(found) == 1
    assert await client.value("getBalance", str(STRANGER), CONFIRMED) == 1_000_000


@pytest.mark.parametrize("fault", ["absent", "owner", "short", "index"])
async def test_a_table_that_cannot_be_used_keeps_a_transaction_out(
    client: Client, fault: str
) -> None:
    """Without preflight it vanishes, with it the reason is named."""
    if fault == "owner":
        write_table(client, STRANGER, owner=SYSTEM_PROGRAM)
    elif fault == "short":
        client.node.chain.machine.write(TABLE, Account(10**9, bytes(10), TABLE_PROGRAM))
    elif fault == "index":
        write_table(client, STRANGER)
    sent = looked_up(client, await client.blockhash(), 1)
    assert "result" in await client.send(sent, skipPreflight=True)
    assert await client.status(sent) is None
    error = (await client.send(sent))["error"]
    names = {
        "absent": "AddressLookupTableNotFound",
        "owner": "InvalidAddressLookupTableOwner",
        "short": "InvalidAddressLookupTableData",
        "index": "InvalidAddressLookupTableIndex",
    }
    assert error["data"]["err"] == names[fault]
