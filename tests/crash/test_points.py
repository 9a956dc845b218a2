"""The list of points follows from the code; what is no point any more is noticed."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from app.settings.sections import Methods
from tests.crash import points, scan, steps
from tests.crash.acts import METHODS
from tests.crash.matrix import Discovery
from tests.crash.points import NOT_ON_SQLITE, UNREACHED, event_kinds, every_point, writers
from tests.crash.steps import APP, step_functions

ADDED: Mapping[str, str] = {
    "database/orders.py": """
async def added_commit(database: Database) -> None:
    await database.write(print)


@asynccontextmanager
async def added_opener() -> AsyncIterator[None]:
    await added_opening()
    yield
""",
    "solana/chain.py": """
async def added_request(endpoints: Endpoints) -> str:
    return await endpoints.read("getAddedThing", [], decode.text)
""",
}
"""What is written at the end of a module of the product."""


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


@pytest.mark.parametrize(
    ("found", "excuses"),
    [
        (scan.requests_without_point, scan.NO_REQUESTS),
        (scan.commits_without_point, scan.NO_COMMITS),
    ],
)
def test_whatever_looks_like_a_point_is_one_or_has_a_reason(
    found: Callable[[], Iterator[str]], excuses: Mapping[str, str]
) -> None:
    """No request and no commit of another spelling is overlooked, and nothing is excused in vain."""
    assert not scan.without_excuse(found(), excuses)
    assert not scan.idle_excuses(found(), excuses)


def test_the_acts_have_every_method_that_the_product_makes() -> None:
    """A method that is added has no push killed at until the acts have it."""
    assert scan.registered_methods() == {*METHODS}
    sections = Methods.model_fields.keys()
    assert sections - scan.NO_METHODS.keys() <= {*METHODS}
    assert scan.NO_METHODS.keys() <= sections


@pytest.fixture
def added_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy the product, and have the points read from the copy."""
    copied = tmp_path / "app"
    shutil.copytree(APP, copied, ignore=shutil.ignore_patterns("sandbox", "__pycache__"))
    for module in (points, scan, steps):
        monkeypatch.setattr(module, "APP", copied)
    return copied


def test_what_is_added_to_the_code_is_missing_until_an_act_comes_by(added_to: Path) -> None:
    """A commit, a request, an opener and a waiting step of the start that are new are all named."""
    known = Discovery({point: {} for point in every_point(METHODS)}, [])
    assert not known.missing("sqlite")
    for name, text in ADDED.items():
        (added_to / name).write_text((added_to / name).read_text() + text)
    serve = added_to / "cli" / "serve.py"
    start = "                await server.serve("
    assert start in serve.read_text()
    serve.write_text(
        serve.read_text().replace(start, f"                await added_step()\n{start}")
    )
    steps.tree_of.cache_clear()
    assert {*known.missing("sqlite")} == {
        "commit: added_commit (before)",
        "commit: added_commit (after)",
        "request: getAddedThing (before)",
        "request: getAddedThing (after)",
        "step: added_opener: await added_opening() (before)",
        "step: added_opener: yield (before)",
        "step: added_opener: yield (after)",
        "step: run_server: await added_step() (before)",
    }


def test_another_spelling_is_noticed(added_to: Path) -> None:
    """A write past the writers, a request by a constant or by another name: none of them is silent."""
    more = added_to / "bootstrap" / "added.py"
    more.write_text(
        "async def added(db, client):\n"
        "    await db.write(print)\n"
        "    await database.write_soon(print)\n"
        "    await client.call('requestAirdrop', [])\n"
        "    await client.call(WHAT, [])\n"
        "    db.execute('COMMIT')\n"
        "WHAT = 'getAddedThing'\n"
    )
    assert {*scan.without_excuse(scan.commits_without_point(), scan.NO_COMMITS)} == {
        "bootstrap/added.py: db.write",
        "bootstrap/added.py: database.write_soon",
        "bootstrap/added.py: COMMIT",
    }
    assert {*scan.without_excuse(scan.requests_without_point(), scan.NO_REQUESTS)} == {
        "bootstrap/added.py: requestAirdrop",
        "bootstrap/added.py: client.call(WHAT)",
        "bootstrap/added.py: getAddedThing",
    }
