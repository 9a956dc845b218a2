"""A metrics database that is broken, of others or away: orders go on, and it is tried again."""

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from app.bootstrap.metrics_keeper import MetricsKeeper
from app.bootstrap.metrics_rebuild import rebuild
from app.bootstrap.opening import keep_metrics
from app.database.lock import file_lock
from app.database.metrics import open_metrics_database
from app.database.migrate import migrate
from app.domain.errors import StartupError
from app.domain.events import EventKind
from app.metrics.execution_metrics import ExecutionMetrics, Pace
from app.metrics.ports import MetricsStore
from tests.integration.chain import Chain
from tests.integration.kit import SELL, configure, ended, running, sealed, served, status, until
from tests.metrics.fakes import Broken, ManualClock, MemoryMetrics, Trail
from tests.metrics.lives import filled

pytestmark = pytest.mark.anyio
FOR_EVER: Mapping[str, object] = {"metrics.metrics_retention_days": 36_500}
"""The tests' orders are old."""
QUICK = Pace(poll_seconds=0.001, backoff_seconds=0.001, failures_max=2)


@asynccontextmanager
async def kept(keeper: MetricsKeeper) -> AsyncIterator[None]:
    """Run a keeper beside the test; it must still run at the end."""
    task = asyncio.create_task(keeper.run())
    yield
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def follow(trail: Trail, store: MetricsStore, pace: Pace) -> ExecutionMetrics:
    """Make a projector."""
    return ExecutionMetrics(
        trail, store, clock=ManualClock(), retention_days=30, cleanup_seconds=3_600, pace=pace
    )


def broken() -> None:
    """Fail as a database does."""
    raise Broken


def why(keeper: MetricsKeeper) -> str:
    """Say why the database is unavailable, as `/status` does."""
    return str(keeper.document()["why"])


async def test_it_is_opened_as_often_as_needed() -> None:
    """It cannot be opened twice, breaks while it is followed, and in the end has every row."""
    trail, store = Trail(), MemoryMetrics()
    opened = 0

    @asynccontextmanager
    async def open_it() -> AsyncIterator[MetricsStore]:
        nonlocal opened
        opened += 1
        if opened < 3:
            raise StartupError("DATABASE_UNREACHABLE", "it is away", "start it")
        yield store

    keeper = MetricsKeeper(open_it, partial(follow, trail), again_seconds=0.001, pace=QUICK)
    trail.seal(filled("a"))
    with capture_logs() as logs:
        async with kept(keeper):
            await until("the rows are written", lambda: len(store.rows) == 1)
            assert keeper.document() == {
                "database": "available",
                "why": None,
                "position": keeper.seen_position,
            }
            seen = keeper.seen_position
            store.before_commit = broken
            trail.seal(filled("b"))
            await until("it was opened anew", lambda: opened > 5)
            assert keeper.document()["database"] == "unavailable"
            assert why(keeper) == "Broken()"
            assert keeper.seen_position == seen, "what is not in the rows is still needed"
            store.before_commit = lambda: None
            await until("it made up for it", lambda: len(store.rows) == 2)
            assert keeper.seen_position > seen
    (first, *rest) = [each for each in logs if each["log_level"] == "critical"]
    assert "metrics rebuild" in first["todo"]
    assert len(rest) == 1, "one line for each time, and one a minute"


def text(path: Path) -> None:
    """Put something there that is no database."""
    path.write_bytes(b"Dear reader, " * 1_000)


def foreign(path: Path) -> None:
    """Put somebody else's database there."""
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("CREATE TABLE customers (id INTEGER)")


async def newer(path: Path) -> None:
    """Put a database of a later version there."""
    await migrate(str(path), "metrics", path.parent)
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("UPDATE alembic_version_metrics SET version_num = 'metrics_9999'")
        conn.commit()


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (text, "DATABASE_CORRUPT"),
        (foreign, "DATABASE_FOREIGN"),
        (newer, "DATABASE_NEWER"),
        (Path.mkdir, "DATABASE_UNREACHABLE"),
    ],
)
async def test_a_file_that_will_not_do_is_left_alone_until_it_is_replaced(
    tmp_path: Path, make: Callable[[Path], Any], code: str
) -> None:
    """It is said what is wrong with it; once it is gone, a new one is made and filled."""
    path = tmp_path / "metrics.db"
    if (making := make(path)) is not None:
        await making
    before = path.read_bytes() if path.is_file() else None
    trail = Trail()
    trail.seal(filled("a"))
    keeper = keep_metrics(configure(tmp_path, None, FOR_EVER), trail)
    async with kept(keeper):
        await until("it was tried", lambda: code in why(keeper))
        assert (path.read_bytes() if path.is_file() else None) == before
        shutil.move(path, tmp_path / "aside")
        await until("a new one is followed", lambda: keeper.document()["database"] == "available")
    assert await rows(path) != []


async def rows(path: Path) -> list[Mapping[str, Any]]:
    """Read every row."""
    async with open_metrics_database(str(path)) as metrics:
        return list(await metrics.executions(since_us=0, limit=1_000))


async def test_a_file_in_use_and_a_server_away_are_tried_again(tmp_path: Path) -> None:
    """Neither is broken: as soon as it can be had, it is followed."""
    away = {"metrics.database_url": "postgresql://127.0.0.1:1/x"}
    keeper = keep_metrics(configure(tmp_path, None, away), Trail())
    async with kept(keeper):
        await until("it was tried", lambda: "DATABASE_UNREACHABLE" in why(keeper))
    keeper = keep_metrics(configure(tmp_path, None, {}), Trail())
    with file_lock(tmp_path / "metrics.db"):
        task = asyncio.create_task(keeper.run())
        await until("it was tried", lambda: "DATABASE_LOCKED" in why(keeper))
    await until("it is followed", lambda: keeper.document()["database"] == "available")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_orders_go_on_without_metrics_and_a_rebuild_brings_them_back(
    tmp_path: Path, chain: Chain
) -> None:
    """Ready with a broken file; the rebuild beside the running service derives the same rows."""
    path = tmp_path / "metrics.db"
    text(path)
    settings = configure(tmp_path, chain, {})
    async with running(tmp_path, chain) as system:
        assert "DATABASE_CORRUPT" in str(status(system)["metrics"]["why"])
        ids = [
            await system.submit_trading_signal({**SELL, "client_order_id": str(number)})
            for number in range(3)
        ]
        for order_id in ids:
            assert (await ended(system, order_id))["status"] == "filled"
        await until("it is ready", lambda: not system.parts.report.readiness())
        done = await rebuild(settings)
        assert done.kept is not None
        assert done.kept.read_bytes() == b"Dear reader, " * 1_000
        assert done.rows >= 0
        later = await system.submit_trading_signal({**SELL, "client_order_id": "later"})
        await ended(system, later)
        events = await sealed(system, later, EventKind.FINALIZED)
        end = max(event.position or 0 for event in events)
        await until(
            "the service follows the new file", lambda: status(system)["metrics"]["position"] >= end
        )
    live = await rows(path)
    assert [row["order_id"] for row in live if row["status"] == "filled"] != []
    assert {row["order_id"] for row in live} == {*ids, later}
    again = await rebuild(settings)
    assert again.rows == len(live)
    assert await rows(path) == live, "equal tables"


async def test_a_foreign_file_is_not_moved(tmp_path: Path, chain: Chain) -> None:
    """A rebuild replaces what is broken, and nothing of others."""
    settings = configure(tmp_path, chain, {})
    await migrate(str(tmp_path / "orders.db"), "orders", tmp_path)
    foreign(tmp_path / "metrics.db")
    with pytest.raises(StartupError, match="DATABASE_FOREIGN"):
        await rebuild(settings)
    assert (tmp_path / "metrics.db").exists()
    (tmp_path / "metrics.db").unlink()
    await migrate(str(tmp_path / "metrics.db"), "metrics", tmp_path)
    with (
        file_lock(tmp_path / "metrics.db"),
        pytest.raises(StartupError, match="DATABASE_LOCKED"),
    ):
        await rebuild(settings)


async def test_status_and_readiness_tell(tmp_path: Path, chain: Chain) -> None:
    """`/readyz` stays ready while `/status` says what the metrics suffer from."""
    text(tmp_path / "metrics.db")
    async with served(tmp_path, chain) as client:

        async def ready() -> bool:
            return (await client.get("/readyz")).status_code == httpx.codes.OK

        await until("it is ready", ready)
        document = (await client.get("/status")).json()["metrics"]
    assert document["database"] == "unavailable"
    assert document["why"].startswith("DATABASE_CORRUPT: ")
    assert document["position"] == 0
