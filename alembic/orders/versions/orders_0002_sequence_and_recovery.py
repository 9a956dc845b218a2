"""Orders that keep their sequence, and orders found on the chain again."""

import sqlalchemy as sa

from alembic import op

revision = "orders_0002"
down_revision = "orders_0001"
branch_labels = None
depends_on = None


def _where(condition: str) -> dict[str, sa.TextClause]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def upgrade() -> None:
    """Add the columns, with what is true of every earlier order."""
    op.add_column(
        "orders",
        sa.Column("in_sequence", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
    op.add_column("orders", sa.Column("client_hash", sa.Text(), nullable=True))
    op.create_index(
        "ix_orders_sequence",
        "orders",
        ["wallet", "market", "action", "accepted_at_us", "order_id"],
        **_where("in_sequence AND status IN ('queued', 'executing', 'submitted')"),
    )
    op.create_index(
        "ix_orders_client_hash", "orders", ["client_hash"], **_where("client_hash IS NOT NULL")
    )


def downgrade() -> None:
    """Take the columns away."""
    op.drop_index("ix_orders_client_hash", table_name="orders")
    op.drop_index("ix_orders_sequence", table_name="orders")
    op.drop_column("orders", "client_hash")
    op.drop_column("orders", "in_sequence")
