"""`simulateBundle`: run transactions one after the other on the newest state, without a trace.

Shapes are those of jito-solana's `rpc-client-api/src/bundles.rs`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.sandbox.account_methods import show_account
from app.sandbox.bundle_checks import undecodable
from app.sandbox.call import Call, blockhash_json, in_context
from app.sandbox.chain import Rehearse
from app.sandbox.errors import SIGNATURE_FAILED, RpcError, error_text, invalid
from app.sandbox.machine import Execution
from app.sandbox.params import Config, as_pubkey
from app.sandbox.render import Json, return_data_json
from app.sandbox.transactions import (
    InvalidTransaction,
    SignedTransaction,
    UnusableTable,
    decode_transaction,
)

TRANSACTIONS_MAX = 20

Shown = list[Json | None] | None


@dataclass(frozen=True, slots=True)
class _Wish:
    """What is asked of one transaction: accounts to show before it and after it."""

    transaction: SignedTransaction
    before: Config | None
    after: Config | None


def simulate_bundle(call: Call) -> object:
    """Say whether a bundle would land, and what each transaction up to the first failure does."""
    config = call.params.config(1)
    wishes = _wishes(call, config)
    if not config.flag("skipSigVerify") and not all(each.transaction.verifies() for each in wishes):
        raise RpcError(SIGNATURE_FAILED, "Transaction signature verification failure")
    bank = call.bank_at("processed", config)
    replaced = config.flag("replaceRecentBlockhash")
    refuse = (lambda _: None) if replaced else _refusal(call)
    shown_hash = blockhash_json(bank) if replaced else None
    results: list[Json] = []
    with call.node.chain.rehearsal() as run:
        for each in wishes:
            results.append(_result(call, each, run, refuse))
            results[-1]["replacementBlockhash"] = shown_hash
            if results[-1]["err"] is not None:
                break
    summary = _summary(wishes[len(results) - 1].transaction, results[-1]["err"])
    return in_context(bank, {"summary": summary, "transactionResults": results})


def _wishes(call: Call, config: Config) -> list[_Wish]:
    texts = call.params.config(0).texts("encodedTransactions")
    config.choice("transactionEncoding", "base64", ("base64",))
    if not 1 <= len(texts) <= TRANSACTIONS_MAX or len(set(texts)) < len(texts):
        raise invalid(f"a bundle has 1 to {TRANSACTIONS_MAX} transactions, all different")
    before = _accounts(call, config, "preExecutionAccountsConfigs", len(texts))
    after = _accounts(call, config, "postExecutionAccountsConfigs", len(texts))
    decoded = [_decode(*each) for each in enumerate(texts)]
    return [_Wish(*each) for each in zip(decoded, before, after, strict=True)]


def _accounts(call: Call, config: Config, key: str, count: int) -> Sequence[Config | None]:
    """Read what to show for each transaction: a configuration names it for all of them."""
    if len(call.params) < 2:  # noqa: PLR2004 - without a configuration nothing is shown
        return [None] * count
    wanted = config.objects(key)
    if len(wanted) != count:
        raise invalid(
            "pre/post_execution_accounts_configs must be equal in length to the number of "
            "transactions"
        )
    return wanted


def _decode(index: int, text: str) -> SignedTransaction:
    try:
        return decode_transaction(text, "base64")
    except InvalidTransaction as error:
        raise undecodable(index) from error


Refuse = Callable[[SignedTransaction], str | None]


def _refusal(call: Call) -> Refuse:
    chain = call.node.chain
    bank = chain.bank("processed")

    def refuse(transaction: SignedTransaction) -> str | None:
        if not chain.accepts_hash(transaction.blockhash, bank):
            return "BlockhashNotFound"
        return "AlreadyProcessed" if transaction.signature in chain.landed else None

    return refuse


def _result(call: Call, wish: _Wish, run: Rehearse, refuse: Refuse) -> Json:
    before = _show(call, wish.before)
    refused = refuse(wish.transaction)
    if refused is not None:
        return {**_outcome(refused, None), "preExecutionAccounts": before}
    try:
        execution = run(wish.transaction)
    except UnusableTable as error:
        return {**_outcome(str(error), None), "preExecutionAccounts": before}
    after = _show(call, wish.after)
    shown = _outcome(execution.err, execution)
    return {**shown, "preExecutionAccounts": before, "postExecutionAccounts": after}


def _show(call: Call, wanted: Config | None) -> Shown:
    if wanted is None:
        return None
    wanted.choice("encoding", "base64", ("base64",))
    read = call.node.chain.machine.read
    addresses = [as_pubkey(text) for text in wanted.texts("addresses")]
    return [show_account(call.node, read(each), wanted, "base64") for each in addresses]


def _outcome(err: object, execution: Execution | None) -> Json:
    meta = execution.meta if execution else None
    return {
        "err": err,
        "logs": meta.logs() if meta else [],
        "preExecutionAccounts": None,
        "postExecutionAccounts": None,
        "unitsConsumed": meta.compute_units_consumed() if meta else 0,
        "loadedAccountsDataSize": 0,
        "returnData": return_data_json(meta) if meta else None,
        "fee": meta.fee() if meta else None,
        "preBalances": execution.pre_balances if execution else None,
        "postBalances": execution.post_balances if execution else None,
    }


def _summary(last: SignedTransaction, err: object) -> object:
    if err is None:
        return "succeeded"
    failure = {"TransactionFailure": [last.signature, error_text(err)]}
    return {"failed": {"error": failure, "tx_signature": last.signature}}
