"""Medians, percentiles and targets are what they say."""

import io

import pytest
from rich.console import Console

from benchmarks.figures import Figure, at_least, at_most, percentile, show, summary


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([5.0], 50, 5.0),
        ([4.0, 1.0, 3.0, 2.0], 50, 2.0),
        ([1.0, 2.0, 3.0], 50, 2.0),
        ([float(n) for n in range(1, 101)], 99, 99.0),
        ([1.0, 2.0], 99, 2.0),
        ([1.0, 2.0], 0, 1.0),
    ],
)
def test_a_percentile_is_a_value_that_was_measured(
    values: list[float], percent: float, expected: float
) -> None:
    """It is the smallest value that so many percent of all do not exceed."""
    assert percentile(values, percent) == expected


def test_nothing_measured_has_no_percentile() -> None:
    """An empty run is an error, not a zero."""
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


def test_the_median_is_judged_and_one_bad_run_is_not() -> None:
    """A floor holds from its limit upwards, a ceiling up to its limit, both by the median."""
    assert Figure("rate", "orders/s", [10, 80, 200], at_least(80)).met is True
    assert Figure("rate", "orders/s", [10, 79, 200], at_least(80)).met is False
    assert Figure("calls", "", [4, 4, 9], at_most(4)).met is True
    assert Figure("calls", "", [3, 4.1, 9], at_most(4)).met is False
    assert Figure("calls", "", [3]).met is None


def test_the_document_holds_every_run() -> None:
    """What the file says can be recomputed from its runs."""
    assert Figure("rate", "orders/s", [3.0, 1.0, 2.0], at_least(80)).document() == {
        "name": "rate",
        "unit": "orders/s",
        "median": 2.0,
        "runs": [3.0, 1.0, 2.0],
        "target": "≥ 80",
        "met": False,
    }


def test_a_missed_target_is_shown_and_counted() -> None:
    """The table marks each judged row, the summary counts only those."""
    figures = [
        Figure("rate", "orders/s", [1_234.0], at_least(80)),
        Figure("calls", "", [5.0], at_most(4)),
        Figure("time", "ms", [12.34]),
    ]
    screen = io.StringIO()
    show(figures, Console(file=screen, width=120))
    rows = {
        line.split("│")[1].strip(): line for line in screen.getvalue().splitlines() if "│" in line
    }
    assert "1,234" in rows["rate"]
    assert "ok" in rows["rate"]
    assert "MISSED" in rows["calls"]
    assert "12.3" in rows["time"]
    assert "ok" not in rows["time"]
    assert summary(figures) == "BENCH DONE: 1 of 2 targets met"
