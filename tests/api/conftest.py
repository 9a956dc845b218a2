"""What the tests of the interface share."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.database.migrate import migrate
from tests.api.kit import Running, running


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database, migrated once for all tests.

    Not async: an async fixture of the session would keep its event loop for the tests of other folders,
    which may want a loop of their own.
    """
    folder = tmp_path_factory.mktemp("migrated")
    asyncio.run(migrate(str(folder / "orders.db"), "orders", backup_dir=folder))
    return folder / "orders.db"


@pytest.fixture
async def api(tmp_path: Path, migrated: Path) -> AsyncIterator[Running]:
    """An open interface on a database of its own."""
    shutil.copy(migrated, tmp_path)
    async with running(tmp_path) as opened:
        yield opened
