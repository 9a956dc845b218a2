"""Changes of an order: each is computed here, purely, and persisted by the store as one unit."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import TypedDict

from app.domain.attempt import AttemptStatus, StoredAttempt, Submission
from app.domain.errors import IllegalMoveError, ReasonCode
from app.domain.events import EventKind
from app.domain.order import Fill, OrderStatus, OrderView
from app.domain.outcome import Disagreement, FailureEvidence, ProgramError, Proof


class OrderUpdate(TypedDict, total=False):
    """The fields of an order that a change sets; names as in `Order`."""

    status: OrderStatus
    reason_code: ReasonCode | None
    reason: str | None
    program_error: Mapping[str, object] | None
    next_attempt_at_us: int
    tries: int
    in_doubt_since_us: int | None
    landed_failed_at_us: int | None
    ended_at_us: int | None
    filled_at_us: int | None
    finalized_at_us: int | None
    fill: Fill | None


class AttemptUpdate(TypedDict, total=False):
    """The fields of an attempt that a change sets; names as in `StoredAttempt`."""

    status: AttemptStatus
    landed_slot: int | None
    error: Mapping[str, object] | None
    proof: Proof | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One step of an order: the fields it sets, the pushes it adds, the event that tells it."""

    kind: EventKind
    at_us: int
    data: Mapping[str, object] = field(default_factory=dict)
    order: OrderUpdate = field(default_factory=OrderUpdate)
    number: int | None = None
    attempt: AttemptUpdate = field(default_factory=AttemptUpdate)
    submissions: tuple[Submission, ...] = ()


def apply(view: OrderView, change: Change) -> OrderView:
    """Give the order as it is after a change.

    Raises IllegalMoveError for a move that the tables forbid, and for an outcome in which order and
    attempts contradict each other.
    """
    if "status" in change.order:
        view.order.status.to(change.order["status"])
    if change.kind is EventKind.FILL_REVERTED and view.order.status is not OrderStatus.FILLED:
        raise IllegalMoveError(
            f"order {view.order.order_id} {view.order.status} has no fill to undo"
        )
    attempts = view.attempts
    if change.number is not None:
        if all(attempt.number != change.number for attempt in attempts):
            raise IllegalMoveError(f"order {view.order.order_id} has no attempt {change.number}")
        attempts = tuple(_changed(a, change) if a.number == change.number else a for a in attempts)
    return _consistent(OrderView(replace(view.order, **change.order), attempts))


def _consistent(view: OrderView) -> OrderView:
    """Hold what must be true of every order: filled is landed, alive is submitted, one at most."""
    status = view.order.status
    standing = [attempt.status for attempt in view.attempts if not attempt.status.dead]
    allowed = {
        OrderStatus.SUBMITTED: ([], [AttemptStatus.SIGNED], [AttemptStatus.SUBMITTED]),
        OrderStatus.FILLED: ([AttemptStatus.LANDED],),
    }
    if standing not in allowed.get(status, ([],)):
        raise IllegalMoveError(f"order {view.order.order_id} {status} with attempts {standing}")
    return view


def _changed(attempt: StoredAttempt, change: Change) -> StoredAttempt:
    if "status" in change.attempt:
        attempt.status.to(change.attempt["status"])
    submissions = attempt.submissions + change.submissions
    return replace(attempt, **change.attempt, submissions=submissions)


def requeued(view: OrderView, *, at_us: int, next_us: int, code: ReasonCode, reason: str) -> Change:
    """Go back to the queue until `next_us`; raises IllegalMoveError unless every attempt is dead."""
    _all_dead(view)
    tries = view.order.tries + 1
    order = OrderUpdate(
        status=OrderStatus.QUEUED,
        next_attempt_at_us=next_us,
        reason_code=code,
        reason=reason,
        tries=tries,
    )
    data = {"reason_code": code.value, "reason": reason, "next_attempt_at_us": next_us}
    return Change(kind=EventKind.REQUEUED, at_us=at_us, data=data, order=order)


def ended(
    view: OrderView,
    status: OrderStatus,
    *,
    at_us: int,
    code: ReasonCode,
    reason: str,
    program_error: ProgramError | None = None,
) -> Change:
    """End an order without a fill; raises IllegalMoveError when it is filled or may yet be."""
    _all_dead(view)
    if status is OrderStatus.FILLED or not status.final:
        raise IllegalMoveError(f"{status} is no end without a fill")
    error = program_error.document() if program_error is not None else None
    order = OrderUpdate(
        status=status,
        reason_code=code,
        reason=reason,
        program_error=error,
        ended_at_us=at_us,
        in_doubt_since_us=None,
    )
    data = {
        "status": status.value,
        "reason_code": code.value,
        "reason": reason,
        "program_error": error,
    }
    return Change(kind=EventKind.ENDED, at_us=at_us, data=data, order=order)


def submitted(attempt: StoredAttempt, submissions: tuple[Submission, ...], *, at_us: int) -> Change:
    """Record pushes of a live attempt, and their outcomes."""
    moved = attempt.status is AttemptStatus.SIGNED
    update = AttemptUpdate(status=AttemptStatus.SUBMITTED) if moved else AttemptUpdate()
    pushes = [
        {
            "method": s.method,
            "outcome": s.outcome.value,
            "reason": s.reason,
            "latency_us": s.latency_us,
        }
        for s in submissions
    ]
    data = {"number": attempt.number, "signature": attempt.signature, "submissions": pushes}
    return Change(
        kind=EventKind.SUBMITTED,
        at_us=at_us,
        data=data,
        number=attempt.number,
        attempt=update,
        submissions=submissions,
    )


def filled(
    attempt: StoredAttempt,
    fill: Fill,
    *,
    at_us: int,
    claims: Mapping[str, str] = MappingProxyType({}),
) -> Change:
    """The attempt landed without error in a confirmed block: the order is filled.

    `claims`: methods that had said it would not land, with what they had said.
    """
    order = OrderUpdate(
        status=OrderStatus.FILLED,
        fill=fill,
        filled_at_us=at_us,
        ended_at_us=at_us,
        reason_code=None,
        reason=None,
        in_doubt_since_us=None,
        landed_failed_at_us=None,
    )
    data = {
        "number": attempt.number,
        "signature": attempt.signature,
        "slot": fill.slot,
        "method": attempt.landing_method,
        **_amounts(fill),
        **_contradicted(claims),
    }
    return Change(
        kind=EventKind.FILLED,
        at_us=at_us,
        data=data,
        order=order,
        number=attempt.number,
        attempt=AttemptUpdate(status=AttemptStatus.LANDED, landed_slot=fill.slot),
    )


def _amounts(fill: Fill) -> Mapping[str, object]:
    names = ("base_amount", "quote_amount", "network_fee", "priority_fee", "tip", "venue_fee")
    return {name: str(getattr(fill, name)) for name in names}


def finalized(
    attempt: StoredAttempt, *, slot: int, at_us: int, moved: Fill | None = None
) -> Change:
    """The fill's block is finalized; its slot is kept again, since a fork may have moved it.

    `moved` is the fill as it is in another block than the one it was first seen in.
    """
    data = {"number": attempt.number, "signature": attempt.signature, "slot": slot}
    order = OrderUpdate(finalized_at_us=at_us)
    if moved is not None:
        order["fill"] = moved
        data |= _amounts(moved)
    return Change(
        kind=EventKind.FINALIZED,
        at_us=at_us,
        data=data,
        order=order,
        number=attempt.number,
        attempt=AttemptUpdate(landed_slot=slot),
    )


def fill_reverted(
    attempt: StoredAttempt,
    *,
    at_us: int,
    proof: Proof | None = None,
    error: ProgramError | None = None,
    slot: int | None = None,
    evidence: Sequence[FailureEvidence] = (),
) -> Change:
    """A fork undid the fill, known at finalized: the order fails and is never retried by itself.

    Either a proof that the transaction is gone for good, or the error it failed with, its slot and
    the evidence of that; raises IllegalMoveError without either.
    """
    if error is None:
        _proved(attempt, proof)
    status = AttemptStatus.EXPIRED if error is None else AttemptStatus.FAILED
    reason = "the fill was undone by a fork"
    order = OrderUpdate(
        status=OrderStatus.FAILED,
        reason_code=ReasonCode.FILL_REVERTED,
        reason=reason,
        ended_at_us=at_us,
        fill=None,
        filled_at_us=None,
    )
    document = error.document() if error is not None else None
    return Change(
        kind=EventKind.FILL_REVERTED,
        at_us=at_us,
        data={
            "number": attempt.number,
            "signature": attempt.signature,
            "error": document,
            "proof": proof_document(proof) if error is None else failure_document(evidence),
        },
        order=order,
        number=attempt.number,
        attempt=AttemptUpdate(status=status, proof=proof, error=document, landed_slot=slot),
    )


def landed_failed(attempt: StoredAttempt, *, slot: int, at_us: int) -> Change:
    """The attempt failed in a block that is not final yet: it stays live."""
    return Change(
        kind=EventKind.LANDED_FAILED,
        at_us=at_us,
        data={"number": attempt.number, "signature": attempt.signature, "slot": slot},
        order=OrderUpdate(landed_failed_at_us=at_us),
    )


def _contradicted(claims: Mapping[str, str]) -> Mapping[str, object]:
    return {"contradicted_claims": dict(claims)} if claims else {}


def attempt_failed(
    attempt: StoredAttempt,
    error: ProgramError,
    *,
    slot: int,
    at_us: int,
    claims: Mapping[str, str] = MappingProxyType({}),
    evidence: Sequence[FailureEvidence] = (),
) -> Change:
    """The attempt failed in a finalized block: it is dead; `claims` as of `filled`.

    `evidence`: what each endpoint that had to agree said.
    """
    document = error.document()
    return Change(
        kind=EventKind.FAILED,
        at_us=at_us,
        data={
            "number": attempt.number,
            "signature": attempt.signature,
            "slot": slot,
            "error": document,
            "proof": failure_document(evidence),
            **_contradicted(claims),
        },
        order=OrderUpdate(in_doubt_since_us=None, landed_failed_at_us=None, tries=0),
        number=attempt.number,
        attempt=AttemptUpdate(status=AttemptStatus.FAILED, landed_slot=slot, error=document),
    )


def attempt_expired(attempt: StoredAttempt, proof: Proof, *, at_us: int) -> Change:
    """The attempt is proved never to land: it is dead.

    Raises IllegalMoveError when the proof does not cover the attempt's bytes.
    """
    _proved(attempt, proof)
    return Change(
        kind=EventKind.EXPIRED,
        at_us=at_us,
        data={
            "number": attempt.number,
            "signature": attempt.signature,
            "proof": proof_document(proof),
        },
        order=OrderUpdate(in_doubt_since_us=None, landed_failed_at_us=None, tries=0),
        number=attempt.number,
        attempt=AttemptUpdate(status=AttemptStatus.EXPIRED, proof=proof),
    )


def in_doubt(attempt: StoredAttempt, *, at_us: int, why: str) -> Change:
    """The attempt is past its life with neither landing nor proof: the order stays submitted."""
    return Change(
        kind=EventKind.IN_DOUBT,
        at_us=at_us,
        data={"number": attempt.number, "signature": attempt.signature, "why": why},
        order=OrderUpdate(in_doubt_since_us=at_us),
    )


def disputed(attempt: StoredAttempt, dispute: Disagreement, *, at_us: int) -> Change:
    """Endpoints contradict each other about the attempt: nothing is proved, and it stays as it is."""
    data = {
        "number": attempt.number,
        "signature": attempt.signature,
        "dispute": dispute.kind.value,
        "said": dict(dispute.said),
    }
    return Change(kind=EventKind.DISPUTED, at_us=at_us, data=data)


def proof_document(proof: Proof | None) -> list[dict[str, object]] | None:
    """Give a proof as it is stored and told."""
    if proof is None:
        return None
    return [
        {
            "endpoint": e.endpoint,
            "slot": e.slot,
            "height": e.height,
            "context_slot": e.context_slot,
            "ledger_slot_min": e.ledger_slot_min,
            "invalid_slot": e.invalid_slot,
        }
        for e in proof.evidence
    ]


def failure_document(evidence: Sequence[FailureEvidence]) -> list[dict[str, object]]:
    """Give the evidence of a failure as it is told."""
    return [asdict(each) for each in evidence]


def _all_dead(view: OrderView) -> None:
    if view.dead_attempts < len(view.attempts):
        raise IllegalMoveError(f"order {view.order.order_id} has an attempt that is not dead")


def _proved(attempt: StoredAttempt, proof: Proof | None) -> None:
    if proof is None or not attempt.is_proved_dead(proof):
        raise IllegalMoveError(f"attempt {attempt.attempt_id} is not proved dead")
