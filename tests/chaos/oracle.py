"""Judges a run when all is calm again: documents, trail and bots against what the chain executed."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from tests.chain_oracle import Execution, trade_fee_rate
from tests.chaos.bots import Told
from tests.harness import FINAL
from tests.verifier import verify

Document = Mapping[str, Any]
Trail = Mapping[str, Sequence[tuple[int, str, Mapping[str, Any]]]]

VERIFIERS: Final = 4
LAST_WORDS: Final = frozenset({"order.ended", "order.filled", "order.rejected"})
MOVES: Final = frozenset({"order.queued", "order.ended", "order.filled", "attempt.signed"})
"""Events that a final order has no more; its fill may still be finalized, or reverted with proof."""


@dataclass
class Findings:
    """Everything that went wrong, in words."""

    duplicates: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    wrong_finals: list[str] = field(default_factory=list)
    in_doubt: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    """Answers to good signals that were neither an acceptance nor a request to come again."""

    @property
    def clean(self) -> bool:
        """Whether no promise was broken."""
        return not (self.duplicates or self.lost or self.wrong_finals or self.refused)


@dataclass(frozen=True)
class Evidence:
    """What a run left behind."""

    rpc_url: str
    wallet: str
    documents: Mapping[str, Document]
    executions: Sequence[Execution]
    trail: Trail
    told: Mapping[str, Told]


def judge(evidence: Evidence) -> Findings:
    """Hold everything against the chain."""
    documents = evidence.documents
    doubted = [key for key, each in documents.items() if each["in_doubt_since"] is not None]
    return Findings(
        duplicates=[*_executed_twice(evidence.executions), *_two_orders(evidence.told)],
        lost=[*_missing(evidence), *_never_ended(documents)],
        wrong_finals=[*_unlike_the_chain(evidence), *_moved_on(evidence.trail, documents)],
        in_doubt=doubted,
        refused=[f"{key}: {text}" for key, told in evidence.told.items() for text in told.refusals],
    )


def _executed_twice(executions: Sequence[Execution]) -> Iterator[str]:
    for order_id, times in Counter(each.order_id for each in executions).items():
        if times > 1:
            yield f"{order_id} executed {times} times"
    owners: dict[str, set[str]] = {}
    for each in executions:
        owners.setdefault(each.client_hash, set()).add(each.order_id)
    for client_hash, orders in owners.items():
        if len(orders) > 1:
            yield f"the client's key {client_hash} executed as {sorted(orders)}"


def _two_orders(told: Mapping[str, Told]) -> Iterator[str]:
    for key, each in told.items():
        if len(each.order_ids) > 1:
            yield f"{key} was answered with {sorted(each.order_ids)}"


def _missing(evidence: Evidence) -> Iterator[str]:
    known = evidence.documents
    for key, told in evidence.told.items():
        yield from (f"{key}: {each} is not there" for each in told.order_ids - known.keys())
    executed = {each.order_id for each in evidence.executions}
    yield from (f"{each} executed and is not known" for each in executed - known.keys())


def _never_ended(documents: Mapping[str, Document]) -> Iterator[str]:
    for key, each in documents.items():
        if each["status"] not in FINAL and each["in_doubt_since"] is None:
            yield f"{key} is still {each['status']} ({each['reason_code']})"


def _unlike_the_chain(evidence: Evidence) -> Iterator[str]:
    """Verify every final order to the unit; those that are not final are judged elsewhere."""
    fee_rate = cache(trade_fee_rate)

    def differences(document: Document) -> list[str]:
        return verify(evidence.rpc_url, document, evidence.wallet, fee_rate=fee_rate)

    final = {key: each for key, each in evidence.documents.items() if each["status"] in FINAL}
    with ThreadPoolExecutor(VERIFIERS) as pool:
        for key, found in zip(final, pool.map(differences, final.values()), strict=True):
            yield from (f"{key}: {text}" for text in found)
    executed = {each.order_id for each in evidence.executions}
    for key, each in final.items():
        if (each["status"] == "filled") != (key in executed):
            yield f"{key} is {each['status']}, and executed: {key in executed}"


def _moved_on(trail: Trail, documents: Mapping[str, Document]) -> Iterator[str]:
    """Find gaps in the trails of orders, and orders that went on after their end."""
    for order_id in documents:
        events = trail.get(order_id, ())
        if [seq for seq, _, _ in events] != list(range(1, len(events) + 1)) or not events:
            yield f"{order_id} has events {[seq for seq, _, _ in events]}"
        ended = False
        for seq, kind, _ in events:
            if ended and kind in MOVES:
                yield f"{order_id} had ended, and event {seq} is {kind}"
            ended = ended or kind in LAST_WORDS
