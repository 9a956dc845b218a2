"""The method `quicknode`: a QuickNode endpoint, and what its add-ons make of it.

Its token goes in the header `x-token`, out of every address and log. With Lil' JIT or Fastlane switched on
the vendor may hand an ordinary sendTransaction to Jito, which refuses it without a tip: `tips` then.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

from app.domain.attempt import StoredAttempt
from app.domain.errors import StartupError
from app.engine.ports import Privacy, TipNeeds
from app.executors.base58 import base58
from app.executors.bundle import followed, send_bundle
from app.executors.bundle_statuses import BundleStatuses
from app.executors.gate import Gate
from app.executors.method import Method, Target
from app.executors.provider_rules import LIL_JIT, QUICKNODE
from app.executors.rpc import encoded, send

NAME: Final = "quicknode"


@dataclass(frozen=True, slots=True)
class LilJit:
    """Bundles through the add-on; its documents want base58, newer users send base64."""

    encoding: Literal["base58", "base64"] = "base58"
    region: str | None = None
    """One of Jito's regions as the add-on names them; None: the vendor's choice."""
    statuses: BundleStatuses | None = None
    """Made with `path=""`: the add-on answers at the endpoint itself."""


@dataclass(frozen=True, slots=True)
class Fastlane:
    """The floors of the add-on, and whom it wants to be tipped: told by the vendor's dashboard only."""

    payees: tuple[str, ...]
    tip_lamports_min: int
    unit_price_min: int
    """Micro-lamports for a compute unit."""

    def needs(self) -> TipNeeds:
        """Give what a transaction must carry."""
        return TipNeeds(self.payees, self.tip_lamports_min, self.unit_price_min)


def auth_headers(token: str | None) -> dict[str, str]:
    """Give the header with the endpoint's secret, for an address without it."""
    return {"x-token": token} if token else {}


def quicknode(
    target: Target,
    gate: Gate,
    *,
    tips: Callable[[], TipNeeds] | None = None,
    bundles: LilJit | None = None,
    fastlane: Fastlane | None = None,
) -> Method:
    """Make the method; `tips` are Jito's, and are not wanted where Fastlane is.

    Raises StartupError(QUICKNODE_OPTIONS) for bundles without tips or with Fastlane.
    """
    if bundles is not None:
        if tips is None or fastlane is not None:
            what = "QuickNode's bundles need Jito's tips, and Fastlane takes no bundles"
            todo = "set methods.quicknode.lil_jit or methods.quicknode.fastlane, not both"
            raise StartupError("QUICKNODE_OPTIONS", what, todo)
        return _bundles(target, gate, bundles, tips)
    needs = (tips or TipNeeds) if fastlane is None else fastlane.needs
    return Method(NAME, partial(send, provider=QUICKNODE), [target], gate, needs=needs)


def _bundles(target: Target, gate: Gate, bundles: LilJit, tips: Callable[[], TipNeeds]) -> Method:
    accepted, claim = followed(bundles.statuses, NAME)
    return Method(
        NAME,
        send_bundle(lambda attempt: bundle_params(attempt, bundles), LIL_JIT, accepted),
        [target],
        gate,
        privacy=Privacy.PRIVATE,
        needs=tips,
        claim=claim,
    )


def bundle_params(attempt: StoredAttempt, bundles: LilJit) -> Sequence[object]:
    """Give `[[transaction], region?]`, and `{"encoding": "base64"}` behind it unless it is base58."""
    region = [bundles.region] if bundles.region else []
    if bundles.encoding == "base58":
        return [[base58(attempt.signed.raw)], *region]
    return [[encoded(attempt)], *region, {"encoding": "base64"}]
