"""The judge of a run is judged: each thing that may go wrong is found when it is there."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from tests.chain_oracle import Execution, texts_in_memo
from tests.chaos.bots import Told, intent
from tests.chaos.kinds import ALL
from tests.chaos.oracle import Evidence, Findings, judge
from tests.chaos.plan import Outcome, Plan
from tests.chaos.recovery import Recovery
from tests.chaos.report import Report

Events = list[tuple[int, str, dict[str, Any]]]

ORDER = "0199c0de-0000-7000-8000-000000000001"
OTHER = "0199c0de-0000-7000-8000-000000000002"
ENDED: Events = [(1, "order.accepted", {}), (2, "order.executing", {}), (3, "order.ended", {})]


def document(status: str = "failed", **changes: object) -> dict[str, Any]:
    """Write an order without attempts."""
    made: dict[str, Any] = {
        "status": status,
        "reason_code": None,
        "in_doubt_since": None,
        "attempts": [],
    }
    return {**made, **changes}


def told(*order_ids: str) -> Told:
    """Tell a bot that these are its orders."""
    return Told(intent(1, 1), set(order_ids), 1.0)


def evidence(**changes: Any) -> Evidence:
    """Leave behind what a good run does: one order that failed without a trace on the chain."""
    good = Evidence(
        rpc_url="",
        wallet="",
        documents={ORDER: document()},
        executions=[],
        trail={ORDER: ENDED},
        told={"key": told(ORDER)},
    )
    return replace(good, **changes)


def execution(order_id: str = ORDER, number: int = 1, client_hash: str = "aa") -> Execution:
    """Put a successful transaction on the chain."""
    return Execution(order_id, number, client_hash, f"signature-{order_id}-{number}")


def found(findings: Findings) -> set[str]:
    """Name the kinds of findings that there are."""
    kinds = ("duplicates", "lost", "wrong_finals", "in_doubt", "refused")
    return {kind for kind in kinds if getattr(findings, kind)}


def test_a_good_run_is_clean() -> None:
    """Nothing is found where nothing is wrong."""
    assert found(judge(evidence())) == set()


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"executions": [execution(), execution(number=2)]}, "duplicates"),
        ({"executions": [execution(), execution(OTHER)]}, "duplicates"),
        ({"told": {"key": told(ORDER, OTHER)}}, "duplicates"),
        ({"told": {"key": told(OTHER)}}, "lost"),
        ({"executions": [execution(OTHER)]}, "lost"),
        ({"documents": {ORDER: document("submitted")}}, "lost"),
        ({"documents": {ORDER: document("queued")}}, "lost"),
        ({"executions": [execution()]}, "wrong_finals"),
        ({"documents": {ORDER: document("filled")}}, "wrong_finals"),
        ({"trail": {ORDER: [*ENDED, (4, "attempt.signed", {})]}}, "wrong_finals"),
        ({"trail": {ORDER: [*ENDED, (4, "order.ended", {})]}}, "wrong_finals"),
        ({"trail": {ORDER: ENDED[1:]}}, "wrong_finals"),
        ({"trail": {}}, "wrong_finals"),
        (
            {"documents": {ORDER: document("submitted", in_doubt_since="2026-01-01T00:00:00Z")}},
            "in_doubt",
        ),
        ({"told": {"key": replace(told(ORDER), refusals=["422 {}"])}}, "refused"),
    ],
)
def test_what_is_wrong_is_found(changes: dict[str, Any], kind: str) -> None:
    """Each breach of a promise is told under its name."""
    assert kind in found(judge(evidence(**changes)))


def outcome(**changes: Any) -> Outcome:
    """Write what a good minute leaves behind."""
    good = Outcome(
        plan=Plan(1, "sqlite", 60),
        findings=Findings(),
        statuses=Counter(),
        documents={str(number): document() for number in range(600)},
        fills={"key": 1.0},
        numbers=[],
        heard=Counter(),
        ends=Counter(),
        settled_in=1.0,
        seconds=60.0,
        hits=Counter(dict.fromkeys(ALL, 40)),
        recoveries=[Recovery(0.5, 9), Recovery(2.0, 9)],
    )
    return replace(good, **changes)


def test_a_good_minute_passes() -> None:
    """The line says what was counted."""
    report = Report([outcome()])
    assert report.failures() == []
    assert report.line() == (
        f"orders=600 faults={40 * len(ALL)} duplicates=0 lost=0 wrong_finals=0 in_doubt=0"
        " recovery_p99_ms=2000"
    )


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"findings": Findings(duplicates=["twice"])}, "duplicates is 1"),
        ({"findings": Findings(lost=["gone"])}, "lost is 1"),
        ({"findings": Findings(wrong_finals=["wrong"])}, "wrong_finals is 1"),
        ({"findings": Findings(refused=["no"])}, "refused is 1"),
        ({"documents": {}}, "under 500 orders a minute"),
        ({"hits": Counter(dict.fromkeys(ALL, 20))}, "under 1000 faults a minute"),
        *(
            ({"hits": Counter(dict.fromkeys(set(ALL) - {kind}, 40))}, f"{kind} has no count")
            for kind in ALL
        ),
    ],
)
def test_a_bad_minute_fails(changes: dict[str, Any], why: str) -> None:
    """Findings, low rates and a kind of fault without a count each fail the run."""
    assert why in Report([outcome(**changes)]).failures()


@pytest.mark.parametrize(
    ("fills", "why"),
    [
        ({"one": 1.0, "other": None}, ["50.00% were filled in time"]),
        ({"one": 301.0}, ["0.00% were filled in time"]),
        ({"one": 1.0}, []),
    ],
)
def test_late_fills_are_told(fills: dict[str, float | None], why: list[str]) -> None:
    """An order that a calm run fills is filled within its timeout, all but one in a hundred."""
    assert Report([outcome(fills=fills)]).not_filled() == why


def test_our_memos_are_told_from_others() -> None:
    """A memo as nodes show it may hold several texts, not all of them ours."""
    memo = f"[5] hello; [60] synergy7:{ORDER}/1/0123456789abcdef"
    assert texts_in_memo(memo) == [f"synergy7:{ORDER}/1/0123456789abcdef"]
    assert texts_in_memo("") == []


def test_a_seed_gives_the_same_intents() -> None:
    """What bots post is the same in every run of a seed."""
    assert [intent(7, number) for number in range(50)] == [intent(7, n) for n in range(50)]
    assert intent(7, 1) != intent(8, 1)
