"""Proofs of a failure over endpoints that lie, lag, forget or sit on another fork; and the alarm."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.domain.outcome import (
    Absent,
    Commitment,
    Disagreement,
    FailureEvidence,
    Heights,
    NotProved,
    Seen,
    Unreachable,
)
from app.engine.ports import ProvedFailure
from app.solana.chain import RpcChain
from app.solana.witnesses import FINAL_SLOTS
from tests.domain.makers import BLOCKHASH_SLOT, LAST_HEIGHT, attempt
from tests.solana.chains import DEAD, DOWN, GENESIS, chain_of
from tests.solana.server import CLOSE, http, node
from tests.solana.test_decode import TRANSACTION

pytestmark = pytest.mark.anyio

Answers = Mapping[str, Any]

ERROR = {"InstructionError": [2, {"Custom": 6005}]}
SLOT, CONTEXT = BLOCKHASH_SLOT + 100, BLOCKHASH_SLOT + 1_000
ALARM = "endpoints disagree on a signature"


def status(level: str, error: object, slot: int = SLOT) -> dict[str, Any]:
    """Answer with one status."""
    value = {"slot": slot, "confirmations": None, "err": error, "confirmationStatus": level}
    return {"context": {"slot": CONTEXT}, "value": [value]}


def transaction(error: object, slot: int = SLOT) -> dict[str, Any]:
    """Answer with the transaction."""
    return {**TRANSACTION, "slot": slot, "meta": {**TRANSACTION["meta"], "err": error}}


def telling(level: str, error: object, slot: int = SLOT) -> dict[str, Any]:
    """Make a node that has the transaction and is at one with itself."""
    landed = {"getTransaction": transaction(error, slot)}
    return {**DEAD, "getSignatureStatuses": status(level, error, slot), **landed}


def absent(context_slot: int, **answers: object) -> dict[str, Any]:
    """Make a node that does not have it, as far as it has come."""
    told = {"context": {"slot": context_slot}, "value": [None]}
    return {**DEAD, "getSignatureStatuses": told, **answers}


FAILED = telling("finalized", ERROR)
"""What an honest node says of a failure, and what a liar may say of anything."""
CONFIRMED = telling("confirmed", ERROR)
LACKING = absent(SLOT + FINAL_SLOTS)
LAGGING = absent(SLOT + FINAL_SLOTS - 1)
PRUNED = {**LACKING, "minimumLedgerSlot": BLOCKHASH_SLOT + 1}
FOREIGN = {**LACKING, "getGenesisHash": "another"}


@dataclass(frozen=True)
class Case:
    """Nodes, how many must agree, and what comes of it."""

    name: str
    nodes: tuple[Answers, ...]
    needed: int = 1
    why: str = ""
    alarm: bool = False


PROVED = [
    Case("the only one says so", (FAILED,)),
    Case("two of two say so", (FAILED, FAILED), 2),
    Case("two of three, the third lags", (LAGGING, FAILED, FAILED), 2),
    Case("one is down", (DOWN, FAILED)),
    Case("one lags and has it not yet", (LAGGING, FAILED)),
    Case("one keeps too little history to have it", (PRUNED, FAILED)),
    Case("one has it at confirmed yet", (CONFIRMED, FAILED)),
    Case("one has it at processed yet", (telling("processed", ERROR), FAILED)),
    Case("one is of another chain", (FOREIGN, FAILED)),
    Case("one cannot tell its chain", ({**LACKING, "getGenesisHash": CLOSE}, FAILED)),
    Case("one cannot show the transaction", ({**FAILED, "getTransaction": CLOSE}, FAILED)),
]

TOLD_APART = "disagree"
DENIED = [
    Case("an honest one has it not", (LACKING, FAILED), 2, TOLD_APART, alarm=True),
    Case("an honest one has it not, one suffices", (LACKING, FAILED), 1, TOLD_APART, alarm=True),
    Case("one against two", (FAILED, LACKING, FAILED), 2, TOLD_APART, alarm=True),
    Case("it succeeded", (telling("finalized", None), FAILED), 1, TOLD_APART, alarm=True),
    Case("it is a fill", (telling("confirmed", None), FAILED), 1, TOLD_APART, alarm=True),
    Case("another slot", (telling("finalized", ERROR, 7), FAILED), 2, TOLD_APART, alarm=True),
    Case("a confirmed block", (telling("confirmed", ERROR, 7), FAILED), 1, TOLD_APART, alarm=True),
    Case(
        "the transaction succeeded",
        ({**FAILED, "getTransaction": transaction(None)},),
        1,
        TOLD_APART,
        alarm=True,
    ),
    Case(
        "the transaction is elsewhere",
        ({**FAILED, "getTransaction": transaction(ERROR, 7)},),
        1,
        TOLD_APART,
        alarm=True,
    ),
    Case(
        "a status alone denies too",
        ({**telling("finalized", ERROR, 7), "getTransaction": CLOSE}, FAILED),
        1,
        TOLD_APART,
        alarm=True,
    ),
    Case("a fork shows a success", (telling("processed", None), FAILED), 1, TOLD_APART),
    Case("a fork has it elsewhere", (telling("processed", ERROR, 7), FAILED), 1, TOLD_APART),
]

UNPROVED = [
    Case("nobody is there", (), 1, "too few endpoints"),
    Case("one of two is not enough", (FAILED,), 2, "too few endpoints"),
    Case("the other is down", (DOWN, FAILED), 2, "no_reply"),
    Case("the other lags", (LAGGING, FAILED), 2, "does not have the transaction"),
    Case("the other has no history", (PRUNED, FAILED), 2, "does not have the transaction"),
    Case("the other is of another chain", (FOREIGN, FAILED), 2, "not known to serve"),
    Case("it is of another chain", ({**FAILED, "getGenesisHash": "another"},), 1, "not known"),
    Case("it is not final", (CONFIRMED,), 1, "no failure that is final"),
    Case("the other has it not final yet", (CONFIRMED, FAILED), 2, "no failure that is final"),
    Case("it did not fail", (telling("finalized", None),), 1, "no failure that is final"),
    Case("nobody has it", (LACKING,), 1, "does not have the transaction"),
    Case("how far history reaches is not told",
         ({**LACKING, "minimumLedgerSlot": CLOSE},), 1, "no_reply"),
    Case("the transaction is not shown", ({**FAILED, "getTransaction": None},), 1,
         "does not show the transaction"),
    Case("the transaction makes no sense", ({**FAILED, "getTransaction": {"slot": SLOT}},), 1,
         "wrong shape"),
    Case("the transaction cannot be read", ({**FAILED, "getTransaction": http(429, "")},), 1,
         "error 429"),
    Case("the status cannot be read", ({**FAILED, "getSignatureStatuses": CLOSE},), 1, "no_reply"),
]  # fmt: skip


def case_of(cases: list[Case]) -> pytest.MarkDecorator:
    """Run a test once for each case."""
    return pytest.mark.parametrize("case", cases, ids=[each.name for each in cases])


@case_of([*PROVED, *DENIED, *UNPROVED])
async def test_a_failure_is_proved_by_enough_and_denied_by_none(case: Case) -> None:
    """Whatever a single endpoint says: others must bear it out, and a denial outweighs them all."""
    opened = chain_of(*map(dict, case.nodes), proof_endpoints=case.needed)
    with capture_logs() as logs:
        async with opened as (chain, _):
            proof = await chain.prove_failed(attempt())
    assert [each["event"] for each in logs] == [ALARM] * case.alarm
    if case in PROVED:
        assert isinstance(proof, ProvedFailure)
        assert len(proof.evidence) >= case.needed
        assert (proof.landed.slot, proof.landed.error) == (SLOT, ERROR)
    else:
        assert isinstance(proof, NotProved)
        assert case.why in proof.reason
        assert (proof.disagreement is not None) == case.alarm


async def test_a_proof_of_failure_is_asked_for_at_finalized_with_history() -> None:
    """Which chain it is, what the status is, what the transaction itself says; and it is told by whom."""
    async with chain_of(FAILED) as (chain, (own,)):
        proof = await chain.prove_failed(attempt())
        assert own.client is not None
        assert isinstance(proof, ProvedFailure)
        assert proof.evidence == (FailureEvidence(own.client.endpoint, SLOT, CONTEXT),)
        assert own.order() == ["getGenesisHash", "getSignatureStatuses", "getTransaction"]
        history = {"searchTransactionHistory": True}
        assert own.asked("getSignatureStatuses") == [[[attempt().signature], history]]
        ((signature, options),) = own.asked("getTransaction")
        assert signature == attempt().signature
        assert options == {
            "commitment": "finalized",
            "encoding": "json",
            "maxSupportedTransactionVersion": 0,
        }


async def test_an_endpoint_named_twice_is_one_witness_of_a_failure() -> None:
    """Two addresses of the same node agree always."""
    async with node(**FAILED) as own:
        assert own.client is not None
        chain = RpcChain([own.client, own.client], proof_endpoints=2, poll_seconds=1)
        chain.belongs_to(GENESIS)
        assert await chain.prove_failed(attempt()) == NotProved("too few endpoints")


async def test_no_failure_is_proved_before_the_chain_is_known() -> None:
    """Orders of an earlier run are watched at once."""
    async with node(**FAILED) as own:
        assert own.client is not None
        chain = RpcChain([own.client], proof_endpoints=1, poll_seconds=1)
        assert isinstance(await chain.prove_failed(attempt()), NotProved)


# ---------------------------------------------------------------- hearings, for an operator


async def test_each_endpoint_is_heard_by_itself() -> None:
    """Height first, status second; one that is away, of another chain or behind itself says nothing."""
    behind = {**DEAD, "getSignatureStatuses": {"context": {"slot": 5_999}, "value": [None]}}
    nodes = (DEAD, FAILED, DOWN, {**DEAD, "getGenesisHash": "another"}, behind)
    async with chain_of(*map(dict, nodes)) as (chain, served):
        told = await chain.testimony(attempt())
    absent, failed, *nothing = told
    assert (absent.heights, absent.status) == (Heights(6_000, LAST_HEIGHT + 1), Absent(6_000))
    assert failed.status == Seen(SLOT, Commitment.FINALIZED, ERROR, CONTEXT)
    assert [type(each.status) for each in nothing] == [Unreachable] * 3
    assert [each.heights for each in nothing] == [None, None, absent.heights]
    assert len({each.endpoint for each in told}) == len(nodes)
    assert served[0].order() == ["getGenesisHash", "getEpochInfo", "getSignatureStatuses"]


# ---------------------------------------------------------------- the alarm

FILLED = telling("confirmed", None)
ALARMS = [
    Case("absent and there", (DEAD, FAILED), alarm=True),
    Case("failed and succeeded", (FAILED, FILLED), alarm=True),
    Case("failed, and there on some fork", (FAILED, telling("processed", None))),
    Case("they agree that it is there", (FAILED, CONFIRMED)),
]


@case_of(ALARMS)
async def test_endpoints_that_contradict_each_other_raise_an_alarm(case: Case) -> None:
    """It names the signature and what each endpoint says: one of them must go."""
    with capture_logs() as logs:
        async with chain_of(*map(dict, case.nodes)) as (chain, nodes):
            proof = await chain.prove_dead(attempt())
            endpoints = [each.client.endpoint for each in nodes if each.client is not None]
    assert isinstance(proof, NotProved)
    assert "an endpoint has the transaction" in proof.reason
    assert (proof.disagreement is not None) == case.alarm
    assert len(logs) == case.alarm
    for each in logs:
        assert (each["event"], each["log_level"]) == (ALARM, "critical")
        assert each["signature"] == attempt().signature
        assert proof.disagreement == Disagreement(each["dispute"], each["said"])
        assert set(each["said"]) == set(endpoints)
        assert f"finalized: failed in {SLOT}" in each["said"].values()


async def test_an_alarm_tells_an_endpoint_that_contradicts_itself() -> None:
    """Its status and its transaction differ."""
    with capture_logs() as logs:
        async with chain_of({**FAILED, "getTransaction": transaction(None)}) as (chain, _):
            await chain.prove_failed(attempt())
    ((said,),) = [each["said"].values() for each in logs]
    assert said == f"finalized: failed in {SLOT}, then succeeded in {SLOT}"
