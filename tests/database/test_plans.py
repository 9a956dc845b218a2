"""How SQLite finds rows: what is asked often reads by an index, however many orders there are."""

# ruff: noqa: SLF001 - the statements are looked at as they are sent

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.dialects import sqlite

from app.database import attempts, claims, cleanup, figures, intake, sequence, trail


def plan(database: Path, statement: Any) -> list[str]:
    """Ask SQLite how it would run a statement."""
    options = {"render_postcompile": True}
    sql = str(statement.compile(dialect=sqlite.dialect(), compile_kwargs=options))
    with closing(sqlite3.connect(database)) as conn:
        rows = conn.execute(f"EXPLAIN QUERY PLAN {sql}", [1] * sql.count("?")).fetchall()
    return [detail for *_, detail in rows]


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        (claims._LEFT, "ix_orders_active"),
        (claims._OVERDUE_EXECUTING, "ix_orders_active (status=?)"),
        (claims._OVERDUE_QUEUED, "ix_orders_deadline (deadline_us<?)"),
        (claims._QUEUED, "ix_orders_queue"),
        (claims._DOUBTED, "ix_orders_in_doubt"),
        (claims._UNSETTLED, "ix_orders_unsettled"),
        (claims._MINE, "ix_orders_active (status=? AND process=?)"),
        (claims._MINE, "ix_orders_unsettled (process=?)"),
        (figures._QUEUED, "ix_orders_queue"),
        (figures._ACTIVE, "ix_orders_active"),
        (figures._DOUBT, "ix_orders_in_doubt"),
        (cleanup._OLD, "ix_orders_ended"),
        (attempts._LIVE_SPENDS, "ix_attempts_reserved (wallet=?)"),
        (attempts._LATER_SPENDS, "ix_attempts_landed (wallet=? AND landed_slot>?)"),
        (trail._UNSEALED, "ix_events_unsealed"),
        (trail._LAST, "uq_events_position"),
        (trail._SEALED, "uq_events_position (position>?)"),
        (trail._OF_ACCOUNT, "ix_events_account (account=? AND position>?)"),
        (trail._OF_ORDER, "ix_events_account (account=? AND position>?)"),
        (trail._LAST_OWN, "sqlite_autoindex_events_1 (order_id=?)"),
    ],
)
def test_a_query_is_served_by_its_index(migrated_file: Path, statement: Any, index: str) -> None:
    """No statistics are needed for it: an empty database plans as a full one does."""
    assert any(f"INDEX {index}" in step for step in plan(migrated_file, statement))


def test_the_queue_needs_no_sorting(migrated_file: Path) -> None:
    """The first orders of a long queue are read off the index."""
    steps = plan(migrated_file, claims._QUEUED)
    assert [step for step in steps if "orders" in step] == [
        "SCAN orders USING INDEX ix_orders_queue",
        *(step for step in steps if "earlier" in step),
    ]
    assert not [step for step in steps if "TEMP B-TREE" in step]


def test_an_earlier_opposite_order_is_one_step_away(migrated_file: Path) -> None:
    """However many orders of the sequence are earlier: the index alone tells, by place and direction."""
    (step,) = (step for step in plan(migrated_file, claims._QUEUED) if "earlier" in step)
    index = "ix_orders_sequence (wallet=? AND market=? AND action=? AND accepted_at_us<?)"
    assert step == f"SEARCH earlier USING INDEX {index}"
    (step,) = plan(migrated_file, sequence._LATEST)
    assert "ix_orders_sequence (wallet=? AND market=? AND action=?)" in step


def test_an_accounts_events_and_the_systems_are_read_off_the_index(migrated_file: Path) -> None:
    """Each of the two in its place and no further than the page: the rest of the trail is not read."""
    steps = plan(migrated_file, trail._OF_ACCOUNT)
    assert not [step for step in steps if "SCAN events" in step]
    assert sum("ix_events_account (account=? AND position>?)" in step for step in steps) == 2


def test_each_key_is_looked_up(migrated_file: Path) -> None:
    """An idempotency key is found at once, in either place, and so is a client_order_id."""
    steps = plan(migrated_file, intake._BY_KEYS)
    assert not [step for step in steps if "SCAN" in step]
    assert sum("(account=? AND idempotency_key=?)" in step for step in steps) == 2
    assert sum("(account=? AND client_order_id=?)" in step for step in steps) == 1
