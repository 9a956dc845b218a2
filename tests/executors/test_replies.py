"""What an answer to a push means, vendor by vendor."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.outcome import Reply, ReplyOutcome
from app.executors.gate import Verdict
from app.executors.replies import classify_send, health
from app.solana.json_rpc import Answer, Garbled, NeverSent, NoReply, Result, RpcError

SIGNATURE = (
    "5VERv8NMvzbJMEkV8xnrLkEaWRtSz9CosKDYjCJjBRnbJLgp8uirBgmQpjKhoR4tjF3ZpRzrFmBV6UjKdiSZkQUW"
)
A, N, R, L, U = (
    ReplyOutcome.ACCEPTED,
    ReplyOutcome.NOT_SENT,
    ReplyOutcome.REJECTED,
    ReplyOutcome.ALREADY,
    ReplyOutcome.UNKNOWN,
)
OK, FAIL, NEUTRAL = Verdict.OK, Verdict.FAIL, Verdict.NEUTRAL


def error(http: int, code: int | None, message: str, data: Any = None) -> RpcError:
    """Make an error answer."""
    return RpcError(http, code, message, data)


def preflight(err: object) -> RpcError:
    """Make what a node answers when the simulation before sending fails."""
    message = "Transaction simulation failed: Error processing Instruction 2"
    return error(200, -32002, message, {"err": err, "logs": [], "unitsConsumed": 5})


Row = tuple[Answer, ReplyOutcome, str, Verdict]

TRANSPORT: list[Row] = [
    (Result(SIGNATURE), A, "ok", OK),
    (Result("another"), U, "signature_mismatch", FAIL),
    (Result(None), U, "signature_mismatch", FAIL),
    (Result({"signature": SIGNATURE}), U, "signature_mismatch", FAIL),
    (NeverSent("ClientConnectorError"), N, "transport", FAIL),
    (NoReply("timeout"), U, "timeout", FAIL),
    (NoReply("ServerDisconnectedError"), U, "no_reply", FAIL),
    (Garbled(200), U, "garbled", FAIL),
]
JITO: list[Row] = [
    (
        error(429, -32097, "Network congested. Endpoint is globally rate limited."),
        R,
        "rate_limited",
        FAIL,
    ),
    (
        error(429, -32097, "Rate limit exceeded. Limit: 1 per second for txn requests"),
        R,
        "rate_limited",
        FAIL,
    ),
    (
        error(200, -32603, "Resource has been exhausted (e.g. check quota)."),
        R,
        "rate_limited",
        FAIL,
    ),
    (
        error(400, -32602, "bundle contains an already processed transaction"),
        L,
        "already_processed",
        OK,
    ),
    (error(400, -32602, "bundle contains an expired blockhash"), U, "blockhash", NEUTRAL),
    (error(400, -32602, "bundle contains an invalid blockhash"), U, "blockhash", NEUTRAL),
    (
        error(
            400,
            -32602,
            "Bundles must write lock at least one tip account to be eligible for the auction",
        ),
        R,
        "tip",
        NEUTRAL,
    ),
    (error(400, -32602, "bundle does not lock any of the tip PDAs"), R, "tip", NEUTRAL),
    (error(400, -32602, "bundle must tip at least 1000 lamports"), R, "tip", NEUTRAL),
    (error(400, -32602, "bundle exceeds max transaction length"), R, "invalid", NEUTRAL),
    (error(400, -32602, "exceeded maximum number of transactions"), R, "invalid", NEUTRAL),
    (
        error(
            400,
            -32602,
            "bundles must not contain any duplicate transactions and every transaction must be signed",
        ),
        R,
        "invalid",
        NEUTRAL,
    ),
    (error(400, -32602, "transaction #0 could not be decoded"), R, "invalid", NEUTRAL),
    (error(200, -32603, "transaction has too many account locks"), R, "invalid", NEUTRAL),
    (error(200, None, "Bundle Dropped, no connected leader up soon"), U, "server_error", FAIL),
    (error(200, -32603, "Internal error"), U, "server_error", FAIL),
]
QUICKNODE: list[Row] = [
    (
        error(
            429,
            429,
            "The requests per second (RPS) of your requests are higher than your plan allows.",
        ),
        R,
        "rate_limited",
        FAIL,
    ),
    (
        error(429, -32007, "50/second request limit reached - reduce calls per second or upgrade"),
        R,
        "rate_limited",
        FAIL,
    ),
    (
        error(200, -32007, "50/second request limit reached - reduce calls per second or upgrade"),
        R,
        "rate_limited",
        FAIL,
    ),
    (error(401, None, "Unauthorized"), R, "auth_or_config", FAIL),
    (error(403, None, "<html>disabled</html>"), R, "auth_or_config", FAIL),
    (error(404, None, ""), R, "auth_or_config", FAIL),
    (error(200, 403, "endpoint is disabled"), R, "auth_or_config", FAIL),
    (error(200, -32000, "invalid API key"), R, "auth_or_config", FAIL),
    (error(400, None, "GET is not allowed"), R, "invalid", NEUTRAL),
    (error(413, None, "too large"), R, "invalid", NEUTRAL),
    (error(500, None, "oops"), U, "server_error", FAIL),
    (error(503, None, ""), U, "server_error", FAIL),
    (
        error(200, -32004, "Transaction must write lock at least one tip account"),
        R,
        "tip",
        NEUTRAL,
    ),
]
AGAVE: list[Row] = [
    (error(200, -32001, "Block 5 cleaned up"), U, "server_error", FAIL),
    (preflight("InsufficientFundsForFee"), R, "preflight", NEUTRAL),
    (preflight("SignatureFailure"), R, "preflight", NEUTRAL),
    (preflight({"InstructionError": [2, {"Custom": 6005}]}), R, "preflight", NEUTRAL),
    (preflight("AlreadyProcessed"), L, "already_processed", OK),
    (preflight("BlockhashNotFound"), U, "blockhash", NEUTRAL),
    (
        error(
            200,
            -32002,
            "Transaction simulation failed: This transaction has already been processed",
            {"err": "AlreadyProcessed"},
        ),
        L,
        "already_processed",
        OK,
    ),
    (
        error(200, -32002, "Transaction simulation failed: Blockhash not found"),
        U,
        "blockhash",
        NEUTRAL,
    ),
    (error(503, -32002, "Service unavailable"), U, "server_error", FAIL),
    (
        error(200, -32003, "Transaction signature verification failure"),
        R,
        "signature",
        NEUTRAL,
    ),
    (error(504, -32003, "Gateway timeout"), U, "server_error", FAIL),
    (error(200, -32004, "Block not available for slot 5"), U, "server_error", FAIL),
    (
        error(200, -32005, "Node is behind by 42 slots", {"numSlotsBehind": 42}),
        R,
        "node_behind",
        FAIL,
    ),
    (error(200, -32005, "Node is unhealthy", {"numSlotsBehind": None}), R, "node_behind", FAIL),
    (error(200, -32005, "Too many requests, slow down"), R, "rate_limited", FAIL),
    (error(200, -32005, "Node is unhealthy"), U, "server_error", FAIL),
    (
        error(200, -32006, "Transaction precompile verification failure InvalidAccountIndex"),
        R,
        "invalid",
        NEUTRAL,
    ),
    (error(200, -32007, "Slot 5 was skipped, or missing"), U, "server_error", FAIL),
    (error(200, -32011, "Transaction history is not available"), U, "server_error", FAIL),
    (error(200, -32013, "Transaction signature length mismatch"), U, "server_error", FAIL),
    (error(200, -32015, "Transaction version (0) is not supported"), U, "server_error", FAIL),
    (
        error(200, -32016, "Minimum context slot has not been reached", {"contextSlot": 5}),
        R,
        "min_context_slot",
        FAIL,
    ),
    (error(400, -32600, "Invalid request"), R, "invalid", NEUTRAL),
    (error(200, -32601, "Method not found"), R, "method_missing", NEUTRAL),
    (error(200, -32602, "invalid transaction: too large"), R, "invalid", NEUTRAL),
    (error(200, -32603, "internal"), U, "server_error", FAIL),
    (error(200, -32700, "Parse error"), R, "invalid", NEUTRAL),
    (error(200, -32097, "busy"), R, "rate_limited", FAIL),
    (error(200, -32429, "max usage reached"), R, "rate_limited", FAIL),
    (error(200, 429, "slow"), R, "rate_limited", FAIL),
    (error(200, 419, "slow"), R, "rate_limited", FAIL),
    (error(400, -32600, "bad", ["no object"]), R, "invalid", NEUTRAL),
]


@pytest.mark.parametrize(("answer", "outcome", "reason", "verdict"), TRANSPORT)
def test_what_the_transport_tells(
    answer: Answer, outcome: ReplyOutcome, reason: str, verdict: Verdict
) -> None:
    """Only a connection that never came about is known to have sent nothing."""
    reply = classify_send(answer, SIGNATURE)
    assert (reply.outcome, reply.reason, health(reply)) == (outcome, reason, verdict)


@pytest.mark.parametrize(("answer", "outcome", "reason", "verdict"), [*JITO, *QUICKNODE, *AGAVE])
def test_what_the_vendors_answer(
    answer: Answer, outcome: ReplyOutcome, reason: str, verdict: Verdict
) -> None:
    """Codes collide between them: message and data decide; what is not surely refused is unknown."""
    reply = classify_send(answer, SIGNATURE)
    assert (reply.outcome, reply.reason, health(reply)) == (outcome, reason, verdict)


def test_a_hint_when_to_come_back_is_passed_on() -> None:
    """With the rate limit that it came with."""
    answer = RpcError(429, -32097, "Retry after 1606ms", None, 1.606)
    assert classify_send(answer, SIGNATURE) == Reply(R, "rate_limited", 1.606)


def test_a_breaker_is_not_blamed_for_a_push_without_time() -> None:
    """Nothing was tried."""
    assert health(Reply(N, "no_time")) is NEUTRAL


@given(
    http=st.integers(100, 599),
    code=st.none() | st.integers(-33_000, 600),
    message=st.text(max_size=40),
    data=st.none()
    | st.dictionaries(st.just("err"), st.text() | st.integers())
    | st.lists(st.none()),
)
def test_no_error_answer_is_ever_taken_for_a_success_or_for_nothing_sent(
    http: int, code: int | None, message: str, data: Any
) -> None:
    """The request left: what comes back as an error is refused, landed before, or unknown."""
    assert classify_send(error(http, code, message, data), SIGNATURE).outcome in (R, L, U)
