"""The verdict over every combination of what can be known, and what counts as a proof."""

from itertools import product

import pytest

from app.domain.outcome import (
    Absent,
    ChainStatus,
    Commitment,
    Heights,
    Proof,
    Seen,
    Unreachable,
    Verdict,
    verdict,
)
from tests.domain.makers import BLOCKHASH_SLOT, LAST_HEIGHT, PROOF, SLIPPAGE, evidence


def seen(commitment: Commitment, error: object | None = None) -> Seen:
    """Make a status at this commitment."""
    return Seen(5_010, commitment, error, context_slot=5_011)


SETTLED: list[tuple[ChainStatus, Verdict]] = [
    (seen(Commitment.CONFIRMED), Verdict.LANDED),
    (seen(Commitment.FINALIZED), Verdict.LANDED),
    (seen(Commitment.CONFIRMED, {"InstructionError": [2, 6005]}), Verdict.FAILED_UNSETTLED),
    (seen(Commitment.FINALIZED, {"InstructionError": [2, 6005]}), Verdict.FAILED),
    (seen(Commitment.CONFIRMED, {}), Verdict.FAILED_UNSETTLED),
    (seen(Commitment.FINALIZED, {}), Verdict.FAILED),
]
UNSEEN: list[ChainStatus] = [Absent(5_011), Unreachable("timeout")]
GLIMPSED: list[ChainStatus] = [
    seen(Commitment.PROCESSED),
    seen(Commitment.PROCESSED, {"InstructionError": [2, 6005]}),
]
HEIGHTS = [None, *(Heights(6_000, LAST_HEIGHT + step) for step in (-1, 0, 1))]
KNOWN = list(product(HEIGHTS, [False, True], [None, PROOF]))


def judged(
    status: ChainStatus, heights: Heights | None, overdue: bool, proof: Proof | None
) -> Verdict:
    """Judge an attempt whose last valid block height is LAST_HEIGHT."""
    return verdict(
        status,
        last_valid_block_height=LAST_HEIGHT,
        heights=heights,
        overdue=overdue,
        proof=proof,
    )


def past_its_life(heights: Heights | None, overdue: bool) -> bool:
    """Tell by definition: the last height itself is still valid, time counts without heights."""
    return overdue if heights is None else heights.block_height > LAST_HEIGHT


@pytest.mark.parametrize(("status", "expected"), SETTLED)
def test_what_is_confirmed_decides_alone(status: ChainStatus, expected: Verdict) -> None:
    """No height, no timeout and no proof outweighs a transaction that the chain has."""
    assert {judged(status, *known) for known in KNOWN} == {expected}


@pytest.mark.parametrize("status", UNSEEN)
def test_without_a_sighting_a_proof_decides_and_nothing_else_ends(status: ChainStatus) -> None:
    """Only a proof makes it expired; without one, past its life is doubt and never failure."""
    for heights, overdue, proof in KNOWN:
        waiting = Verdict.IN_DOUBT if past_its_life(heights, overdue) else Verdict.WAIT
        expected = waiting if proof is None else Verdict.EXPIRED
        assert judged(status, heights, overdue, proof) is expected


@pytest.mark.parametrize("status", GLIMPSED)
def test_what_is_only_processed_settles_nothing(status: ChainStatus) -> None:
    """It is no landing and no failure, and while somebody sees it no proof kills it either."""
    for heights, overdue, proof in KNOWN:
        expected = Verdict.IN_DOUBT if past_its_life(heights, overdue) else Verdict.WAIT
        assert judged(status, heights, overdue, proof) is expected


def proves(proof: Proof) -> bool:
    """Ask whether the proof covers an attempt made by the makers."""
    return proof.proves_dead(LAST_HEIGHT, BLOCKHASH_SLOT)


@pytest.mark.parametrize(
    ("given", "proved"),
    [
        ({}, True),
        ({"height": LAST_HEIGHT}, False),
        ({"invalid_slot": 5_999}, False),
        ({"invalid_slot": None}, False),
        ({"invalid_slot": 6_001}, True),
        ({"context_slot": 5_999}, False),
        ({"context_slot": 9_999}, True),
        ({"ledger_slot_min": BLOCKHASH_SLOT + 1}, False),
        ({"ledger_slot_min": 0}, True),
    ],
)
def test_evidence_proves_by_height_blockhash_status_and_history(
    given: dict[str, object], proved: bool
) -> None:
    """Expired, its blockhash gone, absent from a bank not older, on a node whose history reaches back."""
    assert proves(Proof((evidence(**given),))) is proved


def test_a_proof_needs_evidence_and_all_of_it_good() -> None:
    """No evidence proves nothing, and one bad piece spoils the rest."""
    weak = evidence(endpoint="two", height=LAST_HEIGHT)
    assert not proves(Proof(()))
    assert proves(Proof((evidence(), evidence(endpoint="two"))))
    assert not proves(Proof((evidence(), weak)))


def test_a_program_error_is_told_whole() -> None:
    """Its document has the name, the words and the chain's own value."""
    assert SLIPPAGE.document() == {
        "name": "SlippageExceeded",
        "message": "the price moved",
        "raw": {"InstructionError": [2, 6005]},
    }
