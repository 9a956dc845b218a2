"""The tables of legal moves, and what an order and its attempts say about themselves."""

from itertools import product

import pytest

from app.domain.attempt import ATTEMPT_MOVES, AttemptStatus
from app.domain.errors import (
    IllegalMoveError,
    IntakeError,
    ReasonCode,
    SignalError,
    StartupError,
)
from app.domain.order import FINAL_STATUSES, ORDER_MOVES, OrderStatus
from app.domain.outcome import Proof, ReplyOutcome
from tests.domain.makers import PROOF, attempt, evidence, order, push, signal, view

ORDER = {
    "queued": "executing canceled expired",
    "executing": "submitted failed expired canceled queued",
    "submitted": "filled failed expired canceled queued",
    "filled": "failed",
    "failed": "",
    "expired": "",
    "canceled": "",
    "rejected": "",
}
ATTEMPT = {
    "signed": "submitted landed failed expired",
    "submitted": "landed failed expired",
    "landed": "failed expired",
    "failed": "",
    "expired": "",
}


@pytest.mark.parametrize(("source", "target"), list(product(OrderStatus, OrderStatus)))
def test_an_order_moves_only_as_the_table_says(source: OrderStatus, target: OrderStatus) -> None:
    """Every other move raises; this is the table as published."""
    if target in ORDER[source].split():
        assert source.to(target) is target
    else:
        with pytest.raises(IllegalMoveError, match=f"order {source} -> {target}"):
            source.to(target)


@pytest.mark.parametrize(("source", "target"), list(product(AttemptStatus, AttemptStatus)))
def test_an_attempt_moves_only_as_the_table_says(
    source: AttemptStatus, target: AttemptStatus
) -> None:
    """Every other move raises; a landing is taken back only by an undone fill."""
    if target in ATTEMPT[source].split():
        assert source.to(target) is target
    else:
        with pytest.raises(IllegalMoveError, match=f"attempt {source} -> {target}"):
            source.to(target)


def test_both_tables_are_complete() -> None:
    """Every status has its row."""
    assert set(ORDER_MOVES) == set(OrderStatus)
    assert set(ATTEMPT_MOVES) == set(AttemptStatus)


def test_finality_is_one_set() -> None:
    """What is final has no way out, but for a fill that a fork undoes."""
    assert {status for status in OrderStatus if status.final} == FINAL_STATUSES
    dead_ends = {status for status in OrderStatus if not ORDER_MOVES[status]}
    assert FINAL_STATUSES - dead_ends == {OrderStatus.FILLED}
    assert dead_ends < FINAL_STATUSES


def test_an_attempt_is_alive_dead_or_landed() -> None:
    """Each status is exactly one of the three."""
    alive = {status for status in AttemptStatus if status.live}
    dead = {status for status in AttemptStatus if status.dead}
    assert alive == {AttemptStatus.SIGNED, AttemptStatus.SUBMITTED}
    assert dead == {AttemptStatus.FAILED, AttemptStatus.EXPIRED}


def test_an_order_knows_its_live_attempt() -> None:
    """It is the one that may still land; dead ones are counted."""
    alive = view(
        OrderStatus.SUBMITTED, AttemptStatus.EXPIRED, AttemptStatus.FAILED, AttemptStatus.SIGNED
    )
    assert alive.live_attempt is alive.attempts[2]
    assert alive.dead_attempts == 2
    assert view(OrderStatus.QUEUED, AttemptStatus.EXPIRED).live_attempt is None


@pytest.mark.parametrize(
    ("header", "field", "key"),
    [
        ("header", "field", "header"),
        (None, "field", "field"),
        (None, None, "0198c0de"),
    ],
)
def test_the_client_key_is_the_one_a_repeat_is_known_by(
    header: str | None, field: str | None, key: str
) -> None:
    """The header outranks the field; without both, the order's own id is as good."""
    made = order(idempotency_key=header, signal=signal(client_order_id=field))
    assert made.client_key == key


def test_an_attempt_speaks_for_its_bytes() -> None:
    """Signature and last height are those of the signed transaction."""
    made = attempt()
    assert made.signature == made.signed.signature
    assert made.last_valid_block_height == made.signed.blockhash.last_valid_block_height


def test_a_landing_is_credited_to_the_first_that_accepted() -> None:
    """Refusals and unknown outcomes earn nothing; without an acceptance nobody does."""
    pushes = (push("jito", ReplyOutcome.UNKNOWN), push("rpc"), push("bundle"))
    assert attempt(submissions=pushes).landing_method == "rpc"
    assert attempt(submissions=pushes[:1]).landing_method is None


def test_a_proof_must_cover_the_attempt_s_own_bytes() -> None:
    """Evidence about an older blockhash proves nothing about a younger one."""
    assert attempt().is_proved_dead(PROOF)
    assert not attempt().is_proved_dead(Proof((evidence(height=999),)))
    assert not attempt().is_proved_dead(Proof((evidence(ledger_slot_min=5_001),)))


def test_reason_codes_are_their_own_names() -> None:
    """The stable code on the wire is the name in the code."""
    assert [code.name for code in ReasonCode] == [code.value for code in ReasonCode]


def test_an_error_says_what_and_what_to_do() -> None:
    """One line holds the code, what was wrong and the way out."""
    error = SignalError(ReasonCode.SIZE_CONFLICT, "size or both", todo="give one", field="size")
    assert str(error) == "SIZE_CONFLICT: size or both; give one"
    assert (error.code, error.field) == (ReasonCode.SIZE_CONFLICT, "size")
    assert str(SignalError(ReasonCode.NOT_FOUND, "no")) == "NOT_FOUND: no"


def test_an_intake_error_knows_whether_later_helps() -> None:
    """A full queue empties; a key used twice stays used."""
    assert IntakeError(ReasonCode.QUEUE_FULL, "full", retryable=True).retryable
    assert not IntakeError(ReasonCode.KEY_CONFLICT, "used").retryable


def test_a_failed_start_is_one_line() -> None:
    """Code, what, what to do."""
    error = StartupError("PORT_IN_USE", "port 8000 is taken", "choose another")
    assert str(error) == "PORT_IN_USE: port 8000 is taken; choose another"
