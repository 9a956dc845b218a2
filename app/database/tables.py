"""The tables of the orders database: the guards that SQL itself keeps are written here.

Times are UTC microseconds, amounts base units, prices decimal strings, JSON canonical text: the same
on SQLite and PostgreSQL, and exact on both.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, cast

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from app.domain.attempt import LIVE_STATUSES, AttemptStatus
from app.domain.order import OrderStatus
from app.domain.outcome import ReplyOutcome
from app.domain.signal import Action

Id = BigInteger().with_variant(Integer, "sqlite")
"""A counted key; SQLite counts only INTEGER keys by itself."""


def one_of(column: str, values: Iterable[StrEnum]) -> str:
    """Spell `column IN ('a', 'b')`: constants, so that partial indexes can be matched."""
    return f"{column} IN ({', '.join(repr(v.value) for v in values)})"


LIVE = one_of("status", [s for s in AttemptStatus if s in LIVE_STATUSES])
ACTIVE = one_of("status", [OrderStatus.EXECUTING, OrderStatus.SUBMITTED])
UNSETTLED = "status = 'filled' AND finalized_at_us IS NULL"
QUEUED = "status = 'queued'"
IN_DOUBT = "in_doubt_since_us IS NOT NULL"
OPEN = one_of("status", [OrderStatus.QUEUED, OrderStatus.EXECUTING, OrderStatus.SUBMITTED])
IN_SEQUENCE = f"in_sequence AND {OPEN}"


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


class OrdersBase(DeclarativeBase):
    """Base of the models in the orders database."""

    metadata = MetaData()


class OrderModel(OrdersBase):
    """An order. `process` holds it by lease; `version` is the token that every write must match."""

    __tablename__ = "orders"

    order_id: Mapped[str] = mapped_column(Text)
    account: Mapped[str] = mapped_column(Text)
    wallet: Mapped[str] = mapped_column(Text)
    fingerprint: Mapped[str] = mapped_column(Text)
    idempotency_key: Mapped[str | None] = mapped_column(Text)
    # the signal
    action: Mapped[str] = mapped_column(Text)
    market: Mapped[str] = mapped_column(Text)
    size: Mapped[int | None] = mapped_column(BigInteger)
    quote_size: Mapped[int | None] = mapped_column(BigInteger)
    price: Mapped[str | None] = mapped_column(Text)
    confidence: Mapped[str | None] = mapped_column(Text)
    client_order_id: Mapped[str | None] = mapped_column(Text)
    priority: Mapped[int] = mapped_column(Integer)
    valid_for_us: Mapped[int | None] = mapped_column(BigInteger)
    signal_time_us: Mapped[int | None] = mapped_column(BigInteger)
    strategy: Mapped[str | None] = mapped_column(Text)
    methods: Mapped[str | None] = mapped_column(Text)
    allow_public_fallback: Mapped[bool] = mapped_column(Boolean)
    max_slippage_bps: Mapped[int] = mapped_column(Integer)
    signal_metadata: Mapped[str] = mapped_column(Text)
    # where it stands
    status: Mapped[str] = mapped_column(Text)
    reason_code: Mapped[str | None] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)
    program_error: Mapped[str | None] = mapped_column(Text)
    accepted_at_us: Mapped[int] = mapped_column(BigInteger)
    deadline_us: Mapped[int] = mapped_column(BigInteger)
    next_attempt_at_us: Mapped[int] = mapped_column(BigInteger)
    tries: Mapped[int] = mapped_column(Integer)
    in_doubt_since_us: Mapped[int | None] = mapped_column(BigInteger)
    cancel_requested_at_us: Mapped[int | None] = mapped_column(BigInteger)
    landed_failed_at_us: Mapped[int | None] = mapped_column(BigInteger)
    ended_at_us: Mapped[int | None] = mapped_column(BigInteger)
    filled_at_us: Mapped[int | None] = mapped_column(BigInteger)
    finalized_at_us: Mapped[int | None] = mapped_column(BigInteger)
    # the fill
    fill_method: Mapped[str | None] = mapped_column(Text)
    fill_base_amount: Mapped[int | None] = mapped_column(BigInteger)
    fill_quote_amount: Mapped[int | None] = mapped_column(BigInteger)
    fill_network_fee: Mapped[int | None] = mapped_column(BigInteger)
    fill_priority_fee: Mapped[int | None] = mapped_column(BigInteger)
    fill_tip: Mapped[int | None] = mapped_column(BigInteger)
    fill_venue_fee: Mapped[int | None] = mapped_column(BigInteger)
    fill_slot: Mapped[int | None] = mapped_column(BigInteger)
    # its place in the queue (9 - priority, so that one index runs one way), the lease, and the
    # counts that writes must match or advance
    queue_rank: Mapped[int] = mapped_column(Integer)
    process: Mapped[str | None] = mapped_column(Text)
    version: Mapped[int] = mapped_column(BigInteger)
    attempt_count: Mapped[int] = mapped_column(Integer)
    event_seq: Mapped[int] = mapped_column(Integer)
    # it does not overtake an earlier opposite order of its wallet and market
    in_sequence: Mapped[bool] = mapped_column(Boolean, server_default=false())
    # set only for an order found on the chain: all that is known of its client's key
    client_hash: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        PrimaryKeyConstraint("order_id", name="pk_orders"),
        UniqueConstraint("account", "idempotency_key", name="uq_orders_idempotency_key"),
        UniqueConstraint("account", "client_order_id", name="uq_orders_client_order_id"),
        CheckConstraint(one_of("status", list(OrderStatus)), name="ck_orders_status"),
        CheckConstraint(one_of("action", list(Action)), name="ck_orders_action"),
        CheckConstraint("(size IS NULL) <> (quote_size IS NULL)", name="ck_orders_one_size"),
        CheckConstraint(
            "status <> 'filled' OR (fill_base_amount IS NOT NULL AND filled_at_us IS NOT NULL)",
            name="ck_orders_filled",
        ),
        CheckConstraint(
            "in_doubt_since_us IS NULL OR status = 'submitted'", name="ck_orders_in_doubt"
        ),
        Index(
            "ix_orders_queue",
            "queue_rank",
            "accepted_at_us",
            "order_id",
            "next_attempt_at_us",
            **_where(QUEUED),
        ),
        Index("ix_orders_deadline", "deadline_us", **_where(QUEUED)),
        Index("ix_orders_active", "status", "process", **_where(ACTIVE)),
        Index("ix_orders_in_doubt", "process", "in_doubt_since_us", **_where(IN_DOUBT)),
        Index("ix_orders_unsettled", "process", **_where(UNSETTLED)),
        Index("ix_orders_listing", "account", "accepted_at_us", "order_id"),
        Index("ix_orders_status", "account", "status", "accepted_at_us", "order_id"),
        Index("ix_orders_ended", "ended_at_us", **_where("ended_at_us IS NOT NULL")),
        Index(
            "ix_orders_sequence",
            "wallet",
            "market",
            "action",
            "accepted_at_us",
            "order_id",
            **_where(IN_SEQUENCE),
        ),
        Index("ix_orders_client_hash", "client_hash", **_where("client_hash IS NOT NULL")),
    )


class KeyModel(OrdersBase):
    """A further idempotency key under which an order was asked for again."""

    __tablename__ = "order_keys"

    account: Mapped[str] = mapped_column(Text)
    idempotency_key: Mapped[str] = mapped_column(Text)
    order_id: Mapped[str] = mapped_column(
        Text, ForeignKey("orders.order_id", name="fk_order_keys_order", ondelete="CASCADE")
    )

    __table_args__ = (
        PrimaryKeyConstraint("account", "idempotency_key", name="pk_order_keys"),
        Index("ix_order_keys_order", "order_id"),
    )


class AttemptModel(OrdersBase):
    """A signed transaction of an order, with what it may spend and the plan it follows."""

    __tablename__ = "attempts"

    attempt_id: Mapped[str] = mapped_column(Text)
    order_id: Mapped[str] = mapped_column(
        Text, ForeignKey("orders.order_id", name="fk_attempts_order", ondelete="CASCADE")
    )
    number: Mapped[int] = mapped_column(Integer)
    account: Mapped[str] = mapped_column(Text)
    wallet: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    plan: Mapped[str] = mapped_column(Text)
    raw: Mapped[bytes] = mapped_column(LargeBinary)
    signature: Mapped[str] = mapped_column(Text)
    blockhash: Mapped[str] = mapped_column(Text)
    blockhash_slot: Mapped[int] = mapped_column(BigInteger)
    last_valid_block_height: Mapped[int] = mapped_column(BigInteger)
    quote: Mapped[str] = mapped_column(Text)
    spend_mint: Mapped[str] = mapped_column(Text)
    spend_amount: Mapped[int] = mapped_column(BigInteger)
    spend_lamports: Mapped[int] = mapped_column(BigInteger)
    priority_fee_lamports: Mapped[int] = mapped_column(BigInteger)
    tip_lamports: Mapped[int] = mapped_column(BigInteger)
    seed: Mapped[str | None] = mapped_column(Text)
    signed_at_us: Mapped[int] = mapped_column(BigInteger)
    landed_slot: Mapped[int | None] = mapped_column(BigInteger)
    error: Mapped[str | None] = mapped_column(Text)
    evidence: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        PrimaryKeyConstraint("attempt_id", name="pk_attempts"),
        UniqueConstraint("order_id", "number", name="uq_attempts_number"),
        UniqueConstraint("signature", name="uq_attempts_signature"),
        CheckConstraint(one_of("status", list(AttemptStatus)), name="ck_attempts_status"),
        CheckConstraint("spend_amount >= 0 AND spend_lamports >= 0", name="ck_attempts_spend"),
        Index("uq_attempts_live", "order_id", unique=True, **_where(LIVE)),
        Index("ix_attempts_reserved", "wallet", **_where(LIVE)),
        Index("ix_attempts_landed", "wallet", "landed_slot", **_where("landed_slot IS NOT NULL")),
    )


class SubmissionModel(OrdersBase):
    """One push of an attempt through one method."""

    __tablename__ = "submissions"

    submission_id: Mapped[int] = mapped_column(Id, autoincrement=True)
    attempt_id: Mapped[str] = mapped_column(
        Text, ForeignKey("attempts.attempt_id", name="fk_submissions_attempt", ondelete="CASCADE")
    )
    method: Mapped[str] = mapped_column(Text)
    outcome: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    sent_at_us: Mapped[int] = mapped_column(BigInteger)
    latency_us: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (
        PrimaryKeyConstraint("submission_id", name="pk_submissions"),
        CheckConstraint(one_of("outcome", list(ReplyOutcome)), name="ck_submissions_outcome"),
        Index("ix_submissions_attempt", "attempt_id"),
    )


class EventModel(OrdersBase):
    """An entry of the audit trail; it outlives its order. Unsealed while `position` is null."""

    __tablename__ = "events"

    event_id: Mapped[int] = mapped_column(Id, autoincrement=True)
    account: Mapped[str] = mapped_column(Text)
    order_id: Mapped[str] = mapped_column(Text)
    seq: Mapped[int] = mapped_column(Integer)
    at_us: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[str] = mapped_column(Text)
    data: Mapped[str] = mapped_column(Text)
    position: Mapped[int | None] = mapped_column(BigInteger)
    hash: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        PrimaryKeyConstraint("event_id", name="pk_events"),
        UniqueConstraint("order_id", "seq", name="uq_events_seq"),
        CheckConstraint("(position IS NULL) = (hash IS NULL)", name="ck_events_sealed"),
        Index("uq_events_position", "position", unique=True, **_where("position IS NOT NULL")),
        Index("ix_events_unsealed", "event_id", **_where("position IS NULL")),
        Index("ix_events_account", "account", "position", **_where("position IS NOT NULL")),
    )


class CheckpointModel(OrdersBase):
    """Where the audit trail begins after a clean-up: position and hash of the last event removed."""

    __tablename__ = "audit_checkpoint"

    checkpoint_id: Mapped[int] = mapped_column(Integer, autoincrement=False)
    position: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[str] = mapped_column(Text)

    __table_args__ = (
        PrimaryKeyConstraint("checkpoint_id", name="pk_audit_checkpoint"),
        CheckConstraint("checkpoint_id = 1", name="ck_audit_checkpoint_one"),
    )


class ProcessModel(OrdersBase):
    """A process that may hold orders, while its heartbeat is young by the database's clock."""

    __tablename__ = "processes"

    process_id: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    started_at_us: Mapped[int] = mapped_column(BigInteger)
    heartbeat_at_us: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (PrimaryKeyConstraint("process_id", name="pk_processes"),)


class MetaModel(OrdersBase):
    """Facts about the database as a whole: the chain it belongs to."""

    __tablename__ = "meta"

    name: Mapped[str] = mapped_column(Text)
    value: Mapped[str] = mapped_column(Text)

    __table_args__ = (PrimaryKeyConstraint("name", name="pk_meta"),)


ORDERS = cast("Table", OrderModel.__table__)
ORDER_KEYS = cast("Table", KeyModel.__table__)
ATTEMPTS = cast("Table", AttemptModel.__table__)
SUBMISSIONS = cast("Table", SubmissionModel.__table__)
EVENTS = cast("Table", EventModel.__table__)
CHECKPOINT = cast("Table", CheckpointModel.__table__)
PROCESSES = cast("Table", ProcessModel.__table__)
META = cast("Table", MetaModel.__table__)
