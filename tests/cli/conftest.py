"""What the command line's tests share with others."""

from tests.database.conftest import server as postgres

__all__ = ["postgres"]
