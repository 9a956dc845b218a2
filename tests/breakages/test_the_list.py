"""The list of breakages is what it says: each is one edit, has a name, and stands on the page."""

import pytest

from tests.breakages import of_engine, of_recovery, of_store
from tests.breakages.breakage import Breakage, OutdatedError
from tests.breakages.page import PAGE, page
from tests.breakages.workshop import ROOT

ALL = (*of_engine.BREAKAGES, *of_store.BREAKAGES, *of_recovery.BREAKAGES)


def test_each_breakage_fits_the_code_and_has_a_name_of_its_own() -> None:
    """Code that changed takes its breakages with it."""
    for breakage in ALL:
        sound = breakage.read(ROOT / "app")
        assert breakage.broken(sound) != sound
        assert breakage.tests
    assert len({breakage.name for breakage in ALL}) == len(ALL) >= 50


@pytest.mark.parametrize("old", ["no such text", "self"])
def test_a_breakage_that_fits_no_more_says_so(old: str) -> None:
    """Nor does one that fits in two places."""
    outdated = Breakage(
        name="outdated", promise="", file="domain/memo.py", old=old, new="", tests=()
    )
    with pytest.raises(OutdatedError, match=r"outdated: app/domain/memo\.py has \d+ times"):
        outdated.broken(outdated.read(ROOT / "app"))


def test_the_page_is_up_to_date() -> None:
    """`python -m tests.breakages.page` writes it."""
    assert PAGE.read_text() == page()
