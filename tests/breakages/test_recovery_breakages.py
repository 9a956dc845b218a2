"""Whatever is broken in what restores, salvages, reconciles and verifies is seen by a test."""

from collections.abc import Iterator

import pytest

from tests.breakages.breakage import Breakage
from tests.breakages.checks import demand_that_it_is_seen, demand_that_sound_code_passes
from tests.breakages.of_recovery import BREAKAGES
from tests.breakages.workshop import Workshop, opened

pytestmark = pytest.mark.proof


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """Copy the code, to be broken."""
    with opened(tmp_path_factory.mktemp("recovery")) as workshop:
        yield workshop


@pytest.mark.parametrize("breakage", BREAKAGES, ids=lambda each: each.name)
def test_a_breakage_is_seen(workshop: Workshop, breakage: Breakage) -> None:
    """By each of the tests that are named for it."""
    demand_that_it_is_seen(workshop, breakage)


def test_sound_code_is_found_sound(workshop: Workshop) -> None:
    """In the same place, by the same tests: they fail of the breakage alone."""
    demand_that_sound_code_passes(workshop, BREAKAGES)
