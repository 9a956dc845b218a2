"""What the node says of the chain itself: slots, heights, blockhashes, fees."""

from collections.abc import Mapping
from types import MappingProxyType

from solders.pubkey import Pubkey

from app.sandbox.blocks import Block
from app.sandbox.call import API_VERSION, Call, Method, blockhash_json, check_health, in_context
from app.sandbox.chain import FEE_BLOCKS
from app.sandbox.errors import invalid
from app.sandbox.machine import SLOTS_PER_EPOCH
from app.sandbox.params import as_pubkey

FEATURE_SET = 3_073_396_398
FEE_ACCOUNTS_MAX = 128


def get_slot(call: Call) -> object:
    """Give the slot at a commitment."""
    return call.bank(call.params.config(0)).slot


def get_block_height(call: Call) -> object:
    """Give the block height at a commitment."""
    return call.bank(call.params.config(0)).height


def get_latest_blockhash(call: Call) -> object:
    """Give the newest blockhash at a commitment and the last block height it is valid at."""
    bank = call.bank(call.params.config(0))
    return in_context(bank, blockhash_json(bank))


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


def get_version(_call: Call) -> object:
    """Give the version whose shapes are spoken."""
    return {"solana-core": API_VERSION, "feature-set": FEATURE_SET}


def minimum_ledger_slot(call: Call) -> object:
    """Give the first slot whose transactions are known."""
    return max(call.node.chain.rules.first_slot, call.view.pruned_below)


def get_first_available_block(call: Call) -> object:
    """Give the first block that was not pruned: the genesis, before which no slot was kept."""
    return call.view.pruned_below


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
    times = call.view.fees_times
    return [
        {"slot": each.slot, "prioritizationFee": _price_of(each, keys) * times} for each in blocks
    ]


def _price_of(block: Block, keys: list[Pubkey]) -> int:
    return max([block.lowest_price, *(block.lowest_prices.get(key, 0) for key in keys)])


CHAIN_METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "getBlockHeight": get_block_height,
        "getEpochInfo": get_epoch_info,
        "getFirstAvailableBlock": get_first_available_block,
        "getGenesisHash": get_genesis_hash,
        "getHealth": get_health,
        "getLatestBlockhash": get_latest_blockhash,
        "getMinimumBalanceForRentExemption": get_minimum_balance_for_rent_exemption,
        "getRecentPrioritizationFees": get_recent_prioritization_fees,
        "getSlot": get_slot,
        "getVersion": get_version,
        "isBlockhashValid": is_blockhash_valid,
        "minimumLedgerSlot": minimum_ledger_slot,
    }
)
