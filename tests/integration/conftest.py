"""One chain for each module; every test leaves it without trouble."""

from collections.abc import Iterator

import pytest

from tests.integration.chain import Chain, running_chain


@pytest.fixture(scope="module")
def module_chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """Run the module's chain."""
    with running_chain(tmp_path_factory.mktemp("chain")) as chain:
        yield chain


@pytest.fixture
def chain(module_chain: Chain) -> Iterator[Chain]:
    """Give the module's chain, and end all trouble afterwards."""
    yield module_chain
    module_chain.clear()
