"""Orders with their attempts, as one consistent read."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select

from app.database.rows import attempt_of, order_of, submission_of
from app.database.sequence import with_turns
from app.database.tables import ATTEMPTS, ORDERS, SUBMISSIONS
from app.domain.attempt import StoredAttempt, Submission
from app.domain.order import OrderView

_ATTEMPTS = (
    select(ATTEMPTS)
    .where(ATTEMPTS.c.order_id.in_(bindparam("ids", expanding=True)))
    .order_by(ATTEMPTS.c.order_id, ATTEMPTS.c.number)
)
_SUBMISSIONS = (
    select(SUBMISSIONS)
    .where(SUBMISSIONS.c.attempt_id.in_(bindparam("ids", expanding=True)))
    .order_by(SUBMISSIONS.c.submission_id)
)
_ONE = select(ORDERS).where(
    ORDERS.c.order_id == bindparam("order_id"), ORDERS.c.account == bindparam("account")
)


def views_of(conn: Connection, rows: Sequence[Row[Any]]) -> list[OrderView]:
    """Complete order rows with their attempts; asks nothing where none was ever signed."""
    signed = [row.order_id for row in rows if row.attempt_count]
    attempts = _attempts(conn, signed) if signed else {}
    return [OrderView(order_of(row), tuple(attempts.get(row.order_id, ()))) for row in rows]


def _attempts(conn: Connection, order_ids: Sequence[str]) -> dict[str, list[StoredAttempt]]:
    rows = conn.execute(_ATTEMPTS, {"ids": order_ids}).all()
    pushes: dict[str, list[Submission]] = defaultdict(list)
    for row in conn.execute(_SUBMISSIONS, {"ids": [row.attempt_id for row in rows]}):
        pushes[row.attempt_id].append(submission_of(row))
    attempts: dict[str, list[StoredAttempt]] = defaultdict(list)
    for row in rows:
        attempts[row.order_id].append(attempt_of(row, pushes[row.attempt_id]))
    return attempts


def view(conn: Connection, account: str, order_id: str) -> OrderView | None:
    """Read one order of an account."""
    rows = conn.execute(_ONE, {"order_id": order_id, "account": account}).all()
    return with_turns(conn, views_of(conn, rows))[0] if rows else None
