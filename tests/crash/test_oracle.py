"""The oracle finds what it is there for: each deliberate breakage of the product by its own name."""

from collections.abc import Iterator

import pytest

from tests.crash.acts import TRADE
from tests.crash.databases import sqlite_databases
from tests.crash.matrix import Case, Places, perform, places
from tests.crash.points import Point

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.proof]

STORED = Point("request", "sendBundle via bundle", "after")
ANSWERED = Point("answer", "POST /signals", "after")


@pytest.fixture(scope="module")
def where() -> Iterator[Places]:
    """Run a chain and a launcher."""
    with places(1) as opened:
        yield opened


@pytest.mark.parametrize(
    ("broken", "point", "found"),
    [
        ("pushed before it is stored", STORED, {"duplicates"}),
        ("answered before it is stored", ANSWERED, {"lost"}),
        ("fees are miscounted", STORED, {"differences"}),
        ("metrics are skipped", ANSWERED, {"differences"}),
        ("an event is left out", ANSWERED, {"incomplete"}),
        (None, STORED, set()),
    ],
)
def test_a_broken_product_is_found_out(
    where: Places, broken: str | None, point: Point, found: set[str]
) -> None:
    """Killed at the point, the broken product is charged with just that; the whole one with nothing."""
    result = perform(Case(TRADE, point, broken=broken), where, sqlite_databases)
    assert result.killed
    assert {kind for kind in vars(result.findings) if getattr(result.findings, kind)} == found, [
        *result.findings.told()
    ]
