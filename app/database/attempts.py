"""STORE: the unit of work after which, and only after which, a signed transaction may be pushed."""

from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import (
    Connection,
    and_,
    bindparam,
    exists,
    insert,
    literal_column,
    select,
    text,
    update,
)

from app.database.expressions import constant, exact_sum, summed
from app.database.rows import attempt_values
from app.database.running import change, fetch, fetch_one
from app.database.tables import ATTEMPTS, LIVE, ORDERS
from app.database.trading import is_halted
from app.database.trail import Note, append
from app.domain.attempt import AttemptStatus, LanePlan, Signed, Spend, StoredAttempt
from app.domain.errors import IllegalMoveError
from app.domain.events import EventKind
from app.domain.money import BASE_UNITS_MAX
from app.domain.order import OrderStatus, OrderView
from app.engine.ports import Balances, Claimed, LostLease, Shortage
from app.engine.recovery_port import Recovered
from app.engine.store_port import Halted

WALLET_LOCKS: Final = 7_305_002
"""First key of the advisory locks that let one STORE of a wallet be judged at a time on PostgreSQL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Storing:
    """What is to be stored: the signed bytes with their plan, and what the wallet was seen to hold."""

    claimed: Claimed
    signed: Signed
    plan: LanePlan
    balances: Balances
    reserve_lamports: int
    at_us: int


_MOVE = (
    update(ORDERS)
    .where(
        ORDERS.c.order_id == bindparam("id"),
        ORDERS.c.process == bindparam("me"),
        ORDERS.c.version == bindparam("at_version"),
        ORDERS.c.status == constant(OrderStatus.EXECUTING),
        ORDERS.c.cancel_requested_at_us.is_(None),
        ORDERS.c.attempt_count == bindparam("attempts_before"),
    )
    .values(
        status=OrderStatus.SUBMITTED.value,
        attempt_count=ORDERS.c.attempt_count + 1,
        event_seq=ORDERS.c.event_seq + 1,
    )
    .returning(ORDERS.c.event_seq, ORDERS.c.account)
)
_INSERT = insert(ATTEMPTS)


def store_attempt(
    conn: Connection, process_id: str, storing: Storing
) -> Claimed | LostLease | Shortage | Halted:
    """Judge halt and funds, move the order by compare-and-swap, insert the attempt, tell the event."""
    view = storing.claimed.view
    if view.live_attempt is not None:
        raise IllegalMoveError(f"order {view.order.order_id} has a live attempt")
    if is_halted(conn):
        return Halted()
    shortage = _shortage(conn, view.order.wallet, storing)
    if shortage is not None:
        return shortage
    values = {
        "id": view.order.order_id,
        "me": process_id,
        "at_version": view.order.version,
        "attempts_before": len(view.attempts),
    }
    row = fetch_one(conn, _MOVE, values)
    if row is None:
        return LostLease()
    attempt, account = _attempt(storing), row.account
    change(conn, _INSERT, attempt_values(attempt, account))
    order_id, seq = attempt.order_id, row.event_seq
    note = Note(EventKind.SIGNED, storing.at_us, _told(attempt))
    append(conn, account=account, order_id=order_id, last_seq=seq, notes=[note])
    order = replace(view.order, account=account, status=OrderStatus.SUBMITTED)
    return Claimed(OrderView(order, (*view.attempts, attempt)))


def _attempt(storing: Storing) -> StoredAttempt:
    view = storing.claimed.view
    number = view.next_number
    return StoredAttempt(
        attempt_id=f"{view.order.order_id}/{number}",
        order_id=view.order.order_id,
        number=number,
        wallet=view.order.wallet,
        status=AttemptStatus.SIGNED,
        plan=storing.plan,
        signed=storing.signed,
        signed_at_us=storing.at_us,
    )


def store_recovered(
    conn: Connection, view: OrderView, lost: Recovered, *, landed: bool = False
) -> int:
    """Insert an attempt that was found on the chain: its bytes have left somebody, so it is submitted.

    `landed`: its order is known to be filled by it.

    It follows no plan: there is nothing left to push. It keeps its memo's number, unless others were
    signed without knowing of it: the number is given back.
    """
    order, number = view.order, max(lost.memo.number, view.next_number)
    attempt = StoredAttempt(
        attempt_id=f"{order.order_id}/{number}",
        order_id=order.order_id,
        number=number,
        wallet=lost.wallet,
        status=AttemptStatus.LANDED if landed else AttemptStatus.SUBMITTED,
        landed_slot=lost.slot if landed else None,
        plan=LanePlan(()),
        signed=lost.signed,
        signed_at_us=lost.at_us or order.accepted_at_us,
    )
    values = attempt_values(attempt, order.account)
    change(conn, _INSERT, {**values, "landed_slot": attempt.landed_slot})
    return number


def _told(attempt: StoredAttempt) -> dict[str, object]:
    signed = attempt.signed
    return {
        "number": attempt.number,
        "signature": attempt.signature,
        "wallet": attempt.wallet,
        "blockhash": signed.blockhash.blockhash,
        "last_valid_block_height": attempt.last_valid_block_height,
        "strategy": attempt.plan.strategy.value,
        "methods": [lane.method for lane in attempt.plan.lanes],
        "spend": {
            "mint": signed.spend.mint,
            "amount": str(signed.spend.amount),
            "lamports": str(signed.spend.lamports),
        },
    }


# ---------------------------------------------------------------- funds

_SPENDS = (
    ATTEMPTS.c.spend_mint,
    *exact_sum(ATTEMPTS.c.spend_amount, "amount"),
    *exact_sum(ATTEMPTS.c.spend_lamports, "lamports"),
)
_OF_WALLET = ATTEMPTS.c.wallet == bindparam("wallet")
_LIVE_SPENDS = (
    select(*_SPENDS).where(_OF_WALLET, literal_column(LIVE)).group_by(ATTEMPTS.c.spend_mint)
)
# What landed after the balances were read is not in them yet, whether it was filled or failed.
_LATER_SPENDS = (
    select(*_SPENDS)
    .where(
        _OF_WALLET,
        and_(
            ATTEMPTS.c.landed_slot > bindparam("slot"),
            literal_column(f"NOT ({LIVE})"),
        ),
    )
    .group_by(ATTEMPTS.c.spend_mint)
)
_RESERVED = _LIVE_SPENDS.union_all(_LATER_SPENDS)
# A fill that is not in the balances yet may have brought just what they lack.
_FILLED_LATER = select(
    exists().where(
        _OF_WALLET,
        ATTEMPTS.c.landed_slot > bindparam("slot"),
        ATTEMPTS.c.status == constant(AttemptStatus.LANDED),
    )
)
_LOCK = text("SELECT pg_advisory_xact_lock(:key, hashtext(:wallet))")


@dataclass(frozen=True, slots=True)
class _Reserved:
    """What other attempts may still take from the wallet."""

    lamports: int
    tokens: int


def _shortage(conn: Connection, wallet: str, storing: Storing) -> Shortage | None:
    spend = storing.signed.spend
    if max(spend.amount, spend.lamports) > BASE_UNITS_MAX:
        return Shortage("the attempt would spend more than can be kept", passing=False)
    if conn.dialect.name == "postgresql":
        conn.execute(_LOCK, {"key": WALLET_LOCKS, "wallet": wallet})
    alone = _lacking(storing, _Reserved(0, 0))
    slot = storing.balances.slot
    if alone is not None:
        outdated = conn.scalar(_FILLED_LATER, {"wallet": wallet, "slot": slot})
        return Shortage(alone, passing=bool(outdated))
    reserved = _reserved(conn, wallet, spend, slot)
    together = _lacking(storing, reserved)
    return None if together is None else Shortage(together, passing=True)


def _reserved(conn: Connection, wallet: str, spend: Spend, slot: int) -> _Reserved:
    lamports = tokens = 0
    for row in fetch(conn, _RESERVED, {"wallet": wallet, "slot": slot}):
        lamports += summed(row, "lamports")
        tokens += summed(row, "amount") if row.spend_mint == spend.mint else 0
    return _Reserved(lamports, tokens)


def _lacking(storing: Storing, reserved: _Reserved) -> str | None:
    """Say what the wallet lacks, beside what is reserved."""
    spend, balances = storing.signed.spend, storing.balances
    needed = spend.lamports + storing.reserve_lamports
    free = balances.lamports - reserved.lamports
    if needed > free:
        return f"{needed} lamports are needed, reserve included, and {max(free, 0)} are free"
    held = balances.tokens.get(spend.mint, 0) - reserved.tokens
    if spend.mint and spend.amount > held:
        return f"{spend.amount} base units of {spend.mint} are needed and {max(held, 0)} are free"
    return None
