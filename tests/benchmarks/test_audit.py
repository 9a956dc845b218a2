"""The audit finds what must never happen."""

import io

import pytest
from rich.console import Console

from benchmarks.__main__ import conclude
from benchmarks.audit import Audit, audit
from benchmarks.figures import Figure, at_least

FILLED = {"a": "filled", "b": "filled"}


def test_orders_that_executed_once_are_clean() -> None:
    """Nothing is found when each accepted order is filled by one execution."""
    found = audit({"a", "b"}, FILLED, {"a": 1, "b": 1})
    assert found.clean
    assert list(found.lines()) == [
        "2 orders accepted, each executed exactly once (counted on the chain by memo)"
    ]


@pytest.mark.parametrize(
    ("statuses", "executions", "name"),
    [
        ({"a": "filled"}, {"a": 1, "b": 1}, "unfilled"),
        ({"a": "filled", "b": "expired"}, {"a": 1, "b": 1}, "unfilled"),
        (FILLED, {"a": 1}, "lost"),
        (FILLED, {"a": 1, "b": 2}, "doubled"),
        (FILLED, {"a": 1, "b": 1, "c": 1}, "strange"),
    ],
)
def test_an_order_that_did_not_execute_once_fails_the_run(
    statuses: dict[str, str], executions: dict[str, int], name: str
) -> None:
    """Lost, doubled, unfilled and unknown executions are each named, and end the run with 1."""
    found = audit({"a", "b"}, statuses, executions)
    assert [key for key, value in found.document().items() if key != "accepted" and value] == [name]
    screen = io.StringIO()
    figures = [Figure("rate", "orders/s", [100.0], at_least(80))]
    assert conclude(figures, Audit(3) + found, Console(file=screen, width=120)) == 1
    assert f"{name}: 1, e.g. " in screen.getvalue()
    assert "5 orders accepted, NOT EACH EXECUTED EXACTLY ONCE" in screen.getvalue()


def test_a_missed_target_does_not_fail_the_run() -> None:
    """A slow machine is shown, not punished; the last line tells it."""
    screen = io.StringIO()
    figures = [Figure("rate", "orders/s", [10.0], at_least(80))]
    assert conclude(figures, Audit(1), Console(file=screen, width=120)) == 0
    assert screen.getvalue().splitlines()[-1] == "BENCH DONE: 0 of 1 targets met"
