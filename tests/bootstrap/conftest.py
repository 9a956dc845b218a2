"""What the tests of the wiring share with those of the whole system."""

from tests.integration.conftest import chain, module_chain

__all__ = ["chain", "module_chain"]
