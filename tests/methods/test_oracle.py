"""The oracle sees what it is there to see: engines with a defect each are caught, by the right words."""

from typing import Any

import pytest

from tests.engine.virtual_time import run
from tests.methods.defects import (
    BelievesClaims,
    BelievesRefusals,
    CallsDroppedFailed,
    Forgets,
    GoesPublic,
    PushesFirst,
    RecordsNoRefusals,
    SignsForEachLane,
    with_confirmation,
    with_executor,
    with_lifecycle,
)
from tests.methods.life import MethodsSimulation
from tests.methods.rig import MethodsRig
from tests.methods.table import METHODS

ORDERS = 60
SEEDS_MAX = 40
DEFECTS = {
    "a refusal is taken for a proof": (
        with_confirmation(BelievesRefusals),
        ["executed 2 times", "signed anew beside", "is alive"],
    ),
    "accepted and unseen is called failed": (
        with_confirmation(CallsDroppedFailed),
        ["is failed, and executed 1 times", "is alive"],
    ),
    "a block engine's claim is believed": (
        with_confirmation(BelievesClaims),
        ["is failed, and executed 1 times", "is alive"],
    ),
    "an attempt is forgotten": (with_confirmation(Forgets), ["is lost: it never ended"]),
    "refusals are not recorded": (with_confirmation(RecordsNoRefusals), ["did not record a push"]),
    "pushed before it is stored": (with_lifecycle(PushesFirst), ["before it was stored"]),
    "public behind private": (with_executor(GoesPublic), ["which was to stay private"]),
    "other bytes for each lane": (with_executor(SignsForEachLane), ["before it was stored"]),
}


class FewMethods(MethodsSimulation):
    """Every order names one method, or two: what a single one says weighs more."""

    def _wishes(self) -> dict[str, Any]:
        return {**super()._wishes(), "methods": self.rng.sample(METHODS, self.rng.randint(1, 2))}


def findings(kind: type[MethodsRig], seed: int) -> list[str]:
    """Live one seed with processes of a kind; gives what the oracle finds."""
    simulation = FewMethods(seed, ORDERS, chaos_seconds=80, kind=kind)
    run(simulation.run())
    return simulation.findings()


@pytest.mark.parametrize(("kind", "words"), DEFECTS.values(), ids=DEFECTS)
def test_a_defect_is_found(kind: type[MethodsRig], words: list[str]) -> None:
    """By every judge whose business it is, and soon: what breaks seldom is what costs most."""
    missed = set(words)
    for seed in range(SEEDS_MAX):
        found = findings(kind, seed)
        missed -= {each for each in missed if any(each in finding for finding in found)}
        if not missed:
            return
    pytest.fail(f"not found: {missed}")


def test_without_a_defect_nothing_is_found() -> None:
    """In the very worlds in which the defects are found."""
    assert [findings(MethodsRig, seed) for seed in range(3)] == [[], [], []]
