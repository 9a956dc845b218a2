"""Whose turn it is: fallback by patience, going round, races; always from what is stored."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.attempt import Lane, LanePlan, LaneStrategy, Submission
from app.domain.lanes import HOLDS, Turn, turn
from app.domain.outcome import ReplyOutcome

S = 1_000_000
SIGNED = 100 * S
PLAN = LanePlan((Lane("bundle", 3_000), Lane("jito", 2_000), Lane("rpc", 1_000)))
ACCEPTED, REJECTED = ReplyOutcome.ACCEPTED, ReplyOutcome.REJECTED
UNKNOWN, ALREADY, NOT_SENT = ReplyOutcome.UNKNOWN, ReplyOutcome.ALREADY, ReplyOutcome.NOT_SENT


def pushed(method: str, outcome: ReplyOutcome, after: float = 0) -> Submission:
    """Make a submission, so many seconds after signing."""
    at_us = SIGNED + int(after * S)
    return Submission(method=method, outcome=outcome, reason="x", sent_at_us=at_us, latency_us=1)


def whose(*submissions: Submission, after: float = 0, plan: LanePlan = PLAN) -> Turn:
    """Ask whose turn it is, so many seconds after signing."""
    return turn(plan, submissions, signed_at_us=SIGNED, now_us=SIGNED + int(after * S))


@pytest.mark.parametrize(
    ("submissions", "after", "methods", "held"),
    [
        ([], 0, ("bundle", "jito", "rpc"), False),
        ([], 60, ("bundle", "jito", "rpc"), False),
        ([pushed("bundle", ACCEPTED)], 2.9, ("bundle",), True),
        ([pushed("bundle", ALREADY)], 2.9, ("bundle",), True),
        ([pushed("bundle", ACCEPTED)], 3, ("jito", "rpc", "bundle"), True),
        # patience counts from when a lane took the bytes, not from when they were signed
        ([pushed("bundle", ACCEPTED, 2)], 4.9, ("bundle",), True),
        ([pushed("bundle", ACCEPTED, 2)], 5, ("jito", "rpc", "bundle"), True),
        # who refused, was not reached or not heard is passed over at once
        ([pushed("bundle", REJECTED)], 0, ("jito", "rpc", "bundle"), False),
        ([pushed("bundle", NOT_SENT)], 0, ("jito", "rpc", "bundle"), False),
        ([pushed("bundle", UNKNOWN)], 0, ("jito", "rpc", "bundle"), False),
        ([pushed("bundle", REJECTED), pushed("jito", ACCEPTED)], 1.9, ("jito",), True),
        (
            [pushed("bundle", REJECTED), pushed("jito", ACCEPTED)],
            2,
            ("rpc", "bundle", "jito"),
            True,
        ),
        # a refusal after it took them changes nothing: it has them
        ([pushed("bundle", ACCEPTED), pushed("bundle", REJECTED, 1)], 2, ("bundle",), True),
        # all have had their time: round, from the lane after the one that took them last
        (
            [pushed("bundle", ACCEPTED), pushed("jito", ACCEPTED, 3), pushed("rpc", ACCEPTED, 5)],
            6,
            ("bundle", "jito", "rpc"),
            True,
        ),
        (
            [
                pushed("bundle", ACCEPTED),
                pushed("jito", REJECTED, 3),
                pushed("rpc", ACCEPTED, 3),
                pushed("bundle", ACCEPTED, 7),
            ],
            8,
            ("jito", "rpc", "bundle"),
            True,
        ),
        # nobody ever took them: every push is a first one
        (
            [pushed("bundle", REJECTED), pushed("jito", NOT_SENT), pushed("rpc", UNKNOWN)],
            1,
            ("bundle", "jito", "rpc"),
            False,
        ),
    ],
)
def test_the_turn_follows_from_what_is_stored(
    submissions: list[Submission], after: float, methods: tuple[str, ...], held: bool
) -> None:
    """The table of cases of a fallback."""
    found = whose(*submissions, after=after)
    assert (found.methods, bool(found.held), found.at_once) == (methods, held, False)
    assert found.tried == {s.method for s in submissions}
    assert found.held == {s.method for s in submissions if s.outcome in HOLDS}


def test_one_lane_has_every_turn() -> None:
    """However long it holds the bytes."""
    plan = LanePlan((Lane("rpc", 1_000),))
    for after in (0, 0.5, 5):
        assert whose(pushed("rpc", ACCEPTED), after=after, plan=plan).methods == ("rpc",)


def test_in_a_race_every_turn_is_everybodys() -> None:
    """Who has the bytes yields to who has not."""
    plan = LanePlan(PLAN.lanes, LaneStrategy.RACE)
    assert whose(plan=plan) == Turn(
        ("bundle", "jito", "rpc"), frozenset(), frozenset(), at_once=True
    )
    assert whose(pushed("jito", UNKNOWN), plan=plan).held == set()
    assert whose(pushed("jito", ACCEPTED), plan=plan).held == {"jito"}


def test_a_plan_without_lanes_is_nobodys_turn() -> None:
    """Every method of it has been taken out of the configuration."""
    assert whose(pushed("gone", ACCEPTED), plan=LanePlan(())).methods == ()


pushes = st.lists(
    st.builds(
        pushed,
        st.sampled_from(["bundle", "jito", "rpc", "gone"]),
        st.sampled_from(list(ReplyOutcome)),
        st.floats(0, 60),
    ),
    max_size=12,
).map(lambda found: sorted(found, key=lambda push: push.sent_at_us))


@given(submissions=pushes, after=st.floats(0, 120))
def test_somebody_of_the_plan_always_has_the_turn(
    submissions: list[Submission], after: float
) -> None:
    """No lane twice, none from outside, and alone only who holds the bytes."""
    found = whose(*submissions, after=after)
    names = [lane.method for lane in PLAN.lanes]
    assert set(found.methods) <= set(names)
    assert len(set(found.methods)) == len(found.methods) > 0
    if len(found.methods) < len(names):
        (holder,) = found.methods
        assert any(s.method == holder and s.outcome in HOLDS for s in submissions)


@given(submissions=pushes, wait=st.floats(0, 200))
def test_no_lane_keeps_the_bytes_to_itself_for_ever(
    submissions: list[Submission], wait: float
) -> None:
    """After every lane's patience since the last push, all have the turn."""
    patience = sum(lane.patience_ms for lane in PLAN.lanes) / 1_000
    after = max((s.sent_at_us - SIGNED for s in submissions), default=0) / S + patience + wait
    assert len(whose(*submissions, after=after).methods) == len(PLAN.lanes)
