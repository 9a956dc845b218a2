"""Every literal answer is read as what it is said to be: the faults of the table are those faults."""

import pytest

from app.domain.outcome import ReplyOutcome
from app.executors.provider_rules import AGAVE, JITO_BUNDLES, JITO_TRANSACTIONS, LIL_JIT, QUICKNODE
from app.executors.replies import classify
from app.executors.sender_rules import sender_reply
from app.executors.sender_section import sender_options
from app.solana.json_rpc import Raw, read_answer
from tests.methods.bodies import BODIES, Dialect, Literal
from tests.methods.faults import BEHAVIOURS, Back, Fault

SIGNATURE = "4" * 88
PROVIDERS = {
    Dialect.BUNDLE: JITO_BUNDLES,
    Dialect.JITO: JITO_TRANSACTIONS,
    Dialect.QUICKNODE: QUICKNODE,
    Dialect.LIL_JIT: LIL_JIT,
    Dialect.NODE: AGAVE,
}
HELIUS = sender_options("helius", {"preset": "helius"})
A, R, U = ReplyOutcome.ACCEPTED, ReplyOutcome.REJECTED, ReplyOutcome.UNKNOWN
MEANINGS = {
    Fault.NONE: (A, {"ok"}),
    Fault.LIMITED_FOR: (R, {"rate_limited"}),
    Fault.LIMITED: (R, {"rate_limited"}),
    Fault.BROKEN_BEFORE: (U, {"server_error", "upstream"}),
    Fault.BROKEN_AFTER: (U, {"server_error", "upstream"}),
    Fault.GARBLED: (U, {"garbled"}),
    Fault.WRONG: (U, {"signature_mismatch", "bundle_id_mismatch"}),
    Fault.ALREADY: (ReplyOutcome.ALREADY, {"already_processed"}),
    Fault.STALE: (U, {"blockhash"}),
    Fault.TIP: (R, {"tip"}),
    Fault.LOCKED_OUT: (R, {"auth_or_config"}),
}
CASES = [
    pytest.param(dialect, fault, literal, id=f"{dialect.name}-{fault.name}-{number}")
    for dialect, faults in BODIES.items()
    for fault, literals in faults.items()
    for number, literal in enumerate(literals)
]


@pytest.mark.parametrize(("dialect", "fault", "literal"), CASES)
def test_a_literal_answer_means_its_fault(dialect: Dialect, fault: Fault, literal: Literal) -> None:
    """Only a refusal for a time says for how long."""
    said = literal.filled(SIGNATURE, "b" * 64)
    body = said.body.encode()
    if dialect is Dialect.HELIUS:
        reply = sender_reply(Raw(said.http, said.headers, body), SIGNATURE, HELIUS)
    else:
        answer = read_answer(said.http, said.headers, body)
        reply = classify(answer, SIGNATURE, PROVIDERS[dialect])
    outcome, reasons = MEANINGS[fault]
    assert (reply.outcome, reply.reason in reasons) == (outcome, True), reply
    assert (reply.retry_after_seconds is not None) == (fault is Fault.LIMITED_FOR)


@pytest.mark.parametrize("dialect", list(Dialect))
def test_every_fault_with_words_has_words_of_every_provider(dialect: Dialect) -> None:
    """None is passed over in silence."""
    wanted = {fault for fault in Fault if BEHAVIOURS[fault].back is Back.SAID}
    assert wanted | {Fault.NONE} == set(BODIES[dialect]) == set(MEANINGS)
