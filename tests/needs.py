"""What a test does when the machine lacks something it needs."""

import os
from typing import NoReturn

import pytest


def skip_or_fail(reason: str) -> NoReturn:
    """Skip, saying why; where REQUIRE_ALL=1 promises a complete machine, fail instead."""
    if os.environ.get("REQUIRE_ALL") == "1":
        pytest.fail(f"REQUIRE_ALL=1, yet: {reason}", pytrace=False)
    pytest.skip(reason)
