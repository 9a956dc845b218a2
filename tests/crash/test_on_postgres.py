"""Killed at a third of all points, on PostgreSQL."""

from collections.abc import Callable

import pytest

from tests.crash.databases import postgres
from tests.crash.kit import SEED, claim_all_is_well, run_matrix
from tests.crash.matrix import third
from tests.crash.points import POSTGRES

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.proof, pytest.mark.postgres]


def test_a_third_of_the_points_on_postgresql(
    record_property: Callable[[str, object], None],
) -> None:
    """As on SQLite; every point is come by, and a seeded third is killed at."""
    with postgres() as server:
        report = run_matrix(
            POSTGRES, server.databases, lambda found: third(found.first_cases(), SEED)
        )
    claim_all_is_well(report, record_property)
