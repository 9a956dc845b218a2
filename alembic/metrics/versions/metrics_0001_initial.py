"""The first tables."""

import sqlalchemy as sa

from alembic import op

revision = "metrics_0001"
down_revision = None
branch_labels = None
depends_on = None


def _where(condition: str) -> dict[str, sa.TextClause]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def upgrade() -> None:
    op.create_table(
        "executions",
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("market", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("strategy", sa.Text(), nullable=True),
        sa.Column("price", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason_code", sa.Text(), nullable=True),
        sa.Column("method", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("submissions", sa.Integer(), nullable=False),
        sa.Column("accepted_at_us", sa.BigInteger(), nullable=False),
        sa.Column("first_executing_at_us", sa.BigInteger(), nullable=True),
        sa.Column("first_signed_at_us", sa.BigInteger(), nullable=True),
        sa.Column("first_submitted_at_us", sa.BigInteger(), nullable=True),
        sa.Column("ended_at_us", sa.BigInteger(), nullable=True),
        sa.Column("finalized_at_us", sa.BigInteger(), nullable=True),
        sa.Column("base_amount", sa.BigInteger(), nullable=True),
        sa.Column("quote_amount", sa.BigInteger(), nullable=True),
        sa.Column("network_fee", sa.BigInteger(), nullable=True),
        sa.Column("priority_fee", sa.BigInteger(), nullable=True),
        sa.Column("tip", sa.BigInteger(), nullable=True),
        sa.Column("venue_fee", sa.BigInteger(), nullable=True),
        sa.Column("slot", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("order_id", name="pk_executions"),
    )
    op.create_index(
        "ix_executions_ended", "executions", ["ended_at_us"], **_where("ended_at_us IS NOT NULL")
    )

    op.create_table(
        "metrics_cursor",
        sa.Column("cursor_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("cursor_id = 1", name="ck_metrics_cursor_one"),
        sa.PrimaryKeyConstraint("cursor_id", name="pk_metrics_cursor"),
    )


def downgrade() -> None:
    op.drop_table("metrics_cursor")
    op.drop_table("executions")
