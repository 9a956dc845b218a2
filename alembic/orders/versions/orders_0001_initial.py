"""The first tables."""

import sqlalchemy as sa

from alembic import op

revision = "orders_0001"
down_revision = None
branch_labels = None
depends_on = None

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _where(condition: str) -> dict[str, sa.TextClause]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def _audit_checkpoint() -> None:
    op.create_table(
        "audit_checkpoint",
        sa.Column("checkpoint_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.CheckConstraint("checkpoint_id = 1", name="ck_audit_checkpoint_one"),
        sa.PrimaryKeyConstraint("checkpoint_id", name="pk_audit_checkpoint"),
    )


def _events() -> None:
    op.create_table(
        "events",
        sa.Column("event_id", Id, autoincrement=True, nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=True),
        sa.Column("hash", sa.Text(), nullable=True),
        sa.CheckConstraint("(position IS NULL) = (hash IS NULL)", name="ck_events_sealed"),
        sa.PrimaryKeyConstraint("event_id", name="pk_events"),
        sa.UniqueConstraint("order_id", "seq", name="uq_events_seq"),
    )
    op.create_index(
        "ix_events_account", "events", ["account", "position"], **_where("position IS NOT NULL")
    )
    op.create_index("ix_events_unsealed", "events", ["event_id"], **_where("position IS NULL"))
    op.create_index(
        "uq_events_position", "events", ["position"], unique=True, **_where("position IS NOT NULL")
    )


def _meta() -> None:
    op.create_table(
        "meta",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_meta"),
    )


def _orders() -> None:
    op.create_table(
        "orders",
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("wallet", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("market", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("quote_size", sa.BigInteger(), nullable=True),
        sa.Column("price", sa.Text(), nullable=True),
        sa.Column("confidence", sa.Text(), nullable=True),
        sa.Column("client_order_id", sa.Text(), nullable=True),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("valid_for_us", sa.BigInteger(), nullable=True),
        sa.Column("signal_time_us", sa.BigInteger(), nullable=True),
        sa.Column("strategy", sa.Text(), nullable=True),
        sa.Column("methods", sa.Text(), nullable=True),
        sa.Column("allow_public_fallback", sa.Boolean(), nullable=False),
        sa.Column("max_slippage_bps", sa.Integer(), nullable=False),
        sa.Column("signal_metadata", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason_code", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("program_error", sa.Text(), nullable=True),
        sa.Column("accepted_at_us", sa.BigInteger(), nullable=False),
        sa.Column("deadline_us", sa.BigInteger(), nullable=False),
        sa.Column("next_attempt_at_us", sa.BigInteger(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("in_doubt_since_us", sa.BigInteger(), nullable=True),
        sa.Column("cancel_requested_at_us", sa.BigInteger(), nullable=True),
        sa.Column("landed_failed_at_us", sa.BigInteger(), nullable=True),
        sa.Column("ended_at_us", sa.BigInteger(), nullable=True),
        sa.Column("filled_at_us", sa.BigInteger(), nullable=True),
        sa.Column("finalized_at_us", sa.BigInteger(), nullable=True),
        sa.Column("fill_method", sa.Text(), nullable=True),
        sa.Column("fill_base_amount", sa.BigInteger(), nullable=True),
        sa.Column("fill_quote_amount", sa.BigInteger(), nullable=True),
        sa.Column("fill_network_fee", sa.BigInteger(), nullable=True),
        sa.Column("fill_priority_fee", sa.BigInteger(), nullable=True),
        sa.Column("fill_tip", sa.BigInteger(), nullable=True),
        sa.Column("fill_venue_fee", sa.BigInteger(), nullable=True),
        sa.Column("fill_slot", sa.BigInteger(), nullable=True),
        sa.Column("queue_rank", sa.Integer(), nullable=False),
        sa.Column("process", sa.Text(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("attempt_count", sa.Integer(), nullable=False),
        sa.Column("event_seq", sa.Integer(), nullable=False),
        sa.CheckConstraint("action IN ('BUY', 'SELL')", name="ck_orders_action"),
        sa.CheckConstraint(
            "in_doubt_since_us IS NULL OR status = 'submitted'", name="ck_orders_in_doubt"
        ),
        sa.CheckConstraint(
            "status <> 'filled' OR (fill_base_amount IS NOT NULL AND filled_at_us IS NOT NULL)",
            name="ck_orders_filled",
        ),
        sa.CheckConstraint(
            "status IN ('queued', 'executing', 'submitted', 'filled', 'failed', 'expired', "
            "'canceled', 'rejected')",
            name="ck_orders_status",
        ),
        sa.CheckConstraint("(size IS NULL) <> (quote_size IS NULL)", name="ck_orders_one_size"),
        sa.PrimaryKeyConstraint("order_id", name="pk_orders"),
        sa.UniqueConstraint("account", "client_order_id", name="uq_orders_client_order_id"),
        sa.UniqueConstraint("account", "idempotency_key", name="uq_orders_idempotency_key"),
    )
    op.create_index(
        "ix_orders_active",
        "orders",
        ["status", "process"],
        **_where("status IN ('executing', 'submitted')"),
    )
    op.create_index("ix_orders_deadline", "orders", ["deadline_us"], **_where("status = 'queued'"))
    op.create_index(
        "ix_orders_ended", "orders", ["ended_at_us"], **_where("ended_at_us IS NOT NULL")
    )
    op.create_index(
        "ix_orders_in_doubt",
        "orders",
        ["process", "in_doubt_since_us"],
        **_where("in_doubt_since_us IS NOT NULL"),
    )
    op.create_index("ix_orders_listing", "orders", ["account", "accepted_at_us", "order_id"])
    op.create_index(
        "ix_orders_queue",
        "orders",
        ["queue_rank", "accepted_at_us", "order_id", "next_attempt_at_us"],
        **_where("status = 'queued'"),
    )
    op.create_index(
        "ix_orders_status", "orders", ["account", "status", "accepted_at_us", "order_id"]
    )
    op.create_index(
        "ix_orders_unsettled",
        "orders",
        ["process"],
        **_where("status = 'filled' AND finalized_at_us IS NULL"),
    )


def _processes() -> None:
    op.create_table(
        "processes",
        sa.Column("process_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("started_at_us", sa.BigInteger(), nullable=False),
        sa.Column("heartbeat_at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("process_id", name="pk_processes"),
    )


def _attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("attempt_id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("wallet", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("blockhash", sa.Text(), nullable=False),
        sa.Column("blockhash_slot", sa.BigInteger(), nullable=False),
        sa.Column("last_valid_block_height", sa.BigInteger(), nullable=False),
        sa.Column("quote", sa.Text(), nullable=False),
        sa.Column("spend_mint", sa.Text(), nullable=False),
        sa.Column("spend_amount", sa.BigInteger(), nullable=False),
        sa.Column("spend_lamports", sa.BigInteger(), nullable=False),
        sa.Column("priority_fee_lamports", sa.BigInteger(), nullable=False),
        sa.Column("tip_lamports", sa.BigInteger(), nullable=False),
        sa.Column("seed", sa.Text(), nullable=True),
        sa.Column("signed_at_us", sa.BigInteger(), nullable=False),
        sa.Column("landed_slot", sa.BigInteger(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("evidence", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "status IN ('signed', 'submitted', 'landed', 'failed', 'expired')",
            name="ck_attempts_status",
        ),
        sa.CheckConstraint("spend_amount >= 0 AND spend_lamports >= 0", name="ck_attempts_spend"),
        sa.ForeignKeyConstraint(
            ["order_id"], ["orders.order_id"], name="fk_attempts_order", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("attempt_id", name="pk_attempts"),
        sa.UniqueConstraint("order_id", "number", name="uq_attempts_number"),
        sa.UniqueConstraint("signature", name="uq_attempts_signature"),
    )
    op.create_index(
        "ix_attempts_landed",
        "attempts",
        ["wallet", "landed_slot"],
        **_where("landed_slot IS NOT NULL"),
    )
    op.create_index(
        "ix_attempts_reserved",
        "attempts",
        ["wallet"],
        **_where("status IN ('signed', 'submitted')"),
    )
    op.create_index(
        "uq_attempts_live",
        "attempts",
        ["order_id"],
        unique=True,
        **_where("status IN ('signed', 'submitted')"),
    )


def _order_keys() -> None:
    op.create_table(
        "order_keys",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["order_id"], ["orders.order_id"], name="fk_order_keys_order", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("account", "idempotency_key", name="pk_order_keys"),
    )
    op.create_index("ix_order_keys_order", "order_keys", ["order_id"])


def _submissions() -> None:
    op.create_table(
        "submissions",
        sa.Column("submission_id", Id, autoincrement=True, nullable=False),
        sa.Column("attempt_id", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("sent_at_us", sa.BigInteger(), nullable=False),
        sa.Column("latency_us", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "outcome IN ('accepted', 'not_sent', 'rejected', 'already', 'unknown')",
            name="ck_submissions_outcome",
        ),
        sa.ForeignKeyConstraint(
            ["attempt_id"],
            ["attempts.attempt_id"],
            name="fk_submissions_attempt",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("submission_id", name="pk_submissions"),
    )
    op.create_index("ix_submissions_attempt", "submissions", ["attempt_id"])


def upgrade() -> None:
    _audit_checkpoint()
    _events()
    _meta()
    _orders()
    _processes()
    _attempts()
    _order_keys()
    _submissions()


def downgrade() -> None:
    op.drop_table("submissions")
    op.drop_table("order_keys")
    op.drop_table("attempts")
    op.drop_table("processes")
    op.drop_table("orders")
    op.drop_table("meta")
    op.drop_table("events")
    op.drop_table("audit_checkpoint")
