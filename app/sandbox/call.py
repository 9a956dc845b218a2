"""One JSON-RPC call as its method sees it: parameters, the chain, and a node's state of health."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from app.sandbox.blocks import Bank, Commitment, Landed
from app.sandbox.chain import HASH_LIFE_BLOCKS
from app.sandbox.errors import CONTEXT_NOT_REACHED, NODE_BEHIND, RpcError
from app.sandbox.node import Node
from app.sandbox.params import Config, Params
from app.sandbox.render import Json

API_VERSION = "4.1.0"
RANKS: Mapping[Commitment, int] = MappingProxyType({"processed": 0, "confirmed": 1, "finalized": 2})


BundleFate = Literal["failed", "failed_then_landed", "invalid"]


@dataclass(frozen=True, slots=True)
class View:
    """How a node in trouble sees the chain; the plain value is a healthy one."""

    behind: int = 0
    hides_statuses: bool = False
    pruned_below: int = 0
    drops_sends: bool = False
    sends_twice: bool = False
    mangles_signatures: bool = False
    bundle_fate: BundleFate | None = None
    late_slots: int = 1
    hijacks_sends: bool = False
    lacks_addons: bool = False
    fees_times: int = 1


HEALTHY = View()


@dataclass(slots=True)
class Call:
    """One method call; `sent` collects what the journal notes of a send.

    `bundle_only` is what the URL said of it: land it as a bundle of its own or not at all.
    """

    node: Node
    params: Params
    view: View = HEALTHY
    sent: dict[str, object] = field(default_factory=dict)
    bundle_only: bool = False

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

    def horizon(self) -> "Horizon":
        """Say how far this node sees."""
        bank, behind = self.node.chain.bank, self.view.behind
        return Horizon(
            bank("processed", behind).height,
            bank("confirmed", behind).height,
            bank("finalized", behind).height,
            self.view.pruned_below,
        )


@dataclass(frozen=True, slots=True)
class Horizon:
    """The heights a node has come to, and the first slot it remembers."""

    processed: int
    confirmed: int
    finalized: int
    first_slot: int

    def level(self, landed: Landed) -> Commitment | None:
        """Give the highest commitment a transaction has reached; None for what is not seen."""
        height = landed.height
        if height > self.processed or landed.slot < self.first_slot:
            return None
        if height <= self.finalized:
            return "finalized"
        return "confirmed" if height <= self.confirmed else "processed"

    def sees(self, landed: Landed, commitment: Commitment) -> bool:
        """Whether a transaction has reached a commitment."""
        level = self.level(landed)
        return level is not None and RANKS[level] >= RANKS[commitment]


def in_context(bank: Bank, value: object) -> Json:
    """Wrap a value with the slot it was read at."""
    return {"context": {"slot": bank.slot, "apiVersion": API_VERSION}, "value": value}


Method = Callable[[Call], object]


def blockhash_json(bank: Bank) -> Json:
    """Show a bank's newest blockhash and the last block height it is valid at."""
    last = bank.newest_hash_height + HASH_LIFE_BLOCKS
    return {"blockhash": bank.blockhash, "lastValidBlockHeight": last}


def check_health(call: Call) -> None:
    """Refuse for a node that is behind."""
    if call.view.behind:
        behind = call.view.behind
        raise RpcError(NODE_BEHIND, f"Node is behind by {behind} slots", {"numSlotsBehind": behind})
