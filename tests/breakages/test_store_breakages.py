"""Whatever is broken in what keeps orders is seen by a test."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.breakages.breakage import Breakage
from tests.breakages.checks import demand_that_it_is_seen, demand_that_sound_code_passes
from tests.breakages.of_store import BREAKAGES
from tests.breakages.workshop import Workshop, opened

pytestmark = pytest.mark.proof
HARMLESS = Breakage(
    name="nothing is broken",
    promise="none",
    file="domain/memo.py",
    old='"""The parts of a memo: which attempt of which order, and whose key it was."""',
    new='"""The parts of a memo."""',
    tests=("domain/test_memo.py::test_a_memo_is_written_as_published",),
)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """Copy the code, to be broken."""
    with opened(tmp_path_factory.mktemp("store")) as workshop:
        yield workshop


@pytest.mark.parametrize("breakage", BREAKAGES, ids=lambda each: each.name)
def test_a_breakage_is_seen(workshop: Workshop, breakage: Breakage) -> None:
    """By each of the tests that are named for it."""
    demand_that_it_is_seen(workshop, breakage)


def test_sound_code_is_found_sound(workshop: Workshop) -> None:
    """In the same place, by the same tests: they fail of the breakage alone."""
    demand_that_sound_code_passes(workshop, BREAKAGES)


def test_a_breakage_that_no_test_sees_is_told(workshop: Workshop) -> None:
    """And a test that is not there has not seen it either."""
    absent = replace(HARMLESS, tests=("domain/test_memo.py::test_nothing",))
    with pytest.raises(AssertionError, match="ended with 0"):
        demand_that_it_is_seen(workshop, HARMLESS)
    with pytest.raises(AssertionError, match="ended with 4"):
        demand_that_it_is_seen(workshop, absent)
