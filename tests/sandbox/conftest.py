"""What the sandbox's tests share."""

import pytest

from tests.sandbox.bench import Bench


@pytest.fixture(scope="session")
def bench() -> Bench:
    """Give one virtual machine to all tests of the market program: each makes its own pools."""
    return Bench()
