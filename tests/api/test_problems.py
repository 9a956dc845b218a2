"""The table of problems: complete, and of one shape."""

import json
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from app.api.answers import Answer, to_json
from app.api.problems import RULES, Problem, problem_of
from app.domain.errors import IntakeError, ReasonCode, SignalError

ROOT = Path(__file__).resolve().parents[2]


def read(answer: Answer) -> dict[str, Any]:
    """Decode an answer's body."""
    document = json.loads(answer.body)
    assert isinstance(document, dict)
    return document


@pytest.mark.parametrize("code", ReasonCode)
def test_every_code_is_answered_by_the_table(code: ReasonCode) -> None:
    """Each code has a status, a title and a type, and says whether trying again may help."""
    answer = Problem(code, "what was wrong").answer()
    document = read(answer)
    headers = dict(answer.headers)
    assert list(document) == ["type", "title", "status", "code", "detail", "retryable"]
    assert document["type"] == f"urn:synergy7:problem:{code.lower().replace('_', '-')}"
    assert document["status"] == answer.status == RULES[code].status
    assert document["code"] == code
    assert document["title"]
    assert answer.content_type == b"application/problem+json"
    assert document["retryable"] == (answer.status == 503) == (b"retry-after" in headers)


def test_the_page_on_the_interface_lists_every_code() -> None:
    """With status, retryability and title as they are answered."""
    rows = [
        f"| `{code}` | {int(rule.status)} | {'yes' if rule.retryable else ''} | {rule.title} |"
        for code, rule in RULES.items()
    ]
    assert "\n".join(rows) in (ROOT / "docs/api.md").read_text()


def test_documents_may_hold_read_only_mappings_and_nothing_strange() -> None:
    """What cannot be written is a defect, not a text."""
    document = MappingProxyType({"a": MappingProxyType({"b": [1, None, "\u00e9"]})})
    assert json.loads(to_json(document)) == {"a": {"b": [1, None, "\u00e9"]}}
    with pytest.raises(TypeError, match="Decimal has no place"):
        to_json({"a": Decimal(1)})


def test_a_problem_names_the_field_the_order_and_the_reasons_where_there_are_any() -> None:
    """Members without a value are left out, never null."""
    problem = Problem(
        ReasonCode.SIGNAL_STALE, "too late", field="valid_for", order_id="0198", reasons=("a", "b")
    )
    document = read(problem.answer())
    assert (document["field"], document["order_id"]) == ("valid_for", "0198")
    assert document["reasons"] == ["a", "b"]


def test_an_error_is_told_with_what_to_do() -> None:
    """The detail joins what was wrong and what to do; the field stays apart."""
    error = SignalError(ReasonCode.SIZE_TOO_SMALL, "size is too small", todo="post 1", field="size")
    document = read(problem_of(error).answer())
    assert document["detail"] == "size is too small; post 1"
    assert document["field"] == "size"
    plain = IntakeError(ReasonCode.QUEUE_FULL, "the queue is full")
    assert read(problem_of(plain).answer())["detail"] == "the queue is full"
