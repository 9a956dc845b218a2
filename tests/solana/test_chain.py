"""Reads of the chain over several nodes, and every way in which a proof of death must fail."""

import asyncio
from typing import Any

import pytest

from app.domain.attempt import Blockhash
from app.domain.errors import ReasonCode, TransientError
from app.domain.outcome import (
    Absent,
    Commitment,
    Dispute,
    Evidence,
    Heights,
    NotProved,
    Proof,
    Seen,
    Unreachable,
)
from app.engine.ports import Account, Snapshot
from app.solana.blockhash_ring import LIFE_BLOCKS
from app.solana.chain import FEE_ACCOUNTS_MAX, STALE_SECONDS, STATUSES_MAX, RpcChain
from tests.domain.makers import BLOCKHASH_SLOT, LAST_HEIGHT, attempt
from tests.solana.chains import (
    BEHIND,
    DEAD,
    DOWN,
    GENESIS,
    TIP,
    ShiftedLoop,
    chain_of,
    put_forward,
)
from tests.solana.server import CLOSE, error, http, node
from tests.solana.test_decode import ACCOUNTS, OWNER, SIMULATION, STATUS, TRANSACTION

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, object]]:
    """Let staleness come without waiting for it."""
    return "asyncio", {"use_uvloop": False, "loop_factory": ShiftedLoop}


# ---------------------------------------------------------------- proof of death


async def proof_of(*answers: dict[str, Any], proof_endpoints: int = 1) -> Proof | NotProved:
    """Ask nodes with these answers for a proof."""
    async with chain_of(*answers, proof_endpoints=proof_endpoints) as (chain, _):
        return await chain.prove_dead(attempt())


async def test_an_expired_absent_attempt_is_proved_dead() -> None:
    """With the evidence, and asked in the one order that proves: expiry, blockhash, status, history."""
    async with chain_of(DEAD) as (chain, (own,)):
        proof = await chain.prove_dead(attempt())
        assert own.client is not None
        endpoint = own.client.endpoint
        wanted = Evidence(endpoint, 6_000, LAST_HEIGHT + 1, 6_000, BLOCKHASH_SLOT, 6_000)
        assert proof == Proof((wanted,))
        assert attempt().is_proved_dead(Proof((wanted,)))
        assert own.order() == [
            "getGenesisHash",
            "getEpochInfo",
            "isBlockhashValid",
            "getSignatureStatuses",
            "minimumLedgerSlot",
        ]
        assert own.asked("getEpochInfo") == [[{"commitment": "finalized"}]]
        fenced = {"commitment": "processed", "minContextSlot": 6_000}
        assert own.asked("isBlockhashValid") == [["blockhash", fenced]]
        history = {"searchTransactionHistory": True}
        assert own.asked("getSignatureStatuses") == [[[attempt().signature], history]]


def valid(value: bool, slot: int = 6_000) -> dict[str, Any]:
    """Answer whether the blockhash is valid."""
    return {"context": {"slot": slot}, "value": value}


SEEN = {"context": {"slot": 6_000}, "value": [STATUS]}
FAILING: list[tuple[str, dict[str, Any], str]] = [
    (
        "not past its last height",
        {"getEpochInfo": {"absoluteSlot": 6_000, "blockHeight": LAST_HEIGHT}},
        "not expired",
    ),
    ("its blockhash is still valid", {"isBlockhashValid": valid(True)}, "for valid past"),
    (
        "its blockhash was judged by an older bank, which need not know it yet",
        {"isBlockhashValid": valid(False, 5_999)},
        "judged before the expiry",
    ),
    ("a node behind does not judge the blockhash", {"isBlockhashValid": BEHIND}, "lags behind"),
    ("the blockhash cannot be judged", {"isBlockhashValid": CLOSE}, "no_reply"),
    (
        "a node that does not judge blockhashes",
        {"isBlockhashValid": error(200, -32601, "Method not found")},
        "error -32601",
    ),
    (
        "the judgement makes no sense",
        {"isBlockhashValid": {"context": {"slot": 6_000}, "value": None}},
        "wrong shape",
    ),
    (
        "a status older than the expiry",
        {"getSignatureStatuses": {"context": {"slot": 5_999}, "value": [None]}},
        "older than the expiry",
    ),
    ("a pruned history", {"minimumLedgerSlot": BLOCKHASH_SLOT + 1}, "does not reach back"),
    ("it is there", {"getSignatureStatuses": SEEN}, "has the transaction"),
    (
        "it is there, at processed only",
        {
            "getSignatureStatuses": {
                "context": {"slot": 6_000},
                "value": [{**STATUS, "confirmationStatus": "processed"}],
            }
        },
        "has the transaction",
    ),
    (
        "it is there, though history is pruned",
        {"getSignatureStatuses": SEEN, "minimumLedgerSlot": BLOCKHASH_SLOT + 1},
        "has the transaction",
    ),
    ("heights cannot be read", {"getEpochInfo": CLOSE}, "no_reply"),
    ("heights make no sense", {"getEpochInfo": {"blockHeight": 10**9}}, "wrong shape"),
    ("the status cannot be read", {"getSignatureStatuses": http(429, "")}, "error 429"),
    ("the status makes no sense", {"getSignatureStatuses": {"value": [None]}}, "wrong shape"),
    (
        "more statuses than were asked for",
        {"getSignatureStatuses": {"context": {"slot": 6_000}, "value": [None, None]}},
        "wrong shape",
    ),
    (
        "no history at all",
        {"getSignatureStatuses": error(200, -32011, "Transaction history is not available")},
        "error -32011",
    ),
    ("the ledger's start cannot be read", {"minimumLedgerSlot": CLOSE}, "no_reply"),
    ("the ledger's start makes no sense", {"minimumLedgerSlot": -1}, "wrong shape"),
    ("another chain", {"getGenesisHash": "another"}, "not known to serve"),
    ("an unknown chain", {"getGenesisHash": CLOSE}, "no_reply"),
]


@pytest.mark.parametrize(
    ("answers", "why"), [each[1:] for each in FAILING], ids=[each[0] for each in FAILING]
)
async def test_nothing_less_is_a_proof(answers: dict[str, Any], why: str) -> None:
    """Each premise is needed, and the reason says which one is missing."""
    proof = await proof_of({**DEAD, **answers})
    assert isinstance(proof, NotProved)
    assert why in proof.reason


async def test_one_endpoint_that_has_it_outweighs_any_number_that_have_not() -> None:
    """They disagree: nothing is proved, whoever is right."""
    proof = await proof_of(DEAD, DEAD, {**DEAD, "getSignatureStatuses": SEEN})
    assert isinstance(proof, NotProved)
    assert "an endpoint has the transaction" in proof.reason
    assert proof.disagreement is not None
    assert proof.disagreement.kind is Dispute.PRESENCE


async def test_a_blockhash_that_is_valid_past_its_last_height_outweighs_any_proof() -> None:
    """The last height was one endpoint's word when the bytes were signed: it may have been a lie."""
    proof = await proof_of(DEAD, DEAD, {**DEAD, "isBlockhashValid": valid(True)})
    assert isinstance(proof, NotProved)
    assert proof.disagreement is not None
    assert proof.disagreement.kind is Dispute.EXPIRY
    assert sorted(proof.disagreement.said.values()) == [
        "it does not have the transaction",
        "it does not have the transaction",
        f"the blockhash is valid at height {LAST_HEIGHT + 1}",
    ]


LAGGARDS: list[dict[str, Any]] = [
    {"getEpochInfo": {"absoluteSlot": 5_900, "blockHeight": LAST_HEIGHT - 100}},
    {"isBlockhashValid": valid(False, 5_900)},
    {"isBlockhashValid": BEHIND},
    {"getSignatureStatuses": {"context": {"slot": 5_900}, "value": [None]}},
]


@pytest.mark.parametrize("behind", LAGGARDS)
async def test_a_laggard_proves_nothing_and_denies_nothing(behind: dict[str, Any]) -> None:
    """It knows neither blockhash nor transaction, and whoever keeps up is enough without it."""
    assert isinstance(await proof_of({**DEAD, **behind}, DEAD), Proof)
    proof = await proof_of({**DEAD, **behind}, DEAD, proof_endpoints=2)
    assert isinstance(proof, NotProved)
    assert proof.disagreement is None


async def test_as_many_endpoints_as_configured_must_agree() -> None:
    """Two of two; one of two is not enough, whatever keeps the other from answering."""
    proof = await proof_of(DEAD, DEAD, proof_endpoints=2)
    assert isinstance(proof, Proof)
    assert len(proof.evidence) == 2
    pruned = {**DEAD, "minimumLedgerSlot": BLOCKHASH_SLOT + 1}
    for other in (DOWN, pruned):
        assert isinstance(await proof_of(DEAD, other, proof_endpoints=2), NotProved)
    assert isinstance(await proof_of(DEAD, proof_endpoints=2), NotProved)


async def test_an_endpoint_named_twice_is_one_witness() -> None:
    """Two addresses of the same node agree always."""
    async with node(**DEAD) as own:
        assert own.client is not None
        chain = RpcChain([own.client, own.client], proof_endpoints=2, poll_seconds=1)
        chain.belongs_to(GENESIS)
        assert await chain.prove_dead(attempt()) == NotProved("too few endpoints")


async def test_an_endpoint_out_of_reach_keeps_no_proof_from_those_that_suffice() -> None:
    """One is asked for, one is down: the other proves it."""
    assert isinstance(await proof_of(DOWN, DEAD), Proof)


# ---------------------------------------------------------------- the tip


async def test_a_read_tip_makes_the_chain_ready_until_it_is_stale() -> None:
    """After ten seconds without news nothing is signed and no expiry judged on it."""
    async with chain_of(DEAD) as (chain, (own,)):
        assert (chain.block_height, chain.known_heights) == (None, None)
        assert (chain.ready(), await chain.heights()) == (False, None)
        with pytest.raises(TransientError) as caught:
            await chain.blockhash(30)
        assert caught.value.code is ReasonCode.CHAIN_UNAVAILABLE
        await chain.look()
        assert chain.ready()
        assert await chain.blockhash(30) == Blockhash("tip", LAST_HEIGHT + 200, 6_040)
        assert chain.block_height == LAST_HEIGHT + 200 - LIFE_BLOCKS
        heights = Heights(6_000, LAST_HEIGHT + 1)
        assert await chain.heights() == chain.known_heights == heights
        own.answers.update(DOWN)
        put_forward(STALE_SECONDS)
        await chain.look()
        assert (chain.ready(), await chain.heights()) == (False, None)
        assert chain.known_heights == heights
        assert chain.block_seconds == pytest.approx(0.4)


async def test_an_unverified_chain_is_not_ready() -> None:
    """It may be another than the orders belong to."""
    async with chain_of(DEAD) as (chain, _):
        chain.verified = False
        await chain.look()
        assert not chain.ready()


async def test_finalized_heights_never_go_back() -> None:
    """A lagging node answers: what was final stays final."""
    async with chain_of(DEAD) as (chain, (own,)):
        await chain.look()
        own.answers["getEpochInfo"] = {"absoluteSlot": 5_000, "blockHeight": 1}
        await chain.look()
        assert await chain.heights() == Heights(6_000, LAST_HEIGHT + 1)


async def test_the_tip_is_watched_until_cancelled() -> None:
    """Again and again, whatever the answers are."""
    async with chain_of(DEAD) as (chain, (own,)):
        asked = asyncio.Semaphore(0)

        def answer(_params: object) -> object:
            asked.release()
            return CLOSE if len(own.asked("getLatestBlockhash")) % 2 else TIP

        own.answers["getLatestBlockhash"] = answer
        watching = asyncio.create_task(chain.run())
        async with asyncio.timeout(5):
            for _ in range(5):
                await asked.acquire()
        assert not watching.done()
        watching.cancel()
        await asyncio.wait([watching])


# ---------------------------------------------------------------- reads


async def test_the_next_endpoint_is_asked_when_one_gives_no_sound_answer() -> None:
    """Down, refusing, lagging, or in a wrong shape."""
    for trouble in (CLOSE, http(503, ""), BEHIND, "no snapshot"):
        first = {**DEAD, "getMultipleAccounts": trouble}
        async with chain_of(first, {**DEAD, "getMultipleAccounts": ACCOUNTS}) as (chain, nodes):
            snapshot = await chain.accounts(["one", "two"])
            assert snapshot == Snapshot(77, {"one": Account(5, OWNER, b"data"), "two": None})
            assert len(nodes[0].asked("getMultipleAccounts")) == 1


@pytest.mark.parametrize(
    ("trouble", "why"),
    [
        (BEHIND, "the node lags behind"),
        (error(200, -32603, "internal"), "error -32603"),
        (CLOSE, "no_reply"),
        (7, "answered in a wrong shape"),
    ],
)
async def test_a_read_that_nobody_serves_says_why(trouble: object, why: str) -> None:
    """It is passing trouble: the order backs off."""
    async with chain_of({**DEAD, "simulateTransaction": trouble}) as (chain, _):
        with pytest.raises(TransientError) as caught:
            await chain.simulate(b"raw", 5)
        assert why in caught.value.what
        assert caught.value.code is ReasonCode.CHAIN_UNAVAILABLE


async def test_without_endpoints_nothing_can_be_read() -> None:
    """It is told as such, and proves nothing."""
    chain = RpcChain([], proof_endpoints=1, poll_seconds=1)
    with pytest.raises(TransientError, match="no endpoint"):
        await chain.genesis_hash()
    assert isinstance(await chain.prove_dead(attempt()), NotProved)


async def test_a_simulation_never_sends_what_could_execute() -> None:
    """No signature is checked, the blockhash is replaced, and the node is as far as the quote."""
    async with chain_of({**DEAD, "simulateTransaction": SIMULATION}) as (chain, (own,)):
        simulated = await chain.simulate(b"raw", 123)
        assert (simulated.units, simulated.logs) == (9, ("a", "b"))
        ((raw, options),) = own.asked("simulateTransaction")
        assert raw == "cmF3"
        assert options == {
            "commitment": "confirmed",
            "encoding": "base64",
            "replaceRecentBlockhash": True,
            "sigVerify": False,
            "minContextSlot": 123,
        }


async def test_statuses_are_asked_in_batches_that_a_node_takes() -> None:
    """However many; with history only when asked to."""

    def answer(params: list[Any]) -> object:
        return {"context": {"slot": 9}, "value": [None] * len(params[0])}

    signatures = [f"signature{number}" for number in range(STATUSES_MAX + 1)]
    async with chain_of({**DEAD, "getSignatureStatuses": answer}) as (chain, (own,)):
        assert await chain.statuses(signatures) == dict.fromkeys(signatures, Absent(9))
        await chain.statuses(signatures[:1], history=True)
        asked = own.asked("getSignatureStatuses")
        assert sorted(len(names) for names, _ in asked) == [1, 1, STATUSES_MAX]
        searched = [options["searchTransactionHistory"] for _, options in asked]
        assert searched == [False, False, True]
        assert await chain.statuses([]) == {}


async def test_statuses_that_cannot_be_asked_are_unreachable() -> None:
    """Absent and unreachable are not the same."""
    async with chain_of({**DEAD, "getSignatureStatuses": http(500, "")}) as (chain, _):
        found = await chain.statuses(["a", "b"])
        assert set(found) == {"a", "b"}
        assert all(isinstance(each, Unreachable) for each in found.values())


async def test_a_status_is_told_with_its_level() -> None:
    """As the node names it."""
    value = [{**STATUS, "confirmationStatus": "finalized", "err": "AccountInUse"}]
    found = {"context": {"slot": 9}, "value": value}
    async with chain_of({**DEAD, "getSignatureStatuses": found}) as (chain, _):
        wanted = Seen(70, Commitment.FINALIZED, "AccountInUse", 9)
        assert await chain.statuses(["a"]) == {"a": wanted}


async def test_a_transaction_is_read_back_at_confirmed() -> None:
    """There, not there, or out of reach: three different answers."""
    async with chain_of({**DEAD, "getTransaction": TRANSACTION}) as (chain, (own,)):
        landed = await chain.transaction("signature")
        assert landed is not None
        assert not isinstance(landed, Unreachable)
        assert landed.slot == 70
        ((signature, options),) = own.asked("getTransaction")
        assert signature == "signature"
        assert options == {
            "commitment": "confirmed",
            "encoding": "json",
            "maxSupportedTransactionVersion": 0,
        }
        own.answers["getTransaction"] = None
        assert await chain.transaction("signature") is None
        for trouble in (CLOSE, {"slot": 1}):
            own.answers["getTransaction"] = trouble
            assert isinstance(await chain.transaction("signature"), Unreachable)


async def test_recent_fees_are_told_slot_by_slot() -> None:
    """As the node counts them, for no more accounts than it takes."""
    rows = [{"slot": 8, "prioritizationFee": 0}, {"slot": 9, "prioritizationFee": 2**64 - 1}]
    async with chain_of({**DEAD, "getRecentPrioritizationFees": rows}) as (chain, (own,)):
        assert await chain.recent_fees(["one", "two"]) == [0, 2**64 - 1]
        names = [f"account{number}" for number in range(FEE_ACCOUNTS_MAX + 1)]
        await chain.recent_fees(names)
        asked = own.asked("getRecentPrioritizationFees")
        assert asked == [[["one", "two"]], [names[:FEE_ACCOUNTS_MAX]]]


async def test_notices_are_asked_for_where_there_are_any() -> None:
    """Without a websocket there are none, and nothing is missed but speed."""
    asked: list[str] = []

    async def notice(signature: str) -> None:
        asked.append(signature)

    await RpcChain([], proof_endpoints=1, poll_seconds=1, notice=notice).landing_notice("one")
    await RpcChain([], proof_endpoints=1, poll_seconds=1).landing_notice("two")
    assert asked == ["one"]


async def test_the_chain_is_named_by_its_genesis() -> None:
    """Asked before it is known which one is wanted."""
    async with node(**DEAD) as own:
        assert own.client is not None
        chain = RpcChain([own.client], proof_endpoints=1, poll_seconds=1)
        assert await chain.genesis_hash() == GENESIS
