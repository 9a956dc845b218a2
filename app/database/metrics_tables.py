"""The tables of the metrics database: derived from sealed events, and rebuilt from them at will."""

from typing import cast

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class MetricsBase(DeclarativeBase):
    """Base of the models in the metrics database."""

    metadata = MetaData()


class ExecutionModel(MetricsBase):
    """What the events say about one order; final once `ended_at_us` is set."""

    __tablename__ = "executions"

    order_id: Mapped[str] = mapped_column(Text)
    account: Mapped[str] = mapped_column(Text)
    market: Mapped[str] = mapped_column(Text)
    action: Mapped[str] = mapped_column(Text)
    strategy: Mapped[str | None] = mapped_column(Text)
    price: Mapped[str | None] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    reason_code: Mapped[str | None] = mapped_column(Text)
    method: Mapped[str | None] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(Integer)
    submissions: Mapped[int] = mapped_column(Integer)
    accepted_at_us: Mapped[int] = mapped_column(BigInteger)
    first_executing_at_us: Mapped[int | None] = mapped_column(BigInteger)
    first_signed_at_us: Mapped[int | None] = mapped_column(BigInteger)
    first_submitted_at_us: Mapped[int | None] = mapped_column(BigInteger)
    ended_at_us: Mapped[int | None] = mapped_column(BigInteger)
    finalized_at_us: Mapped[int | None] = mapped_column(BigInteger)
    base_amount: Mapped[int | None] = mapped_column(BigInteger)
    quote_amount: Mapped[int | None] = mapped_column(BigInteger)
    network_fee: Mapped[int | None] = mapped_column(BigInteger)
    priority_fee: Mapped[int | None] = mapped_column(BigInteger)
    tip: Mapped[int | None] = mapped_column(BigInteger)
    venue_fee: Mapped[int | None] = mapped_column(BigInteger)
    slot: Mapped[int | None] = mapped_column(BigInteger)

    __table_args__ = (
        PrimaryKeyConstraint("order_id", name="pk_executions"),
        Index(
            "ix_executions_ended",
            "ended_at_us",
            sqlite_where=text("ended_at_us IS NOT NULL"),
            postgresql_where=text("ended_at_us IS NOT NULL"),
        ),
    )


class CursorModel(MetricsBase):
    """The position up to which sealed events are counted; written with the rows they gave."""

    __tablename__ = "metrics_cursor"

    cursor_id: Mapped[int] = mapped_column(Integer, autoincrement=False)
    position: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (
        PrimaryKeyConstraint("cursor_id", name="pk_metrics_cursor"),
        CheckConstraint("cursor_id = 1", name="ck_metrics_cursor_one"),
    )


EXECUTIONS = cast("Table", ExecutionModel.__table__)
CURSOR = cast("Table", CursorModel.__table__)
