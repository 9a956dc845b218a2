"""A broken engine is found by the simulator, and what it breaks is shrunk to a case that replays."""

import re

import pytest

from app.engine.confirmation import Confirmation
from app.engine.lifecycle import Lifecycle
from app.engine.transaction_executor import TransactionExecutor
from tests.engine.evils import Case, Evil, parse
from tests.engine.rig import Rig
from tests.engine.shrinking import shrink
from tests.engine.simulate import live, main
from tests.methods.defects import CallsDroppedFailed, Forgets, PushesFirst


def broken_rig(
    confirmation: type[Confirmation] = Confirmation, lifecycle: type[Lifecycle] = Lifecycle
) -> type[Rig]:
    """Make processes with a defect."""
    kinds = {
        "confirmation_kind": confirmation,
        "executor_kind": TransactionExecutor,
        "lifecycle_kind": lifecycle,
    }
    return type("Broken", (Rig,), kinds)


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Give the lines that were printed."""
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (broken_rig(CallsDroppedFailed), "is alive"),
        (broken_rig(Forgets), "never ended"),
        (broken_rig(lifecycle=PushesFirst), "before it was stored"),
    ],
    ids=["buried alive", "forgotten", "pushed first"],
)
def test_a_broken_engine_is_found_and_shrunk(kind: type[Rig], words: str) -> None:
    """To a world of very few orders and evils, in which the same is broken."""
    case = Case(1, orders=60)
    _simulation, breaches = live(case, kind)
    assert any(words in breach for breach in breaches), breaches
    smallest, found = shrink(
        case, breaches, lambda each: live(each, kind)[1], seconds=120, seeds=10
    )
    assert smallest.orders <= 2
    assert len(smallest.evils) <= 3
    assert smallest.chaos_seconds < case.chaos_seconds
    assert any(words in breach for breach in found)
    assert live(smallest, kind)[1] == found
    assert live(smallest)[1] == [], "the engine as it is keeps its promises there"


def test_the_command_ends_with_one_and_a_case_that_replays(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The last line counts, the one before it is the command that shows the breach again."""
    kind = broken_rig(lifecycle=PushesFirst)
    assert main(["--lives", "100", "--seed", "5", "--jobs", "1"], kind) == 1
    *_, smallest, last = said(capsys)
    assert re.match(r"lives=\d+ seeds=5-5 breaches=[1-9]\d* ", last)
    assert smallest.startswith("the smallest case: make simulate REPLAY=seed=")
    line = smallest.partition("REPLAY=")[2]
    assert main(["--replay", line], kind) == 1
    shown = said(capsys)
    assert f"BROKEN {line}" in shown
    assert any("before it was stored" in each for each in shown)
    assert any("order.accepted" in each for each in shown), "so few orders are told in full"
    assert main(["--replay", line]) == 0


def test_shrinking_takes_off_all_that_is_not_needed() -> None:
    """Of what breaks whenever two orders meet one evil nothing else is left."""

    def broken(case: Case) -> list[str]:
        return ["it broke"] if case.orders >= 2 and Evil.FORKS in case.evils else []

    case, found = shrink(Case(9), ["it broke"], broken, seconds=30)
    assert case == Case(9, orders=2, chaos_seconds=6.25, evils=frozenset({Evil.FORKS}))
    assert found == ["it broke"]
    assert parse(case.line()) == case


def test_shrinking_looks_for_another_seed() -> None:
    """What breaks in a large world need not break in the same seed's small one."""

    def broken(case: Case) -> list[str]:
        return ["it broke"] if case.orders > 1 or case.seed == 3 else []

    case, _found = shrink(Case(9, orders=8), ["it broke"], broken, seconds=30)
    assert (case.seed, case.orders) == (3, 1)
