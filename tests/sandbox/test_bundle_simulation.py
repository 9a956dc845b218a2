"""Simulating a bundle: what would happen, in jito-solana's shapes, and nothing that does."""

from typing import Any

import pytest
from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.hash import Hash
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from app.sandbox.transactions import SignedTransaction, parse_transaction
from tests.sandbox.kit import (
    POOR,
    STRANGER,
    WALLET,
    Client,
    Desk,
    Json,
    encoded,
    pay,
    texts,
)
from tests.sandbox.test_ledger import picture


async def simulate(client: Client, *bundle: SignedTransaction, **config: object) -> Any:
    """Simulate a bundle; give the value of the answer."""
    nothing = [None] * len(bundle)
    both: Json = {"preExecutionAccountsConfigs": nothing, "postExecutionAccountsConfigs": nothing}
    params = [{"encodedTransactions": texts(*bundle)}, {**both, **config}]
    return (await client.quicknode.result("/", "simulateBundle", *params))["value"]


async def test_a_bundle_is_run_in_order_and_leaves_no_trace(client: Client, desk: Desk) -> None:
    """The second transaction spends what the first one brings; the chain stays as it was."""
    first = desk.signed(pay(10_000_000, POOR.pubkey()))
    second = desk.signed(pay(2_000_000, payer=POOR), payer=POOR)
    before = picture(client.node)
    shown = await simulate(client, first, second)
    assert shown["summary"] == "succeeded"
    assert [each["err"] for each in shown["transactionResults"]] == [None, None]
    assert [each["fee"] for each in shown["transactionResults"]] == [5_000, 5_000]
    assert shown["transactionResults"][1]["preBalances"][0] == 10_000_000
    assert shown["transactionResults"][1]["postBalances"][0] == 7_995_000
    assert all(each["unitsConsumed"] > 0 for each in shown["transactionResults"])
    assert picture(client.node) == before


async def test_the_first_failure_ends_it_and_is_summed_up(client: Client, desk: Desk) -> None:
    """With the signature and Agave's words; what comes after is not run."""
    good, bad = desk.payment(1_000_000), desk.swap(1_000_000, minimum_out=2**60)
    shown = await simulate(client, good, bad, desk.payment(2))
    failure = [bad.signature, "Error processing Instruction 0: custom program error: 0x1775"]
    assert shown["summary"] == {
        "failed": {"error": {"TransactionFailure": failure}, "tx_signature": bad.signature}
    }
    errors = [each["err"] for each in shown["transactionResults"]]
    assert errors == [None, {"InstructionError": [0, {"Custom": 6005}]}]


async def test_accounts_are_shown_before_and_after(client: Client, desk: Desk) -> None:
    """Each transaction's own, as they are at that moment."""
    wanted = {"addresses": [str(STRANGER), str(Pubkey.default())], "encoding": "base64"}
    bundle = [desk.payment(1_000_000), desk.payment(2_000_000)]
    shown = await simulate(
        client,
        *bundle,
        preExecutionAccountsConfigs=[None, wanted],
        postExecutionAccountsConfigs=[wanted, wanted],
    )
    first, second = shown["transactionResults"]
    assert first["preExecutionAccounts"] is None
    assert first["postExecutionAccounts"][0]["lamports"] == 1_000_000
    assert second["preExecutionAccounts"][0]["lamports"] == 1_000_000
    assert second["postExecutionAccounts"][0]["lamports"] == 3_000_000


async def test_what_cannot_land_any_more_fails(client: Client, desk: Desk) -> None:
    """A landed one, and one on an old blockhash; the latter not when it is to be replaced."""
    landed, late = desk.payment(1_000_000), desk.payment(2_000_000)
    client.node.land(landed)
    shown = await simulate(client, landed)
    assert shown["transactionResults"][0]["err"] == "AlreadyProcessed"
    await client.step(151)
    shown = await simulate(client, late)
    assert shown["transactionResults"][0]["err"] == "BlockhashNotFound"
    assert shown["transactionResults"][0]["replacementBlockhash"] is None
    shown = await simulate(client, late, replaceRecentBlockhash=True)
    assert shown["summary"] == "succeeded"
    newest = client.node.chain.bank("processed").blockhash
    assert shown["transactionResults"][0]["replacementBlockhash"]["blockhash"] == newest


async def test_signatures_are_looked_at_unless_it_is_said_not_to(
    client: Client, desk: Desk
) -> None:
    """So nothing that could execute needs to be shown to anybody."""
    unsigned = VersionedTransaction.populate(desk.payment().message, [Signature.default()])
    params: Json = {"encodedTransactions": [encoded(unsigned)]}
    error = await client.quicknode.error("/", "simulateBundle", params)
    assert error["code"] == -32003
    options = {
        "preExecutionAccountsConfigs": [None],
        "postExecutionAccountsConfigs": [None],
        "skipSigVerify": True,
    }
    answered = await client.quicknode.result("/", "simulateBundle", params, options)
    assert answered["value"]["summary"] == "succeeded"


BAD_BUNDLES: list[tuple[list[str], Json | None]] = [
    ([], None),
    (["frog"], None),
    (["x", "x"], None),
    (["x"], {}),
    (["x"], {"preExecutionAccountsConfigs": [None], "postExecutionAccountsConfigs": []}),
    (["x"], {"preExecutionAccountsConfigs": [7], "postExecutionAccountsConfigs": [None]}),
    (["x"], {"transactionEncoding": "base58"}),
]


@pytest.mark.parametrize(("written", "config"), BAD_BUNDLES)
async def test_a_simulation_that_means_nothing_is_refused(
    client: Client, written: list[str], config: Json | None
) -> None:
    """Empty, doubled, undecodable, or with lists of another length than the bundle."""
    params: list[object] = [{"encodedTransactions": written}]
    if config is not None:
        params.append(config)
    error = await client.quicknode.error("/", "simulateBundle", *params)
    assert error["code"] == -32602


async def test_a_transaction_with_an_unknown_table_fails(client: Client) -> None:
    """Its keys cannot be found, and that is its error."""
    table = AddressLookupTableAccount(Pubkey.new_unique(), [STRANGER])
    blockhash = Hash.from_string(client.node.chain.bank("processed").blockhash)
    message = MessageV0.try_compile(WALLET.pubkey(), [pay(1)], [table], blockhash)
    signed = parse_transaction(bytes(VersionedTransaction(message, [WALLET])))
    shown = await simulate(client, signed)
    assert shown["transactionResults"][0]["err"] == "AddressLookupTableNotFound"
