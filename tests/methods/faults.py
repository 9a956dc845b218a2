"""What may befall one exchange with a provider: which bytes reach the chain, and what comes back."""

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final


class Fault(StrEnum):
    """What befalls a push at the wire; `NONE` is a good day."""

    NONE = "none"
    DOWN = "down"
    SLOW = "slow, delivered"
    HANG = "hangs, not delivered"
    LIMITED_FOR = "429 with Retry-After"
    LIMITED = "429 without"
    BROKEN_BEFORE = "5xx before forwarding"
    BROKEN_AFTER = "5xx after forwarding"
    DROPPED = "accepted, then dropped"
    LANDED_SILENT = "landed, then timed out"
    GARBLED = "garbled, delivered"
    WRONG = "wrong signature or id"
    ALREADY = "already processed"
    STALE = "expired blockhash"
    TIP = "rejected tip"
    LOCKED_OUT = "unauthorized"
    FAILED_LANDED = "Failed, then landed"
    INVALID = "Invalid"
    UNBUNDLED = "unbundled"


class Delivery(Enum):
    """What becomes of the bytes."""

    NEVER = "never"
    FATE = "handed on: they land or not, or fail, or are undone"
    LATE = "handed on when nobody waits for it any more"
    PERHAPS = "handed on now and then, whatever is answered"
    LANDS = "land without error"
    LANDS_LATE = "land without error, after it was said that they would not"
    ALONE = "land as an ordinary transaction, which may fail"


class Back(Enum):
    """What comes back to who pushed."""

    ACKNOWLEDGED = "acknowledged"
    SAID = "the provider's own words for the fault"
    TOO_LATE = "acknowledged when nobody waits for it any more"
    NOTHING = "nothing"
    NO_CONNECTION = "no connection"


@dataclass(frozen=True)
class Behaviour:
    """What a fault does; `claims` are what a block engine then says of the bundle's status."""

    delivery: Delivery
    back: Back = Back.SAID
    claims: tuple[str, ...] = ()


BEHAVIOURS: Final[dict[Fault, Behaviour]] = {
    Fault.NONE: Behaviour(Delivery.FATE, Back.ACKNOWLEDGED),
    Fault.DOWN: Behaviour(Delivery.NEVER, Back.NO_CONNECTION),
    Fault.SLOW: Behaviour(Delivery.LATE, Back.TOO_LATE),
    Fault.HANG: Behaviour(Delivery.NEVER, Back.NOTHING),
    # A refusal is a claim: who refuses may hand the bytes on all the same.
    Fault.LIMITED_FOR: Behaviour(Delivery.PERHAPS),
    Fault.LIMITED: Behaviour(Delivery.PERHAPS),
    Fault.BROKEN_BEFORE: Behaviour(Delivery.NEVER),
    Fault.BROKEN_AFTER: Behaviour(Delivery.FATE),
    Fault.DROPPED: Behaviour(Delivery.NEVER, Back.ACKNOWLEDGED),
    Fault.LANDED_SILENT: Behaviour(Delivery.LANDS, Back.NOTHING),
    Fault.GARBLED: Behaviour(Delivery.FATE),
    Fault.WRONG: Behaviour(Delivery.FATE),
    Fault.ALREADY: Behaviour(Delivery.PERHAPS),
    Fault.STALE: Behaviour(Delivery.PERHAPS),
    Fault.TIP: Behaviour(Delivery.PERHAPS),
    Fault.LOCKED_OUT: Behaviour(Delivery.PERHAPS),
    Fault.FAILED_LANDED: Behaviour(Delivery.LANDS_LATE, Back.ACKNOWLEDGED, ("Failed",)),
    Fault.INVALID: Behaviour(Delivery.PERHAPS, Back.ACKNOWLEDGED, ("Invalid",)),
    Fault.UNBUNDLED: Behaviour(Delivery.ALONE, Back.ACKNOWLEDGED, ("Failed", "Invalid", "Pending")),
}
OF_BUNDLES: Final = frozenset({Fault.FAILED_LANDED, Fault.INVALID, Fault.UNBUNDLED})
"""Faults of what a block engine keeps as a bundle, and tells the status of."""
