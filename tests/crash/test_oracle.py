"""The oracle finds what it is there for: each deliberate breakage of the product by its own name."""

from collections.abc import Iterator, Mapping, Sequence

import pytest

from tests.crash.acts import FAIL, SELL, TRADE, Act, post, settle, wait_still
from tests.crash.databases import sqlite_databases
from tests.crash.matrix import Case, Places, Result, perform, places
from tests.crash.points import Point
from tests.crash.run import Run

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.proof]

STORED = Point("request", "sendBundle via bundle", "after")
ANSWERED = Point("answer", "POST /signals", "after")


def post_until_pushed(run: Run) -> None:
    """Post a signal, and look until it is on its way: all of it again after a death."""
    post("sell", SELL)(run)
    wait_still("sell", "pushed")(run)


INSISTING = Act("insisting", [post_until_pushed, settle])


@pytest.fixture(scope="module")
def where() -> Iterator[Places]:
    """Run a chain and a launcher."""
    with places(1) as opened:
        yield opened


@pytest.mark.parametrize(
    ("broken", "point", "found"),
    [
        ("answered before it is stored", ANSWERED, {"lost": ("sell was accepted as",)}),
        ("fees are miscounted", STORED, {"differences": ("fees.network: the document says",)}),
        ("metrics are skipped", ANSWERED, {"differences": ("orders and metrics do not both",)}),
        ("an event is left out", ANSWERED, {"incomplete": ("its events are numbered",)}),
        ("the venue's fee is miscounted", STORED, {"differences": ("amounts and fees",)}),
        (None, STORED, {}),
    ],
)
def test_a_broken_product_is_found_out(
    where: Places, broken: str | None, point: Point, found: Mapping[str, Sequence[str]]
) -> None:
    """Killed at the point, the broken product is charged with just that; the whole one with nothing."""
    hold(perform(Case(TRADE, point, broken=broken), where, sqlite_databases), found)


def test_an_execution_that_was_not_stored_is_found_out(where: Places) -> None:
    """Alone: the commit that is not made would take with it what is stored together with the attempt."""
    case = Case(INSISTING, STORED, broken="pushed before it is stored")
    words = ("is filled and was executed 2 times", "the key ")
    hold(perform(case, where, sqlite_databases), {"duplicates": words})


def test_fees_that_are_told_nowhere_are_found_out(where: Places) -> None:
    """What an attempt that landed and failed has cost is on the chain, and so in the metrics."""
    case = Case(FAIL, broken="the fees of failures are not counted")
    told = ("the metrics tell of 0 lamports for failures",)
    hold(perform(case, where, sqlite_databases), {"differences": told}, killed=False)


def test_what_no_database_knows_is_found_on_the_chain(where: Places) -> None:
    """A key that was executed under two ids is charged to the case that did it, not to the next."""
    case = Case(INSISTING, STORED, broken="a start forgets everything")
    lost = ("sell was accepted as", "was executed as")
    hold(perform(case, where, sqlite_databases), {"duplicates": ("the key ",), "lost": lost})
    hold(perform(Case(INSISTING, STORED), where, sqlite_databases), {})


def test_a_case_that_did_not_end_leaves_nothing_to_the_next(where: Places) -> None:
    """What it executed, or had on its way, is not charged to another."""
    broken = Case(Act("broken", [*INSISTING.steps, stumble]))
    hold(perform(broken, where, sqlite_databases), {"lost": ("stumbled",)}, killed=False)
    hold(perform(Case(INSISTING, STORED), where, sqlite_databases), {})


def stumble(_run: Run) -> None:
    """Break a case off."""
    raise ValueError("stumbled")


def hold(result: Result, found: Mapping[str, Sequence[str]], *, killed: bool = True) -> None:
    """Claim that there are findings of just these kinds, with these words among them."""
    told = [*result.findings.told()]
    assert result.killed is killed
    assert {text.partition(":")[0] for text in told} == found.keys(), told
    for kind, words in found.items():
        texts = "\n".join(text for text in told if text.startswith(kind))
        for word in words:
            assert word in texts, told
