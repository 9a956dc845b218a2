"""What the sandbox's tests share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.sandbox.bench import Bench
from tests.sandbox.kit import Client, Desk, make_node


@pytest.fixture(scope="session")
def bench() -> Bench:
    """Give one virtual machine to all tests of the market program: each makes its own pools."""
    return Bench()


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    """Give a client of a new node whose block engine knows no limit."""
    node = make_node(tmp_path)
    client = Client(node)
    async with client.http:
        yield client
    node.close()


@pytest.fixture
def desk(client: Client) -> Desk:
    """Give the shorthands over the same node."""
    return Desk(client.node)
