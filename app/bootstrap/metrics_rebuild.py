"""`synergy7 metrics rebuild`: the metrics database derived anew from the orders database's trail."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from app.bootstrap.clock import SystemClock
from app.bootstrap.opening import database_url, follow_trail, metrics_url
from app.database.addresses import SqliteFile, address_of
from app.database.engine import open_for_reading
from app.database.lock import file_lock
from app.database.metrics import MetricsDatabase, open_metrics_database
from app.database.migrate import migrate, refuse_unmigrated
from app.database.trail_reader import TrailReader
from app.domain.errors import StartupError
from app.domain.signal import US
from app.metrics.execution_metrics import STEADY
from app.settings import Settings

REPLACEABLE: Final = frozenset({"DATABASE_CORRUPT", "DATABASE_NOT_MIGRATED"})
"""What may be wrong with a file that is moved aside; a foreign or newer one is no broken one."""
LOCKED: Final = "DATABASE_LOCKED"
LOCK_SECONDS: Final = 2.0
"""How long a lock is waited for: a service that finds the file broken holds it for a moment each time."""
LOCK_POLL_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """How many rows there are now, up to which event, since which, and where the old file lies."""

    rows: int
    position: int
    begins_after: int
    kept: Path | None


async def rebuild(settings: Settings) -> Rebuilt:
    """Derive the metrics database anew, beside a service that runs or not.

    A SQLite file is made beside the old one, which is moved aside when the new one is complete. Raises
    StartupError: DATABASE_LOCKED while the service has the file open, DATABASE_FOREIGN, ...
    """
    orders = settings.order_management
    async with open_for_reading(
        address_of(database_url(orders.database_url, orders.db_path))
    ) as db:
        await refuse_unmigrated(db, "orders")
        trail = TrailReader(db)
        url = metrics_url(settings)
        address = address_of(url)
        if not isinstance(address, SqliteFile):
            await migrate(url, "metrics", orders.backup_path)
            async with open_metrics_database(url) as metrics:
                await metrics.clear()
                return await _derive(settings, trail, metrics, None)
        await _demand_replaceable(address.path, orders.backup_path)
        async with _fresh(address.path) as fresh:
            async with open_metrics_database(str(fresh)) as metrics:
                done = await _derive(settings, trail, metrics, _aside(address.path))
            _put(fresh, address.path, done.kept)
            return done


async def _derive(
    settings: Settings, trail: TrailReader, metrics: MetricsDatabase, kept: Path | None
) -> Rebuilt:
    projector = follow_trail(settings, trail, metrics, STEADY)
    await projector.catch_up()
    retention_us = settings.metrics.metrics_retention_days * 86_400 * US
    await metrics.prune(SystemClock().now_us() - retention_us)
    rows, position = await metrics.count(), await metrics.position()
    return Rebuilt(rows, position, (await trail.start()).position, kept)


async def _demand_replaceable(path: Path, backup_dir: Path) -> None:
    """Look at the file that is there: what is not ours, or newer than the code, is left where it is."""
    if not await asyncio.to_thread(path.exists):
        return
    end = asyncio.get_running_loop().time() + LOCK_SECONDS
    while True:
        try:
            await migrate(str(path), "metrics", backup_dir)
        except StartupError as error:
            if error.code in REPLACEABLE:
                return
            if error.code != LOCKED or asyncio.get_running_loop().time() > end:
                raise
        else:
            return
        await asyncio.sleep(LOCK_POLL_SECONDS)


@asynccontextmanager
async def _fresh(path: Path) -> AsyncIterator[Path]:
    """Make an empty metrics database in a folder of its own beside a file; gone afterwards."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        fresh = folder / path.name
        await migrate(str(fresh), "metrics", folder)
        yield fresh
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _aside(path: Path) -> Path | None:
    """Name the place for the old file; None when there is none."""
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    return path.with_name(f"{path.name}.replaced-{moment}") if path.exists() else None


def _put(fresh: Path, path: Path, aside: Path | None) -> None:
    """Put the new file into the old one's place, with nobody at work on either."""
    with file_lock(path):
        for end in ("-wal", "-shm", "") if aside is not None else ():
            part = path.with_name(f"{path.name}{end}")
            if part.exists():
                part.rename(f"{aside}{end}")
        fresh.rename(path)
