"""The table: an empty cell is named, and so is one that is said to be impossible and is not."""

from tests.methods.faults import Fault
from tests.methods.table import IMPOSSIBLE, METHODS, Stage, Table


def full() -> Table:
    """Make a table in which every cell was met once."""
    table = Table()
    for fault, method, stage in table.cells():
        table.count(fault, method, stage)
    return table


def test_every_cell_is_asked_for_but_those_that_nature_leaves_empty() -> None:
    """Each of those has a reason."""
    cells = len(Fault) * len(METHODS) * len(Stage)
    assert len(full().cells()) == cells - len(IMPOSSIBLE) * len(Stage)
    assert all(IMPOSSIBLE.values())
    assert full().empty() == full().misjudged() == []


def test_an_empty_cell_is_named() -> None:
    """By fault, method and stage."""
    table = full()
    table.met[Fault.HANG, "jito", Stage.TAKEOVER] = 0
    assert table.empty() == [f"{Fault.HANG} × jito × {Stage.TAKEOVER}"]


def test_an_impossible_cell_that_was_met_is_named() -> None:
    """Then it is possible, and has to be asked for."""
    table = full()
    table.count(Fault.INVALID, "rpc", Stage.FIRST)
    assert table.misjudged() == [f"{Fault.INVALID} × rpc × {Stage.FIRST}"]


def test_it_is_written_by_stage_with_a_dash_for_the_impossible() -> None:
    """A line for each fault, a column for each method, and their sums."""
    first, *rest = full().text().split("\n\n")
    lines = first.splitlines()
    assert lines[0].split()[-5:] == list(METHODS)
    assert lines[1].split() == ["none", "1", "1", "1", "1", "1"]
    assert lines[-2].split() == ["unbundled", "1", "1", "1", "-", "-"]
    assert lines[-1].split()[-5:] == ["19", "19", "19", "16", "16"]
    assert len(rest) == len(Stage) - 1
