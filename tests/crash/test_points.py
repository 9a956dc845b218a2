"""The list of points follows from the code; what is no point any more is noticed."""

from collections import Counter
from fnmatch import fnmatchcase

from tests.crash.acts import METHODS
from tests.crash.points import NOT_ON_SQLITE, UNREACHED, event_kinds, every_point, writers
from tests.crash.steps import step_functions


def test_the_code_itself_says_what_the_points_are() -> None:
    """Commits, requests, websocket, transitions, answers and steps are all found, each once."""
    points = every_point(METHODS)
    assert len(set(points)) == len(points)
    counted = Counter(point.place for point in points)
    assert counted.keys() == {
        *("commit", "migration", "request", "websocket", "memory", "answer", "step")
    }
    assert {"SqlStore.accept", "SqlStore.store_attempt", "MetricsDatabase.write"} <= {*writers()}
    assert {"order.filled", "order.fill_reverted", "attempt.expired"} <= {*event_kinds()}
    assert "app.database.orders:open_store" in step_functions()
    labels = {point.label for point in points}
    assert {"sendBundle via bundle", "sendTransaction via rpc", "getEpochInfo"} <= labels
    assert {"POST /signals", "closing open_database: writer.aclose"} <= labels


def test_every_excuse_is_still_needed() -> None:
    """A point that is excused from being come by exists."""
    points = [str(point) for point in every_point(METHODS)]
    for pattern in (*UNREACHED, *NOT_ON_SQLITE):
        assert any(fnmatchcase(point, pattern) for point in points), pattern
