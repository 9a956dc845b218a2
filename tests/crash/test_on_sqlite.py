"""Killed at every point there is, on SQLite."""

from collections.abc import Callable, Iterator

import pytest

from tests.crash.databases import sqlite_databases
from tests.crash.kit import (
    PARTS,
    Matrix,
    claim_all_is_come_by,
    claim_all_is_well,
    opened,
    part,
)

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.proof]


@pytest.fixture(scope="module")
def matrix() -> Iterator[Matrix]:
    """Run chains for services on SQLite."""
    with opened("sqlite", sqlite_databases) as running:
        yield running


def test_every_point_is_come_by(matrix: Matrix) -> None:
    """No point that the code has is left out by the acts, but for those with a reason."""
    claim_all_is_come_by(matrix)


@pytest.mark.parametrize("name", PARTS)
def test_killed_at_every_point(
    matrix: Matrix, name: str, record_property: Callable[[str, object], None]
) -> None:
    """Nothing is executed twice, lost, changed or told wrongly, wherever the process dies."""
    cases = part(matrix.discovery.first_cases(), name)
    claim_all_is_well(matrix.run(cases), record_property)
