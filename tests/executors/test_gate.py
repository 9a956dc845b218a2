"""The admission gate: the breaker records, admission and the one probe are ours."""

import pytest

from app.executors.gate import FAILURES_MAX, PROBE_SECONDS, Gate, Ticket, Verdict

FAIL, OK, NEUTRAL = Verdict.FAIL, Verdict.OK, Verdict.NEUTRAL


def admitted(gate: Gate) -> Ticket:
    """Take a ticket, which there must be."""
    ticket = gate.admit()
    assert ticket is not None
    return ticket


def push(gate: Gate, *verdicts: Verdict) -> None:
    """Push so often, one after the other."""
    for verdict in verdicts:
        gate.record(admitted(gate), verdict)


def opened(*, reset_seconds: float) -> Gate:
    """Make a gate and fail until it opens."""
    gate = Gate("rpc", reset_seconds=reset_seconds)
    push(gate, *[FAIL] * FAILURES_MAX)
    assert gate.state == "open"
    return gate


def test_it_opens_after_five_failures_in_a_row() -> None:
    """Not after four; then nothing is admitted, and it says for how long."""
    gate = Gate("rpc", reset_seconds=60)
    push(gate, *[FAIL] * (FAILURES_MAX - 1))
    assert (gate.state, gate.would_admit(), gate.retry_after_seconds()) == ("closed", True, 0.0)
    push(gate, FAIL)
    assert (gate.state, gate.would_admit(), gate.admit()) == ("open", False, None)
    assert 59 < gate.retry_after_seconds() <= 60


def test_a_success_in_between_starts_the_count_anew() -> None:
    """Only failures in a row count; what is neutral is no success."""
    gate = Gate("rpc", reset_seconds=60)
    push(gate, *[FAIL] * 4, OK, *[FAIL] * 4)
    assert gate.state == "closed"
    push(gate, NEUTRAL, FAIL)
    assert gate.state == "open"


def test_what_is_neutral_says_nothing_about_health() -> None:
    """However often: faults of ours, and pushes that were cancelled."""
    gate = Gate("rpc", reset_seconds=60)
    push(gate, *[NEUTRAL] * 50)
    assert gate.state == "closed"


def test_half_open_admits_exactly_one() -> None:
    """Of many that ask at once; asking whether does not take the place."""
    gate = opened(reset_seconds=0)
    assert gate.would_admit()
    assert gate.would_admit()
    tickets = [gate.admit() for _ in range(10)]
    assert tickets == [Ticket(probe=True), *[None] * 9]
    assert gate.state == "half-open"
    assert not gate.would_admit()


def test_a_probe_that_succeeds_closes_it() -> None:
    """All are admitted again, and five failures are needed again."""
    gate = opened(reset_seconds=0)
    push(gate, OK)
    assert gate.state == "closed"
    push(gate, *[FAIL] * 4)
    assert gate.state == "closed"


def test_a_probe_that_fails_opens_it_anew() -> None:
    """For its whole time again, and the failure is not told as anything else."""
    told: list[str] = []
    gate = Gate("rpc", reset_seconds=0, on_change=told.append)
    push(gate, *[FAIL] * FAILURES_MAX, FAIL)
    assert gate.state == "open"
    assert told == ["open", "half-open", "open"]
    push(gate, OK)
    assert told[3:] == ["half-open", "closed"]


def test_a_cancelled_probe_gives_its_place_back() -> None:
    """Nothing was learnt: the next is the probe."""
    gate = opened(reset_seconds=0)
    gate.record(admitted(gate), NEUTRAL)
    assert gate.state == "half-open"
    assert admitted(gate).probe


@pytest.mark.parametrize("verdict", list(Verdict))
def test_late_results_of_pushes_from_before_are_ignored(verdict: Verdict) -> None:
    """While open and while half-open: only the probe decides, and the time open does not grow."""
    gate = Gate("rpc", reset_seconds=0)
    late = [admitted(gate) for _ in range(2)]
    push(gate, *[FAIL] * FAILURES_MAX)
    before = gate.retry_after_seconds()
    gate.record(late[0], verdict)
    assert gate.state == "open"
    assert gate.retry_after_seconds() <= before
    probe = admitted(gate)
    gate.record(late[1], verdict)
    assert gate.state == "half-open"
    assert gate.admit() is None
    gate.record(probe, OK)
    assert gate.state == "closed"


def test_its_time_is_the_clock_that_it_is_given() -> None:
    """From each opening on; the wall clock, which may be set, has no part in it."""
    now = 1_000.0
    gate = Gate("rpc", reset_seconds=10, monotonic=lambda: now)
    push(gate, *[FAIL] * FAILURES_MAX)
    assert gate.retry_after_seconds() == 10
    now += 4
    assert (gate.retry_after_seconds(), gate.admit()) == (6, None)
    now += 6
    assert (gate.retry_after_seconds(), gate.would_admit()) == (0, True)
    push(gate, FAIL)
    assert (gate.state, gate.retry_after_seconds()) == ("open", 10)


def test_it_says_how_long_it_makes_wait() -> None:
    """Nothing while it admits; while its probe is under way, until that may be over."""
    gate = Gate("rpc", reset_seconds=60)
    assert gate.wait_seconds() == 0
    push(gate, *[FAIL] * FAILURES_MAX)
    assert 59 < gate.wait_seconds() <= 60
    gate = opened(reset_seconds=0)
    assert gate.wait_seconds() == 0
    admitted(gate)
    assert gate.wait_seconds() == PROBE_SECONDS


def test_an_operator_closes_it() -> None:
    """From open and from half-open; failures from before count no more."""
    told: list[str] = []
    gate = Gate("rpc", reset_seconds=60, on_change=told.append)
    push(gate, *[FAIL] * FAILURES_MAX)
    gate.reset()
    assert (gate.state, told) == ("closed", ["open", "closed"])
    push(gate, *[FAIL] * 4)
    gate.reset()
    push(gate, *[FAIL] * 4)
    assert (gate.state, told) == ("closed", ["open", "closed"])


@pytest.mark.parametrize("verdict", list(Verdict))
def test_a_probe_from_before_a_reset_decides_nothing(verdict: Verdict) -> None:
    """Nor does it end the probe of the next time that the breaker is open."""
    gate = opened(reset_seconds=0)
    old = admitted(gate)
    gate.reset()
    push(gate, *[FAIL] * 4)
    gate.record(old, verdict)
    assert gate.state == "closed"
    push(gate, FAIL)
    new = admitted(gate)
    gate.record(old, verdict)
    assert (gate.state, gate.admit()) == ("half-open", None)
    gate.record(new, OK)
    assert gate.state == "closed"


def test_gates_of_two_methods_know_nothing_of_each_other() -> None:
    """One vendor's trouble is its own."""
    opened(reset_seconds=60)
    assert Gate("rpc").would_admit()
