"""The engine's tests run in virtual time."""

import pytest

from tests.engine.virtual_time import VirtualTimeLoop


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, object]]:
    """Turn the clock instead of waiting."""
    return "asyncio", {"use_uvloop": False, "loop_factory": VirtualTimeLoop}
