"""What an answer to a push means: every known body, provider by provider, as it comes over the wire."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.outcome import Reply, ReplyOutcome
from app.executors.gate import Verdict
from app.executors.provider_rules import (
    AGAVE,
    JITO_BUNDLES,
    JITO_TRANSACTIONS,
    LIL_JIT,
    QUICKNODE,
)
from app.executors.replies import (
    NEUTRAL_REASONS,
    SERVER_ERROR,
    UNANSWERED,
    Provider,
    classify,
    health,
)
from app.solana.json_rpc import (
    Answer,
    Garbled,
    NeverSent,
    NoReply,
    Result,
    RpcError,
    read_answer,
)

SIGNATURE = (
    "5VERv8NMvzbJMEkV8xnrLkEaWRtSz9CosKDYjCJjBRnbJLgp8uirBgmQpjKhoR4tjF3ZpRzrFmBV6UjKdiSZkQUW"
)
N, R, L, U = (
    ReplyOutcome.NOT_SENT,
    ReplyOutcome.REJECTED,
    ReplyOutcome.ALREADY,
    ReplyOutcome.UNKNOWN,
)
OK, FAIL, NEUTRAL = Verdict.OK, Verdict.FAIL, Verdict.NEUTRAL
EVERY = {
    "agave": AGAVE,
    "jito_transactions": JITO_TRANSACTIONS,
    "jito_bundles": JITO_BUNDLES,
    "quicknode": QUICKNODE,
    "lil_jit": LIL_JIT,
}

Meaning = tuple[ReplyOutcome, str, Verdict]
RATE: Meaning = (R, "rate_limited", FAIL)
AUTH: Meaning = (R, "auth_or_config", FAIL)
MISSING: Meaning = (R, "method_missing", FAIL)
INVALID: Meaning = (R, "invalid", NEUTRAL)
TIP: Meaning = (R, "tip", NEUTRAL)
PREFLIGHT: Meaning = (R, "preflight", NEUTRAL)
BAD_SIGNATURE: Meaning = (R, "signature", NEUTRAL)
BEHIND: Meaning = (R, "node_behind", FAIL)
MIN_SLOT: Meaning = (R, "min_context_slot", FAIL)
ALREADY: Meaning = (L, "already_processed", OK)
STALE: Meaning = (U, "blockhash", NEUTRAL)
NO_LEADER: Meaning = (U, "no_leader", NEUTRAL)
FAULT: Meaning = (U, "server_error", FAIL)

Row = tuple[int, str, Meaning]

GLOBAL_LIMIT = (
    '{"jsonrpc":"2.0","error":{"code":-32097,"message":"Network congested. Endpoint is globally'
    ' rate limited.","data":null},"id":null}'
)
DUPLICATES = (
    '{"error":"bundles must not contain any duplicate transactions and every transaction must'
    ' be signed"}'
)
PLAN_LIMIT = (
    '{"jsonrpc":"2.0","error":{"code":429,"message":"The requests per second (RPS) of your'
    ' requests are higher than your plan allows."},"id":1}'
)
BARE_LIMIT = (
    '{"code":-32007,"message":"50/second request limit reached - reduce calls per second'
    ' or upgrade your account at quicknode.com"}'
)


def enveloped(code: int, message: str, data: object = None) -> str:
    """Write an error body."""
    error = {"code": code, "message": message, "data": data}
    return json.dumps({"jsonrpc": "2.0", "error": error, "id": 1})


def simulated(err: object, message: str = "Transaction simulation failed") -> str:
    """Write what a node answers when the simulation before sending fails."""
    data = {"err": err, "logs": [], "unitsConsumed": 5, "accounts": None, "returnData": None}
    return enveloped(-32002, message, data)


def meaning(provider: Provider, http: int, body: str) -> Meaning:
    """Read and classify a body."""
    reply = classify(read_answer(http, {}, body.encode()), SIGNATURE, provider)
    return reply.outcome, reply.reason, health(reply)


CHAIN_ERRORS = [
    "AccountInUse",
    "AccountLoadedTwice",
    "AccountNotFound",
    "ProgramAccountNotFound",
    "InsufficientFundsForFee",
    "InvalidAccountForFee",
    "CallChainTooDeep",
    "MissingSignatureForFee",
    "InvalidAccountIndex",
    "InvalidProgramForExecution",
    "SanitizeFailure",
    "ClusterMaintenance",
    "AccountBorrowOutstanding",
    "WouldExceedMaxBlockCostLimit",
    "WouldExceedMaxAccountCostLimit",
    "WouldExceedMaxVoteCostLimit",
    "WouldExceedAccountDataBlockLimit",
    "WouldExceedAccountDataTotalLimit",
    "UnsupportedVersion",
    "InvalidWritableAccount",
    "TooManyAccountLocks",
    "AddressLookupTableNotFound",
    "InvalidAddressLookupTableOwner",
    "InvalidAddressLookupTableData",
    "InvalidAddressLookupTableIndex",
    "InvalidRentPayingAccount",
    "MaxLoadedAccountsDataSizeExceeded",
    "InvalidLoadedAccountsDataSizeLimit",
    "ResanitizationNeeded",
    "UnbalancedTransaction",
    "ProgramCacheHitMaxLimit",
    "CommitCancelled",
]
ENGINE: list[Row] = [
    (
        429,
        GLOBAL_LIMIT,
        RATE,
    ),
    (
        429,
        enveloped(-32097, "Rate limit exceeded. Limit: 1 per second for txn requests"),
        RATE,
    ),
    (
        429,
        enveloped(
            -32097,
            "Rate limit exceeded. Limit: 1 per second for txn requests. Back-off triggered:"
            " Retry after 1606ms",
        ),
        RATE,
    ),
    (200, enveloped(-32097, "busy"), RATE),
    (200, enveloped(-32603, "Resource has been exhausted (e.g. check quota)."), RATE),
    (400, enveloped(-32602, "bundle contains an already processed transaction"), ALREADY),
    (400, enveloped(-32602, "bundle contains an expired blockhash"), STALE),
    (400, enveloped(-32602, "bundle contains an invalid blockhash"), STALE),
    (
        400,
        enveloped(
            -32602,
            "Bundles must write lock at least one tip account to be eligible for the auction",
        ),
        TIP,
    ),
    (400, enveloped(-32602, "bundle does not lock any of the tip PDAs"), TIP),
    (400, enveloped(-32602, "bundle must tip at least 1000 lamports"), TIP),
    (400, enveloped(-32602, "bundle exceeds max transaction length"), INVALID),
    (400, enveloped(-32602, "exceeded maximum number of transactions"), INVALID),
    (
        400,
        enveloped(
            -32602,
            "bundles must not contain any duplicate transactions and every transaction must be signed",
        ),
        INVALID,
    ),
    (
        200,  # without a code or a status that says so: by its words alone
        DUPLICATES,
        INVALID,
    ),
    (400, enveloped(-32602, "transaction #0 could not be decoded"), INVALID),
    (200, enveloped(-32603, "transaction has too many account locks"), INVALID),
    (200, '{"error":"Bundle Dropped, no connected leader up soon"}', NO_LEADER),
    (200, enveloped(-32603, "Bundle Dropped, no connected leader up soon"), NO_LEADER),
    (
        200,
        enveloped(-32000, "The supplied pubkey is not authorized to generate a token"),
        AUTH,
    ),
    (401, "", AUTH),
    (403, "<html>forbidden</html>", AUTH),
    (404, "not found", AUTH),
    (200, enveloped(-32601, "Method not found"), MISSING),
    (404, enveloped(-32601, "Method not found"), MISSING),
    (400, enveloped(-32600, "Invalid request"), INVALID),
    (400, enveloped(-32700, "Parse error"), INVALID),
    (400, "bad request", INVALID),
    (413, "", INVALID),
    (200, enveloped(-32603, "Internal error"), FAULT),
    (500, enveloped(-32603, "Internal error"), FAULT),
    (500, enveloped(-32602, "transaction #0 could not be decoded"), FAULT),
    (502, "<html>502 Bad Gateway</html>", FAULT),
    (503, "", FAULT),
    (504, "upstream request timeout", FAULT),
]
SIMULATED: list[Row] = [
    (200, simulated("AlreadyProcessed"), ALREADY),
    (
        200,
        simulated(
            "AlreadyProcessed",
            "Transaction simulation failed: This transaction has already been processed",
        ),
        ALREADY,
    ),
    (200, simulated("BlockhashNotFound"), STALE),
    (
        200,
        simulated("BlockhashNotFound", "Transaction simulation failed: Blockhash not found"),
        STALE,
    ),
    (200, simulated("SignatureFailure"), BAD_SIGNATURE),
    (200, simulated({"InstructionError": [2, "InvalidAccountData"]}), PREFLIGHT),
    (200, simulated({"InstructionError": [2, {"Custom": 6005}]}), PREFLIGHT),
    (
        200,  # a program's words are its own
        simulated({"InstructionError": [2, {"BorshIoError": "too many requests, unauthorized"}]}),
        PREFLIGHT,
    ),
    (
        200,
        simulated({"InstructionError": [0, {"Custom": 0}]}, "failed: already been processed"),
        PREFLIGHT,
    ),
    (200, simulated({"DuplicateInstruction": 3}), PREFLIGHT),
    (200, simulated({"InsufficientFundsForRent": {"account_index": 1}}), PREFLIGHT),
    (
        200,
        simulated({"ProgramExecutionTemporarilyRestricted": {"account_index": 1}}),
        PREFLIGHT,
    ),
    (200, simulated({"AnErrorOfTomorrow": []}), PREFLIGHT),
    *((200, simulated(err), PREFLIGHT) for err in CHAIN_ERRORS),
]
NODE: list[Row] = [
    *SIMULATED,
    (200, enveloped(-32001, "Block 5 cleaned up, does not exist on node"), FAULT),
    (200, enveloped(-32002, "Transaction simulation failed: Blockhash not found"), STALE),
    (200, enveloped(-32002, "Transaction simulation failed"), FAULT),
    (503, enveloped(-32002, "Service unavailable"), FAULT),
    (200, enveloped(-32003, "Transaction signature verification failure"), BAD_SIGNATURE),
    (504, enveloped(-32003, "Gateway timeout"), FAULT),
    (200, enveloped(-32003, "Gateway timeout"), FAULT),
    (200, enveloped(-32004, "Block not available for slot 5"), FAULT),
    (200, enveloped(-32005, "Node is behind by 42 slots", {"numSlotsBehind": 42}), BEHIND),
    (200, enveloped(-32005, "Node is unhealthy", {"numSlotsBehind": None}), BEHIND),
    (200, enveloped(-32005, "Too many requests"), RATE),
    (429, enveloped(-32005, "Too many requests"), RATE),
    (200, enveloped(-32005, "Node is unhealthy"), FAULT),
    (
        200,
        enveloped(-32006, "Transaction precompile verification failure InvalidAccountIndex"),
        INVALID,
    ),
    (
        200,
        enveloped(-32007, "Slot 5 was skipped, or missing due to ledger jump to recent snapshot"),
        FAULT,
    ),
    (200, enveloped(-32008, "No snapshot"), FAULT),
    (200, enveloped(-32009, "Slot 5 was skipped, or missing in long-term storage"), FAULT),
    (200, enveloped(-32010, "key excluded from account secondary indexes"), FAULT),
    (200, enveloped(-32011, "Transaction history is not available from this node"), FAULT),
    (200, enveloped(-32012, "scan aborted"), FAULT),
    (200, enveloped(-32013, "Transaction signature length mismatch"), FAULT),
    (200, enveloped(-32014, "Block status not yet available for slot 5"), FAULT),
    (
        200,
        enveloped(-32015, "Transaction version (0) is not supported by the requesting client"),
        FAULT,
    ),
    (
        200,
        enveloped(-32016, "Minimum context slot has not been reached", {"contextSlot": 5}),
        MIN_SLOT,
    ),
    *(
        (200, enveloped(code, words), FAULT)
        for code, words in (
            (-32017, "Epoch rewards period still active at slot 5"),
            (-32018, "Rewards cannot be found because slot 5 is not the epoch boundary"),
            (-32019, "Failed to query long-term storage; please try again"),
            (-32020, "Filter transaction not found"),
            (-32021, "No slot history"),
        )
    ),
    (400, enveloped(-32600, "Invalid request"), INVALID),
    (200, enveloped(-32600, "bad", ["no object"]), INVALID),
    (200, enveloped(-32601, "Method not found"), MISSING),
    (200, enveloped(-32602, "invalid transaction: Transaction failed to sanitize"), INVALID),
    (200, enveloped(-32602, "transaction has too many account locks"), INVALID),
    (200, enveloped(-32603, "Internal error"), FAULT),
    (200, enveloped(-32700, "Parse error"), INVALID),
    (200, enveloped(-32097, "busy"), RATE),
    (429, enveloped(-32429, "max usage reached"), RATE),
    (200, enveloped(-32429, "slow down"), RATE),
    (429, enveloped(429, "Connection rate limits exceeded"), RATE),
    (200, enveloped(429, "slow down"), RATE),
    (200, '{"error":{"code":419,"message":"Rate limit exceeded"}}', RATE),
    (200, '{"error":{"code":419,"message":"slow down"}}', RATE),
    (429, "", RATE),
    (200, '{"error":{"code":403,"message":"API key has expired"}}', AUTH),
    (200, '{"error":{"code":401,"message":"no"}}', AUTH),
    (401, "Unauthorized", AUTH),
    (404, "", AUTH),
    (400, "", INVALID),
    (422, "", INVALID),
    (500, "oops", FAULT),
    (503, "", FAULT),
    (418, "", FAULT),
]
ADD_ON: list[Row] = [
    (
        429,
        PLAN_LIMIT,
        RATE,
    ),
    *(
        (
            http,
            BARE_LIMIT,
            RATE,
        )
        for http in (429, 200)
    ),
    (
        200,
        enveloped(-32007, "50/second request limit reached - reduce calls per second or upgrade"),
        RATE,
    ),
    (
        200,
        '{"code":-32004,"message":"Transaction must write lock at least one tip account"}',
        TIP,
    ),
    (200, enveloped(-32004, "Transaction must write lock at least one tip account"), TIP),
    (200, enveloped(-32004, "Block not available for slot 5"), FAULT),
    (200, enveloped(-32007, "Slot 5 was skipped, or missing"), FAULT),
    (401, "Unauthorized", AUTH),
    (403, "<html>endpoint disabled</html>", AUTH),
    (404, "", AUTH),
    (200, enveloped(403, "endpoint is disabled"), AUTH),
    (200, enveloped(-32000, "invalid API key"), AUTH),
    (400, "GET is not allowed", INVALID),
    (413, "", INVALID),
    (500, "oops", FAULT),
    (503, "", FAULT),
]
TABLES: dict[str, list[Row]] = {
    "agave": NODE,
    "jito_transactions": [*ENGINE, *SIMULATED],
    "jito_bundles": ENGINE,
    "quicknode": [*ADD_ON, *NODE],
    "lil_jit": [*ADD_ON, *ENGINE],
}


def rows(provider: str) -> pytest.MarkDecorator:
    """Give the rows of a provider's table."""
    return pytest.mark.parametrize(("http", "body", "expected"), TABLES[provider])


@rows("agave")
def test_what_a_node_of_the_cluster_answers(http: int, body: str, expected: Meaning) -> None:
    """By code and shape of the data; vendors before it have codes of their own."""
    assert meaning(AGAVE, http, body) == expected


@rows("jito_transactions")
def test_what_a_block_engine_answers_to_a_transaction(
    http: int, body: str, expected: Meaning
) -> None:
    """Nearly everything has one code: the words decide."""
    assert meaning(JITO_TRANSACTIONS, http, body) == expected


@rows("jito_bundles")
def test_what_a_block_engine_answers_to_a_bundle(http: int, body: str, expected: Meaning) -> None:
    """As for a transaction, without a simulation."""
    assert meaning(JITO_BUNDLES, http, body) == expected


@rows("quicknode")
def test_what_quicknode_answers(http: int, body: str, expected: Meaning) -> None:
    """Two codes of the cluster's have a second meaning here; else it is a node."""
    assert meaning(QUICKNODE, http, body) == expected


@rows("lil_jit")
def test_what_quicknodes_bundles_answer(http: int, body: str, expected: Meaning) -> None:
    """QuickNode's limits before Jito's refusals."""
    assert meaning(LIL_JIT, http, body) == expected


@pytest.mark.parametrize("provider", EVERY.values(), ids=EVERY)
@pytest.mark.parametrize(
    ("answer", "outcome", "reason", "verdict"),
    [
        (Result(SIGNATURE), ReplyOutcome.ACCEPTED, "ok", OK),
        (Result("another"), U, "mismatch", FAIL),
        (Result(None), U, "mismatch", FAIL),
        (Result(SIGNATURE.lower()), U, "mismatch", FAIL),
        (Result({"signature": SIGNATURE}), U, "mismatch", FAIL),
        (NeverSent("ClientConnectorError"), N, "transport", FAIL),
        (NoReply("timeout"), U, "timeout", FAIL),
        (NoReply("ServerDisconnectedError"), U, "no_reply", FAIL),
        (Garbled(200), U, "garbled", FAIL),
        (Garbled(307), U, "garbled", FAIL),
    ],
)
def test_what_the_transport_tells(
    provider: Provider, answer: Answer, outcome: ReplyOutcome, reason: str, verdict: Verdict
) -> None:
    """Only a connection that never came about sent nothing; only our own words are an acknowledgement."""
    reply = classify(answer, SIGNATURE, provider)
    expected = provider.mismatch if reason == "mismatch" else reason
    assert (reply.outcome, reply.reason, health(reply)) == (outcome, expected, verdict)


def test_what_is_acknowledged_wrongly_has_its_own_word() -> None:
    """A bundle id is no signature."""
    words = {name: provider.mismatch for name, provider in EVERY.items()}
    bundles = {"jito_bundles", "lil_jit"}
    assert {name for name, word in words.items() if word == "bundle_id_mismatch"} == bundles
    assert {words[name] for name in words.keys() - bundles} == {"signature_mismatch"}


@pytest.mark.parametrize("provider", EVERY.values(), ids=EVERY)
def test_a_hint_when_to_come_back_is_passed_on(provider: Provider) -> None:
    """With the rate limit that it came with, and with nothing else."""
    limited = RpcError(429, -32097, "Retry after 1606ms", None, 1.606)
    assert classify(limited, SIGNATURE, provider) == Reply(R, "rate_limited", 1.606)
    away = RpcError(503, None, "", None, 30.0)
    assert classify(away, SIGNATURE, provider) == Reply(U, "server_error")


@pytest.mark.parametrize("reason", ["no_time", "limited"])
def test_a_breaker_is_not_blamed_for_what_was_never_tried(reason: str) -> None:
    """Nothing was asked of anybody."""
    assert health(Reply(N, reason)) is NEUTRAL


@given(
    provider=st.sampled_from(list(EVERY.values())),
    http=st.integers(100, 599),
    code=st.none() | st.integers(-33_000, 600),
    message=st.text(max_size=40),
    data=st.none()
    | st.dictionaries(st.just("err"), st.none() | st.text() | st.integers() | st.lists(st.none()))
    | st.lists(st.none()),
)
def test_no_error_answer_is_ever_taken_for_a_success_or_for_nothing_sent(
    provider: Provider, http: int, code: int | None, message: str, data: Any
) -> None:
    """The request left: what comes back as an error is refused, landed before, or unknown."""
    answer = RpcError(http, code, message, data)
    assert classify(answer, SIGNATURE, provider).outcome in (R, L, U)


@given(http=st.integers(500, 599), code=st.none() | st.integers(-33_000, 400))
def test_a_fault_of_the_vendors_own_is_never_a_refusal(http: int, code: int | None) -> None:
    """It may have forwarded the bytes before it broke, whatever code it gives; only a limit is plain."""
    for provider in (AGAVE, JITO_TRANSACTIONS, JITO_BUNDLES, QUICKNODE, LIL_JIT):
        reply = classify(RpcError(http, code, "oops"), SIGNATURE, provider)
        assert reply.outcome is U or reply.reason == "rate_limited"


def test_every_reason_is_explained() -> None:
    """The operator finds each in docs/operation.md."""
    rules = [rule for provider in EVERY.values() for rule in provider.rules]
    said = {rule.reason for rule in rules} | {provider.mismatch for provider in EVERY.values()}
    said |= NEUTRAL_REASONS | UNANSWERED | {"ok", "transport", "garbled", SERVER_ERROR}
    said |= {"breaker_open", "disabled"}
    told = (Path(__file__).resolve().parents[2] / "docs" / "operation.md").read_text()
    assert {reason for reason in said if f"`{reason}`" not in told} == set()
