"""The engine's tests run in virtual time, and in silence: they tell thousands of lives."""

from collections.abc import Iterator

import pytest
import structlog

from tests.engine.virtual_time import VirtualTimeLoop


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, object]]:
    """Turn the clock instead of waiting."""
    return "asyncio", {"use_uvloop": False, "loop_factory": VirtualTimeLoop}


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    """Drop the log."""

    def drop(*_: object) -> structlog.typing.EventDict:
        raise structlog.DropEvent

    before = structlog.get_config()["processors"]
    structlog.configure(processors=[drop])
    yield
    structlog.configure(processors=before)
