"""Thousands of lives are lived here too: in silence."""

from tests.engine.conftest import silence

__all__ = ["silence"]
