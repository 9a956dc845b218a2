"""Killed at every point there is, on SQLite."""

from collections.abc import Callable

import pytest

from tests.crash.databases import sqlite_databases
from tests.crash.kit import claim_all_is_well, run_matrix

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.proof]


def test_every_point_on_sqlite(record_property: Callable[[str, object], None]) -> None:
    """Nothing is executed twice, lost, changed or told wrongly, wherever the process dies."""
    report = run_matrix("sqlite", sqlite_databases, lambda found: found.first_cases())
    claim_all_is_well(report, record_property)
