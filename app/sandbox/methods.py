"""The read methods of the node's JSON-RPC interface; shapes are Agave's."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from types import MappingProxyType

from solders.account import Account
from solders.pubkey import Pubkey

from app.sandbox.chain import (
    FEE_BLOCKS,
    STATUS_SLOTS,
    Bank,
    Block,
    Commitment,
    Landed,
)
from app.sandbox.errors import CONTEXT_NOT_REACHED, UNSUPPORTED_VERSION, RpcError, invalid
from app.sandbox.machine import SLOTS_PER_EPOCH
from app.sandbox.node import Node
from app.sandbox.params import Config, Params, as_pubkey, as_signature
from app.sandbox.render import (
    Json,
    Unencodable,
    account_json,
    parsed_token_account,
    transaction_json,
)
from app.sandbox.tokens import TOKEN_PROGRAMS, TokenAccount, token_account, ui_amount

API_VERSION = "4.1.0"
FEATURE_SET = 3_073_396_398
ACCOUNTS_MAX = 100
STATUSES_MAX = 256
FEE_ACCOUNTS_MAX = 128
HISTORY_MAX = 1_000
ENCODINGS = ("binary", "base58", "base64", "jsonParsed")
TRANSACTION_ENCODINGS = ("json", "jsonParsed", "base58", "base64", "binary")
NEWEST = 2**63


@dataclass(frozen=True, slots=True)
class View:
    """How a node in trouble sees the chain; the plain value is a healthy one."""

    behind: int = 0
    hides_statuses: bool = False
    pruned_below: int = 0
    drops_sends: bool = False
    sends_twice: bool = False
    mangles_signatures: bool = False


HEALTHY = View()


@dataclass(slots=True)
class Call:
    """One method call; `sent` collects what the journal notes of a send."""

    node: Node
    params: Params
    view: View = HEALTHY
    sent: dict[str, str] = field(default_factory=dict)

    def bank(self, config: Config, default: Commitment = "finalized") -> Bank:
        """Give the bank that a configuration asks for, if this node has come so far."""
        return self.bank_at(config.commitment(default), config)

    def bank_at(self, commitment: Commitment, config: Config) -> Bank:
        """As `bank`, at a given commitment."""
        bank = self.node.chain.bank(commitment, self.view.behind)
        least = config.number("minContextSlot")
        if least is not None and bank.slot < least:
            raise RpcError(
                CONTEXT_NOT_REACHED,
                "Minimum context slot has not been reached",
                {"contextSlot": bank.slot},
            )
        return bank

    def sees(self, landed: Landed, commitment: Commitment) -> bool:
        """Whether a landed transaction is on the chain at a commitment, for this node."""
        if landed.slot < self.view.pruned_below:
            return False
        return landed.height <= self.node.chain.bank(commitment, self.view.behind).height

    def level(self, landed: Landed) -> Commitment:
        """Give the highest commitment a transaction has reached."""
        if self.sees(landed, "finalized"):
            return "finalized"
        return "confirmed" if self.sees(landed, "confirmed") else "processed"


def in_context(bank: Bank, value: object) -> Json:
    """Wrap a value with the slot it was read at."""
    return {"context": {"slot": bank.slot, "apiVersion": API_VERSION}, "value": value}


# --------------------------------------------------------------------------------- the chain


def get_slot(call: Call) -> object:
    """Give the slot at a commitment."""
    return call.bank(call.params.config(0)).slot


def get_block_height(call: Call) -> object:
    """Give the block height at a commitment."""
    return call.bank(call.params.config(0)).height


def get_latest_blockhash(call: Call) -> object:
    """Give the newest blockhash at a commitment and the last block height it is valid at."""
    bank = call.bank(call.params.config(0))
    last = bank.newest_hash_height + 150
    return in_context(bank, {"blockhash": bank.blockhash, "lastValidBlockHeight": last})


def is_blockhash_valid(call: Call) -> object:
    """Say whether a blockhash may still be used."""
    bank = call.bank(call.params.config(1))
    return in_context(bank, call.node.chain.accepts_hash(call.params.text(0), bank))


def get_epoch_info(call: Call) -> object:
    """Give slot and block height of the same bank."""
    bank = call.bank(call.params.config(0))
    return {
        "absoluteSlot": bank.slot,
        "blockHeight": bank.height,
        "epoch": bank.slot // SLOTS_PER_EPOCH,
        "slotIndex": bank.slot % SLOTS_PER_EPOCH,
        "slotsInEpoch": SLOTS_PER_EPOCH,
        "transactionCount": call.node.chain.transaction_count,
    }


def get_genesis_hash(call: Call) -> object:
    """Name the chain."""
    return call.node.chain.genesis_hash


def get_health(call: Call) -> object:
    """Say that the node keeps up."""
    check_health(call)
    return "ok"


def check_health(call: Call) -> None:
    """Refuse for a node that is behind."""
    if call.view.behind:
        behind = call.view.behind
        raise RpcError(-32005, f"Node is behind by {behind} slots", {"numSlotsBehind": behind})


def get_version(call: Call) -> object:
    """Give the version whose shapes are spoken."""
    return {"solana-core": API_VERSION, "feature-set": FEATURE_SET}


def minimum_ledger_slot(call: Call) -> object:
    """Give the first slot whose transactions are known."""
    return max(call.node.chain.rules.first_slot, call.view.pruned_below)


def get_minimum_balance_for_rent_exemption(call: Call) -> object:
    """Give the lamports that exempt an account of a size from rent."""
    return call.node.chain.machine.rent_exempt(call.params.number(0))


def get_recent_prioritization_fees(call: Call) -> object:
    """Give, for each recent block, the price that sufficed to land on some accounts."""
    texts = call.params.texts(0)
    if len(texts) > FEE_ACCOUNTS_MAX:
        raise invalid(f"Too many inputs provided; max {FEE_ACCOUNTS_MAX}")
    keys = [as_pubkey(text) for text in texts]
    blocks = call.node.chain.recent_blocks(FEE_BLOCKS)
    return [{"slot": each.slot, "prioritizationFee": _price_of(each, keys)} for each in blocks]


def _price_of(block: Block, keys: list[Pubkey]) -> int:
    return max([block.lowest_price, *(block.lowest_prices.get(key, 0) for key in keys)])


# ---------------------------------------------------------------------------------- accounts


def get_balance(call: Call) -> object:
    """Give the lamports of an address."""
    address, config = call.params.pubkey(0), call.params.config(1)
    bank = call.bank(config)
    account = call.node.chain.read(address, config.commitment())
    return in_context(bank, account.lamports if account else 0)


def get_account_info(call: Call) -> object:
    """Show an account, or null."""
    address, config = call.params.pubkey(0), call.params.config(1)
    bank = call.bank(config)
    return in_context(bank, _show(call, address, config, "binary"))


def get_multiple_accounts(call: Call) -> object:
    """Show up to 100 accounts of the same bank."""
    texts, config = call.params.texts(0), call.params.config(1)
    if len(texts) > ACCOUNTS_MAX:
        raise invalid(f"Too many inputs provided; max {ACCOUNTS_MAX}")
    keys = [as_pubkey(text) for text in texts]
    bank = call.bank(config)
    return in_context(bank, [_show(call, key, config, "base64") for key in keys])


def get_token_account_balance(call: Call) -> object:
    """Give what a token account holds."""
    address, config = call.params.pubkey(0), call.params.config(1)
    bank = call.bank(config)
    account = call.node.chain.read(address, config.commitment())
    if account is None:
        raise invalid("Invalid param: could not find account")
    holding = token_account(account)
    decimals = call.node.chain.machine.decimals(holding.mint) if holding else None
    if holding is None or decimals is None:
        raise invalid("Invalid param: not a Token account")
    return in_context(bank, ui_amount(holding.amount, decimals))


def get_token_accounts_by_owner(call: Call) -> object:
    """Show an owner's token accounts of one mint or one token program."""
    owner, wanted, config = call.params.pubkey(0), _filter(call), call.params.config(2)
    bank = call.bank(config)
    shown = []
    for address in call.node.chain.machine.holdings.of(owner):
        holding = token_account(call.node.chain.read(address, config.commitment()))
        if holding is not None and wanted(holding):
            shown.append(
                {"pubkey": str(address), "account": _show(call, address, config, "binary")}
            )
    return in_context(bank, shown)


def _filter(call: Call) -> Callable[[TokenAccount], bool]:
    config = call.params.config(1)
    mint_text, program_text = config.text("mint"), config.text("programId")
    if mint_text is not None:
        mint = as_pubkey(mint_text)
        if call.node.chain.machine.decimals(mint) is None:
            raise invalid("Invalid param: could not find mint")
        return lambda holding: holding.mint == mint
    if program_text is None:
        raise invalid("Invalid params: expected `mint` or `programId`.")
    program = as_pubkey(program_text)
    if program not in TOKEN_PROGRAMS:
        raise invalid("Invalid param: unrecognized Token program id")
    return lambda holding: holding.program == program


def _show(call: Call, address: Pubkey, config: Config, default: str) -> Json | None:
    account = call.node.chain.read(address, config.commitment())
    return show_account(call.node, account, config, default)


def show_account(node: Node, account: Account | None, config: Config, default: str) -> Json | None:
    """Show an account in the encoding a configuration asks for."""
    encoding = config.choice("encoding", default, ENCODINGS)
    if account is None:
        return None
    parsed = _parsed(node, account) if encoding == "jsonParsed" else None
    try:
        return account_json(account, encoding, config.window(), parsed)
    except Unencodable as error:
        raise RpcError(-32600, str(error)) from error


def _parsed(node: Node, account: Account) -> Json | None:
    holding = token_account(account)
    decimals = node.chain.machine.decimals(holding.mint) if holding else None
    if holding is None or decimals is None:
        return None
    return parsed_token_account(holding, decimals, len(account.data))


# ------------------------------------------------------------------------------ transactions


def get_signature_statuses(call: Call) -> object:
    """Give what became of signatures, from the processed bank; null for what is not known."""
    texts, config = call.params.texts(0), call.params.config(1)
    if len(texts) > STATUSES_MAX:
        raise invalid(f"Too many inputs provided; max {STATUSES_MAX}")
    history = config.flag("searchTransactionHistory")
    signatures = [as_signature(text) for text in texts]
    bank = call.node.chain.bank("processed", call.view.behind)
    final = call.node.chain.bank("finalized", call.view.behind)
    oldest = 0 if history else final.slot - STATUS_SLOTS
    return in_context(bank, [_status(call, bank, each, oldest) for each in signatures])


def _status(call: Call, bank: Bank, signature: str, oldest: int) -> Json | None:
    landed = call.node.chain.landed.get(signature)
    if landed is None or call.view.hides_statuses or landed.slot < oldest:
        return None
    if not call.sees(landed, "processed"):
        return None
    level = call.level(landed)
    return {
        "slot": landed.slot,
        "confirmations": None if level == "finalized" else bank.height - landed.height,
        "err": landed.err,
        "status": {"Ok": None} if landed.err is None else {"Err": landed.err},
        "confirmationStatus": level,
    }


def get_transaction(call: Call) -> object:
    """Show a confirmed transaction with what it did, or null."""
    signature, config = as_signature(call.params.text(0)), _encoding_or_config(call)
    commitment = config.settled()
    encoding = config.choice("encoding", "json", TRANSACTION_ENCODINGS)
    supported = config.number("maxSupportedTransactionVersion")
    landed = call.node.chain.landed.get(signature)
    if landed is None or call.view.hides_statuses or not call.sees(landed, commitment):
        return None
    details = call.node.history.details(landed)
    if details.transaction.is_versioned and supported is None:
        raise RpcError(
            UNSUPPORTED_VERSION,
            "Transaction version (0) is not supported by the requesting client. Please try the "
            "request again with the following configuration parameter: "
            '"maxSupportedTransactionVersion": 0',
        )
    shown: Json = {
        "slot": landed.slot,
        "transaction": transaction_json(details.transaction, encoding),
        "meta": details.meta,
        "blockTime": landed.unix_time,
        "transactionIndex": landed.index,
    }
    if supported is not None:
        shown["version"] = 0 if details.transaction.is_versioned else "legacy"
    return shown


def _encoding_or_config(call: Call) -> Config:
    """Read the second parameter, which older clients send as a bare encoding."""
    if len(call.params) > 1 and isinstance(call.params.raw(1), str):
        return Config({"encoding": call.params.text(1)})
    return call.params.config(1)


def get_signatures_for_address(call: Call) -> object:
    """List the transactions that name an address, newest first."""
    address, config = call.params.pubkey(0), call.params.config(1)
    limit = config.number("limit")
    limit = HISTORY_MAX if limit is None else limit
    if not 1 <= limit <= HISTORY_MAX:
        raise invalid(f"Invalid limit; max {HISTORY_MAX}")
    commitment = config.settled()
    call.bank_at(commitment, config)
    below, above = _position(call, config, "before", NEWEST), _position(call, config, "until", 0)
    if below is None:
        return []
    found = _between(call, address, below, above or 0, commitment)
    return [_listed(call, each) for each in islice(found, limit)]


def _position(call: Call, config: Config, key: str, default: int) -> int | None:
    text = config.text(key)
    if text is None:
        return default
    landed = call.node.chain.landed.get(as_signature(text))
    return landed.number if landed else None


def _between(
    call: Call, address: Pubkey, below: int, above: int, commitment: Commitment
) -> Iterator[Landed]:
    for landed in call.node.chain.history_of(address, below):
        if landed.number <= above:
            return
        if call.sees(landed, commitment):
            yield landed


def _listed(call: Call, landed: Landed) -> Json:
    return {
        "signature": landed.signature,
        "slot": landed.slot,
        "err": landed.err,
        "memo": landed.memo,
        "blockTime": landed.unix_time,
        "confirmationStatus": call.level(landed),
        "transactionIndex": landed.index,
    }


Method = Callable[[Call], object]

READ_METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "getAccountInfo": get_account_info,
        "getBalance": get_balance,
        "getBlockHeight": get_block_height,
        "getEpochInfo": get_epoch_info,
        "getGenesisHash": get_genesis_hash,
        "getHealth": get_health,
        "getLatestBlockhash": get_latest_blockhash,
        "getMinimumBalanceForRentExemption": get_minimum_balance_for_rent_exemption,
        "getMultipleAccounts": get_multiple_accounts,
        "getRecentPrioritizationFees": get_recent_prioritization_fees,
        "getSignatureStatuses": get_signature_statuses,
        "getSignaturesForAddress": get_signatures_for_address,
        "getSlot": get_slot,
        "getTokenAccountBalance": get_token_account_balance,
        "getTokenAccountsByOwner": get_token_accounts_by_owner,
        "getTransaction": get_transaction,
        "getVersion": get_version,
        "isBlockhashValid": is_blockhash_valid,
        "minimumLedgerSlot": minimum_ledger_slot,
    }
)
