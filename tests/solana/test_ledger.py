"""What is known of the chain's past, over endpoints that lag, forget, disagree or are away."""

import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from solders.hash import Hash
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.transaction import VersionedTransaction

from app.domain.attempt import StoredAttempt
from app.domain.outcome import Absent, Commitment, Seen, Unreachable
from app.engine.recovery_port import Mention
from app.solana.chain import RpcChain
from app.solana.ledger import RpcLedger
from app.solana.wallet_history import WalletHistories
from tests.domain.makers import BLOCKHASH_SLOT, LAST_HEIGHT, attempt
from tests.solana.chains import DEAD, DOWN, GENESIS
from tests.solana.server import Node, node
from tests.solana.test_decode import TRANSACTION
from tests.solana.test_witnesses import ERROR, SLOT, status

pytestmark = pytest.mark.anyio

LACKING = DEAD
SUCCEEDED = {**DEAD, "getSignatureStatuses": status("finalized", None)}
FAILED = {**DEAD, "getSignatureStatuses": status("finalized", ERROR)}
CONFIRMED = {**DEAD, "getSignatureStatuses": status("confirmed", None)}
PROCESSED = {**DEAD, "getSignatureStatuses": status("processed", ERROR)}
PRUNED = {**DEAD, "minimumLedgerSlot": BLOCKHASH_SLOT + 1}
ALIVE = {**DEAD, "getEpochInfo": {"absoluteSlot": 6_000, "blockHeight": LAST_HEIGHT}}
LAGGING = {**DEAD, "getSignatureStatuses": {"context": {"slot": 5_999}, "value": [None]}}
FOREIGN = {**DEAD, "getGenesisHash": "another"}


@asynccontextmanager
async def ledger_of(
    *answers: dict[str, Any], needed: int = 1
) -> AsyncIterator[tuple[RpcLedger, list[Node]]]:
    """Open a ledger over nodes with these answers."""
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(node(**each)) for each in answers]
        clients = [each.client for each in nodes if each.client is not None]
        chain = RpcChain(clients, proof_endpoints=needed, poll_seconds=1)
        chain.belongs_to(GENESIS)
        histories = WalletHistories(clients, needed)
        histories.belongs_to(GENESIS)
        ledger = RpcLedger(
            clients, chain=chain, histories=histories, needed=needed, genesis_hash=GENESIS
        )
        yield ledger, nodes


async def fate(*answers: dict[str, Any], needed: int = 1) -> Seen | Absent | Unreachable:
    """Ask for the fate of one attempt."""
    one: StoredAttempt = attempt()
    async with ledger_of(*answers, needed=needed) as (ledger, _):
        found = await ledger.fates([one])
    return found[one.signature]


@pytest.mark.parametrize(
    "answers",
    [[SUCCEEDED], [SUCCEEDED, LACKING], [LACKING, CONFIRMED], [DOWN, SUCCEEDED], [FAILED, DOWN]],
)
async def test_whoever_has_it_is_believed(answers: list[dict[str, Any]]) -> None:
    """One endpoint that shows it in a confirmed block is enough, whatever others lack."""
    found = await fate(*answers)
    assert isinstance(found, Seen)
    assert found.slot == SLOT
    assert (found.error is not None) is (FAILED in answers)


async def test_the_most_settled_word_is_told() -> None:
    """Finalized before confirmed."""
    found = await fate(CONFIRMED, SUCCEEDED)
    assert isinstance(found, Seen)
    assert found.commitment is Commitment.FINALIZED


@pytest.mark.parametrize(
    ("answers", "needed"), [([LACKING], 1), ([LACKING, LACKING], 2), ([DOWN, LACKING], 1)]
)
async def test_absent_is_what_enough_endpoints_would_have_to_have(
    answers: list[dict[str, Any]], needed: int
) -> None:
    """Past its life, with a history that reaches back before it."""
    assert isinstance(await fate(*answers, needed=needed), Absent)


@pytest.mark.parametrize(
    ("answers", "needed"),
    [
        ([PRUNED], 1),
        ([ALIVE], 1),
        ([LAGGING], 1),
        ([FOREIGN], 1),
        ([DOWN], 1),
        ([PROCESSED], 1),
        ([LACKING, DOWN], 2),
        ([LACKING, PRUNED], 2),
        ([SUCCEEDED, FAILED], 1),
    ],
    ids=[
        "pruned",
        "alive",
        "lags",
        "foreign",
        "away",
        "processed",
        "one of two",
        "one reaches",
        "disagree",
    ],
)
async def test_everything_else_is_unknown(answers: list[dict[str, Any]], needed: int) -> None:
    """An absence that proves nothing, silence, and contradiction are neither fine nor a difference."""
    assert isinstance(await fate(*answers, needed=needed), Unreachable)


async def test_many_attempts_are_asked_for_in_batches() -> None:
    """256 signatures at once, as many as a node takes."""
    many = [attempt(number=number) for number in range(1, 301)]
    answers = {**DEAD, "getSignatureStatuses": statuses_of}
    async with ledger_of(answers) as (ledger, nodes):
        found = await ledger.fates(many)
    assert len(found) == len({each.signature for each in many})
    asked = nodes[0].asked("getSignatureStatuses")
    assert [len(signatures) for signatures, _ in asked] == [256, 44]


def statuses_of(params: list[Any]) -> dict[str, Any]:
    """Answer as many times absent as asked."""
    return {"context": {"slot": 6_000}, "value": [None] * len(params[0])}


# ---------------------------------------------------------------- a wallet's history


def entry(number: int, slot: int) -> dict[str, Any]:
    """List one transaction."""
    return {"signature": f"s{number}", "slot": slot, "err": None, "memo": None, "blockTime": 1}


async def pages(
    *answers: dict[str, Any], since: int = BLOCKHASH_SLOT, whole: bool = False
) -> list[Sequence[Mention] | Unreachable]:
    """Read a wallet's history."""
    async with ledger_of(*answers) as (ledger, _):
        return [each async for each in ledger.mentions("wallet", since, whole=whole)]


def listing(*entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Make a node that lists these pages one after the other."""
    waiting = [*entries, []]
    return {**DEAD, "getSignaturesForAddress": lambda _params: waiting.pop(0)}


async def test_pages_go_back_to_the_slot_or_to_the_end() -> None:
    """Not whole, the page that reaches the slot is the last; whole, all are read."""
    first, second = [entry(1, 6_000), entry(2, 5_000)], [entry(3, BLOCKHASH_SLOT - 1)]
    third = [entry(4, 1)]
    found = await pages(listing(first, second, third))
    assert [[m.signature for m in page] for page in found if not isinstance(page, Unreachable)] == [
        ["s1", "s2"],
        ["s3"],
    ]
    assert len(await pages(listing(first, second, third), whole=True)) == 3


async def test_what_an_endpoint_cannot_tell_is_said() -> None:
    """One that is away, one that has pruned what lies after the slot, one of another chain."""
    pruned = {**listing(), "minimumLedgerSlot": BLOCKHASH_SLOT + 1}
    found = await pages(DOWN, pruned, {**listing(), "getGenesisHash": "another"})
    assert [type(each) for each in found] == [Unreachable] * 3


async def test_a_memo_counts_only_with_the_wallets_signature() -> None:
    """Anybody can write our memo beside a wallet's address; a node that does not answer says nothing."""
    payer, stranger = Keypair(), Keypair()
    message = MessageV0.try_compile(payer.pubkey(), [], [], Hash.default())
    raw = bytes(VersionedTransaction(message, [payer]))
    signature = str(VersionedTransaction.from_bytes(raw).signatures[0])
    meta = {**TRANSACTION["meta"], "preBalances": [1], "postBalances": [1]}
    meta |= {"preTokenBalances": [], "postTokenBalances": [], "loadedAddresses": {}}
    shown = {"slot": SLOT, "transaction": [base64.b64encode(raw).decode(), "base64"], "meta": meta}
    async with ledger_of({**DEAD, "getTransaction": shown}) as (ledger, _):
        assert await ledger.signed_by(signature, str(payer.pubkey())) is True
        assert await ledger.signed_by(signature, str(stranger.pubkey())) is False
    async with ledger_of(DOWN) as (ledger, _):
        assert isinstance(await ledger.signed_by(signature, "wallet"), Unreachable)
