"""The methods that take a transaction: send, simulate, ask its fee; and the airdrop."""

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from types import MappingProxyType

from solders.message import Message, MessageV0, from_bytes_versioned
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from app.sandbox.account_methods import show_account
from app.sandbox.blocks import Bank, NotIncluded
from app.sandbox.call import Call, Method, blockhash_json, check_health, in_context
from app.sandbox.errors import INTERNAL_ERROR, PREFLIGHT_FAILED, RpcError, error_text, invalid
from app.sandbox.machine import Simulation
from app.sandbox.params import Config, as_pubkey
from app.sandbox.render import Json, inner_json, return_data_json
from app.sandbox.transactions import (
    InvalidTransaction,
    SignedTransaction,
    decode_transaction,
    other_signature,
)

ENCODINGS = ("base58", "base64")


def send_transaction(call: Call) -> object:
    """Check a transaction, hand it to the leader and give its signature."""
    config = call.params.config(1)
    transaction = read_transaction(call)
    call.sent.update(transaction.names())
    skip_preflight = config.flag("skipPreflight")
    commitment = config.commitment(key="preflightCommitment")
    bank = call.bank_at("processed" if skip_preflight else commitment, config)
    if not skip_preflight:
        _preflight(call, transaction, bank)
    _forward(call, transaction)
    if call.view.mangles_signatures:
        return other_signature(transaction)
    return transaction.signature


def _forward(call: Call, transaction: SignedTransaction) -> None:
    if call.view.drops_sends:
        return
    call.node.forward(transaction)
    if call.view.sends_twice:
        call.node.forward(transaction)


def _preflight(call: Call, transaction: SignedTransaction, bank: Bank) -> None:
    check_health(call)
    if not transaction.verifies():
        raise _preflight_error("SignatureFailure", None)
    refused = _refusal(call, transaction, bank)
    if refused is not None:
        raise _preflight_error(refused, None)
    simulated = call.node.chain.machine.simulate(transaction.parsed)
    if simulated.err is not None:
        raise _preflight_error(simulated.err, simulated)


def _refusal(call: Call, transaction: SignedTransaction, bank: Bank) -> str | None:
    """Say why a bank would not even load a transaction: its age is looked at first."""
    if not call.node.chain.accepts_hash(transaction.blockhash, bank):
        return "BlockhashNotFound"
    if transaction.signature in call.node.chain.landed:
        return "AlreadyProcessed"
    return None


def _preflight_error(err: object, simulated: Simulation | None) -> RpcError:
    message = f"Transaction simulation failed: {error_text(err)}"
    return RpcError(PREFLIGHT_FAILED, message, _outcome(err, simulated))


def _outcome(err: object, simulated: Simulation | None) -> Json:
    """Show what a simulation found; None for one that was not run."""
    meta = simulated.meta if simulated else None
    return {
        "accounts": None,
        "err": err,
        "fee": meta.fee() if meta else None,
        "innerInstructions": None,
        "loadedAccountsDataSize": 0,
        "logs": meta.logs() if meta else [],
        "replacementBlockhash": None,
        "returnData": return_data_json(meta) if meta else None,
        "unitsConsumed": meta.compute_units_consumed() if meta else 0,
    }


def simulate_transaction(call: Call) -> object:
    """Run a transaction on the newest state without a trace."""
    config = call.params.config(1)
    verify, replaced = config.flag("sigVerify"), config.flag("replaceRecentBlockhash")
    if verify and replaced:
        raise invalid("sigVerify may not be used with replaceRecentBlockhash")
    transaction = read_transaction(call)
    bank = call.bank(config)
    refused = None
    if verify and not transaction.verifies():
        refused = "SignatureFailure"
    elif not replaced:
        refused = _refusal(call, transaction, bank)
    return in_context(bank, _simulated(call, config, transaction, refused, bank))


def _simulated(
    call: Call, config: Config, transaction: SignedTransaction, refused: str | None, bank: Bank
) -> Json:
    wanted = _wanted_accounts(config)
    if refused is not None:
        shown = _outcome(refused, None)
        return {**shown, "accounts": [None] * len(wanted[0]) if wanted else None}
    simulated = call.node.chain.machine.simulate(transaction.parsed)
    shown = _outcome(simulated.err, simulated)
    if config.flag("innerInstructions"):
        shown["innerInstructions"] = inner_json(simulated.meta.inner_instructions())
    if config.flag("replaceRecentBlockhash"):
        shown["replacementBlockhash"] = blockhash_json(bank)
    if wanted is not None:
        shown["accounts"] = _accounts_after(call, simulated, *wanted)
    return shown


def _wanted_accounts(config: Config) -> tuple[list[Pubkey], Config] | None:
    inner = config.object("accounts")
    if inner is None:
        return None
    return [as_pubkey(text) for text in inner.texts("addresses")], inner


def _accounts_after(
    call: Call, simulated: Simulation, addresses: list[Pubkey], inner: Config
) -> list[Json | None]:
    if simulated.err is not None:
        return [None] * len(addresses)
    read = call.node.chain.machine.read
    accounts = [simulated.accounts.get(each) or read(each) for each in addresses]
    return [
        show_account(call.node, each if each and each.lamports else None, inner, "base64")
        for each in accounts
    ]


def get_fee_for_message(call: Call) -> object:
    """Give the lamports a message would cost, or null when its blockhash is not valid."""
    message = _message(call.params.text(0))
    bank = call.bank(call.params.config(1))
    if not call.node.chain.accepts_hash(str(message.recent_blockhash), bank):
        return in_context(bank, None)
    unsigned = [Signature.default()] * message.header.num_required_signatures
    simulated = call.node.chain.machine.simulate(VersionedTransaction.populate(message, unsigned))
    return in_context(bank, simulated.meta.fee())


def request_airdrop(call: Call) -> object:
    """Send lamports from the faucet and give the signature."""
    address, lamports = call.params.pubkey(0), call.params.number(1)
    blockhash = call.params.config(2).text("recentBlockhash")
    if blockhash is not None and call.node.chain.hash_height(blockhash) is None:
        raise invalid("Invalid param: unknown recentBlockhash")
    try:
        return call.node.airdrop(address, lamports)
    except NotIncluded as error:
        raise RpcError(INTERNAL_ERROR, f"airdrop failed: {error_text(error.error)}") from error


def read_transaction(call: Call) -> SignedTransaction:
    """Decode the transaction that a call comes with; raises RpcError."""
    text = call.params.text(0)
    encoding = call.params.config(1).choice("encoding", "base58", ENCODINGS)
    try:
        return decode_transaction(text, encoding)
    except InvalidTransaction as error:
        raise invalid(str(error)) from error


def _message(text: str) -> Message | MessageV0:
    try:
        message = from_bytes_versioned(b64decode(text, validate=True))
    except (Base64Error, ValueError) as error:
        raise invalid(f"invalid base64 encoding: {error}") from error
    if not isinstance(message, Message | MessageV0):
        raise invalid("invalid transaction: Transaction version is unsupported")
    return message


SEND_METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "getFeeForMessage": get_fee_for_message,
        "requestAirdrop": request_airdrop,
        "sendTransaction": send_transaction,
        "simulateTransaction": simulate_transaction,
    }
)
