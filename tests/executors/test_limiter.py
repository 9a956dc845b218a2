"""The pace of a credential: so many a second, rests that grow with refusals, first pushes first."""

import asyncio
import math

import pytest

from app.executors.limiter import (
    BACK_OFF_SECONDS,
    BACK_OFF_SECONDS_MAX,
    HINT_SECONDS_MAX,
    Limiter,
    loop_time,
    pace_key,
)
from tests.executors.kit import Clock

pytestmark = pytest.mark.anyio


def test_so_many_a_second_are_admitted_and_no_more() -> None:
    """One place each interval, however many ask; what was not used is not saved up."""
    clock = Clock()
    limiter = Limiter(4, monotonic=clock)
    assert [limiter.take() for _ in range(3)] == [True, False, False]
    assert limiter.wait_seconds() == 0.25
    clock.now += 0.25
    assert [limiter.take() for _ in range(2)] == [True, False]
    clock.now += 60
    assert [limiter.take() for _ in range(2)] == [True, False]


def test_without_a_pace_everything_is_admitted() -> None:
    """Only a provider's refusal makes it wait."""
    limiter = Limiter(monotonic=Clock())
    assert all(limiter.take() for _ in range(1_000))
    assert limiter.wait_seconds(again=True) == 0


def test_a_repetition_leaves_the_next_place_to_others() -> None:
    """It waits for a place more than a first push does."""
    clock = Clock()
    limiter = Limiter(1, monotonic=clock)
    limiter.take()
    assert (limiter.wait_seconds(), limiter.wait_seconds(again=True)) == (1.0, 2.0)
    clock.now += 1
    assert (limiter.wait_seconds(), limiter.wait_seconds(again=True)) == (0.0, 1.0)
    clock.now += 1
    assert limiter.wait_seconds(again=True) == 0


@pytest.mark.parametrize("seconds", [0.0, 1.606, 300.0, HINT_SECONDS_MAX])
def test_a_hint_when_to_come_back_is_honoured(seconds: float) -> None:
    """To the fraction, and nothing is admitted before."""
    clock, told = Clock(), list[float]()
    limiter = Limiter(monotonic=clock, on_back_off=told.append)
    limiter.refused(seconds)
    assert limiter.wait_seconds() == pytest.approx(seconds)
    assert limiter.take() is (seconds == 0)
    clock.now += seconds
    assert limiter.take()
    assert told == [seconds]


def test_without_a_hint_rests_double_up_to_a_bound() -> None:
    """Whoever hammers on is told off for longer."""
    clock, told = Clock(), list[float]()
    limiter = Limiter(1, monotonic=clock, on_back_off=told.append)
    for _ in range(20):
        clock.now += BACK_OFF_SECONDS_MAX
        assert limiter.take()
        limiter.refused(None)
        assert limiter.wait_seconds() == told[-1]
    assert told[:5] == [5, 10, 20, 40, 80]
    assert set(told[5:]) == {120}


def test_an_answer_begins_anew_with_short_rests() -> None:
    """But the rest that was told goes on."""
    clock, told = Clock(), list[float]()
    limiter = Limiter(monotonic=clock, on_back_off=told.append)
    limiter.refused(None)
    limiter.refused(None)
    limiter.served()
    assert limiter.wait_seconds() == 10
    limiter.refused(None)
    assert told == [5, 10, 5]
    assert limiter.wait_seconds() == 10  # the shorter rest ends within the longer one


@pytest.mark.parametrize("hint", [86_400.0, math.inf])
def test_a_mad_hint_does_not_switch_a_method_off(hint: float) -> None:
    """It comes back after the longest rest."""
    limiter = Limiter(monotonic=Clock())
    limiter.refused(hint)
    assert limiter.wait_seconds() == HINT_SECONDS_MAX


@pytest.mark.parametrize("hint", [-1.0, math.nan])
def test_a_hint_that_is_no_time_is_none(hint: float) -> None:
    """The rest is ours then."""
    limiter = Limiter(monotonic=Clock())
    limiter.refused(hint)
    assert limiter.wait_seconds() == BACK_OFF_SECONDS


@pytest.mark.parametrize("hint", [0.0, 0.001])
def test_at_once_is_believed_once(hint: float) -> None:
    """Who is refused again at once rests for our own time, and longer each time; an answer begins anew."""
    told = list[float]()
    limiter = Limiter(monotonic=Clock(), on_back_off=told.append)
    for _ in range(3):
        limiter.refused(hint)
    limiter.served()
    limiter.refused(hint)
    assert told == [hint, 10, 20, hint]


def test_a_longer_hint_is_honoured_again_and_again() -> None:
    """Jito says to the millisecond when the next request is welcome."""
    told = list[float]()
    limiter = Limiter(monotonic=Clock(), on_back_off=told.append)
    limiter.refused(1.606)
    limiter.refused(0.25)
    assert told == [1.606, 0.25]


def test_who_shares_it_goes_at_the_slower_pace() -> None:
    """In whichever order they come; none of one's own changes nothing."""
    clock = Clock()
    limiter = Limiter(monotonic=clock)
    for per_second, wait in ((10, 0.1), (4, 0.25), (math.inf, 0.25), (10, 0.25)):
        limiter.share(per_second)
        clock.now += 60
        assert limiter.take()
        assert limiter.wait_seconds() == pytest.approx(wait)


def test_an_operator_ends_every_rest() -> None:
    """And the next one is short again; the pace stays."""
    clock, told = Clock(), list[float]()
    limiter = Limiter(1, monotonic=clock, on_back_off=told.append)
    limiter.take()
    limiter.refused(None)
    limiter.refused(None)
    limiter.reset()
    assert limiter.wait_seconds() == 1
    limiter.refused(None)
    assert told == [BACK_OFF_SECONDS, 2 * BACK_OFF_SECONDS, BACK_OFF_SECONDS]


async def test_it_goes_by_the_loops_time() -> None:
    """As deadlines do."""
    before = asyncio.get_running_loop().time()
    assert before <= loop_time() <= asyncio.get_running_loop().time()
    assert Limiter(1).take()


def test_a_pace_belongs_to_a_credential_at_an_endpoint() -> None:
    """Wherever the credential stands; without one in headers the URL's path and query are it."""
    key = pace_key("https://host.example/", "secret-key")
    assert (
        key
        == pace_key("https://HOST.example/secret-key/")
        == pace_key("http://host.example/secret-key")
    )
    assert key.split()[0] == "host.example"
    assert "secret" not in key
    keys = {
        key,
        pace_key("https://host.example:8443/", "secret-key"),
        pace_key("https://other.example/", "secret-key"),
        pace_key("https://host.example/", "other-key"),
        pace_key("https://host.example/a"),
        pace_key("https://host.example/a?b=c"),
        pace_key("https://host.example/?b=c"),
        pace_key("https://host.example"),
    }
    assert len(keys) == 8
    assert pace_key("https://host.example") == pace_key("https://host.example/") == "host.example -"
