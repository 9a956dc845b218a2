"""What is asked of every list of breakages."""

from collections.abc import Sequence

from tests.breakages.breakage import Breakage
from tests.breakages.workshop import Workshop

FAILED = 1
"""Pytest's exit code when tests ran and some failed."""


def demand_that_it_is_seen(workshop: Workshop, breakage: Breakage) -> None:
    """Break the code; each named test must run, and fail."""
    with workshop.broken(breakage):
        for test in breakage.tests:
            run = workshop.run([test])
            assert run.code == FAILED, f"{breakage.name}: {test} ended with {run.code}\n{run.said}"
            assert "ImportError" not in run.said, run.said
            assert "SyntaxError" not in run.said, run.said


def demand_that_sound_code_passes(workshop: Workshop, breakages: Sequence[Breakage]) -> None:
    """Where nothing is broken all named tests pass: what fails, fails of the breakage."""
    tests = dict.fromkeys(test for breakage in breakages for test in breakage.tests)
    run = workshop.run(list(tests))
    assert run.code == 0, run.said
